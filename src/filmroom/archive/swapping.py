"""A new file in the place of an old one of the same content, and the old one gone in time.

The key of the new file is written down before the file has it, and that of the old one with the
row that leaves it: whatever a crash leaves is removed when its time is up. Until then readers
of the old file, here and on other nodes, read on.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from filmroom.archive.errors import ArchiveError, Unavailable
from filmroom.archive.records import Handle
from filmroom.archive.smaller import Made
from filmroom.archive.stores import Blobs, Index

INTENDED_SECONDS = 3600.0  # from a key's being written down to its row, at most


class Swapper:
    """Puts new files in the place of old ones. All methods block."""

    def __init__(self, index: Index, blobs: Blobs, spared_seconds: float) -> None:
        """spared_seconds: how long an old file stays for those who read it."""
        self._index = index
        self._blobs = blobs
        self._spared_seconds = spared_seconds

    def swap(self, handle: Handle, received_at: float, made: Made) -> bool:
        """False when `handle` is not what is held any more: then nothing has changed.

        Raises Unavailable. The staged file is used up.
        """
        try:
            return self._swap(handle, received_at, made)
        finally:
            made.staged.discard()

    def _swap(self, handle: Handle, received_at: float, made: Made) -> bool:
        key = self._blobs.key_for(
            received_at,
            handle.study_instance_uid,
            handle.series_instance_uid,
            handle.sop_instance_uid,
            secrets.token_hex(4),
        )
        smaller = self._index.smaller
        smaller.intend(key, INTENDED_SECONDS)
        failure = self._blobs.seal([(made.staged, key)])[0]
        if failure is not None:
            if isinstance(failure, ArchiveError):
                raise failure
            raise Unavailable("a key was taken", detail=key) from failure
        location = replace(made.location, key=key)
        done = smaller.swap(handle, location, made.frames, made.received, self._spared_seconds)
        if not done:
            smaller.intend(key, 0)
        return done

    def tidy(self) -> int:
        """Remove the files whose time is up; how many."""
        removed = 0
        while keys := self._index.smaller.claim_spares():
            for key in keys:
                self._blobs.remove(key)
                self._index.smaller.forget_spare(key)
            removed += len(keys)
        return removed
