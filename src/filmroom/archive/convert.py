"""A held instance in another transfer syntax, for those who cannot take the stored one.

The only reason to change a byte on the way out. Frames are recoded in worker processes, a
few ahead of the reader, and all else that may be long is copied in pieces, so that memory
does not grow with the object. The frames of a lossy copy are made first and wait on disk: its
header says how far they are compressed. Single frames that were recoded are kept for a while,
because a viewer asks for one in several byte ranges.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from filmroom.archive.errors import Unavailable
from filmroom.archive.kept import Kept
from filmroom.archive.received import SHORTEST_META, Record
from filmroom.archive.records import Handle
from filmroom.archive.restored import as_received
from filmroom.archive.retrieve import OpenFile, Retriever
from filmroom.archive.rewriting import rewritten
from filmroom.archive.stores import Staged
from filmroom.dicom.elements import read_data_set
from filmroom.dicom.errors import Malformed
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.scan import Scan, scan
from filmroom.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    TRANSFER_SYNTAXES,
)
from filmroom.pixel import derived, spaces, transcode
from filmroom.pixel.errors import NoCodec, TooLarge, Undecodable
from filmroom.pixel.shape import ImageShape
from filmroom.pixel.workers import Workers, in_order

PIXEL_DATA = 0x7FE00010
PIECE_BYTES = 1024 * 1024
SHORT_HEADER_BYTES = 64 * 1024  # a longer one is read and parsed in a thread
LONGEST_HEADER_BYTES = 64 << 20  # before the pixel data, to be rewritten as a whole
_PIXEL_ELEMENT = 16  # bytes beyond the header that hold the pixel data's own element header
_SEQUENCE_END = 8  # bytes of the Sequence Delimitation Item after the last fragment
_SHAPE_BYTES = 512

RECODED_BYTES = 64 << 20  # of frames kept; the largest is half of that
_KEY_BYTES = 256

SHAPES: Kept[ImageShape] = Kept(2 << 20)  # by digest: frames of one instance come in a row
# By digest, frame, syntax: a viewer that asks for byte ranges comes again for the same frame.
RECODED: Kept[bytes] = Kept(RECODED_BYTES)


def instance_uid_as(handle: Handle, transfer_syntax_uid: str) -> str:
    """The SOP Instance UID of `handle` in that syntax: another one for a lossy copy."""
    if not handle.frames:
        return handle.sop_instance_uid
    stored = handle.location.transfer_syntax_uid
    return derived.instance_uid(handle.sop_instance_uid, stored, transfer_syntax_uid)


async def data_set_as(
    retriever: Retriever, pool: Workers, handle: Handle, transfer_syntax_uid: str
) -> AsyncIterator[bytes]:
    """The data set of `handle` in another transfer syntax, in pieces.

    Raises pixel.errors.PixelError when the pixels cannot be had in it, Unavailable when the
    stored file is damaged.
    """
    record = await _record(retriever, handle)
    if record is not None and record.received.transfer_syntax_uid == transfer_syntax_uid:
        async for piece in as_received(retriever, pool, handle, record):
            yield piece
        return
    convert = _with_pixels if handle.frames else _without_pixels
    if transfer_syntax_uid != DEFLATED_EXPLICIT_VR_LE:
        async for piece in convert(retriever, pool, handle, transfer_syntax_uid):
            yield piece
        return
    deflate = transcode.deflater(transfer_syntax_uid)
    async for piece in convert(retriever, pool, handle, EXPLICIT_VR_LE):
        if deflated := await asyncio.to_thread(deflate, piece):
            yield deflated
    yield deflate(None)


async def _record(retriever: Retriever, handle: Handle) -> Record | None:
    if not handle.frames or handle.location.data_set_offset < SHORTEST_META:
        return None
    return await asyncio.to_thread(retriever.record, handle)


async def frame_as(
    retriever: Retriever, pool: Workers, handle: Handle, frame_index: int, transfer_syntax_uid: str
) -> bytes:
    """One frame (0-based), decoded or recoded in a worker; not padded.

    It is sent alone: the stored header is true of its colours and their planes. Who comes
    while another waits for the same frame may have it made twice.
    """
    key = handle.location.digest, frame_index, transfer_syntax_uid
    made = RECODED.get(key)
    if made is None:
        made = await _frame_made(retriever, pool, handle, frame_index, transfer_syntax_uid)
        RECODED.put(key, made, len(made) + _KEY_BYTES)
    return made


async def _frame_made(
    retriever: Retriever, pool: Workers, handle: Handle, frame_index: int, transfer_syntax_uid: str
) -> bytes:
    stored = handle.location.transfer_syntax_uid
    coded = await retriever.read_frame(handle, frame_index)
    if derived.serves_as(stored, transfer_syntax_uid):
        return coded
    shape = await _shape(retriever, handle)
    bit_offset = transcode.bit_offset(shape, stored, frame_index)
    work = partial(
        transcode.transcode_frame,
        bit_offset=bit_offset,
        colours=spaces.of_frame(stored, transfer_syntax_uid, shape),
        by_plane=shape.planar == 1,
    )
    return await pool.run(work, coded, stored, transfer_syntax_uid, shape)


async def _shape(retriever: Retriever, handle: Handle) -> ImageShape:
    """The shape of an instance's frames, remembered."""
    shape = SHAPES.get(handle.location.digest)
    if shape is None:
        location = handle.location
        if not retriever.is_quick(handle) or location.header_bytes > SHORT_HEADER_BYTES:
            shape = await asyncio.to_thread(_read_shape, retriever, handle)
        else:
            shape = _read_shape(retriever, handle)
        SHAPES.put(handle.location.digest, shape, _SHAPE_BYTES)
    return shape


