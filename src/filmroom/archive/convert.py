"""A held instance in another transfer syntax, for those who cannot take the stored one.

The only reason to change a byte on the way out. Frames are recoded in worker processes, a
few ahead of the reader, so that memory does not grow with the object.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache, partial

from filmroom.archive.errors import Unavailable
from filmroom.archive.examine import INFLATED_BYTES
from filmroom.archive.records import Handle
from filmroom.archive.retrieve import OpenFile, Retriever
from filmroom.dicom.deflated import inflate
from filmroom.dicom.elements import read_data_set
from filmroom.dicom.errors import Malformed
from filmroom.dicom.scan import Scan, scan
from filmroom.dicom.uids import (
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    TRANSFER_SYNTAXES,
)
from filmroom.pixel import transcode
from filmroom.pixel.errors import Undecodable
from filmroom.pixel.shape import ImageShape
from filmroom.pixel.workers import Workers

PIXEL_DATA = 0x7FE00010
PIECE_BYTES = 256 * 1024
SHORT_HEADER_BYTES = 64 * 1024  # what is remembered of 64 instances
_PIXEL_ELEMENT = 16  # bytes beyond the header that hold the pixel data's own element header
_SEQUENCE_END = 8  # bytes of the Sequence Delimitation Item after the last fragment


def data_set_as(
    retriever: Retriever, pool: Workers, handle: Handle, transfer_syntax_uid: str
) -> AsyncIterator[bytes]:
    """The data set of `handle` in another transfer syntax, in pieces.

    Raises pixel.errors.PixelError when the pixels cannot be had in it, Unavailable when the
    stored file is damaged.
    """
    if handle.frames:
        return _with_pixels(retriever, pool, handle, transfer_syntax_uid)
    return _without_pixels(retriever, pool, handle, transfer_syntax_uid)


async def frame_as(
    retriever: Retriever, pool: Workers, handle: Handle, frame_index: int, transfer_syntax_uid: str
) -> bytes:
    """One frame (0-based), decoded or recoded in a worker; not padded."""
    stored = handle.location.transfer_syntax_uid
    coded = retriever.frame(handle, frame_index)
    header = bytes(retriever.header(handle))
    shape = (_shape if len(header) <= SHORT_HEADER_BYTES else _read_shape)(header, stored)
    bit_offset = transcode.bit_offset(shape, stored, frame_index)
    work = partial(transcode.transcode_frame, bit_offset=bit_offset)
    return await pool.run(work, coded, stored, transfer_syntax_uid, shape)


@lru_cache(maxsize=64)
def _shape(header: bytes, syntax: str) -> ImageShape:
    """The same, remembered: frames of one instance are asked for in a row."""
    return _read_shape(header, syntax)


def _read_shape(header: bytes, syntax: str) -> ImageShape:
    """The shape of an instance's frames."""
    try:
        data_set = read_data_set(
            header,
            explicit_vr=syntax != IMPLICIT_VR_LE,
            little_endian=syntax != EXPLICIT_VR_BE,
        )
    except Malformed as error:
        raise Undecodable(str(error)) from error
    return transcode.shape_of(data_set)


async def _without_pixels(
    retriever: Retriever, pool: Workers, handle: Handle, wanted: str
) -> AsyncIterator[bytes]:
    """A data set that is rewritten as a whole: no frames, or deflated."""
    location = handle.location
    stored = location.transfer_syntax_uid
    with retriever.open(handle) as file:
        length = location.size_bytes - location.data_set_offset
        data_set = await asyncio.to_thread(file.read, location.data_set_offset, length)
    if TRANSFER_SYNTAXES[stored].deflated:
        try:
            data_set = await asyncio.to_thread(inflate, data_set, INFLATED_BYTES)
        except Malformed as error:
            raise Unavailable("the stored file is damaged", detail=str(error)) from error
        stored = EXPLICIT_VR_LE
    if stored != wanted:
        data_set = await pool.run(transcode.rewrite, data_set, stored, wanted)
    yield data_set


async def _with_pixels(
    retriever: Retriever, pool: Workers, handle: Handle, wanted: str
) -> AsyncIterator[bytes]:
    with retriever.open(handle) as file:
        found = _scanned(file, handle)
        planned = await _plan(retriever, pool, handle, file, found, wanted)
        if planned.as_it_lies:
            pieces = _copied(file, found, planned)
        else:
            pieces = transcode.stream_data_set(pool, planned, partial(retriever.frame, handle))
        async for piece in pieces:
            yield piece


async def _plan(
    retriever: Retriever, pool: Workers, handle: Handle, file: OpenFile, found: Scan, wanted: str
) -> transcode.Plan:
    location = handle.location
    table = retriever.frame_table(handle)
    assert table is not None
    end = table.offset + table.length + _SEQUENCE_END
    if found.pixel_length is not None:
        end = found.pixel_offset + found.pixel_length
    trailer = location.data_set_offset + end
    work = partial(
        transcode.plan,
        frames=table.frames,
        first_frame=retriever.frame(handle, 0) if table.encapsulated else None,
        trailer=file.read(trailer, max(location.size_bytes - trailer, 0)),
        pixel_vr=found.pixel_vr,
        value_bytes=found.pixel_length,
        floating=found.pixel_tag != PIXEL_DATA,
    )
    header = bytes(retriever.header(handle))
    return await pool.run(work, header, location.transfer_syntax_uid, wanted)


async def _copied(file: OpenFile, found: Scan, planned: transcode.Plan) -> AsyncIterator[bytes]:
    """A new header, and the pixel data value as it lies."""
    yield planned.head
    size = (planned.size_bytes or 0) - len(planned.head) - len(planned.tail)
    held = min(size, found.pixel_length or 0)
    start = file.data_set_offset + found.pixel_offset
    for at in range(0, held, PIECE_BYTES):
        yield file.read(start + at, min(PIECE_BYTES, held - at))
    yield bytes(size - held) + planned.tail


def _scanned(file: OpenFile, handle: Handle) -> Scan:
    location = handle.location
    head = file.read(location.data_set_offset, location.header_bytes + _PIXEL_ELEMENT)
    try:
        return scan(head, location.transfer_syntax_uid, complete=False)
    except Malformed as error:
        raise Unavailable("the stored file is damaged", detail=str(error)) from error
