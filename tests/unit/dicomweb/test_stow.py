"""PS3.18 10.5: stored means durable; every instance has its outcome; broken bodies harm nobody."""

import gzip
import time

import httpx
import pytest

from filmroom.archive.errors import ArchiveError, Refused, Unavailable
from filmroom.archive.records import Outcome, Stored
from filmroom.dicomweb.multipart import PART_TAIL, closing, content_type, part_head
from filmroom.dicomweb.service import Settings
from filmroom.dicomweb.stow_report import FAILURE_REASON, Report, failed
from instances import a_data_set, an_instance, data_set_bytes, part10

DICOM_BODY = {"Content-Type": content_type("cut", "application/dicom")}


def failures(response):
    return [item["00081197"]["Value"][0] for item in response.json()["00081198"]["Value"]]


async def test_instances_of_one_request_are_held_when_it_is_answered(room):
    files = [an_instance(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4") for _ in range(20)]
    response = await room.store(*files)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    answer = response.json()
    assert answer["00081190"] == {"vr": "UR", "Value": ["/dicom-web/studies/1.2.3"]}
    assert len(answer["00081199"]["Value"]) == 20
    url = answer["00081199"]["Value"][0]["00081190"]["Value"][0]
    back = await room.get(
        f"http://test{url}", headers={"Accept": "application/dicom; transfer-syntax=*"}
    )
    assert data_set_bytes(back.content) in [data_set_bytes(file) for file in files]
    assert room.temporary_files() == []


async def test_one_file_may_be_the_whole_body(room):
    response = await room.post(
        "/studies", content=an_instance(), headers={"Content-Type": "application/dicom"}
    )
    assert response.status_code == 200


async def test_a_body_may_be_gzipped(room):
    body = gzip.compress(an_instance())
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    assert (await room.post("/studies", content=body, headers=headers)).status_code == 200
    cut = await room.post("/studies", content=body[:-20], headers=headers)
    assert cut.status_code == 400
    noise = await room.post("/studies", content=b"noise", headers=headers)
    assert noise.status_code == 400
    headers["Content-Encoding"] = "br"
    assert (await room.post("/studies", content=body, headers=headers)).status_code == 415


GZIPPED = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}


@pytest.mark.parametrize("end", [b"", b"\0" * 700])
async def test_a_gzip_body_may_have_several_members(room, end):
    file = an_instance()
    pieces = [file[at : at + 200] for at in range(0, len(file), 200)]
    body = b"".join(map(gzip.compress, pieces)) + end

    async def in_drops():
        for at in range(0, len(body), 37):
            yield body[at : at + 37]

    for content in (body, in_drops()):
        response = await room.post("/studies", content=content, headers=GZIPPED)
        assert response.status_code == 200, response.text


async def test_gzip_members_are_no_way_to_keep_us_busy(room):
    body = gzip.compress(an_instance()) + gzip.compress(b"") * 5000
    assert (await room.post("/studies", content=body, headers=GZIPPED)).status_code == 400
    noise = gzip.compress(an_instance()) + b"noise"
    assert (await room.post("/studies", content=noise, headers=GZIPPED)).status_code == 400


async def test_a_gzip_bomb_is_refused(room):
    body = gzip.compress(bytes(200_000_000), 1)
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    assert (await room.post("/studies", content=body, headers=headers)).status_code in (400, 413)
    assert room.temporary_files() == []


async def test_the_same_bytes_again_are_a_success(room):
    file = an_instance()
    assert (await room.store(file)).status_code == 200
    assert (await room.store(file)).status_code == 200


async def test_other_bytes_under_a_held_uid_are_a_warning(room):
    first, second = a_data_set(), a_data_set(seed=1)
    second.SOPInstanceUID = first.SOPInstanceUID
    second.StudyInstanceUID, second.SeriesInstanceUID = (
        first.StudyInstanceUID,
        first.SeriesInstanceUID,
    )
    await room.store(part10(first))
    response = await room.store(part10(second))
    assert response.status_code == 202
    (item,) = response.json()["00081199"]["Value"]
    assert item["00081196"]["Value"] == [0xB00E]


async def test_an_instance_of_another_study_is_a_conflict(room):
    response = await room.store(an_instance(), path="/studies/1.2.3")
    assert response.status_code == 409
    assert failures(response) == [0xA900]


async def test_good_and_bad_parts_have_their_own_outcomes(room):
    file = an_instance()
    response = await room.store(b"noise" * 1000, file, b"", file[:-100])
    assert response.status_code == 202
    assert len(response.json()["00081199"]["Value"]) == 1
    assert failures(response) == [0xC000] * 3


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
async def test_a_truncated_file_is_bad_syntax(room, share):
    file = an_instance(rows=64, columns=64)
    response = await room.store(file[: int(len(file) * share)])
    assert response.status_code == 400
    assert failures(response) == [0xC000]
    assert room.temporary_files() == []


async def test_a_viewer_must_not_store(make_room):
    response = await make_room(role="viewer").store(an_instance())
    assert response.status_code == 403


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/json", 'multipart/related; type="text/xml"; boundary=x', ""],
)
async def test_a_body_of_another_kind_is_unsupported_and_the_answer_helps(room, media_type):
    response = await room.post("/studies", content=b"x", headers={"Content-Type": media_type})
    assert response.status_code == 415
    assert "application/dicom" in response.json()["detail"]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ('multipart/related; type="application/dicom"', b"--x\r\n\r\n\r\n--x--"),
        (DICOM_BODY["Content-Type"], b""),
        (DICOM_BODY["Content-Type"], b"--cut\r\n\r\nDICM"),
        (DICOM_BODY["Content-Type"], b"--cut--\r\n"),
        (DICOM_BODY["Content-Type"], b"--cut\r\nX: " + b"y" * 300_000),
        (DICOM_BODY["Content-Type"], b"--cut\r\n\r\nnot dicom\r\n" * 20_000),
        (DICOM_BODY["Content-Type"], b"--cut\r\n\r\n\r\n" * 20_000),
        ("multipart/related; boundary=" + "x" * 100, b""),
        ("multipart", b""),
    ],
)
async def test_a_broken_multipart_is_a_bad_request_at_once(room, media_type, body):
    started = time.process_time()
    response = await room.post("/studies", content=body, headers={"Content-Type": media_type})
    assert response.status_code == 400
    assert time.process_time() - started < 1
    assert room.temporary_files() == []


