"""What looking after a data folder needs: the second copy, and only one at a time who does it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from filmroom.archive.errors import Unavailable
from filmroom.blobs.filesystem import FilesystemBlobs
from filmroom.blobs.spool import unavailable


class DataFolderInUse(Exception):
    """Another filmroom holds the data folder."""


def hold(folder: Path) -> int:
    """Keep a data folder to ourselves until the descriptor is closed, or we die.

    Raises DataFolderInUse, OSError.
    """
    fd = os.open(folder / "filmroom.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise DataFolderInUse(
            f"the data folder {folder} is in use by another filmroom; stop it first, or "
            "reach it over the network (filmroom send)"
        ) from error
    return fd


def open_copy(folder: Path) -> FilesystemBlobs | None:
    """The second copy in `folder`, laid out like the first; None while it is away.

    It is there when `folder`/store is: somebody makes that once, so that a disk that is not
    mounted is never taken for an empty copy. Raises Unavailable when we may not write there.
    """
    if not (folder / "store").is_dir():
        return None
    try:
        return FilesystemBlobs(folder)
    except OSError as error:
        raise unavailable(error) from error


def copy_opener(folder: Path | None) -> Callable[[], FilesystemBlobs | None] | None:
    """`open_copy` for a configured folder; None where none is configured."""
    return None if folder is None else partial(open_copy, folder)


@contextlib.contextmanager
def turn(folder: Path, *, waiting: bool = False) -> Iterator[bool]:
    """Whether it is our turn to look after the files in `folder`; others wait until we are done.

    waiting: for as long as it takes. A process that dies gives its turn back.
    """
    try:
        fd = os.open(folder / "scrub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise Unavailable("storage failed", detail=str(error)) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if waiting else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
