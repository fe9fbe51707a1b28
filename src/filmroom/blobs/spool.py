"""Where blobs are written before they are kept: unnamed files in `tmp`, and the room for them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import secrets
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from filmroom.archive.errors import Unavailable

_SYNC_FILE_RANGE_WRITE = 2
READY_FILES = 8
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def _sync_file_range() -> object:
    """sync_file_range(2) where there is one: begin write-back, do not wait."""
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_begin_write_back = _sync_file_range()


# Gives up, of what can be had again, so many bytes of the disk; False when there was nothing.
GiveWay = Callable[[int], bool]


def nothing_to_give(wanted_bytes: int) -> bool:
    """Where nothing is kept that can be had again."""
    return False


def write_some(
    fd: int, data: memoryview | bytes, give_way: GiveWay, offset: int | None = None
) -> int:
    """write(2), or pwrite(2) at an offset; on a full disk it asks for room before it fails."""
    while True:
        try:
            return os.write(fd, data) if offset is None else os.pwrite(fd, data, offset)
        except OSError as error:
            if error.errno not in NO_SPACE or not give_way(len(data)):
                raise


class StagedFile:
    """A file being written; see archive.stores.Staged.

    It may be discarded while another thread writes to it, which is no reason to wait: the
    descriptor is closed when nobody uses it any more, for its number is given to the next file.
    """

    def __init__(self, fd: int, path: str, give_way: GiveWay) -> None:
        self.fd = fd
        self.path = path  # "" when it has no name yet
        self.size = 0
        self._give_way = give_way
        self._lock = threading.Lock()  # over the following
        self._users = 0  # calls under way that need the descriptor
        self._is_discarded = False

    def write(self, data: memoryview | bytes) -> None:
        """Append all of `data`; Unavailable when the disk is full or fails."""
        fd = self._hold()
        try:
            written = write_some(fd, data, self._give_way)
            while written < len(data):
                written += write_some(fd, memoryview(data)[written:], self._give_way)
        except OSError as error:
            raise unavailable(error) from error
        finally:
            self._let_go()
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Read back what was written."""
        fd = self._hold()
        try:
            return os.pread(fd, length, offset)
        finally:
            self._let_go()

    def begin_write_back(self) -> None:
        """Let the disk begin, where the system has a call for it."""
        if self.fd >= 0 and callable(_begin_write_back):
            _begin_write_back(self.fd, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def view(self) -> mmap.mmap | bytes:
        """The whole file as a buffer, without reading it into memory."""
        if not self.size:
            return b""
        fd = self._hold()
        try:
            return mmap.mmap(fd, self.size, prot=mmap.PROT_READ)
        finally:
            self._let_go()

    def discard(self) -> None:
        """Close and forget; an unnamed file is gone with its descriptor."""
        with self._lock:
            self._is_discarded = True
            fd = self._unused()
        self._close(fd)

    def _hold(self) -> int:
        """The descriptor, which stays ours until `_let_go`; -1 when there is none any more."""
        with self._lock:
            self._users += 1
            return self.fd

    def _let_go(self) -> None:
        with self._lock:
            self._users -= 1
            fd = self._unused()
        self._close(fd)

    def _unused(self) -> int:
        """The descriptor, to be closed, when it is time for that; else -1. The lock is held."""
        if self._users or not self._is_discarded:
            return -1
        fd, self.fd = self.fd, -1
        return fd

    def _close(self, fd: int) -> None:
        if fd < 0:
            return
        with contextlib.suppress(OSError):
            os.close(fd)
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


class Spool:
    """The folder `tmp` under a data folder.

    A staged blob is an unnamed file (O_TMPFILE) where the file system has them, so a crash
    leaves nothing behind; elsewhere it is a named file that the next start removes.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self._folder = os.path.join(root, "tmp")
        self._min_free_bytes = min_free_bytes
        self.give_way: GiveWay = nothing_to_give
        self._ready: list[int] = []  # nameless files, open; taken by any thread
        os.makedirs(self._folder, mode=0o750, exist_ok=True)
        self._unnamed = _has_unnamed_files(self._folder)
        self.folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)

    def stage(self) -> StagedFile:
        """Begin a blob. Unavailable below the free-space mark."""
        while (lacking := self.lacking_bytes()) and self.give_way(lacking):
            pass
        if lacking:
            raise Unavailable("out of space", detail="below the free-space mark")
        try:
            if self._unnamed:
                return StagedFile(self._take_ready(), "", self.give_way)
            path = os.path.join(self._folder, f"{secrets.token_hex(16)}.part")
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
            return StagedFile(fd, path, self.give_way)
        except OSError as error:
            raise unavailable(error) from error

    def nameless(self) -> int:
        """A file that nobody can find, and that ends with its last descriptor. OSError."""
        if self._unnamed:
            return self._nameless()
        path = os.path.join(self._folder, f"{secrets.token_hex(16)}.part")
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o640)
        os.unlink(path)
        return fd

    def prepare(self) -> None:
        """Open a few nameless files ahead: making one waits for the file system's journal.

        Called when there is nothing better to do; what fails here fails again in `stage`.
        """
        with contextlib.suppress(OSError):
            while self._unnamed and len(self._ready) < READY_FILES:
                self._ready.append(self._nameless())

    def _take_ready(self) -> int:
        try:
            return self._ready.pop()
        except IndexError:
            return self._nameless()

    def _nameless(self) -> int:
        return os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o640)

    def free_bytes(self) -> int:
        """Free space for us on the file system."""
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def lacking_bytes(self) -> int:
        """How far the free space is below its mark; 0 above it."""
        return max(self._min_free_bytes - self.free_bytes(), 0) if self._min_free_bytes else 0

    def sweep(self) -> int:
        """Remove what a crash left; returns how many. Only before serving."""
        count = 0
        for entry in os.scandir(self._folder):
            if entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)
                count += 1
        return count

    def close(self) -> None:
        """Give the descriptors back."""
        while self._ready:
            os.close(self._ready.pop())
        if self.folder_fd >= 0:
            os.close(self.folder_fd)
            self.folder_fd = -1


def unavailable(error: OSError) -> Unavailable:
    """Our own word for what the disk said; the disk's word only in the log."""
    if error.errno in NO_SPACE:
        return Unavailable("out of space", detail=str(error))
    return Unavailable("storage failed", detail=str(error))


def _has_unnamed_files(folder: str) -> bool:
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError:
        return False
    return True
