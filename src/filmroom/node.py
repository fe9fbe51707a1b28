"""The only place where the house is put together: start it in order, stop it in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from filmroom.archive.archive import Archive
from filmroom.archive.committer import Committer, Duplicates
from filmroom.archive.errors import ArchiveError, Unavailable
from filmroom.archive.find import Finder
from filmroom.archive.ingest import Ingest
from filmroom.archive.metadata import Settler
from filmroom.archive.records import NewInstance, Origin
from filmroom.archive.reindex import Report, adopt
from filmroom.archive.retrieve import Retriever
from filmroom.blobs.filesystem import FilesystemBlobs
from filmroom.config import Settings
from filmroom.index.queries import open_index

log = logging.getLogger(__name__)

GRACE_SECONDS = 20.0  # for what is in progress when we are asked to stop


class SystemClock:
    """archive.stores.Clock by the machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()


class DataFolderInUse(Exception):
    """Another filmroom holds the data folder."""


class Storeroom:
    """Index, blobs and archive on one data folder, held by this process alone.

    What `serve`, `import` and `reindex` have in common; no network.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        data = settings.data
        data.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = _hold(data / "filmroom.lock")
        self._mark = data / "running"  # there while we run; left behind by a crash
        self.index = open_index(settings.index_url)
        self.blobs = FilesystemBlobs(
            settings.blobs_folder, min_free_bytes=settings.archive.min_free_bytes
        )
        self.committer = Committer(
            self.index,
            self.blobs,
            Duplicates(settings.archive.duplicates),
            quarantine_max_bytes=settings.archive.quarantine_max_bytes,
            stored=self._stored,
        )
        self.archive = Archive(
            Ingest(self.blobs, self.committer, self.clock),
            Finder(self.index),
            Retriever(self.index, self.blobs),
            self.index,
            self.blobs,
        )

    def open(self) -> None:
        """Tidy up after a crash if there was one, then begin to commit."""
        self.blobs.sweep()
        if self._mark.exists():
            self._recover(self._mark.read_text("ascii", "replace")[:10])
        self._mark.write_text(f"{datetime.now(UTC):%Y/%m/%d}\n", "ascii")
        self.committer.start()

    def close(self) -> None:
        """Commit what waits, and let go of the folder."""
        self.committer.stop()
        self.index.close()
        self.blobs.close()
        self._mark.unlink(missing_ok=True)
        os.close(self._lock)

    def _recover(self, since: str) -> Report:
        """Files sealed in the instant of a crash have no rows yet: give them theirs.

        Nobody was told that they are held, but they are whole, so keeping them is right.
        """
        orphans: list[str] = []
        batch: list[str] = []
        for key in self.blobs.keys_since(since):
            batch.append(key)
            if len(batch) == 500:
                orphans += sorted(set(batch) - self.index.known_keys(batch))
                batch.clear()
        orphans += sorted(set(batch) - self.index.known_keys(batch))
        report = adopt(self.index, self.blobs, orphans)
        log.warning(
            "the last run did not end cleanly",
            extra={"orphans": len(orphans), "added": report.added},
        )
        return report

    def _stored(self, instance: NewInstance) -> None:
        self.archive.retriever.forget(instance.instance.uid)


def _hold(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise DataFolderInUse(
            f"the data folder {path.parent} is in use by another filmroom; stop it first, or "
            "reach it over the network (filmroom send)"
        ) from error
    return fd
