"""A new file in the place of an old one of the same content, and the old one gone in time.

The key of the new file is written down before the file has it, and that of the old one with the
row that leaves it: whatever a crash leaves is removed when its time is up. Until then readers
of the old file, here and on other nodes, read on.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import closing, suppress
from dataclasses import replace

from filmroom.archive.errors import ArchiveError, NotHeld, Unavailable
from filmroom.archive.records import Handle
from filmroom.archive.shrinking import LATER_SECONDS, Spare
from filmroom.archive.smaller import Made
from filmroom.archive.soundness import is_passing
from filmroom.archive.stores import Blobs, Index

log = logging.getLogger(__name__)

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
            self._drop(handle, key)
        return done

    def _drop(self, handle: Handle, key: str) -> None:
        """Remove a file that has not come to be held; if that fails it goes by and by."""
        held = self._index.instance(handle.sop_instance_uid)
        if held is None or held.damage or held.location.key == key:
            return
        with suppress(ArchiveError):
            self._blobs.remove(key)
            self._index.smaller.forget_spare(key)

    def tidy(self) -> int:
        """Remove the files whose time is up and in whose place others are; how many.

        One that cannot be removed, or whose instance has no whole file, has time until later.
        Raises Unavailable when the index or the store does not answer.
        """
        removed = 0
        while spares := self._index.smaller.claim_spares():
            for spare in spares:
                removed += self._remove(spare)
        return removed

    def _remove(self, spare: Spare) -> bool:
        try:
            if not self._is_there(spare):
                self._put_off(spare, "the file in its place is not there, or not whole")
                return False
            self._blobs.remove(spare.key)
        except ArchiveError as error:
            self._put_off(spare, f"{error.message} {error.detail}")
            if is_passing(error):  # all others would wait as long
                raise
            return False
        self._index.smaller.forget_spare(spare.key)
        return True

    def _put_off(self, spare: Spare, reason: str) -> None:
        extra = {"key": spare.key, "detail": reason}
        log.warning("a file that is not wanted any more stays for now", extra=extra)
        self._index.smaller.intend(spare.key, LATER_SECONDS)

    def _is_there(self, spare: Spare) -> bool:
        """Whether the other file is; the index may be older than the files, or they gone."""
        try:
            with closing(self._blobs.open(spare.held_key, anew=True)) as file:
                return file.size == spare.held_bytes
        except NotHeld:
            return False
