"""What filmroom has put away, looked at past it: files in a folder, or objects in a bucket."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import obstore

from filmroom.blobs.objects import open_store
from filmroom.config.settings import store_of

_ATTEMPT = re.compile(r"_[0-9a-f]{8}")  # keeps apart what several nodes receive at once


class Folder:
    """A folder in which filmroom keeps files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, below: str) -> list[str]:
        paths = (self.root / below).rglob("*")
        return sorted(str(path.relative_to(self.root)) for path in paths if path.is_file())

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """A file that is there keeps its time: a rotten one would, too."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        status = path.stat() if path.exists() else None
        path.write_bytes(content)
        if status is not None:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def remove(self, name: str) -> None:
        (self.root / name).unlink()


class Bucket:
    """A place in an object store in which filmroom keeps objects."""

    def __init__(self, url: str, access_key: str, secret_key: str) -> None:
        place, options = store_of(url)
        self._store = open_store(place, options, access_key=access_key, secret_key=secret_key)

    def names(self, below: str) -> list[str]:
        pages = obstore.list(self._store, below)
        return sorted(entry["path"] for page in pages for entry in page)

    def read(self, name: str) -> bytes:
        return bytes(obstore.get(self._store, name).bytes())

    def write(self, name: str, content: bytes) -> None:
        obstore.put(self._store, name, content)

    def remove(self, name: str) -> None:
        obstore.delete(self._store, name)


@dataclass(frozen=True)
class Stored:
    """One file, or one object."""

    place: Folder | Bucket
    name: str  # "store/YYYY/MM/DD/..."

    @property
    def key(self) -> str:
        """What filmroom calls it."""
        return self.name.partition("/")[2]

    @property
    def stem(self) -> str:
        """Its SOP Instance UID, and what keeps other bytes under that apart."""
        return _ATTEMPT.sub("", PurePosixPath(self.name).stem)

    @property
    def path(self) -> Path | None:
        """Where it is a file."""
        return self.place.root / self.name if isinstance(self.place, Folder) else None

    def read_bytes(self) -> bytes:
        return self.place.read(self.name)

    def open(self) -> io.BytesIO:
        """For who wants to be given a file."""
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, content: bytes) -> None:
        """Other bytes in the same place, past filmroom."""
        self.place.write(self.name, content)

    def unlink(self) -> None:
        """Lose it."""
        self.place.remove(self.name)

    def beside(self, name: str) -> Stored:
        """Another one in the same folder."""
        return Stored(self.place, str(PurePosixPath(self.name).with_name(name)))


def place_of(settings: Mapping[str, str], data: Path) -> Folder | Bucket:
    """Where a filmroom with this environment and data folder keeps its blobs."""
    url = settings.get("FILMROOM__BLOBS__URL", "")
    if not url or url.startswith("file://"):
        return Folder(Path(url.removeprefix("file://") or data))
    keys = (settings[f"FILMROOM__BLOBS__{name}_KEY"] for name in ("ACCESS", "SECRET"))
    return Bucket(url, *keys)


def all_in(place: Folder | Bucket, below: str = "store") -> list[Stored]:
    """Everything there, in the order of its name."""
    with contextlib.suppress(FileNotFoundError):
        return [Stored(place, name) for name in place.names(below)]
    return []
