"""The way back: what was received, made again from a file that is stored smaller."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from filmroom.archive.errors import ArchiveError, Damaged, Unintelligible
from filmroom.archive.received import Record
from filmroom.archive.records import Handle, Location
from filmroom.archive.retrieve import Retriever
from filmroom.dicom.elements import read_data_set
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.uids import EXPLICIT_VR_LE
from filmroom.pixel import transcode
from filmroom.pixel.errors import PixelError
from filmroom.pixel.shape import ImageShape
from filmroom.pixel.workers import Workers, in_order

AHEAD = 4  # frames on their way to somebody who waits for all of them

FrameAt = Callable[[int], Awaitable[bytes]]  # a frame as it is coded in the file, 0-based
Frame = Callable[[bytes, str, str, ImageShape], bytes]  # transcode_frame, or a lowlier one


class Readable(Protocol):
    """An open file, stored or staged."""

    def read(self, offset: int, length: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Source:
    """What the data set that came is made of again, beside its record."""

    header: bytes
    transfer_syntax_uid: str
    frames: int
    frame_at: FrameAt

    @classmethod
    def of(cls, file: Readable, location: Location, frames: bytes) -> Source:
        """An open file. Blocks."""
        table = FrameTable.from_bytes(frames)
        begin = location.data_set_offset

        async def frame_at(index: int) -> bytes:
            at, length = table.span(index)
            return table.joined(index, await asyncio.to_thread(file.read, begin + at, length))

        header = file.read(begin, location.header_bytes)
        return cls(header, location.transfer_syntax_uid, table.frames, frame_at)


async def received_data_set(
    pool: Workers,
    handle: Handle,
    record: Record,
    source: Source,
    frame: Frame = transcode.transcode_frame,
    *,
    ahead: int = AHEAD,
) -> AsyncIterator[bytes]:
    """The data set that was received, in pieces, made from the file with this record.

    ahead: frames being decoded at once. Raises Damaged at the end when the whole is not what was
    received, and PixelError.
    """
    header, syntax = source.header, source.transfer_syntax_uid
    try:
        shape = transcode.shape_of(read_data_set(header, explicit_vr=True, little_endian=True))
        before = record.header_from(header)
    except (Malformed, NeedMore, PixelError, Unintelligible) as error:
        raise damaged(handle) from error
    digest = hashlib.sha256(before)
    yield before

    async def native(index: int) -> bytes:
        coded = await source.frame_at(index)
        return await pool.run(frame, coded, syntax, EXPLICIT_VR_LE, shape)

    async with aclosing(in_order(native, source.frames, ahead)) as pieces:
        async for piece in pieces:
            digest.update(piece)
            yield piece
    digest.update(record.end)
    if digest.digest() != record.received.digest:
        raise damaged(handle)
    if record.end:
        yield record.end


async def as_received(
    retriever: Retriever, pool: Workers, handle: Handle, record: Record
) -> AsyncIterator[bytes]:
    """The data set of `handle` as it came, in pieces, for somebody who asks for it."""
    table = retriever.frame_table(handle)
    assert table is not None
    header = bytes(await asyncio.to_thread(retriever.header, handle))
    syntax = handle.location.transfer_syntax_uid
    source = Source(header, syntax, table.frames, partial(retriever.read_frame, handle))
    async for piece in received_data_set(pool, handle, record, source):
        yield piece


def damaged(handle: Handle, detail: str = "") -> ArchiveError:
    return Damaged(
        "the stored file of this instance is damaged; send the instance again, or restore the file",
        detail=f"{handle.location.key} {detail}".rstrip(),
    )
