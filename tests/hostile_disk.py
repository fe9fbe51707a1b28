"""Disks that are full, and disks that lie: a small tmpfs, and fsync that fails on demand."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FAULT_VARIABLE = "FAULT_FILE"
_LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is to become of the sync of a file whose path holds what the fault file says after its
   first letter: F it fails, S it is skipped and called a success. */
static char fate_of(int fd) {
    char wanted[256] = "", link[64], path[4096];
    const char *name = getenv("FAULT_FILE");
    int fault = name ? open(name, O_RDONLY) : -1;
    if (fault < 0) return 0;
    ssize_t got = read(fault, wanted, sizeof wanted - 1);
    close(fault);
    if (got <= 1) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, wanted + 1) ? wanted[0] : 0;
}

static int synced(int fd, const char *call) {
    switch (fate_of(fd)) {
        case 'F': errno = EIO; return -1;
        case 'S': return 0;
        default: return ((int (*)(int))dlsym(RTLD_NEXT, call))(fd);
    }
}

int fsync(int fd) { return synced(fd, "fsync"); }

int fdatasync(int fd) { return synced(fd, "fdatasync"); }

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned flags) {
    int (*real)(int, off64_t, off64_t, unsigned) = dlsym(RTLD_NEXT, "sync_file_range");
    return fate_of(fd) == 'S' ? 0 : real(fd, offset, count, flags);
}
"""


@contextlib.contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size at `place`; skips where this user may not mount one."""
    place.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def enlarge(place: Path, mebibytes: int) -> None:
    """Give a small disk more room, while it is in use."""
    options = f"remount,size={mebibytes}m"
    subprocess.run(["mount", "-o", options, str(place)], check=True)


class Fault:
    """A library to preload; `fail` makes syncs fail, `skip` makes them lie, `heal` ends it."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler is here to make the fault with")
        self._file = folder / "fault"
        source, library = folder / "fault.c", folder / "fault.so"
        source.write_text(_LIBRARY)
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True, timeout=60)
        self.environment = {"LD_PRELOAD": str(library), FAULT_VARIABLE: str(self._file)}

    def fail(self, path: str) -> None:
        """Syncs of files with this in their path fail from now on."""
        self._file.write_text(f"F{path}")

    def skip(self, path: str) -> None:
        """Syncs of files with this in their path do nothing and say that it was done."""
        self._file.write_text(f"S{path}")

    def heal(self) -> None:
        """They work again."""
        self._file.unlink(missing_ok=True)
