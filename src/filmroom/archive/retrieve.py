"""The one door out: a selection -> handles to instances, frames, headers and bulk data.

What is held under a UID never changes (but for the `replace` policy, which tells us), so
handles are remembered: a frame costs one ranged read and no query. A file that is marked as
damaged is not given to anybody; one that cannot be read is told to whoever looks after them.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from filmroom.archive.access import Action, Principal, demand
from filmroom.archive.errors import ArchiveError, Damaged, NotHeld, Unavailable, Unintelligible
from filmroom.archive.examine import INFLATED_BYTES
from filmroom.archive.metadata import Metadata, MetadataShelf, header_json
from filmroom.archive.records import Handle, Selection
from filmroom.archive.soundness import is_passing
from filmroom.archive.stores import Blobs, Index
from filmroom.dicom import dicomjson, frames
from filmroom.dicom.deflated import inflate
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.notation import Buffer
from filmroom.dicom.scan import scan
from filmroom.dicom.uids import EXPLICIT_VR_LE, TRANSFER_SYNTAXES

_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_REMEMBERED = 16_384  # handles
_REMEMBERED_FRAMES_BYTES = 64 * 1024  # of one handle's frame table; larger ones are asked anew
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

    def __init__(self, fd: int, handle: Handle) -> None:
        self.fd = fd
        self.size_bytes = handle.location.size_bytes
        self.data_set_offset = handle.location.data_set_offset

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` of the file; b"" at its end."""
        try:
            return os.pread(self.fd, length, offset)
        except OSError as error:
            raise Unavailable("storage failed", detail=str(error)) from error

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
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


