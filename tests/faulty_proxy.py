"""A network that fails on demand: a TCP proxy between a node and what it stands on.

One event loop in a thread of its own. What it does may be changed while connections are open;
they share the fate of new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nodes import free_port

PIECE = 64 << 10
FOR_EVER = 86_400.0
HELD_PIECES = 64  # on their way at once in one direction: then nothing more is taken


@dataclass(eq=False)
class _Line:
    """One connection from a node and the one that was made for it."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    writers: dict[str, asyncio.StreamWriter] = field(default_factory=dict)  # by whom it goes to
    passed: int = 0
    lost: bool = False  # bytes were swallowed: nothing sensible will come of it any more

    def cut(self) -> None:
        """Reset both sides, as a machine does that knows nothing of the connection."""
        for task in self.tasks:
            task.cancel()
        for writer in self.writers.values():
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class FaultyProxy:
    """Passes bytes between its own port and `target` (a port of this machine), or does not."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.taken = 0  # connections
        self._target = target
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self._is_silent = False
        self._cut_after: Callable[[], int] | None = None
        self._delay_seconds = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen)

    def through(self, url: str) -> str:
        """`url` with this proxy's port for the target's."""
        port = urlsplit(url).port
        assert port == self._target, url
        return url.replace(f":{port}", f":{self.port}", 1)

    # -- what it does ---------------------------------------------------------------------------
    def pass_on(self, *, dead: bool = False) -> None:
        """Be a good network again.

        Connections that have lost bytes are reset, as by a server that was started again; with
        `dead` they stay open and silent for ever, as behind a firewall that forgot them.
        """
        self._do(self._pass_on, dead)

    def refuse(self) -> None:
        """Close the port and reset what is open: nobody is there."""
        self._do(self._refuse)

    def cut(self) -> None:
        """Reset all that is open; new connections are fine."""
        self._do(self._cut)

    def cut_after(self, count: Callable[[], int]) -> None:
        """Reset what is open, and then each connection after `count()` bytes, either way."""
        self._do(self._begin_cutting, count)

    def half_close(self, towards: str) -> None:
        """End one direction of all that is open: towards the "node" or the "target"."""
        self._do(self._half_close, towards)

    def fall_silent(self) -> None:
        """Take connections and bytes, and answer nothing."""
        self._do(self._fall_silent)

    def delay(self, milliseconds: float) -> None:
        """Let every byte take so long, either way."""
        self._do(self._set_delay, milliseconds / 1000)

    def close(self) -> None:
        self._do(self._refuse)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- on its loop ----------------------------------------------------------------------------
    def _do(self, what: Callable[..., Any], *arguments: Any) -> None:
        async def done() -> None:
            await what(*arguments)

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)

    async def _pass_on(self, dead: bool) -> None:
        self._is_silent, self._cut_after, self._delay_seconds = False, None, 0.0
        for line in [line for line in self._lines if line.lost and not dead]:
            line.cut()
        await self._listen()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        for line in list(self._lines):
            line.cut()
        await asyncio.sleep(0)

    async def _begin_cutting(self, count: Callable[[], int]) -> None:
        self._cut_after = count
        await self._cut()

    async def _half_close(self, towards: str) -> None:
        for line in self._lines:
            if towards in line.writers:
                with contextlib.suppress(OSError):
                    line.writers[towards].write_eof()

    async def _fall_silent(self) -> None:
        self._is_silent = True

    async def _set_delay(self, seconds: float) -> None:
        self._delay_seconds = seconds

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(writers={"node": writer})
        self._lines.add(line)
        self.taken += 1
        limit = self._cut_after() if self._cut_after is not None else None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            line.writers["target"] = back
            line.tasks = [
                asyncio.ensure_future(self._carry(line, reader, "target", limit)),
                asyncio.ensure_future(self._carry(line, there, "node", limit)),
            ]
            await asyncio.gather(*line.tasks)
            for each in line.writers.values():
                each.close()
        except (OSError, asyncio.CancelledError):
            line.cut()
        finally:
            self._lines.discard(line)

    async def _carry(
        self, line: _Line, reader: asyncio.StreamReader, towards: str, limit: int | None
    ) -> None:
        """Bytes of one direction, each as late as it shall be; then its end."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD_PIECES)
        hand = asyncio.ensure_future(self._hand_out(line, held, towards))
        line.tasks.append(hand)
        while True:
            piece = await reader.read(PIECE)
            if self._is_silent or line.lost:
                line.lost = True
                if not piece:  # nor is the end of a connection told
                    await asyncio.sleep(FOR_EVER)
                continue
            line.passed += len(piece)
            if limit is not None and line.passed > limit:
                line.cut()
            await held.put((self._loop.time() + self._delay_seconds, piece))
            if not piece:
                await hand
                return

    async def _hand_out(self, line: _Line, held: asyncio.Queue[Any], towards: str) -> None:
        writer = line.writers[towards]
        piece = b"some"
        with contextlib.suppress(OSError, RuntimeError):  # that direction was ended before
            while piece:
                due, piece = await held.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if self._is_silent or line.lost:
                    line.lost = True
                elif piece:
                    writer.write(piece)
                    await writer.drain()
                else:
                    writer.write_eof()
