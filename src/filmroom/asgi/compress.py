"""gzip for JSON and text that nobody has compressed yet (RFC 9110 8.4); never for images."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from filmroom.http import accepts_gzip

SMALLEST = 1024  # bytes; below, the answer fits one packet anyway
LEVEL = 3  # 120 MB/s on DICOM JSON, 15 times smaller
_IN_A_THREAD = 1 << 17  # bytes; zlib lets the loop go on meanwhile
KINDS = (
    b"application/json",
    b"application/dicom+json",
    b"application/problem+json",
    b"application/fhir+json",
    b"text/html",
    b"text/plain",
    b"text/css",
    b"text/javascript",
    b"image/svg+xml",
    b"application/xml",
)


class Gzip:
    """Compresses answers of the right kind for clients that take it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "HEAD" or not is_gzip_welcome(scope):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Compressed(send).send)


def is_gzip_welcome(scope: Scope) -> bool:
    """Whether the client takes gzip."""
    for name, value in scope["headers"]:
        if name == b"accept-encoding":
            return accepts_gzip(value.decode("latin-1"))
    return False


class _Compressed:
    """One answer: its start is held back until the first piece tells whether it is worth it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._deflate: Any = None
        self._decided = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _fit(message):
            self._start = message
            return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self._decided:
            self._decided = True
            if len(body) < SMALLEST and not more:
                await self._send(_varied(self._start))
                self._start = None
                await self._send(message)
                return
            self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
            if not more:
                body, self._deflate = await self._whole(body), None
                await self._send(_encoded(self._start, len(body)))
                await self._send({"type": "http.response.body", "body": body})
                return
            await self._send(_encoded(self._start, None))
        piece = await self._piece(body, last=not more)
        if piece or not more:
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def _whole(self, body: bytes) -> bytes:
        return await self._piece(body, last=True)

    async def _piece(self, body: bytes, *, last: bool) -> bytes:
        def work() -> bytes:
            done: bytes = self._deflate.compress(body)
            return done + self._deflate.flush() if last else done

        return await asyncio.to_thread(work) if len(body) > _IN_A_THREAD else work()


def _fit(start: Message) -> bool:
    if start["status"] in (204, 206, 304):
        return False
    kind = b""
    for name, value in start.get("headers", ()):
        name = name.lower()
        if name in (b"content-encoding", b"content-range"):
            return False
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
        if name == b"cache-control" and b"no-transform" in value:
            return False
    return kind in KINDS


def _varied(start: Message) -> Message:
    return {**start, "headers": _with_vary(list(start["headers"]))}


def _encoded(start: Message, length: int | None) -> Message:
    headers = []
    for name, value in start["headers"]:
        lower = name.lower()
        if lower in (b"content-length", b"accept-ranges"):
            continue
        if lower == b"etag" and not value.startswith(b"W/"):
            value = b"W/" + value  # other bytes, same meaning (RFC 9110 8.8.1)
        headers.append((name, value))
    headers.append((b"content-encoding", b"gzip"))
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {**start, "headers": _with_vary(headers)}


def _with_vary(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    for at, (name, value) in enumerate(headers):
        if name.lower() == b"vary":
            if b"accept-encoding" not in value.lower():
                headers[at] = (name, value + b", Accept-Encoding")
            return headers
    return [*headers, (b"vary", b"Accept-Encoding")]
