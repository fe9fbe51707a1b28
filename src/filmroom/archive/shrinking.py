"""Which instances are stored smaller than they came, and what the index remembers of it.

An instance is stored smaller by a new file in the place of the old one. Both are there for a
while: readers of the old one are not disturbed, and whatever a crash leaves is known by its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from datetime import time as day_time
from typing import Any, Protocol

from filmroom.archive.errors import Unintelligible
from filmroom.archive.jobs import NewJob
from filmroom.archive.records import Handle, Location, Received
from filmroom.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE, is_valid_uid

COMPRESS = "compress"  # the kind of job
LANE = "compress"  # what rules want: one such job at a time, whatever the number of nodes
LANE_BY_HAND = "compress by hand"  # what somebody waits for does not wait for that
BY_RULES = "what the rules want"  # the subject of the job that follows the rules
UNDONE = "undone by hand"  # why an instance is left alone that was given back its first form
LATER_SECONDS = 3600.0  # until a file that could not go, or may be the last, is looked at again

UNCOMPRESSED = frozenset({IMPLICIT_VR_LE, EXPLICIT_VR_LE})


@dataclass(frozen=True, slots=True)
class Rule:
    """What is to be stored smaller, and how; empty tuples for whatever it is."""

    transfer_syntax_uid: str
    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # AE titles it came from
    larger_than_bytes: int = 0
    older_than_seconds: float = 0.0  # since it came
    least_gain: float = 0.0  # of its size, 0..1

    @property
    def name(self) -> str:
        """Tells this rule from others, and from what it was before it was changed."""
        return repr(self)

    def is_old_enough(self, candidate: Candidate, now: float) -> bool:
        """Whether it came so long ago."""
        return candidate.received_at <= now - self.older_than_seconds

    def wants(self, candidate: Candidate) -> bool:
        """Whether it fits; age and `sources` are not looked at: those stand in the file."""
        location = candidate.handle.location
        return (
            location.transfer_syntax_uid in UNCOMPRESSED
            and not candidate.handle.damage
            and not candidate.left_alone
            and location.size_bytes > self.larger_than_bytes
            and (not self.modalities or candidate.modality in self.modalities)
            and (not self.sop_classes or candidate.handle.sop_class_uid in self.sop_classes)
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that may be stored smaller; its handle comes without frames."""

    id: int  # rises in the order of storing
    handle: Handle
    modality: str
    received_at: float  # seconds since the epoch, UTC
    left_alone: str = ""  # why it was left alone before


@dataclass(frozen=True, slots=True)
class Spare:
    """A file whose time is up, and the one that its instance points at instead."""

    key: str
    held_key: str
    held_bytes: int  # its size


@dataclass(frozen=True, slots=True)
class Savings:
    """What has come of it so far."""

    instances: int  # that are stored smaller now
    bytes_before: int
    bytes_after: int
    left_alone: Mapping[str, int] = field(default_factory=dict)  # by reason
    spare_files: int = 0  # still there for those who are reading them

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "instances": self.instances,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "bytes_saved": self.bytes_before - self.bytes_after,
            "left_alone": dict(self.left_alone),
            "spare_files": self.spare_files,
        }


def compress_job(study: str = "", *, undo: bool = False) -> NewJob:
    """Store a study smaller now, or as it came; without one, do what the rules want.

    Raises Unintelligible when the UID is none.
    """
    if study and not is_valid_uid(study):
        raise Unintelligible("that is not a UID")
    if undo and not study:
        raise Unintelligible("name the study that is to be as it came")
    subject = f"{'undo ' if undo else ''}{study or BY_RULES}"
    priority = 0 if study else 10
    lane = LANE_BY_HAND if study else LANE
    return NewJob(COMPRESS, lane, subject, {"study": study, "undo": undo}, priority)


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day, local time; it may go over midnight."""

    begin: day_time
    end: day_time

    def hold(self, at: float) -> bool:
        """Whether that instant is within it."""
        now = datetime.fromtimestamp(at).time()
        if self.begin <= self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


@dataclass(frozen=True, slots=True)
class Terms:
    """What this node was told of storing smaller."""

    by_hand: Rule  # how a study is stored smaller that somebody names
    rules: tuple[Rule, ...] = ()
    at_once: int = 1
    rate_bytes: float = 0.0  # in a second; 0: as fast as it goes
    hours: Hours | None = None
    spared_seconds: float = 86_400.0  # that an old file stays for those who read it


class Smaller(Protocol):
    """What the index knows of instances that are stored smaller. All methods block."""

    def after_id(self, rule: str) -> int:
        """How far a rule has come: all up to this id were looked at."""
        ...

    def put_after_id(self, rule: str, after_id: int) -> None:
        """Remember that."""
        ...

    def candidates(self, after_id: int, limit: int) -> list[Candidate]:
        """Instances after an id, in the order of their ids."""
        ...

    def candidates_in(self, study: str, after_id: int, limit: int) -> list[Candidate]:
        """Those of a study."""
        ...

    def intend(self, key: str, seconds: float) -> None:
        """A file is about to have this key: it may go after so long, unless it is swapped in."""
        ...

    def swap(
        self,
        old: Handle,
        location: Location,
        frames: bytes,
        received: Received | None,
        seconds: float,
    ) -> bool:
        """Point an instance at another file of the same content, in one synced transaction.

        The old file may go after so many seconds. received: what it came as; None: as it lies
        there now. False when the index speaks of another file by now, this one is marked as
        damaged, or the new file's time was up: then nothing has changed.
        """
        ...

    def leave_alone(self, handle: Handle, reason: str) -> None:
        """Do not try this one again, as long as it is what it is."""
        ...

    def claim_spares(self) -> list[Spare]:
        """Files whose time is up and in whose place others are; remove them now.

        Not those whose instance has no row, or one that is marked as damaged: they may be the
        last sound copy. They are looked at again later.
        """
        ...

    def forget_spare(self, key: str) -> None:
        """It is removed."""
        ...

    def spares_among(self, keys: Sequence[str]) -> set[str]:
        """Which of these are keys of files that are to go."""
        ...

    def savings(self) -> Savings:
        """What has come of it so far."""
        ...
