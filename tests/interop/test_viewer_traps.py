"""What OHIF asks for and what broke it elsewhere; and HTTP itself, on a real connection."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from dataclasses import dataclass, field

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, generate_uid

from instances import a_data_set, data_set_bytes, part10
from nodes import PASSWORD
from packaged import packaged_files

ENCODINGS = {"Accept-Encoding": "gzip, deflate, br, zstd"}
JSON = {"Accept": "application/dicom+json"} | ENCODINGS
FRAMES = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}
OCTETS = {"Accept": "application/octet-stream"}
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
LIST = "/studies?limit=101&offset=0&fuzzymatching=true&includefield="
FIELDS = ("00081030", "00080060", "00080090", "00100030")

# name -> how its frames are announced when they go as they are stored
FRAME_TYPES = {
    "MR_small.dcm": "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
    "MR_small_RLE.dcm": "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5",
    "MR_small_jpeg_ls_lossless.dcm": "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80",
    "MR_small_jp2klossless.dcm": "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90",
    "examples_ybr_color.dcm": "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
}
OTHERS = ("examples_palette.dcm", "waveform_ecg.dcm")


@dataclass
class Archive:
    """A signed-in client of a filmroom, and the files that were stored."""

    client: httpx.Client
    files: dict[str, bytes] = field(default_factory=dict)

    def ds(self, name) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(self.files[name]))

    def path(self, name) -> str:
        ds = self.ds(name)
        series = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        return f"{series}/instances/{ds.SOPInstanceUID}"

    def get(self, path, **headers) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def store(self, *files) -> httpx.Response:
        head = b"--cut\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + file + b"\r\n" for file in files) + b"--cut--\r\n"
        media_type = 'multipart/related; type="application/dicom"; boundary="cut"'
        headers = {"Content-Type": media_type, "Accept": "*/*"}
        return self.client.post("/studies", content=body, headers=headers)


def parts(response) -> list[tuple[str, bytes]]:
    """(Content-Type, content) of each part."""
    boundary = response.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    pieces = response.content.split(b"--" + boundary)
    found = []
    for piece in pieces[1:-1]:
        head, _, content = piece.removesuffix(b"\r\n").partition(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.strip().splitlines())
        types = [value for name, value in lines.items() if name.lower() == b"content-type"]
        found.append((types[0].decode(), content))
    return found


@pytest.fixture(scope="module")
def archive(node):
    client = httpx.Client(base_url=node.dicomweb, auth=("admin", PASSWORD), timeout=60)
    made = Archive(client)
    made.files |= {f.name: f.content for f in packaged_files() if f.name in {*FRAME_TYPES, *OTHERS}}
    bare = a_data_set(Modality=None, SeriesNumber=None, StudyDescription="", PatientID="BARE")
    made.files["bare"] = part10(bare)
    made.files["flat"] = part10(a_data_set(PixelSpacing=[0, 0], Modality="CR", PatientID="FLAT"))
    ct = a_data_set(PatientID="CT")
    for number in range(1, 21):
        ct.InstanceNumber, ct.SOPInstanceUID = number, generate_uid()
        made.files[f"ct-{number}"] = part10(ct)
    cine = a_data_set(frames=5, PatientID="CINE", PatientName="phantom", Modality="US")
    made.files["cine"] = part10(cine)
    stored = made.store(*made.files.values())
    assert stored.status_code == 200, stored.text
    yield made
    client.close()


# -- 1, 2, 3: the study list ---------------------------------------------------------------
def test_no_attribute_comes_without_a_value_not_even_modality(archive):
    """OHIF's whole list died of one ModalitiesInStudy without a Value."""
    for path in ("/studies", "/series", "/instances"):
        for answer in archive.get(f"{path}?includefield=all", **JSON).json():
            for tag, attribute in answer.items():
                assert attribute.get("Value"), (path, tag)
    (bare,) = archive.get("/studies?PatientID=BARE", **JSON).json()
    assert "00080061" not in bare


