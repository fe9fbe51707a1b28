"""The HTTP server: uvicorn in a thread of its own, on an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Container, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from filmroom.asgi.wire import LimitedProtocol, Neighbours
from filmroom.security import tls
from filmroom.security.settings import HttpSettings

log = logging.getLogger(__name__)

GRACE_SECONDS = 30
_BACKLOG = 2048


class HttpServer:
    """Serves one application until told to stop.

    `start` raises OSError when the address is taken and ssl.SSLError (or OSError) when the
    certificate is no good, in the caller's thread, before anything was promised.
    """

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._settings = settings
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port in use, also after 0 was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where people find it."""
        if self._settings.public_url:
            return self._settings.public_url
        scheme = "https" if self._settings.tls_certificate else "http"
        host = self._settings.host
        host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._port}"

    def start(self) -> None:
        """Listen and serve; returns when requests are answered."""
        config = self._config()
        self._socket = _listen(self._settings)
        self._port = self._socket.getsockname()[1]
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="filmroom-http", daemon=True)
        self._thread.start()
        self._server.up.wait()
        if not self._server.started:
            self._socket.close()
            raise OSError("the HTTP server did not start; the log says why")

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Take no more requests, let those under way finish, then close."""
        if self._server is None or self._thread is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, int(grace_seconds))
        self._server.should_exit = True
        self._thread.join(grace_seconds + 5)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        assert self._server is not None
        assert self._socket is not None
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._server.up.set()

    def _config(self) -> uvicorn.Config:
        settings = self._settings
        app: Any = self._app
        proxies: Container[str] = frozenset()
        if settings.trusted_proxies:
            app = ProxyHeadersMiddleware(app, list(settings.trusted_proxies))
            proxies = app.trusted_hosts
        config = uvicorn.Config(
            app,
            http=_protocol(settings, proxies),
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # done above, where they are named
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=_BACKLOG,
        )
        config.load()
        if settings.tls_certificate is not None:
            config.ssl = _tls(settings)
        return config


class _Server(uvicorn.Server):
    """uvicorn's server that says when it is up, and leaves signals to the node."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _protocol(settings: HttpSettings, proxies: Container[str]) -> type[LimitedProtocol]:
    limits = {
        "header_seconds": settings.header_seconds,
        "body_idle_seconds": settings.body_idle_seconds,
        "neighbours": Neighbours(
            settings.max_per_address or settings.max_connections // 2,
            proxies,
        ),
    }
    return type("ConfiguredProtocol", (LimitedProtocol,), limits)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop, the fastest there is here."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _listen(settings: HttpSettings) -> socket.socket:
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.share_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror}: {host} port {port}") from None
    return listener


def _tls(settings: HttpSettings) -> ssl.SSLContext:
    assert settings.tls_certificate is not None
    context = tls.server_context(settings.tls_certificate, settings.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    return context
