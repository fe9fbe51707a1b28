"""The one thread that makes things durable: files, then rows, then answers.

Whatever is waiting when the thread is free becomes one batch: all files are sealed
together, all rows go into one synced transaction, and only then is anybody answered.
A failed batch answers every waiter and the thread lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

from filmroom.archive.ahead import Ahead, Job, Refusal
from filmroom.archive.digest import Digest
from filmroom.archive.errors import ArchiveError, Away, Conflict, Unavailable
from filmroom.archive.quarantine import Quarantine
from filmroom.archive.records import Held, NewInstance, Origin, Outcome, Stored
from filmroom.archive.stores import Blobs, Index, Staged

log = logging.getLogger(__name__)

OTHER_CONTENT = "other content under a held SOP Instance UID"
REPLACED = "replaced by other content under the same SOP Instance UID"
DAMAGED = "damaged: its content was not what had been received"
LARGEST_BATCH = 64


class Duplicates(StrEnum):
    """What happens to other bytes under a SOP Instance UID that is held already."""

    KEEP_FIRST = "keep-first"  # quarantine the new ones and warn
    REPLACE = "replace"  # file the new ones and quarantine the old ones
    REFUSE = "refuse"  # answer an error


class Committer:
    """Group commit over Blobs and Index."""

    def __init__(
        self,
        index: Index,
        blobs: Blobs,
        duplicates: Duplicates,
        *,
        quarantine_max_bytes: int,
        observe: Callable[[Sequence[Job], float], None] = lambda jobs, seconds: None,
        stored: Callable[[NewInstance], None] = lambda instance: None,
    ) -> None:
        """observe: told of each batch and its seconds. stored: told of each new instance."""
        self._index = index
        self._blobs = blobs
        self._duplicates = duplicates
        self._observe = observe
        self._stored = stored
        self._quarantine = Quarantine(index, blobs, quarantine_max_bytes)
        self._doubtful: set[str] = set()  # keys of bytes that may or may not have rows
        self._queue: queue.SimpleQueue[Job | Refusal | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._ahead = Ahead(index, self._seal, self._doubtful, self._hand_on)

    def start(self) -> None:
        """Begin."""
        self._quarantine.count()
        self._thread.start()

    def stop(self) -> None:
        """Commit what is waiting, then end. Harmless when it was never started."""
        self._ahead.stop()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_tidy(self) -> bool:
        """Whether every file is known to have its row; else the next start has to look."""
        return not self._doubtful

    @property
    def waiting(self) -> int:
        """How many instances wait for their turn."""
        return self._queue.qsize() + self._ahead.count

    async def commit(self, staged: Staged, instance: NewInstance, digest: Digest) -> Stored:
        """Return when `instance` is durable; raises ArchiveError when it is not.

        `digest` is finished here, while the disk is writing.
        """
        loop = asyncio.get_running_loop()
        job = Job(staged, instance, digest, loop, loop.create_future())
        if self._blobs.is_here:
            self._queue.put(job)
        else:
            self._ahead.send(job)
        return await job.future

    async def set_aside(
        self, staged: Staged, reason: str, claimed_uid: str, origin: Origin, received_at: float
    ) -> None:
        """Return when a file is in quarantine, or was dropped because there is no room.

        Waited for, so that nobody sends rubbish faster than it is put away.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        refusal = Refusal(staged, reason, claimed_uid, origin, received_at, loop, waiting)
        self._queue.put(refusal)
        await waiting

    def _hand_on(self, job: Job) -> None:
        """One that failed ahead of its turn is told at once; what it left has time."""
        if job.answer is not None:
            job.staged.discard()
            _answer([job])
        self._queue.put(job)

    # -- the thread -----------------------------------------------------------------------
    def _run(self) -> None:
        ending = False
        while not ending:
            batch: list[Job] = []
            refusals: list[Refusal] = []
            entry = self._queue.get()
            while True:
                if entry is None:
                    ending = True
                elif isinstance(entry, Job):
                    batch.append(entry)
                else:
                    refusals.append(entry)
                if ending or len(batch) + len(refusals) >= LARGEST_BATCH:
                    break
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit(batch)
            for refusal in refusals:
                self._set_aside(refusal)
            if self._queue.empty():
                self._blobs.prepare()

    def _commit(self, batch: list[Job]) -> None:
        started = time.perf_counter()
        try:
            for job in batch:
                job.take_digest()
            self._commit_batch(batch)
        except ArchiveError as error:
            self._give_up(batch, error)
        except Exception:
            log.exception("committing failed; nobody in this batch was told of success")
            self._give_up(batch, Unavailable("storing failed"))
        for job in batch:
            if not isinstance(job.answer, Stored):
                job.staged.discard()
        _answer(batch)
        self._observe(batch, time.perf_counter() - started)

    def _give_up(self, batch: Iterable[Job], error: ArchiveError) -> None:
        rest = [job for job in batch if job.answer is None]
        self._unseal(rest)
        for job in rest:
            job.answer = error

    def _commit_batch(self, batch: list[Job]) -> None:
        batch = [job for job in batch if job.answer is None]
        held = self._index.held([job.uid for job in batch]) if batch else {}
        self._try_to_settle()
        first: dict[str, Job] = {}
        later: list[Job] = []
        trouble: ArchiveError | None = None
        for job in batch:
            if job.uid in held:
                try:
                    if isinstance(trouble, Away):  # each of them would wait for as long
                        raise trouble
                    if job.is_sealed:
                        self._lost_race(job)
                    else:
                        self._settle_duplicate(job, held[job.uid])
                except ArchiveError as error:  # this one's trouble, nobody else's
                    trouble = error
                    self._give_up([job], error)
            elif job.uid in first:
                later.append(job)
            else:
                first[job.uid] = job
        if first:
            self._file(list(first.values()))
        if later:  # the same UID twice in one batch: the first one's fate is known now
            self._commit_batch(later)

    def _file(self, jobs: list[Job]) -> None:
        """Seal the bytes of jobs that nobody holds, then add their rows."""
        sealed = [job for job in jobs if job.is_sealed]
        waiting = [job for job in jobs if not job.is_sealed]
        for job, result in zip(waiting, self._seal(waiting), strict=True):
            if result is None:
                sealed.append(job)
            else:
                job.answer = result
        if sealed:
            self._add_rows(sealed)

    def _seal(self, jobs: Sequence[Job]) -> list[ArchiveError | None]:
        pairs = [(job.staged, job.instance.location.key) for job in jobs]
        answers: list[ArchiveError | None] = []
        for job, result in zip(jobs, self._blobs.seal(pairs), strict=True):
            if isinstance(result, FileExistsError):
                result = self._seal_again(job, result)
            if result is None or isinstance(result, ArchiveError):
                answers.append(result)
            else:
                answers.append(Conflict("a file of that name is held", detail=str(result)))
        return answers

    def _seal_again(self, job: Job, taken: FileExistsError) -> Exception | None:
        """The key is taken: by nobody who needs it, by a file that is to go, or for good."""
        key = job.instance.location.key
        if not self._index.known_keys([key]):
            # A crash came between bytes and rows: that file was acknowledged to nobody.
            self._blobs.remove(key)
        elif self._index.smaller.spares_among([key]):
            self._set_variant(job, secrets.token_hex(4))
        else:
            return taken
        return self._blobs.seal([(job.staged, job.instance.location.key)])[0]

    def _set_variant(self, job: Job, variant: str) -> None:
        """Give it a key of its own, beside that of other bytes under this UID."""
        new = job.instance
        key = self._blobs.key_for(new.received_at, new.study.uid, new.series.uid, job.uid, variant)
        job.instance = replace(new, location=replace(new.location, key=key))

    def _add_rows(self, jobs: list[Job]) -> None:
        try:
            added = self._index.add([job.instance for job in jobs])
        except Conflict as error:
            if len(jobs) > 1:
                for job in jobs:
                    try:
                        self._add_rows([job])
                    except ArchiveError as trouble:
                        self._give_up([job], trouble)
                return
            jobs[0].answer = error
            self._set_aside_sealed(jobs[0], error.message)
            return
        for job, new in zip(jobs, added, strict=True):
            if new:
                job.answer = stored(job.instance, Outcome.NEW)
                self._stored(job.instance)
            else:  # another node was faster
                try:
                    self._lost_race(job)
                except ArchiveError as trouble:
                    self._give_up([job], trouble)

    def _unseal(self, jobs: Iterable[Job]) -> None:
        """Take back bytes, if there are any yet, whose rows failed.

        A failed COMMIT may have been done all the same (its answer was lost): the index is
        asked, and while it does not say, the bytes stay.
        """
        self._doubtful.update(job.instance.location.key for job in jobs)
        self._try_to_settle()

    def _try_to_settle(self) -> None:
        try:
            self._settle_doubts()
        except ArchiveError as error:
            log.warning("files are left without a row for now", extra={"detail": error.detail})
        except Exception:
            log.exception("files are left without a row for now")

    def _settle_doubts(self) -> None:
        asked = list(self._doubtful)
        if asked:
            for key in set(asked) - self._index.settled_keys(asked):
                self._blobs.remove(key)
            self._doubtful.difference_update(asked)

    def _lost_race(self, job: Job) -> None:
        held = self._index.held([job.uid])[job.uid]
        key = job.instance.location.key
        if _same(job.instance, held):
            if held.key != key:
                self._blobs.remove(key)
            job.answer = stored(job.instance, Outcome.SAME)
            return
        self._quarantine.keep_sealed(key, OTHER_CONTENT, job.instance)
        job.answer = stored(job.instance, Outcome.KEPT_FIRST)

    # -- duplicates ----------------------------------------------------------------------------
    def _settle_duplicate(self, job: Job, held: Held) -> None:
        if _same(job.instance, held):
            if self._blobs.exists(held.key) and not held.is_damaged:
                job.staged.discard()
                job.answer = stored(job.instance, Outcome.SAME)
            else:
                self._heal(job, held)
        elif self._duplicates is Duplicates.REFUSE:
            job.answer = Conflict("other content is held under this SOP Instance UID")
        elif self._duplicates is Duplicates.REPLACE and _same_place(job.instance, held):
            self._replace(job)
        elif self._quarantine.has_room(job.staged.size):
            new = job.instance
            self._quarantine.keep(job.staged, OTHER_CONTENT, job.uid, new.origin, new.received_at)
            job.answer = stored(job.instance, Outcome.KEPT_FIRST)
        else:
            job.answer = Conflict("other content is held under this UID, and quarantine is full")

    def _heal(self, job: Job, held: Held) -> None:
        """The held file is lost or damaged; these are its bytes, perhaps of another length."""
        log.warning("a lost or damaged file came back", extra={"sop_instance_uid": job.uid})
        if self._blobs.is_here:  # elsewhere other nodes keep what they read under a key
            location = replace(job.instance.location, key=held.key)
            job.instance = replace(job.instance, location=location)
        if self._blobs.exists(held.key):
            new = job.instance
            self._quarantine.put_away(held.key, DAMAGED, job.uid, new.origin, new.received_at)
        job.answer = self._seal([job])[0]
        if job.answer is None:
            self._index.replace(job.instance)
            self._stored(job.instance)
            job.answer = stored(job.instance, Outcome.SAME)

    def _replace(self, job: Job) -> None:
        """File the new bytes beside the old; those are put away once nobody points at them."""
        self._set_variant(job, job.instance.location.digest.hex()[:8])
        failure = self._seal([job])[0]
        if failure is not None:
            job.answer = failure
            return
        old_key = self._index.replace(job.instance)
        self._stored(job.instance)
        job.answer = stored(job.instance, Outcome.REPLACED)
        try:
            self._quarantine.keep_sealed(old_key, REPLACED, job.instance)
        except ArchiveError as error:
            extra = {"key": old_key, "detail": error.detail}
            log.warning("a replaced file was not put into quarantine", extra=extra)

    # -- quarantine ------------------------------------------------------------------------------
    def _set_aside_sealed(self, job: Job, reason: str) -> None:
        key = job.instance.location.key
        if self._quarantine.has_room(job.instance.location.size_bytes):
            self._quarantine.keep_sealed(key, reason, job.instance)
        else:
            self._blobs.remove(key)

    def _set_aside(self, refusal: Refusal) -> None:
        """Keep a refused file while quarantine has room; a flood of rubbish is not kept."""
        try:
            if refusal.staged.size and self._quarantine.has_room(refusal.staged.size):
                self._quarantine.keep(
                    refusal.staged,
                    refusal.reason,
                    refusal.claimed_uid,
                    refusal.origin,
                    refusal.received_at,
                )
        except ArchiveError as error:
            log.warning("could not quarantine a file", extra={"detail": error.detail})
        except Exception:
            log.exception("could not quarantine a file")
        finally:
            refusal.staged.discard()
            with contextlib.suppress(RuntimeError):  # that loop has closed
                refusal.loop.call_soon_threadsafe(_release, refusal.future)


def stored(instance: NewInstance, outcome: Outcome) -> Stored:
    """The answer for an instance."""
    return Stored(
        outcome,
        instance.study.uid,
        instance.series.uid,
        instance.instance.uid,
        instance.instance.keys["SOPClassUID"],
    )


def _same(instance: NewInstance, held: Held) -> bool:
    return held.is_same(instance.location)


def _same_place(instance: NewInstance, held: Held) -> bool:
    """A row keeps its series: what names another cannot take its place."""
    place = held.study_instance_uid, held.series_instance_uid
    return place == (instance.study.uid, instance.series.uid)


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _answer(batch: Iterable[Job]) -> None:
    """Wake the waiters, one call per event loop; a waiter that left is nobody's problem."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # that loop has closed
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: Iterable[Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if isinstance(job.answer, Stored):
            job.future.set_result(job.answer)
        else:
            job.future.set_exception(job.answer or Unavailable("storing failed"))
