"""Import: offer files to the archive, several at once, and keep the score."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filmroom.acquire.walk import (
    DICOMDIR_CLASS,
    HEAD_BYTES,
    BadFile,
    Candidate,
    Found,
    Readable,
    Skipped,
    find,
    is_dicom,
)
from filmroom.archive.errors import ArchiveError, Unavailable
from filmroom.archive.records import Origin, Outcome
from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore

if TYPE_CHECKING:
    from filmroom.archive.ingest import Ingest, Intake

PIECE_BYTES = 256 * 1024
AT_ONCE = 8  # enough to fill the committer's batches
_REMEMBERED = 100  # failures that are told one by one


@dataclass(slots=True)
class Score:
    """How an import is going, and how it went."""

    new: int = 0
    same: int = 0  # held already, byte for byte
    differing: int = 0  # held under that UID with other content: kept first, or replaced
    failed: int = 0
    ignored: int = 0  # not DICOM, links, unreadable places
    size_bytes: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)  # (file, why), the first ones

    @property
    def seen(self) -> int:
        """How many files have been dealt with."""
        return self.new + self.same + self.differing + self.failed + self.ignored

    def fail(self, name: str, why: str) -> None:
        """Count a failure."""
        self.failed += 1
        self._tell(name, why)

    def skip(self, name: str, why: str) -> None:
        """Count what was passed over; links are common and need no word."""
        self.ignored += 1
        if "symbolic link" not in why:
            self._tell(name, why)

    def _tell(self, name: str, why: str) -> None:
        if len(self.failures) < _REMEMBERED:
            self.failures.append((name, why))


Progress = Callable[[Score], None]


async def import_paths(
    ingest: Ingest,
    paths: Iterable[Path],
    *,
    kind: str = "import",
    progress: Progress = lambda score: None,
) -> Score:
    """Offer everything found at `paths`; returns when all of it is durable or refused.

    Raises Unavailable when the archive itself cannot go on (disk full): the rest would
    fail in the same way.
    """
    score = Score()
    found: Iterator[Found] = (entry for path in paths for entry in find(path))
    running: set[asyncio.Task[None]] = set()
    try:
        while (entry := await asyncio.to_thread(next, found, None)) is not None:
            if isinstance(entry, Skipped):
                score.skip(entry.name, entry.why)
                continue
            # Members of a ZIP share one file: its entries are staged one after the other,
            # and only the wait for the disk is shared.
            task = await _staged(ingest, entry, kind, score)
            if task is not None:
                running.add(task)
            if len(running) >= AT_ONCE:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            progress(score)
        if running:
            await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
    progress(score)
    return score


async def _staged(
    ingest: Ingest, candidate: Candidate, kind: str, score: Score
) -> asyncio.Task[None] | None:
    """Hand the bytes over now; the task waits until they are durable."""
    try:
        intake = await asyncio.to_thread(_hand_over, ingest, candidate, kind)
    except Unavailable:
        raise
    except (BadFile, ArchiveError) as error:
        score.fail(candidate.name, str(error))
        return None
    except OSError as error:
        score.fail(candidate.name, error.strerror or "cannot be read")
        return None
    if intake is None:
        score.ignored += 1
        return None
    return asyncio.ensure_future(_committed(intake, candidate, score))


async def _committed(intake: Intake, candidate: Candidate, score: Score) -> None:
    try:
        stored = await intake.commit()
    except Unavailable:
        raise
    except ArchiveError as error:
        score.fail(candidate.name, error.message)
        return
    score.size_bytes += candidate.size_bytes
    if stored.outcome is Outcome.NEW:
        score.new += 1
    elif stored.outcome is Outcome.SAME:
        score.same += 1
    else:
        score.differing += 1


def _hand_over(ingest: Ingest, candidate: Candidate, kind: str) -> Intake | None:
    """Write a candidate's bytes to an intake; None when it is no instance. Blocks."""
    with candidate.open() as stream:
        head = _read_up_to(stream, HEAD_BYTES)
        if not is_dicom(head, candidate.name) or _is_directory(head):
            return None
        intake = ingest.open_file(Origin(kind, candidate.name))
        try:
            intake.write(head)
            while piece := stream.read(PIECE_BYTES):
                intake.write(piece)
        except BaseException:
            intake.abandon()
            raise
        return intake


def _is_directory(head: bytes) -> bool:
    try:
        return part10.parse_meta(head).sop_class_uid == DICOMDIR_CLASS
    except (Malformed, NeedMore):
        return False


def _read_up_to(stream: Readable, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