@pytest.mark.parametrize(
    "fields",
    [
        "%2C".join(FIELDS),
        ",".join(FIELDS),
        "&includefield=".join(FIELDS),
        "StudyDescription%2CModality%2CReferringPhysicianName%2CPatientBirthDate",
    ],
)
def test_the_list_has_its_descriptions_however_they_are_asked_for(archive, fields):
    answers = archive.get(f"{LIST}{fields}&PatientName=*phan*", **JSON).json()
    assert [answer["00081030"]["Value"] for answer in answers] == [["Thorax"]]
    assert [answer["00100030"]["Value"] for answer in answers] == [["19061209"]]


def test_counts_and_series_come_unasked(archive):
    (study,) = archive.get("/studies?00100020=CT", **JSON).json()
    uid = study["0020000D"]["Value"][0]
    assert study["00201208"]["Value"] == [20]
    (series,) = archive.get(
        f"/studies/{uid}/series?includefield=00080021%2C00080031", **JSON
    ).json()
    assert series["00201209"]["Value"] == [20]
    assert series["00080060"]["Value"] == ["CT"]
    assert series["0008103E"]["Value"] == ["axial"]
    assert series["00200011"]["Value"] == [3]


@pytest.mark.parametrize(
    ("query", "patients"),
    [
        ("PatientName=*phan*", {"CINE"}),
        ("00100020=*LAT*", {"FLAT"}),
        ("AccessionNumber=*A1*&00100020=CT", {"CT"}),
        ("StudyDescription=*hora*&ModalitiesInStudy=US", {"CINE"}),
        ("ModalitiesInStudy=CR,US&StudyDescription=Thorax", {"FLAT", "CINE"}),
        ("StudyDate=19700102-20260102&00100020=CT", {"CT"}),
        ("StudyInstanceUID={ct}%5C{cine}", {"CT", "CINE"}),
    ],
)
def test_the_filters_of_the_list_find(archive, query, patients):
    uids = {name: archive.ds(name).StudyInstanceUID for name in ("cine",)}
    query = query.format(ct=archive.ds("ct-1").StudyInstanceUID, **uids)
    answers = archive.get(f"{LIST}{'%2C'.join(FIELDS)}&{query}", **JSON).json()
    assert {answer["00100020"]["Value"][0] for answer in answers} == patients


# -- 4, 5, 6: pixels ---------------------------------------------------------------------------
@pytest.mark.parametrize("name", FRAME_TYPES)
def test_frames_go_as_they_are_stored_and_say_so(archive, name):
    ds = archive.ds(name)
    last = int(ds.get("NumberOfFrames", 1))
    response = archive.get(f"{archive.path(name)}/frames/{last}", **FRAMES)
    ((media_type, content),) = parts(response)
    assert media_type == FRAME_TYPES[name]
    assert content.rstrip(b"\0") in ds.PixelData


