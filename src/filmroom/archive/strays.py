"""Files without a row: in the store, and in quarantine, where rows may lack their file too.

A file is there before its row, by design. So what looks like a stray is looked at a second
time, when it has been lying still for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

from filmroom.archive.errors import NotHeld
from filmroom.archive.records import Origin
from filmroom.archive.reindex import adopt
from filmroom.archive.stores import Blobs, Clock, Index

STILL_SECONDS = 10.0  # from a file's being written to its row, at most
MOMENT_SECONDS = 1.0  # from a file's being in quarantine to its entry
AT_ONCE = 500
LISTED = 1000  # files named; the rest is only counted
ALL_QUARANTINED = 10_000_000
FOUND = "found in quarantine without an entry"


@dataclass(slots=True)
class Strays:
    """What has no partner."""

    files: list[str] = field(default_factory=list)  # keys in the store, the first thousand
    file_count: int = 0
    quarantined_files: list[str] = field(default_factory=list)  # names in quarantine
    quarantine_entries: list[int] = field(default_factory=list)  # ids whose file is gone
    adopted: int = 0  # of all three: put right

    @property
    def count(self) -> int:
        """How many are left."""
        return self.file_count + len(self.quarantined_files) + len(self.quarantine_entries)


class Search:
    """Looks for strays, and puts them right if it is told to."""

    def __init__(
        self,
        index: Index,
        blobs: Blobs,
        clock: Clock,
        *,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._index = index
        self._blobs = blobs
        self._clock = clock
        self._wait = wait

    def run(self, *, putting_right: bool = False, stopped: Callable[[], bool]) -> Strays | None:
        """Search everything; None when it was stopped on the way."""
        strays = Strays()
        suspects = []
        for batch in batches(self._blobs.keys()):
            if stopped():
                return None
            suspects += self._without_row(batch)
        kept = self._without_entry()
        self._lie_still(suspects)
        if kept:
            self._wait(MOMENT_SECONDS)
        self._in_store(strays, suspects, putting_right)
        self._in_quarantine(strays, kept & self._without_entry(), putting_right)
        return strays

    # -- the store ----------------------------------------------------------------------------
    def _without_row(self, keys: list[str]) -> list[str]:
        known = self._index.known_keys(keys)
        return [key for key in keys if key not in known]

    def _lie_still(self, keys: Iterable[str]) -> None:
        newest = max((self._blobs.modified_ns(key) for key in keys), default=0) / 1e9
        age = self._clock.now() - newest
        if 0 <= age < STILL_SECONDS:
            self._wait(STILL_SECONDS - age)

    def _in_store(self, strays: Strays, suspects: list[str], putting_right: bool) -> None:
        for batch in batches(suspects):
            orphans = [key for key in self._without_row(batch) if self._blobs.exists(key)]
            if putting_right and orphans:
                strays.adopted += adopt(self._index, self._blobs, orphans).added
                orphans = self._without_row(orphans)
            strays.file_count += len(orphans)
            strays.files += orphans[: LISTED - len(strays.files)]

    # -- quarantine ---------------------------------------------------------------------------
    def _without_entry(self) -> set[str]:
        names = set(self._blobs.quarantine_keys())  # before the entries: those come later
        return names - {entry.key for entry in self._index.quarantined(ALL_QUARANTINED)}

    def _in_quarantine(self, strays: Strays, names: set[str], putting_right: bool) -> None:
        there = set(self._blobs.quarantine_keys())
        entries = self._index.quarantined(ALL_QUARANTINED)
        lost = [entry.id for entry in entries if entry.key not in there]
        lost = [id_ for id_ in lost if self._index.quarantined_by_id(id_) is not None]
        if putting_right:
            for id_ in lost:
                self._index.forget_quarantined(id_)
            strays.adopted += len(lost) + sum(map(self._give_entry, sorted(names)))
            return
        strays.quarantined_files = sorted(names)
        strays.quarantine_entries = lost

    def _give_entry(self, name: str) -> bool:
        try:
            with closing(self._blobs.open_quarantined(name)) as file:
                size, written_at = file.size, file.written_at
        except NotHeld:
            return False
        self._index.quarantine(name, FOUND, "", Origin("scrub"), size, written_at)
        return True


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """As many keys at a time as the index is asked for at once."""
    each = iter(keys)
    while batch := list(islice(each, AT_ONCE)):
        yield batch
