"""The remote application entities: those of the settings, and those added here."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from filmroom.archive.peers import RIGHTS, PeerBook, a_peer
from filmroom.archive.records import Peer
from filmroom.console.answers import answer, body, nothing


@dataclass(frozen=True, slots=True)
class NewPeer:
    """Body of a new peer, or of what a peer is from now on."""

    ae_title: str
    host: str
    port: int
    may: list | None = None  # type: ignore[type-arg]
    tls: bool = False
    forward: bool = False


def routes(book: PeerBook) -> list[BaseRoute]:
    """The routes under /api/peers."""

    async def list_peers(request: Request) -> Response:
        """The known remote application entities."""
        return answer([_told(book, peer) for peer in book.peers()])

    async def put_peer(request: Request) -> Response:
        """Add a remote application entity, or change one that was added."""
        given = await body(request, NewPeer)
        rights = RIGHTS if given.may is None else tuple(map(str, given.may))
        peer = a_peer(
            given.ae_title,
            given.host,
            given.port,
            rights,
            tls=given.tls,
            forward=given.forward,
        )
        await asyncio.to_thread(book.add, peer)
        return answer(_told(book, peer), 201)

    async def remove_peer(request: Request) -> Response:
        """Forget one that was added."""
        await asyncio.to_thread(book.remove, request.path_params["ae_title"])
        return nothing()

    return [
        Route("/api/peers", list_peers, methods=["GET"]),
        Route("/api/peers", put_peer, methods=["POST"]),
        # An AE title may hold a slash.
        Route("/api/peers/{ae_title:path}", remove_peer, methods=["DELETE"]),
    ]


def _told(book: PeerBook, peer: Peer) -> dict[str, Any]:
    rights = sorted(str(right) for right in peer.may)
    return {**asdict(peer), "may": rights, "in_settings": book.is_fixed(peer.ae_title)}
