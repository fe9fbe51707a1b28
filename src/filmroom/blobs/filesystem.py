"""Blobs on a POSIX file system: stage without a name, sync, then give it its name.

A staged blob is an unnamed file (O_TMPFILE) where the file system has them, so a crash
leaves nothing behind; elsewhere it is a named file under tmp/ that the next start removes.
The write-back of each begins as soon as it is whole (`begin_write_back`), so that a batch is
synced in half the time of one after the other; then the names are linked (a link never
replaces an existing file) and every folder that got a new entry is synced once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import mmap
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filmroom.archive.errors import NotHeld, Unavailable
from filmroom.archive.stores import Staged
from filmroom.blobs.durable import sync_folder
from filmroom.blobs.layout import is_key, key_for

log = logging.getLogger(__name__)

_SYNC_FILE_RANGE_WRITE = 2
READY_FILES = 8
_KNOWN_FOLDERS = 50_000  # remembered, so that each seal need not look again
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


class StagedFile:
    """A file being written; see archive.stores.Staged."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path  # "" when it has no name yet
        self.size = 0

    def write(self, data: memoryview | bytes) -> None:
        """Append all of `data`; Unavailable when the disk is full or fails."""
        try:
            written = os.write(self.fd, data)
            while written < len(data):
                written += os.write(self.fd, memoryview(data)[written:])
        except OSError as error:
            raise unavailable(error) from error
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Read back what was written."""
        return os.pread(self.fd, length, offset)

    def begin_write_back(self) -> None:
        """Let the disk begin, where the system has a call for it."""
        if self.fd >= 0 and callable(_begin_write_back):
            _begin_write_back(self.fd, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def view(self) -> mmap.mmap | bytes:
        """The whole file as a buffer, without reading it into memory."""
        if not self.size:
            return b""
        return mmap.mmap(self.fd, self.size, prot=mmap.PROT_READ)

    def discard(self) -> None:
        """Close and forget; an unnamed file is gone with its descriptor."""
        if self.fd < 0:
            return
        with contextlib.suppress(OSError):
            os.close(self.fd)
        self.fd = -1
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


class FilesystemBlobs:
    """Blobs under `root`/store, staging in `root`/tmp, quarantine in `root`/quarantine."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self._store = os.path.join(root, "store")
        self._tmp = os.path.join(root, "tmp")
        self._quarantine = os.path.join(root, "quarantine")
        self._min_free_bytes = min_free_bytes
        self._known: dict[str, None] = {}
        self._unsynced: set[str] = set()  # folders with new entries that are not on disk yet
        self._ready: list[int] = []  # nameless files, open; taken by any thread
        self._broken = ""
        for folder in (self._store, self._tmp, self._quarantine):
            os.makedirs(folder, mode=0o750, exist_ok=True)
        self._unnamed = _has_unnamed_files(self._tmp)
        self._tmp_fd = os.open(self._tmp, os.O_RDONLY | os.O_DIRECTORY)

    # -- in ---------------------------------------------------------------------------
    def stage(self) -> StagedFile:
        """Begin a blob. Unavailable when the store failed before or space is short."""
        if self._broken:
            raise Unavailable("storage has failed", detail=self._broken)
        if self._min_free_bytes and self.free_bytes() < self._min_free_bytes:
            raise Unavailable("out of space", detail="below the free-space mark")
        try:
            if self._unnamed:
                return StagedFile(self._take_ready(), "")
            path = os.path.join(self._tmp, f"{secrets.token_hex(16)}.part")
            return StagedFile(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640), path)
        except OSError as error:
            raise unavailable(error) from error

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
        return os.open(self._tmp, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o640)

    def seal(self, staged: Sequence[tuple[Staged, str]]) -> list[Exception | None]:
        """Make blobs durable under their keys; see archive.stores.Blobs.seal."""
        files = [(file, key) for file, key in staged if isinstance(file, StagedFile)]
        results: list[Exception | None] = []
        for file, key in files:
            try:
                self._seal_one(file, os.path.join(self._store, key))
                results.append(None)
            except FileExistsError as error:
                results.append(error)
            except OSError as error:
                results.append(unavailable(error))
        try:
            for folder in sorted(self._unsynced, key=len, reverse=True):
                self._sync_entries(folder)
        except OSError as error:
            for (_, key), result in zip(files, results, strict=True):
                if result is None:  # nobody is told that it is held: it need not be found later
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(self._store, key))
            return [result or unavailable(error) for result in results]
        return results

    def quarantine(self, staged: Staged) -> str:
        """Keep a refused file under a name of our own; returns that name."""
        assert isinstance(staged, StagedFile)
        key = f"{secrets.token_hex(16)}.dcm"
        try:
            self._seal_one(staged, os.path.join(self._quarantine, key))
            self._sync_entries(self._quarantine)
        except OSError as error:
            raise unavailable(error) from error
        return key

    def quarantine_sealed(self, key: str) -> str:
        """Move a sealed blob into quarantine (it was replaced); returns its name there."""
        name = f"{secrets.token_hex(16)}.dcm"
        source = self._path(key)
        try:
            os.link(source, os.path.join(self._quarantine, name))
            self._sync_entries(self._quarantine)
            os.unlink(source)
        except OSError as error:
            raise unavailable(error) from error
        return name

    def _seal_one(self, file: StagedFile, target: str) -> None:
        try:
            os.fsync(file.fd)
        except OSError as error:
            # The kernel may have dropped the dirty pages: a second fsync could lie.
            self._fail(error)
            raise
        folder = os.path.dirname(target)
        self._make_folders(folder)
        try:
            self._link(file, target)
        except FileNotFoundError:  # somebody tidied the folder away: make it again
            self._known.clear()
            self._make_folders(folder)
            self._link(file, target)
        self._unsynced.add(folder)
        if file.path:
            with contextlib.suppress(OSError):  # it is held all the same; the next start sweeps
                os.unlink(file.path)
            file.path = ""
        os.close(file.fd)
        file.fd = -1

    def _sync_entries(self, folder: str) -> None:
        try:
            sync_folder(folder)
        except OSError as error:
            self._fail(error)
            raise
        self._unsynced.discard(folder)

    def _link(self, file: StagedFile, target: str) -> None:
        if file.path:
            os.link(file.path, target)
        else:  # the descriptor's own link, followed (linkat with AT_SYMLINK_FOLLOW)
            source = f"/proc/self/fd/{file.fd}"
            os.link(source, target, src_dir_fd=self._tmp_fd, follow_symlinks=True)

    def _make_folders(self, folder: str) -> None:
        """Create `folder` and its parents; every folder that got an entry is to be synced."""
        if folder in self._known:
            return
        missing = []
        at = folder
        while at not in self._known and not os.path.isdir(at):
            missing.append(at)
            at = os.path.dirname(at)
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o750)
            self._unsynced.add(os.path.dirname(path))
        if len(self._known) >= _KNOWN_FOLDERS:
            self._known.clear()
        self._known[folder] = None

    def _fail(self, error: OSError) -> None:
        if error.errno in NO_SPACE:
            return
        self._broken = f"{error.strerror}; restart after the disk was checked"
        log.critical("storage failed: no more stores are accepted", extra={"detail": str(error)})

    def key_for(
        self, received_at: float, study: str, series: str, instance: str, variant: str = ""
    ) -> str:
        """See blobs.layout.key_for."""
        return key_for(received_at, study, series, instance, variant)

    # -- out ----------------------------------------------------------------------------
    def _path(self, key: str) -> str:
        if not is_key(key):
            raise NotHeld("no such blob", detail=repr(key[:200]))
        return os.path.join(self._store, key)

    def open(self, key: str) -> int:
        """A read-only descriptor; the caller closes it."""
        try:
            return os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotHeld("the file is gone", detail=key) from error
        except OSError as error:
            raise unavailable(error) from error

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        fd = self.open(key)
        try:
            data = os.pread(fd, length, offset)
            while len(data) < length:
                more = os.pread(fd, length - len(data), offset + len(data))
                if not more:
                    raise Unavailable("the stored file is shorter than it was", detail=key)
                data += more
            return data
        except OSError as error:
            raise unavailable(error) from error
        finally:
            os.close(fd)

    def exists(self, key: str) -> bool:
        """Whether there is a file under this key."""
        return os.path.exists(self._path(key))

    def remove(self, key: str) -> None:
        """Delete a blob; nothing happens when it is gone already."""
        try:
            os.unlink(self._path(key))
        except FileNotFoundError:
            return
        except OSError as error:
            raise unavailable(error) from error

    def keys(self) -> Iterator[str]:
        """Every blob in the store, in the order of its path."""
        return self._keys_under(self._store)

    def _keys_under(self, top: str) -> Iterator[str]:
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                key = os.path.relpath(os.path.join(folder, name), self._store)
                if is_key(key):
                    yield key

    def modified_ns(self, key: str) -> int:
        """When a blob was written, nanoseconds since the epoch; 0 when it is gone."""
        try:
            return os.stat(self._path(key)).st_mtime_ns
        except OSError:
            return 0

    def keys_since(self, day: str) -> Iterator[str]:
        """Every blob that came on `day` (YYYY/MM/DD) or later."""
        for year in sorted(_entries(self._store)):
            for month in sorted(_entries(os.path.join(self._store, year))):
                for date in sorted(_entries(os.path.join(self._store, year, month))):
                    if f"{year}/{month}/{date}" >= day:
                        yield from self._keys_under(os.path.join(self._store, year, month, date))

    def open_quarantined(self, key: str) -> int:
        """A read-only descriptor of a quarantined file; the caller closes it."""
        if not _is_quarantine_name(key):
            raise NotHeld("no such file in quarantine")
        try:
            return os.open(os.path.join(self._quarantine, key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotHeld("no such file in quarantine", detail=str(error)) from error

    def remove_quarantined(self, key: str) -> None:
        """Delete a quarantined file."""
        if _is_quarantine_name(key):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._quarantine, key))

    def quarantine_keys(self) -> Iterator[str]:
        """The names of all quarantined files."""
        return filter(_is_quarantine_name, sorted(os.listdir(self._quarantine)))

    def free_bytes(self) -> int:
        """Free space for us on the store's file system."""
        status = os.statvfs(self._tmp)
        return status.f_bavail * status.f_frsize

    def sweep(self) -> int:
        """Remove what a crash left in tmp/; returns how many. Only before serving."""
        count = 0
        for entry in os.scandir(self._tmp):
            if entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)
                count += 1
        return count

    def close(self) -> None:
        """Give the descriptors back."""
        while self._ready:
            os.close(self._ready.pop())
        if self._tmp_fd >= 0:
            os.close(self._tmp_fd)
            self._tmp_fd = -1


def unavailable(error: OSError) -> Unavailable:
    """Our own word for what the disk said; the disk's word only in the log."""
    if error.errno in NO_SPACE:
        return Unavailable("out of space", detail=str(error))
    return Unavailable("storage failed", detail=str(error))


def _entries(folder: str) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]


def _has_unnamed_files(folder: str) -> bool:
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError:
        return False
    return True


def _is_quarantine_name(key: str) -> bool:
    stem, dot, suffix = key.partition(".")
    return len(stem) == 32 and not set(stem) - set("0123456789abcdef") and dot + suffix == ".dcm"
