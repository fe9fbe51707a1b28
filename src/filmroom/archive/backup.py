"""Copy what an index speaks of from one place to another, each file checked on the way.

A backup is laid out like a data folder. Files never change, so that a later backup into the
same folder copies only what is new. Its index comes last: until it has its name, the folder
is the backup that it was before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from filmroom.archive.records import Filed
from filmroom.archive.scrub import clear, has, put_in_place
from filmroom.archive.soundness import Pace, damage_of
from filmroom.archive.stores import Blobs, Index

BLOCK = 64  # rows asked for at once, and made at once where they are brought over
LISTED = 1000  # files named; the rest is only counted


@dataclass(slots=True)
class Report:
    """What was done with the files."""

    instances: int = 0  # looked at
    size_bytes: int = 0
    copied: int = 0
    bad: int = 0  # gone, or not what had been received
    listed: list[str] = field(default_factory=list)  # their keys, the first thousand

    def blame(self, key: str) -> None:
        """One more that is no good."""
        self.bad += 1
        if len(self.listed) < LISTED:
            self.listed.append(key)


Told = Callable[[Report], None]


def copy_all(index: Index, source: Blobs, target: Blobs, pace: Pace, told: Told) -> Report:
    """Have every file of `index` in `target`; what is there already in its size is left alone.

    A file that is not what its row says is not copied, and blamed. Raises Unavailable when
    there is no room, or the source cannot be read for now.
    """
    report = Report()
    for filed in chain.from_iterable(blocks(index)):
        handle = filed.handle
        report.instances += 1
        report.size_bytes += handle.location.size_bytes
        if not has(target, handle):
            if put_in_place(source, target, handle, pace, partial(clear, target)):
                report.copied += 1
            else:
                report.blame(handle.location.key)
        told(report)
    return report


def check_all(index: Index, blobs: Blobs, pace: Pace, told: Told) -> Report:
    """Read every file of `index` and compare it with its digest."""
    report = Report()
    for filed in chain.from_iterable(blocks(index)):
        report.instances += 1
        report.size_bytes += filed.handle.location.size_bytes
        if damage_of(blobs, filed.handle, pace) is not None:
            report.blame(filed.handle.location.key)
        told(report)
    return report


def blocks(index: Index) -> Iterator[list[Filed]]:
    """Every stored file there was when this began, in the order of storing."""
    last = index.integrity.last_id()
    after = 0
    while block := index.integrity.filed(after, last, BLOCK):
        yield block
        after = block[-1].id
