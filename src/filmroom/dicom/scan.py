"""One forward pass over a data set: the attributes we index, and where the pixel data lies.

Only the top level is looked into. Sequences are jumped over by their length, or walked
with a stack of our own when they have none, so hostile nesting costs neither recursion nor
memory. What can be tolerated is (unknown VRs, group lengths, elements out of order, an
implicit item inside explicit VR, zero padding at the end); what cannot is Malformed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.nesting import (
    budget,
    check_depth,
    check_items,
    may_be_deep,
    skip_fragments,
    skip_undefined,
    too_many,
)
from filmroom.dicom.notation import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    UNDEFINED,
    Buffer,
    Notation,
    TooShort,
    element_header,
    forget,
    long_header,
    notation_of,
)
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.dicom.vrs import KNOWN_VRS, SHORT_VRS

MAX_VALUE_BYTES = 1 << 20  # a longer value is stored but not indexed
MAX_OFFSET_TABLE_BYTES = 1 << 24  # 2 million frames

_ZEROS = bytes(65536)
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)


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
    steps = budget()
    for _ in steps:
        if at > last:
            break
        read, vr, length = unpack(head, at)
        if vr in short:
            start = at + 8
        else:
            if read == 0 and vr == b"\0\0" and _ends_in_zeros(head, at):
                at = size
                break
            start, length, vr = long_header(head, at, read, vr, length, n)
            if read in n.pixels:
                return _found(values, n, at, n.pixels[read], vr, start, length)
            if length == UNDEFINED:
                inner = IMPLICIT_LE if vr in (b"UN", b"") else n
                at = skip_undefined(head, start, inner, steps)
                if read in wanted:
                    _keep(values, wanted[read], head, start, at - 8)
                continue
            elif vr == b"SQ":
                check_items(head, start, length, n, steps)
                if may_be_deep(1, length):
                    check_depth(head, start, start + length, n, 1, steps)
        end = start + length
        if end > size:
            raise TooShort(end)
        if read in wanted and length:
            _keep(values, wanted[read], head, start, end)
        at = end
    else:
        raise too_many()
    return _no_pixels(head, at, values, n)


def _implicit(head: Buffer, size: int, n: Notation) -> Scan:
    unpack, wanted, pixels, sequences = n.header.unpack_from, n.wanted, n.pixels, n.sequences
    values: dict[int, bytes] = {}
    at, last = 0, size - 8
    steps = budget()
    for _ in steps:
        if at > last:
            break
        read, length = unpack(head, at)
        start = at + 8
        if read in pixels:
            vr = {0x7FE00008: b"OF", 0x7FE00009: b"OD"}.get(pixels[read], b"OW")
            return _found(values, n, at, pixels[read], vr, start, length)
        if length == UNDEFINED:
            at = skip_undefined(head, start, n, steps)
            if read in wanted:
                _keep(values, wanted[read], head, start, at - 8)
            continue
        if read in sequences:
            check_items(head, start, length, n, steps)
            if may_be_deep(1, length):
                check_depth(head, start, start + length, n, 1, steps)
        elif read == 0 and length == 0 and _ends_in_zeros(head, at):
            at = size
            break
        end = start + length
        if end > size:
            raise TooShort(end)
        if read in wanted and length:
            _keep(values, wanted[read], head, start, end)
        at = end
    else:
        raise too_many()
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
        forget(head)
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
            at = skip_fragments(whole, found.pixel_offset, n)
        else:
            at = found.pixel_offset + found.pixel_length
        steps = budget()
        for _ in steps:
            if at >= size or (not any(whole[at : at + 8]) and _ends_in_zeros(whole, at)):
                break
            start, length, vr = element_header(whole, at, n)
            if length == UNDEFINED:
                inner = IMPLICIT_LE if vr in (b"UN", b"") else n
                at = skip_undefined(whole, start, inner, steps)
            else:
                at = start + length
        else:
            raise too_many()
    except (struct.error, TooShort):
        at = size + 1
    if at > size:
        raise Malformed("the data set ends inside an element")


def _notation(found: Scan) -> Notation:
    if not found.explicit_vr:
        return IMPLICIT_LE
    return EXPLICIT_LE if found.little_endian else EXPLICIT_BE
