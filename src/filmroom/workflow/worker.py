"""Lease a job, do it, try it again, give it up.

Everything runs on the node's event loop; the queue, which blocks, is asked from threads. A
worker that cannot renew its lease in time stops what it does: another node has it by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from filmroom import observe
from filmroom.archive.errors import ArchiveError
from filmroom.archive.jobs import MOST_ATTEMPTS, Job, Queue, State

log = logging.getLogger(__name__)

LEASE_SECONDS = 20.0
BEAT_SECONDS = 2.0  # between two renewals, and so until a cancelled job is let go
POLL_SECONDS = 2.0  # between two looks for work, where nobody tells us of it
FIRST_PAUSE = 30.0  # before an attempt is made again; twice as long each time
LONGEST_PAUSE = 3600.0
LANE_FIRST_PAUSE = 5.0  # of a whole lane
LANE_LONGEST_PAUSE = 300.0
TIDY_SECONDS = 3600.0
COUNT_SECONDS = 30.0  # between two counts of all jobs, for the metrics
FEED_SECONDS = 86_400.0  # a feed that nobody has asked for in so long is not wanted any more
STOPPED = "the node was stopped"
T = TypeVar("T")


class TryLater(Exception):
    """This attempt has come to nothing.

    lane: because of the destination, so that everything that goes there waits. counted: as one
    of the attempts that a job has; with `lane` only where the destination was well until then.
    """

    def __init__(self, reason: str, *, lane: bool = False, counted: bool = True) -> None:
        super().__init__(reason)
        self.lane = lane
        self.counted = counted


class Hopeless(Exception):
    """Trying again would change nothing until somebody has mended what is wrong."""


@dataclass
class Task:
    """A job in our hands; `progress` is kept with it, and there again at the next attempt."""

    job: Job
    progress: dict[str, Any] = field(default_factory=dict)
    is_over: bool = False  # cancelled, lost, or the node ends: do no more


Kind = Callable[[Task], Awaitable[None]]


class Workers:
    """Does the jobs of the kinds it knows, `count` at a time."""

    def __init__(
        self,
        queue: Queue,
        kinds: Mapping[str, Kind],
        node: str,
        *,
        count: int,
        keep_seconds: float,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """before: blocks; called before each look for work, as it may make some."""
        self._queue = queue
        self._kinds = kinds
        self._node = node
        self._count = count
        self._keep_seconds = keep_seconds
        self._before = before
        self._woken = asyncio.Event()
        self._tidy_at = self._count_at = 0.0
        self._doing: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """There may be something to do. From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Work until cancelled; what is in our hands is put back then."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._patiently(lambda: self._queue.reap(self._node))
            while True:
                self._woken.clear()
                await self._patiently(self._before)
                await self._patiently(self._tidy)
                while len(self._doing) < self._count and await self._take():
                    pass
                await self._wait()
        finally:
            for doing in self._doing:
                doing.cancel()
            if self._doing:
                await asyncio.wait(self._doing)

    async def _patiently(self, work: Callable[[], T]) -> T | None:
        """A blocking call; that the database is away is told by others, and passes."""
        try:
            return await asyncio.to_thread(work)
        except ArchiveError as error:
            log.debug("jobs have to wait: %s %s", error.message, error.detail)
        except Exception:
            log.exception("looking for jobs failed")
        return None

    async def _wait(self) -> None:
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait(
                {woken, *self._doing}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            woken.cancel()

    def _tidy(self) -> None:
        now = time.monotonic()
        if now >= self._count_at:
            counts = self._queue.counts()
            for state in State:
                observe.JOBS.labels(state.value).set(counts[state])
            self._count_at = now + COUNT_SECONDS
        if now >= self._tidy_at:
            self._queue.trim(self._keep_seconds)
            self._queue.forget_feeds(FEED_SECONDS)
            self._tidy_at = now + TIDY_SECONDS

    async def _take(self) -> bool:
        taking = asyncio.ensure_future(
            self._patiently(lambda: self._queue.take(self._node, list(self._kinds), LEASE_SECONDS))
        )
        try:
            job = await asyncio.shield(taking)
        except asyncio.CancelledError:  # a thread goes on all the same: it may have one by now
            if (job := await taking) is not None:
                await self._patiently(partial(self._put_back, Task(job, job.progress), STOPPED))
            raise
        if job is None:
            return False
        doing = asyncio.get_running_loop().create_task(self._do(job))
        self._doing.add(doing)
        doing.add_done_callback(self._doing.discard)
        return True

    async def _do(self, job: Job) -> None:
        task = Task(job, dict(job.progress))
        working = asyncio.ensure_future(self._kinds[job.kind](task))
        beating = asyncio.ensure_future(self._beat(task))
        try:
            await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _ended(working)
            await self._settle(task, lambda: self._put_back(task, STOPPED))
            raise
        finally:
            task.is_over = True
            beating.cancel()
        if not working.done():  # the lease is lost
            await _ended(working)
            return
        await self._settle(task, self._outcome(task, working))

    async def _beat(self, task: Task) -> None:
        """Hold on to the job; returns when that is over."""
        held_until = time.monotonic() + LEASE_SECONDS
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            begun = time.monotonic()
            try:
                renewing = asyncio.to_thread(
                    self._queue.renew, task.job, dict(task.progress), LEASE_SECONDS
                )
                ours = await asyncio.wait_for(renewing, held_until - begun)
            except TimeoutError:
                return  # whatever it says now: another node may have the job
            except ArchiveError:
                if time.monotonic() > held_until - BEAT_SECONDS:
                    return
                continue
            if not ours:
                return
            held_until = begun + LEASE_SECONDS

    def _outcome(self, task: Task, working: asyncio.Future[None]) -> Callable[[], bool]:
        """What to tell the queue of work that has ended."""
        job, error = task.job, working.exception()
        if error is None:
            return lambda: self._queue.finish(job, task.progress)
        reason = str(error)
        extra = {"job": job.id, "kind": job.kind, "reason": reason}
        if isinstance(error, TryLater) and error.lane:
            log.warning("a job waits for its destination", extra=extra)
            return lambda: self._queue.put_back(
                job, task.progress, reason, 0.0, counted=error.counted, lane_rests=_lane_pause
            )
        if isinstance(error, TryLater) and not error.counted:
            return lambda: self._put_back(task, reason, FIRST_PAUSE)
        if isinstance(error, ArchiveError):
            reason = error.message
            if error.retry:  # our own index or store is away: no fault of the job
                return lambda: self._put_back(task, reason, FIRST_PAUSE)
        elif not isinstance(error, TryLater | Hopeless):
            log.error("a job failed", extra=extra, exc_info=error)
            reason = f"{type(error).__name__}: {error}"
        if isinstance(error, Hopeless) or job.attempts + 1 >= MOST_ATTEMPTS:
            log.error("a job was given up", extra=extra)
            return lambda: self._queue.give_up(job, task.progress, reason)
        pause = min(FIRST_PAUSE * 2**job.attempts, LONGEST_PAUSE)
        return lambda: self._put_back(task, reason, pause, counted=True)

    def _put_back(
        self, task: Task, reason: str, pause: float = 0.0, *, counted: bool = False
    ) -> bool:
        return self._queue.put_back(task.job, task.progress, reason, pause, counted=counted)

    async def _settle(self, task: Task, told: Callable[[], bool]) -> None:
        """Tell the queue; while it does not answer again and again, as long as the lease lasts."""
        until = time.monotonic() + LEASE_SECONDS
        while True:
            try:
                await asyncio.shield(asyncio.to_thread(told))
                return
            except ArchiveError as error:
                if time.monotonic() > until:
                    extra = {"job": task.job.id, "detail": error.detail}
                    log.warning("what came of a job could not be written down", extra=extra)
                    return
                await asyncio.sleep(BEAT_SECONDS)


async def _ended(working: asyncio.Future[None]) -> None:
    """Stop work in progress, whatever it says to that."""
    working.cancel()
    await asyncio.wait({working})
    if not working.cancelled():
        working.exception()


def _lane_pause(failures: int) -> float:
    return float(min(LANE_FIRST_PAUSE * 2 ** min(failures, 20), LANE_LONGEST_PAUSE))
