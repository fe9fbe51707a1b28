"""The one door out: a selection -> handles to instances, frames, headers and bulk data.

What is held under a UID never changes (but for the `replace` policy, which tells us), so
handles are remembered: a frame costs one ranged read and no query. A file that is marked as
damaged is not given to anybody; one that cannot be read is told to whoever looks after them.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType
from typing import NamedTuple

from filmroom.archive.access import Action, Principal, demand
from filmroom.archive.errors import (
    ArchiveError,
    Away,
    Damaged,
    NotHeld,
    Unavailable,
    Unintelligible,
)
from filmroom.archive.examine import INFLATED_BYTES
from filmroom.archive.inflated import Inflated, InflatedShelf
from filmroom.archive.kept import Kept
from filmroom.archive.metadata import Metadata, MetadataShelf, header_json
from filmroom.archive.news import News
from filmroom.archive.received import META_MARGIN, SHORTEST_META, Record, as_it_came, record_in
from filmroom.archive.records import Handle, Selection
from filmroom.archive.selected import Selected, select
from filmroom.archive.soundness import is_passing
from filmroom.archive.stores import Blob, Blobs, Index, Staged
from filmroom.dicom import dicomjson
from filmroom.dicom.deflated import inflate
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.notation import Buffer
from filmroom.dicom.scan import scan
from filmroom.dicom.uids import TRANSFER_SYNTAXES

_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
REMEMBERED_BYTES = 64 << 20  # of handles and their frame tables
TRUSTED_SECONDS = 5.0  # a handle, where other nodes may change what it speaks of
FETCHERS = 32  # at once, from a remote store
_HANDLE_BYTES = 1500  # of one, about, without its frame table
LONG_FRAME_BYTES = 4 << 20  # a longer one is read in a thread
_INLINE_HEADER_BYTES = 256 * 1024  # a longer header is read and written as JSON in a thread


@dataclass(frozen=True, slots=True)
class Bulk:
    """Where one bulk data value lies."""

    handle: Handle
    offset: int  # from the start of the file
    length: int
    vr: str


class OpenFile:
    """A stored Part 10 file, open for reading; use as a context manager."""

    def __init__(
        self,
        blob: Blob,
        handle: Handle,
        trouble: Callable[[ArchiveError], ArchiveError],
        fetchers: Executor,
    ) -> None:
        """trouble: what to raise for what goes wrong when the blob is read. fetchers: threads
        that may wait for a network."""
        self._blob = blob
        self._fetchers = fetchers
        self._trouble = trouble
        self.fd = blob.fd
        self.size_bytes = handle.location.size_bytes
        self.data_set_offset = handle.location.data_set_offset

    async def ready(self, offset: int, length: int) -> None:
        """Return when these bytes can be had from `fd`, and `read`, without waiting."""
        if not self._blob.is_here:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._fetchers, self.fetch, offset, length)

    def fetch(self, offset: int, length: int) -> None:
        """The same for threads."""
        try:
            self._blob.fetch(offset, length)
        except (NotHeld, Unavailable) as error:
            raise self._trouble(error) from error

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` of the file; b"" at its end."""
        try:
            return self._blob.read(offset, length)
        except (NotHeld, Unavailable) as error:
            raise self._trouble(error) from error

    def close(self) -> None:
        """Give the descriptor back."""
        self._blob.close()
        self.fd = -1

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Remembered(NamedTuple):
    handle: Handle
    table: FrameTable | None
    at: float


