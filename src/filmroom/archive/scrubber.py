"""A thread that looks after the files while the server runs.

It reads all of them again every so often, a few seconds at a time; looks at once at a file
that somebody could not read; and notices what others have marked as damaged, if nobody told.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from filmroom import observe
from filmroom.archive.errors import ArchiveError
from filmroom.archive.news import News
from filmroom.archive.records import Damage, Handle
from filmroom.archive.scrub import Events, Progress, Report, Scrub
from filmroom.archive.soundness import Pace, Stopped
from filmroom.archive.stores import Clock, Index

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0  # until what others have marked is not served any more, where they do not tell
NET_SECONDS = 30.0  # where they do: what was told may have been lost
SLICE_SECONDS = 5.0
PATIENCE_SECONDS = 60.0  # between two looks whether a pass is due
AGAIN_SECONDS = 3600.0  # between two looks at what is marked
REST_SECONDS = 600.0  # after a failure
MOST_SUSPECTS = 10_000
DAY_SECONDS = 86_400.0

Turn = Callable[[], AbstractContextManager[bool]]
MakeScrub = Callable[[Pace], Scrub]


class Scrubber(Events):
    """The thread; `suspect` may be called from any other."""

    def __init__(
        self,
        index: Index,
        clock: Clock,
        make_scrub: Callable[[Scrubber], Scrub],
        turn: Turn,
        forget: Callable[[str], None],
        *,
        every_days: float,
    ) -> None:
        """turn: whether nobody else is scrubbing; forget: drops what is remembered of an
        instance; every_days: 0 for no pass of its own accord."""
        self._index = index
        self._clock = clock
        self._turn = turn
        self._forget = forget
        self._every_seconds = every_days * DAY_SECONDS
        self._suspects: queue.SimpleQueue[Handle] = queue.SimpleQueue()
        self._suspected: set[str] = set()
        self._last_mark = 0
        self._watched_at = 0.0
        self._look_again_at = 0.0
        self._due_at = 0.0  # by the monotonic clock: when to look whether a pass is due
        self._ended = threading.Event()
        self._scrub = make_scrub(self)
        self._thread = threading.Thread(target=self._run, name="scrubber", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, in the middle of a file if need be. Harmless when it was never started."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    # -- for the Scrub -----------------------------------------------------------------------
    def sleep(self, seconds: float) -> None:
        """Of the pace; raises Stopped when the server ends meanwhile."""
        if self._ended.wait(seconds):
            raise Stopped
        self._watch()

    def read(self, size_bytes: int) -> None:
        observe.SCRUB_FILES.inc()
        observe.SCRUB_BYTES.inc(size_bytes)

    def found(self, damage: Damage) -> None:
        observe.SCRUB_DAMAGED.labels(damage.value).inc()

    def repaired(self) -> None:
        observe.SCRUB_REPAIRED.inc()

    def changed(self, sop_instance_uid: str) -> None:
        self._forget(sop_instance_uid)

    # -- from other threads --------------------------------------------------------------------
    def suspect(self, handle: Handle, detail: str) -> None:
        """A file could not be read; said once, and looked at soon."""
        uid = handle.sop_instance_uid
        if uid in self._suspected or len(self._suspected) >= MOST_SUSPECTS:
            return
        self._suspected.add(uid)
        observe.SCRUB_SUSPECTED.inc()
        extra = {"sop_instance_uid": uid, "key": handle.location.key, "detail": detail}
        log.error("a stored file could not be read", extra=extra)
        self._suspects.put(handle)

    def heard(self, topic: str) -> None:
        """What a node has told: when something was missed, look at once."""
        if topic == News.LOST_TOUCH:
            self._watched_at = 0.0

    # -- the thread ----------------------------------------------------------------------------
    def _run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause or TICK_SECONDS):
            pause = 0.0
            try:
                self._watch()
                self._look_at_suspects()
                self._go_on()
            except Stopped:
                return
            except ArchiveError as error:
                extra = {"reason": error.message, "detail": error.detail}
                log.warning("looking after the files failed", extra=extra)
                self._due_at = time.monotonic() + REST_SECONDS
            except Exception:
                log.exception("looking after the files failed")
                self._due_at = time.monotonic() + REST_SECONDS

    def _watch(self) -> None:
        """Forget what is remembered of instances that others have marked."""
        rest = NET_SECONDS if self._index.in_touch else TICK_SECONDS
        if time.monotonic() < self._watched_at + rest:
            return
        self._watched_at = time.monotonic()
        while marked := self._index.integrity.marked(self._last_mark):
            for each in marked:
                self._forget(each.sop_instance_uid)
                self._last_mark = each.id

    def _look_at_suspects(self) -> None:
        while not self._ended.is_set():
            try:
                suspect = self._suspects.get_nowait()
            except queue.Empty:
                return
            uid = suspect.sop_instance_uid
            try:
                self._forget(uid)  # another node may have replaced it
                handle = self._index.instance(uid)
                if handle is not None:
                    self._scrub.suspect(handle)
            finally:
                self._suspected.discard(uid)  # it would be news if it happened again

    def _go_on(self) -> None:
        """Do a few seconds of what is due."""
        now = time.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + PATIENCE_SECONDS
        progress = self._scrub.progress() or self._first()
        self._show(progress)
        again = now >= self._look_again_at
        if not again and not self._is_due(progress):
            return
        with self._turn() as mine:
            if not mine:
                return
            if again:
                self._look_again_at = now + AGAIN_SECONDS
                self._scrub.look_again(Progress(), stopped=self._ended.is_set)
            progress = self._scrub.progress() or progress
            if self._is_due(progress):
                self._slice()
                self._due_at = 0.0  # and so on, a tick later

    def _first(self) -> Progress:
        """A new archive counts as read: its first pass comes when that is some time ago."""
        now = self._clock.now()
        progress = Progress(now, finished_at=now)
        self._scrub.save(progress)
        return progress

    def _is_due(self, progress: Progress) -> bool:
        if not self._every_seconds:
            return False
        age = self._clock.now() - progress.started_at
        return progress.is_under_way or age >= self._every_seconds

    def _slice(self) -> None:
        until = time.monotonic() + SLICE_SECONDS

        def stopped() -> bool:
            over = time.monotonic() >= until
            return over or self._ended.is_set() or not self._suspects.empty()

        progress = self._scrub.begin()
        report = self._scrub.run(progress, stopped=stopped)
        self._show(progress)
        if report is not None:
            self._tell(report)

    def _show(self, progress: Progress) -> None:
        observe.SCRUB_FINISHED.set(progress.finished_at)
        part = progress.after_id / progress.last_id if progress.last_id else 1.0
        observe.SCRUB_PROGRESS.set(part if progress.is_under_way else 1.0)

    def _tell(self, report: Report) -> None:
        strays = report.strays
        observe.SCRUB_STRAYS.labels("file without row").set(strays.file_count)
        observe.SCRUB_STRAYS.labels("quarantined without entry").set(len(strays.quarantined_files))
        observe.SCRUB_STRAYS.labels("entry without file").set(len(strays.quarantine_entries))
        say = log.info if report.is_sound else log.error
        say(
            "all files were read again" if report.is_sound else "a scrub has found something wrong",
            extra={
                "count": report.progress.instances,
                "damaged": report.damaged_count,
                "orphans": strays.count,
                "detail": f"second copy: {report.copy}" if report.copy != "none" else "",
            },
        )
