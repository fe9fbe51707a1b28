"""Deflated data sets, inflated once and kept for a while: their frames have no place on disk.

They lie in nameless files beside the store's other unfinished ones, so memory does not grow
with them; a file goes away with the last one who reads from it.
"""

from __future__ import annotations

import io
import mmap
import threading
from typing import Protocol

from filmroom.archive.errors import Unavailable, Unintelligible
from filmroom.archive.examine import INFLATED_BYTES
from filmroom.archive.kept import Kept
from filmroom.archive.records import Handle
from filmroom.archive.stores import Blobs, Staged
from filmroom.dicom import frames
from filmroom.dicom.deflated import pieces
from filmroom.dicom.errors import Malformed
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.scan import scan
from filmroom.dicom.uids import EXPLICIT_VR_LE

KEPT_BYTES = 4 * INFLATED_BYTES  # on disk
_LEAST_BYTES = KEPT_BYTES // 64  # what even the smallest counts for: descriptors are few, too


class Room(Protocol):
    """Where bytes can be put and read again."""

    def write(self, data: bytes, /) -> object: ...
    def read(self, offset: int, length: int, /) -> bytes: ...
    def view(self) -> bytes | mmap.mmap: ...
    def discard(self) -> None: ...


class Inflated:
    """A deflated data set as Explicit VR Little Endian."""

    def __init__(self, room: Room, size_bytes: int, table: FrameTable | None) -> None:
        self._room = room
        self.size_bytes = size_bytes
        self.table = table

    def read(self, offset: int, length: int) -> bytes:
        """These bytes of the data set; fewer at its end."""
        return self._room.read(offset, length)

    def view(self) -> bytes | mmap.mmap:
        """All of it, not read into memory."""
        return self._room.view()

    def __del__(self) -> None:
        self._room.discard()


class InflatedShelf:
    """Inflates and keeps."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._kept: Kept[Inflated] = Kept(KEPT_BYTES)
        self._one_at_a_time = threading.Lock()

    def get(self, handle: Handle, deflated: memoryview) -> Inflated:
        """The data set of `handle`, of which `deflated` are the stored bytes. Blocks.

        Raises Unavailable when the bytes are damaged, Unintelligible when there is no telling
        what they are.
        """
        key = handle.location.digest
        found = self._kept.get(key)
        if found is not None:
            return found
        with self._one_at_a_time:  # several frames of one object are asked for at once
            found = self._kept.get(key)
            if found is not None:
                return found
            try:
                found = _inflate(self._blobs.stage(), deflated)
            except Unavailable as error:
                if isinstance(error.__cause__, Malformed):
                    raise
                return _inflate(_Memory(), deflated)  # a full disk shall not hide an image
            self._kept.put(key, found, max(found.size_bytes, _LEAST_BYTES))
            return found


def _inflate(room: Room | Staged, deflated: memoryview) -> Inflated:
    size = 0
    try:
        for piece in pieces(deflated, INFLATED_BYTES):
            room.write(piece)
            size += len(piece)
    except Malformed as error:
        room.discard()
        raise Unavailable("the stored file is damaged", detail=str(error)) from error
    except BaseException:
        room.discard()
        raise
    inflated = Inflated(room, size, None)
    whole = inflated.view()
    try:
        found = scan(whole, EXPLICIT_VR_LE, complete=True)
        inflated.table = frames.build(found, whole, EXPLICIT_VR_LE)
    except Malformed as error:
        raise Unintelligible(str(error)) from error
    return inflated


class _Memory(io.BytesIO):
    """Room where the disk has none."""

    def read(self, offset: int, length: int) -> bytes:  # type: ignore[override]
        return bytes(self.getbuffer()[offset : offset + length])

    def view(self) -> bytes:
        return self.getvalue()

    def discard(self) -> None:
        self.close()
