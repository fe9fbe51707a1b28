"""PS3.18 10.4: what was stored comes back; in the syntax asked for; never by guess."""

import io
import json
import zipfile

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from filmroom.dicomweb import archive_zip
from filmroom.index import selecting
from instances import a_data_set, an_instance, data_set_bytes, part10

MULTI = 'multipart/related; type="application/dicom"; transfer-syntax=*'
DEFAULT = 'multipart/related; type="application/dicom"'
SINGLE = "application/dicom; transfer-syntax=*"
STUDY = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}
IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture
async def filled(room):
    room.files = [
        an_instance(SOPInstanceUID=f"1.1.1.{n}", InstanceNumber=n, seed=n, **STUDY)
        for n in range(1, 4)
    ]
    assert (await room.store(*room.files)).status_code == 200
    return room


async def test_a_study_comes_back_whole(filled, parts):
    response = await filled.get("/studies/1.1", headers={"Accept": MULTI})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(
        'multipart/related; type="application/dicom"; boundary='
    )
    assert int(response.headers["content-length"]) == len(response.content)
    found = parts(response)
    assert [data_set_bytes(body) for _, body in found] == list(map(data_set_bytes, filled.files))
    assert {t for t, _ in found} == {"application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 2)


async def test_a_study_of_many_pages_comes_back_whole_without_a_length(filled, parts, small_pages):
    response = await filled.get("/studies/1.1", headers={"Accept": MULTI})
    found = parts(response)
    assert [data_set_bytes(body) for _, body in found] == list(map(data_set_bytes, filled.files))
    assert "content-length" not in response.headers


async def test_a_study_of_many_pages_in_another_syntax_and_as_a_zip(filled, parts, small_pages):
    implicit = f"{DEFAULT}; transfer-syntax={IMPLICIT}"
    found = parts(await filled.get("/studies/1.1", headers={"Accept": implicit}))
    assert {t for t, _ in found} == {f"application/dicom; transfer-syntax={IMPLICIT}"}
    zipped = await filled.get("/studies/1.1", headers={"Accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        bodies = [data_set_bytes(archive.read(name)) for name in archive.namelist()]
    assert bodies == list(map(data_set_bytes, filled.files))


async def test_what_one_of_many_pages_cannot_be_is_refused_before_the_answer(room, small_pages):
    files = [
        an_instance(SOPInstanceUID=f"1.1.1.{n}", InstanceNumber=n, **STUDY) for n in range(1, 5)
    ]
    assert (await room.store(*files)).status_code == 200
    accept = f"{DEFAULT}; transfer-syntax=1.2.840.10008.1.2.4.100"
    assert (await room.get("/studies/1.1", headers={"Accept": accept})).status_code == 406


async def test_the_directory_of_a_long_zip_waits_in_the_data_folder(filled, monkeypatch):
    monkeypatch.setattr(archive_zip, "DIRECTORY_BYTES", 100)
    staged, stage = [], filled.archive.blobs.stage
    monkeypatch.setattr(filled.archive.blobs, "stage", lambda: staged.append(stage()) or staged[-1])
    zipped = await filled.get("/studies/1.1", headers={"Accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        assert len(archive.namelist()) == 3
        assert archive.testzip() is None
    assert [file.fd for file in staged] == [-1]


async def test_a_study_may_grow_and_is_asked_for_again(room):
    await room.store(an_instance(SOPInstanceUID="1.1.1.1", **STUDY))
    study = await room.get("/studies/1.1", headers={"Accept": MULTI})
    assert study.headers["cache-control"] == "private, no-cache"
    path = "/studies/1.1/series/1.1.1/instances/1.1.1.1"
    instance = await room.get(path, headers={"Accept": MULTI})
    assert "immutable" in instance.headers["cache-control"]
    headers = {"Accept": MULTI, "If-None-Match": instance.headers["etag"]}
    assert (await room.get(path, headers=headers)).status_code == 304


@pytest.mark.parametrize("path", ["/studies/1.1/series/1.1.1", "/studies/1.1"])
async def test_a_series_comes_back_whole(filled, parts, path):
    assert len(parts(await filled.get(path))) == 3


async def test_an_instance_comes_alone_or_in_a_multipart(filled, parts):
    path = "/studies/1.1/series/1.1.1/instances/1.1.1.2"
    ((_, inside),) = parts(await filled.get(path, headers={"Accept": DEFAULT}))
    alone = await filled.get(path, headers={"Accept": SINGLE})
    assert alone.content == inside
    assert alone.headers["content-type"].startswith("application/dicom; transfer-syntax=")
    assert alone.headers["content-disposition"] == 'attachment; filename="1.1.1.2.dcm"'
    assert alone.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in alone.headers["cache-control"]
    assert "private" in alone.headers["cache-control"]
    head = await filled.head(path, headers={"Accept": SINGLE})
    assert (head.content, head.headers["content-length"]) == (b"", str(len(alone.content)))
    etag = alone.headers["etag"]
    again = await filled.get(path, headers={"Accept": SINGLE, "If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_download_can_be_resumed(filled):
    path = "/studies/1.1/series/1.1.1/instances/1.1.1.2"
    whole = (await filled.get(path, headers={"Accept": SINGLE})).content
    rest = await filled.get(path, headers={"Accept": SINGLE, "Range": "bytes=100-"})
    assert (rest.status_code, rest.content) == (206, whole[100:])
    assert rest.headers["content-range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"


async def test_a_preamble_is_zero_whatever_was_sent(room):
    file = b"MZ\x90\x00" + b"<script>" + an_instance(SOPInstanceUID="1.1.1.1", **STUDY)[12:]
    assert (await room.store(file)).status_code == 200
    path = "/studies/1.1/series/1.1.1/instances/1.1.1.1"
    back = (await room.get(path, headers={"Accept": SINGLE})).content
    assert back[:132] == bytes(128) + b"DICM"


async def test_a_large_instance_streams(room):
    file = an_instance(rows=1024, columns=1024, SOPInstanceUID="1.1.1.1", **STUDY)
    await room.store(file)
    path = "/studies/1.1/series/1.1.1/instances/1.1.1.1"
    response = await room.get(path, headers={"Accept": SINGLE})
    assert data_set_bytes(response.content) == data_set_bytes(file)
    middle = await room.get(path, headers={"Accept": SINGLE, "Range": "bytes=1000000-1600000"})
    assert middle.content == response.content[1_000_000:1_600_001]
    head = await room.head("/studies/1.1", headers={"Accept": MULTI})
    assert int(head.headers["content-length"]) > len(file)


async def test_implicit_is_sent_explicit_unless_stored_is_asked_for(room, parts):
    ds = a_data_set(SOPInstanceUID="1.1.1.1", **STUDY)
    file = part10(ds, ImplicitVRLittleEndian)
    await room.store(file)
    ((media_type, body),) = parts(await room.get("/studies/1.1", headers={"Accept": DEFAULT}))
    assert media_type.endswith("=1.2.840.10008.1.2.1")
    read = pydicom.dcmread(io.BytesIO(body))
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert read.PixelData == ds.PixelData
    assert read.PatientName == ds.PatientName
    ((media_type, body),) = parts(await room.get("/studies/1.1", headers={"Accept": MULTI}))
    assert media_type.endswith("=1.2.840.10008.1.2")
    assert data_set_bytes(body) == data_set_bytes(file)


async def test_pixels_are_recoded_when_the_client_demands_it(filled, parts):
    accept = f"{DEFAULT}; transfer-syntax=1.2.840.10008.1.2.4.80"
    found = parts(await filled.get("/studies/1.1", headers={"Accept": accept}))
    assert len(found) == 3
    for (_, body), file in zip(found, filled.files, strict=True):
        recoded = pydicom.dcmread(io.BytesIO(body))
        assert recoded.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.80"
        original = pydicom.dcmread(io.BytesIO(file))
        assert (recoded.pixel_array == original.pixel_array).all()


async def test_native_pixels_are_deflated_when_the_client_demands_it(room):
    ds = a_data_set(frames=2, SOPInstanceUID="1.1.1.1", **STUDY)
    assert (await room.store(part10(ds))).status_code == 200
    accept = {"Accept": f"application/dicom; transfer-syntax={DeflatedExplicitVRLittleEndian}"}
    path = "/studies/1.1/series/1.1.1/instances/1.1.1.1"
    read = pydicom.dcmread(io.BytesIO((await room.get(path, headers=accept)).content))
    assert read.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert read.PixelData == ds.PixelData
    assert read.PatientName == ds.PatientName


async def test_a_syntax_we_cannot_make_is_not_acceptable(filled):
    accept = f"{DEFAULT}; transfer-syntax=1.2.840.10008.1.2.4.100"
    response = await filled.get("/studies/1.1", headers={"Accept": accept})
    assert response.status_code == 406
    assert "transfer-syntax=*" in response.json()["detail"]


@pytest.mark.parametrize("accept", ["text/html", "application/dicom", "image/png"])
async def test_a_study_comes_as_multipart_or_zip_only(filled, accept):
    assert (await filled.get("/studies/1.1", headers={"Accept": accept})).status_code == 406


@pytest.mark.parametrize("query", ["", "?accept=application/zip"])
async def test_a_study_comes_as_zip(filled, query):
    headers = {} if query else {"Accept": "application/zip"}
    response = await filled.get(f"/studies/1.1{query}", headers=headers)
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == 'attachment; filename="1.1.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"1.1/1.1.1/1.1.1.{n}.dcm" for n in range(1, 4)]
        stored = archive.read("1.1/1.1.1/1.1.1.2.dcm")
    assert data_set_bytes(stored) == data_set_bytes(filled.files[1])


@pytest.mark.parametrize(
    "path",
    [
        "/studies/9.9",
        "/studies/1.1/series/9.9",
        "/studies/1.1/series/1.1.1/instances/9.9",
        "/studies/9.9/series/1.1.1/instances/1.1.1.1",
        "/studies/9.9/metadata",
        "/studies/1.1/series/9.9/metadata",
        "/studies/1.1/series/1.1.1/instances/9.9/metadata",
        "/studies/1.1/series/1.1.1/instances/9.9/frames/1",
        "/nothing/here",
    ],
)
async def test_what_is_not_there_is_not_found(filled, path):
    response = await filled.get(path)
    assert response.status_code == 404
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/studies/..%2f..%2fetc%2fpasswd",
        "/studies/1.2/series/%2e%2e",
        "/studies/1..2",
        "/studies/1.2x",
        "/studies/" + "1" * 65,
        "/studies/1.1/series/1.1.1/instances/1.1.1.1%00/metadata",
        "/studies/1.1/series/1.1.1/instances/1.1.1.1/frames/0",
        "/studies/1.1/series/1.1.1/instances/1.1.1.1/frames/a",
        "/studies/1.1/series/1.1.1/instances/1.1.1.1/bulkdata/..%2f..%2fetc",
        "/studies/1.1/series/1.1.1/instances/1.1.1.1/bulkdata/xyz",
    ],
)
async def test_a_path_that_is_none_is_refused(filled, path):
    assert (await filled.get(path)).status_code in (400, 404)


async def test_other_methods_are_not_allowed(filled):
    response = await filled.delete("/studies/1.1")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
    assert "GET, POST" in response.json()["detail"]
    assert (await filled.put("/series")).status_code == 405
    assert (await filled.delete("/nothing")).status_code == 404


# -- metadata ----------------------------------------------------------
async def test_metadata_are_the_headers_with_relative_bulk_uris(filled):
    path = "/studies/1.1/series/1.1.1/metadata"
    response = await filled.get(path, headers={"Accept-Encoding": "identity"})
    assert response.headers["content-type"] == "application/dicom+json"
    assert [each["00080018"]["Value"][0] for each in response.json()] == [
        "1.1.1.1",
        "1.1.1.2",
        "1.1.1.3",
    ]
    uri = response.json()[0]["7FE00010"]["BulkDataURI"]
    assert uri.startswith("/dicom-web/studies/1.1/")
    bulk = await filled.get(f"http://test{uri}", headers={"Accept": "application/octet-stream"})
    assert bulk.content == pydicom.dcmread(io.BytesIO(filled.files[0])).PixelData


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.1/metadata",
        "/studies/1.1/series/1.1.1/metadata",
        "/studies/1.1/series/1.1.1/instances/1.1.1.1/metadata",
    ],
)
async def test_metadata_are_not_sent_twice(filled, path):
    first = await filled.get(path)
    assert first.headers["cache-control"] == "private, no-cache"
    etag = first.headers["etag"]
    again = await filled.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    head = await filled.head(path)
    assert (head.status_code, head.content) == (200, b"")


async def test_metadata_lie_compressed_and_go_so(filled):
    path = "/studies/1.1/series/1.1.1/metadata"
    plain = await filled.get(path, headers={"Accept-Encoding": "identity"})
    zipped = await filled.get(path, headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < len(plain.content)
    assert zipped.json() == plain.json()
    assert "Accept-Encoding" in zipped.headers["vary"]


async def test_a_series_that_grew_has_new_metadata(filled):
    path = "/studies/1.1/series/1.1.1/metadata"
    etag = (await filled.get(path)).headers["etag"]
    await filled.store(an_instance(SOPInstanceUID="1.1.1.9", InstanceNumber=9, **STUDY))
    again = await filled.get(path, headers={"If-None-Match": etag})
    assert len(again.json()) == 4


async def test_metadata_may_be_xml(filled, parts):
    accept = {"Accept": 'multipart/related; type="application/dicom+xml"'}
    found = parts(await filled.get("/studies/1.1/series/1.1.1/metadata", headers=accept))
    assert len(found) == 3
    assert b'keyword="PatientName"' in found[0][1]
    assert (await filled.get("/studies/1.1/metadata", headers={"Accept": "text/html"})
            ).status_code == 406  # fmt: skip


async def test_bad_text_gives_valid_json(room):
    file = an_instance(SOPInstanceUID="1.1.1.1", PatientName="XXXXXXXXXXXX", **STUDY)
    await room.store(file.replace(b"XXXXXXXXXXXX", b"\xff\xfe\x1b$B\xc3\x28bad  "))
    response = await room.get("/studies/1.1/metadata")
    assert json.loads(response.content)[0]["00100020"]["Value"] == ["GH-1906"]


# -- WADO-URI ----------------------------------------------------------
URI = "http://test/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.2"


async def test_wado_uri_gives_the_file(filled):
    response = await filled.get(f"{URI}&contentType=application/dicom")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/dicom")
    assert data_set_bytes(response.content) == data_set_bytes(filled.files[1])
    other = await filled.get(
        f"{URI}&contentType=application%2Fdicom&transferSyntax=1.2.840.10008.1.2.4.80"
    )
    assert pydicom.dcmread(io.BytesIO(other.content)).file_meta.TransferSyntaxUID.endswith("4.80")


@pytest.mark.parametrize(
    "url",
    [
        "http://test/wado",
        "http://test/wado?requestType=WADO",
        URI.replace("1.1.1.2", "../../etc/passwd"),
        URI.replace("requestType=WADO", "requestType=OTHER"),
        f"{URI}&anonymize=yes",
        f"{URI}&frameNumber=0",
        f"{URI}&contentType=application/dicom&transferSyntax=x",
    ],
)
async def test_wado_uri_says_what_is_wrong(filled, url):
    assert (await filled.get(url)).status_code == 400


async def test_wado_uri_does_not_find_what_is_not_there(filled):
    url = URI.replace("1.1.1.2", "9.9") + "&contentType=application/dicom"
    assert (await filled.get(url)).status_code == 404


# -- capabilities ----------------------------------------------------------
async def test_the_root_describes_what_there_is(room):
    for response in (await room.options("/"), await room.get("/"), await room.options("/studies")):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("application/vnd.sun.wadl+xml")
        assert b"SearchforStudies" in response.content
    described = (await room.get("/", headers={"Accept": "application/json"})).json()
    studies = described["resources"]["/dicom-web/studies"]
    assert studies["POST"]["consumes"][0] == 'multipart/related; type="application/dicom"'


async def test_wado_uri_shows_a_picture_by_default(filled):
    response = await filled.get(f"{URI}&rows=32&columns=32&windowCenter=40&windowWidth=400")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.content[:2] == b"\xff\xd8"
    png = await filled.get(f"{URI}&contentType=image/png")
    assert png.content[:4] == b"\x89PNG"
    assert (await filled.get(f"{URI}&contentType=text/html")).status_code == 406


async def test_wado_uri_gives_the_file_of_what_is_no_picture(room):
    ds = a_data_set(SOPInstanceUID="1.1.1.2", PixelData=None, Rows=None, **STUDY)
    await room.store(part10(ds))
    assert (await room.get(URI)).headers["content-type"].startswith("application/dicom")
    assert (await room.get(f"{URI}&contentType=image/png")).status_code == 406


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.1",
        "/studies/1.1/series/1.1.1",
        "/studies/1.1/series/1.1.1/instances/1.1.1.1",
        "/studies/1.1/series/1.1.1/instances/1.1.1.1/frames/1",
    ],
)
@pytest.mark.parametrize("kind", ["rendered", "thumbnail"])
async def test_pictures_are_had_at_every_level(filled, path, kind):
    response = await filled.get(f"{path}/{kind}?accept=image/jpeg&viewport=64,64")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/jpeg"
    assert response.content[:2] == b"\xff\xd8"
    etag = response.headers["etag"]
    again = await filled.get(
        f"{path}/{kind}?accept=image/jpeg&viewport=64,64", headers={"If-None-Match": etag}
    )
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("viewport=100000,100000", 400),
        ("viewport=a,b", 400),
        ("accept=text/html", 406),
    ],
)
async def test_a_picture_that_makes_no_sense_is_refused(filled, query, status):
    path = "/studies/1.1/series/1.1.1/instances/1.1.1.1/rendered"
    response = await filled.get(f"{path}?{query}")
    assert response.status_code == status
    assert response.json()["detail"]
