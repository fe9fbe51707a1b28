"""Files to import: in folders, ZIP archives and on media, found without trusting any of them.

Nothing from outside names a path that is opened: members of a ZIP are read as streams and
never unpacked; symbolic links inside a folder are not followed; a DICOMDIR's references
must lie below it. Reading is bounded: a member that unpacks to much more than it says, or
at an absurd ratio, ends there.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from filmroom.dicom import part10
from filmroom.dicom.elements import get_items, read_data_set
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.uids import TRANSFER_SYNTAXES

HEAD_BYTES = 4096  # enough to tell what a file is
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage
MAX_DICOMDIR_BYTES = 256 << 20
MAX_MEMBERS = 2_000_000
MAX_RATIO = 1000  # deflate's own limit is 1032; pixels of a real image are far below
RATIO_FREE_BYTES = 64 << 20  # below this size nobody is hurt by any ratio
_DIRECTORY_RECORDS, _REFERENCED_FILE_ID = 0x00041220, 0x00041500  # PS3.3 F.3.2.1, F.3.2.2
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # PS3.10 8.2 allows less; media have more
_DICOM_SUFFIXES = ("", ".dcm", ".dicom", ".dic", ".ima", ".img")


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """One file that may be an instance. `open` may raise OSError or BadFile."""

    name: str  # for people: the path, or archive.zip!member
    size_bytes: int
    open: Callable[[], AbstractContextManager[Readable]]


class BadFile(Exception):
    """It cannot be read; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was passed over, and why."""

    name: str
    why: str


Found = Candidate | Skipped


def find(path: Path) -> Iterator[Found]:
    """Everything at `path`: a file, a folder, a ZIP archive or a DICOMDIR."""
    if path.is_dir():
        yield from _in_folder(path)
    elif path.is_file():
        yield from _file(path)
    else:
        yield Skipped(str(path), "there is no such file or folder")


def is_dicom(head: bytes, name: str) -> bool:
    """Whether a file that begins like this is worth offering to the archive."""
    if head[128:132] == b"DICM":
        return True
    if Path(name).suffix.lower() not in _DICOM_SUFFIXES:
        return False
    try:  # files without a preamble are old, but there are some
        return part10.parse_meta(head).transfer_syntax_uid in TRANSFER_SYNTAXES
    except (NeedMore, Malformed):
        return False


# -- folders -----------------------------------------------------------------------------


def _in_folder(folder: Path) -> Iterator[Found]:
    troubles: list[OSError] = []
    for where, folders, names in os.walk(folder, onerror=troubles.append, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(where) / name
            if name.upper() == "DICOMDIR":
                continue  # what it refers to is found without it
            if path.is_symlink():
                yield Skipped(str(path), "a symbolic link")
                continue
            yield from _plain_or_zip(path)
    yield from (Skipped(str(trouble.filename), _reason(trouble)) for trouble in troubles)


def _file(path: Path) -> Iterator[Found]:
    if _is_dicomdir(path):
        yield from _in_dicomdir(path)
    else:
        yield from _plain_or_zip(path.resolve())


def _plain_or_zip(path: Path) -> Iterator[Found]:
    try:
        with _opened(path) as file:
            head = file.read(4)
            size = os.fstat(file.fileno()).st_size
    except (OSError, BadFile) as error:
        yield Skipped(str(path), _reason(error))
        return
    if head in (b"PK\x03\x04", b"PK\x05\x06"):
        yield from _in_zip(path)
    else:
        yield Candidate(str(path), size, lambda: _opened(path))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file for reading: no link, no device, no pipe that would hang us."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadFile("not a regular file")
        yield file


def _reason(error: Exception) -> str:
    return (error.strerror or "cannot be read") if isinstance(error, OSError) else str(error)


# -- ZIP ---------------------------------------------------------------------------------


def _in_zip(path: Path) -> Iterator[Found]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        yield Skipped(str(path), f"a ZIP archive that cannot be read ({error})")
        return
    with archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            yield Skipped(str(path), f"a ZIP archive of more than {MAX_MEMBERS} members")
            return
        for member in members:
            if member.is_dir() or member.filename.rpartition("/")[2].upper() == "DICOMDIR":
                continue
            name = f"{path}!{member.filename}"
            if member.flag_bits & 1:
                yield Skipped(name, "encrypted")
                continue
            yield Candidate(name, member.file_size, _member(archive, member))


def _member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Callable[[], AbstractContextManager[Readable]]:
    @contextmanager
    def opened() -> Iterator[Readable]:
        try:
            with archive.open(member) as stream:
                yield _Bounded(stream, member)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as error:
            raise BadFile(f"the ZIP member cannot be read ({error})") from None

    return opened


class _Bounded:
    """A member's stream that ends with BadFile when it is a bomb."""

    def __init__(self, stream: Readable, member: zipfile.ZipInfo) -> None:
        self._stream = stream
        allowed = max(member.compress_size * MAX_RATIO, RATIO_FREE_BYTES)
        self._left = min(allowed, member.file_size)

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        piece = self._stream.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise BadFile("the ZIP member unpacks to far more than it may")
        return piece


# -- media ---------------------------------------------------------------------------------


def _is_dicomdir(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR":
        return True
    try:
        with path.open("rb") as file:
            return part10.parse_meta(file.read(HEAD_BYTES)).sop_class_uid == DICOMDIR_CLASS
    except (OSError, Malformed, NeedMore):
        return False


def _in_dicomdir(path: Path) -> Iterator[Found]:
    try:
        references = _references(path)
    except (OSError, Malformed, NeedMore) as error:
        yield Skipped(str(path), f"a DICOMDIR that cannot be read ({_reason(error)})")
        return
    root = path.resolve().parent
    for components in references:
        name = "/".join(components)
        found = _below(root, components)
        if found is None:
            yield Skipped(f"{path}: {name}", "referenced, but not there")
        else:
            yield from _plain_or_zip(found)


def _references(path: Path) -> list[tuple[str, ...]]:
    """The file IDs of all directory records, in their order (PS3.3 F.3.2.2)."""
    size = path.stat().st_size
    if size > MAX_DICOMDIR_BYTES:
        raise Malformed("it is too large for a directory")
    whole = path.read_bytes()
    meta = part10.parse_meta(whole, complete=True)
    syntax = TRANSFER_SYNTAXES.get(meta.transfer_syntax_uid)
    if syntax is None or syntax.encapsulated or syntax.deflated:
        raise Malformed("its transfer syntax is not allowed for a directory")
    data_set = read_data_set(
        memoryview(whole)[meta.data_set_offset :],
        explicit_vr=syntax.explicit_vr,
        little_endian=syntax.little_endian,
    )
    found: dict[tuple[str, ...], None] = {}
    for record in get_items(data_set, _DIRECTORY_RECORDS):
        element = record.get(_REFERENCED_FILE_ID)
        if element is not None and element.raw:
            text = element.raw.decode("ascii", "replace")
            found[tuple(part.strip(" \0") for part in text.split("\\"))] = None
    return list(found)


def _below(root: Path, components: tuple[str, ...]) -> Path | None:
    """The file of that ID under `root`, in whatever case the medium spells it."""
    at = root
    for component in components:
        if not _COMPONENT.fullmatch(component) or component.strip(".") == "":
            return None
        exact = at / component
        if not exact.exists():
            try:
                names = os.listdir(at)
            except OSError:
                return None
            wanted = component.casefold()
            same = [n for n in names if n.casefold().partition(";")[0].rstrip(".") == wanted]
            if not same:
                return None
            exact = at / same[0]
        if exact.is_symlink():
            return None
        at = exact
    return at if at.is_file() else None
