"""One object on its way through the committer, and who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from filmroom.archive.digest import Digest
from filmroom.archive.errors import ArchiveError, Unavailable
from filmroom.archive.records import NewInstance, Origin, Outcome, Stored
from filmroom.archive.stores import Staged


class Received(Protocol):
    """An object that has arrived whole."""

    @property
    def origin(self) -> Origin:
        """Where it came from."""
        ...

    @property
    def received_at(self) -> float:
        """When it began to, seconds since the epoch, UTC."""
        ...

    @property
    def is_kept_already(self) -> bool:
        """It lies in quarantine, and is not put there twice."""
        ...

    @property
    def claimed(self) -> tuple[str, str]:
        """(SOP Class UID, SOP Instance UID) as far as known."""
        ...

    def examine(self, staged: Staged) -> NewInstance:
        """What the index must learn; Unintelligible or Conflict when it cannot be filed."""
        ...


@dataclass(eq=False, slots=True)
class Job:
    """One object waiting to be committed, and who waits for it."""

    staged: Staged
    received: Received
    digest: Digest
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Stored]
    instance: NewInstance = field(init=False)  # once it was examined
    answer: Stored | ArchiveError | None = None
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


def stored(instance: NewInstance, outcome: Outcome) -> Stored:
    """The answer for an instance."""
    return Stored(
        outcome,
        instance.study.uid,
        instance.series.uid,
        instance.instance.uid,
        instance.instance.keys["SOPClassUID"],
    )


def answer(batch: Iterable[Job]) -> None:
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
