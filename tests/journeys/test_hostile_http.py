"""The web door against requests that mean no good; one server for them all."""

from __future__ import annotations

import json
import random
import re
import socket
import time

import httpx
import pytest

from hostile_files import data_set, new_uid, part10
from hostile_http import (
    BOUNDARY,
    CLOSING,
    DICOM,
    MULTIPART,
    multipart,
    part,
    raw,
    request,
)
from hostile_values import NAMES
from hostile_watch import MIB, Watch, discreet
from nodes import FilmroomProcess

pytestmark = pytest.mark.hostile

AT_ONCE_SECONDS = 1.0  # of the server's processor time: a busy machine does not stretch it
SOON_SECONDS = 4.0  # on the clock; a request that waits takes a timeout
NOISE = random.Random(2)
STUDIES = "/dicom-web/studies"
JSON = "application/dicom+json"


@pytest.fixture(scope="module")
def watch(node):
    return Watch(node)


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


def post(headers, body=b"", **options):
    return request("POST", STUDIES, [("Content-Type", MULTIPART), *headers], body, **options)


# -- what cannot be read in one way only (row 51; request smuggling) ----------------------------
SECOND = request("GET", "/dicom-web/studies?PatientID=smuggled")
CHUNKED = ("Transfer-Encoding", "chunked")
AMBIGUOUS = {
    "CL and TE": post([("Content-Length", "6"), CHUNKED], b"0\r\n\r\n" + SECOND),
    "TE and CL": post([CHUNKED, ("Content-Length", "4")], b"5c\r\n" + SECOND),
    "CL twice": post([("Content-Length", "0"), ("Content-Length", "44")], SECOND),
    "CL twice the same": post([("Content-Length", "5")] * 2, b"hello" + SECOND),
    "CL as a list": post([("Content-Length", "5, 5")], b"hello" + SECOND),
    "CL of minus one": post([("Content-Length", "-1")], SECOND),
    "CL with a plus": post([("Content-Length", "+5")], b"hello"),
    "CL in hex": post([("Content-Length", "0x10")], bytes(16)),
    "CL of letters": post([("Content-Length", "many")]),
    "CL of nothing": post([("Content-Length", "")]),
    "CL of 2^64": post([("Content-Length", str(1 << 64))], b"x"),
    "CL of 10^30": post([("Content-Length", "1" + "0" * 30)], b"x"),
    "TE twice": post([CHUNKED, CHUNKED], b"0\r\n\r\n"),
    "TE identity after chunked": post(
        [("Transfer-Encoding", "chunked, identity")], b"0\r\n\r\n" + SECOND
    ),
    "TE unknown": post([("Transfer-Encoding", "xchunked")], b"0\r\n\r\n" + SECOND),
    "TE with a tab": post([("Transfer-Encoding", "\x0bchunked")], b"0\r\n\r\n" + SECOND),
    "TE with a blank before the colon": post([("Transfer-Encoding ", "chunked")], b"0\r\n\r\n"),
    "chunk of 2^64": post([CHUNKED], b"10000000000000000\r\n"),
    "chunk of minus one": post([CHUNKED], b"-1\r\n"),
    "chunk of letters": post([CHUNKED], b"zz\r\n"),
    "chunk with a bare LF": post([CHUNKED], b"5\nhello\n0\n\n"),
    "chunk longer than said": post([CHUNKED], b"1\r\nhello\r\n0\r\n\r\n"),
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "header without a colon": b"GET /livez HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "header without a name": b"GET /livez HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "blank in a name": b"GET /livez HTTP/1.1\r\nHost: x\r\nA B: y\r\n\r\n",
    "NUL in a value": b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "bare CR in a value": b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\rSet: c\r\n\r\n",
    "a folded header": b"GET /livez HTTP/1.1\r\nHost: x\r\n A: b\r\n\r\n",
    "HTTP/9.9": b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
    "no version": b"GET /livez\r\n\r\n",
    "a method of noise": b"\xff\xfe\xfd /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"HACK /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise in the path": b"GET /\xff\xfe\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the path": b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a DICOM peer": bytes.fromhex("0100000000d80001") + b"FILMROOM".ljust(200),
    "a TLS hello": bytes.fromhex("16030100c4010000c00303") + NOISE.randbytes(190),
    "noise": NOISE.randbytes(3000),
}


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


