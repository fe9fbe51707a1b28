"""The least that one durable CT costs here, whatever the archive is written in.

    .venv/bin/python bench/floor.py [--folder DIR] [--rounds 300]

Steps of one object after its last byte: SHA-256 while the disk already writes, file synced,
linked, folder synced, one row committed to SQLite with synchronous=FULL. Printed are medians
in milliseconds, alone and one after the other. Add what a sender needs for one object to a
receiver that only writes files (row `storescp` of compare.py): no archive that keeps filmroom's
promises on these steps can answer one association faster.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import apsw

OBJECT_BYTES = 526_000
ROW_BYTES = 3_000
PIECE_BYTES = 131_072
WRITE = 2  # SYNC_FILE_RANGE_WRITE


class Floor:
    """The steps, on one folder."""

    def __init__(self, folder: Path) -> None:
        self._tmp = folder / "tmp"
        self._day = folder / "day"
        self._tmp.mkdir()
        self._day.mkdir()
        self._tmp_fd = os.open(self._tmp, os.O_RDONLY)
        self._day_fd = os.open(self._day, os.O_RDONLY)
        self._object = os.urandom(OBJECT_BYTES)
        self._begin = ctypes.CDLL(None).sync_file_range
        self._begin.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        self._database = apsw.Connection(str(folder / "index.sqlite"))
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE row (id INTEGER PRIMARY KEY, content BLOB)",
        ):
            self._database.execute(statement).fetchall()

    def one(self, number: int) -> dict[str, float]:
        """Milliseconds of each step for one object."""
        fd = os.open(self._tmp, os.O_TMPFILE | os.O_RDWR, 0o640)
        for at in range(0, OBJECT_BYTES, PIECE_BYTES):
            os.write(fd, self._object[at : at + PIECE_BYTES])
        marks = [time.perf_counter()]
        self._begin(fd, 0, 0, WRITE)
        hashlib.sha256(self._object).digest()
        marks.append(time.perf_counter())
        os.fsync(fd)
        marks.append(time.perf_counter())
        name = str(self._day / f"{number}.dcm")
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=self._tmp_fd, follow_symlinks=True)
        os.fsync(self._day_fd)
        marks.append(time.perf_counter())
        row = (number, os.urandom(ROW_BYTES))
        self._database.execute("INSERT INTO row VALUES (?, ?)", row)
        marks.append(time.perf_counter())
        os.close(fd)
        names = ("SHA-256 while writing", "file synced", "linked, folder synced", "row committed")
        steps = dict(zip(names, (b - a for a, b in pairwise(marks)), strict=True))
        return {**steps, "all": marks[-1] - marks[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rounds", type=int, default=300)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="floor-", dir=arguments.folder))
    figures: dict[str, list[float]] = defaultdict(list)
    try:
        floor = Floor(folder)
        for number in range(arguments.rounds):
            for name, seconds in floor.one(number).items():
                figures[name].append(seconds * 1000)
    finally:
        shutil.rmtree(folder)
    for name, values in figures.items():
        print(f"{name:24} {statistics.median(values):6.2f} ms")


if __name__ == "__main__":
    main()
