"""Data sets and files, sound and broken, written byte by byte: no library would write some of them.

A `Bad` says what it is, its bytes, and what may become of it at every door.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hostile_wire import CT, EXPLICIT, IMPLICIT

BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"

STORED, REFUSED, EITHER = "stored", "refused", "either"
UNDEFINED = 0xFFFFFFFF
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_DIGITS = random.SystemRandom()
_numbers = itertools.count(1)

Elements = Mapping[int, tuple[str, bytes]]
NOTHING: Elements = MappingProxyType({})


def new_uid() -> str:
    """A UID that nothing has yet."""
    return f"1.2.826.0.1.3680043.9.9999.{_DIGITS.getrandbits(48)}.{next(_numbers)}"


def uid_of(name: str) -> str:
    """The UID of an input of that name: the same in every run."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
    return f"1.2.826.0.1.3680043.9.9999.{number}"


def element(tag: int, vr: str, value: bytes, *, length: int | None = None, ts: str = EXPLICIT):
    """One data element, its length as it is or as you say."""
    order = ">" if ts == BIG_ENDIAN else "<"
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if ts == IMPLICIT:
        return head + struct.pack("<I", size) + value
    code = vr.encode("latin-1")
    if code in LONG:
        return head + code + b"\0\0" + struct.pack(order + "I", size) + value
    return head + code + struct.pack(order + "H", size & 0xFFFF) + value


def padded(text: str | bytes, pad: bytes = b" ") -> bytes:
    raw = text.encode("utf-8") if isinstance(text, str) else text
    return raw + pad * (len(raw) % 2)


def number(value: int, ts: str = EXPLICIT) -> bytes:
    """A US value."""
    return struct.pack((">" if ts == BIG_ENDIAN else "<") + "H", value)


def elements(
    uid: str, more: Elements = NOTHING, *, ts: str = EXPLICIT
) -> dict[int, tuple[str, bytes]]:
    """What a small CT image has, by tag; `more` replaces and adds, an empty VR leaves out."""
    found = {
        0x00080016: ("UI", padded(CT, b"\0")),
        0x00080018: ("UI", padded(uid, b"\0")),
        0x00080060: ("CS", b"CT"),
        0x00100010: ("PN", b"Hostile^Input "),
        0x00100020: ("LO", b"H1"),
        0x0020000D: ("UI", padded(uid + ".1", b"\0")),
        0x0020000E: ("UI", padded(uid + ".2", b"\0")),
        0x00280002: ("US", number(1, ts)),
        0x00280004: ("CS", b"MONOCHROME2 "),
        0x00280010: ("US", number(8, ts)),
        0x00280011: ("US", number(8, ts)),
        0x00280100: ("US", number(16, ts)),
        0x00280101: ("US", number(12, ts)),
        0x00280102: ("US", number(11, ts)),
        0x00280103: ("US", number(0, ts)),
        0x7FE00010: ("OW", bytes(128)),
    }
    return {tag: (vr, value) for tag, (vr, value) in {**found, **more}.items() if vr}


def data_set(uid: str, more: Elements = NOTHING, *, ts: str = EXPLICIT, tail: bytes = b"") -> bytes:
    """A small CT image's data set, tags ascending; `tail` goes before the pixel data."""
    written = sorted(elements(uid, more, ts=ts).items())
    pieces = [element(tag, vr, value, ts=ts) for tag, (vr, value) in written]
    if written and written[-1][0] == 0x7FE00010:
        pieces.insert(-1, tail)
    else:
        pieces.append(tail)
    return b"".join(pieces)


