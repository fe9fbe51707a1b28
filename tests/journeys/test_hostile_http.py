"""The web door against requests that mean no good; one server for them all."""

from __future__ import annotations

import re
import socket
import time

import httpx
import pytest

from hostile_bodies import BODIES, typed
from hostile_files import data_set, new_uid, part10
from hostile_http import (
    CLOSING,
    DICOM,
    MULTIPART,
    multipart,
    part,
    raw,
    request,
)
from hostile_requests import (
    ACCEPTS,
    AMBIGUOUS,
    CHUNKED,
    CLIMBS,
    CREDENTIALS,
    LONG_HEADS,
    ODD,
    PLACES,
    QUERIES,
    SESSIONS,
    STUDIES,
    greedy,
    post,
)
from hostile_values import NAMES
from hostile_watch import MIB, discreet
from nodes import FilmroomProcess

pytestmark = pytest.mark.hostile

AT_ONCE_SECONDS = 1.0  # of the server's processor time: a busy machine does not stretch it
SOON_SECONDS = 4.0  # on the clock; a request that waits takes a timeout


@pytest.fixture(autouse=True)
def common_rule(watch):
    yield
    watch.check()


@pytest.fixture(scope="module")
def held(watch):
    """The UID of an instance that is there to be asked for."""
    uid = new_uid()
    answer = watch.http.post(
        STUDIES, content=multipart(part10(data_set(uid), uid)), headers={"Content-Type": MULTIPART}
    )
    assert answer.status_code == 200
    return uid


def cases(table):
    return pytest.mark.parametrize("sent", table.values(), ids=table.keys())


