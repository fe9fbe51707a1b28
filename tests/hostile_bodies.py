"""Bodies of a store over HTTP that mean no good: multipart, DICOM JSON, native XML (rows 50-53)."""

from __future__ import annotations

import json
import random

from hostile_files import data_set, part10, uid_of
from hostile_http import BOUNDARY, CLOSING, MULTIPART, multipart, part

NOISE = random.Random(3)
JSON = "application/dicom+json"
UID = uid_of("body")
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
    uid = uid_of("attributes")
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


Body = tuple[dict[str, str], bytes]
BODIES: dict[str, Body] = {
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
    "a sequence of bytes": (
        typed(META), metadata(attributes(x00081140={"vr": "SQ", "InlineBinary": "QUJD"}))),
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
