"""What a fuzzer begins with: small inputs of the hostile corpus, and sound ones; and words."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import hostile_bodies as bodies
import hostile_dimse as dimse
import hostile_files as files
import hostile_requests as requests
import hostile_wire as wire
from fuzz.codestream import SHAPES, SYNTAXES
from fuzz.multipart import BOUNDARY
from hostile_values import absurd_pixels, hostile_names, odd_text
from hostile_wire import IMPLICIT, p_data, pdv

LONGEST = 1500

PDU_WORDS = (b"\0\0\0\x04", b"\0\0\0\x06\x01\x03", b"\xff\xff\xff\xff", wire.ECHO_RQ, wire.RELEASE)
DICOM_WORDS = (
    b"SQ\0\0", b"UN\0\0", b"OB\0\0", b"OW\0\0", b"UT\0\0", b"\xff\xff\xff\xff",
    b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xe0\x7f\x10\x00",
    b"\xe0\x7f\x01\x00", b"\x08\x00\x05\x00", b"\x28\x00\x08\x00", b"\x02\x00\x10\x00", b"DICM",
    b"\\ISO 2022 IR 87", b"GB18030", b"ISO_IR 192", b"\x1b$B", b"\x10\x00\x10\x00", b"US\2\0",
)  # fmt: skip
MULTIPART_WORDS = (f"\r\n--{BOUNDARY}".encode(), f"--{BOUNDARY}--".encode(), b"\r\n\r\n",
                   b"Content-Type: application/dicom")  # fmt: skip
JSON_WORDS = (b'"vr":"SQ"', b'"Value":[', b'"InlineBinary":"', b'"BulkDataURI":"', b'"00081140":{',
              b'"Alphabetic":"', b"null", b"1e999", b"\\ud800", b"9007199254740993")  # fmt: skip
XML_WORDS = (b"<DicomAttribute ", b' tag="00081140"', b' vr="SQ"', b'<Item number="1">', b"<Value>",
             b"<PersonName>", b"<Alphabetic>", b"<BulkData uri=", b"<InlineBinary>",
             b"<!DOCTYPE", b"&amp;")  # fmt: skip
QUERY_WORDS = (b"PatientName=", b"includefield=all", b"fuzzymatching=true", b"&limit=", b"&offset=",
               b"StudyDate=", b"%5C", b"%00", b"*", b"ModalitiesInStudy=", b"00100010=",
               b"RequestAttributesSequence.ScheduledProcedureStepID=")  # fmt: skip
ACCEPT_WORDS = (b"multipart/related", b"; type=", b"; transfer-syntax=", b";q=0.5", b"*/*",
                b"application/dicom", b"image/jls", b'"', b"\\")  # fmt: skip

MARKERS = (b"\xff\xd8\xff", b"\xff\xc0\x00\x0b", b"\xff\xc3\x00\x0b", b"\xff\xc4\x00\x1f",
           b"\xff\xda\x00\x08", b"\xff\xf7\x00\x0b", b"\xff\xf8\x00\x0d", b"\xff\x4f\xff\x51",
           b"\xff\x52\x00\x0c", b"\xff\x53\x00\x09", b"\xff\x5c\x00\x13", b"\xff\x90\x00\x0a",
           b"\xff\x93", b"\xff\xd9", b"\xff\x0a", b"jxlc", b"jxlp", b"jbrd")  # fmt: skip


def association() -> Iterator[bytes]:
    """Streams to a stranger, and within an association."""
    for sent in (*dimse.STRANGERS.values(), *dimse.REJECTED.values()):
        if len(sent) <= LONGEST:
            yield b"\0\1" + sent
    talk = b"".join(p_data(pdv(1, 3, wire.ECHO_RQ)) for _ in range(3)) + wire.RELEASE
    store = wire.command(wire.C_STORE, sop_class=wire.CT, instance="1.2.3", data_set=True)
    pieces = p_data(pdv(3, 3, store), pdv(3, 0, b"abcd")) + p_data(pdv(3, 2, b"efgh"))
    for sent in (*dimse.BREACHES.values(), talk, pieces + talk, dimse.RQ + talk):
        if len(sent) <= LONGEST:
            yield b"\1\1" + sent
            yield b"\2\1" + sent


def data_set() -> Iterator[bytes]:
    """The small hostile data sets, under the syntax they claim."""
    from fuzz.data_set import SYNTAXES

    table = [*files.broken_structures(), *odd_text(), *absurd_pixels(), *hostile_names().values()]
    table += files.nestings()[:3]
    for one in table:
        if one.ts in SYNTAXES and len(one.body) <= LONGEST:
            yield bytes([SYNTAXES.index(one.ts)]) + one.body


def file_meta() -> Iterator[bytes]:
    """Beginnings of files."""
    sound = files.part10(files.data_set("1.2.3"), "1.2.3")
    yield sound[:500]
    yield sound[128:500]
    yield sound[132:500]
    yield files.data_set("1.2.3")[:200]
    yield files.data_set("1.2.3", ts=IMPLICIT)[:200]
    yield files.part10(b"", "1.2.3", ts=None)


def multipart() -> Iterator[bytes]:
    """Bodies, under the boundary that is fuzzed."""
    ours, theirs = BOUNDARY.encode(), bodies.BOUNDARY.encode()
    for _, body in bodies.BODIES.values():
        if len(body) <= LONGEST:
            yield b"\1" + body.replace(theirs, ours)
    yield b"\2" + bodies.multipart(b"abc", b"", b"\r\n--b").replace(theirs, ours)


def dicom_json() -> Iterator[bytes]:
    """The metadata of the hostile bodies."""
    for headers, body in bodies.BODIES.values():
        if headers.get("Content-Type") == bodies.META:
            text = body.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
            if len(text) <= LONGEST:
                yield text
    yield (b'{"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B","Phonetic":"c"}]},"00280030":'
           b'{"vr":"DS","Value":[0.5,"1"]},"00080005":{"vr":"CS","Value":["GBK"]}}')  # fmt: skip
    yield b'{"00081140":{"vr":"SQ","Value":[{"00080018":{"vr":"UI","Value":["1.2"]}},null]}}'
    yield b'{"00420011":{"vr":"OB","InlineBinary":"QUJD"},"7FE00010":{"vr":"OW","BulkDataURI":"p"}}'


def native_xml() -> Iterator[bytes]:
    """The documents of the hostile bodies."""
    for headers, body in bodies.BODIES.values():
        if headers.get("Content-Type") == bodies.XML:
            text = body.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
            if len(text) <= LONGEST:
                yield text
    yield (b'<NativeDicomModel><DicomAttribute tag="00081140" vr="SQ"><Item number="1">'
           b'<DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic>'
           b"<FamilyName>A</FamilyName></Alphabetic></PersonName></DicomAttribute></Item>"
           b'</DicomAttribute><DicomAttribute tag="00280010" vr="US"><Value>5</Value>'
           b"</DicomAttribute></NativeDicomModel>")  # fmt: skip


def qido() -> Iterator[bytes]:
    """Query strings."""
    for query in requests.QUERIES.values():
        if len(query) <= LONGEST:
            for level in (0, 4, 8):
                yield bytes([level]) + query.encode("latin-1")
    yield b"\0PatientName=M%C3%BCller*&StudyDate=20260101-&fuzzymatching=true&limit=5"


def accept() -> Iterator[bytes]:
    """Accept headers."""
    for text in requests.ACCEPTS:
        yield text[:500].encode("latin-1")
    yield b'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80;q=0.5, */*'
    yield b"application/dicom; transfer-syntax=*, application/zip;q=.2"
    yield b"application/dicom json\n*/*"


def identifier() -> Iterator[bytes]:
    """Identifiers of queries."""
    for keys in dimse.IDENTIFIERS.values():
        if len(keys) <= LONGEST:
            yield b"\0" + keys
            yield b"\x08" + keys
    explicit = struct.pack("<HH2sH", 8, 0x52, b"CS", 6) + b"STUDY "
    yield b"\1" + explicit + struct.pack("<HH2sH", 0x10, 0x10, b"PN", 2) + b"A*"


def codestream() -> Iterator[bytes]:
    """A small frame of every syntax and shape, whole and at half its size; few bytes each."""
    import numpy as np

    from filmroom.pixel import syntaxes as ts
    from filmroom.pixel.codecs import Loss, encode_frame, refusal, rewrap

    random = np.random.default_rng(3)
    for kind, shape in enumerate(SHAPES):
        size = (shape.rows, shape.columns, *((shape.samples,) if shape.samples > 1 else ()))
        frame = random.integers(0, 90, size).astype(f"{'iu'[not shape.signed]}{shape.sample_bytes}")
        for number, syntax in enumerate(SYNTAXES):
            loss = Loss(quality=70) if syntax == ts.JPEG_EXTENDED else None
            if syntax == ts.J2K_COMPONENTS:
                coded = encode_frame(frame, ts.J2K, shape)
            elif syntax == ts.JPEG_XL_RECOMPRESSION and shape.bits_allocated == 8:
                coded = rewrap(
                    encode_frame(frame, ts.JPEG_BASELINE, shape), ts.JPEG_BASELINE, syntax
                )
            elif refusal(syntax, shape, loss) is None:
                coded = encode_frame(frame, syntax, shape, loss=loss)
            else:
                continue
            for reduce in (0, 4):
                yield bytes((number, kind + reduce)) + coded