def test_waveforms_come_as_a_single_part_and_as_a_multipart(archive):
    (metadata,) = archive.get(f"{archive.path('waveform_ecg.dcm')}/metadata", **JSON).json()
    uri = metadata["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
    uri = uri.removeprefix("/dicom-web")
    sent = archive.ds("waveform_ecg.dcm").WaveformSequence[0].WaveformData
    assert archive.get(uri, **OCTETS).content == sent
    assert [content for _, content in parts(archive.get(uri, **FRAMES))] == [sent]


def test_a_palette_is_in_line(archive):
    (metadata,) = archive.get(f"{archive.path('examples_palette.dcm')}/metadata", **JSON).json()
    for tag in ("00281201", "00281202", "00281203"):
        assert "InlineBinary" in metadata[tag]


def test_a_pixel_spacing_of_nothing_is_sent_as_it_is_and_draws_no_black_picture(archive):
    (metadata,) = archive.get(f"{archive.path('flat')}/metadata", **JSON).json()
    assert metadata["00280030"]["Value"] == [0, 0]
    from PIL import Image

    picture = archive.get(f"{archive.path('flat')}/rendered", Accept="image/png")
    lowest, highest = Image.open(io.BytesIO(picture.content)).convert("L").getextrema()
    assert lowest < 64 < 192 < highest


# -- 7, 8: metadata ----------------------------------------------------------------------------
def series_path(archive):
    return archive.path("ct-1").partition("/instances")[0]


def test_series_metadata_lie_compressed_and_pass_through_as_they_lie(archive):
    path = f"{series_path(archive)}/metadata"
    with archive.client.stream("GET", path, headers=JSON) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert int(response.headers["content-length"]) == len(raw)
    plain = archive.get(path, **{"Accept": JSON["Accept"], "Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    assert len(raw) * 5 < len(plain.content)
    assert len(json.loads(plain.content)) == 20


def test_metadata_are_validated_not_sent_again(archive):
    path = f"{series_path(archive)}/metadata"
    first = archive.get(path, **JSON)
    again = archive.get(path, **JSON, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


def test_bulk_data_uris_name_no_host(archive):
    """Behind a proxy our host and scheme are not those the browser knows."""
    for answer in archive.get(f"{series_path(archive)}/metadata", Host="evil.example").json():
        assert answer["7FE00010"]["BulkDataURI"].startswith("/dicom-web/studies/")


# -- HTTP ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/studies", JSON),
        ("{series}/metadata", JSON),
        ("{instance}", AS_STORED),
        ("{instance}/frames/1", FRAMES),
        ("{instance}/bulkdata/7FE00010", OCTETS),
        ("{instance}/rendered", {"Accept": "image/jpeg"}),
    ],
)
def test_head_is_get_without_its_body(archive, path, headers):
    path = path.format(series=series_path(archive), instance=archive.path("ct-1"))
    whole, head = archive.get(path, **headers), archive.client.head(path, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag"):
        assert head.headers.get(name) == whole.headers.get(name)
    kinds = [answer.headers["content-type"].partition(";")[0] for answer in (head, whole)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(
    ("wanted", "status", "cut"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=500-", 206, slice(500, None)),
        ("bytes=-8", 206, slice(-8, None)),
        ("bytes=99999-", 416, None),
    ],
)
def test_bulk_data_and_files_come_by_range(archive, wanted, status, cut):
    pixels = archive.ds("ct-1").PixelData
    path = archive.path("ct-1")
    response = archive.get(f"{path}/bulkdata/7FE00010", **OCTETS, Range=wanted)
    assert response.status_code == status
    if cut is not None:
        assert response.content == pixels[cut]
        assert response.headers["content-range"].endswith(f"/{len(pixels)}")
    whole = archive.get(path, **AS_STORED).content
    piece = archive.get(path, **AS_STORED, Range=wanted)
    assert piece.status_code == status
    assert cut is None or piece.content == whole[cut]


def test_a_study_comes_as_a_zip(archive):
    study = archive.path("ct-1").partition("/series")[0]
    response = archive.get(study, Accept="application/zip")
    assert response.headers["content-type"] == "application/zip"
    assert ".zip" in response.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(response.content)) as zipped:
        assert zipped.testzip() is None
        files = {name.rpartition("/")[2]: zipped.read(name) for name in zipped.namelist()}
    assert len(files) == 20
    for number in range(1, 21):
        sent = archive.files[f"ct-{number}"]
        uid = archive.ds(f"ct-{number}").SOPInstanceUID
        assert data_set_bytes(files[f"{uid}.dcm"]) == data_set_bytes(sent)


def test_wado_uri_gives_the_file_and_the_picture(archive, node):
    ds = archive.ds("ct-1")
    query = f"requestType=WADO&studyUID={ds.StudyInstanceUID}&seriesUID={ds.SeriesInstanceUID}"
    url = f"{node.url}/wado?{query}&objectUID="
    wrong = archive.client.get(f"{url}1.2.3")
    assert wrong.status_code == 404
    url += ds.SOPInstanceUID
    file = archive.client.get(f"{url}&contentType=application/dicom")
    assert data_set_bytes(file.content) == data_set_bytes(archive.files["ct-1"])
    assert archive.client.get(url).headers["content-type"] == "image/jpeg"


def test_the_capabilities_name_every_resource(archive, node):
    described = archive.client.get(f"{node.dicomweb}/", headers={"Accept": "application/json"})
    resources = described.json()["resources"]
    assert any(path.endswith("/studies") for path in resources)
    assert any(path.endswith("/frames/{frames}") for path in resources)
    wadl = archive.client.request("OPTIONS", node.dicomweb)
    assert wadl.headers["content-type"].startswith("application/vnd.sun.wadl+xml")
    assert b"SearchforStudies" in wadl.content


# -- Accept ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "accept", "got"),
    [
        ("/studies", "application/json;q=0.9, application/dicom+json;q=0.1", "application/json"),
        ("/studies", "text/html, application/dicom+json;q=0.5", "application/dicom+json"),
        ("/studies", "*/*;q=0.1", "application/dicom+json"),
        ("{instance}", "application/zip;q=0.2, application/dicom;q=0.8", "application/dicom"),
        ("{instance}", "application/zip, application/dicom;q=0.8", "application/zip"),
        ("{instance}/rendered", "image/png;q=0.5, image/jpeg;q=0.4", "image/png"),
        ("{instance}/rendered", "image/*;q=0.5, image/jpeg;q=0", "image/png"),
        ("{instance}/frames/1", "image/jls;q=0.9, application/octet-stream;q=0.3", "image/jls"),
    ],
)
def test_the_most_wanted_form_is_sent(archive, path, accept, got):
    response = archive.get(path.format(instance=archive.path("ct-1")), Accept=accept)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == got


def test_a_big_endian_image_is_turned_for_who_reads_little(archive):
    ds = a_data_set(PatientID="BIG")
    little = ds.PixelData
    ds.PixelData = np.frombuffer(little, "<u2").astype(">u2").tobytes()
    archive.files["big"] = part10(ds, ExplicitVRBigEndian)
    assert archive.store(archive.files["big"]).status_code == 200
    ((_, content),) = parts(archive.get(f"{archive.path('big')}/frames/1", **FRAMES))
    assert content == little


@pytest.mark.parametrize(
    ("path", "accept", "hint"),
    [
        ("/studies", "text/csv", "application/dicom+json"),
        ("{instance}", "image/png", "application/dicom"),
        ("{instance}/frames/1", "image/webp", "application/octet-stream"),
        ("{instance}/rendered", "application/pdf", "image/jpeg"),
        ("{series}/metadata", "application/dicom", "application/dicom+json"),
    ],
)
def test_406_says_what_there_is(archive, path, accept, hint):
    path = path.format(series=series_path(archive), instance=archive.path("ct-1"))
    response = archive.get(path, Accept=accept)
    assert response.status_code == 406
    assert response.headers["content-type"] == "application/problem+json"
    assert hint in response.json()["detail"]


@pytest.mark.parametrize(
    ("media_type", "body", "status", "hint"),
    [
        ("text/plain", b"hello", 415, "multipart/related"),
        ('multipart/related; type="image/png"; boundary=b', b"--b--", 415, "application/dicom"),
        ('multipart/related; type="application/dicom"', b"--b--", 400, "boundary"),
        ('multipart/related; type="application/dicom"; boundary=b', b"no", 400, ""),
    ],
)
def test_what_cannot_be_stored_is_told(archive, media_type, body, status, hint):
    response = archive.client.post("/studies", content=body, headers={"Content-Type": media_type})
    assert response.status_code == status, response.text
    assert hint in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies/1.2.3", 404),
        ("/studies/1.2.3/metadata", 404),
        ("{instance}/frames/2", 404),
        ("{instance}/frames/0", 400),
        ("{instance}/bulkdata/00101010", 404),
        ("/studies/not-a-uid", 400),
        ("/studies?limit=none", 400),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_is_told(archive, path, status):
    response = archive.get(path.format(instance=archive.path("ct-1")))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.json()["detail"]) > 10
