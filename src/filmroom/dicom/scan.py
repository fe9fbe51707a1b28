"""One forward pass over a data set: the attributes we index, and where the pixel data lies.

Only the top level is looked into. Sequences are jumped over by their length, or walked
with a stack of our own when they have none, so hostile nesting costs neither recursion nor
memory. What can be tolerated is (unknown VRs, group lengths, elements out of order, an
implicit item inside explicit VR, zero padding at the end); what cannot is Malformed.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass

from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.tags import BY_TAG, PIXEL_ATTRIBUTES, SPECIFIC_CHARACTER_SET
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.dicom.vrs import KNOWN_VRS, LONG_VRS, SHORT_VRS, sequences

Buffer = bytes | memoryview | mmap.mmap

PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, integer
UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 256
MAX_VALUE_BYTES = 1 << 20  # a longer value is stored but not indexed
MAX_OFFSET_TABLE_BYTES = 1 << 24  # 2 million frames

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ZEROS = bytes(65536)
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_WANTED = frozenset(BY_TAG) | frozenset(PIXEL_ATTRIBUTES.values()) | {SPECIFIC_CHARACTER_SET}


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over a data set found; all offsets count from the data set's start.

    values: the raw value field of every wanted tag that has one; of a sequence its items,
        without the delimiter of one of undefined length.
    header_bytes: where the pixel data element begins; the data set's size when it has none.
    pixel_offset: where the pixel data's value field begins.
    pixel_length: in bytes; None when undefined, that is: encapsulated (PS3.5 A.4).
    """

    values: dict[int, bytes]
    header_bytes: int
    pixel_tag: int | None
    pixel_vr: str
    pixel_offset: int
    pixel_length: int | None
    explicit_vr: bool
    little_endian: bool


class Notation:
    """How element headers are written: tables for one of the three encodings.

    Tags are compared as the number that one unpack gives: the group and element words
    come in the wrong order in little endian, so `natural` puts them right.
    """

    def __init__(self, explicit_vr: bool, little_endian: bool) -> None:
        order = "<" if little_endian else ">"
        self.explicit_vr = explicit_vr
        self.little_endian = little_endian
        self.header = struct.Struct(order + ("I2sH" if explicit_vr else "II"))
        self.implicit = struct.Struct(order + "II")
        self.length = struct.Struct(order + "I")
        self.wanted = {self.as_read(tag): tag for tag in _WANTED}
        self.pixels = {self.as_read(tag): tag for tag in PIXEL_TAGS}
        self.item = self.as_read(_ITEM)
        self.item_end = self.as_read(_ITEM_END)
        self.sequence_end = self.as_read(_SEQUENCE_END)
        self.sequences = frozenset() if explicit_vr else frozenset(map(self.as_read, sequences()))
        self.delimiters = {self.item, self.item_end, self.sequence_end}

    def as_read(self, tag: int) -> int:
        """`tag` as one 32-bit number of this byte order; its own inverse."""
        return (tag >> 16 | (tag & 0xFFFF) << 16) if self.little_endian else tag


EXPLICIT_LE = Notation(True, True)
EXPLICIT_BE = Notation(True, False)
IMPLICIT_LE = Notation(False, True)