class Retriever:
    """Reads what the archive holds on behalf of somebody."""

    def __init__(self, index: Index, blobs: Blobs) -> None:
        self._index = index
        self._blobs = blobs
        self._handles: OrderedDict[str, Handle] = OrderedDict()
        self._forgotten = 0  # how often; what was asked for before may be out of date
        self.suspect: Callable[[Handle, str], None] = lambda handle, detail: None
        self.trust = 0  # rises with every mark; belongs to the key of all that is made of files
        self.shelf = MetadataShelf(index, self.header)

    # -- which ------------------------------------------------------------------------------
    async def select(self, principal: Principal, selection: Selection) -> list[Handle]:
        """All instances selected, by series and InstanceNumber; empty when there are none."""
        demand(principal, Action.RETRIEVE)
        return await asyncio.to_thread(self._index.instances, selection)

    async def instance(
        self, principal: Principal, study: str | None, series: str | None, sop: str
    ) -> Handle:
        """One instance; NotHeld when it is not there, or not in that study and series.

        Damaged when its file is.
        """
        demand(principal, Action.RETRIEVE)
        handle = self._handles.get(sop)
        if handle is None:
            forgotten = self._forgotten
            if self._index.embedded:
                handle = self._index.instance(sop)
            else:
                handle = await asyncio.to_thread(self._index.instance, sop)
            if handle is None:
                raise NotHeld("no such instance")
            self._remember(handle, forgotten)
        if (study or handle.study_instance_uid) != handle.study_instance_uid or (
            series or handle.series_instance_uid
        ) != handle.series_instance_uid:
            raise NotHeld("no such instance in that study and series")
        if handle.damage:
            raise damaged(handle)
        return handle

    def _remember(self, handle: Handle, forgotten: int) -> None:
        if handle.damage or len(handle.frames) > _REMEMBERED_FRAMES_BYTES:
            return
        self._handles[handle.sop_instance_uid] = handle
        if self._forgotten != forgotten:  # perhaps this one, while the index was asked
            self._handles.pop(handle.sop_instance_uid, None)
        if len(self._handles) > _REMEMBERED:
            self._handles.popitem(last=False)

    def forget(self, sop_instance_uid: str) -> None:
        """Its file was replaced or marked: ask the index again. Called from any thread."""
        self._forgotten += 1
        self._handles.pop(sop_instance_uid, None)

    def distrust(self, sop_instance_uid: str) -> None:
        """Its file is damaged: what was made of it must not outlive it. From any thread."""
        self.trust += 1
        self.forget(sop_instance_uid)

    # -- bytes -------------------------------------------------------------------------------
    def open(self, handle: Handle) -> OpenFile:
        """The stored file; Damaged when it is marked, gone, or not the size it was."""
        if handle.damage:
            raise damaged(handle)
        try:
            fd = self._blobs.open(handle.location.key)
        except (NotHeld, Unavailable) as error:
            raise self._suspicious(handle, error) from error
        if os.fstat(fd).st_size != handle.location.size_bytes:
            os.close(fd)
            raise self._suspicious(handle, Unavailable("the stored file has another size"))
        return OpenFile(fd, handle)

    def _read(self, handle: Handle, offset: int, length: int) -> bytes:
        """Bytes of the data set."""
        if handle.damage:
            raise damaged(handle)
        location = handle.location
        try:
            return self._blobs.read(location.key, location.data_set_offset + offset, length)
        except (NotHeld, Unavailable) as error:
            raise self._suspicious(handle, error) from error

    def _suspicious(self, handle: Handle, error: ArchiveError) -> ArchiveError:
        """What to raise when a file cannot be read; told to whoever looks after the files."""
        if is_passing(error):
            return error
        self.suspect(handle, f"{error.message} {error.detail}")
        return damaged(handle)

    def header(self, handle: Handle) -> Buffer:
        """The data set from its start up to the pixel data, inflated when deflated.

        A long one, such as a document, is a view of the file: only what is looked at is read.
        """
        location = handle.location
        if TRANSFER_SYNTAXES[location.transfer_syntax_uid].deflated:
            return self._inflated(handle, location.header_bytes)
        if not _is_short(handle):
            with self.open(handle) as file:
                whole = mmap.mmap(file.fd, location.size_bytes, prot=mmap.PROT_READ)
            start = location.data_set_offset
            return memoryview(whole)[start : start + location.header_bytes]
        return self._read(handle, 0, location.header_bytes)

    def _inflated(self, handle: Handle, first: int | None = None) -> bytes:
        location = handle.location
        data = self._read(handle, 0, location.size_bytes - location.data_set_offset)
        try:
            return inflate(data, INFLATED_BYTES, first=first)
        except Malformed as error:
            raise self._suspicious(handle, Unavailable(str(error))) from error

    # -- frames --------------------------------------------------------------------------------
    def frame_table(self, handle: Handle) -> FrameTable | None:
        """Where each frame lies; None when the instance has no frames we can point at."""
        return FrameTable.from_bytes(handle.frames) if handle.frames else None

    def frame(self, handle: Handle, frame_index: int) -> bytes:
        """One frame as stored (0-based); NotHeld when there is no such frame.

        Native frames whose bits do not fill bytes come as the bytes that hold them.
        """
        table = self.frame_table(handle)
        if table is None:
            return self._frame_of_deflated(handle, frame_index)
        if not 0 <= frame_index < table.frames:
            raise NotHeld(f"no frame {frame_index + 1}: the instance has {table.frames}")
        pieces = [
            self._read(handle, offset, length) for offset, length in table.ranges(frame_index)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _frame_of_deflated(self, handle: Handle, frame_index: int) -> bytes:
        """A deflated data set has no ranges on disk: inflate it and look there."""
        syntax = TRANSFER_SYNTAXES[handle.location.transfer_syntax_uid]
        if not syntax.deflated:
            raise NotHeld("the instance has no frames")
        data_set = self._inflated(handle)
        try:
            found = scan(data_set, syntax.uid, complete=True)
            table = frames.build(found, data_set, EXPLICIT_VR_LE)
        except Malformed as error:
            raise Unintelligible(str(error)) from error
        if table is None or not 0 <= frame_index < table.frames:
            raise NotHeld(f"no frame {frame_index + 1}")
        return b"".join(data_set[o : o + n] for o, n in table.ranges(frame_index))

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
            shelved = self._index.series_metadata(study, series)
            if shelved is not None:
                return Metadata(None, shelved.gzipped, shelved.etag)
        return await asyncio.to_thread(self.shelf.metadata, study, series)

    async def _header_json(self, handle: Handle) -> bytes:
        if _is_short(handle):
            return header_json(handle, self.header(handle))
        return await asyncio.to_thread(lambda: header_json(handle, self.header(handle)))

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
            return self._pixel_bulk(handle, path.upper(), end)
        try:
            if _is_short(handle):
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


def _is_short(handle: Handle) -> bool:
    """Whether an event loop may read and parse this header."""
    location = handle.location
    deflated = TRANSFER_SYNTAXES[location.transfer_syntax_uid].deflated
    return not deflated and location.header_bytes <= _INLINE_HEADER_BYTES
