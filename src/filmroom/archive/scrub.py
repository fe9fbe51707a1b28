"""Read every stored file again, and see that it is what was received.

One pass goes through the rows in the order of storing. How far it has come is kept in the
index, so that a pass that was stopped goes on where it was. A file that is not what it was is
read a second time; if that says the same it is marked, so that nobody is given it, and made
anew from the second copy where there is one. Then files and rows without partner are looked
for. Everything is done in short steps beside a running server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import orjson

from filmroom.archive.committer import DAMAGED
from filmroom.archive.errors import ArchiveError, NotHeld, Unavailable
from filmroom.archive.quarantine import Quarantine
from filmroom.archive.records import Damage, Handle, Origin
from filmroom.archive.soundness import Pace, Stopped, carry, damage_of
from filmroom.archive.stores import Blob, Blobs, Clock, Index
from filmroom.archive.strays import Search, Strays

log = logging.getLogger(__name__)

BLOCK = 200  # rows asked for at once
SAVE_SECONDS = 2.0  # of work that are done again after a kill, at most
GIVE_UP_AFTER = 1000  # files in a row that are gone: that is the disk, not the files


@dataclass(slots=True)
class Progress:
    """How far a pass has come, and what it has found; kept in the index."""

    started_at: float = 0.0
    finished_at: float = 0.0  # 0 while it is under way
    last_id: int = 0  # rows after this one came when the pass had begun
    after_id: int = 0  # rows up to this one are done
    instances: int = 0
    size_bytes: int = 0
    damaged: int = 0  # newly found
    repaired: int = 0  # from the second copy
    sound_again: int = 0  # marked before, and as they should be now
    copy_lacks: int = 0
    copied: int = 0  # to the second copy

    @property
    def is_under_way(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self.started_at) and not self.finished_at


@dataclass(slots=True)
class Report:
    """What a pass has found, and what is known to be damaged after it."""

    progress: Progress
    strays: Strays = field(default_factory=Strays)
    damaged: list[dict[str, Any]] = field(default_factory=list)  # the first thousand marks
    damaged_count: int = 0
    copy: str = "none"  # "none", "there", or "away": it is configured and not to be found

    @property
    def is_sound(self) -> bool:
        """Whether all is as it should be."""
        return not self.damaged_count and not self.strays.count and self.copy != "away"

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"is_sound": self.is_sound, **asdict(self)}


class Events:
    """Told what a scrub does; this one keeps it to itself."""

    def read(self, size_bytes: int) -> None:
        """One file was read."""

    def found(self, damage: Damage) -> None:
        """One was found damaged."""

    def repaired(self) -> None:
        """One was made anew from the second copy."""

    def changed(self, sop_instance_uid: str) -> None:
        """An instance is marked now, or is not any more."""


class Scrub:
    """Looks after the files of one archive; for one thread at a time, see blobs.upkeep.turn."""

    def __init__(
        self,
        index: Index,
        blobs: Blobs,
        clock: Clock,
        pace: Pace,
        *,
        quarantine_max_bytes: int,
        open_copy: Callable[[], Blobs | None] | None = None,
        filling_copy: bool = False,
        events: Events | None = None,
    ) -> None:
        """open_copy: the second copy, None while it is away; filling_copy: write what it lacks."""
        self._index = index
        self._blobs = blobs
        self._clock = clock
        self._pace = pace
        self._quarantine = Quarantine(index, blobs, quarantine_max_bytes)
        self._open_copy = open_copy
        self._filling_copy = filling_copy
        self._copy: Blobs | None = None
        self._events = events or Events()
        self._gone_in_a_row = 0
        self.search = Search(index, blobs, clock)

    # -- how far -----------------------------------------------------------------------------
    def progress(self) -> Progress | None:
        """Of the last pass, perhaps still under way; None when there was none."""
        state = self._index.integrity.scrub_state()
        if state is None:
            return None
        known = {each.name for each in fields(Progress)}
        return Progress(**{k: v for k, v in orjson.loads(state).items() if k in known})

    def save(self, progress: Progress) -> None:
        """Remember how far it has come."""
        self._index.integrity.put_scrub_state(orjson.dumps(asdict(progress)).decode())

    def begin(self, *, anew: bool = False) -> Progress:
        """The pass that is under way, or a new one."""
        there = self.progress()
        if there is not None and there.is_under_way and not anew:
            return there
        progress = Progress(self._clock.now(), last_id=self._index.integrity.last_id())
        self.save(progress)
        return progress

    # -- a pass ------------------------------------------------------------------------------
    def run(
        self,
        progress: Progress,
        *,
        stopped: Callable[[], bool] = lambda: False,
        told: Callable[[Progress], None] = lambda progress: None,
        putting_right: bool = False,
    ) -> Report | None:
        """Go on with a pass; its report, or None when it was stopped before its end.

        putting_right: strays get their row. Raises Unavailable when files cannot be read for
        reasons that are not theirs.
        """
        self._enter()
        saved_at = self._clock.now()
        try:
            while not stopped():
                block = self._index.integrity.filed(progress.after_id, progress.last_id, BLOCK)
                for filed in block:
                    if stopped():
                        return None
                    self.look_at(filed.handle, progress)
                    progress.after_id = filed.id
                    progress.instances += 1
                    progress.size_bytes += filed.handle.location.size_bytes
                    told(progress)
                    if self._clock.now() - saved_at >= SAVE_SECONDS:
                        self.save(progress)
                        saved_at = self._clock.now()
                if not block:
                    return self._finish(progress, stopped, putting_right)
            return None
        except Stopped:
            return None
        finally:
            if not progress.finished_at:
                self.save(progress)

    def _enter(self) -> None:
        self._copy = self._open_copy() if self._open_copy is not None else None

    def look_again(
        self, progress: Progress, *, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """At what is marked: perhaps it has been put right by hand, or the copy is back."""
        self._enter()
        after_id = 0
        while marked := self._index.integrity.marked(after_id):
            for each in marked:
                if stopped():
                    return
                after_id = each.id
                handle = self._index.instance(each.sop_instance_uid)
                if handle is not None:
                    seen = Progress()
                    self.look_at(handle, seen)
                    progress.repaired += seen.repaired
                    progress.sound_again += seen.sound_again

    def _finish(
        self, progress: Progress, stopped: Callable[[], bool], putting_right: bool
    ) -> Report | None:
        strays = self.search.run(putting_right=putting_right, stopped=stopped)
        if strays is None:
            return None
        progress.finished_at = self._clock.now()
        self.save(progress)
        return self.report(progress, strays)

    def report(self, progress: Progress, strays: Strays) -> Report:
        """What is to be told of a pass."""
        marked = self._index.integrity.marked()
        copy = "none"
        if self._open_copy is not None:
            copy = "there" if self._copy is not None else "away"
        count = self._index.statistics().damaged
        return Report(progress, strays, [asdict(each) for each in marked], count, copy)

    # -- one file ----------------------------------------------------------------------------
    def suspect(self, handle: Handle) -> None:
        """Look at one file out of turn, because somebody could not read it."""
        self._enter()
        self.look_at(handle, Progress())

    def look_at(self, handle: Handle, progress: Progress) -> None:
        """Read one file, and do what follows from it."""
        damage = damage_of(self._blobs, handle, self._pace)
        self._events.read(handle.location.size_bytes)
        self._see_that_the_disk_is_there(damage)
        if damage is not None:
            if not self._is_current(handle):
                return
            damage = self._confirmed(handle, damage)
        if damage is None:
            if handle.damage and self._index.integrity.unmark(handle.sop_instance_uid):
                progress.sound_again += 1
                self._events.changed(handle.sop_instance_uid)
            self._see_copy(handle, progress)
            return
        self._mark(handle, damage, progress)
        if self._restore(handle):
            progress.repaired += 1
            self._events.repaired()
            self._events.changed(handle.sop_instance_uid)

    def _see_that_the_disk_is_there(self, damage: Damage | None) -> None:
        self._gone_in_a_row = self._gone_in_a_row + 1 if damage is Damage.GONE else 0
        if self._gone_in_a_row >= GIVE_UP_AFTER:
            raise Unavailable(f"{GIVE_UP_AFTER} files in a row are gone: is the disk mounted?")

    def _confirmed(self, handle: Handle, damage: Damage) -> Damage | None:
        """Before a file is given up: does it read the same twice?"""
        again = damage_of(self._blobs, handle, self._pace)
        if again is not damage:
            extra = {"key": handle.location.key, "detail": f"{damage}, then {again or 'sound'}"}
            log.warning("a file did not read the same twice: memory, cable, disk?", extra=extra)
        return again

    def _is_current(self, handle: Handle) -> bool:
        now = self._index.instance(handle.sop_instance_uid)
        return now is not None and now.location == handle.location

    def _mark(self, handle: Handle, damage: Damage, progress: Progress) -> None:
        if not self._index.integrity.mark(handle, damage, self._clock.now()):
            return
        self._events.changed(handle.sop_instance_uid)
        self._events.found(damage)
        progress.damaged += 1
        log.error(
            "a stored file is damaged, and is not served",
            extra={
                "sop_instance_uid": handle.sop_instance_uid,
                "key": handle.location.key,
                "reason": damage.value,
            },
        )
        if damage_of(self._blobs, handle, self._pace) is None:  # sent again this instant
            self._index.integrity.unmark(handle.sop_instance_uid)

    # -- the second copy ---------------------------------------------------------------------
    def _restore(self, handle: Handle) -> bool:
        """Make a damaged file anew from the second copy, if that has it whole."""
        if self._copy is None:
            return False
        try:
            if not put_in_place(self._copy, self._blobs, handle, self._pace, self._put_away):
                return False
        except ArchiveError as error:
            extra = {"key": handle.location.key, "detail": error.detail}
            log.warning("a damaged file could not be restored", extra=extra)
            return False
        log.warning(
            "a damaged file was restored from the second copy",
            extra={"sop_instance_uid": handle.sop_instance_uid, "key": handle.location.key},
        )
        self._index.integrity.unmark(handle.sop_instance_uid)
        return True

    def _put_away(self, handle: Handle) -> bool:
        """Take a damaged file out of the way; False when it is no more the one we looked at."""
        if not self._is_current(handle):
            return False
        if self._blobs.exists(handle.location.key):
            self._quarantine.count()
            self._quarantine.put_away(
                handle.location.key,
                DAMAGED,
                handle.sop_instance_uid,
                Origin("scrub"),
                self._clock.now(),
            )
        return True

    def _see_copy(self, handle: Handle, progress: Progress) -> None:
        """Whether the second copy has this file; or write it, where we are to."""
        if self._copy is None:
            return
        if not self._filling_copy:
            progress.copy_lacks += not has(self._copy, handle)
            return
        if damage_of(self._copy, handle, self._pace) is None:
            return
        copy = self._copy
        try:
            done = put_in_place(self._blobs, copy, handle, self._pace, lambda h: clear(copy, h))
        except ArchiveError as error:
            extra = {"key": handle.location.key, "detail": error.detail}
            log.warning("a file could not be copied", extra=extra)
            done = False
        progress.copied += done
        progress.copy_lacks += not done


def has(copy: Blobs, handle: Handle) -> bool:
    """Whether there is a file of the right size."""
    file = _open(copy, handle.location.key)
    if file is None:
        return False
    with closing(file):
        return file.size == handle.location.size_bytes


def clear(copy: Blobs, handle: Handle) -> bool:
    """Make way for a file: what lies there is no good."""
    if copy.exists(handle.location.key):
        copy.quarantine_sealed(handle.location.key)
    return True


def put_in_place(
    source: Blobs,
    target: Blobs,
    handle: Handle,
    pace: Pace,
    make_way: Callable[[Handle], bool],
) -> bool:
    """Write the file of `handle` from one place to another; False when the source is no good.

    It is whole, checked and synced before it gets its name.
    """
    key = handle.location.key
    file = _open(source, key)
    if file is None:
        return False
    with closing(file):
        staged = target.stage()
        try:
            if not carry(file, handle, staged, pace) or not make_way(handle):
                return False
            failure = target.seal([(staged, key)])[0]
            if isinstance(failure, ArchiveError):
                raise failure
            return failure is None
        finally:
            staged.discard()


def _open(blobs: Blobs, key: str) -> Blob | None:
    try:
        return blobs.open(key, anew=True)
    except NotHeld:
        return None
