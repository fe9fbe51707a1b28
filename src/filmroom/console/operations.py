"""For whoever runs the node: quarantine, statistics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from filmroom.archive.archive import Archive
from filmroom.archive.errors import NotHeld
from filmroom.archive.records import Quarantined, Stored
from filmroom.archive.stores import Blob
from filmroom.console.answers import answer, nothing

_KEY = re.compile(r"[0-9a-f]{32}\.dcm")
_PIECE = 1 << 20


class Quarantine:
    """What was received but not filed: rows in the index, and their files."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def all(self, limit: int) -> list[Quarantined]:
        """Newest first. Blocks."""
        return self._archive.index.quarantined(limit)

    def find(self, id: int) -> Quarantined:
        """One entry; NotHeld. Blocks."""
        found = self._archive.index.quarantined_by_id(id)
        if found is None or not _KEY.fullmatch(found.key):
            raise NotHeld("there is no such entry in the quarantine")
        return found

    def open(self, id: int) -> tuple[Quarantined, Blob]:
        """One entry and its file; NotHeld. Blocks."""
        found = self.find(id)
        return found, self._archive.blobs.open_quarantined(found.key)

    def drop(self, id: int) -> None:
        """Delete an entry and its file. Blocks."""
        found = self.find(id)
        self._archive.blobs.remove_quarantined(found.key)
        self._archive.index.forget_quarantined(found.id)

    async def retry(self, id: int) -> Stored:
        """Offer the file to the archive again; what goes wrong is raised, the entry stays."""
        found, file = await asyncio.to_thread(self.open, id)
        intake = self._archive.ingest.open_file(found.origin, is_kept_already=True)
        try:
            async for piece in _pieces(file):
                intake.write(piece)
            stored = await intake.commit()
        except BaseException:
            intake.abandon()
            raise
        await asyncio.to_thread(self.drop, id)
        return stored


async def _pieces(file: Blob) -> AsyncIterator[bytes]:
    """All of an open file, which is closed at the end."""
    with closing(file):
        for at in range(0, file.size, _PIECE):
            yield await asyncio.to_thread(file.read, at, _PIECE)


def routes(archive: Archive) -> list[BaseRoute]:
    """The routes under /api/quarantine, /api/statistics."""
    kept = Quarantine(archive)

    async def list_quarantine(request: Request) -> Response:
        """What was received but not filed, newest first."""
        rows = await asyncio.to_thread(kept.all, 1000)
        return answer([_quarantined(row) for row in rows])

    async def download(request: Request) -> Response:
        """A quarantined file, as an attachment."""
        found, file = await asyncio.to_thread(kept.open, _id(request))
        return StreamingResponse(
            _pieces(file),
            media_type="application/octet-stream",  # whatever it is, no browser shall show it
            headers={
                "Cache-Control": "no-store",
                "Content-Length": str(file.size),
                "Content-Disposition": f'attachment; filename="quarantined-{found.id}.dcm"',
            },
        )

    async def drop(request: Request) -> Response:
        """Delete a quarantined file."""
        await asyncio.to_thread(kept.drop, _id(request))
        return nothing()

    async def retry(request: Request) -> Response:
        """Offer a quarantined file to the archive again."""
        stored = await kept.retry(_id(request))
        return answer({**asdict(stored), "outcome": stored.outcome.value})

    async def statistics(request: Request) -> Response:
        """What the archive holds, and how much room there is."""
        held = await asyncio.to_thread(archive.index.statistics)
        free = await asyncio.to_thread(archive.blobs.free_bytes)
        return answer({**asdict(held), "free_bytes": free})

    return [
        Route("/api/quarantine", list_quarantine, methods=["GET"]),
        Route("/api/quarantine/{id}", drop, methods=["DELETE"]),
        Route("/api/quarantine/{id}/file", download, methods=["GET"]),
        Route("/api/quarantine/{id}/retry", retry, methods=["POST"]),
        Route("/api/statistics", statistics, methods=["GET"]),
    ]


def _id(request: Request) -> int:
    text = str(request.path_params["id"])
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise NotHeld("there is no such entry in the quarantine")
    return int(text)


def _quarantined(row: Quarantined) -> dict[str, Any]:
    return {
        "id": row.id,
        "reason": row.reason,
        "sop_instance_uid": row.sop_instance_uid,
        "size_bytes": row.size_bytes,
        "received_at": row.received_at,
        "origin": asdict(row.origin),
    }
