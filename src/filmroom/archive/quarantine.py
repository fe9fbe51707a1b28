"""What was received but is not filed, kept for an operator as far as there is room."""

from __future__ import annotations

import logging
import time
from contextlib import closing

from filmroom.archive.records import NewInstance, Origin
from filmroom.archive.stores import Blobs, Index, Staged

log = logging.getLogger(__name__)

RECOUNT_SECONDS = 5.0  # between two looks whether an operator has made room


class Quarantine:
    """The committer's way into the quarantine; for one thread."""

    def __init__(self, index: Index, blobs: Blobs, max_bytes: int) -> None:
        self._index = index
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._recount_at = 0.0

    def count(self) -> None:
        """The room left is what the files there have not taken."""
        held = sum(kept.size_bytes for kept in self._index.quarantined(100_000))
        self._left = self._max_bytes - held

    def has_room(self, size_bytes: int) -> bool:
        """Whether such a file can be kept; an operator may have emptied the place meanwhile."""
        if size_bytes > self._left and time.monotonic() >= self._recount_at:
            self._recount_at = time.monotonic() + RECOUNT_SECONDS
            self.count()
            if size_bytes > self._left:
                log.warning("quarantine is full: what is refused is not kept")
        return size_bytes <= self._left

    def keep(
        self, staged: Staged, reason: str, claimed_uid: str, origin: Origin, received_at: float
    ) -> None:
        """Keep a file that was never filed; on failure nothing is kept of it."""
        size = staged.size
        key = self._blobs.quarantine(staged)
        try:
            self._index.quarantine(key, reason, claimed_uid[:64], origin, size, received_at)
        except BaseException:
            self._blobs.remove_quarantined(key)
            raise
        self._left -= size

    def keep_sealed(self, key: str, reason: str, instance: NewInstance) -> None:
        """Take a filed blob out of the store; `instance` says whose it is."""
        self._take(
            key,
            reason,
            instance.instance.uid,
            instance.origin,
            instance.location.size_bytes,
            instance.received_at,
        )

    def put_away(self, key: str, reason: str, uid: str, origin: Origin, at: float) -> None:
        """Take a filed blob out of the store, into quarantine as far as there is room."""
        with closing(self._blobs.open(key)) as file:
            size = file.size
        if self.has_room(size):
            self._take(key, reason, uid, origin, size, at)
        else:
            self._blobs.remove(key)

    def _take(
        self, key: str, reason: str, uid: str, origin: Origin, size_bytes: int, at: float
    ) -> None:
        kept = self._blobs.quarantine_sealed(key)
        self._index.quarantine(kept, reason, uid, origin, size_bytes, at)
        self._left -= size_bytes
