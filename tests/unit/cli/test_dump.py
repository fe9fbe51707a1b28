"""cli/dump.py: whatever is in a file, what comes out is readable and inert."""

import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from filmroom.cli.dump import dump_bytes, printable, walk
from filmroom.dicom import uids
from filmroom.dicom.errors import Malformed
from instances import a_data_set, part10


def item(**attributes):
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_every_element_is_a_line(syntax):
    ds = a_data_set(ProcedureCodeSequence=[item(CodeValue="T-1"), item(CodeValue="T-2")])
    lines = list(dump_bytes(part10(ds, syntax)))
    assert "# File Meta Information" in lines
    assert "(0010,0010) PN PatientName: Hopper^Grace" in lines
    assert "(0028,0010) US Rows: 16" in lines
    assert "(0008,1032) SQ ProcedureCodeSequence:" in lines
    assert "    (0008,0100) SH CodeValue: T-2" in lines
    assert any("CT Image Storage" in line for line in lines)
    assert any(line.startswith("(7FE0,0010) OW PixelData:") for line in lines)


def test_long_values_are_cut_and_their_length_told():
    ds = a_data_set(StudyDescription="x" * 64)
    lines = list(dump_bytes(part10(ds), max_length=10))
    assert "(0008,1030) LO StudyDescription: xxxxxxxxxx... (64 bytes)" in lines
    whole = list(dump_bytes(part10(ds), max_length=0))
    assert f"(0008,1030) LO StudyDescription: {'x' * 64}" in whole


def test_names_are_decoded():
    ds = a_data_set(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    assert "(0010,0010) PN PatientName: Müller^Jürgen" in list(dump_bytes(part10(ds)))


@pytest.mark.parametrize(
    "hostile", ["\x1b[31mred", "a\r\nb", "a\u202eb", "a\x00b", "a\u2028b", "\x7f"]
)
def test_control_characters_are_escaped(hostile):
    shown = printable(hostile)
    assert shown.isprintable()
    assert printable("plain ünïcode 山田") == "plain ünïcode 山田"


def test_a_hostile_name_reaches_no_terminal():
    ds = a_data_set(PatientName="\x1b]0;owned\x07\x1b[2J")
    for line in dump_bytes(part10(ds)):
        assert line.isprintable()


def test_thirty_thousand_nested_sequences_are_walked_not_recursed():
    depth = 30_000
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    nested = opening * depth + closing * depth
    lines = list(walk(nested, 0, len(nested), uids.EXPLICIT_VR_LE, 64))
    assert len(lines) == 2 * depth
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize("cut", [133, 200, 400, 600])
def test_a_truncated_file_says_where_it_ends(cut):
    with pytest.raises(Malformed):
        list(dump_bytes(part10(a_data_set())[:cut]))


def test_a_length_beyond_the_end_is_told():
    bad = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 500) + b"short"
    with pytest.raises(Malformed, match=r"\(0010,0010\) at byte 8 claims 500 bytes, 5 are left"):
        list(walk(bad, 0, len(bad), uids.EXPLICIT_VR_LE, 64))


def test_fragments_of_encapsulated_pixels_are_counted():
    import io

    import pydicom

    file = pydicom.dcmread(io.BytesIO(part10(a_data_set(frames=2))))
    file.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    buffer = io.BytesIO()
    file.save_as(buffer)
    lines = list(dump_bytes(buffer.getvalue()))
    assert any("> offset table" in line for line in lines)
    assert any("> fragment 2" in line for line in lines)


def test_deflated_files_are_inflated():
    import io

    import pydicom

    file = pydicom.dcmread(io.BytesIO(part10(a_data_set())))
    file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    buffer = io.BytesIO()
    file.save_as(buffer)
    assert "(0010,0010) PN PatientName: Hopper^Grace" in list(dump_bytes(buffer.getvalue()))
