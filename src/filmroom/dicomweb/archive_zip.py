"""A ZIP of instances, made while it is sent: stored, ZIP64, no end to it (PS3.18 10.4).

Each entry's length and checksum follow its bytes. What the directory at the end will say of
the entries grows with their number, so it waits in a file once it is long.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing

from filmroom.archive.records import Handle
from filmroom.archive.stores import Staged
from filmroom.dicomweb.answers import Chunk

DIRECTORY_BYTES = 1 << 20  # of the directory kept in memory
PIECE_BYTES = 1 << 20

_VERSION = 45  # ZIP64 (APPNOTE 4.4.3.2)
_FLAGS = 0x0808  # lengths follow the bytes; names are UTF-8 (4.4.4)
_DATE, _TIME = 0x21, 0  # 1980-01-01: the same content makes the same archive
_LONG = 0xFFFFFFFF  # look into the ZIP64 field
_LOCAL = struct.Struct("<4s5H3I2H")  # 4.3.7
_LOCAL_EXTRA = struct.Struct("<HHQQ")  # 4.5.3
_DESCRIPTOR = struct.Struct("<4sIQQ")  # 4.3.9
_CENTRAL = struct.Struct("<4s6H3I5H2I")  # 4.3.12
_CENTRAL_EXTRA = struct.Struct("<HHQQQ")
_END64 = struct.Struct("<4sQ2H2I4Q")  # 4.3.14
_LOCATOR = struct.Struct("<4sIQI")  # 4.3.15
_END = struct.Struct("<4s4H2IH")  # 4.3.16


def entry_name(handle: Handle) -> str:
    """Where an instance lies in the archive; made of checked UIDs only."""
    series, instance = handle.series_instance_uid, handle.sop_instance_uid
    return f"{handle.study_instance_uid}/{series}/{instance}.dcm"


async def zip_chunks(
    entries: AsyncGenerator[tuple[str, AsyncIterator[Chunk]], None], stage: Callable[[], Staged]
) -> AsyncIterator[Chunk]:
    """The bytes of a ZIP archive of these (name, content) entries.

    stage: gives room for a long directory.
    """
    directory = _Directory(stage)
    at = 0
    try:
        async with aclosing(entries):
            async for name, content in entries:
                path = name.encode()
                yield _local(path)
                checksum = size = 0
                async for chunk in content:
                    checksum = zlib.crc32(chunk, checksum)
                    size += len(chunk)
                    yield chunk
                yield _DESCRIPTOR.pack(b"PK\7\x08", checksum, size, size)
                directory.add(_central(path, checksum, size, at))
                at += _LOCAL.size + len(path) + _LOCAL_EXTRA.size + size + _DESCRIPTOR.size
        for piece in directory.pieces():
            yield piece
        yield _end(directory.entries, directory.size_bytes, at)
    finally:
        directory.close()


class _Directory:
    """Describes the entries, at the end of the archive."""

    def __init__(self, stage: Callable[[], Staged]) -> None:
        self._stage = stage
        self._last = bytearray()
        self._file: Staged | None = None
        self.entries = 0
        self.size_bytes = 0

    def add(self, entry: bytes) -> None:
        self._last += entry
        self.entries += 1
        self.size_bytes += len(entry)
        if len(self._last) > DIRECTORY_BYTES:
            self._file = self._file or self._stage()
            self._file.write(bytes(self._last))
            self._last.clear()

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        if self._file is not None:
            for at in range(0, self._file.size, PIECE_BYTES):
                yield self._file.read(at, PIECE_BYTES)
        yield bytes(self._last)

    def close(self) -> None:
        if self._file is not None:
            self._file.discard()


def _local(path: bytes) -> bytes:
    """What precedes an entry's bytes."""
    extra = _LOCAL_EXTRA.pack(1, 16, 0, 0)
    fixed = _LOCAL.pack(
        b"PK\3\4", _VERSION, _FLAGS, 0, _TIME, _DATE, 0, _LONG, _LONG, len(path), len(extra)
    )
    return fixed + path + extra


def _central(path: bytes, checksum: int, size: int, at: int) -> bytes:
    """What the directory says of an entry that begins at `at`."""
    extra = _CENTRAL_EXTRA.pack(1, 24, size, size, at)
    versions = (_VERSION | 3 << 8, _VERSION)  # made on a Unix, as its permissions are
    fixed = _CENTRAL.pack(
        *(b"PK\1\2", *versions, _FLAGS, 0, _TIME, _DATE, checksum, _LONG, _LONG),
        *(len(path), len(extra), 0, 0, 0, 0o600 << 16, _LONG),
    )
    return fixed + path + extra


def _end(entries: int, directory_bytes: int, at: int) -> bytes:
    """What ends the archive, whose directory begins at `at`."""
    counts = (entries, entries, directory_bytes, at)
    end64 = _END64.pack(b"PK\6\6", _END64.size - 12, _VERSION, _VERSION, 0, 0, *counts)
    locator = _LOCATOR.pack(b"PK\6\7", 0, at + directory_bytes, 1)
    return end64 + locator + _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, _LONG, _LONG, 0)
