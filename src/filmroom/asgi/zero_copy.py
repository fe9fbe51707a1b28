"""Parts of files sent by the kernel itself: ASGI's `http.response.zerocopysend`.

What is read and written is copied twice on its way from the page cache to the socket; sendfile(2)
copies nothing. It goes past the transport, so it is done only while the transport has nothing left
to send, and only on the loop, where nobody else can write or close in between. What is not in the
page cache is read in a thread and written like anything else, so that a slow disk does not stop
the loop. Offered on plain connections of uvicorn's; over TLS all is read and written.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

ZERO_COPY = "http.response.zerocopysend"
AT_ONCE_BYTES = 1 << 20  # then others have their turn
FILLER_BYTES = 16 << 10  # through the transport, to learn when the socket takes more
READ_BYTES = 512 << 10  # of what the disk must be asked for
LOOK_BYTES = 128 << 10  # the kernel reads ahead, and forgets, in about such pieces

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class ZeroCopy:
    """Wraps the whole application; the `send` it is given must be uvicorn's own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = getattr(send, "__self__", None)
        if isinstance(cycle, RequestResponseCycle) and _is_plain(cycle.transport):
            scope.setdefault("extensions", {})[ZERO_COPY] = {}
            send = _Sender(cycle).send
        await self._app(scope, receive, send)


def _is_plain(transport: asyncio.Transport) -> bool:
    return bool(_NOWAIT) and transport.get_extra_info("sslcontext") is None


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
        """Raises EOFError when the file is shorter than that, OSError when it cannot be read."""
        cycle = self._cycle
        if self._has_left() or not count:
            return
        if cycle.chunked_encoding:
            cycle.transport.write(b"%x\r\n" % count)
        elif count > cycle.expected_content_length:
            raise RuntimeError("more is sent than Content-Length says")
        else:
            cycle.expected_content_length -= count
        # From here on the transport is paused for as long as it has anything left to send.
        cycle.transport.set_write_buffer_limits(high=0)
        try:
            await self._pass_on(file, offset, count)
        finally:  # also when we are cancelled because the client has left
            if not self._has_left():
                cycle.transport.set_write_buffer_limits(high=HIGH_WATER_LIMIT)
        if cycle.chunked_encoding and not self._has_left():
            cycle.transport.write(b"\r\n")

    def _has_left(self) -> bool:
        """Whether nothing can reach the client any more; from then on nothing is sent.

        A transport of uvloop's that is closed raises RuntimeError whatever is asked of it, and
        uvicorn tells only the last of several requests at once that their client has left.
        """
        if self._cycle.transport.is_closing():
            self._cycle.disconnected = True
        return self._cycle.disconnected

    async def _pass_on(self, file: int, offset: int, count: int) -> None:
        cycle = self._cycle
        transport: Any = cycle.transport
        while count:
            if cycle.flow.write_paused:
                await cycle.flow.drain()
            if self._has_left():
                return
            sent = self._straight(file, offset, min(count, AT_ONCE_BYTES))
            if sent is None:
                data = await _read(file, offset, count)
                if self._has_left():
                    return
                transport.write(data)
                sent = len(data)
            if not sent:
                raise EOFError("a file is shorter than it was")
            offset, count = offset + sent, count - sent
            if count and not cycle.flow.write_paused:
                await asyncio.sleep(0)

    def _straight(self, file: int, offset: int, count: int) -> int | None:
        """How many bytes went out, 0 at the file's end; None when it cannot be done now."""
        transport: Any = self._cycle.transport
        if transport.get_write_buffer_size():  # these go first
            return None
        places = (*range(offset, offset + count, LOOK_BYTES), offset + count - 1)
        if not all(_is_at_hand(file, place) for place in places):
            return None
        try:
            return os.sendfile(transport.get_extra_info("socket").fileno(), file, offset, count)
        except (BlockingIOError, ConnectionError):  # full; or lost, as the transport will see
            return None


async def _read(file: int, offset: int, count: int) -> bytes:
    """A little, so that the transport tells when the socket takes more; more from a disk."""
    if _is_at_hand(file, offset):
        return os.pread(file, min(count, FILLER_BYTES), offset)
    return await asyncio.to_thread(os.pread, file, min(count, READ_BYTES), offset)


def _is_at_hand(file: int, offset: int) -> bool:
    """Whether a byte can be had without asking the disk."""
    try:
        os.preadv(file, [bytearray(1)], offset, _NOWAIT)
    except OSError:
        return False
    return True
