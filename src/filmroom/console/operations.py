"""For whoever runs the node: peers, quarantine, statistics."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from filmroom.archive.archive import Archive
from filmroom.archive.errors import NotHeld, Unavailable
from filmroom.archive.records import Peer, Quarantined, Stored
from filmroom.console.answers import answer, nothing

_KEY = re.compile(r"[0-9a-f]{32}\.dcm")
_PIECE = 1 << 20


class Quarantine:
    """What was received but not filed: rows in the index, files in one folder."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self._archive = archive
        self._folder = folder

    def all(self, limit: int) -> list[Quarantined]:
        """Newest first. Blocks."""
        return self._archive.index.quarantined(limit)

    def find(self, id: int) -> tuple[Quarantined, Path]:
        """One entry and its file; NotHeld. Blocks."""
        found = self._archive.index.quarantined_by_id(id)
        if found is None or not _KEY.fullmatch(found.key):
            raise NotHeld("there is no such entry in the quarantine")
        return found, self._folder / found.key

    def drop(self, id: int) -> None:
        """Delete an entry and its file. Blocks."""
        found, path = self.find(id)
        with suppress(FileNotFoundError):
            path.unlink()
        self._archive.index.forget_quarantined(found.id)

    async def retry(self, id: int) -> Stored:
        """Offer the file to the archive again; what goes wrong is raised, the entry stays."""
        found, path = await asyncio.to_thread(self.find, id)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise Unavailable("the quarantined file cannot be read", detail=str(error)) from None
        try:
            intake = self._archive.ingest.open_file(found.origin, is_kept_already=True)
            try:
                while piece := await asyncio.to_thread(os.read, fd, _PIECE):
                    intake.write(piece)
                stored = await intake.commit()
            except BaseException:
                intake.abandon()
                raise
        finally:
            os.close(fd)
        await asyncio.to_thread(self.drop, id)
        return stored


def routes(archive: Archive, peers: Sequence[Peer], quarantine: Path) -> list[BaseRoute]:
    """The routes under /api/peers, /api/quarantine, /api/statistics."""
    kept = Quarantine(archive, quarantine)

    async def list_peers(request: Request) -> Response:
        """The configured remote application entities."""
        return answer([_peer(peer) for peer in peers])

    async def list_quarantine(request: Request) -> Response:
        """What was received but not filed, newest first."""
        rows = await asyncio.to_thread(kept.all, 1000)
        return answer([_quarantined(row) for row in rows])

    async def download(request: Request) -> Response:
        """A quarantined file, as an attachment."""
        found, path = await asyncio.to_thread(kept.find, _id(request))
        if not await asyncio.to_thread(path.is_file):
            raise NotHeld("the quarantined file is gone")
        return FileResponse(
            path,
            media_type="application/octet-stream",  # whatever it is, no browser shall show it
            filename=f"quarantined-{found.id}.dcm",
            headers={"Cache-Control": "no-store"},
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
        Route("/api/peers", list_peers, methods=["GET"]),
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


def _peer(peer: Peer) -> dict[str, Any]:
    return {
        "ae_title": peer.ae_title,
        "host": peer.host,
        "port": peer.port,
        "tls": peer.tls,
        "may": sorted(str(right) for right in peer.may),
    }


def _quarantined(row: Quarantined) -> dict[str, Any]:
    return {
        "id": row.id,
        "reason": row.reason,
        "sop_instance_uid": row.sop_instance_uid,
        "size_bytes": row.size_bytes,
        "received_at": row.received_at,
        "origin": asdict(row.origin),
    }
