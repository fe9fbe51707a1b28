"""A disk that fails at the Nth call of a kind, under our files and under SQLite's."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apsw

from filmroom.blobs import filesystem, spool
from filmroom.blobs.durable import sync_folder

FILE_CALLS = ("open", "write", "fsync", "fsync_folder", "link", "mkdir", "unlink")
INDEX_CALLS = ("index_write", "index_sync")


@dataclass(frozen=True)
class Fault:
    """The Nth call of a kind fails, or that and all later ones."""

    call: str
    number: int
    error: int = errno.EIO
    lasting: bool = False

    @property
    def is_a_failed_sync(self) -> bool:
        """Nobody may trust this disk until it was looked at. SQLite tells no full disk apart."""
        if self.call in ("fsync", "fsync_folder"):
            return self.error == errno.EIO
        return self.call == "index_sync"

    def __str__(self) -> str:
        lasting = "+" if self.lasting else ""
        return f"{self.call}-{self.number}{lasting}-{errno.errorcode[self.error]}"


@dataclass
class FaultyDisk:
    """Counts calls while `counting`; `fault` says which one fails."""

    fault: Fault | None = None
    counting: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    has_failed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fails(self, call: str) -> int:
        """The error of this call; 0 when it works."""
        with self._lock:
            if not self.counting:
                return 0
            self.calls[call] += 1
            fault = self.fault
            if fault is None or fault.call != call:
                return 0
            number = self.calls[call]
            if number != fault.number and not (fault.lasting and number > fault.number):
                return 0
            self.has_failed = True
            return fault.error


class _Os:
    """The module os, as far as blobs.filesystem uses it, with some calls that can fail."""

    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk
        for name in ("open", "write", "link", "mkdir", "unlink"):
            setattr(self, name, self._watched(name))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _watched(self, name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            self._check(name)
            return call(*arguments, **options)

        return watched

    def fsync(self, fd: int) -> None:
        self._check("fsync")
        os.fsync(fd)

    def sync_folder(self, folder: str) -> None:
        """blobs.durable.sync_folder: it opens the folder, too."""
        self._check("open")
        self._check("fsync_folder")
        sync_folder(folder)

    def _check(self, call: str) -> None:
        if error := self._disk.fails(call):
            raise OSError(error, os.strerror(error))


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: Any) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:
        if error := self._disk.fails("index_write"):
            raise apsw.FullError() if error == errno.ENOSPC else _failure(apsw.SQLITE_IOERR_WRITE)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._disk.fails("index_sync"):
            raise _failure(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)


def _failure(extended: int) -> Exception:
    failure = apsw.IOError()
    failure.extendedresult = extended
    return failure


class _Vfs(apsw.VFS):
    def __init__(self, disk: FaultyDisk) -> None:
        super().__init__("faulty", "unix", makedefault=True)
        self._disk = disk

    def xOpen(self, name: Any, flags: Any) -> _File:
        return _File(self._disk, name, flags)


@contextmanager
def faulty_disk(monkeypatch: Any) -> Iterator[FaultyDisk]:
    """Everything opened from here on lies on it."""
    disk = FaultyDisk()
    vfs = _Vfs(disk)
    try:
        with monkeypatch.context() as patched:
            faulty = _Os(disk)
            patched.setattr(filesystem, "os", faulty)
            patched.setattr(spool, "os", faulty)
            patched.setattr(filesystem, "sync_folder", faulty.sync_folder)
            yield disk
    finally:
        vfs.unregister()