LONG_HEADS = {
    "a header of 300 kB": (request("GET", "/livez", [("A", "x" * 300_000)]), (431,)),
    "20,000 headers": (request("GET", "/livez", [("A", "x")] * 20_000), (431,)),
    "a header name of 300 kB": (request("GET", "/livez", [("A" * 300_000, "x")]), (431,)),
    "an address of 70 kB": (request("GET", "/" + "a" * 70_000), (414, 431)),
    "a query of 70 kB": (request("GET", "/livez?" + "a" * 70_000), (414, 431)),
    "a method of 100 kB": (b"G" * 100_000, (400, 431)),
    "a cookie of 60 kB": (request("GET", "/livez", [("Cookie", "a=b; " * 12_000)]), (200, 431)),
    "a token of 100 kB": (
        request("GET", STUDIES, [("Authorization", "Bearer " + "e" * 100_000)], signed_in=False),
        (431,),
    ),
}


@pytest.mark.parametrize(("sent", "statuses"), LONG_HEADS.values(), ids=LONG_HEADS.keys())
def test_a_head_without_measure_is_refused(node, watch, sent, statuses):
    resident = watch.forget_peak()
    answer = raw(node.http_port, sent)
    assert answer.status in statuses, answer.head
    assert answer.seconds < SOON_SECONDS
    assert watch.memory("VmHWM") - resident < 16 * MIB


ODD = {
    "CONNECT": request("CONNECT", "x:443"),
    "TRACE": request("TRACE", "/livez"),
    "OPTIONS *": request("OPTIONS", "*"),
    "an absolute address": request("GET", "http://127.0.0.1:1/livez"),
    "another scheme": request("GET", "gopher://x/livez"),
    "an upgrade to WebSocket": request(
        "GET", "/livez", [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                          ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "x" * 24)]),
    "an upgrade to h2c": request("GET", "/livez", [("Connection", "Upgrade"), ("Upgrade", "h2c")]),
    "HTTP/1.0": b"GET /livez HTTP/1.0\r\n\r\n",
    "a body on GET": request("GET", "/livez", [("Content-Length", "5")], b"hello"),
    "Expect of noise": request("GET", "/livez", [("Expect", "the-unexpected")]),
    "half a percent sign": request("GET", "/dicom-web/studies/%"),
    "percent noise": request("GET", "/dicom-web/studies/%ff%fe%00%0d%0aSet-Cookie:%20a=b"),
    "a query of percent noise": request("GET", STUDIES + "?PatientName=%ff%fe%zz%0d%0aA:b"),
    "header injection by next": request(
        "GET", "/studies/%0d%0aSet-Cookie:a=b", [("Accept", "text/html")], signed_in=False),
    "forwarded noise": request(
        "GET", "/livez", [("X-Forwarded-For", "\x1b[31m, ../.."), ("Forwarded", "for=x")]),
    "a request ID of a path": request("GET", "/livez", [("X-Request-Id", "../../x")]),
}  # fmt: skip


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
UID = new_uid()
SOUND = part10(data_set(UID), UID)


def typed(text):
    return {"Content-Type": text}


LAUGHS = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
XML = 'multipart/related; type="application/dicom+xml"; boundary=' + BOUNDARY
META = f'multipart/related; type="{JSON}"; boundary={BOUNDARY}'


def native_xml(prolog, inner=""):
    namespace = 'xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'
    text = f"<?xml version='1.0'?>{prolog}<NativeDicomModel {namespace}>{inner}</NativeDicomModel>"
    return part(text.encode(), "Content-Type: application/dicom+xml") + CLOSING


def metadata(value, *more):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return part(text, f"Content-Type: {JSON}") + b"".join(more) + CLOSING


