"""Index, blobs and archive on one data folder: what the server and the commands stand on."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filmroom import observe
from filmroom.archive.ahead import Job
from filmroom.archive.archive import Archive
from filmroom.archive.committer import Committer, Duplicates
from filmroom.archive.errors import Conflict
from filmroom.archive.find import Finder
from filmroom.archive.ingest import Ingest
from filmroom.archive.jobs import SILENT_SECONDS
from filmroom.archive.leases import turn as among_nodes
from filmroom.archive.records import NewInstance
from filmroom.archive.reindex import Report, adopt, reindex
from filmroom.archive.retrieve import Retriever
from filmroom.archive.strays import batches
from filmroom.asgi.app import SystemClock
from filmroom.blobs.durable import node_of, sync_chain, write_whole
from filmroom.blobs.opening import open_blobs
from filmroom.blobs.upkeep import hold, turn
from filmroom.config import Settings
from filmroom.index.queries import open_index

log = logging.getLogger(__name__)

REINDEXING = "reindexing"  # the mark of a run that did not finish making the index anew
MARK_SECONDS = 3600.0  # so that a start after a crash looks at a day or two of files, not years
SLOWEST_SECONDS = 6 * 3600.0  # an object may take this long to arrive


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start after a crash found."""

    files: int  # looked at
    orphans: int  # of them without a row
    added: int  # of those that were whole
    removed: int  # of those that were sent again meanwhile, and are held elsewhere


class Mark:
    """A file that is there while we run, and is left behind by a crash.

    It says from which day on (YYYY/MM/DD) files may be without rows, or REINDEXING.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set_at = 0.0

    def read(self) -> str | None:
        """What the last run left; None when it ended cleanly."""
        try:
            return self._path.read_text("ascii", "replace")[:10].strip()
        except FileNotFoundError:
            return None

    def write(self, text: str) -> None:
        """Raises OSError."""
        write_whole(self._path, f"{text}\n")

    def set(self, now: float) -> None:
        """All that came before has its row, but for what is on its way at this moment."""
        self.set_at = now
        self.write(f"{datetime.fromtimestamp(now - SLOWEST_SECONDS, UTC):%Y/%m/%d}")

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Storeroom:
    """Index, blobs and archive on one data folder, held by this process alone.

    What `serve`, `import` and `reindex` have in common; no network.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        data = settings.data
        data.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = hold(data)
        self._mark = Mark(data / "running")
        self._is_whole = True  # the index speaks of all files
        self._reindexed: Report | None = None
        self.heed: Callable[[NewInstance], None] = lambda instance: None  # told of what is stored
        self.index = open_index(settings.index_place)
        alone = self.index.embedded
        self.name = "this node" if alone else f"{socket.gethostname()}-{node_of(data)}"
        self.blobs = open_blobs(
            settings.blobs, settings.blobs_folder, min_free_bytes=settings.archive.min_free_bytes
        )
        self.committer = Committer(
            self.index,
            self.blobs,
            Duplicates(settings.archive.duplicates),
            quarantine_max_bytes=settings.archive.quarantine_max_bytes,
            observe=_observe_batch,
            stored=self._stored,
        )
        observe.QUEUE_LENGTH.set_function(lambda: self.committer.waiting)
        self.archive = Archive(
            Ingest(self.blobs, self.committer, self.clock),
            Finder(self.index),
            Retriever(self.index, self.blobs),
            self.index,
            self.blobs,
        )

    def open(self) -> None:
        """Tidy up after a crash if there was one, then begin to commit."""
        started = time.monotonic()
        removed = self.blobs.sweep()
        since = self._mark.read()
        self._is_whole = since is None  # until this is done; else the next start does it
        if since == REINDEXING:
            log.warning("the index was not finished: it is made anew")
            self._reindexed = reindex(self.index, self.blobs)
        elif since is not None:
            report = self._recover(since)
            told = {
                "files": report.files,
                "orphans": report.orphans,
                "added": report.added,
                "removed": removed + report.removed,
                "seconds": round(time.monotonic() - started, 3),
            }
            log.warning("the last run did not end cleanly: tidied up", extra=told)
        for folder in (self.settings.blobs_folder, self.settings.data):
            sync_chain(folder)  # what was just made must outlive a power cut
        self._mark.set(self.clock.now())
        self._is_whole = True
        self.committer.start()

    def reindex(self, progress: Callable[[Report], None] = lambda report: None) -> Report:
        """Make the index anew; if that is cut short, the next start does it from the beginning.

        Conflict while other nodes use the same index: they would go on with what is forgotten.
        """
        if self._reindexed is None:
            self._demand_alone()
            self._mark.write(REINDEXING)
            self._is_whole = False
            self._reindexed = reindex(self.index, self.blobs, progress)
            self._is_whole = True
        return self._reindexed

    def _demand_alone(self) -> None:
        others = [
            node.name
            for node in self.index.cluster.nodes()
            if node.name != self.name and node.silent_seconds < SILENT_SECONDS
        ]
        if others:
            raise Conflict(f"other nodes use this index: stop them first ({', '.join(others)})")

    def turn(self) -> AbstractContextManager[bool]:
        """Whether nobody else is looking after the files; see blobs.upkeep."""
        return among_nodes(self.index, "scrub", self.name, turn(self.settings.blobs_folder))

    def close(self) -> None:
        """Commit what waits, and let go of the folder."""
        self.committer.stop()
        self.index.close()
        self.blobs.close()
        if self._is_whole and self.committer.is_tidy:
            self._mark.remove()
        os.close(self._lock)

    def _recover(self, since: str) -> Recovered:
        """Files sealed in the instant of a crash have no rows yet: give them theirs.

        Nobody was told that they are held, but they are whole, so keeping them is right; unless
        they were sent again meanwhile, and another node has stored them.
        """
        files = 0
        orphans: list[str] = []
        for batch in batches(self.blobs.keys_since(since)):
            files += len(batch)
            ours = set(filter(self.blobs.is_ours, batch))
            orphans += sorted(ours - self.index.known_keys(batch))
        report = adopt(self.index, self.blobs, orphans, removing=True)
        return Recovered(files, len(orphans), report.added, report.removed)

    def _stored(self, instance: NewInstance) -> None:
        self.archive.retriever.forget(instance.instance.uid)
        self.heed(instance)
        came = instance.received_at
        if abs(came - self._mark.set_at) > MARK_SECONDS and self.committer.is_tidy:
            with contextlib.suppress(OSError):
                self._mark.set(came)
        observe.STORED_BYTES.labels(instance.origin.kind).inc(instance.location.size_bytes)


def _observe_batch(jobs: Sequence[Job], seconds: float) -> None:
    observe.BATCH_SECONDS.observe(seconds)
    observe.BATCH_INSTANCES.observe(len(jobs))
    now = time.perf_counter()
    for job in jobs:
        origin = job.instance.origin.kind
        observe.STORED.labels(origin, job.outcome).inc()
        observe.STORE_SECONDS.labels(origin).observe(now - job.since)
