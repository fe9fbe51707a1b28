"""The one thread that makes things durable: files, then rows, then answers.

Whatever is waiting when the thread is free becomes one batch. Each object is examined, all
files are sealed together, all rows go into one synced transaction, and only then is anybody
answered. While a helper waits for the disk to take the files, the digests are taken and the
rows are written; their COMMIT waits until the files are safe.
A failed batch answers every waiter and the thread lives on.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from enum import StrEnum

from filmroom.archive.digest import Digest
from filmroom.archive.errors import ArchiveError, Conflict, Unavailable, Unintelligible
from filmroom.archive.job import Job, Received, answer, stored
from filmroom.archive.quarantine import Quarantine
from filmroom.archive.records import Held, NewInstance, Outcome, Stored
from filmroom.archive.stores import Blobs, Index, Staged

log = logging.getLogger(__name__)

OTHER_CONTENT = "other content under a held SOP Instance UID"
REPLACED = "replaced by other content under the same SOP Instance UID"
LARGEST_BATCH = 64


class _NotAllSealed(Exception):
    """Some file of the batch is not safe: its row must not be committed."""


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
        self._queue: queue.SimpleQueue[Job | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._sealer = ThreadPoolExecutor(1, "sealer")

    def start(self) -> None:
        """Begin."""
        self._quarantine.count()
        self._thread.start()

    def stop(self) -> None:
        """Commit what is waiting, then end. Harmless when it was never started."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._sealer.shutdown()

    @property
    def is_tidy(self) -> bool:
        """Whether every file is known to have its row; else the next start has to look."""
        return not self._doubtful

    @property
    def waiting(self) -> int:
        """How many instances wait for their turn."""
        return self._queue.qsize()

    def soon(self, work: Callable[[], None]) -> None:
        """Let the thread do something that an object on its way will need."""
        self._queue.put(work)

    async def commit(self, staged: Staged, received: Received, digest: Digest) -> Stored:
        """Return when an object is durable; raises ArchiveError when it is not.

        `digest` is finished here, while the disk is writing. What cannot be filed is put
        into quarantine first, so that nobody sends rubbish faster than it is put away.
        """
        loop = asyncio.get_running_loop()
        job = Job(staged, received, digest, loop, loop.create_future())
        self._queue.put(job)
        return await job.future

    # -- the thread -----------------------------------------------------------------------
    def _run(self) -> None:
        ending = False
        while not ending:
            batch: list[Job] = []
            entry = self._queue.get()
            while True:
                if isinstance(entry, Job):
                    batch.append(entry)
                elif entry is None:
                    ending = True
                else:
                    self._do(entry)
                if ending or len(batch) >= LARGEST_BATCH:
                    break
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit(batch)
            if self._queue.empty():
                self._blobs.prepare()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("something to be done ahead failed")

    def _commit(self, batch: list[Job]) -> None:
        started = time.perf_counter()
        fit = [job for job in batch if self._examine(job)]
        unfit = [job for job in batch if job.answer is not None]
        if fit:
            try:
                self._commit_batch(fit)
            except ArchiveError as error:
                self._give_up(fit, error)
            except Exception:
                log.exception("committing failed; nobody in this batch was told of success")
                self._give_up(fit, Unavailable("storing failed"))
            self._conclude(fit)
        for job in unfit:
            if isinstance(job.answer, Unintelligible | Conflict):
                self._set_aside(job, job.answer.message)
        self._conclude(unfit)
        self._observe(batch, time.perf_counter() - started)

    def _conclude(self, jobs: Sequence[Job]) -> None:
        """Answer; of what was not stored nothing is there any more when that is told."""
        for job in jobs:
            if not isinstance(job.answer, Stored):
                job.staged.discard()
        answer(jobs)
        for job in jobs:
            job.staged.discard()

    def _examine(self, job: Job) -> bool:
        """Whether it can be filed; else it has its answer."""
        try:
            job.instance = job.received.examine(job.staged)
        except ArchiveError as error:
            job.answer = error
            return False
        except Exception:
            log.exception("examining an object failed")
            job.answer = Unavailable("storing failed")
            return False
        return True

    def _give_up(self, batch: Iterable[Job], error: ArchiveError) -> None:
        rest = [job for job in batch if job.answer is None]
        self._unseal(rest)
        for job in rest:
            job.answer = error

    def _commit_batch(self, batch: list[Job]) -> None:
        held = self._index.held([job.uid for job in batch])
        self._settle_doubts()
        first: dict[str, Job] = {}
        later: list[Job] = []
        for job in batch:
            if job.uid in held:
                try:
                    self._settle_duplicate(job, held[job.uid])
                except ArchiveError as error:  # this one's trouble, nobody else's
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
        """Seal the bytes of jobs that nobody holds, and add their rows meanwhile."""
        sealing = self._sealer.submit(self._seal, jobs)

        def check() -> None:
            if any(result is not None for result in sealing.result()):
                raise _NotAllSealed

        try:
            for job in jobs:
                job.take_digest()
            added = self._index.add([job.instance for job in jobs], check)
        except (_NotAllSealed, Conflict):
            self._add_sealed(jobs, sealing.result())
        except BaseException:
            wait([sealing])  # whatever is done about it, is done to files that lie still
            raise
        else:
            self._added(jobs, added)

    def _add_sealed(self, jobs: list[Job], results: Sequence[ArchiveError | None]) -> None:
        """Add the rows of those whose bytes are safe; the others have their answer."""
        sealed = []
        for job, result in zip(jobs, results, strict=True):
            if result is None:
                sealed.append(job)
            else:
                job.answer = result
        if sealed:
            self._add_rows(sealed)

    def _seal(self, jobs: Sequence[Job]) -> list[ArchiveError | None]:
        pairs = [(job.staged, job.instance.location.key) for job in jobs]
        answers: list[ArchiveError | None] = []
        for (staged, key), result in zip(pairs, self._blobs.seal(pairs), strict=True):
            if isinstance(result, FileExistsError) and not self._index.known_keys([key]):
                # A crash came between bytes and rows: that file was acknowledged to nobody.
                self._blobs.remove(key)
                result = self._blobs.seal([(staged, key)])[0]
            if result is None or isinstance(result, ArchiveError):
                answers.append(result)
            else:
                answers.append(Conflict("a file of that name is held", detail=str(result)))
        return answers

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
        self._added(jobs, added)

    def _added(self, jobs: Sequence[Job], added: Sequence[bool]) -> None:
        for job, new in zip(jobs, added, strict=True):
            if new:
                job.answer = stored(job.instance, Outcome.NEW)
                self._stored(job.instance)
            else:  # another node was faster
                self._lost_race(job)

    def _unseal(self, jobs: Iterable[Job]) -> None:
        """Take back bytes, if there are any yet, whose rows failed.

        A failed COMMIT may have been done all the same (its answer was lost): the index is
        asked, and while it does not say, the bytes stay.
        """
        self._doubtful.update(job.instance.location.key for job in jobs)
        try:
            self._settle_doubts()
        except ArchiveError as error:
            log.warning("files are left without a row for now", extra={"detail": error.detail})
        except Exception:
            log.exception("files are left without a row for now")

    def _settle_doubts(self) -> None:
        if self._doubtful:
            for key in self._doubtful - self._index.known_keys(list(self._doubtful)):
                self._blobs.remove(key)
            self._doubtful.clear()

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
        job.take_digest()
        if _same(job.instance, held):
            if self._blobs.exists(held.key):
                job.staged.discard()
                job.answer = stored(job.instance, Outcome.SAME)
            else:
                self._heal(job, held)
        elif self._duplicates is Duplicates.REFUSE:
            job.answer = Conflict("other content is held under this SOP Instance UID")
        elif self._duplicates is Duplicates.REPLACE and _same_place(job.instance, held):
            self._replace(job, held)
        elif self._quarantine.has_room(job.staged.size):
            new = job.instance
            self._quarantine.keep(job.staged, OTHER_CONTENT, job.uid, new.origin, new.received_at)
            job.answer = stored(job.instance, Outcome.KEPT_FIRST)
        else:
            job.answer = Conflict("other content is held under this UID, and quarantine is full")

    def _heal(self, job: Job, held: Held) -> None:
        """The held file was lost, and these are its bytes; our meta header may be another."""
        log.warning("a lost file came back", extra={"sop_instance_uid": job.uid})
        job.instance = replace(job.instance, location=replace(job.instance.location, key=held.key))
        job.answer = self._seal([job])[0]
        if job.answer is None:
            self._index.replace(job.instance)
            self._stored(job.instance)
            job.answer = stored(job.instance, Outcome.SAME)

    def _replace(self, job: Job, held: Held) -> None:
        """File the new bytes beside the old; those are put away once nobody points at them."""
        location = job.instance.location
        key = self._blobs.key_for(
            job.instance.received_at,
            job.instance.study.uid,
            job.instance.series.uid,
            job.uid,
            location.digest.hex()[:8],
        )
        job.instance = replace(job.instance, location=replace(location, key=key))
        failure = self._seal([job])[0]
        if failure is not None:
            job.answer = failure
            return
        self._index.replace(job.instance)
        self._stored(job.instance)
        job.answer = stored(job.instance, Outcome.REPLACED)
        try:
            self._quarantine.keep_sealed(held.key, REPLACED, job.instance)
        except ArchiveError as error:
            extra = {"key": held.key, "detail": error.detail}
            log.warning("a replaced file was not put into quarantine", extra=extra)

    # -- quarantine ------------------------------------------------------------------------------
    def _set_aside_sealed(self, job: Job, reason: str) -> None:
        key = job.instance.location.key
        if self._quarantine.has_room(job.instance.location.size_bytes):
            self._quarantine.keep_sealed(key, reason, job.instance)
        else:
            self._blobs.remove(key)

    def _set_aside(self, job: Job, reason: str) -> None:
        """Keep a refused file while quarantine has room; a flood of rubbish is not kept."""
        staged, received = job.staged, job.received
        if received.is_kept_already or not staged.size:
            return
        try:
            if self._quarantine.has_room(staged.size):
                uid = received.claimed[1]
                self._quarantine.keep(staged, reason, uid, received.origin, received.received_at)
        except ArchiveError as error:
            log.warning("could not quarantine a file", extra={"detail": error.detail})
        except Exception:
            log.exception("could not quarantine a file")


def _same(instance: NewInstance, held: Held) -> bool:
    location = instance.location
    return (
        location.digest == held.digest and location.transfer_syntax_uid == held.transfer_syntax_uid
    )


def _same_place(instance: NewInstance, held: Held) -> bool:
    """A row keeps its series: what names another cannot take its place."""
    place = held.study_instance_uid, held.series_instance_uid
    return place == (instance.study.uid, instance.series.uid)
