"""What can go wrong in the archive, said once, in the archive's own words.

    ArchiveError
    |__ Refused         we will not: policy, quota, access        (do not retry)
    |__ Unintelligible  we cannot read what was sent              (do not retry)
    |__ Conflict        it contradicts what we hold               (do not retry)
    |__ NotHeld         no such study, series, instance, frame    (do not retry)
    |__ Unsupported     held, but not to be had in the form asked (do not retry)
    |__ Damaged         held, but its file is not what was stored (do not retry)
    |__ Unavailable     disk, database or network is in the way   (retry later)
        |__ Away        the store does not answer: says nothing against what it holds

Edges translate: `services.outcomes` to DIMSE statuses, `filmroom.http` to HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class ArchiveError(Exception):
    """`message` may be shown to a peer; `detail` is for our log only and may name paths."""

    retry = False

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Refused(ArchiveError):
    """Policy, quota or access says no."""


class Unintelligible(ArchiveError):
    """The bytes are not the data set they claim to be."""


class Conflict(ArchiveError):
    """It contradicts something already held, or what was announced with it."""


class NotHeld(ArchiveError):
    """The archive holds no such thing, or the caller may not know that it does."""


class Unsupported(ArchiveError):
    """It is held, but cannot be given in any form the caller accepts."""


class Damaged(ArchiveError):
    """It is held, but its stored file is damaged or gone, and is not given."""


class Unavailable(ArchiveError):
    """A resource we depend on is missing for now."""

    retry = True


class Away(Unavailable):
    """The store of the blobs does not answer; what it holds may well be sound."""


def said_of(error: ArchiveError, table: Mapping[type[ArchiveError], T], otherwise: T) -> T:
    """What a table of an edge says of `error`, or of its nearest ancestor in it."""
    return next((table[kind] for kind in type(error).__mro__ if kind in table), otherwise)
