"""A disk whose power can be cut: a volatile write cache that a flush, and nothing else, empties.

`PowercutDisk` is an ext4 on a loop device on a file that a program of ours serves through
/dev/fuse. What the kernel writes stays in the cache until it asks for a flush. `cut` drops a
random part of the cache, sector by sector and in any order, as a real disk would, and answers
nothing more; `restore` brings the power back. Linux, root, and a kernel with fuse, loop and ext4;
no library: the protocol is that of <linux/fuse.h>, version 7.31.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECTOR = 512
FLUSH_SECONDS = 0.002
FILE = "disk"


# -- the program: one file in a file system of its own -----------------------------------------
class Cache:
    """The medium and what was written to it since the last flush."""

    def __init__(self, size: int) -> None:
        self.now = bytearray(size)  # what the machine sees
        self.stable = bytearray(size)  # what is there after a power cut
        self.pending: list[tuple[int, bytes]] = []

    def write(self, offset: int, data: bytes) -> None:
        self.now[offset : offset + len(data)] = data
        self.pending.append((offset, data))

    def flush(self) -> None:
        for offset, data in self.pending:
            self.stable[offset : offset + len(data)] = data
        self.pending.clear()

    def cut(self, seed: int) -> tuple[int, int]:
        """Lose a random part of what was not flushed; (sectors pending, sectors kept)."""
        chance = random.Random(seed)
        share = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        sectors = kept = 0
        for offset, data in self.pending:
            for at in range(0, len(data), SECTOR):
                sectors += 1
                if chance.random() < share:
                    kept += 1
                    self.stable[offset + at : offset + at + SECTOR] = data[at : at + SECTOR]
        self.pending.clear()
        self.now[:] = self.stable
        return sectors, kept


class Served:
    """The kernel's requests for one file of fixed size, answered one after the other."""

    MAX_WRITE = 1 << 20
    DIRECTORY, INODE = 1, 2

    def __init__(self, fuse: int, cache: Cache) -> None:
        self._fuse = fuse
        self._cache = cache
        self.has_power = True
        self._answers = {
            1: self._lookup,
            3: lambda node, body: struct.pack("<QII", 60, 0, 0) + self._attributes(node),
            4: lambda node, body: struct.pack("<QII", 60, 0, 0) + self._attributes(node),
            14: lambda node, body: struct.pack("<QIi", 1, 1, 0),  # open: FOPEN_DIRECT_IO
            15: self._read,
            16: self._write,
            17: lambda node, body: struct.pack("<5Q4I24x", 0, 0, 0, 9, 9, 4096, 255, 4096, 0),
            18: lambda node, body: b"",  # release
            20: self._fsync,
            25: lambda node, body: b"",  # flush: a descriptor was closed
            26: self._init,
            27: lambda node, body: struct.pack("<QIi", 0, 0, 0),  # opendir
            29: lambda node, body: b"",  # releasedir
        }

    def request(self) -> bool:
        """Answer one; False when the file system was unmounted."""
        try:
            message = os.read(self._fuse, self.MAX_WRITE + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            if error.errno in (errno.EINTR, errno.ENOENT):
                return True
            raise
        _, operation, unique, node = struct.unpack_from("<IIQQ", message)
        if operation in (2, 36, 42):  # forget, interrupt: nobody waits for an answer
            return True
        answer = self._answers.get(operation)
        if answer is None:
            failure, body = errno.ENOSYS, b""
        else:
            try:
                failure, body = 0, answer(node, message[40:])
            except OSError as error:
                failure, body = error.errno or errno.EIO, b""
        head = struct.pack("<IiQ", 16 + len(body), -failure, unique)
        with contextlib.suppress(FileNotFoundError):  # who asked was killed meanwhile
            os.writev(self._fuse, [head, body])
        return True

    def _init(self, node: int, body: bytes) -> bytes:
        big_writes, max_pages = 1 << 5, 1 << 22
        flags = struct.unpack_from("<4I", body)[3] & (big_writes | max_pages)
        pages = self.MAX_WRITE // 4096
        return struct.pack(
            "<4I2H2I2H8I", 7, 31, 0, flags, 16, 12, self.MAX_WRITE, 1, pages, 0, *[0] * 8
        )

    def _lookup(self, node: int, body: bytes) -> bytes:
        if node != self.DIRECTORY or body.rstrip(b"\0") != FILE.encode():
            raise OSError(errno.ENOENT, "no such file")
        return struct.pack("<4Q2I", self.INODE, 0, 60, 60, 0, 0) + self._attributes(self.INODE)

    def _attributes(self, node: int) -> bytes:
        size, mode = (0, 0o40755) if node == self.DIRECTORY else (len(self._cache.now), 0o100600)
        return struct.pack(
            "<6Q10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )

    def _powered(self) -> Cache:
        if not self.has_power:
            raise OSError(errno.EIO, "no power")
        return self._cache

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        return bytes(self._powered().now[offset : offset + size])

    def _write(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        self._powered().write(offset, body[40 : 40 + size])
        return struct.pack("<II", size, 0)

    def _fsync(self, node: int, body: bytes) -> bytes:
        """It takes as long as a disk's, and the power may go in the middle of it."""
        cache = self._powered()
        if select.select([sys.stdin], [], [], FLUSH_SECONDS)[0]:
            raise OSError(errno.EIO, "the power went")
        cache.flush()
        return b""


def serve(place: str, mebibytes: int) -> None:
    """Mount at `place` and serve; obeys "cut SEED" and "on", a line each, until input ends."""
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"powercut", place.encode(), b"fuse", ctypes.c_ulong(0), options):
        raise OSError(ctypes.get_errno(), f"mount: {os.strerror(ctypes.get_errno())}")
    cache = Cache(mebibytes << 20)
    served = Served(fuse, cache)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([fuse, sys.stdin], [], [])
        if sys.stdin in ready:  # first: what is asked of the disk after this comes too late
            word, _, seed = os.read(sys.stdin.fileno(), 100).decode().partition(" ")
            if not word:
                return
            served.has_power = word.strip() == "on"
            print(*(cache.cut(int(seed)) if word == "cut" else ("on",)), flush=True)
        elif not served.request():
            return


# -- for tests ----------------------------------------------------------------------------------
class NotHere(Exception):
    """This machine has no such disk."""


class PowercutDisk:
    """A file system at `place` on a disk of its own. Use as a context manager."""

    def __init__(self, place: Path, mebibytes: int = 512) -> None:
        self.place = place
        self._served = place.with_name(f"{place.name}-disk")
        self._mebibytes = mebibytes
        self._program: subprocess.Popen[str] | None = None
        self._loop = ""

    def __enter__(self) -> PowercutDisk:
        """Raises NotHere, saying what is missing."""
        if os.geteuid() != 0:
            raise NotHere("only root can mount a disk")
        for needed in ("/dev/fuse", "/dev/loop-control"):
            if not os.path.exists(needed):
                raise NotHere(f"there is no {needed}")
        for program in ("losetup", "mkfs.ext4", "mount"):
            if shutil.which(program) is None:
                raise NotHere(f"{program} is not installed")
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self._served.mkdir(exist_ok=True)
        self._program = subprocess.Popen(
            [sys.executable, __file__, str(self._served), str(self._mebibytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._program.stdout is not None
        assert self._program.stderr is not None
        if self._program.stdout.readline() != "ready\n":
            raise NotHere(self._program.stderr.read()[-500:])
        self._attach()
        options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
        _run("mkfs.ext4", "-q", "-E", options, self._loop)
        self._mount()

    def _attach(self) -> None:
        self._loop = _run("losetup", "--find", "--show", str(self._served / FILE)).strip()

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", self._loop, str(self.place))

    def cut(self, seed: int) -> tuple[int, int]:
        """The power is gone; (sectors not flushed, those of them that reached the disk)."""
        sectors, kept = self._tell(f"cut {seed}").split()
        return int(sectors), int(kept)

    def restore(self) -> None:
        """Bring it back, as after a reboot: nothing the kernel remembered is left."""
        self._detach()
        assert self._tell("on") == "on"
        self._attach()
        self._mount()

    def _tell(self, line: str) -> str:
        assert self._program is not None
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(line)
        self._program.stdin.flush()
        return self._program.stdout.readline().strip()

    def _detach(self) -> None:
        if os.path.ismount(self.place):
            _patiently("umount", str(self.place))
        if self._loop:
            _run("losetup", "--detach", self._loop)
            self._loop = ""

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(NotHere):
            self._detach()
        if os.path.ismount(self._served):
            subprocess.run(["umount", "-l", str(self._served)], check=False)
        if self._program is not None:
            self._program.kill()
            self._program.communicate()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _patiently(*command: str) -> None:
    """A killed process lets go of its files a moment after it is gone."""
    for _ in range(50):
        try:
            _run(*command)
        except NotHere:
            time.sleep(0.1)
        else:
            return
    _run(*command)


@contextlib.contextmanager
def powercut_disk(place: Path, *, demanded: bool) -> Iterator[PowercutDisk]:
    """A PowercutDisk; where the machine has none, a skip, or a failure when it was demanded."""
    disk = PowercutDisk(place)
    try:
        disk.__enter__()
    except NotHere as reason:
        message = f"no disk whose power can be cut: {reason}"
        pytest.fail(message) if demanded else pytest.skip(message)
    try:
        yield disk
    finally:
        disk.__exit__()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
