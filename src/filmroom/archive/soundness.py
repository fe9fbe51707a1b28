"""Whether a stored file is what its row says, and how fast it may be read to find out."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from filmroom.archive.errors import ArchiveError, Away, NotHeld, Unavailable, Unintelligible
from filmroom.archive.received import record_in
from filmroom.archive.records import Damage, Handle
from filmroom.archive.stores import Blob, Blobs, Staged
from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.uids import IMPLEMENTATION_CLASS_UID

PIECE_BYTES = 1024 * 1024
_GUESS_BYTES = 64  # of the data set, for a meta header that does not name its syntax

# What says nothing against the file: it may be there again in a moment.
_PASSING = frozenset(
    (
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EINTR,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
    )
)


class Stopped(Exception):
    """Reading was ended from outside, in the middle of a file."""


class Pace:
    """No more than so many bytes a second, on the whole."""

    def __init__(
        self,
        bytes_per_second: float,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """bytes_per_second: 0 for as fast as it goes. sleep: may raise Stopped."""
        self._rate = bytes_per_second
        self._now = now
        self._sleep = sleep
        self._free_at = now()

    def spend(self, size_bytes: int) -> None:
        """These were read: wait until they may have been."""
        if (seconds := self.pause(size_bytes)) > 0:
            self._sleep(seconds)

    def pause(self, size_bytes: int) -> float:
        """The same for who waits otherwise: for so many seconds."""
        if not self._rate:
            return 0.0
        now = self._now()
        self._free_at = max(self._free_at, now) + size_bytes / self._rate
        return self._free_at - now


def is_passing(error: ArchiveError) -> bool:
    """Whether a failure to read is the machine's, so that the file may well be sound."""
    if isinstance(error, Away):
        return True
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _PASSING


def damage_of(blobs: Blobs, handle: Handle, pace: Pace) -> Damage | None:
    """What is wrong with the stored file of `handle`; None when it is as it was stored.

    All of it is read, from where it is stored and not from memory. Raises Unavailable when
    that cannot be done for now.
    """
    try:
        with closing(blobs.open(handle.location.key, anew=True)) as file:
            return _damage_in(file, handle, pace)
    except (NotHeld, Unavailable) as error:
        return _damage_by(error)
    except _Unreadable as unreadable:
        return _damage_by(unreadable.error)


def _damage_by(error: ArchiveError) -> Damage:
    if isinstance(error, NotHeld):
        return Damage.GONE
    if is_passing(error):
        raise error
    return Damage.UNREADABLE


def carry(file: Blob, handle: Handle, staged: Staged, pace: Pace) -> bool:
    """Write an open file into `staged`; whether it is what the row of `handle` says.

    Raises Unavailable when there is no room.
    """
    try:
        return _damage_in(file, handle, pace, staged.write) is None
    except _Unreadable:
        return False


class _Unreadable(Exception):
    """The file cannot be read, which is not the trouble of where its bytes are to go."""

    def __init__(self, error: ArchiveError) -> None:
        super().__init__(error.message)
        self.error = error


def _damage_in(
    file: Blob, handle: Handle, pace: Pace, take: Callable[[bytes], object] = lambda piece: None
) -> Damage | None:
    """Read a file against its row; take: given its bytes as they are read."""
    location = handle.location
    if file.size != location.size_bytes:
        return Damage.SIZE
    _leave_memory(file)
    head = _read(file, 0, location.data_set_offset + _GUESS_BYTES)
    if not _is_header_of(head, handle):
        return Damage.HEADER
    take(head[: location.data_set_offset])
    digest = hashlib.sha256()
    for piece in _pieces(file, location.data_set_offset, location.size_bytes, pace):
        take(piece)
        digest.update(piece)
    _leave_memory(file)  # nobody has asked for it: keep the room for what is looked at
    return None if digest.digest() == location.digest else Damage.CONTENT


def _pieces(file: Blob, start: int, end: int, pace: Pace) -> Iterator[bytes]:
    while start < end:
        piece = _read(file, start, min(PIECE_BYTES, end - start))
        if not piece:
            return
        pace.spend(len(piece))
        yield piece
        start += len(piece)


def _read(file: Blob, offset: int, length: int) -> bytes:
    try:
        return file.read(offset, length)
    except (NotHeld, Unavailable) as error:
        raise _Unreadable(error) from error


def _is_header_of(head: bytes, handle: Handle) -> bool:
    """The digest does not cover the File Meta Information: see that it fits the row.

    A record of how the data set came has a digest of its own.
    """
    location = handle.location
    try:
        meta = part10.parse_meta(head, complete=True)
    except (Malformed, NeedMore):
        return False
    if (meta.data_set_offset, meta.transfer_syntax_uid) != (
        location.data_set_offset,
        location.transfer_syntax_uid,
    ):
        return False
    try:
        record_in(head)
    except Unintelligible:
        return False
    if IMPLEMENTATION_CLASS_UID.encode() not in head[: location.data_set_offset]:
        return True  # somebody else's, adopted as it was
    said = (meta.sop_class_uid, meta.sop_instance_uid)
    written = (handle.sop_class_uid, handle.sop_instance_uid)
    return said == written and not any(head[: part10.PREAMBLE_BYTES])


def _leave_memory(file: Blob) -> None:
    """Let the system forget the file's pages, so that what is read comes from the disk."""
    if file.fd >= 0 and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)
