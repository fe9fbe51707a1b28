"""Work that is remembered until it is done: jobs, the lanes they wait in, leases, nodes.

A job belongs to whoever holds its lease: a node that dies lets the lease run out, and
another one takes the job over. So what a job does may be begun twice; what it leaves behind
must be the same as if it had been done once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from filmroom.archive.errors import Unintelligible
from filmroom.dicom.uids import is_valid_uid

MOST_ATTEMPTS = 5  # of a job that fails by itself
SILENT_SECONDS = 20.0  # after which a node counts as gone
SEND = "send"  # the kind of job that sends instances to a peer


class State(StrEnum):
    """Of a job."""

    WAITING = "waiting"  # for its turn, or for its next attempt
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # given up; somebody may have it tried again
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be put into the queue.

    lane: jobs of one lane run one after the other; a lane can be told to rest.
    subject: of jobs of one kind and subject only one waits; putting it again has that one begin
    anew, for there may be more to do by now.
    body: what the kind needs to know (JSON). priority: lower comes first.
    """

    kind: str
    lane: str
    subject: str
    body: Mapping[str, Any]
    priority: int = 0
    delay_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the queue has it. Times are seconds since the epoch, by the database's clock."""

    id: int
    kind: str
    lane: str
    subject: str
    body: dict[str, Any]
    priority: int
    state: State
    due_at: float
    attempts: int  # that have failed
    losses: int  # how often the node that did it has gone
    lease: int  # how often it was taken; tells the holder of today from that of yesterday
    node: str  # that runs it
    progress: dict[str, Any]
    reason: str  # why it waits again, has failed, or was cancelled
    created_at: float
    changed_at: float


@dataclass(frozen=True, slots=True)
class Lane:
    """Where jobs wait for one destination."""

    name: str
    failures: int  # one after the other
    rests_until: float  # 0.0 when it does not
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the outbox; `body` is JSON."""

    id: int
    kind: str  # "instance-stored", "instance-replaced", "patient-mismatch", "series-settled"
    body: str
    created_at: float


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node that shares the index with others."""

    name: str
    version: str
    started_at: float
    seen_at: float
    silent_seconds: float = field(compare=False)


def send_job(
    ae_title: str,
    study: str,
    series: str = "",
    instance: str = "",
    *,
    priority: int = 0,
) -> NewJob:
    """Send a study, or one series or instance of it. Unintelligible when a UID is none."""
    for uid in filter(None, (study, series, instance)):
        if not is_valid_uid(uid):
            raise Unintelligible("that is not a UID")
    if not study or (instance and not series):
        raise Unintelligible("name the study, and the series where an instance is meant")
    body = {"peer": ae_title, "study": study, "series": series, "instance": instance}
    subject = "\\".join(filter(None, (ae_title, study, series, instance)))
    return NewJob(SEND, f"send to {ae_title}", subject, body, priority)


def job_as_dict(job: Job) -> dict[str, Any]:
    """For programs; lists of UIDs as their lengths."""
    progress = {
        name: len(value) if name in ("left", "only") else value
        for name, value in job.progress.items()
    }
    return {**asdict(job), "state": job.state.value, "progress": progress}


class Queue(Protocol):
    """The jobs. All methods block; Unavailable when the database does not answer."""

    def put(self, jobs: Sequence[NewJob]) -> list[int]:
        """Remember these; returns an id for each, that of the one waiting where one was."""
        ...

    def feed(
        self, name: str, kinds: Sequence[str], made: Callable[[Sequence[Event]], list[NewJob]]
    ) -> int:
        """Make jobs of the events since the last time, each event exactly once.

        The jobs and how far we have come are written in one transaction. A feed that is new
        begins with what happens from now on. Returns how many events there were.
        """
        ...

    def forget_feeds(self, seconds: float) -> None:
        """Forget those that nobody has asked for in so long."""
        ...

    def take(self, node: str, kinds: Sequence[str], seconds: float) -> Job | None:
        """Lease the next job of one of these kinds, for that long; None when there is none.

        Lanes take turns. What has run out of its lease is put back first.
        """
        ...

    def reap(self, node: str) -> int:
        """Put back what this node was doing when it ended."""
        ...

    def renew(self, job: Job, progress: Mapping[str, Any], seconds: float) -> bool:
        """Hold on to it; False: it is not ours any more, or was cancelled."""
        ...

    def finish(self, job: Job, progress: Mapping[str, Any]) -> bool:
        """It is done; its lane is well. False: it was not ours any more."""
        ...

    def put_back(
        self,
        job: Job,
        progress: Mapping[str, Any],
        reason: str,
        seconds: float,
        *,
        counted: bool,
        lane_rests: Callable[[int], float] | None = None,
    ) -> bool:
        """Try it again after so long; False: it was not ours any more.

        counted: as one of its MOST_ATTEMPTS, after the last of which it has failed; where its
        lane rests, only if that was well until then. lane_rests: how many seconds its whole lane
        rests, given how often in a row it has failed before. Its siblings come first then.
        """
        ...

    def give_up(self, job: Job, progress: Mapping[str, Any], reason: str) -> bool:
        """It has failed, until somebody has it tried again."""
        ...

    def cancel(self, id: int, reason: str) -> bool:
        """Do not do it, or no more of it; False when it had ended."""
        ...

    def cancel_all(self, reason: str) -> int:
        """All that wait or run."""
        ...

    def retry(self, id: int) -> bool:
        """Try it now, whatever came of it; False when it runs, is done, or waits twice."""
        ...

    def job(self, id: int) -> Job | None: ...

    def jobs(
        self, states: Sequence[State] = tuple(State), before_id: int = 0, limit: int = 100
    ) -> list[Job]:
        """Newest first; those before an id, where one is given."""
        ...

    def counts(self) -> dict[State, int]: ...
    def lanes(self) -> list[Lane]: ...
    def trim(self, seconds: float) -> None:
        """Forget what ended that long ago."""
        ...


class Cluster(Protocol):
    """Who is there, and who does what only one may do. All methods block."""

    def here(self, node: str, version: str) -> None:
        """Be seen."""
        ...

    def started(self, node: str, version: str) -> None:
        """Be seen for the first time since a start."""
        ...

    def left(self, node: str) -> None:
        """Be seen no more."""
        ...

    def nodes(self) -> list[NodeSeen]:
        """Those that have not left; the dead among them are silent."""
        ...

    def hold(self, name: str, holder: str, seconds: float) -> bool:
        """Take a lease, or renew it; False while somebody else holds it."""
        ...

    def give_back(self, name: str, holder: str) -> None:
        """End a lease of ours."""
        ...