async def test_twenty_thousand_parts_of_noise_are_given_up_early(room):
    body = b"".join(b"--cut\r\n\r\nnoise%d\r\n" % n for n in range(20_000)) + b"--cut--"
    started = time.process_time()
    response = await room.post("/studies", content=body, headers=DICOM_BODY)
    assert response.status_code == 400
    assert time.process_time() - started < 1


async def test_what_was_complete_before_the_body_broke_is_kept_and_told(make_room):
    room = make_room(settings=Settings(max_parts=2))
    response = await room.store(*(an_instance() for _ in range(3)))
    assert response.status_code == 202
    assert len(response.json()["00081199"]["Value"]) == 2
    assert failures(response) == [0xC000]


async def test_a_client_that_leaves_leaves_nothing_half_stored(room):
    file = an_instance()
    begun = part_head("cut", {}) + file + PART_TAIL + part_head("cut", {}) + file[:2000]

    sent = []
    messages = [
        {"type": "http.request", "body": begun, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/dicom-web/studies",
        "query_string": b"",
        "headers": [(b"content-type", DICOM_BODY["Content-Type"].encode())],
        "client": ("127.0.0.1", 1),
    }
    await room.door(scope, receive, send)
    assert room.temporary_files() == []
    assert len((await room.get("/studies")).json()) == 1


async def test_the_answer_may_be_xml(room):
    response = await room.store(an_instance(), headers={"Accept": "application/dicom+xml"})
    assert response.status_code == 200
    assert b"NativeDicomModel" in response.content
    response = await room.store(an_instance(), headers={"Accept": "text/html"})
    assert response.status_code == 406


def test_every_archive_error_has_a_reason():
    assert set(FAILURE_REASON) | {type(None)} >= set(ArchiveError.__subclasses__()) - {
        each for each in ArchiveError.__subclasses__() if each.__name__ == "NotHeld"
    }


def test_the_status_says_what_the_outcomes_say():
    stored = Stored(Outcome.NEW, "1", "1.1", "1.1.1", "1.2")
    broken, busy = failed(Refused("no")), failed(Unavailable("full"))
    assert Report([stored], []).status == 200
    assert Report([stored], [broken]).status == 202
    assert Report([], [broken]).status == 409
    assert Report([], [busy]).status == 503
    assert Report([], [busy, broken]).status == 409


async def test_without_room_the_client_is_asked_to_try_again(room, monkeypatch):
    def full():
        raise Unavailable("out of space", detail="/secret/path: ENOSPC")

    monkeypatch.setattr(room.blobs, "stage", full)
    response = await room.store(an_instance())
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert b"/secret" not in response.content
    assert failures(response) == [0xA700]


async def test_parts_are_committed_while_others_arrive(room):
    """No part waits for the end of the request, and no more than 16 are under way."""
    under_way, most = 0, 0
    commit = room.committer.commit

    async def counted(*arguments):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await commit(*arguments)
        finally:
            under_way -= 1

    room.committer.commit = counted
    study = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    files = [an_instance(rows=256, columns=256, **study) for _ in range(40)]

    async def body():
        for file in files:
            yield part_head("cut", {}) + file + PART_TAIL
        yield closing("cut")

    response = await room.post("/studies", content=body(), headers=DICOM_BODY)
    assert response.status_code == 200
    assert 2 <= most <= 16


async def test_a_uid_in_the_path_is_checked(room):
    for path in ("/studies/..%2f..%2fetc", "/studies/1.2.x", "/studies/" + "1." * 40 + "1"):
        response = await room.store(an_instance(), path=path)
        assert response.status_code in (400, 404, 405)
    assert isinstance(response, httpx.Response)


async def test_much_that_is_no_dicom_does_not_hide_what_is(room):
    dicom, jpeg = (part_head("cut", {"Content-Type": t}) for t in ("application/dicom", "image/x"))
    body = dicom + an_instance() + PART_TAIL + (jpeg + b"x" + PART_TAIL) * 120
    body += dicom + an_instance() + PART_TAIL + closing("cut")
    response = await room.post("/studies", content=body, headers=DICOM_BODY)
    assert response.status_code == 202
    assert len(response.json()["00081199"]["Value"]) == 2
    assert len(response.json()["00081198"]["Value"]) == 120
