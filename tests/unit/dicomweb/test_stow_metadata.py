"""PS3.18 10.5.1.2: metadata and bulk data parts; nothing outside the request is fetched."""

import base64
import copy
import errno
import io
import json
import tempfile

import numpy as np
import pydicom
import pytest

from filmroom.dicomweb import stow_metadata, xml
from filmroom.dicomweb.multipart import PART_TAIL, closing, content_type, part_head
from filmroom.dicomweb.service import Settings
from instances import a_data_set

STUDY = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1"}
PATH = "/studies/1.1/series/1.1.1/instances/1.1.1.1"
JSON = "application/dicom+json"


def metadata_of(ds, uri="pixels"):
    ds = copy.deepcopy(ds)
    del ds.PixelData
    metadata = ds.to_json_dict()
    metadata["7FE00010"] = {"vr": "OW", "BulkDataURI": uri}
    return metadata


async def post(room, metadata, *bulk, media_type=JSON, path="/studies"):
    """bulk: (Content-Type, Content-Location, bytes) of each part."""
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    body = part_head("cut", {"Content-Type": media_type}) + text + PART_TAIL
    for content, location, value in bulk:
        headers = {"Content-Type": content, "Content-Location": location}
        body += part_head("cut", headers) + value + PART_TAIL
    headers = {"Content-Type": content_type("cut", media_type)}
    return await room.post(path, content=body + closing("cut"), headers=headers)


async def read_back(room):
    accept = {"Accept": "application/dicom; transfer-syntax=*"}
    response = await room.get(PATH, headers=accept)
    assert response.status_code == 200, response.text
    return pydicom.dcmread(io.BytesIO(response.content))


async def test_uncompressed_pixels_come_in_a_part_of_their_own(room):
    ds = a_data_set(PatientName="Müller^Jörg", **STUDY)
    bulk = ("application/octet-stream", "pixels", ds.PixelData)
    response = await post(room, [metadata_of(ds)], bulk)
    assert response.status_code == 200, response.text
    read = await read_back(room)
    assert read.PixelData == ds.PixelData
    assert read.PatientName == "Müller^Jörg"
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


async def test_bulk_data_wait_where_there_is_room_for_them(make_room, tmp_path, monkeypatch):
    spool = tmp_path / "spool"
    spool.mkdir()
    asked = []
    temporary = tempfile.TemporaryFile

    def noted(*, dir):
        asked.append(dir)
        return temporary(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    room = make_room(settings=Settings(spool=spool))
    ds = a_data_set(**STUDY)
    bulk = ("application/octet-stream", "pixels", ds.PixelData)
    assert (await post(room, [metadata_of(ds)], bulk)).status_code == 200
    assert asked == [spool]
    spool.rmdir()
    assert (await post(room, [metadata_of(ds)], bulk)).status_code == 503


@pytest.mark.parametrize(
    ("media_type", "syntax"),
    [
        ("image/jls", "1.2.840.10008.1.2.4.80"),
        ("image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.91"),
        ("image/jphc", "1.2.840.10008.1.2.4.201"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.50"),
    ],
)
async def test_compressed_frames_become_fragments(room, media_type, syntax):
    ds = a_data_set(frames=2, **STUDY)
    frames = [b"\xff\xd8\xff first.", b"\xff\xd8\xff second frame"]
    bulk = [(media_type, "pixels", frame) for frame in frames]
    response = await post(room, [metadata_of(ds)], *bulk)
    assert response.status_code == 200, response.text
    read = await read_back(room)
    assert read.file_meta.TransferSyntaxUID == syntax
    found = list(pydicom.encaps.generate_frames(read.PixelData, number_of_frames=2))
    assert [frame.rstrip(b"\0") for frame in found] == frames


async def test_a_document_needs_no_bulk_part(room):
    metadata = metadata_of(a_data_set(**STUDY))
    del metadata["7FE00010"]
    metadata["00420011"] = {"vr": "OB", "InlineBinary": base64.b64encode(b"%PDF").decode()}
    assert (await post(room, [metadata])).status_code == 200
    assert (await read_back(room)).EncapsulatedDocument == b"%PDF"


async def test_other_values_may_be_parts_too(room):
    ds = a_data_set(**STUDY)
    metadata = metadata_of(ds)
    metadata["00420011"] = {"vr": "OB", "BulkDataURI": "the-document"}
    response = await post(
        room,
        [metadata],
        ("application/octet-stream", "pixels", ds.PixelData),
        ("application/pdf", "the-document", b"%PDF-1.7"),
    )
    assert response.status_code == 200, response.text
    assert (await read_back(room)).EncapsulatedDocument == b"%PDF-1.7"


async def test_several_instances_in_one_request(room):
    one, two = a_data_set(**STUDY), a_data_set(**{**STUDY, "SOPInstanceUID": "1.1.1.2"})
    response = await post(
        room,
        [metadata_of(one, "a"), metadata_of(two, "b")],
        ("application/octet-stream", "a", one.PixelData),
        ("application/octet-stream", "b", two.PixelData),
    )
    assert response.status_code == 200
    assert len(response.json()["00081199"]["Value"]) == 2


async def test_metadata_may_be_xml(room):
    ds = a_data_set(**STUDY)
    response = await post(
        room,
        xml.dumps(metadata_of(ds)),
        ("application/octet-stream", "pixels", ds.PixelData),
        media_type="application/dicom+xml",
    )
    assert response.status_code == 200, response.text
    read = await read_back(room)
    assert (np.frombuffer(read.PixelData, "<u2") == np.frombuffer(ds.PixelData, "<u2")).all()
    assert read.PixelSpacing == ds.PixelSpacing


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:1/x", "file:///etc/passwd", "https://10.0.0.1/", "", "no-such-part", "//x/"],
)
async def test_a_bulk_uri_names_a_part_and_nothing_else(room, uri):
    ds = a_data_set(**STUDY)
    bulk = ("application/octet-stream", "pixels", ds.PixelData)
    response = await post(room, [metadata_of(ds, uri)], bulk)
    assert response.status_code == 400
    assert response.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xC000]
    assert response.json()["00081198"]["Value"][0]["00081155"]["Value"] == ["1.1.1.1"]
    assert room.temporary_files() == []


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[1,2]",
        b"[]",
        b"[{}]",
        b'[{"00080018": 5}]',
        b'[{"zz": {"vr": "UI"}}]',
        b'[{"00080018": {"vr": "UI", "Value": "x"}}]',
        b'[{"00080018": {"vr": "QQ", "Value": [{}]}}]',
        b'[{"00080018": {"Value": [[[]]]}}]',
        b'[{"00400275": ' + b'{"vr": "SQ", "Value": [{"00400275": ' * 300 + b"{}" + b"}]}" * 300
        + b"}]",
        b'[{"7FE00010": "x"}]',
        b'[{"7FE00010": {"vr": "OW", "BulkDataURI": 7}}]',
        b"\xff\xfe",
    ],
)  # fmt: skip
async def test_metadata_that_are_none_are_a_bad_request(room, metadata):
    response = await post(room, metadata, ("application/octet-stream", "x", b"1"))
    assert response.status_code == 400
    assert room.temporary_files() == []


