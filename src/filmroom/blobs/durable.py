"""Small files and folders that outlive a power cut."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path


def sync_folder(folder: str | Path) -> None:
    """Return when the entries of a folder are on disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_chain(folder: Path) -> None:
    """The same for a folder and those it lies in, as far up as we may look.

    A folder that was just made is an entry of another one, which does not come by itself.
    """
    sync_folder(folder)
    for parent in folder.resolve().parents:
        with contextlib.suppress(OSError):  # not ours to read, or on something without syncs
            sync_folder(parent)


def write_whole(path: Path, text: str) -> None:
    """Write a file such that there is the old content or the new one, whatever happens."""
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        os.write(fd, text.encode("utf-8"))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(new, path)
    sync_folder(path.parent)


def node_of(root: Path) -> str:
    """Four digits that are this data folder's own, as good as certainly. Raises OSError."""
    path = root / "node"
    try:
        known = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        known = ""
    if not re.fullmatch("[0-9a-f]{4}", known):
        known = secrets.token_hex(2)
        write_whole(path, f"{known}\n")
    return known
