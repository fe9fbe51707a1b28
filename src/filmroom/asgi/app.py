"""The one HTTP application: the door, the gate, and behind them the edges' routes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from filmroom import __version__
from filmroom.archive.errors import ArchiveError
from filmroom.archive.peers import PeerBook
from filmroom.archive.records import Peer
from filmroom.archive.stores import Clock
from filmroom.asgi import health
from filmroom.asgi.compress import Gzip
from filmroom.asgi.door import Door
from filmroom.asgi.gate import Gate, TooLarge, too_large
from filmroom.asgi.headers import SecurityHeaders
from filmroom.asgi.manual import FOLDERS, Manual
from filmroom.asgi.openapi import describe
from filmroom.asgi.pages import STATIC, Pages
from filmroom.asgi.zero_copy import ZeroCopy
from filmroom.console import compressing, jobs, operations, peers, people, session
from filmroom.console.answers import answer
from filmroom.http import of_archive, problem
from filmroom.security.passwords import Hasher
from filmroom.security.settings import HttpSettings, SecuritySettings
from filmroom.security.signin import SignIn

if TYPE_CHECKING:
    from filmroom.archive.archive import Archive
    from filmroom.pixel.pool import Pool

log = logging.getLogger(__name__)


class DimseNames(Protocol):
    """What people are told of the DICOM door."""

    @property
    def ae_titles(self) -> tuple[str, ...]: ...
    @property
    def port(self) -> int: ...


class Limits(Protocol):
    """What searches may cost."""

    @property
    def max_results(self) -> int: ...


class AppSettings(Protocol):
    """The sections this room reads; `config.Settings` has them."""

    @property
    def blobs_folder(self) -> Path: ...
    @property
    def http(self) -> HttpSettings: ...
    @property
    def security(self) -> SecuritySettings: ...
    @property
    def dimse(self) -> DimseNames: ...
    @property
    def query(self) -> Limits: ...
    @property
    def peer_records(self) -> tuple[Peer, ...]: ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()


class App:
    """The ASGI application, with the parts that its owner needs: sign-in and routes."""

    def __init__(self, outer: ASGIApp, sign_in: SignIn, routes: Sequence[BaseRoute]) -> None:
        self._outer = outer
        self.sign_in = sign_in
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("app", self)  # else Starlette's router says 404 and 405 in plain text
        await self._outer(scope, receive, send)


def create_app(
    archive: Archive,
    pool: Pool,
    settings: AppSettings,
    book: PeerBook | None = None,
    *,
    edges: Sequence[BaseRoute] | None = None,
    dimse_port: int | None = None,
    ready: health.Ready = lambda: "",
    clock: Clock | None = None,
    hasher: Hasher | None = None,
    static: Path = STATIC,
) -> App:
    """Put the application together.

    book: the peers of this moment. edges: the DICOMweb routes; None for the real ones.
    dimse_port: the port in use, when it is not the configured one. ready: "" or why this
    node should get no requests now.
    """
    clock = clock or SystemClock()
    sign_in = SignIn(archive.index, clock, settings.security, settings.http, hasher)
    titles = settings.dimse.ae_titles
    about = session.About(__version__, titles, dimse_port or settings.dimse.port)
    pages = Pages(static)
    book = book or PeerBook(archive.index, settings.peer_records)
    # Routes are tried in order: the busiest first.
    routes: list[BaseRoute] = [
        *(_dicomweb(archive, pool, settings) if edges is None else edges),
        *health.routes(archive, ready),
        *session.routes(sign_in, settings.http, about),
        *people.routes(sign_in, clock),
        *operations.routes(archive),
        *peers.routes(book),
        *jobs.routes(archive, book),
        *compressing.routes(archive),
        *Manual(*FOLDERS).routes(),
    ]
    routes.append(_openapi(routes))
    routes += pages.routes()
    router = Router(routes, redirect_slashes=False)
    inner = ExceptionMiddleware(router, handlers=HANDLERS)
    gate = Gate(
        Gzip(inner),
        sign_in,
        settings.http,
        open_paths=pages.open_paths,
    )
    headers = SecurityHeaders(
        secure=settings.http.public_url.startswith("https://"), ohif_page=pages.ohif.page()
    )
    return App(ZeroCopy(Door(gate, headers)), sign_in, routes)


def _dicomweb(archive: Archive, pool: Pool, settings: AppSettings) -> list[BaseRoute]:
    from filmroom.dicomweb import routes as dicomweb
    from filmroom.dicomweb.service import Settings

    ours = Settings(
        public_url=settings.http.public_url,
        max_results=settings.query.max_results,
        spool=settings.blobs_folder / "tmp",
    )
    return list(dicomweb.routes(archive, pool, ours))


def _openapi(routes: list[BaseRoute]) -> Route:
    described = describe(routes, __version__)

    async def openapi(request: Request) -> Response:
        """This description."""
        return answer(described)

    return Route("/api/openapi.json", openapi, methods=["GET"])


async def _archive_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ArchiveError)
    if error.detail:
        log.warning("request not served", extra={"reason": error.message, "detail": error.detail})
    return of_archive(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {404: "there is nothing at this address", 405: "that cannot be done here"}
    return problem(
        error.status_code, detail.get(error.status_code, str(error.detail)), error.headers
    )


async def _too_large(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooLarge)
    return too_large(error.limit)


HANDLERS = {ArchiveError: _archive_error, HTTPException: _http_error, TooLarge: _too_large}
