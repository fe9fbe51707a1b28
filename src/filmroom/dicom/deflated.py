"""Deflated Explicit VR Little Endian undone (PS3.5 A.5), in bounded steps.

What inflates out of all proportion is a bomb: nobody has to be told how much memory it
would like. `pieces` never holds more than one step, whatever comes out of it.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator

from filmroom.dicom.errors import Malformed

STEP_BYTES = 1 << 20
FREE_OF_RATIO_BYTES = 64 << 20  # masks are mostly zeros, and honest; up to here nobody is hurt
MAX_RATIO = 100  # inflated to deflated, beyond the free part


def pieces(data: bytes | memoryview | mmap.mmap, max_bytes: int) -> Iterator[bytes]:
    """What raw deflate (no zlib header) inflates to, piece by piece.

    Raises Malformed when it is no such stream, is cut off, exceeds `max_bytes`, or is a bomb.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    most = min(max_bytes, max(FREE_OF_RATIO_BYTES, MAX_RATIO * len(data)))
    view = memoryview(data)
    taken = given = 0
    pending = b""
    while not stream.eof and (pending or taken < len(view)):
        if not pending:
            pending = bytes(view[taken : taken + STEP_BYTES])
            taken += len(pending)
        try:
            piece = stream.decompress(pending, STEP_BYTES)
        except zlib.error:
            raise Malformed("the deflated data set cannot be inflated") from None
        pending = stream.unconsumed_tail
        given += len(piece)
        if given > most:
            raise Malformed(f"the deflated data set is larger than {most} bytes")
        yield piece
    if not stream.eof:
        raise Malformed("the deflated data set is cut off")


def inflate(
    data: bytes | memoryview | mmap.mmap, max_bytes: int, *, first: int | None = None
) -> bytes:
    """All of it at once, or the `first` bytes; see `pieces`."""
    found: list[bytes] = []
    have = 0
    for piece in pieces(data, max_bytes):
        found.append(piece)
        have += len(piece)
        if first is not None and have >= first:
            break
    return b"".join(found)[:first]
