"""The SHA-256 of a data set, taken when it costs least.

A large one is taken as the bytes arrive. A small one is taken by the committer, while the
disk is already writing the same bytes: the sender then waits for the longer of the two and
not for their sum.
"""

from __future__ import annotations

import hashlib

from filmroom.archive.stores import Staged

LATE_BYTES = 1024 * 1024  # data sets up to this size wait for the committer
_PIECE_BYTES = 256 * 1024


class Digest:
    """Of the bytes of a staged file from `offset` on."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._taken = 0  # bytes of the data set

    def follow(self, staged: Staged, offset: int, data: bytes | memoryview) -> None:
        """`data` was just written: take it, unless all together is still little."""
        size = staged.size - offset
        if size <= LATE_BYTES:
            return
        self._catch_up(staged, offset, size - len(data))
        self._sha256.update(data)
        self._taken = size

    def finish(self, staged: Staged, offset: int) -> bytes:
        """The digest of all that was written."""
        self._catch_up(staged, offset, staged.size - offset)
        return self._sha256.digest()

    def _catch_up(self, staged: Staged, offset: int, size: int) -> None:
        while (left := size - self._taken) > 0:
            piece = staged.read(offset + self._taken, min(left, _PIECE_BYTES))
            self._sha256.update(piece)
            self._taken += len(piece)
