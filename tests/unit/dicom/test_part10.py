"""PS3.10 7.1: preamble and File Meta Information, written out by hand."""

import io

import pydicom
import pytest

from filmroom.dicom import part10, uids
from filmroom.dicom.errors import Malformed, NeedMore

CT = "1.2.840.10008.5.1.4.1.1.2"
HEADER = part10.meta_header(
    sop_class_uid=CT,
    sop_instance_uid="1.2.3",
    transfer_syntax_uid=uids.EXPLICIT_VR_LE,
    source_ae_title="MODALITY1",
)
MODALITY = bytes.fromhex("0800 6000 4353 0200 4354")  # (0008,0060) CS "CT"


def test_what_we_write_pydicom_reads():
    ds = pydicom.dcmread(io.BytesIO(HEADER + MODALITY))
    assert ds.Modality == "CT"
    meta = ds.file_meta
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.SourceApplicationEntityTitle == "MODALITY1"
    assert meta.ImplementationClassUID == uids.IMPLEMENTATION_CLASS_UID
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == len(HEADER) - 144


def test_what_we_write_we_read():
    expected = part10.FileMeta(len(HEADER), uids.EXPLICIT_VR_LE, CT, "1.2.3", "MODALITY1")
    assert part10.parse_meta(HEADER + MODALITY) == expected
    assert part10.parse_meta(memoryview(HEADER + MODALITY)) == expected


def test_a_uid_of_65_characters_is_not_written():
    with pytest.raises(ValueError, match="64"):
        part10.meta_header(
            sop_class_uid="1" * 65, sop_instance_uid="1", transfer_syntax_uid="1.2.840.10008.1.2"
        )


@pytest.mark.parametrize("length", [0, 4, 131, 135, 150, len(HEADER) - 1])
def test_a_beginning_asks_for_more(length):
    with pytest.raises(NeedMore) as more:
        part10.parse_meta(HEADER[:length])
    assert more.value.at_least > length
    with pytest.raises(Malformed):
        part10.parse_meta(HEADER[:length], complete=True)


@pytest.mark.parametrize("wrong", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\0\0\0"])
def test_the_group_length_is_not_believed(wrong):
    lying = HEADER[:140] + wrong + HEADER[144:]
    assert part10.parse_meta(lying + MODALITY).data_set_offset == len(HEADER)


def test_an_executable_preamble_does_not_matter():
    assert part10.parse_meta(b"MZ" + HEADER[2:] + MODALITY).sop_instance_uid == "1.2.3"


def test_the_preamble_may_be_missing():
    assert part10.parse_meta(HEADER[128:] + MODALITY).data_set_offset == len(HEADER) - 128
    assert part10.parse_meta(HEADER[132:] + MODALITY).data_set_offset == len(HEADER) - 132


PADDING = bytes(200)


@pytest.mark.parametrize(
    ("data_set", "transfer_syntax_uid"),
    [
        (MODALITY, uids.EXPLICIT_VR_LE),
        (bytes.fromhex("0008 0060 4353 0002 4354"), uids.EXPLICIT_VR_BE),
        (bytes.fromhex("0800 6000 02000000 4354"), uids.IMPLICIT_VR_LE),
    ],
)
def test_a_bare_data_set_is_recognised(data_set, transfer_syntax_uid):
    assert part10.parse_meta(data_set + PADDING) == part10.FileMeta(0, transfer_syntax_uid)
    behind = bytes(128) + b"DICM" + data_set
    assert part10.parse_meta(behind) == part10.FileMeta(132, transfer_syntax_uid)


def test_a_missing_transfer_syntax_is_guessed():
    element = bytes.fromhex("0200 0300 5549 0600") + b"1.2.3\0"
    meta = part10.parse_meta(bytes(128) + b"DICM" + element + MODALITY)
    assert meta.transfer_syntax_uid == uids.EXPLICIT_VR_LE
    assert meta.sop_instance_uid == "1.2.3"


def test_group_2_may_be_in_implicit_vr():
    element = bytes.fromhex("0200 1000 14000000") + b"1.2.840.10008.1.2.1\0"
    assert (
        part10.parse_meta(bytes(128) + b"DICM" + element + MODALITY).transfer_syntax_uid
        == uids.EXPLICIT_VR_LE
    )


@pytest.mark.parametrize(
    "junk",
    [
        b"<html><body>" + bytes(500),
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"\xff" * 1000,
        bytes(1000),
        bytes(128) + b"DICM" + bytes.fromhex("0200 0200 5a5a 0200 3132") + PADDING,  # VR ZZ
        bytes(128) + b"DICM" + bytes.fromhex("0200 0100 4f42 0000 ffffff7f"),
    ],
)
def test_what_is_no_dicom_file_is_refused(junk):
    with pytest.raises(Malformed):
        part10.parse_meta(junk)


def test_endless_meta_information_is_refused_at_64_kib():
    element = bytes.fromhex("0200 1600 4145 0400") + b"ABCD"
    with pytest.raises(Malformed):
        part10.parse_meta(bytes(128) + b"DICM" + element * 10000)


def test_a_short_bare_data_set_is_enough_when_it_is_all_there_is():
    with pytest.raises(NeedMore):
        part10.parse_meta(MODALITY)
    assert part10.parse_meta(MODALITY, complete=True).data_set_offset == 0


def test_a_beginning_that_ends_between_two_elements_of_group_2_asks_for_more():
    """What came in one piece of an upload may end anywhere; the data set begins where it begins."""
    header = part10.meta_header(
        sop_class_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid=uids.EXPLICIT_VR_LE,
        source_ae_title="SCANNER",
    )
    whole = header + b"\x08\x00\x05\x00CS\x00\x00"
    assert part10.parse_meta(whole).data_set_offset == len(header)
    for size in range(132, len(whole)):
        try:
            early = part10.parse_meta(whole[:size])
        except NeedMore:
            continue
        assert early == part10.parse_meta(whole)


@pytest.mark.parametrize(
    "preamble", [b"DICM", b"\x02\x00\x10\x00UI\x00\x00", b"\x08\x00\x05\x00CS"]
)
def test_a_preamble_that_looks_like_a_beginning_is_still_a_preamble(preamble):
    header = part10.meta_header(
        sop_class_uid="1.2.3", sop_instance_uid="1.2", transfer_syntax_uid=uids.EXPLICIT_VR_LE
    )
    whole = preamble.ljust(128, b"\0") + header[128:] + b"\x08\x00\x05\x00CS\x00\x00"
    found = part10.parse_meta(whole)
    assert found.data_set_offset == len(header)
    for size in range(132):
        with pytest.raises(NeedMore):
            part10.parse_meta(whole[:size])