def notation_of(transfer_syntax_uid: str) -> Notation:
    """The notation of a transfer syntax; unknown ones are explicit little endian (PS3.5 A.4)."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None or (syntax.explicit_vr and syntax.little_endian):
        return EXPLICIT_LE
    return EXPLICIT_BE if syntax.explicit_vr else IMPLICIT_LE


def scan(head: Buffer, transfer_syntax_uid: str, *, complete: bool) -> Scan:
    """Read `head`, a data set or its beginning, up to the pixel data.

    head: not deflated; complete: False when only a beginning is at hand.
    Raises NeedMore (only if not complete) or Malformed.
    """
    notation = notation_of(transfer_syntax_uid)
    size = len(head)
    try:
        _check_claim(head, size, notation)
        found = (_explicit if notation.explicit_vr else _implicit)(head, size, notation)
    except (struct.error, TooShort) as short:
        if complete:
            raise Malformed("an element reaches past the end of the data set") from None
        raise NeedMore(max(size + 1, getattr(short, "need", 0))) from None
    if found.pixel_tag is None and not complete:
        raise NeedMore(size + 1)
    if found.pixel_tag is not None:
        _check_pixel_form(found, transfer_syntax_uid)
    return found


class TooShort(Exception):
    """The buffer ends at `size`, an element only at `need`."""

    def __init__(self, need: int) -> None:
        self.need = need


def _check_claim(head: Buffer, size: int, notation: Notation) -> None:
    """Refuse a data set whose first element is plainly not in the declared notation."""
    if size < 8:
        if size:
            raise TooShort(8)
        return
    first = bytes(head[:8])
    vr_stands_there = first[4:6] in KNOWN_VRS
    if notation.explicit_vr and not vr_stands_there and any(first):
        raise Malformed("the data set is not in explicit VR as its transfer syntax says")
    if not notation.explicit_vr and vr_stands_there and first[6:8] != b"\0\0":
        raise Malformed("the data set is not in implicit VR as its transfer syntax says")
    if first[:2] in (b"\x08\x00", b"\x00\x08") and notation.little_endian == (first[0] == 0):
        raise Malformed("the data set is not in the byte order its transfer syntax says")


def _explicit(head: Buffer, size: int, n: Notation) -> Scan:
    unpack, wanted, short = n.header.unpack_from, n.wanted, SHORT_VRS
    values: dict[int, bytes] = {}
    at, last = 0, size - 8
    while at <= last:
        read, vr, length = unpack(head, at)
        if vr in short:
            start = at + 8
        else:
            if read == 0 and vr == b"\0\0" and _ends_in_zeros(head, at):
                at = size
                break
            start, length, vr = _long_header(head, at, read, vr, length, n)
            if read in n.pixels:
                return _found(values, n, at, n.pixels[read], vr, start, length)
            if length == UNDEFINED:
                inner = IMPLICIT_LE if vr in (b"UN", b"") else n
                at = skip_undefined(head, start, inner)
                if read in wanted:
                    _keep(values, wanted[read], head, start, at - 8)
                continue
            elif vr == b"SQ":
                _check_items(head, start, length, n)
        end = start + length
        if end > size:
            raise TooShort(end)
        if read in wanted and length:
            _keep(values, wanted[read], head, start, end)
        at = end
    return _no_pixels(head, at, values, n)


def _implicit(head: Buffer, size: int, n: Notation) -> Scan:
    unpack, wanted, pixels, sequences = n.header.unpack_from, n.wanted, n.pixels, n.sequences
    values: dict[int, bytes] = {}
    at, last = 0, size - 8
    while at <= last:
        read, length = unpack(head, at)
        start = at + 8
        if read in pixels:
            vr = {0x7FE00008: b"OF", 0x7FE00009: b"OD"}.get(pixels[read], b"OW")
            return _found(values, n, at, pixels[read], vr, start, length)
        if length == UNDEFINED:
            at = skip_undefined(head, start, n)
            if read in wanted:
                _keep(values, wanted[read], head, start, at - 8)
            continue
        if read in sequences:
            _check_items(head, start, length, n)
        elif read == 0 and length == 0 and _ends_in_zeros(head, at):
            at = size
            break
        end = start + length
        if end > size:
            raise TooShort(end)
        if read in wanted and length:
            _keep(values, wanted[read], head, start, end)
        at = end
    return _no_pixels(head, at, values, n)


def _no_pixels(head: Buffer, at: int, values: dict[int, bytes], n: Notation) -> Scan:
    if at < len(head) and bytes(head[at:]).strip(b"\0"):
        raise TooShort(at + 8)
    return _found(values, n, len(head), None, b"", len(head), 0)


def _keep(values: dict[int, bytes], tag: int, head: Buffer, start: int, end: int) -> None:
    most = MAX_OFFSET_TABLE_BYTES if tag in _OFFSET_TABLES else MAX_VALUE_BYTES
    if end - start <= most:
        values[tag] = bytes(head[start:end])
    else:
        values.pop(tag, None)


def _found(
    values: dict[int, bytes],
    n: Notation,
    at: int,
    tag: int | None,
    vr: bytes,
    start: int,
    length: int,
) -> Scan:
    return Scan(
        values=values,
        header_bytes=at,
        pixel_tag=tag,
        pixel_vr=vr.decode("latin-1") or ("" if tag is None else "OW"),
        pixel_offset=start,
        pixel_length=None if length == UNDEFINED else length,
        explicit_vr=n.explicit_vr,
        little_endian=n.little_endian,
    )


def _long_header(
    head: Buffer, at: int, read: int, vr: bytes, length: int, n: Notation
) -> tuple[int, int, bytes]:
    """Where the value begins, its length, and the VR, for any but the short VRs.

    A VR that is none gives b"": a delimiter, or an element in implicit VR. An unknown
    pair of letters has the long form (PS3.5 7.1.2) unless the reserved bytes are in use.
    """
    if vr in LONG_VRS or (vr.isalpha() and vr.isupper() and length == 0):
        return at + 12, n.length.unpack_from(head, at + 8)[0], vr
    if vr.isalpha() and vr.isupper():
        return at + 8, length, vr
    return at + 8, n.length.unpack_from(head, at + 4)[0], b""


def _check_items(head: Buffer, at: int, length: int, n: Notation) -> None:
    """Refuse a sequence of defined length whose items do not fill it (PS3.5 7.5.1).

    The items are counted through, not read: what is wrong inside them stays unseen.
    """
    end = at + length
    if end > len(head):
        raise TooShort(end)
    while at < end:
        read, length = n.implicit.unpack_from(head, at)
        if read not in n.delimiters:
            raise Malformed("a sequence holds something that is not an item")
        at += 8
        if read == n.item:
            at = skip_item(head, at, n) if length == UNDEFINED else at + length
    if at > end:
        raise Malformed("an item reaches past the end of its sequence")


def skip_item(head: Buffer, at: int, n: Notation) -> int:
    """The end of an item of undefined length whose content begins at `at`."""
    while True:
        read = n.length.unpack_from(head, at)[0]
        start, length, vr = element_header(head, at, n)
        if read == n.item_end:
            return start
        if length == UNDEFINED:
            at = skip_undefined(head, start, IMPLICIT_LE if vr in (b"UN", b"") else n)
        else:
            at = start + length


def skip_undefined(head: Buffer, at: int, n: Notation) -> int:
    """The end of a sequence (or fragments) of undefined length whose value begins at `at`.

    Raises Malformed when it is nested deeper than MAX_DEPTH or not made of items.
    """
    size = len(head)
    outer: list[Notation] = []  # the notations of the items we are inside of
    in_item = False
    while True:
        if at + 8 > size:
            raise TooShort(at + 8)
        read, length = n.implicit.unpack_from(head, at)
        if read in n.delimiters:
            at += 8
            if read == n.item:
                if in_item:
                    raise Malformed("an item begins inside an item")
                if length == UNDEFINED:
                    in_item = True
                else:
                    at += length
            elif read == n.item_end:
                in_item = False
            elif not outer:
                return at
            else:
                n = outer.pop()
                in_item = True
        elif not in_item:
            raise Malformed("a sequence holds something that is not an item")
        else:
            start, length, vr = element_header(head, at, n)
            if length == UNDEFINED:
                if len(outer) >= MAX_DEPTH:
                    raise Malformed(f"sequences are nested deeper than {MAX_DEPTH}")
                outer.append(n)
                n = IMPLICIT_LE if n.explicit_vr and vr in (b"UN", b"") else n
                in_item = False
                at = start
            else:
                at = start + length


def element_header(head: Buffer, at: int, n: Notation) -> tuple[int, int, bytes]:
    """(start of the value, length, VR) of the element at `at`; VR b"" when not written."""
    if not n.explicit_vr:
        return at + 8, n.length.unpack_from(head, at + 4)[0], b""
    read, vr, length = n.header.unpack_from(head, at)
    if vr in SHORT_VRS:
        return at + 8, length, vr
    return _long_header(head, at, read, vr, length, n)


def _ends_in_zeros(head: Buffer, at: int) -> bool:
    """Whether all from `at` on is zero; Malformed when zeros stand between elements.

    Not an answer of False: asked again at the next zero it would cost quadratic time.
    """
    size = len(head)
    while at < size:
        block = bytes(head[at : at + len(_ZEROS)])
        if block != _ZEROS[: len(block)]:
            raise Malformed("zero bytes stand between elements")
        at += len(block)
    return True


def _check_pixel_form(found: Scan, transfer_syntax_uid: str) -> None:
    """Encapsulated and native must be what the transfer syntax says (PS3.5 A.4, 8.2)."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None:
        return
    if found.pixel_length is None and not syntax.encapsulated:
        raise Malformed("encapsulated pixel data under a native transfer syntax")
    if found.pixel_length and syntax.encapsulated:
        raise Malformed("native pixel data under an encapsulated transfer syntax")


