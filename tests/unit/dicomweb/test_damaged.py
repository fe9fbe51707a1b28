"""What is marked as damaged leaves by no door, the rest does, and the answer says so."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from filmroom.archive.records import Damage
from filmroom.index import selecting
from instances import an_instance

MULTI = 'multipart/related; type="application/dicom"; transfer-syntax=*'
SERIES = "/studies/1.1/series/1.1.1"
DAMAGED = f"{SERIES}/instances/1.1.1.2"
SOUND = f"{SERIES}/instances/1.1.1.3"
LEFT_OUT = '299 filmroom "1 of the instances left out: their stored files are damaged"'


def mark(room, uid):
    assert room.index.integrity.mark(room.index.instance(uid), Damage.CONTENT, 1.0)
    room.retriever.distrust(uid)


@pytest.fixture
async def filled(room):
    for n in range(1, 4):
        file = an_instance(
            SOPInstanceUID=f"1.1.1.{n}",
            InstanceNumber=n,
            seed=n,
            StudyInstanceUID="1.1",
            SeriesInstanceUID="1.1.1",
        )
        assert (await room.store(file)).status_code == 200
    return room


@pytest.fixture(params=["few", "many"])
async def damaged(filled, request, monkeypatch):
    if request.param == "many":
        monkeypatch.setattr(selecting, "PAGE", 2)
    mark(filled, "1.1.1.2")
    return filled


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", MULTI),
        ("", "application/dicom"),
        ("", "application/zip"),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2'),
        ("/frames/1", "*/*"),
        ("/bulkdata/7FE00010", "*/*"),
        ("/rendered", "image/png"),
        ("/thumbnail", "image/png"),
        ("/frames/1/rendered", "image/png"),
        ("/metadata", "application/dicom+json"),
    ],
)
async def test_no_door_gives_it(filled, path, accept):
    for get in (filled.get, filled.head):
        before = await get(DAMAGED + path, headers={"Accept": accept})
        assert before.status_code == 200, before.text
    mark(filled, "1.1.1.2")
    refused = await filled.get(DAMAGED + path, headers={"Accept": accept})
    assert refused.status_code == 500
    assert "damaged" in refused.json()["detail"]
    assert (await filled.head(DAMAGED + path, headers={"Accept": accept})).status_code == 500
    other = await filled.get(SOUND + path, headers={"Accept": accept})
    assert other.status_code == 200


@pytest.mark.parametrize("content", ["application/dicom", "image/png", "*/*"])
async def test_wado_uri_does_not_either(damaged, content):
    uids = "studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1"
    for number, status in ((2, 500), (3, 200)):
        url = f"http://test/wado?requestType=WADO&{uids}.{number}&contentType={content}"
        assert (await damaged.get(url)).status_code == status


@pytest.mark.parametrize("path", [SERIES, "/studies/1.1"])
async def test_of_a_series_all_others_are_sent(damaged, parts, path):
    response = await damaged.get(path, headers={"Accept": MULTI})
    assert (response.status_code, response.headers["warning"]) == (206, LEFT_OUT)
    bodies = [body for _, body in parts(response)]
    assert len(bodies) == 2
    assert not any(b"1.1.1.2\0" in body for body in bodies)


async def test_a_zip_says_what_is_not_in_it(damaged):
    response = await damaged.get(SERIES, headers={"Accept": "application/zip"})
    assert (response.status_code, response.headers["warning"]) == (200, LEFT_OUT)
    zipped = zipfile.ZipFile(io.BytesIO(response.content))
    assert zipped.namelist() == [
        "1.1/1.1.1/1.1.1.1.dcm",
        "1.1/1.1.1/1.1.1.3.dcm",
        "NOT-COMPLETE.txt",
    ]
    assert zipped.read("NOT-COMPLETE.txt").decode().splitlines()[1:] == ["1.1.1.2"]


@pytest.mark.parametrize("path", [SERIES, "/studies/1.1"])
async def test_metadata_leave_it_out_with_a_warning(damaged, path):
    response = await damaged.get(f"{path}/metadata")
    assert (response.status_code, response.headers["warning"]) == (200, LEFT_OUT)
    uids = [each["00080018"]["Value"][0] for each in json.loads(response.content)]
    assert uids == ["1.1.1.1", "1.1.1.3"]


@pytest.mark.parametrize("path", [f"{SERIES}/rendered", f"{SERIES}/thumbnail"])
async def test_another_picture_stands_for_the_series(filled, path):
    mark(filled, "1.1.1.2")  # the middle one
    assert (await filled.get(path, headers={"Accept": "image/png"})).status_code == 200
    for uid in ("1.1.1.1", "1.1.1.3"):
        mark(filled, uid)
    assert (await filled.get(path, headers={"Accept": "image/png"})).status_code == 500


@pytest.mark.parametrize("accept", [MULTI, "application/zip"])
async def test_when_nothing_is_sound_nothing_is_sent(damaged, accept):
    for uid in ("1.1.1.1", "1.1.1.3"):
        mark(damaged, uid)
    for path in (SERIES, "/studies/1.1"):
        response = await damaged.get(path, headers={"Accept": accept})
        assert response.status_code == 500
        assert "damaged" in response.json()["detail"]


async def test_it_is_still_found(damaged):
    found = await damaged.get("/instances")
    assert len(found.json()) == 3


async def test_a_picture_made_of_a_damaged_file_does_not_outlive_it(room):
    """The same content heals it, so the picture cannot be known by the content alone."""
    uids = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.2"}
    await room.store(an_instance(PatientComments="shown nowhere else", **uids))
    path = room.folder / "store" / room.index.instance("1.1.1.2").location.key
    whole = path.read_bytes()
    path.write_bytes(whole[:-512] + bytes(512))
    wrong = (await room.get(f"{DAMAGED}/rendered", headers={"Accept": "image/png"})).content
    mark(room, "1.1.1.2")
    path.write_bytes(whole)
    room.index.integrity.unmark("1.1.1.2")
    right = (await room.get(f"{DAMAGED}/rendered", headers={"Accept": "image/png"})).content
    assert right != wrong
