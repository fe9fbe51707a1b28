"""HTTP/1.1 off the socket, with the limits that uvicorn's httptools protocol lacks.

The parser itself is llhttp; here we bound what it may be fed: total bytes and time of a
request's head, length of its first line, silence during its body, and the two lengths at
once that request smuggling lives on (RFC 9112 6.3).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Container
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from filmroom.addresses import neighbourhood

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
MAX_TARGET_BYTES = 32 * 1024
MAX_FIELDS = 200
_LOOKS_PER_LIMIT = 4


class Refusal(Exception):
    """This request is not read any further; the status says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Neighbours:
    """How many connections each neighbourhood has; those of one server share it, on one loop.

    Without it the silent sockets of a single machine would take the places of everybody.
    """

    def __init__(self, at_most: int, proxies: Container[str] = frozenset()) -> None:
        """at_most: connections of one neighbourhood. proxies: those that speak for many."""
        self._at_most = at_most
        self._proxies = proxies
        self._count: Counter[str] = Counter()
        self._may_warn = proxies == frozenset()

    def enter(self, address: str) -> bool:
        """Count a connection; False, and not counted, when there are enough from there."""
        place = neighbourhood(address)
        if self._count[place] >= self._at_most and address not in self._proxies:
            return False
        self._count[place] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was counted has ended."""
        place = neighbourhood(address)
        self._count[place] -= 1
        if self._count[place] <= 0:
            del self._count[place]

    def forwarded(self, address: str) -> None:
        """Somebody forwards; say once, if no proxy is known, what follows from that."""
        if self._may_warn:
            self._may_warn = False
            log.warning(
                "X-Forwarded-For is not believed: [http] trusted_proxies is empty. If this address "
                "is your proxy, name it there; until then all who come through it count as one, "
                "for failed sign-ins and for max_per_address",
                extra={"address": address},
            )


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    header_seconds = 30.0
    body_idle_seconds = 60.0
    neighbours = Neighbours(1 << 30)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._head_began: float | None = None
        self._last_read = 0.0
        self._untaken = 0  # bytes of an answer that the client had not taken when we looked
        self._taken_at = 0.0
        self._refusal: Refusal | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._counted = False

    # -- time -----------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._counted = self.neighbours.enter(self._address)
        if not self._counted:
            self.connections.discard(self)  # else it would still take somebody's place
            self._refuse(Refusal(503, "There are too many connections from this address."))
            return
        self._head_began = self._last_read = self.loop.time()
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._counted:
            self._counted = False
            self.neighbours.leave(self._address)
        super().connection_lost(exc)

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _look_again(self) -> None:
        shortest = min(self.header_seconds, self.body_idle_seconds)
        self._watch = self.loop.call_later(shortest / _LOOKS_PER_LIMIT, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if self._head_began is not None and now - self._head_began > self.header_seconds:
            self._refuse(Refusal(408, "The request did not arrive in time."))
        elif self._stalled(now):
            log.info("upload stalled", extra={"address": self._address})
            self.transport.abort()
        elif self._is_not_taken(now):
            log.info("an answer was not taken", extra={"address": self._address})
            self.transport.abort()
        elif not self.transport.is_closing():
            self._look_again()

    def _is_not_taken(self, now: float) -> bool:
        """Whether we have something to say for long, and not a byte of it is taken."""
        waiting = self.transport.get_write_buffer_size()
        if not waiting or waiting != self._untaken:
            self._untaken, self._taken_at = waiting, now
        return now - self._taken_at > self.body_idle_seconds

    def _stalled(self, now: float) -> bool:
        """Whether a body is awaited, by us, and nothing comes."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body or self._in_head:
            return False
        if self.flow.read_paused:  # we are the slow ones
            self._last_read = now
            return False
        return now - self._last_read > self.body_idle_seconds

    # -- bytes ----------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        if not self._counted:
            return
        self._last_read = self.loop.time()
        if self._in_head:
            if self._head_began is None:
                self._head_began = self._last_read
            # A body may follow in the same piece: then the head was complete, and counted less.
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(Refusal(431, "The header of the request is too large."))

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Refusal(400, msg))

    def _refuse(self, refusal: Refusal) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()  # in the middle of an answer: nothing can be said any more
            return
        body = refusal.message.encode() + b"\n"
        phrase = HTTPStatus(refusal.status).phrase
        head = (
            f"HTTP/1.1 {refusal.status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(body)}\r\nx-content-type-options: nosniff\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    # -- the parser's calls ------------------------------------------------------------------
    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._stop(414, "The address is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_FIELDS:
            self._stop(431, "The request has too many header fields.")

    def on_headers_complete(self) -> None:
        names = [name for name, _ in self.headers]
        lengths, codings = names.count(b"content-length"), names.count(b"transfer-encoding")
        if lengths > 1 or codings > 1 or (lengths and codings):
            self._stop(400, "The request says twice how long it is.")
        version, hosts = self.parser.get_http_version(), names.count(b"host")
        if version not in ("1.0", "1.1"):
            self._stop(505, "HTTP/1.1 is spoken here.")
        if hosts > 1 or (version == "1.1" and not hosts):
            self._stop(400, "The request names no host, or two.")
        if b"x-forwarded-for" in names:
            self.neighbours.forwarded(self._address)
        if self._head_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            self._stop(431, "The header of the request is too large.")
        self._in_head = False
        self._head_bytes = 0
        self._head_began = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _stop(self, status: int, message: str) -> None:
        """Leave the parser; it reports an error, which comes back to send_400_response."""
        self._refusal = Refusal(status, message)
        raise self._refusal