def raw_deflate(data: bytes) -> bytes:
    """As PS3.5 A.5 wants it: no zlib header."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


def part10(
    body: bytes,
    uid: str,
    *,
    ts: str | None = EXPLICIT,
    preamble: bytes = bytes(128),
    sop_class: str = CT,
    more: bytes = b"",
) -> bytes:
    """A Part 10 file around a data set; ts None leaves the transfer syntax out."""
    meta = element(0x00020001, "OB", b"\0\1")
    meta += element(0x00020002, "UI", padded(sop_class, b"\0"))
    meta += element(0x00020003, "UI", padded(uid, b"\0"))
    if ts is not None:
        meta += element(0x00020010, "UI", padded(ts, b"\0"))
    meta += more
    group = element(0x00020000, "UL", struct.pack("<I", len(meta)))
    return preamble + b"DICM" + group + meta + body


@dataclass(frozen=True)
class Bad:
    """One hostile data set, for C-STORE, STOW and import alike."""

    name: str
    body: bytes
    expected: str = REFUSED  # stored, refused, or either
    ts: str = EXPLICIT
    uid: str = field(default_factory=new_uid)

    @property
    def file(self) -> bytes:
        return part10(self.body, self.uid, ts=self.ts)


def bad(
    name: str, expected: str = REFUSED, more: Elements = NOTHING, *, ts: str = EXPLICIT, tail=b""
):
    """A Bad that is a CT image but for `more` and `tail`."""
    uid = uid_of(name)
    return Bad(name, data_set(uid, more, ts=ts, tail=tail), expected, ts, uid)


# -- nesting (row 35, 36) ------------------------------------------------------------------
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SEQUENCE = 0x00089215  # Derivation Code Sequence


def delimiter(tag: int, length: int = 0) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def nested(depth: int, *, ts: str = EXPLICIT, vr: str = "SQ", defined: bool = False) -> bytes:
    """Sequences in sequences, `depth` deep."""
    if not defined:
        first = element(SEQUENCE, vr, b"", length=UNDEFINED, ts=ts) + delimiter(ITEM, UNDEFINED)
        inner = IMPLICIT if vr == "UN" else ts  # PS3.5 6.2.2
        opened = element(SEQUENCE, vr, b"", length=UNDEFINED, ts=inner) + delimiter(ITEM, UNDEFINED)
        return (
            first + opened * (depth - 1) + (delimiter(ITEM_END) + delimiter(SEQUENCE_END)) * depth
        )
    head = 8 if ts == IMPLICIT else 12
    sizes = [(head + 8) * level for level in range(depth, 0, -1)]
    return b"".join(
        element(SEQUENCE, vr, b"", length=size - head, ts=ts) + delimiter(ITEM, size - head - 8)
        for size in sizes
    )


def nestings() -> list[Bad]:
    """64 levels are stored, 1,000 and more are refused; whatever the notation."""
    found = []
    depths = ((50, STORED), (64, STORED), (257, REFUSED), (1_000, REFUSED), (30_000, REFUSED))
    for depth, expected in depths:
        for ts in (EXPLICIT, IMPLICIT):
            for defined in (False, True):
                kind = f"{'defined' if defined else 'undefined'} length, {ts[-3:]}"
                tail = nested(depth, ts=ts, defined=defined)
                found.append(bad(f"nested {depth}, {kind}", expected, ts=ts, tail=tail))
        tail = nested(depth, vr="UN")
        found.append(bad(f"nested {depth} in UN", expected, tail=tail))
    return found


# -- structure (rows 33, 34, 36, 37, 38) ---------------------------------------------------
def broken_structures() -> list[Bad]:
    """Lengths that lie, sequences that do not end, syntaxes that are others."""
    uid = uid_of("broken")
    sound = data_set(uid)
    pixels = sound.rfind(struct.pack("<HH", 0x7FE0, 0x10))
    past = element(0x00204000, "UN", b"abcd", length=400)
    open_item = element(SEQUENCE, "SQ", b"", length=UNDEFINED) + delimiter(ITEM, UNDEFINED)
    overrun = element(SEQUENCE, "SQ", delimiter(ITEM, 100) + bytes(8))
    not_item = element(SEQUENCE, "SQ", element(0x00080100, "SH", b"ab") + bytes(8))
    huge = 0xFFFFFFFE
    fragments = delimiter(ITEM) + delimiter(ITEM, 4) + b"\xff\xd8\xff\xd9"
    found = [
        Bad("cut in a tag", sound[:6], uid=uid),
        Bad("cut in the header", sound[: pixels - 5], uid=uid),
        Bad("cut in the pixel data", sound[:-5], uid=uid),
        Bad("cut in a length", sound[: pixels + 10], uid=uid),
        bad("length past the end", tail=past),
        bad("4 GiB element", tail=element(0x00204000, "UT", b"abcd", length=huge)),
        bad("4 GiB element, implicit", ts=IMPLICIT, tail=past[:4] + struct.pack("<I", huge)),
        bad("4 GiB pixel data", REFUSED, {0x7FE00010: ("", b"")},
            tail=element(0x7FE00010, "OW", bytes(64), length=huge)),
        bad("2 GiB sequence", tail=element(SEQUENCE, "SQ", b"", length=1 << 31)),
        bad("an unclosed sequence", REFUSED, {0x7FE00010: ("", b"")}, tail=open_item),
        bad("an unclosed sequence before pixel data", tail=open_item),
        bad("an item overruns its sequence", tail=overrun),
        bad("an item of 4 GiB", tail=element(SEQUENCE, "SQ", delimiter(ITEM, huge))),
        bad("a sequence without an item", tail=not_item),
        bad("only delimiters", EITHER, tail=delimiter(ITEM_END) * 99),
        bad("absurd group length", STORED, {0x00080000: ("UL", b"\xff\xff\xff\xff")}),
        bad("VR ZZ", EITHER, {0x00091001: ("ZZ", b"abcd")}),
        bad("VR of NUL", EITHER, {0x00091001: ("\0\0", b"")}),
        bad("the same tag 5,000 times", STORED, tail=element(0x00204000, "LT", b"x ") * 5000),
        bad("tags backwards", STORED, tail=element(0x00081030, "LO", b"ab")),
        Bad("implicit said to be explicit", data_set(uid, ts=IMPLICIT), uid=uid),
        Bad("explicit said to be implicit", sound, ts=IMPLICIT, uid=uid),
        Bad("little endian said to be big", sound, ts=BIG_ENDIAN, uid=uid),
        Bad("big endian said to be little", data_set(uid, ts=BIG_ENDIAN), uid=uid),
        Bad("plain said to be deflated", sound, ts=DEFLATED, uid=uid),
        Bad("native said to be JPEG", sound, ts=JPEG, uid=uid),
        Bad("zlib header in deflated", zlib.compress(sound), ts=DEFLATED, uid=uid),
        Bad("deflated and cut", raw_deflate(sound)[:-9], ts=DEFLATED, uid=uid),
        bad("fragments without end", REFUSED, {0x7FE00010: ("", b"")}, ts=JPEG,
            tail=element(0x7FE00010, "OB", fragments, length=UNDEFINED)),
        bad("a fragment of 4 GiB", REFUSED, {0x7FE00010: ("", b"")}, ts=JPEG,
            tail=element(0x7FE00010, "OB", delimiter(ITEM) + delimiter(ITEM, huge),
                         length=UNDEFINED)),
        bad("encapsulated said to be native", REFUSED, {0x7FE00010: ("", b"")},
            tail=element(0x7FE00010, "OB", fragments + delimiter(SEQUENCE_END), length=UNDEFINED)),
    ]  # fmt: skip
    noise = random.Random(5)
    found += [
        Bad("nothing", b"", uid=uid),
        Bad("one byte", b"\x08", uid=uid),
        Bad("zeros", bytes(5000), uid=uid),
        Bad("ones", b"\xff" * 5000, uid=uid),
        Bad("a GIF", b"GIF89a" * 999, uid=uid),
        Bad("HTML", b"<html><script>alert(1)</script>" * 99, uid=uid),
        Bad("noise", noise.randbytes(20_000), uid=uid),
        Bad("noise, implicit", noise.randbytes(20_000), ts=IMPLICIT, uid=uid),
    ]
    return found


# -- identity (row 30) ---------------------------------------------------------------------
PATHS = (
    "../../escape", "/etc/passwd", "..", ".", "1.2/../3", "1" * 92, "", "1.2.3\\4.5.6", "1..2",
    ".1.2", "1.2.", "1.2.3\x004", "1.2.é", "a.b.c", "1.2 .3", "C:\\x", "1.2.3\n4",
)  # fmt: skip


def bad_uids() -> list[Bad]:
    """SOP, series and study UIDs that are paths, too long, missing, or several."""
    found = []
    for tag, what in ((0x00080018, "SOP"), (0x0020000D, "study"), (0x0020000E, "series")):
        for text in PATHS[:9]:
            name = f"{what} UID {text[:12]!r}"
            found.append(bad(name, REFUSED, {tag: ("UI", padded(text, b"\0"))}))
    found.append(bad("no SOP class", REFUSED, {0x00080016: ("", b"")}))
    found.append(bad("no study", REFUSED, {0x0020000D: ("", b"")}))
    return found
