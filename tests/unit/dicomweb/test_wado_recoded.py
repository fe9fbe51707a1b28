"""Whole instances in other transfer syntaxes: lossless unless named, never half an answer."""

import io
import zipfile

import pydicom
import pytest

from instances import a_data_set, part10

BASELINE, J2K_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
EXPLICIT = "1.2.840.10008.1.2.1"
STUDY = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}
PATH = "/studies/1.1/series/1.1.1/instances"
MULTI = 'multipart/related; type="application/dicom"'
URI = "http://test/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&contentType=application/dicom"


def eight_bit(number):
    ramp = bytes((x * 7 + y * number) % 256 for y in range(16) for x in range(16))
    return a_data_set(
        SOPInstanceUID=f"1.1.1.{number}", BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelData=ramp, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], **STUDY,
    )  # fmt: skip


def thirty_two_bit(number):
    return a_data_set(
        rows=4, columns=4, SOPInstanceUID=f"1.1.1.{number}", BitsAllocated=32, BitsStored=32,
        HighBit=31, PixelData=bytes(range(64)), **STUDY,
    )  # fmt: skip


@pytest.fixture
async def mixed(room):
    """Two instances of eight bits, one of thirty-two."""
    for ds in (eight_bit(1), thirty_two_bit(2), eight_bit(3)):
        assert (await room.store(part10(ds))).status_code == 200
    return room


def read(body):
    return pydicom.dcmread(io.BytesIO(body))


async def test_a_lossy_copy_by_name_is_an_instance_of_its_own(mixed):
    accept = {"Accept": f"application/dicom; transfer-syntax={BASELINE}"}
    response = await mixed.get(f"{PATH}/1.1.1.1", headers=accept)
    assert response.status_code == 200
    copy = read(response.content)
    assert copy.SOPInstanceUID == copy.file_meta.MediaStorageSOPInstanceUID != "1.1.1.1"
    assert copy.SOPInstanceUID in response.headers["content-disposition"]
    assert copy.file_meta.TransferSyntaxUID == BASELINE
    assert list(copy.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert copy.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.1.1.1"
    assert (await mixed.get(f"{PATH}/1.1.1.1", headers=accept)).content == response.content


@pytest.mark.parametrize("syntax", [EXPLICIT, J2K_LOSSLESS, "1.2.840.10008.1.2.4.202", "*"])
async def test_without_loss_it_is_the_same_instance(mixed, syntax):
    accept = {"Accept": f"application/dicom; transfer-syntax={syntax}"}
    copy = read((await mixed.get(f"{PATH}/1.1.1.1", headers=accept)).content)
    assert copy.SOPInstanceUID == copy.file_meta.MediaStorageSOPInstanceUID == "1.1.1.1"
    assert "SourceImageSequence" not in copy
    assert (copy.pixel_array == read(part10(eight_bit(1))).pixel_array).all()


async def test_an_instance_that_cannot_be_coded_so_is_refused_alone(mixed):
    accept = {"Accept": f"application/dicom; transfer-syntax={J2K_LOSSLESS}"}
    response = await mixed.get(f"{PATH}/1.1.1.2", headers=accept)
    assert response.status_code == 406
    assert "32-bit" in response.json()["detail"]
    either = f"{accept['Accept']}, application/dicom; transfer-syntax={EXPLICIT}; q=0.5"
    copy = read((await mixed.get(f"{PATH}/1.1.1.2", headers={"Accept": either})).content)
    assert copy.file_meta.TransferSyntaxUID == EXPLICIT


@pytest.mark.parametrize("syntax", [BASELINE, J2K_LOSSLESS])
async def test_among_many_it_goes_uncompressed_and_says_so(mixed, parts, syntax):
    accept = {"Accept": f"{MULTI}; transfer-syntax={syntax}"}
    found = parts(await mixed.get("/studies/1.1", headers=accept))
    kinds = [media_type.rpartition("=")[2] for media_type, _ in found]
    assert kinds == [syntax, EXPLICIT, syntax]
    assert [read(body).file_meta.TransferSyntaxUID for _, body in found] == kinds
    assert read(found[1][1]).PixelData == bytes(range(64))


async def test_a_zip_of_many_is_whole_too(mixed):
    accept = {"Accept": f"application/zip; transfer-syntax={J2K_LOSSLESS}"}
    response = await mixed.get("/studies/1.1", headers=accept)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        kinds = sorted(
            read(archive.read(n)).file_meta.TransferSyntaxUID for n in archive.namelist()
        )
    assert kinds == [EXPLICIT, J2K_LOSSLESS, J2K_LOSSLESS]


async def test_wado_uri_gives_the_default_where_the_wish_cannot_be(mixed):
    for number, syntax, got in (
        (1, BASELINE, BASELINE),
        (1, J2K_LOSSLESS, J2K_LOSSLESS),
        (2, J2K_LOSSLESS, EXPLICIT),
        (2, "1.2.840.10008.1.2.4.100", EXPLICIT),
    ):
        response = await mixed.get(f"{URI}&objectUID=1.1.1.{number}&transferSyntax={syntax}")
        assert response.status_code == 200
        assert read(response.content).file_meta.TransferSyntaxUID == got
