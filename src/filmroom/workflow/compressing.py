"""The job `compress`: stored instances made smaller, as rules or somebody want it, or undone.

One job that follows the rules runs at a time among all nodes, and one of those that somebody
waits for, each with a few instances in hand and pixel workers of its own that let everybody else
go first. It may be cut off at any instant: each instance is the old file or the new one, and the
next attempt goes on behind what was done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable

from filmroom import observe
from filmroom.archive.errors import Damaged, NotHeld, Unavailable
from filmroom.archive.jobs import State
from filmroom.archive.records import Handle
from filmroom.archive.retrieve import Retriever
from filmroom.archive.shrinking import (
    COMPRESS,
    UNCOMPRESSED,
    UNDONE,
    Candidate,
    Rule,
    Terms,
    compress_job,
)
from filmroom.archive.smaller import LeftAlone, Made, Shrinker, unread
from filmroom.archive.soundness import Pace
from filmroom.archive.stores import Blobs, Clock, Index
from filmroom.archive.swapping import Swapper
from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.pixel.calling import Limits
from filmroom.pixel.lowly import transcode_lowly
from filmroom.pixel.pool import Pool
from filmroom.workflow.worker import Hopeless, Task

log = logging.getLogger(__name__)

BLOCK = 100  # instances asked for at once
SAVE_SECONDS = 2.0  # of looking that are done again after a kill, at most
LOOK_SECONDS = 5.0  # between two looks whether rules have something to do
REST_SECONDS = 0.5  # at once, before it is looked whether the job is over
TIDY_SECONDS = 30.0  # between two looks for files whose time is up
PATIENT = Limits(cpu_seconds=600, wall_seconds=3600.0)  # who lets others go first takes long
MOST_ACTIVE = 1000  # jobs looked through for one that follows the rules


class Compressing:
    """Does jobs of this kind, and asks for one when rules have something to do."""

    def __init__(
        self, index: Index, blobs: Blobs, retriever: Retriever, clock: Clock, terms: Terms
    ) -> None:
        """retriever: told of a file that is not what it was."""
        self.index = index
        self.blobs = blobs
        self.retriever = retriever
        self.terms = terms
        self._clock = clock
        self.swapper = Swapper(index, blobs, terms.spared_seconds)
        self._look_at = self._tidy_at = 0.0

    # -- what there is to do --------------------------------------------------------------------
    def feed(self) -> None:
        """Put a job where rules have something to do; remove files whose time is up. Blocks."""
        now = time.monotonic()
        if now >= self._tidy_at:
            self._tidy_at = now + min(TIDY_SECONDS, self.terms.spared_seconds + 1.0)
            if removed := self.swapper.tidy():
                log.info("files in whose place others are were removed", extra={"count": removed})
        if now >= self._look_at and self.terms.rules and self.is_time():
            self._look_at = now + LOOK_SECONDS
            due = any(self.candidates(rule) for rule in self.terms.rules)
            if due and not self._is_under_way():
                self.index.jobs.put([compress_job()])

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return self._clock.now()

    def is_time(self) -> bool:
        """Whether rules may be followed now."""
        hours = self.terms.hours
        return hours is None or hours.hold(self.now())

    def _is_under_way(self) -> bool:
        subject = compress_job().subject
        active = self.index.jobs.jobs((State.RUNNING, State.WAITING), 0, MOST_ACTIVE)
        return any((job.kind, job.subject) == (COMPRESS, subject) for job in active)

    def candidates(self, rule: Rule) -> list[Candidate]:
        """The next ones that this rule has not looked at yet, up to the last that is old enough.

        Those before that which are not were replaced lately; they are passed over. Blocks.
        """
        after_id = self.index.smaller.after_id(rule.name)
        found = self.index.smaller.candidates(after_id, BLOCK)
        now = self.now()
        while found and not rule.is_old_enough(found[-1], now):
            found.pop()
        return found

    # -- a job ------------------------------------------------------------------------------------
    async def __call__(self, task: Task) -> None:
        """Raises Hopeless, ArchiveError."""
        body = task.job.body
        pool = Pool(self.terms.at_once, PATIENT)
        work = _Work(self, task, Shrinker(self.blobs, pool, transcode_lowly))
        begun = time.monotonic()
        try:
            if body["study"]:
                await work.study(str(body["study"]), undo=bool(body["undo"]))
            else:
                for rule in self.terms.rules:
                    await work.rule(rule)
        finally:
            seconds = task.progress.get("seconds", 0) + time.monotonic() - begun
            task.progress["seconds"] = round(seconds, 3)
            await asyncio.to_thread(pool.close)


class _Work:
    """One job in our hands."""

    def __init__(self, whole: Compressing, task: Task, shrinker: Shrinker) -> None:
        self._whole = whole
        self._index = whole.index
        self._task = task
        self._shrinker = shrinker
        self._pace = Pace(whole.terms.rate_bytes)
        self._note_at = 0.0
        for name in ("looked_at", "done", "undone", "bytes_before", "bytes_after"):
            task.progress.setdefault(name, 0)
        task.progress.setdefault("left_alone", {})

    async def rule(self, rule: Rule) -> None:
        """All that a rule has not looked at yet, while it is its time."""
        at_once = self._whole.terms.at_once
        while block := await asyncio.to_thread(self._whole.candidates, rule):
            for at in range(0, len(block), at_once):
                if self._task.is_over or not self._whole.is_time():
                    return
                group = block[at : at + at_once]
                await _all(self._by_rule(rule, candidate) for candidate in group)
                if self._task.is_over:  # perhaps before all of these were done
                    return
                if time.monotonic() >= self._note_at or group[-1] is block[-1]:
                    self._note_at = time.monotonic() + SAVE_SECONDS
                    last = group[-1].id
                    await asyncio.to_thread(self._index.smaller.put_after_id, rule.name, last)

    async def _by_rule(self, rule: Rule, candidate: Candidate) -> None:
        self._task.progress["looked_at"] += 1
        if not rule.wants(candidate) or not rule.is_old_enough(candidate, self._whole.now()):
            return
        if rule.sources and not await self._is_from(rule.sources, candidate):
            return
        await self._smaller(rule, candidate)

    async def _is_from(self, sources: tuple[str, ...], candidate: Candidate) -> bool:
        try:
            return await asyncio.to_thread(self._source, candidate) in sources
        except Damaged as error:
            if await asyncio.to_thread(self._current, candidate) is not None:
                self._whole.retriever.suspect(candidate.handle, f"{error.message} {error.detail}")
            return False

    def _source(self, candidate: Candidate) -> str:
        """The AE title it came from; "" where that is not known.

        Raises Damaged, Unavailable.
        """
        location = candidate.handle.location
        size = location.data_set_offset + 16
        try:
            blobs = self._whole.blobs
            head = blobs.read(location.key, 0, size, size=location.size_bytes)
            return part10.parse_meta(head, complete=True).source_ae_title
        except (NotHeld, Unavailable, Malformed, NeedMore) as error:
            unread(candidate.handle, error)

    async def study(self, study: str, *, undo: bool) -> None:
        """All of one study. Hopeless when there is none."""
        after_id, at_once = 0, self._whole.terms.at_once
        candidates_in = self._index.smaller.candidates_in
        while block := await asyncio.to_thread(candidates_in, study, after_id, BLOCK):
            after_id = block[-1].id
            for at in range(0, len(block), at_once):
                if self._task.is_over:
                    return
                group = block[at : at + at_once]
                await _all(self._by_hand(candidate, undo=undo) for candidate in group)
        if not after_id:
            raise Hopeless("there is no such study")

    async def _by_hand(self, candidate: Candidate, *, undo: bool) -> None:
        self._task.progress["looked_at"] += 1
        if undo:
            await self._undo(candidate)
        elif candidate.handle.location.transfer_syntax_uid in UNCOMPRESSED:
            await self._smaller(self._whole.terms.by_hand, candidate)

    # -- one instance --
    async def _smaller(self, rule: Rule, candidate: Candidate) -> None:
        handle = await asyncio.to_thread(self._current, candidate)
        if handle is None or not handle.frames:
            return
        before = handle.location.size_bytes
        if not await self._rest(before):
            return
        try:
            made = await self._shrinker.smaller(
                handle,
                rule.transfer_syntax_uid,
                rule.least_gain,
                received_at=candidate.received_at,
            )
        except LeftAlone as error:
            reason = str(error)
            await asyncio.to_thread(self._index.smaller.leave_alone, handle, reason)
            left = self._task.progress["left_alone"]
            left[reason] = left.get(reason, 0) + 1
            observe.COMPRESS_LEFT_ALONE.labels(reason).inc()
            return
        except Damaged as error:
            self._whole.retriever.suspect(handle, f"{error.message} {error.detail}")
            return
        after = made.location.size_bytes
        if await asyncio.to_thread(self._swap, handle, candidate, made):
            self._task.progress["done"] += 1
            self._task.progress["bytes_before"] += before
            self._task.progress["bytes_after"] += after
            observe.COMPRESSED.inc()
            observe.COMPRESS_BYTES.labels("before").inc(before)
            observe.COMPRESS_BYTES.labels("after").inc(after)

    async def _undo(self, candidate: Candidate) -> None:
        handle = await asyncio.to_thread(self._current, candidate)
        if handle is None:
            return
        try:
            made = await self._shrinker.as_received(handle)
        except LeftAlone:
            return
        except Damaged as error:
            self._whole.retriever.suspect(handle, f"{error.message} {error.detail}")
            return
        if await asyncio.to_thread(self._swap, handle, candidate, made):
            self._task.progress["undone"] += 1
            as_it_is = await asyncio.to_thread(self._index.instance, handle.sop_instance_uid)
            if as_it_is is not None:  # rules leave it as it is from now on
                await asyncio.to_thread(self._index.smaller.leave_alone, as_it_is, UNDONE)

    async def _rest(self, size_bytes: int) -> bool:
        """Wait until so much may be read; False when the job is over meanwhile."""
        until = time.monotonic() + self._pace.pause(size_bytes)
        while not self._task.is_over:
            seconds = until - time.monotonic()
            if seconds <= 0:
                return True
            await asyncio.sleep(min(seconds, REST_SECONDS))
        return False

    def _current(self, candidate: Candidate) -> Handle | None:
        """Its handle with frames; None when it is not what it was, or is marked."""
        handle = self._index.instance(candidate.handle.sop_instance_uid)
        if handle is None or handle.location != candidate.handle.location or handle.damage:
            return None
        return handle

    def _swap(self, handle: Handle, candidate: Candidate, made: Made) -> bool:
        done = self._whole.swapper.swap(handle, candidate.received_at, made)
        self._whole.retriever.forget(handle.sop_instance_uid)
        return done


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Return when all is done; raise what went wrong first, after all have ended."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