class Retriever:
    """Reads what the archive holds on behalf of somebody."""

    def __init__(self, index: Index, blobs: Blobs) -> None:
        self._index = index
        self._blobs = blobs
        self._is_alone = index.embedded  # else another node may mark or replace a file
        self.is_here = blobs.is_here  # reading does not wait for a network
        self._handles: Kept[_Remembered] = Kept(REMEMBERED_BYTES)
        self._fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetching")
        self._inflated = InflatedShelf(blobs)
        self._forgotten = 0  # how often; what was asked for before may be out of date
        self.suspect: Callable[[Handle, str], None] = lambda handle, detail: None
        self.trust = 0  # rises with every mark; belongs to the key of all that is made of files
        self.shelf = MetadataShelf(index, self.header_as_received)

    # -- which ------------------------------------------------------------------------------
    async def select(self, principal: Principal, selection: Selection) -> Selected:
        """All instances selected, by series and InstanceNumber; perhaps none."""
        demand(principal, Action.RETRIEVE)
        return await asyncio.to_thread(select, self._index, selection)

    async def instance(
        self, principal: Principal, study: str | None, series: str | None, sop: str
    ) -> Handle:
        """One instance; NotHeld when it is not there, or not in that study and series.

        Damaged when its file is.
        """
        demand(principal, Action.RETRIEVE)
        known = self._handles.get(sop)
        if known is not None and not self._is_alone and known.at < monotonic() - TRUSTED_SECONDS:
            self._handles.drop(sop)
            known = None
        if known is not None:
            handle: Handle | None = known.handle
        else:
            forgotten = self._forgotten
            if self._index.embedded:
                handle = self._index.instance(sop)
            else:
                handle = await asyncio.to_thread(self._index.instance, sop)
            if handle is not None and not handle.damage:
                self._remember(handle, forgotten)
        if handle is None:
            raise NotHeld("no such instance")
        if (study or handle.study_instance_uid) != handle.study_instance_uid or (
            series or handle.series_instance_uid
        ) != handle.series_instance_uid:
            raise NotHeld("no such instance in that study and series")
        if handle.damage:
            raise damaged(handle)
        return handle

    def _remember(self, handle: Handle, forgotten: int) -> None:
        table = _table_of(handle)
        size = _HANDLE_BYTES + (table.memory_bytes if table is not None else 0)
        self._handles.put(handle.sop_instance_uid, _Remembered(handle, table, monotonic()), size)
        if self._forgotten != forgotten:  # perhaps this one, while the index was asked
            self._handles.drop(handle.sop_instance_uid)

    def forget(self, sop_instance_uid: str) -> None:
        """Its file was replaced or marked: ask the index again. Called from any thread."""
        self._forgotten += 1
        self._handles.drop(sop_instance_uid)

    def distrust(self, sop_instance_uid: str) -> None:
        """Its file is damaged: what was made of it must not outlive it. From any thread."""
        self.trust += 1
        self._inflated = InflatedShelf(self._blobs)
        self.forget(sop_instance_uid)

    def heard(self, topic: str, payload: str) -> None:
        """What a node has told: see news.News. From any thread."""
        match topic:
            case News.REPLACED | News.RESTORED:
                self.forget(payload)
            case News.MARKED:
                self.distrust(payload)
            case News.LOST_TOUCH:
                self._forgotten += 1
                self._handles.clear()

    # -- bytes -------------------------------------------------------------------------------
    def open(self, handle: Handle) -> OpenFile:
        """The stored file; Damaged when it is marked, gone, or not the size it was."""
        if handle.damage:
            raise damaged(handle)
        size = handle.location.size_bytes
        try:
            blob = self._blobs.open(handle.location.key, size=size)
        except (NotHeld, Unavailable) as error:
            raise self._suspicious(handle, error) from error
        if blob.size != size:
            blob.close()
            raise self._suspicious(handle, Unavailable("the stored file has another size"))
        return OpenFile(blob, handle, partial(self._suspicious, handle), self._fetchers)

    async def demand(self, handle: Handle, offset: int) -> None:
        """Raise now, before an answer begins, what keeps this part of the file from being read."""
        if not self.is_here:
            with self.open(handle) as file:
                await file.ready(offset, 1)

    def _read(self, handle: Handle, offset: int, length: int) -> bytes:
        """Bytes of the data set."""
        if handle.damage:
            raise damaged(handle)
        location = handle.location
        try:
            begin = location.data_set_offset + offset
            return self._blobs.read(location.key, begin, length, size=location.size_bytes)
        except (NotHeld, Unavailable) as error:
            raise self._suspicious(handle, error) from error

    def _suspicious(self, handle: Handle, error: ArchiveError) -> ArchiveError:
        """What to raise when a file cannot be read; told to whoever looks after the files."""
        if is_passing(error):
            return error
        if self._has_moved(handle):
            self.forget(handle.sop_instance_uid)
            return Away("the instance was replaced this instant: ask again")
        self.suspect(handle, f"{error.message} {error.detail}")
        return damaged(handle)

    def _has_moved(self, handle: Handle) -> bool:
        """Whether something else is in its place meanwhile."""
        current = self._index.instance(handle.sop_instance_uid)
        return current is None or current.location.key != handle.location.key

    def header(self, handle: Handle) -> Buffer:
        """The data set from its start up to the pixel data, inflated when deflated.

        A long one, such as a document, is a view of the file: only what is looked at is read.
        """
        location = handle.location
        if TRANSFER_SYNTAXES[location.transfer_syntax_uid].deflated:
            return self._inflated_start(handle)
        if not _is_short(handle):
            whole = self.mapped(handle)
            return whole[: location.header_bytes]
        return self._read(handle, 0, location.header_bytes)

    def record(self, handle: Handle) -> Record | None:
        """How it was when it came, where it is stored smaller now."""
        offset = handle.location.data_set_offset
        if offset < SHORTEST_META:
            return None
        try:
            return record_in(self._read(handle, -offset, offset + META_MARGIN))
        except Unintelligible as error:
            raise self._suspicious(handle, Unavailable(error.message)) from error

    def header_as_received(self, handle: Handle) -> tuple[Handle, Buffer]:
        """The header as it came, and the handle that goes with it: what metadata are made of."""
        header = self.header(handle)
        try:
            return as_it_came(handle, header, self.record(handle))
        except (Unintelligible, Malformed, NeedMore) as error:
            raise self._suspicious(handle, Unavailable(str(error))) from error

    def mapped(self, handle: Handle) -> memoryview:
        """The stored data set as a view of its file, nothing of it read yet.

        A remote one is fetched before: see `is_here`.
        """
        with self.open(handle) as file:
            file.fetch(0, file.size_bytes)
            whole = mmap.mmap(file.fd, handle.location.size_bytes, prot=mmap.PROT_READ)
        return memoryview(whole)[handle.location.data_set_offset :]

    def stage(self) -> Staged:
        """Room in the data folder for what is made on the way out; discard it when done."""
        return self._blobs.stage()

    def _inflated_start(self, handle: Handle) -> bytes:
        try:
            return inflate(self.mapped(handle), INFLATED_BYTES, first=handle.location.header_bytes)
        except Malformed as error:
            raise self._suspicious(handle, Unavailable(str(error))) from error

    def inflated(self, handle: Handle) -> Inflated:
        """A deflated data set inflated; done once for those who ask for it in a row. Blocks."""
        try:
            return self._inflated.get(handle, self.mapped(handle))
        except Unavailable as error:
            if isinstance(error.__cause__, Malformed):
                raise self._suspicious(handle, error) from error
            raise

    # -- frames --------------------------------------------------------------------------------
    def frame_table(self, handle: Handle) -> FrameTable | None:
        """Where each frame lies; None when the instance has no frames we can point at."""
        known = self._handles.get(handle.sop_instance_uid)
        return known.table if known is not None and known.handle is handle else _table_of(handle)

    def frame(self, handle: Handle, frame_index: int, table: FrameTable | None = None) -> bytes:
        """One frame as stored (0-based); NotHeld when there is no such frame.

        Native frames whose bits do not fill bytes come as the bytes that hold them.
        table: the frame table, where it is at hand.
        """
        table = table or self.frame_table(handle)
        if table is None:
            return self._frame_of_deflated(handle, frame_index)
        _demand_frame(table, frame_index)
        span = self._read(handle, *table.span(frame_index))
        return table.joined(frame_index, span)

    async def read_frame(self, handle: Handle, frame_index: int) -> bytes:
        """The same from an event loop, which is not made to wait for a long one."""
        table = self.frame_table(handle)
        is_quick = self.is_here and not (
            table is None
            or (0 <= frame_index < table.frames and table.span(frame_index)[1] > LONG_FRAME_BYTES)
        )
        if not is_quick:
            return await asyncio.to_thread(self.frame, handle, frame_index, table)
        return self.frame(handle, frame_index, table)

    def _frame_of_deflated(self, handle: Handle, frame_index: int) -> bytes:
        """A deflated data set has no ranges on disk: inflate it and look there."""
        if not TRANSFER_SYNTAXES[handle.location.transfer_syntax_uid].deflated:
            raise NotHeld("the instance has no frames")
        inflated = self.inflated(handle)
        if inflated.table is None:
            raise NotHeld("the instance has no frames")
        _demand_frame(inflated.table, frame_index)
        return inflated.read(*inflated.table.span(frame_index))

    def is_quick(self, handle: Handle) -> bool:
        """Whether an event loop may read and parse this header."""
        return self.is_here and _is_short(handle)

    # -- attributes ------------------------------------------------------------------------------
    async def metadata(
        self, principal: Principal, study: str, series: str | None, sop: str | None
    ) -> Metadata:
        """The DICOM JSON of a study, series or instance (PS3.18 10.4.1.1.2)."""
        demand(principal, Action.RETRIEVE)
        if sop is not None:
            handle = await self.instance(principal, study, series, sop)
            return Metadata(b"[" + await self._header_json(handle) + b"]", None, handle.etag)
        if series is not None and self._index.embedded:
            ready = self.shelf.ready(study, series)
            if ready is not None:
                return ready
        return await asyncio.to_thread(self.shelf.metadata, study, series)

    async def _header_json(self, handle: Handle) -> bytes:
        if self.is_quick(handle):
            return header_json(*self.header_as_received(handle))
        return await asyncio.to_thread(lambda: header_json(*self.header_as_received(handle)))

    async def bulk(
        self, principal: Principal, study: str, series: str, sop: str, path: str
    ) -> Bulk:
        """Where the bulk data value named by a BulkDataURI's path lies in its file.

        `7FE00010` (or float pixel data) is the whole value of the pixel data element; for
        encapsulated pixel data that is the item sequence as stored. Raises NotHeld.
        """
        handle = await self.instance(principal, study, series, sop)
        location = handle.location
        syntax = TRANSFER_SYNTAXES[location.transfer_syntax_uid]
        if syntax.deflated:
            raise NotHeld("bulk data of a deflated data set: retrieve the instance instead")
        end = location.size_bytes - location.data_set_offset
        if path.upper() in ("7FE00008", "7FE00009", "7FE00010"):
            if self.is_here:
                return self._pixel_bulk(handle, path.upper(), end)
            return await asyncio.to_thread(self._pixel_bulk, handle, path.upper(), end)
        try:
            if self.is_quick(handle):
                offset, length, vr = self._located(handle, path)
            else:
                offset, length, vr = await asyncio.to_thread(self._located, handle, path)
        except (Malformed, KeyError, ValueError) as error:
            raise NotHeld("no such bulk data", detail=str(error)) from error
        if vr not in _BULK_VRS:
            raise NotHeld("no such bulk data: the metadata have that value in line")
        return Bulk(handle, location.data_set_offset + offset, length, vr)

    def _located(self, handle: Handle, path: str) -> tuple[int, int, str]:
        syntax = handle.location.transfer_syntax_uid
        return dicomjson.locate(self.header(handle), syntax, path)

    def _pixel_bulk(self, handle: Handle, path: str, end: int) -> Bulk:
        location = handle.location
        with self.open(handle) as file:
            head = file.read(location.data_set_offset, location.header_bytes + 16)
        try:
            found = scan(head, location.transfer_syntax_uid, complete=False)
        except (Malformed, NeedMore) as error:
            raise NotHeld("no such bulk data", detail=str(error)) from error
        if found.pixel_tag != int(path, 16):
            raise NotHeld("the instance has no such pixel data")
        length = end - found.pixel_offset if found.pixel_length is None else found.pixel_length
        return Bulk(handle, location.data_set_offset + found.pixel_offset, length, found.pixel_vr)


def damaged(handle: Handle) -> Damaged:
    """The answer to those who ask for what is in a damaged file."""
    return Damaged(
        "the stored file of this instance is damaged; send the instance again, or restore the file",
        detail=f"{handle.location.key} {handle.damage}".rstrip(),
    )


def _table_of(handle: Handle) -> FrameTable | None:
    return FrameTable.from_bytes(handle.frames) if handle.frames else None


def _demand_frame(table: FrameTable, frame_index: int) -> None:
    if not 0 <= frame_index < table.frames:
        raise NotHeld(f"no frame {frame_index + 1}: the instance has {table.frames}")


def _is_short(handle: Handle) -> bool:
    location = handle.location
    deflated = TRANSFER_SYNTAXES[location.transfer_syntax_uid].deflated
    return not deflated and location.header_bytes <= _INLINE_HEADER_BYTES
