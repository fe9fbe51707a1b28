"""What was read from a remote store, kept in nameless files on this machine: bounded, by blocks.

A frame brings the blocks it lies in and never the whole object. Who reads an object from its
start to its end gets more and more ahead. What has just been stored is here already. The
files end with the process: a node keeps nothing that matters.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Protocol

from filmroom.archive.errors import ArchiveError, Away
from filmroom.blobs.spool import write_some

BLOCK_BYTES = 1 << 20
AHEAD_BYTES = 16 << 20  # most that is brought at once
MOST_FILES = 4096  # open at a time: each is a descriptor


class Get(Protocol):
    """Read a remote blob: exactly these bytes. Raises NotHeld, Unavailable or Away."""

    def __call__(self, key: str, size: int, offset: int, length: int) -> memoryview: ...


class _Entry:
    """A file that holds some blocks of one blob."""

    def __init__(self, key: str, size: int, fd: int) -> None:
        self.key = key
        self.size = size
        self.fd = fd
        self.blocks: set[int] = set()
        self.coming: set[int] = set()  # being fetched by somebody
        self.whole = False
        self.users = 0
        self.is_kept = True
        self.read_up_to = 0  # where the last fetch ended, and how much it brought
        self.step = BLOCK_BYTES
        self.failure: ArchiveError | None = None  # of the last who tried to bring something
        self.failed_at = 0.0
        self.changed = threading.Condition()

    @property
    def held_bytes(self) -> int:
        return self.size if self.whole else len(self.blocks) * BLOCK_BYTES


class CachedBlob:
    """A remote blob, open for reading; see archive.stores.Blob."""

    is_here = False

    def __init__(self, cache: Cache, entry: _Entry, written_at: float) -> None:
        self._cache = cache
        self._entry: _Entry | None = entry
        self.fd = entry.fd
        self.size = entry.size
        self.written_at = written_at
        self.is_here = entry.whole

    def fetch(self, offset: int, length: int) -> None:
        """See archive.stores.Blob.fetch."""
        if not self.is_here:
            with self._pinned() as entry:
                self._cache.fetch(entry, offset, length)
                self.is_here = entry.whole

    def read(self, offset: int, length: int) -> bytes:
        """At most these bytes."""
        length = max(min(length, self.size - offset), 0)
        if not length:
            return b""
        with self._pinned() as entry:
            self._cache.fetch(entry, offset, length)
            try:
                return os.pread(entry.fd, length, offset)
            except OSError as error:
                raise _not_the_store(error) from error

    @contextlib.contextmanager
    def _pinned(self) -> Iterator[_Entry]:
        """Whoever is at work in another thread keeps the file open, whoever closes us."""
        entry = self._entry
        if entry is None or not self._cache.pin(entry):
            raise Away("the file was closed while it was read")
        try:
            yield entry
        finally:
            self._cache.release(entry)

    def close(self) -> None:
        """Give it back."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._cache.release(entry)
            self.fd = -1


