"""What `filmroom send` sends: files, folders and ZIP archives -> instances, read as they go.

Nothing is unpacked to disk and nothing is held in memory beyond a header: an entry of a
ZIP is decompressed while it is on the wire. Links out of a folder are not followed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.scan import scan
from filmroom.dicom.uids import MEDIA_STORAGE_DIRECTORY, is_valid_uid

HEAD_BYTES = 256 * 1024
SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One instance to send, and where its data set lies."""

    path: Path
    entry: str  # inside the ZIP archive; "" for a plain file
    size: int  # of the data set, in bytes
    data_set_offset: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def name(self) -> str:
        """For messages: the path, and the entry behind a colon."""
        return f"{self.path}:{self.entry}" if self.entry else str(self.path)

    def open(self) -> StreamSource:
        """The data set, to be read once; OSError or BadZipFile when it is gone."""
        if not self.entry:
            file = self.path.open("rb")
            file.seek(self.data_set_offset)
            return StreamSource(file, self.size)
        archive = zipfile.ZipFile(self.path)
        try:
            member = archive.open(self.entry)
            member.read(self.data_set_offset)
        except BaseException:
            archive.close()
            raise
        return StreamSource(member, self.size, archive)


class StreamSource:
    """A data set read from a stream (dimse.exchange.Source)."""

    def __init__(
        self, stream: IO[bytes], size: int, archive: zipfile.ZipFile | None = None
    ) -> None:
        self.size = size
        self._stream = stream
        self._archive = archive

    async def ready(self, length: int) -> None:
        """A local file never keeps anybody waiting for long."""

    def read(self, length: int) -> bytes:
        """The next bytes, at most `length`."""
        return self._stream.read(length)

    def close(self) -> None:
        """Give the file back."""
        self._stream.close()
        if self._archive is not None:
            self._archive.close()


@dataclass(frozen=True, slots=True)
class NotSent:
    """Something found on the way that is no instance, and why."""

    name: str
    reason: str


def find_outgoing(paths: Iterable[Path]) -> Iterator[Outgoing | NotSent]:
    """All instances under `paths`, in a stable order."""
    for path in paths:
        if path.is_dir():
            for inner in sorted(path.rglob("*")):
                if inner.is_file() and not inner.is_symlink():
                    yield from _from_file(inner)
        else:
            yield from _from_file(path)


def _from_file(path: Path) -> Iterator[Outgoing | NotSent]:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
            yield from _from_zip(path)
        else:
            yield _described(path, "", head, path.stat().st_size)
    except OSError as error:
        yield NotSent(str(path), error.strerror or str(error))


def _from_zip(path: Path) -> Iterator[Outgoing | NotSent]:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in sorted(archive.infolist(), key=lambda each: each.filename):
                if entry.is_dir():
                    continue
                with archive.open(entry) as member:
                    head = member.read(HEAD_BYTES)
                yield _described(path, entry.filename, head, entry.file_size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        yield NotSent(str(path), f"not a readable ZIP archive: {error}")


def _described(path: Path, entry: str, head: bytes, size: int) -> Outgoing | NotSent:
    name = f"{path}:{entry}" if entry else str(path)
    try:
        meta = part10.parse_meta(head, complete=len(head) == size)
        sop_class_uid, sop_instance_uid = _identity(head, meta, complete=len(head) == size)
    except (Malformed, NeedMore) as error:
        return NotSent(name, f"not a DICOM file: {error}")
    if sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        return NotSent(name, "a DICOMDIR, which is not sent")
    if not is_valid_uid(sop_class_uid) or not is_valid_uid(sop_instance_uid):
        return NotSent(name, "SOP Class UID or SOP Instance UID is missing or not a UID")
    return Outgoing(
        path,
        entry,
        size - meta.data_set_offset,
        meta.data_set_offset,
        sop_class_uid,
        sop_instance_uid,
        meta.transfer_syntax_uid,
    )


def _identity(head: bytes, meta: part10.FileMeta, *, complete: bool) -> tuple[str, str]:
    """SOP Class and Instance UID by the data set, which a peer compares with what we announce.

    The meta header speaks only where the data set cannot: many are out of date.
    """
    by_meta = meta.sop_class_uid, meta.sop_instance_uid
    try:
        data_set = head[meta.data_set_offset :]
        found = scan(data_set, meta.transfer_syntax_uid, complete=complete).values
    except (Malformed, NeedMore):
        if all(by_meta):
            return by_meta
        raise
    by_data_set = (_uid(found.get(tag, b"")) for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID))
    sop_class_uid, sop_instance_uid = (a or b for a, b in zip(by_data_set, by_meta, strict=True))
    return sop_class_uid, sop_instance_uid


def _uid(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")