def attributes(**more):
    uid = new_uid()
    found = {
        "00080016": ("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "00080018": ("UI", uid),
        "0020000D": ("UI", f"{uid}.1"),
        "0020000E": ("UI", f"{uid}.2"),
    }
    plain = {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in found.items()}
    return [{**plain, **{tag[1:]: value for tag, value in more.items()}}]


def bulk(uri):
    return metadata(attributes(x00420011={"vr": "OB", "BulkDataURI": uri}))


BODIES = {
    "no boundary": (typed('multipart/related; type="application/dicom"'), multipart(SOUND)),
    "empty boundary": (typed('multipart/related; boundary=""'), multipart(SOUND)),
    "boundary of 5,000": (typed(f"multipart/related; boundary={'b' * 5000}"), multipart(SOUND)),
    "boundary of blanks": (typed('multipart/related; boundary="   "'), multipart(SOUND)),
    "boundary of noise": (typed('multipart/related; boundary="\xff\x01"'), multipart(SOUND)),
    "another boundary": (typed("multipart/related; boundary=other"), multipart(SOUND)),
    "nothing at all": (typed(MULTIPART), b""),
    "only the end": (typed(MULTIPART), CLOSING),
    "unterminated": (typed(MULTIPART), part(b"x" * 1000)),
    "ends in a header": (typed(MULTIPART), f"--{BOUNDARY}\r\nContent-Ty".encode()),
    "20,000 empty parts": (typed(MULTIPART), part(b"") * 20_000 + CLOSING),
    "20,000 rubbish parts": (typed(MULTIPART), part(b"rubbish") * 20_000 + CLOSING),
    "100,000 boundaries": (typed(MULTIPART), f"--{BOUNDARY}\r\n".encode() * 100_000),
    "a part header of 300 kB": (typed(MULTIPART), part(SOUND, "A: " + "x" * 300_000) + CLOSING),
    "5,000 part headers": (typed(MULTIPART), part(SOUND, "\r\n".join(["A: b"] * 5000)) + CLOSING),
    "a part header without a colon": (typed(MULTIPART), part(SOUND, "nonsense") + CLOSING),
    "a part of HTML": (typed(MULTIPART), part(SOUND, "Content-Type: text/html") + CLOSING),
    "a part of noise for a type": (typed(MULTIPART), part(SOUND, "Content-Type: \xff/\x01")),
    "multipart in multipart": (
        typed(MULTIPART),
        part(multipart(SOUND).replace(b"--hostile", b"--inner"), f"Content-Type: {MULTIPART}")
        + CLOSING),
    "5 MB of line ends": (typed(MULTIPART), b"\r\n" * 2_500_000),
    "5 MB of hyphens": (typed(MULTIPART), b"\r\n--" * 1_250_000),
    "5 MB of almost boundaries": (typed(MULTIPART), f"\r\n--{BOUNDARY[:-1]}".encode() * 500_000),
    "blanks after a boundary": (typed(MULTIPART), f"--{BOUNDARY}".encode() + b" " * 1_000_000),
    "no type": ({}, multipart(SOUND)),
    "a type of noise": (typed("\xff\xfe"), multipart(SOUND)),
    "a type of 10,000 parameters": (typed(f"{MULTIPART}{'; a=b' * 10_000}"), multipart(SOUND)),
    "HTML": (typed("text/html"), b"<script>alert(1)</script>"),
    "a form": (typed("multipart/form-data; boundary=" + BOUNDARY), multipart(SOUND)),
    "a picture": (typed("image/png"), b"\x89PNG"),
    "multipart of pictures": (typed('multipart/related; type="image/png"; boundary=x'), b"--x--"),
    "entity from a file": (
        typed(XML), native_xml('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', "&e;")),
    "entity from the net": (
        typed(XML), native_xml('<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">')),
    "billion laughs": (
        typed(XML), native_xml(f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]>', "&a9;")),
    "XML 100,000 deep": (typed(XML), native_xml("", "<a>" * 100_000 + "</a>" * 100_000)),
    "XML of noise": (typed(XML), part(NOISE.randbytes(500), "Content-Type: application/dicom+xml")),
    "XML values nowhere": (typed(XML), native_xml("", "<Value>1</Value><Item/><PersonName/>")),
    "XML of an odd tag": (typed(XML), native_xml("", '<DicomAttribute tag="x" vr="PN"/>')),
    "JSON 100,000 deep": (typed(META), metadata(b"[" * 100_000 + b"]" * 100_000)),
    "sequences 900 deep": (
        typed(META), metadata(b'[{"00081140":{"vr":"SQ","Value":[' * 300 + b"]}}]" * 300)),
    "JSON of noise": (typed(META), metadata(NOISE.randbytes(500))),
    "JSON that is a word": (typed(META), metadata("word")),
    "JSON that is null": (typed(META), metadata([None])),
    "JSON of nothing": (typed(META), metadata([{}])),
    "JSON with odd tags": (typed(META), metadata([{"x": {"vr": "PN"}, "../..": 1}])),
    "metadata that are no objects": (typed(META), metadata([{"00080018": "1.2.3"}])),
    "a BulkDataURI to a file": (typed(META), bulk("file:///etc/passwd")),
    "a BulkDataURI to the net": (typed(META), bulk("http://127.0.0.1:1/x")),
    "a BulkDataURI to the cloud": (typed(META), bulk("http://169.254.169.254/latest")),
    "a BulkDataURI of a path": (typed(META), bulk("../../../etc/passwd")),
    "a BulkDataURI of null": (typed(META), bulk(None)),
    "base64 of noise": (
        typed(META), metadata(attributes(x00420011={"vr": "OB", "InlineBinary": "!!!"}))),
    "a VR of a path": (typed(META), metadata(attributes(x00081030={"vr": "../", "Value": [1]}))),
    "a VR of a number": (typed(META), metadata(attributes(x00081030={"vr": 5, "Value": [1]}))),
    "values of all kinds": (
        typed(META),
        metadata(attributes(x00280010={"vr": "US", "Value": ["x", 1e300, -1, None, [], {}]}))),
    "a pixel VR of accents": (
        typed(META),
        metadata(attributes(x7FE00010={"vr": "\xe9\xe8", "BulkDataURI": "p"}),
                 part(bytes(8), "Content-Type: application/octet-stream\r\nContent-Location: p"))),
    "pixel data of a list": (typed(META), metadata(attributes(x7FE00010=["BulkDataURI"]))),
    "a number of 5,000 digits": (
        typed(META), metadata(b'[{"00280010":{"vr":"US","Value":[' + b"9" * 5000 + b"]}}]")),
    "surrogates": (
        typed(META), metadata(b'[{"00100010":{"vr":"PN","Value":[{"Alphabetic":"\\ud800"}]}}]')),
    "a study UID of a path": (
        typed(META), metadata(attributes(x0020000D={"vr": "UI", "Value": ["../../x"]}))),
}  # fmt: skip


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
    names = {path.stem for path in node.stored_files()}
    assert half not in names


# -- asking (rows 54-57) --------------------------------------------------------------------------
QUERIES = {
    "limit=-1": "limit=-1",
    "limit=1e20": "limit=1e20",
    "limit=10^20": "limit=100000000000000000000",
    "limit of 5,000 digits": "limit=" + "9" * 5000,
    "limit of nothing": "limit=",
    "limit of letters": "limit=many",
    "limit in another script": "limit=%D9%A1%D9%A2",
    "offset=-1": "offset=-1",
    "offset=10^17": "offset=100000000000000000",
    "3,000 wildcards": "PatientName=" + "*a" * 3000,
    "3,000 stars": "PatientName=" + "*" * 3000,
    "3,000 question marks": "PatientID=" + "?" * 3000,
    "32 wildcards": "PatientName=" + "*a" * 32,
    "wildcards over all": "PatientName=*a*&StudyDescription=*b*&ReferringPhysicianName=*c*",
    "fuzzy of 2,000 words": "fuzzymatching=true&PatientName=" + "%20".join(["a"] * 1300),
    "fuzzy of noise": "fuzzymatching=true&PatientName=%ff%00%1b",
    "5,000 includefields": "&".join(f"includefield={n:08x}" for n in range(1, 1400)),
    "5,000 in one includefield": "includefield=" + ",".join(["00100010"] * 3500),
    "includefield of noise": "includefield=../../x",
    "600 keys": "&".join(f"PatientID={n}" for n in range(600)),
    "the same key twice": "PatientID=1&PatientID=2",
    "an unknown key": "Password=x",
    "a key of hex": "FFFFFFFF=1",
    "1,500 UIDs": "StudyInstanceUID=" + ",".join(f"1.2.{n}" for n in range(1500)),
    "a UID of letters": "StudyInstanceUID=x",
    "SQL": "PatientName=%27%3B%20DROP%20TABLE%20study%3B--",
    "SQL in a key": "PatientName%27--=1",
    "SQL like": "StudyDescription=%25_%25&AccessionNumber=%5C%25",
    "NUL": "PatientName=a%00b",
    "a range of nonsense": "StudyDate=99999999-00000000",
    "a date of words": "StudyDate=yesterday",
    "a date of 4,000": "StudyDate=" + "2" * 4000,
    "a time of nonsense": "StudyTime=999999-",
    "1,000 nested": ".".join(["RequestAttributesSequence"] * 300) + "=1",
    "10,000 ampersands": "&" * 10_000,
    "accept of noise": "accept=%ff%0d%0a",
}


@cases(QUERIES)
def test_a_greedy_question_is_refused_or_answered_soon(watch, held, sent):
    for path in (STUDIES, "/dicom-web/series", "/dicom-web/instances"):
        began = watch.work()
        answer = watch.http.get(f"{path}?{sent}")
        assert answer.status_code in (200, 204, 400, 406), answer.text
        assert watch.work() - began < AT_ONCE_SECONDS
        discreet(answer.text if answer.status_code != 200 else "")
        assert len(answer.content) < 5 * MIB


CLIMBS = (
    "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cetc%5cpasswd", "%252e%252e%252fetc%252fpasswd", "..%c0%af..%c0%afetc/passwd",
    "/etc/passwd", "%2fetc%2fpasswd", "....//....//etc/passwd", "..;/..;/etc/passwd",
    "%00/etc/passwd", "1.2.3%00.dcm", "file:///etc/passwd", "../index.sqlite",
    "..%2findex.sqlite", "CON", "~root", "%E2%80%A5/x", "1.2.3/../../..",
)  # fmt: skip
PLACES = (
    "/{}", "/login/{}", "/assets/{}", "/viewer/{}", "/ohif/{}", "/docs/{}", "/api/{}",
    "/dicom-web/{}", "/dicom-web/studies/{}", "/dicom-web/studies/1.2/series/{}/metadata",
    "/dicom-web/studies/1.2/series/1.3/instances/{}",
    "/dicom-web/studies/1.2/series/1.3/instances/1.4/bulkdata/{}",
    "/dicom-web/studies/1.2/series/1.3/instances/1.4/frames/{}", "/api/quarantine/{}",
    "/wado?requestType=WADO&studyUID=1.2&seriesUID=1.3&objectUID={}",
    "/wado?requestType=WADO&studyUID={}&seriesUID=1.3&objectUID=1.4",
)  # fmt: skip


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
    frames = ",".join(["1"] * 20_000)
    ranges = ",".join(f"{n}-{n}" for n in range(1500))
    asked = {
        f"{url}/rendered?viewport=100000,100000": (400, 413),
        f"{url}/rendered?viewport=10000,10000": (400, 413),
        f"{url}/rendered?viewport=-1,0": (400,),
        f"{url}/rendered?viewport=1e400,nan": (400,),
        f"{url}/rendered?viewport=1,1,1e308,1e308,1e308,1e308": (200, 400),
        f"{url}/rendered?window=nan,inf,linear": (400,),
        f"{url}/rendered?window=1e308,1e-308,linear-exact": (200, 400),
        f"{url}/rendered?quality=1000000": (400,),
        f"{url}/rendered?annotation={'patient,' * 3000}": (200, 400),
        f"{url}/rendered?iccprofile=../../etc": (400,),
        f"{url}/thumbnail?viewport=0,0": (400,),
        f"{url}/frames/{frames[:8000]}": (200, 400, 413),
        f"{url}/frames/{frames[:30_000]}": (200, 400, 413),
        f"{url}/frames/0": (400, 404),
        f"{url}/frames/-1": (400, 404),
        f"{url}/frames/99999999999999999999": (400, 404),
        f"{url}/frames/1,2,3": (404,),
        f"{url}/bulkdata/{'00081140/1/' * 60}7FE00010": (404,),
        f"{url}/bulkdata/{'00081140/1/' * 2000}7FE00010": (400, 404),
        f"{url}/bulkdata/7FE00010/99999999999/7FE00010": (400, 404),
    }
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


ACCEPTS = (
    "*" * 20_000, "," * 20_000, ", ".join(["a/b"] * 5000), "a/b;q=1e999", "*/*;q=nan", "\xff/\xfe",
    'multipart/related; type="' + "a" * 9000, "application/dicom; transfer-syntax=../../x",
    'image/jpeg; a="\\' + "\\" * 5000, "text/html;" + "=" * 5000, "application/dicom;q=0",
    "image/../../etc", "*/*;" * 5000,
)  # fmt: skip


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


def jwt(header, body):
    from base64 import urlsafe_b64encode

    parts = (json.dumps(header).encode(), json.dumps(body).encode(), b"sig")
    return ".".join(urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts)


CREDENTIALS = (
    "", "Bearer", "Bearer ", "Bearer x", "Bearer " + "\xff" * 50, "Basic", "Basic !!!",
    "Basic YWRtaW4=", "Basic " + "QUFB" * 5000, "Digest username=admin", "\x1b[31m", "Negotiate x",
    "Bearer " + jwt({"alg": "none"}, {"sub": "admin"}), "Basic AAAAAAAA", "Basic \xff\xe9",
    "Bearer " + jwt({"alg": "HS256", "kid": "../../dev/null"}, {"sub": "admin"}),
    "Bearer ' OR 1=1 --", "Bearer ../../../etc/passwd",
)  # fmt: skip


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


SESSIONS = (
    b"", b"{", b"[]", b"null", b"[" * 50_000, b'{"user":1,"password":2}', b'{"user":"a"}',
    b'{"user":"a","password":"b","role":"admin"}', b'{"user":"\\ud800","password":"b"}',
    b'{"user":"a","password":"' + b"x" * 60_000 + b'"}', b"x" * 900_000,
    json.dumps({"user": "a\0b", "password": "\x1b[31m"}).encode(), NOISE.randbytes(1000),
)  # fmt: skip


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
