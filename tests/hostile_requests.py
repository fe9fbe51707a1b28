"""HTTP requests that mean no good: heads, addresses, questions and credentials."""

from __future__ import annotations

import json
import random
from base64 import urlsafe_b64encode

from hostile_http import MULTIPART, request

NOISE = random.Random(2)
STUDIES = "/dicom-web/studies"


def post(headers, body=b"", **options):
    """A store over HTTP."""
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


def greedy(url: str) -> dict[str, tuple[int, ...]]:
    """Addresses below an instance's that want more pixels than there are, and their statuses."""
    frames = ",".join(["1"] * 20_000)
    return {
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


ACCEPTS = (
    "*" * 20_000, "," * 20_000, ", ".join(["a/b"] * 5000), "a/b;q=1e999", "*/*;q=nan", "\xff/\xfe",
    'multipart/related; type="' + "a" * 9000, "application/dicom; transfer-syntax=../../x",
    'image/jpeg; a="\\' + "\\" * 5000, "text/html;" + "=" * 5000, "application/dicom;q=0",
    "image/../../etc", "*/*;" * 5000,
)  # fmt: skip


def jwt(header, body):
    parts = (json.dumps(header).encode(), json.dumps(body).encode(), b"sig")
    return ".".join(urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts)


CREDENTIALS = (
    "", "Bearer", "Bearer ", "Bearer x", "Bearer " + "\xff" * 50, "Basic", "Basic !!!",
    "Basic YWRtaW4=", "Basic " + "QUFB" * 5000, "Digest username=admin", "\x1b[31m", "Negotiate x",
    "Bearer " + jwt({"alg": "none"}, {"sub": "admin"}), "Basic AAAAAAAA", "Basic \xff\xe9",
    "Bearer " + jwt({"alg": "HS256", "kid": "../../dev/null"}, {"sub": "admin"}),
    "Bearer ' OR 1=1 --", "Bearer ../../../etc/passwd",
)  # fmt: skip


SESSIONS = (
    b"", b"{", b"[]", b"null", b"[" * 50_000, b'{"user":1,"password":2}', b'{"user":"a"}',
    b'{"user":"a","password":"b","role":"admin"}', b'{"user":"\\ud800","password":"b"}',
    b'{"user":"a","password":"' + b"x" * 60_000 + b'"}', b"x" * 900_000,
    json.dumps({"user": "a\0b", "password": "\x1b[31m"}).encode(), NOISE.randbytes(1000),
)  # fmt: skip