def _read_shape(retriever: Retriever, handle: Handle) -> ImageShape:
    syntax = handle.location.transfer_syntax_uid
    try:
        data_set = read_data_set(
            _header(retriever, handle),
            explicit_vr=syntax != IMPLICIT_VR_LE,
            little_endian=syntax != EXPLICIT_VR_BE,
        )
    except Malformed as error:
        raise Undecodable(str(error)) from error
    if syntax != EXPLICIT_VR_BE:
        return transcode.shape_of(data_set)
    with retriever.open(handle) as file:  # bytes or words: the element's own VR decides
        found = _scanned(file, handle)
    return transcode.shape_of(data_set, pixel_vr=found.pixel_vr)


def _header(retriever: Retriever, handle: Handle) -> bytes:
    if handle.location.header_bytes > LONGEST_HEADER_BYTES:
        raise TooLarge(f"a header of {handle.location.header_bytes} bytes is not rewritten")
    return bytes(retriever.header(handle))


async def _without_pixels(
    retriever: Retriever, pool: Workers, handle: Handle, wanted: str
) -> AsyncIterator[bytes]:
    """A data set without frames to recode, or a deflated one: its elements rewritten."""
    location = handle.location
    if TRANSFER_SYNTAXES[location.transfer_syntax_uid].deflated:
        inflated = await asyncio.to_thread(retriever.inflated, handle)
        if inflated.table is not None and TRANSFER_SYNTAXES[wanted].encapsulated:
            raise NoCodec("the frames of a deflated data set are sent uncompressed only")
        view, stored = inflated.view(), EXPLICIT_VR_LE
        if wanted == stored:
            for at in range(0, inflated.size_bytes, PIECE_BYTES):
                yield await asyncio.to_thread(inflated.read, at, PIECE_BYTES)
            return
        async for piece in rewritten(pool, view, inflated.read, stored, wanted):
            yield piece
        return
    elements = await _mapped(retriever, handle)
    with retriever.open(handle) as file:
        read = partial(_read, file, location.data_set_offset)
        stored = location.transfer_syntax_uid
        async for piece in rewritten(pool, elements, read, stored, wanted):
            yield piece


async def _with_pixels(
    retriever: Retriever, pool: Workers, handle: Handle, wanted: str
) -> AsyncIterator[bytes]:
    table = retriever.frame_table(handle)
    assert table is not None
    with retriever.open(handle) as file:
        await file.ready(0, file.data_set_offset + handle.location.header_bytes + _PIXEL_ELEMENT)
        found = _scanned(file, handle)
        if derived.loses(handle.location.transfer_syntax_uid, wanted):
            pieces = _lossy(retriever, pool, handle, table, found, wanted)
        else:
            planned = await _plan(retriever, pool, handle, table, found, wanted)
            if planned.as_it_lies:
                pieces = _copied(file, found, planned)
            else:
                frame_at = partial(retriever.read_frame, handle)
                pieces = transcode.stream_data_set(pool, planned, frame_at)
        async for piece in pieces:
            yield piece
        async for piece in _trailer(retriever, pool, handle, file, _end(found, table), wanted):
            yield piece


