"""A ZIP of instances, made while it is sent: stored, ZIP64, no temporary file (PS3.18 10.4)."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Iterable

from filmroom.archive.records import Handle
from filmroom.dicomweb.answers import Chunk

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content makes the same archive


class _Sink:
    """Where zipfile writes; it cannot seek, so sizes follow each entry's data."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to give back."""

    def take(self) -> bytes:
        taken, self._written = b"".join(self._written), []
        return taken


def entry_name(handle: Handle) -> str:
    """Where an instance lies in the archive; made of checked UIDs only."""
    series, instance = handle.series_instance_uid, handle.sop_instance_uid
    return f"{handle.study_instance_uid}/{series}/{instance}.dcm"


async def zip_chunks(
    entries: Iterable[tuple[str, AsyncIterator[Chunk]]],
) -> AsyncIterator[bytes]:
    """The bytes of a ZIP archive of these (name, content) entries."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, EPOCH)
            with archive.open(entry, "w", force_zip64=True) as member:
                async for chunk in content:
                    member.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()
