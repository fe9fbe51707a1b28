"""What waits for the committer, and what is done of it ahead of its turn.

To a remote store the bytes of many travel at once, and only their rows wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from filmroom.archive.digest import Digest
from filmroom.archive.errors import ArchiveError, Unavailable
from filmroom.archive.records import NewInstance, Origin, Stored
from filmroom.archive.stores import Index, Staged

log = logging.getLogger(__name__)

AT_ONCE, LARGE_AT_ONCE = 16, 2  # objects on their way
LARGE_BYTES = 8 << 20  # from here on: those shall not fill all places


@dataclass(eq=False, slots=True)
class Job:
    """One instance waiting to be committed, and who waits for it."""

    staged: Staged
    instance: NewInstance
    digest: Digest
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Stored]
    answer: Stored | ArchiveError | None = None
    is_sealed: bool = False  # its bytes are where they belong; a row is what is missing
    since: float = field(default_factory=time.perf_counter)

    @property
    def uid(self) -> str:
        return self.instance.instance.uid

    def take_digest(self) -> None:
        """Complete the location; idempotent."""
        location = self.instance.location
        if not location.digest:
            digest = self.digest.finish(self.staged, location.data_set_offset)
            self.instance = replace(self.instance, location=replace(location, digest=digest))

    @property
    def outcome(self) -> str:
        """How it ended, in one word."""
        if isinstance(self.answer, Stored):
            return self.answer.outcome.value
        return type(self.answer).__name__.lower()


@dataclass(eq=False, slots=True)
class Refusal:
    """A complete file that will not be filed, to be kept for an operator, and who waits."""

    staged: Staged
    reason: str
    claimed_uid: str
    origin: Origin
    received_at: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class Ahead:
    """Puts the bytes of jobs into a remote store, then hands the jobs on."""

    def __init__(
        self,
        index: Index,
        seal: Callable[[Sequence[Job]], list[ArchiveError | None]],
        doubtful: set[str],
        hand_on: Callable[[Job], None],
    ) -> None:
        """doubtful: takes the keys of what may be there all the same after a failure."""
        self._index = index
        self._seal = seal
        self._doubtful = doubtful
        self._hand_on = hand_on
        self._hands = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sealing")
        self._large_hands = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="sealing-large")
        self._jobs: set[Job] = set()

    @property
    def count(self) -> int:
        """How many are on their way."""
        return len(self._jobs)

    def send(self, job: Job) -> None:
        """Hand `job` on when its bytes are sealed, need not be, or could not be."""
        self._jobs.add(job)
        is_large = job.staged.size > LARGE_BYTES
        (self._large_hands if is_large else self._hands).submit(self._send, job)

    def stop(self) -> None:
        """Return when all are handed on; no more may come."""
        for hands in (self._hands, self._large_hands):
            hands.shutdown(wait=True)

    def _send(self, job: Job) -> None:
        try:
            job.take_digest()
            if job.uid not in self._index.held([job.uid]):
                failure = self._seal([job])[0]
                if failure is not None:
                    raise failure
                job.is_sealed = True
        except ArchiveError as error:
            job.answer = error
            self._doubtful.add(job.instance.location.key)
        except BaseException:
            log.exception("sending to the store failed; nobody was told of success")
            job.answer = Unavailable("storing failed")
            self._doubtful.add(job.instance.location.key)
        finally:
            self._hand_on(job)
            self._jobs.discard(job)