async def _mapped(retriever: Retriever, handle: Handle) -> memoryview:
    if retriever.is_here:
        return retriever.mapped(handle)
    return await asyncio.to_thread(retriever.mapped, handle)


def _end(found: Scan, table: FrameTable) -> int:
    """Where in the data set the pixel data element ends."""
    if found.pixel_length is not None:
        return found.pixel_offset + found.pixel_length
    return table.offset + table.length + _SEQUENCE_END


async def _trailer(
    retriever: Retriever, pool: Workers, handle: Handle, file: OpenFile, end: int, wanted: str
) -> AsyncIterator[bytes]:
    """What follows the pixel data: hardly ever anything, but it may be long."""
    location = handle.location
    if location.data_set_offset + end >= location.size_bytes:
        return
    elements = (await _mapped(retriever, handle))[end:]
    read = partial(_read, file, location.data_set_offset + end)
    stored = location.transfer_syntax_uid
    async for piece in rewritten(pool, elements, read, stored, wanted):
        yield piece


def _read(file: OpenFile, begin: int, offset: int, length: int) -> bytes:
    return file.read(begin + offset, length)


async def _plan(
    retriever: Retriever,
    pool: Workers,
    handle: Handle,
    table: FrameTable,
    found: Scan,
    wanted: str,
    coded: list[int] | None = None,
) -> transcode.Plan:
    header = await asyncio.to_thread(_header, retriever, handle)
    first = await retriever.read_frame(handle, 0) if table.encapsulated else None
    work = partial(
        transcode.plan,
        frames=table.frames,
        first_frame=first,
        pixel_vr=found.pixel_vr,
        value_bytes=found.pixel_length,
        floating=found.pixel_tag != PIXEL_DATA,
        stored_bytes=sum(table.lengths) if table.encapsulated else None,
        coded=coded,
    )
    return await pool.run(work, header, handle.location.transfer_syntax_uid, wanted)


async def _lossy(
    retriever: Retriever,
    pool: Workers,
    handle: Handle,
    table: FrameTable,
    found: Scan,
    wanted: str,
) -> AsyncIterator[bytes]:
    """A lossy copy: all frames into a nameless file, then the header, then the frames."""
    room = await asyncio.to_thread(retriever.stage)
    try:
        lengths = await _all_coded(retriever, pool, handle, table.frames, wanted, room)
        planned = await _plan(retriever, pool, handle, table, found, wanted, lengths)
        yield planned.head
        at = 0
        for length in lengths:
            yield planned.wrap(await asyncio.to_thread(room.read, at, length))
            at += length
        yield planned.tail
    finally:
        room.discard()


async def _all_coded(
    retriever: Retriever, pool: Workers, handle: Handle, frames: int, wanted: str, room: Staged
) -> list[int]:
    """Recode all frames, a few at a time, into `room`; the bytes of each."""

    def make(index: int) -> Coroutine[Any, Any, bytes]:
        return _frame_made(retriever, pool, handle, index, wanted)

    lengths: list[int] = []
    async with aclosing(in_order(make, frames, transcode.IN_FLIGHT)) as coded:
        async for frame in coded:
            await asyncio.to_thread(room.write, frame)
            lengths.append(len(frame))
    return lengths


async def _copied(file: OpenFile, found: Scan, planned: transcode.Plan) -> AsyncIterator[bytes]:
    """A new header, and the pixel data value as it lies."""
    yield planned.head
    size = (planned.size_bytes or 0) - len(planned.head) - len(planned.tail)
    held = min(size, found.pixel_length or 0)
    start = file.data_set_offset + found.pixel_offset
    for at in range(0, held, PIECE_BYTES):
        yield await asyncio.to_thread(file.read, start + at, min(PIECE_BYTES, held - at))
    yield bytes(size - held) + planned.tail


def _scanned(file: OpenFile, handle: Handle) -> Scan:
    location = handle.location
    if location.header_bytes > LONGEST_HEADER_BYTES:
        raise TooLarge(f"a header of {location.header_bytes} bytes is not rewritten")
    head = file.read(location.data_set_offset, location.header_bytes + _PIXEL_ELEMENT)
    try:
        return scan(head, location.transfer_syntax_uid, complete=False)
    except Malformed as error:
        raise Unavailable("the stored file is damaged", detail=str(error)) from error
