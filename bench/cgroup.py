"""A memory cgroup of fixed size for everything that is measured, so that pages are used again.

A virtual machine often gives freed memory back to its host, and the first touch of a page
that has to be fetched again costs ten times a write. A machine that has run for days has its
memory full of page cache and uses its pages again; a bench that starts on a fresh one does
not, and its figures move by two within minutes, for every server. Inside a group that is
full, each new page is an old one.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
_BLOCK = 4 << 20


@dataclass
class MemoryGroup:
    """This process and all it starts, in a group of `size_bytes`."""

    folder: Path
    size_bytes: int
    _back: Path
    _filler: Path

    @classmethod
    def enter(cls, size_bytes: int, filler: Path) -> MemoryGroup | None:
        """Make a group and go into it; None, and a word why, where that is not possible.

        filler: a sparse file of that size is made there; it takes no room on the disk.
        """
        for root, limit in _roots():
            folder = root / f"filmroom-bench-{os.getpid()}"
            try:
                folder.mkdir()
                (folder / limit).write_text(str(size_bytes))
                with contextlib.suppress(OSError):
                    (folder / "memory.swap.max").write_text("0")
                back = root / _own_path(root)
                (folder / "cgroup.procs").write_text(str(os.getpid()))
            except OSError as error:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                print(f"no memory group below {root}: {error.strerror}")
                continue
            with filler.open("wb") as file:
                file.truncate(size_bytes)
            return cls(folder, size_bytes, back, filler)
        print("without a memory group of fixed size: figures will move more from run to run")
        return None

    def fill(self) -> None:
        """Touch as many pages as the group may have, all of them clean and soon used again."""
        buffer = bytearray(_BLOCK)
        with self._filler.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def leave(self) -> None:
        """Go back to where we came from; the group ends with its last process."""
        with contextlib.suppress(OSError):
            (self._back / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        self._filler.unlink(missing_ok=True)


def _roots() -> list[tuple[Path, str]]:
    """Where groups can be made, and the name of the file with the limit: version 1, then 2."""
    found: list[tuple[Path, str]] = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            found.insert(0, (Path(where), "memory.limit_in_bytes"))
        elif kind == "cgroup2":
            controllers = (Path(where) / "cgroup.controllers").read_text().split()
            if "memory" in controllers:
                found.append((Path(where), "memory.max"))
    return found


def _own_path(root: Path) -> str:
    """This process's group below that root."""
    is_2 = (root / "cgroup.controllers").exists()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if (number == "0" and is_2) or "memory" in controllers.split(","):
            return path.lstrip("/")
    return ""
