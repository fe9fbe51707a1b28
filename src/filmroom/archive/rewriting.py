"""Data elements in another encoding, streamed: what is long is copied and never held.

Short elements and sequences are taken apart in a worker, many at a time; a long plain value
gets a new element header and passes in pieces.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from filmroom.dicom import vrs
from filmroom.dicom.errors import Malformed
from filmroom.dicom.nesting import skip_undefined
from filmroom.dicom.notation import (
    IMPLICIT_LE,
    UNDEFINED,
    Buffer,
    Notation,
    TooShort,
    element_header,
    forget,
    notation_of,
)
from filmroom.dicom.uids import IMPLICIT_VR_LE
from filmroom.pixel import transcode
from filmroom.pixel.errors import TooLarge, Undecodable
from filmroom.pixel.workers import Workers

LONG_BYTES = 256 * 1024  # a plain value from here on is copied
RUN_BYTES = 1024 * 1024  # of short elements, rewritten together
SEQUENCE_BYTES = 64 << 20  # a longer sequence is not taken apart
PIECE_BYTES = 1024 * 1024  # copied at a time; whole words of every width
TRAILING_PADDING = 0xFFFCFFFC

Read = Callable[[int, int], bytes]  # (offset, length) of the data set


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements to be taken apart."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Long:
    """A value to be copied; items: it is made of fragments, and their end is part of it."""

    tag: int
    vr: str
    start: int
    stop: int
    items: bool


async def rewritten(
    pool: Workers, elements: Buffer, read: Read, from_syntax: str, to_syntax: str
) -> AsyncIterator[bytes]:
    """The elements of a data set, or of its end, in Explicit or Implicit VR Little Endian.

    elements: all of them, a view of their file. read: the same bytes by ranges. Trailing
    padding is left out. Raises PixelError when they cannot be read.
    """
    parts = _parts(elements, notation_of(from_syntax))
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        if isinstance(part, _Run):
            run = await asyncio.to_thread(read, part.start, part.stop - part.start)
            yield await pool.run(transcode.rewrite, run, from_syntax, to_syntax)
            continue
        yield _header_of(part, to_syntax)
        swap = not notation_of(from_syntax).little_endian and not part.items
        for at in range(part.start, part.stop, PIECE_BYTES):
            piece = await asyncio.to_thread(read, at, min(PIECE_BYTES, part.stop - at))
            yield vrs.swapped(piece, part.vr) if swap else piece
        if (part.stop - part.start) % 2:
            yield b"\0" if part.vr in _PADDED_WITH_ZERO else b" "
        forget(elements)


_PADDED_WITH_ZERO = frozenset({"UI", "UN"}) | vrs.BINARY_VRS | vrs.NUMBER_FORMATS.keys()


def _parts(elements: Buffer, n: Notation) -> Iterator[_Run | _Long]:
    at = begun = 0
    size = len(elements)
    try:
        while at + 8 <= size and any(elements[at : at + 8]):  # else what is left is nothing
            tag, vr, start, stop, items = _element(elements, at, n)
            if stop > size:
                raise TooShort(stop)
            is_long = stop - at > LONG_BYTES
            if is_long and vr == "SQ" and stop - at > SEQUENCE_BYTES:
                raise TooLarge(f"a sequence of {stop - at} bytes is not rewritten")
            apart = (is_long and vr != "SQ") or tag == TRAILING_PADDING
            if begun < at and (apart or stop - begun > RUN_BYTES):
                yield _Run(begun, at)
                begun = at
            if apart:
                begun = stop
                if tag != TRAILING_PADDING:
                    yield _Long(tag, vr, start, stop, items)
            at = stop
    except (TooShort, struct.error):
        raise Undecodable("the data set ends inside an element") from None
    except Malformed as error:
        raise Undecodable(str(error)) from error
    if begun < size:
        yield _Run(begun, size)


def _element(elements: Buffer, at: int, n: Notation) -> tuple[int, str, int, int, bool]:
    """(tag, VR, start and end of the value, whether it is made of fragments)."""
    start, length, code = element_header(elements, at, n)
    tag = n.as_read(n.length.unpack_from(elements, at)[0])
    vr = code.decode("ascii") if code else vrs.vr_of(tag)
    if length != UNDEFINED:
        is_sequence = vr == "UN" and vrs.vr_of(tag) == "SQ"
        return tag, "SQ" if is_sequence else vr, start, start + length, False
    stop = skip_undefined(elements, start, IMPLICIT_LE if vr == "UN" else n)
    items = vr in ("OB", "OW")
    return tag, vr if items else "SQ", start, stop, items


def _header_of(part: _Long, syntax: str) -> bytes:
    length = UNDEFINED if part.items else part.stop - part.start
    length += length % 2 if length != UNDEFINED else 0
    tag = struct.pack("<HH", part.tag >> 16, part.tag & 0xFFFF)
    if syntax == IMPLICIT_VR_LE:
        return tag + struct.pack("<I", length)
    code = part.vr.encode("ascii")
    code = b"UN" if code in vrs.SHORT_VRS else code  # too long for its VR  PS3.5 6.2.2
    return tag + code + b"\0\0" + struct.pack("<I", length)
