"""The outermost layer: a request id, security headers, counting, and nothing escapes it."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from filmroom import observe
from filmroom.asgi.headers import SecurityHeaders

log = logging.getLogger(__name__)

NO_STORE = (b"cache-control", b"private, no-cache")


class Door:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, headers: SecurityHeaders) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        ours = secrets.token_hex(8)
        observe.request_id.set(ours)
        answer = _Answer(send, ours.encode(), self._headers.of(scope["path"]))
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:  # a bug in one request stays inside
            log.error("request failed: a bug", exc_info=error)
            if answer.status == 0:
                await _apologise(answer.send, ours)
            else:
                raise
        finally:
            _count(scope, answer, time.perf_counter() - began)


class _Answer:
    """Adds our headers on the way out and remembers how the request ended."""

    __slots__ = ("_headers", "_id", "_send", "sent_bytes", "status")

    def __init__(self, send: Send, id: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._id = id
        self._headers = headers
        self.status = 0
        self.sent_bytes = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            headers += [header for header in self._headers if header[0] not in names]
            headers.append((b"x-request-id", self._id))
            if b"cache-control" not in names:
                headers.append(NO_STORE)
            message = {**message, "headers": headers}
        else:
            self.sent_bytes += len(message.get("body", b"")) + message.get("count", 0)
        await self._send(message)


def _count(scope: Scope, answer: _Answer, seconds: float) -> None:
    route = route_of(scope)
    status = answer.status or 499  # 499: the client left before there was an answer
    observe.HTTP_SECONDS.labels(_method(scope), route, status).observe(seconds)
    observe.HTTP_SENT_BYTES.inc(answer.sent_bytes)
    quiet = status < 400 and scope["method"] in ("GET", "HEAD")
    level = logging.DEBUG if quiet else logging.WARNING if status >= 500 else logging.INFO
    if not log.isEnabledFor(level):
        return
    principal = scope.get("state", {}).get("principal")
    fields: dict[str, Any] = {
        "method": _method(scope),
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
        "bytes": answer.sent_bytes,
        "principal": principal.name if principal else "",
        "address": scope["client"][0] if scope.get("client") else "",
    }
    log.log(level, "request", extra=fields)


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return method if method in known else "other"


def route_of(scope: Scope) -> str:
    """The route's template: never the path itself, which is endless and names patients."""
    if "endpoint" not in scope:
        return "none"
    path, rest = str(scope["path"]), ""
    params = {name: str(value) for name, value in scope.get("path_params", {}).items()}
    for name, text in params.items():
        if "/" in text and path.endswith(text):
            path, rest = path[: -len(text)], f"{{{name}}}"
    parts = path.split("/")
    for name, text in params.items():
        if text and text in parts:
            parts[parts.index(text)] = f"{{{name}}}"
    return "/".join(parts) + rest


async def _apologise(send: Send, id: str) -> None:
    body = orjson.dumps(
        {
            "title": "Internal Error",
            "status": 500,
            "detail": f"This should not have happened; the log tells more under {id}.",
        }
    )
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
