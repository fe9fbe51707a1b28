"""Bring a whole archive into another index and another store, while it goes on being read.

What the target holds already is passed over, so a run that was cut short is simply run again,
and once more after the last thing was stored in the old one. Every file is compared with its
digest before it counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace

from filmroom.archive.backup import blocks
from filmroom.archive.describe import Describer
from filmroom.archive.errors import ArchiveError, Conflict, NotHeld, Unintelligible
from filmroom.archive.records import Filed, Held, NewInstance, Quarantined
from filmroom.archive.reindex import read_back
from filmroom.archive.soundness import Pace, carry, is_passing
from filmroom.archive.stores import Blobs, Index

AT_ONCE = 8  # files on their way
PIECE_BYTES = 1 << 20
LISTED = 1000  # named; the rest is only counted
ALL_QUARANTINED = 10_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """An archive: where things are, and the bytes."""

    index: Index
    blobs: Blobs


@dataclass(slots=True)
class Report:
    """What a run has done."""

    instances: int = 0  # looked at
    size_bytes: int = 0
    there: int = 0  # held by the target already
    moved: int = 0
    bad: int = 0  # gone, damaged, or held there with other content
    listed: list[str] = field(default_factory=list)  # their keys in the source
    quarantined: int = 0
    users: int = 0
    tokens: int = 0

    def blame(self, key: str) -> None:
        """One more that could not be brought over."""
        self.bad += 1
        if len(self.listed) < LISTED:
            self.listed.append(key)


def move_all(source: Place, target: Place, pace: Pace, told: Callable[[Report], None]) -> Report:
    """Everything of `source` that `target` lacks. Raises Unavailable; then run it again."""
    report = Report()
    describer = Describer()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="moving") as hands:
        for block in blocks(source.index):
            report.instances += len(block)
            report.size_bytes += sum(filed.handle.location.size_bytes for filed in block)
            wanted = _lacking(source.index, target.index, block, report)
            described = []
            for filed in wanted:
                new = _described(source.blobs, filed, describer)
                if new is None:
                    report.blame(filed.handle.location.key)
                else:
                    described.append((filed, new))
            work = [hands.submit(_sent, source, target, *pair, pace) for pair in described]
            sent = _all_or_none(target.blobs, work)
            _add(target, [each for each in sent if each is not None], report)
            for (filed, _), new in zip(described, sent, strict=True):
                if new is None:
                    report.blame(filed.handle.location.key)
            told(report)
    target.index.settle_all()
    _move_quarantine(source, target, report)
    _move_accounts(source.index, target.index, report)
    return report


def _lacking(source: Index, target: Index, block: list[Filed], report: Report) -> list[Filed]:
    uids = [filed.handle.sop_instance_uid for filed in block]
    held, sources = target.held(uids), source.held(uids)
    lacking = []
    for filed in block:
        there = held.get(filed.handle.sop_instance_uid)
        if there is None:
            lacking.append(filed)
        elif _are_same(there, sources.get(filed.handle.sop_instance_uid)):
            report.there += 1
        else:
            report.blame(filed.handle.location.key)
    return lacking


def _are_same(one: Held, other: Held | None) -> bool:
    """Whether both came as the same data set, in whatever form they are stored."""
    return other is not None and one.received_digest == other.received_digest


def _described(blobs: Blobs, filed: Filed, describer: Describer) -> NewInstance | None:
    """What the index should say of it; None when the file is not what its row says."""
    location = filed.handle.location
    try:
        new = read_back(blobs, location.key, describer)
    except (NotHeld, Unintelligible):
        return None
    except ArchiveError as error:
        if is_passing(error):
            raise
        return None
    if new.location.digest != location.digest:
        return None
    return replace(new, received_at=filed.received_at)


def _sent(
    source: Place, target: Place, filed: Filed, new: NewInstance, pace: Pace
) -> NewInstance | None:
    """The same with its bytes in the target, under a key of the target's."""
    uids = new.study.uid, new.series.uid, new.instance.uid
    key = target.blobs.key_for(filed.received_at, *uids)
    staged = target.blobs.stage()
    try:
        with closing(source.blobs.open(filed.handle.location.key, anew=True)) as file:
            if not carry(file, filed.handle, staged, pace):
                return None
        failure = target.blobs.seal([(staged, key)])[0]
    finally:
        staged.discard()
    if isinstance(failure, FileExistsError):  # sealed by a run that ended before the row
        target.blobs.remove(key)
        return _sent(source, target, filed, new, pace)
    if failure is not None:
        raise failure
    return replace(new, location=replace(new.location, key=key))


def _all_or_none(blobs: Blobs, work: list[Future[NewInstance | None]]) -> list[NewInstance | None]:
    """What each gave; when one failed, what the others have sealed is taken away again."""
    wait(work)
    if all(each.exception() is None for each in work):
        return [each.result() for each in work]
    for each in work:
        if each.exception() is None and (new := each.result()) is not None:
            with suppress(ArchiveError):  # else filmroom scrub finds it
                blobs.remove(new.location.key)
    return [each.result() for each in work]  # raises what went wrong


def _add(target: Place, batch: list[NewInstance], report: Report) -> None:
    """Rows for what is sealed; what cannot have one is taken away again."""
    if not batch:
        return
    try:
        added = target.index.add(batch)
    except Conflict:
        if len(batch) > 1:
            for new in batch:
                _add(target, [new], report)
            return
        target.blobs.remove(batch[0].location.key)
        report.blame(batch[0].location.key)
        return
    for new, is_new in zip(batch, added, strict=True):
        if is_new:
            report.moved += 1
        else:  # received by the target itself in this instant
            target.blobs.remove(new.location.key)
            report.there += 1


def _move_quarantine(source: Place, target: Place, report: Report) -> None:
    known = {_mark(entry) for entry in target.index.quarantined(ALL_QUARANTINED)}
    for entry in reversed(source.index.quarantined(ALL_QUARANTINED)):
        if _mark(entry) in known:
            continue
        try:
            file = source.blobs.open_quarantined(entry.key)
        except NotHeld:
            continue
        staged = target.blobs.stage()
        try:
            with closing(file):
                for at in range(0, file.size, PIECE_BYTES):
                    staged.write(file.read(at, PIECE_BYTES))
            key = target.blobs.quarantine(staged)
        finally:
            staged.discard()
        target.index.quarantine(
            key,
            entry.reason,
            entry.sop_instance_uid,
            entry.origin,
            entry.size_bytes,
            entry.received_at,
        )
        report.quarantined += 1


def _mark(entry: Quarantined) -> tuple[str, str, int, float]:
    """What tells one refused file from another, whatever its name here or there."""
    return entry.reason, entry.sop_instance_uid, entry.size_bytes, entry.received_at


def _move_accounts(source: Index, target: Index, report: Report) -> None:
    """People and programs; what is there under a name stays. Sessions end: sign in again."""
    for user in source.users():
        if target.user(user.name) is None:
            target.put_user(user)
            report.users += 1
    for token in source.credentials("token"):
        is_over = token.expires_at is not None and token.expires_at < time.time()
        if not is_over and target.credential(token.digest) is None:
            target.put_credential(token)
            report.tokens += 1
