"""One association on one transport connection: bytes between asyncio and the sans-IO core.

All links of a thread share ONE receive buffer: what arrives is consumed or copied before the next
read, so a quiet peer costs no buffer. Fast with senders that leave Nagle's algorithm on, too:
TCP_NODELAY, one send per message, and TCP_QUICKACK re-armed after each read. Reading stops while
a message is held back, writing waits while the peer is behind.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Sequence
from typing import TypeAlias, cast

from filmroom.dimse.association import Association, AssociationEvent
from filmroom.dimse.errors import AssociationAborted, DimseError, RemoteProtocolError
from filmroom.dimse.exchange import Source
from filmroom.dimse.messages import CStoreRequest, Message

log = logging.getLogger(__name__)

BUFFER_BYTES = 512 * 1024
PRIVATE_BUFFER_BYTES = 64 * 1024
SEND_BYTES = 1024 * 1024  # of a data set, taken from its source and given to the kernel at once
SEND_PDUS = 64  # at once, so that a peer with tiny PDUs does not hold up the loop
EVENTS_AT_ONCE = 1000  # of one peer, then the others have their turn: tiny fragments take long
LINGER_SECONDS = 0.5  # for an A-ABORT to arrive before the connection is cut

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_buffers = threading.local()
Timer: TypeAlias = asyncio.TimerHandle


def receive_buffer() -> memoryview:
    """The buffer of this thread, and so of its loop. A proactor may read for several at a time."""
    if sys.platform == "win32":
        return memoryview(bytearray(PRIVATE_BUFFER_BYTES))
    buffer: memoryview | None = getattr(_buffers, "shared", None)
    if buffer is None:
        buffer = _buffers.shared = memoryview(bytearray(BUFFER_BYTES))
    return buffer


class Link(asyncio.BufferedProtocol):
    """The part that server and client have in common; they override `on_event` and `on_end`."""

    def __init__(self, association: Association, *, artim_seconds: float, idle_seconds: float):
        self.association = association
        self.artim_seconds = artim_seconds
        self.idle_seconds = idle_seconds
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.address = ""
        self.has_ended = False
        self.ending: DimseError | None = None  # why, unless it was released
        self._buffer = receive_buffer()
        self._held: AssociationEvent | None = None
        self._pauses: set[str] = set()
        self._writable = asyncio.Event()
        self._writable.set()
        self._stalled_at: float | None = None
        self._sending = asyncio.Lock()
        self._heard_at = self.loop.time()
        self._timer: Timer | None = None
        self._socket: socket.socket | None = None

    # --- for the owner to override ---

    def on_event(self, event: AssociationEvent) -> bool:
        """Act on an event; False holds it back until `go_on`."""
        raise NotImplementedError

    def on_end(self, error: DimseError | None) -> None:
        """The association is over, once; error None: it was released."""

    def is_busy(self) -> bool:
        """Something of ours is in progress: the peer's silence means nothing."""
        return False

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._socket = transport.get_extra_info("socket")
        self._tune(socket.TCP_NODELAY)
        self._acknowledge()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._heard_at = self.loop.time()
        self.association.receive_data(self._buffer[:nbytes])
        self._pump()
        self._acknowledge()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.association.transport_closed()
        self._stop_timer()
        self._writable.set()
        self._socket = None
        why = f": {exc.strerror or exc}" if isinstance(exc, OSError) else ""
        self.end(AssociationAborted(f"the connection was lost{why}"))

    def pause_writing(self) -> None:
        self._stalled_at = self.loop.time()
        self._writable.clear()

    def resume_writing(self) -> None:
        self._stalled_at = None
        self._writable.set()

    def _tune(self, option: int) -> None:
        if self._socket is None:
            return
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, option, 1)
        except OSError:
            self._socket = None

    def _acknowledge(self) -> None:
        if _QUICKACK is not None:
            self._tune(_QUICKACK)

    # --- reading ---

    def _pump(self) -> None:
        try:
            for _ in range(EVENTS_AT_ONCE):
                event = self._held or self.association.next_event()
                if event is None:
                    self.resume_reading("turn")
                    return
                self._held = None
                if not self.on_event(event):
                    self._held = event
                    self.association.keep_data()
                    self.pause_reading("held")
                    return
            self.association.keep_data()
            self.pause_reading("turn")
            self.loop.call_soon(self._take_turn)
        except RemoteProtocolError as error:
            self.fail(error)

    def _take_turn(self) -> None:
        if self._held is None and not self.has_ended:
            self._pump()

    def go_on(self) -> None:
        """What was held back may be possible now."""
        if self._held is not None and not self.has_ended:
            self._pump()
            if self._held is None:
                self.resume_reading("held")

    def pause_reading(self, reason: str) -> None:
        """Take no more from the peer; reasons add up."""
        if not self._pauses and self.transport and not self.transport.is_closing():
            self.transport.pause_reading()
        self._pauses.add(reason)

    def resume_reading(self, reason: str) -> None:
        """Take more unless another reason remains."""
        if reason in self._pauses:
            self._pauses.discard(reason)
            if not self._pauses and self.transport and not self.transport.is_closing():
                self.transport.resume_reading()

    # --- writing ---

    def write(self, data: bytes) -> None:
        """Send bytes of the upper layer itself."""
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    async def drained(self) -> None:
        """Wait while the peer is behind; raises DimseError when the association is over."""
        if not self._writable.is_set():
            await self._writable.wait()
        if self.has_ended:
            raise self.gone()

    def gone(self) -> DimseError:
        """The error for whoever still wants something of this association."""
        return AssociationAborted(str(self.ending or "the association was released"))

    async def send(self, context_id: int, message: Message, data_set: bytes | None = None) -> None:
        """Send a whole message in one piece."""
        if self.has_ended:
            raise self.gone()
        if self._sending.locked():
            async with self._sending:
                self.write(self.association.message(context_id, message, data_set))
        else:
            self.write(self.association.message(context_id, message, data_set))
        await self.drained()

    async def send_all(self, context_id: int, message: Message, data_sets: Sequence[bytes]) -> None:
        """Send a message with each of a few data sets, all in one piece."""
        if self.has_ended:
            raise self.gone()
        if self._sending.locked():
            async with self._sending:
                self.write(self.association.messages(context_id, message, data_sets))
        else:
            self.write(self.association.messages(context_id, message, data_sets))
        await self.drained()

    async def send_store(self, context_id: int, request: CStoreRequest, source: Source) -> None:
        """Send a C-STORE-RQ and its data set, no faster than the peer takes it.

        When the source fails half-way there is no way on: the association is aborted.
        """
        async with self._sending:
            if self.has_ended:
                raise self.gone()
            buffers = self.association.message_head(context_id, request, b"")
            try:
                await self._send_data_set(context_id, buffers, source)
            except BaseException:
                self.abort("sending a data set was interrupted")
                raise

    async def _send_data_set(
        self, context_id: int, buffers: list[bytes | memoryview], source: Source
    ) -> None:
        fragment = self.association.fragment_bytes
        at_once = fragment * max(1, min(SEND_PDUS, SEND_BYTES // fragment))
        left = source.size
        while True:
            if left:
                await source.ready(min(left, at_once))
            data = source.read(min(left, at_once)) if left else b""
            if left and not data:
                raise EOFError(f"a data set ended {left} bytes early")
            left -= len(data)
            buffers += self.association.data_set_part(context_id, data, is_last=left <= 0)
            if self.transport is not None:
                self.transport.writelines(buffers)
            await self.drained()
            if left <= 0:
                return
            buffers = []
            await asyncio.sleep(0)

    # --- ending ---

    def end(self, error: DimseError | None) -> None:
        """Note that the association is over; the first to say so is believed."""
        if not self.has_ended:
            self.has_ended = True
            self.ending = error
            self._writable.set()
            self._held = None
            self.on_end(error)

    def fail(self, error: RemoteProtocolError) -> None:
        """The peer broke the protocol: one line in the log, an A-ABORT, and soon the end."""
        log.warning("association with %s aborted: %s", self.address or "?", error)
        self.write(self.association.abort_for(error))
        self.end(AssociationAborted(f"the peer broke the protocol: {error}"))
        self._linger()

    def abort(self, why: str) -> None:
        """Abort by our own decision; nothing happens when it is over already."""
        if self.has_ended:
            self.close()
            return
        self.write(self.association.abort())
        self.end(AssociationAborted(why))
        self._linger()

    def close(self) -> None:
        """Close the connection after what is still to be written."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self.start_timer(LINGER_SECONDS, self.cut)

    def cut(self) -> None:
        """Close the connection now."""
        if self.transport is not None:
            self.transport.abort()

    def _linger(self) -> None:
        # What the peer still sends is read and dropped: unread bytes would turn the close into a
        # reset, and the A-ABORT could be lost with it.
        if self.transport is None or self.transport.is_closing():
            return
        self._pauses.clear()
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.start_timer(LINGER_SECONDS, self.cut)

    # --- timers ---

    def start_timer(self, seconds: float, then: object) -> None:
        """Run `then` in so many seconds, in place of whatever was to run."""
        self._stop_timer()
        assert callable(then)
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def start_idle_timer(self) -> None:
        """From now on abort a peer that is silent, or does not read, for too long."""
        self._stop_timer()
        if self.idle_seconds > 0:
            self.start_timer(self.idle_seconds, self._check_idle)

    def _check_idle(self) -> None:
        now = self.loop.time()
        since = self._stalled_at
        if since is None:
            since = now if self.is_busy() else self._heard_at
        left = since + self.idle_seconds - now
        if left > 0:
            self.start_timer(left, self._check_idle)
        else:
            log.info("association with %s was silent for %g s", self.address, self.idle_seconds)
            self.abort("the peer was silent for too long")
