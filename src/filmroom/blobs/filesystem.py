"""Blobs on a POSIX file system: stage without a name, sync, then give it its name.

The write-back of each begins as soon as it is whole (`begin_write_back`), so that a batch is
synced in half the time of one after the other; then the names are linked (a link never
replaces an existing file) and every folder that got a new entry is synced once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from filmroom.archive.errors import NotHeld, Unavailable
from filmroom.archive.stores import Staged
from filmroom.blobs.durable import sync_folder
from filmroom.blobs.layout import is_key, is_quarantine_name, key_for
from filmroom.blobs.spool import NO_SPACE, Spool, StagedFile, unavailable

log = logging.getLogger(__name__)

_KNOWN_FOLDERS = 50_000  # remembered, so that each seal need not look again


class LocalFile:
    """A stored file, open for reading; see archive.stores.Blob."""

    is_here = True

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.size = status.st_size
        self.written_at = status.st_mtime

    def fetch(self, offset: int, length: int) -> None:
        """All of it is here."""

    def read(self, offset: int, length: int) -> bytes:
        """At most these bytes."""
        try:
            return os.pread(self.fd, length, offset)
        except OSError as error:
            raise unavailable(error) from error

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class FilesystemBlobs:
    """Blobs under `root`/store, staging in `root`/tmp, quarantine in `root`/quarantine."""

    is_here = True

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self._store = os.path.join(root, "store")
        self._quarantine = os.path.join(root, "quarantine")
        self._known: dict[str, None] = {}
        self._lock = threading.Lock()  # over the making of folders, and the following
        self._unsynced: dict[str, int] = {}  # folders with a new folder in them; its number
        self._made = 0  # folders, so far
        self._broken = ""
        for folder in (self._store, self._quarantine):
            os.makedirs(folder, mode=0o750, exist_ok=True)
        self._spool = Spool(root, min_free_bytes=min_free_bytes)

    # -- in ---------------------------------------------------------------------------
    def stage(self) -> StagedFile:
        """Begin a blob. Unavailable when the store failed before or space is short."""
        if self._broken:
            raise Unavailable("storage has failed", detail=self._broken)
        return self._spool.stage()

    def prepare(self) -> None:
        """Open files ahead; see Spool.prepare."""
        self._spool.prepare()

    def seal(self, staged: Sequence[tuple[Staged, str]]) -> list[Exception | None]:
        """Make blobs durable under their keys; see archive.stores.Blobs.seal.

        Threads may do this at once: each syncs itself what its files are found by, unless that
        is on disk already.
        """
        touched: set[str] = set()
        files = [(file, key) for file, key in staged if isinstance(file, StagedFile)]
        results: list[Exception | None] = []
        for file, key in files:
            try:
                self._seal_one(file, os.path.join(self._store, key), touched)
                results.append(None)
            except FileExistsError as error:
                results.append(error)
            except OSError as error:
                results.append(unavailable(error))
        try:
            self._sync(touched)
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
        touched: set[str] = set()
        try:
            self._seal_one(staged, os.path.join(self._quarantine, key), touched)
            self._sync(touched)
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

    def _seal_one(self, file: StagedFile, target: str, touched: set[str]) -> None:
        """Sync a file and name it; the folder it is in is noted in `touched`."""
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
        touched.add(folder)
        if file.path:
            with contextlib.suppress(OSError):  # it is held all the same; the next start sweeps
                os.unlink(file.path)
            file.path = ""
        fd, file.fd = file.fd, -1
        os.close(fd)

    def _sync(self, touched: set[str]) -> None:
        """Return when all that is in these folders is on disk, and the folders too.

        Others may have made some of them, and not have synced that yet. A new folder that comes
        while we sync the one it is in has another number, and stays to be synced.
        """
        with self._lock:
            unsynced = dict(self._unsynced)
        for folder in sorted(touched | unsynced.keys(), key=len, reverse=True):
            self._sync_entries(folder)
            with self._lock:
                if folder in unsynced and self._unsynced.get(folder) == unsynced[folder]:
                    del self._unsynced[folder]

    def _sync_entries(self, folder: str) -> None:
        try:
            sync_folder(folder)
        except OSError as error:
            self._fail(error)
            raise

    def _link(self, file: StagedFile, target: str) -> None:
        if file.path:
            os.link(file.path, target)
        else:  # the descriptor's own link, followed (linkat with AT_SYMLINK_FOLLOW)
            source = f"/proc/self/fd/{file.fd}"
            os.link(source, target, src_dir_fd=self._spool.folder_fd, follow_symlinks=True)

    def _make_folders(self, folder: str) -> None:
        """Create `folder` and its parents; who finds one also finds that it is to be synced."""
        if folder in self._known:
            return
        with self._lock:
            missing = []
            at = folder
            while at not in self._known and not os.path.isdir(at):
                missing.append(at)
                at = os.path.dirname(at)
            for path in reversed(missing):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o750)
                self._made += 1
                self._unsynced[os.path.dirname(path)] = self._made
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

    def is_ours(self, key: str) -> bool:
        """Nobody else stores here."""
        return True

    # -- out ----------------------------------------------------------------------------
    def _path(self, key: str) -> str:
        if not is_key(key):
            raise NotHeld("no such blob", detail=repr(key[:200]))
        return os.path.join(self._store, key)

    def open(self, key: str, *, size: int | None = None, anew: bool = False) -> LocalFile:
        """See archive.stores.Blobs.open."""
        try:
            return LocalFile(os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError as error:
            raise NotHeld("the file is gone", detail=key) from error
        except OSError as error:
            raise unavailable(error) from error

    def read(self, key: str, offset: int, length: int, *, size: int | None = None) -> bytes:
        """Exactly these bytes."""
        file = self.open(key)
        try:
            data = file.read(offset, length)
            while len(data) < length:
                more = file.read(offset + len(data), length - len(data))
                if not more:
                    raise Unavailable("the stored file is shorter than it was", detail=key)
                data += more
            return data
        finally:
            file.close()

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

    def open_quarantined(self, key: str) -> LocalFile:
        """A quarantined file, to be read."""
        if not is_quarantine_name(key):
            raise NotHeld("no such file in quarantine")
        path = os.path.join(self._quarantine, key)
        try:
            return LocalFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise NotHeld("no such file in quarantine", detail=str(error)) from error

    def remove_quarantined(self, key: str) -> None:
        """Delete a quarantined file."""
        if is_quarantine_name(key):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._quarantine, key))

    def quarantine_keys(self) -> Iterator[str]:
        """The names of all quarantined files."""
        return filter(is_quarantine_name, sorted(os.listdir(self._quarantine)))

    def free_bytes(self) -> int:
        """Free space for us on the store's file system."""
        return self._spool.free_bytes()

    def sweep(self) -> int:
        """Remove what a crash left in tmp/; returns how many. Only before serving."""
        return self._spool.sweep()

    def close(self) -> None:
        """Give the descriptors back."""
        self._spool.close()


def _entries(folder: str) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