@cases(AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_closed(node, watch, sent):
    resident = watch.forget_peak()
    answer = raw(node.http_port, sent)
    assert answer.status in (400, 411, 413, 501, 505), answer.text
    assert answer.closed
    assert answer.more == b""
    assert answer.seconds < SOON_SECONDS
    discreet(answer.text)
    assert watch.memory("VmHWM") - resident < 16 * MIB


@pytest.mark.parametrize(("sent", "statuses"), LONG_HEADS.values(), ids=LONG_HEADS.keys())
def test_a_head_without_measure_is_refused(node, watch, sent, statuses):
    resident = watch.forget_peak()
    answer = raw(node.http_port, sent)
    assert answer.status in statuses, answer.head
    assert answer.seconds < SOON_SECONDS
    assert watch.memory("VmHWM") - resident < 16 * MIB


@cases(ODD)
def test_an_odd_request_is_answered_and_nothing_is_injected(node, sent):
    answer = raw(node.http_port, sent)
    assert answer.status in (200, 303, 400, 401, 403, 404, 405, 406), answer.head
    assert answer.seconds < SOON_SECONDS
    assert "\nset-cookie" not in answer.head.lower()
    assert "\n " not in answer.head
    discreet(answer.text)


def test_a_declared_length_allocates_nothing_before_it_came(node, watch):
    resident = watch.forget_peak()
    crowd = []
    for number in range(40):
        length = [("Content-Length", str(4 << 30))]
        headers = [("Content-Type", (MULTIPART, DICOM)[number % 2]), *length]
        connection = socket.create_connection(("127.0.0.1", node.http_port), 5)
        connection.sendall(request("POST", STUDIES, headers, b"--" + b"x" * 300))
        crowd.append(connection)
    watch.check(40)
    assert watch.memory("VmHWM") - resident < 32 * MIB
    for connection in crowd:
        connection.close()
    watch.tidy()


def test_a_body_for_those_who_may_not_send_one_is_not_waited_for(node):
    headers = [("Content-Type", MULTIPART), ("Content-Length", str(4 << 30))]
    answer = raw(node.http_port, request("POST", STUDIES, headers, b"x" * 1000, signed_in=False))
    assert answer.status == 401
    headers[0] = ("Content-Type", "application/json")
    answer = raw(node.http_port, request("POST", "/api/session", headers, b"{", signed_in=False))
    assert answer.status == 413


def test_pipelined_requests_are_answered_in_order_and_bounded(node, watch):
    resident = watch.forget_peak()
    with socket.create_connection(("127.0.0.1", node.http_port), 2) as connection:
        sent = 0
        try:
            while sent < 20_000:
                connection.sendall(request("GET", "/dicom-web/", [("Accept", "*/*")]) * 100)
                sent += 100
        except (TimeoutError, ConnectionError):
            pass  # held up, as it should be
        watch.check()
    assert watch.memory("VmHWM") - resident < 64 * MIB


def test_silent_connections_of_one_machine_leave_the_web_to_others(node):
    crowd = [socket.create_connection(("127.0.0.1", node.http_port), 5) for _ in range(450)]
    assert raw(node.http_port, request("GET", "/livez")).status == 200
    crowd += [socket.create_connection(("127.0.0.1", node.http_port), 5) for _ in range(550)]
    answer = raw(node.http_port, request("GET", "/livez"), source="127.0.0.2")
    assert answer.status == 200
    for connection in crowd:
        connection.close()
    deadline = time.monotonic() + 5
    while raw(node.http_port, request("GET", "/livez")).status != 200:
        assert time.monotonic() < deadline


# -- storing (rows 50, 52, 53) -------------------------------------------------------------------
@pytest.mark.parametrize(("headers", "body"), BODIES.values(), ids=BODIES.keys())
def test_a_hostile_body_is_refused_soon(watch, headers, body):
    resident = watch.forget_peak()
    began = watch.work()
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = watch.http.post(STUDIES, content=body, headers=encoded)
    assert answer.status_code in (400, 409, 411, 413, 415), answer.text
    assert watch.work() - began < AT_ONCE_SECONDS
    discreet(answer.text)
    assert watch.memory("VmHWM") - resident < 48 * MIB


def test_a_file_for_another_study_is_409(watch):
    uid = new_uid()
    body = multipart(part10(data_set(uid), uid))
    answer = watch.http.post(f"{STUDIES}/1.2.3.4", content=body, headers=typed(MULTIPART))
    assert answer.status_code == 409, answer.text


def test_rubbish_between_good_files_does_not_harm_them(watch):
    uids = [new_uid() for _ in range(5)]
    files = [part10(data_set(uid), uid) for uid in uids]
    body = b"".join(part(file) + part(b"rubbish") + part(b"") for file in files) + CLOSING
    answer = watch.http.post(STUDIES, content=body, headers=typed(MULTIPART))
    assert answer.status_code == 202, answer.text
    stored = {item["00081155"]["Value"][0] for item in answer.json()["00081199"]["Value"]}
    assert stored == set(uids)
    assert len(answer.json()["00081198"]["Value"]) == 10


def test_an_upload_broken_off_leaves_nothing_but_what_was_whole(node, watch):
    whole, half = new_uid(), new_uid()
    body = part(part10(data_set(whole), whole)) + part(part10(data_set(half), half))[:-100]
    headers = [("Content-Type", MULTIPART), ("Content-Length", "1000000")]
    with socket.create_connection(("127.0.0.1", node.http_port), 5) as connection:
        connection.sendall(request("POST", STUDIES, headers, body))
        time.sleep(0.3)
    watch.tidy()
    names = {blob.stem for blob in node.stored()}
    assert half not in names


# -- asking (rows 54-57) --------------------------------------------------------------------------
@cases(QUERIES)
def test_a_greedy_question_is_refused_or_answered_soon(watch, held, sent):
    for path in (STUDIES, "/dicom-web/series", "/dicom-web/instances"):
        began = watch.work()
        answer = watch.http.get(f"{path}?{sent}")
        assert answer.status_code in (200, 204, 400, 406), answer.text
        assert watch.work() - began < AT_ONCE_SECONDS
        discreet(answer.text if answer.status_code != 200 else "")
        assert len(answer.content) < 5 * MIB


@pytest.mark.parametrize("place", PLACES)
def test_no_address_climbs_out(node, watch, place):
    for climb in CLIMBS:
        for accept in ("*/*", "text/html"):
            sent = request("GET", place.format(climb), [("Accept", accept)])
            answer = raw(node.http_port, sent, timeout=3, linger=0)
            assert answer.status in (200, 303, 400, 401, 403, 404, 405), (climb, answer.head)
            assert b"root:" not in answer.body
            assert b"SQLite" not in answer.body
            assert "etc" in climb or answer.status != 200 or b"<html" in answer.body.lower()
            if "<html" not in answer.text.lower():
                discreet(answer.text.replace(climb, ""))
    watch.check(len(CLIMBS))


def test_greed_for_pixels_is_refused(watch, held):
    url = f"{STUDIES}/{held}.1/series/{held}.2/instances/{held}"
    ranges = ",".join(f"{n}-{n}" for n in range(1500))
    asked = greedy(url)
    for address, statuses in asked.items():
        began = time.monotonic()
        answer = watch.http.get(address, headers={"Accept": "*/*"})
        assert answer.status_code in statuses, (address[:200], answer.status_code)
        assert time.monotonic() - began < 3
        if answer.status_code != 200:
            discreet(answer.text)
    headers = {"Accept": DICOM, "Range": f"bytes={ranges}"}
    assert watch.http.get(url, headers=headers).status_code in (200, 416)
    watch.check(len(asked) + 1)


def test_an_absurd_accept_is_answered_soon(watch, held):
    url = f"{STUDIES}/{held}.1/series/{held}.2/instances/{held}"
    for accept in ACCEPTS:
        for path in (url, f"{url}/frames/1", f"{url}/rendered", f"{url}/metadata", STUDIES):
            began = watch.work()
            answer = watch.http.get(path, headers={"Accept": accept.encode("latin-1")})
            assert answer.status_code in (200, 400, 406), (accept[:50], path, answer.text)
            assert watch.work() - began < AT_ONCE_SECONDS
            if answer.status_code != 200:
                discreet(answer.text)
    watch.check(len(ACCEPTS))


def test_what_was_asked_is_not_in_the_metrics(watch, held):
    """Labels are templates: neither UIDs nor whatever else was in an address."""
    url = f"{STUDIES}/{held}.1/series/{held}.2/instances/{held}"
    for path in ("/bulkdata/7FE00010", "/frames/1", "/rendered", "/x/y/z", ""):
        watch.http.get(url + path)
    for number in range(50):
        watch.http.get(
            f"{STUDIES}/1.2.3.{number}/series/4.5.{number}/instances/6.7.{number}/bulkdata/{number}"
        )
    text = watch.http.get("/metrics").text
    assert held not in text
    assert "passwd" not in text
    routes = set(re.findall(r'route="([^"]*)"', text))
    assert not [route for route in routes if re.search(r"\d", route)], routes
    assert len(routes) < 80


# -- who asks (row 57) and those who take their time -----------------------------------------
@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    environment = {
        "FILMROOM__HTTP__HEADER_SECONDS": "1",
        "FILMROOM__HTTP__BODY_IDLE_SECONDS": "1",
        "FILMROOM__HTTP__KEEP_ALIVE_SECONDS": "1",
        "FILMROOM__PIXEL__WORKERS": "1",
    }
    process = FilmroomProcess(tmp_path_factory.mktemp("impatient"), environment=environment)
    yield process.start()
    process.kill()


SLOW = {
    "nothing": [],
    "half a head": [b"GET /livez HTTP/1.1\r\nHost:"],
    "a head in drops": [b"GET /livez HTTP/1.1\r\n", *([b"A: b\r\n"] * 30)],
    "a head a letter at a time": [bytes([letter]) for letter in b"GET /livez HTTP/1.1\r\nA: b"],
    "a body that stops": [post([("Content-Length", "1000")], part(b"x")[:30])],
    "a chunk that stops": [post([CHUNKED], b"ff\r\nabc")],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW.keys())
def test_who_takes_too_long_is_shown_out(impatient, pieces):
    answer = raw(impatient.http_port, *pieces, pause=0.05, timeout=8)
    assert answer.closed
    assert answer.status in (0, 408)
    assert answer.seconds < 6


def test_who_never_reads_the_answer_is_shown_out(impatient):
    """A large answer in small buffers, and nobody there to take it."""
    uid = new_uid()
    file = part10(data_set(uid, {0x7FE00010: ("OW", bytes(24 * MIB))}), uid)
    with impatient.client() as client:
        headers = {"Content-Type": DICOM}
        assert client.post(STUDIES, content=file, headers=headers).status_code == 200
    url = f"{STUDIES}/{uid}.1/series/{uid}.2/instances/{uid}"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(0.2)
    connection.connect(("127.0.0.1", impatient.http_port))
    accept = [("Accept", f"{DICOM}; transfer-syntax=*")]
    connection.sendall(request("GET", url, accept))
    time.sleep(3)
    got = 0
    closed = False
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not closed:
        try:
            piece = connection.recv(1 << 20)
        except ConnectionResetError:
            piece = b""
        except TimeoutError:
            continue
        got += len(piece)
        closed = not piece
    connection.close()
    assert closed
    assert got < 24 * MIB


def test_credentials_of_nobody_are_401(impatient):
    for credential in CREDENTIALS:
        headers = [("Authorization", credential)]
        answer = raw(impatient.http_port, request("GET", STUDIES, headers, signed_in=False))
        assert answer.status in (400, 401, 429), (credential, answer.head)
        assert answer.seconds < SOON_SECONDS
        discreet(answer.text)
    for cookie in ("filmroom_session=x", "filmroom_session=" + "a" * 4000, "filmroom_session=\xff",
                   'filmroom_session="\\', "filmroom_session=' OR 1=1"):  # fmt: skip
        headers = [("Cookie", cookie)]
        answer = raw(impatient.http_port, request("GET", STUDIES, headers, signed_in=False))
        assert answer.status == 401, cookie


def test_a_sign_in_of_nonsense_is_refused(impatient):
    for body in SESSIONS:
        for kind in ("application/json", "text/plain"):
            headers = {"Content-Type": kind}
            answer = httpx.post(f"{impatient.url}/api/session", content=body, headers=headers)
            assert answer.status_code in (400, 401, 413, 415, 429), (body[:50], answer.text)
            assert "set-cookie" not in answer.headers
            discreet(answer.text)


def test_hostile_names_of_users_are_inert(impatient):
    for name in list(NAMES.values())[:9]:
        body = {"user": name[:2000], "password": "x" * 20}
        answer = httpx.post(f"{impatient.url}/api/session", json=body)
        assert answer.status_code in (401, 429)
    log = impatient.log.read_bytes()
    assert b"\x1b" not in log
    assert b"jndi" not in log
    assert b"Traceback" not in log
