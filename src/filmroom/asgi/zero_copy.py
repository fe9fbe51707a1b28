"""Parts of files sent by the kernel itself: ASGI's `http.response.zerocopysend`.

A megabyte that is read and written passes through our memory twice; sendfile(2) does it with
neither. What is not in the page cache is sent from a thread, so that a slow disk does not
stop the loop. Offered on plain connections of uvicorn's; others read and write.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

ZERO_COPY = "http.response.zerocopysend"
AT_ONCE_BYTES = 1 << 20  # then others have their turn
FILLER_BYTES = 16 << 10  # through the transport, to learn when the socket takes more

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class ZeroCopy:
    """Wraps the whole application; its `send` must be uvicorn's own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = getattr(send, "__self__", None)
        if isinstance(cycle, RequestResponseCycle) and _is_plain(cycle.transport):
            scope.setdefault("extensions", {})[ZERO_COPY] = {}
            send = _Sender(cycle).send
        await self._app(scope, receive, send)


def _is_plain(transport: asyncio.Transport) -> bool:
    has_call = hasattr(os, "sendfile") and bool(_NOWAIT)
    return has_call and transport.get_extra_info("sslcontext") is None


class _Sender:
    """The `send` of one request."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    async def send(self, message: Message) -> None:
        if message["type"] == ZERO_COPY:
            await self._send_file(message["file"], message["offset"], message["count"])
        else:
            await self._cycle.send(message)  # type: ignore[arg-type]

    async def _send_file(self, file: int, offset: int, count: int) -> None:
        cycle = self._cycle
        if cycle.disconnected or not count:
            return
        if cycle.chunked_encoding:
            cycle.transport.write(b"%x\r\n" % count)
        elif count > cycle.expected_content_length:
            raise RuntimeError("more is sent than Content-Length says")
        else:
            cycle.expected_content_length -= count
        # From here on "writable" means that the transport has handed all to the kernel.
        cycle.transport.set_write_buffer_limits(high=0)
        try:
            await self._pass_on(file, offset, count)
        finally:
            cycle.transport.set_write_buffer_limits(high=HIGH_WATER_LIMIT)
        if cycle.chunked_encoding:
            cycle.transport.write(b"\r\n")

    async def _pass_on(self, file: int, offset: int, count: int) -> None:
        cycle = self._cycle
        transport: Any = cycle.transport
        while count:
            if cycle.flow.write_paused:
                await cycle.flow.drain()
            if cycle.disconnected or transport.is_closing():
                return
            wanted = min(count, AT_ONCE_BYTES)
            sent = await _send_some(transport.get_extra_info("socket"), file, offset, wanted)
            if sent is None:
                filler = os.pread(file, min(count, FILLER_BYTES), offset)
                transport.write(filler)
                sent = len(filler)
            elif sent < count:
                await asyncio.sleep(0)
            if not sent:
                raise EOFError("a file is shorter than it was")
            offset, count = offset + sent, count - sent


async def _send_some(to: socket.socket, file: int, offset: int, count: int) -> int | None:
    """How many bytes the socket took, 0 at the file's end; None when it takes no more now."""
    try:
        if _is_at_hand(file, offset) and _is_at_hand(file, offset + count - 1):
            return os.sendfile(to.fileno(), file, offset, count)
        return await asyncio.to_thread(os.sendfile, to.fileno(), file, offset, count)
    except BlockingIOError:
        return None
    except ConnectionError:  # the transport will see it, too
        return None


def _is_at_hand(file: int, offset: int) -> bool:
    """Whether a byte can be had without asking the disk."""
    try:
        os.preadv(file, [bytearray(1)], offset, _NOWAIT)
    except OSError:
        return False
    return True