class Cache:
    """Files of blocks, those that were not used for longest given up first. For any thread."""

    def __init__(
        self,
        nameless: Callable[[], int],
        get: Get,
        budget_bytes: int,
        *,
        lacking: Callable[[], int] = lambda: 0,
    ) -> None:
        """nameless: makes a file without a name, and gives its descriptor; lacking: how many
        bytes of the disk are to be free that are not."""
        self._nameless = nameless
        self._get = get
        self._budget_bytes = budget_bytes
        self._lacking = lacking
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._most_files = min(MOST_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._lock = threading.Lock()
        self.held_bytes = 0

    def open(self, key: str, size: int, written_at: float = 0.0) -> CachedBlob:
        """A blob of that size, of which nothing need be here yet."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.size != size:
                self._give_up(entry)
                entry = None
            if entry is None:
                try:
                    fd = self._nameless()
                except OSError as error:
                    raise _not_the_store(error) from error
                entry = self._keep(_Entry(key, size, fd))
            else:
                self._entries.move_to_end(key)
            entry.users += 1
            return CachedBlob(self, entry, written_at)

    def adopt(self, key: str, fd: int, size: int) -> None:
        """A file that holds all of a blob; the descriptor is ours from here on."""
        entry = _Entry(key, size, fd)
        entry.whole = True
        with self._lock:
            if (known := self._entries.get(key)) is not None:
                self._give_up(known)
            self._keep(entry)
            self.held_bytes += size
            self._make_room()

    def drop(self, key: str) -> None:
        """Forget a blob; those who have it open go on."""
        with self._lock:
            if (entry := self._entries.get(key)) is not None:
                self._give_up(entry)

    def give_way(self, wanted_bytes: int) -> bool:
        """Make so much room on the disk, or what can be made; False when there was none to make.

        What somebody has open stays: its room would not be free before it is closed.
        """
        with self._lock:
            unused = [entry for entry in self._entries.values() if not entry.users]
            given = 0
            for entry in unused:
                if given >= wanted_bytes:
                    break
                given += entry.held_bytes
                self._give_up(entry)
            return given > 0

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            for entry in list(self._entries.values()):
                self._give_up(entry)

    def pin(self, entry: _Entry) -> bool:
        """Keep its file open until `release`; False when it is closed already."""
        with self._lock:
            if entry.fd < 0:
                return False
            entry.users += 1
            return True

    def release(self, entry: _Entry) -> None:
        """One who had it open has no more use for it."""
        with self._lock:
            entry.users -= 1
            self._close_unused(entry)

    def _close_unused(self, entry: _Entry) -> None:
        if not entry.users and not entry.is_kept and entry.fd >= 0:
            os.close(entry.fd)
            entry.fd = -1

    # -- bringing ---------------------------------------------------------------------------
    def fetch(self, entry: _Entry, offset: int, length: int) -> None:
        """Have these bytes in the entry's file, which is pinned meanwhile."""
        asked_at = time.monotonic()
        stop = min(offset + length, entry.size)
        first, last = offset // BLOCK_BYTES, (max(stop, 1) - 1) // BLOCK_BYTES
        if stop <= offset:
            return
        while True:
            with entry.changed:
                missing = [n for n in range(first, last + 1) if n not in entry.blocks]
                if entry.whole or not missing:
                    entry.read_up_to = max(stop, entry.read_up_to)
                    return
                mine = [n for n in missing if n not in entry.coming]
                if entry.failure is not None and entry.failed_at > asked_at:
                    raise entry.failure  # what we waited for did not come: once is enough
                if not mine:
                    entry.changed.wait(1.0)
                    continue
                run = self._run(entry, mine[0], last)
                entry.coming.update(run)
            try:
                self._bring(entry, run)
            except ArchiveError as error:
                entry.failure, entry.failed_at = error, time.monotonic()
                raise
            finally:
                with entry.changed:
                    entry.coming.difference_update(run)
                    entry.changed.notify_all()

    def _run(self, entry: _Entry, first: int, last: int) -> range:
        """The blocks to bring in one request; more than was asked for where somebody reads on."""
        follows = first * BLOCK_BYTES <= entry.read_up_to < (first + 1) * BLOCK_BYTES + 1
        entry.step = min(entry.step * 2, AHEAD_BYTES) if follows and first else BLOCK_BYTES
        most = min(max(last - first + 1, entry.step // BLOCK_BYTES), AHEAD_BYTES // BLOCK_BYTES)
        end = min(first + most, -(-entry.size // BLOCK_BYTES))
        stop = first
        while stop < end and stop not in entry.blocks and stop not in entry.coming:
            stop += 1
        return range(first, stop)

    def _bring(self, entry: _Entry, run: range) -> None:
        offset = run.start * BLOCK_BYTES
        length = min(run.stop * BLOCK_BYTES, entry.size) - offset
        content = self._get(entry.key, entry.size, offset, length)
        try:
            written = 0
            while written < length:
                rest = content[written:]
                written += write_some(entry.fd, rest, self.give_way, offset + written)
        except OSError as error:
            raise _not_the_store(error) from error
        if lacking := self._lacking():
            self.give_way(lacking)
        with self._lock:
            before = entry.held_bytes
            with entry.changed:
                entry.blocks.update(run)
                entry.whole = len(entry.blocks) * BLOCK_BYTES >= entry.size
            if entry.is_kept:
                self.held_bytes += entry.held_bytes - before
                self._make_room()

    # -- under the lock -----------------------------------------------------------------------
    def _keep(self, entry: _Entry) -> _Entry:
        self._entries[entry.key] = entry
        self._make_room()
        return entry

    def _make_room(self) -> None:
        while self.held_bytes > self._budget_bytes or len(self._entries) > self._most_files:
            oldest = next(iter(self._entries.values()))
            if oldest is next(reversed(self._entries.values())):
                return  # one alone may be as large as it is
            self._give_up(oldest)

    def _give_up(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        entry.is_kept = False
        self.held_bytes -= entry.held_bytes
        self._close_unused(entry)


def _not_the_store(error: OSError) -> Away:
    """It is this machine's trouble, and says nothing against what is stored."""
    return Away("storage does not answer", detail=str(error))
