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

DOCUMENT_WORDS = (*DICOM_WORDS, b"CONTAINER", b"SCOORD3D", b"TCOORD", b"PNAME ", b"IMAGE ",
                  b"CONTINUOUS", b"<script>", b"@\0\x30\xa7", b"@\0@\xa0", b"\0T\x00\x01",
                  b"1e308", b"1e-308", b"SS", b"MB")  # fmt: skip
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


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element of a seed, Explicit VR Little Endian."""
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"SQ", b"OW", b"OB", b"UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def item(*elements: bytes) -> bytes:
    """One item of a sequence."""
    inside = b"".join(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(inside)) + inside


def documents() -> Iterator[bytes]:
    """A small report with one of each kind of value, and small waveforms."""
    coded = explicit(0x00080100, b"SH", b"1") + explicit(0x00080104, b"LO", b"<b>&")
    name = explicit(0x0040A043, b"SQ", item(coded))
    how = explicit(0x0040A010, b"CS", b"CONTAINS")

    def of(kind: bytes, *more: bytes) -> bytes:
        return item(how, explicit(0x0040A040, b"CS", kind), name, *more)

    image = item(explicit(0x00081155, b"UI", b"1.2.3"), explicit(0x00081160, b"IS", b"1\\2"))
    unit = explicit(0x004008EA, b"SQ", item(coded))
    number = explicit(0x0040A300, b"SQ", item(unit, explicit(0x0040A30A, b"DS", b"1.5")))
    points = explicit(0x00700022, b"FL", struct.pack("<4f", 1, 2, 3, float("nan")))
    content = [
        of(b"TEXT", explicit(0x0040A160, b"UT", b"a <script> \x1b b")),
        of(b"NUM", number),
        of(b"CODE", explicit(0x0040A168, b"SQ", item(coded))),
        of(b"IMAGE", explicit(0x00081199, b"SQ", image)),
        of(b"SCOORD", explicit(0x00700023, b"CS", b"POINT"), points),
        of(b"TCOORD", explicit(0x0040A138, b"DS", b"1\\2")),
        of(b"DATE", explicit(0x0040A121, b"DA", b"20260102")),
        item(explicit(0x0040DB73, b"UL", struct.pack("<2I", 1, 1))),
    ]
    for some in (content, content[:2], content[3:5]):
        inner = of(b"CONTAINER", explicit(0x0040A730, b"SQ", b"".join(some)))
        yield b"\0" + name + explicit(0x0040A730, b"SQ", inner)
    lead = item(
        explicit(0x003A0203, b"SH", b"II"),
        explicit(0x003A0210, b"DS", b"2.5"),
        explicit(0x003A0211, b"SQ", item(explicit(0x00080100, b"SH", b"uV"))),
    )
    for kind, bits in ((b"SS", 16), (b"UB", 8), (b"MB", 8)):
        group = item(
            explicit(0x003A0005, b"US", struct.pack("<H", 1)),
            explicit(0x003A0010, b"UL", struct.pack("<I", 60)),
            explicit(0x003A001A, b"DS", b"50"),
            explicit(0x003A0200, b"SQ", lead),
            explicit(0x54001004, b"US", struct.pack("<H", bits)),
            explicit(0x54001006, b"CS", kind),
            explicit(0x54001010, b"OW", bytes(range(0, 240, 2))),
        )
        yield b"\0" + explicit(0x54000100, b"SQ", group)
    yield (
        b"\0" + explicit(0x00420011, b"OB", b"%PDF-1.4") + explicit(0x00420015, b"UL", b"\7\0\0\0")
    )


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