def check_rest(found: Scan, whole: Buffer) -> None:
    """Check the pixel data and all that follows it, to the end of the data set.

    whole: the complete data set that `found` came from. Raises Malformed.
    """
    if found.pixel_tag is None:
        return
    n = _notation(found)
    size = len(whole)
    try:
        if found.pixel_length is None:
            at = skip_undefined(whole, found.pixel_offset, n)
        else:
            at = found.pixel_offset + found.pixel_length
        while at < size:
            if not any(whole[at : at + 8]) and _ends_in_zeros(whole, at):
                return
            start, length, vr = element_header(whole, at, n)
            if length == UNDEFINED:
                at = skip_undefined(whole, start, IMPLICIT_LE if vr in (b"UN", b"") else n)
            else:
                at = start + length
    except (struct.error, TooShort):
        at = size + 1
    if at > size:
        raise Malformed("the data set ends inside an element")


def _notation(found: Scan) -> Notation:
    if not found.explicit_vr:
        return IMPLICIT_LE
    return EXPLICIT_LE if found.little_endian else EXPLICIT_BE


def inflate(data: bytes | memoryview, max_bytes: int) -> bytes:
    """Undo Deflated Explicit VR Little Endian (PS3.5 A.5): raw deflate, no zlib header.

    Raises Malformed when it is no such stream, is cut off, or would exceed `max_bytes`.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, max_bytes + 1)
    except zlib.error:
        raise Malformed("the deflated data set cannot be inflated") from None
    if len(inflated) > max_bytes:
        raise Malformed(f"the deflated data set is larger than {max_bytes} bytes")
    if not stream.eof:
        raise Malformed("the deflated data set is cut off")
    return inflated
