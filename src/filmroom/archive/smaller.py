"""A stored instance made anew with its pixels compressed, and the way back.

The new file is not believed: all of what was received is made again from it, and only when that
has the digest that was taken when it came may the new file take the old one's place. What
does not come back byte for byte stays as it is. One frame is held at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from filmroom.archive.errors import ArchiveError, Damaged, Unavailable, Unintelligible
from filmroom.archive.examine import examine
from filmroom.archive.received import CREATOR_UID as CREATOR_UID
from filmroom.archive.received import (
    LONGEST_END,
    LONGEST_HEADER,
    Record,
    difference,
    record_in,
)
from filmroom.archive.records import Handle, Location, Received
from filmroom.archive.retrieve import Retriever
from filmroom.archive.shrinking import UNCOMPRESSED
from filmroom.archive.stores import Blob, Blobs, Staged
from filmroom.dicom import part10
from filmroom.dicom.elements import read_data_set
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.scan import Scan, scan
from filmroom.dicom.uids import EXPLICIT_VR_LE
from filmroom.pixel import transcode
from filmroom.pixel.errors import Busy, NoWorker, PixelError, TooLarge, WorkerLost
from filmroom.pixel.shape import ImageShape
from filmroom.pixel.workers import Workers

PIXEL_DATA = 0x7FE00010
PIECE_BYTES = 1 << 20
HEAD_BYTES = 64 * 1024
AHEAD = 4  # frames on their way to somebody who waits for all of them
_PIXEL_ELEMENT = 16
_SEQUENCE_END = 8

FrameAt = Callable[[int], Awaitable[bytes]]  # a frame as it is coded in the file, 0-based
Frame = Callable[[bytes, str, str, ImageShape], bytes]  # transcode_frame, or a lowlier one


class LeftAlone(Exception):
    """This instance is not stored smaller; the text says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new file, whole and checked, not sealed yet; `location` has no key."""

    staged: Staged
    location: Location
    frames: bytes
    received: Received | None


class Shrinker:
    """Makes new files of stored ones, both ways."""

    def __init__(self, blobs: Blobs, pool: Workers, frame: Frame) -> None:
        self._blobs = blobs
        self._pool = pool
        self._frame = frame

    async def smaller(
        self, handle: Handle, syntax: str, least_gain: float = 0.0, *, tries: int = 2
    ) -> Made:
        """The instance with its pixels in another transfer syntax.

        tries: how many workers may die over it before it is left alone.
        Raises LeftAlone, Damaged (the stored file is not what came), Unavailable.
        """
        file = await asyncio.to_thread(self._open, handle)
        with contextlib.closing(file):
            work = _Smaller(self._blobs, self._pool, self._frame, file, handle, syntax)
            try:
                return await work.run(least_gain)
            except TooLarge as error:
                raise LeftAlone("too large") from error
            except (Busy, NoWorker) as error:  # which says nothing against this one
                raise Unavailable("the pixel workers are busy", detail=str(error)) from error
            except WorkerLost as error:  # once may be for others' want of memory
                if tries > 1:
                    return await self.smaller(handle, syntax, least_gain, tries=tries - 1)
                raise LeftAlone("the pixel worker gave up") from error
            except PixelError as error:
                raise LeftAlone("pixels that cannot be coded so") from error

    async def as_received(self, handle: Handle) -> Made:
        """The instance as it came. Raises LeftAlone, Damaged, Unavailable."""
        file = await asyncio.to_thread(self._open, handle)
        with contextlib.closing(file):
            head = await asyncio.to_thread(file.read, 0, HEAD_BYTES)
            try:
                record = record_in(head)
            except Unintelligible as error:
                raise _damaged(handle) from error
            if record is None:
                raise LeftAlone("it is as it came")
            staged = self._blobs.stage()
            try:
                return await self._grow(file, handle, record, staged, head)
            except BaseException as error:
                staged.discard()
                if isinstance(error, Busy | WorkerLost):
                    raise Unavailable("the pixel workers are busy", detail=str(error)) from error
                if isinstance(error, PixelError):
                    raise _damaged(handle) from error
                raise

    async def _grow(
        self, file: Blob, handle: Handle, record: Record, staged: Staged, head: bytes
    ) -> Made:
        meta = part10.parse_meta(head, complete=True)
        syntax = record.received.transfer_syntax_uid
        header = part10.meta_header(
            sop_class_uid=handle.sop_class_uid,
            sop_instance_uid=handle.sop_instance_uid,
            transfer_syntax_uid=syntax,
            source_ae_title=meta.source_ae_title,
        )
        await asyncio.to_thread(staged.write, header)
        source = await asyncio.to_thread(Source.of, file, handle.location, handle.frames)
        pieces = received_data_set(self._pool, handle, record, source, self._frame, ahead=1)
        async for piece in pieces:
            await asyncio.to_thread(staged.write, piece)
        location, frames = await asyncio.to_thread(
            _located, self._blobs, staged, len(header), syntax, record.received.digest
        )
        return Made(staged, location, frames, None)

    def _open(self, handle: Handle) -> Blob:
        if handle.damage:
            raise _damaged(handle)
        file = self._blobs.open(handle.location.key, size=handle.location.size_bytes, anew=True)
        if file.size != handle.location.size_bytes:
            file.close()
            raise _damaged(handle)
        return file


class _Smaller:
    """One instance on its way to being smaller."""

    def __init__(
        self, blobs: Blobs, pool: Workers, frame: Frame, file: Blob, handle: Handle, syntax: str
    ) -> None:
        self._blobs = blobs
        self._pool = pool
        self._frame = frame
        self._file = file
        self._handle = handle
        self._syntax = syntax
        self._source = hashlib.sha256()  # of what the old file has

    async def run(self, least_gain: float) -> Made:
        location = self._handle.location
        found, table, before, end = await asyncio.to_thread(self._look)
        header = before[: location.header_bytes]
        planned = await self._pool.run(
            transcode.plan,
            header,
            location.transfer_syntax_uid,
            self._syntax,
            frames=table.frames,
            trailer=_trailer(end, found, table),
            pixel_vr=found.pixel_vr,
            value_bytes=found.pixel_length,
        )
        _check_shape(planned.shape)
        new_header = planned.head[: _pixel_element_at(planned.head, self._syntax)]
        received = Received(location.digest, location.transfer_syntax_uid, location.size_bytes)
        record = Record(received, len(before), difference(before, new_header), end)
        staged = self._blobs.stage()
        try:
            offset = await self._write(staged, planned, table, record, least_gain)
            await asyncio.to_thread(staged.write, planned.tail)
            made = await asyncio.to_thread(_located, self._blobs, staged, offset, self._syntax)
            self._source.update(end)
            await self._see(staged, Made(staged, *made, received), record)
            if staged.size > location.size_bytes * (1.0 - least_gain):
                raise LeftAlone(_LITTLE)
            return Made(staged, *made, received)
        except BaseException:
            staged.discard()
            raise

    def _look(self) -> tuple[Scan, FrameTable, bytes, bytes]:
        """(scan, frames, bytes up to the first frame, bytes behind the last); or LeftAlone."""
        location = self._handle.location
        if location.transfer_syntax_uid not in UNCOMPRESSED:
            raise LeftAlone("compressed, deflated or big endian as it came")
        if not self._handle.frames:
            raise LeftAlone("no frames")
        if location.header_bytes > LONGEST_HEADER:
            raise LeftAlone("a header too long")
        head = self._read(0, location.header_bytes + _PIXEL_ELEMENT)
        try:
            found = scan(head, location.transfer_syntax_uid, complete=False)
        except (Malformed, NeedMore) as error:
            raise LeftAlone("a header that cannot be read") from error
        table = FrameTable.from_bytes(self._handle.frames)
        if found.pixel_tag != PIXEL_DATA or table.encapsulated or table.frame_bits % 8:
            raise LeftAlone("pixels that cannot be coded so")
        first = found.pixel_offset
        stop = first + table.frames * table.frame_bits // 8
        size = location.size_bytes - location.data_set_offset
        if size - stop > LONGEST_END:
            raise LeftAlone("much behind the pixels")
        return found, table, self._read(0, first), self._read(stop, size - stop)

    def _read(self, offset: int, length: int) -> bytes:
        return self._file.read(self._handle.location.data_set_offset + offset, length)

    async def _write(
        self,
        staged: Staged,
        planned: transcode.Plan,
        table: FrameTable,
        record: Record,
        least_gain: float,
    ) -> int:
        """All up to the last frame; returns where the data set begins."""
        location = self._handle.location
        meta = part10.parse_meta(
            await asyncio.to_thread(self._file.read, 0, location.data_set_offset + _PIXEL_ELEMENT),
            complete=True,
        )
        try:
            private = record.to_bytes()
        except Unintelligible as error:
            raise LeftAlone("a header that differs too much") from error
        header = part10.meta_header(
            sop_class_uid=self._handle.sop_class_uid,
            sop_instance_uid=self._handle.sop_instance_uid,
            transfer_syntax_uid=self._syntax,
            source_ae_title=meta.source_ae_title,
            private_creator=CREATOR_UID,
            private=private,
        )
        self._source.update(await asyncio.to_thread(self._read, 0, record.header_bytes))
        await asyncio.to_thread(staged.write, header + planned.head)
        for index in range(table.frames):
            native = await asyncio.to_thread(self._read, *table.span(index))
            self._source.update(native)
            coded = await self._pool.run(
                self._frame, native, location.transfer_syntax_uid, self._syntax, planned.shape
            )
            if index == 0 and table.frames > 1:
                await self._try_back(coded, native, planned)
            await asyncio.to_thread(staged.write, planned.wrap(coded))
            if staged.size > location.size_bytes * (1.0 - least_gain):
                raise LeftAlone(_LITTLE)
        return len(header)

    async def _try_back(self, coded: bytes, native: bytes, planned: transcode.Plan) -> None:
        """The first frame back at once: most that will not come back shows there."""
        back = await self._pool.run(self._frame, coded, self._syntax, EXPLICIT_VR_LE, planned.shape)
        if back != native:
            raise LeftAlone(_NOT_THE_SAME)

    async def _see(self, staged: Staged, made: Made, record: Record) -> None:
        """Make what was received again from the new file; LeftAlone unless it is the same."""
        handle = self._handle
        if self._source.digest() != handle.location.digest:
            raise _damaged(handle)
        there = record_in(staged.read(0, made.location.data_set_offset + _PIXEL_ELEMENT))
        if there is None:
            raise LeftAlone(_NOT_THE_SAME)
        source = await asyncio.to_thread(Source.of, staged, made.location, made.frames)
        pieces = received_data_set(self._pool, handle, there, source, self._frame, ahead=1)
        try:
            async for _ in pieces:
                pass
        except Damaged as error:
            raise LeftAlone(_NOT_THE_SAME) from error


_LITTLE = "little or no gain"
_NOT_THE_SAME = "it would not come back the same"


def _check_shape(shape: ImageShape) -> None:
    if shape.samples > 1 and shape.planar == 1:
        raise LeftAlone("colour by plane")
    if shape.subsampled or shape.floating or shape.bits_allocated not in (8, 16):
        raise LeftAlone("pixels that cannot be coded so")


def _pixel_element_at(head: bytes, syntax: str) -> int:
    """Where the pixel data element begins in a data set up to its first frame."""
    return scan(head, syntax, complete=False).header_bytes


def _located(
    blobs: Blobs, staged: Staged, offset: int, syntax: str, digest: bytes = b""
) -> tuple[Location, bytes]:
    """Where everything lies in a new file, looked at as if it had just come; its frames."""
    whole = memoryview(staged.view())[offset:]
    try:
        found, frames = examine(bytes(whole[:HEAD_BYTES]), whole, syntax, blobs.stage)
    except Unintelligible as error:
        raise LeftAlone("a header that cannot be read") from error
    if not digest:
        taken = hashlib.sha256()
        for at in range(0, len(whole), PIECE_BYTES):
            taken.update(whole[at : at + PIECE_BYTES])
        digest = taken.digest()
    return Location("", staged.size, offset, found.header_bytes, digest, syntax), frames


@dataclass(frozen=True, slots=True)
class Source:
    """What the data set that came is made of again, beside its record."""

    header: bytes
    transfer_syntax_uid: str
    frames: int
    frame_at: FrameAt

    @classmethod
    def of(cls, file: Blob | Staged, location: Location, frames: bytes) -> Source:
        """An open file. Blocks."""
        table = FrameTable.from_bytes(frames)
        begin = location.data_set_offset

        async def frame_at(index: int) -> bytes:
            at, length = table.span(index)
            return table.joined(index, await asyncio.to_thread(file.read, begin + at, length))

        header = file.read(begin, location.header_bytes)
        return cls(header, location.transfer_syntax_uid, table.frames, frame_at)


def _trailer(end: bytes, found: Scan, table: FrameTable) -> bytes:
    """The elements behind the pixel data, of all that follows the last frame."""
    padding = (found.pixel_length or 0) - table.frames * table.frame_bits // 8
    return end[padding:] if any(end[padding:]) else b""


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
    except (Malformed, PixelError, Unintelligible) as error:
        raise _damaged(handle) from error
    digest = hashlib.sha256(before)
    yield before
    coming: deque[asyncio.Task[bytes]] = deque()

    async def native(index: int) -> bytes:
        coded = await source.frame_at(index)
        return await pool.run(frame, coded, syntax, EXPLICIT_VR_LE, shape)

    try:
        for index in range(source.frames + ahead):
            if index < source.frames:
                coming.append(asyncio.ensure_future(native(index)))
            if index >= ahead - 1 and coming:
                piece = await coming.popleft()
                digest.update(piece)
                yield piece
    finally:
        for task in coming:
            task.cancel()
    digest.update(record.end)
    if digest.digest() != record.received.digest:
        raise _damaged(handle)
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


def _damaged(handle: Handle) -> ArchiveError:
    return Damaged(
        "the stored file of this instance is damaged; send the instance again, or restore the file",
        detail=handle.location.key,
    )
