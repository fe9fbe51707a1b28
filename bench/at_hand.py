"""Memory that is at hand when a server's turn begins, as on a machine that is one's own.

A virtual machine gives freed memory back to its host, and to touch a page that has to be
fetched again costs up to 10 us, ten times what is done with it then. Which pages those are is
chance, so that figures move by two within minutes, for every server. So the bench holds some
memory that was touched, lets go of it at the start of each turn, and takes it again after it:
the kernel gives out what was freed last.
"""

from __future__ import annotations

import mmap

GIB = 1 << 30


class AtHand:
    """Touched memory, held until `give`."""

    def __init__(self, size_bytes: int) -> None:
        """size_bytes: 0 for none."""
        self._size_bytes = size_bytes
        self._held: mmap.mmap | None = None
        self.take()

    def take(self) -> None:
        """Hold it, every page touched."""
        if self._size_bytes and self._held is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
            self._held = mmap.mmap(-1, self._size_bytes, flags=flags)

    def give(self) -> None:
        """Let go of it."""
        if self._held is not None:
            self._held.close()
            self._held = None