@pytest.mark.parametrize("vr", ["\xe9\xe8", "PN", "OWOW", "", None, 7])
async def test_pixel_data_of_a_vr_that_is_none_are_a_bad_request(room, vr):
    metadata = metadata_of(a_data_set(**STUDY))
    metadata["7FE00010"]["vr"] = vr
    response = await post(room, [metadata], ("application/octet-stream", "pixels", bytes(512)))
    assert response.status_code == 400
    assert room.temporary_files() == []


@pytest.mark.parametrize(
    "metadata",
    [
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><NativeDicomModel>&b;</NativeDicomModel>',
        b"<NativeDicomModel>" + b"<Item>" * 100_000,
        b"plain text",
    ],
)
async def test_hostile_xml_is_a_bad_request(room, metadata):
    response = await post(room, metadata, media_type="application/dicom+xml")
    assert response.status_code == 400


async def test_the_study_of_the_path_must_agree(room):
    ds = a_data_set(**STUDY)
    bulk = ("application/octet-stream", "pixels", ds.PixelData)
    response = await post(room, [metadata_of(ds)], bulk, path="/studies/9.9")
    assert response.status_code == 409


async def test_metadata_that_describe_nothing_are_given_up(room):
    response = await post(room, b"[" + b",".join([b"{}"] * 5000) + b"]")
    assert response.status_code == 400
    assert "in a row" in response.json()["detail"]


async def test_the_metadata_of_all_parts_are_bounded_together(make_room):
    room = make_room(settings=Settings(max_metadata_bytes=1000))
    text = b'[{"00100010": {"vr": "LO", "Value": ["' + b"x" * 600 + b'"]}}]'
    part = part_head("cut", {"Content-Type": JSON}) + text + PART_TAIL
    headers = {"Content-Type": content_type("cut", JSON)}
    body = part + closing("cut")
    assert (await room.post("/studies", content=body, headers=headers)).status_code == 400
    body = part + part + closing("cut")
    assert (await room.post("/studies", content=body, headers=headers)).status_code == 413


async def test_a_full_disk_under_the_bulk_parts_is_told_as_such(room, monkeypatch):
    class Full(io.BytesIO):
        def __init__(self, dir):
            super().__init__()

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stow_metadata.tempfile, "TemporaryFile", Full)
    ds = a_data_set(**STUDY)
    bulk = ("application/octet-stream", "pixels", ds.PixelData)
    assert (await post(room, [metadata_of(ds)], bulk)).status_code == 503
