"""The operations a peer invokes on us, from the command to the final response.

As many run at a time as the negotiated window allows; a request beyond it is held back, and with
it the connection. One that fails for no reason we foresaw is a bug: it is logged, answered with
0110H, and the association goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeAlias

from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.errors import DimseError
from filmroom.dimse.exchange import Exchange, Observer, OpenStore, StoreSink, Wire
from filmroom.dimse.messages import (
    CANNOT_UNDERSTAND,
    DUPLICATE_INVOCATION,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    UNRECOGNIZED_OPERATION,
    CFindRequest,
    CGetRequest,
    CMoveRequest,
    CStoreRequest,
    Request,
    Response,
    UnknownRequest,
    answer,
)
from filmroom.dimse.negotiation import PresentationContext
from filmroom.dimse.pdv import Command

log = logging.getLogger(__name__)

MAX_IDENTIFIER_BYTES = 1 << 20  # of C-FIND, C-MOVE and C-GET
MAX_ATTRIBUTES_BYTES = 16 << 20  # of N-ACTION and the like: a commitment may name 100,000 objects

Taker: TypeAlias = Callable[[memoryview, bool], None]  # (bytes of a data set, whether the last)
Handle: TypeAlias = Callable[[Request, bytes | None, Exchange], Awaitable[None]]


def discard(data: memoryview, is_last: bool) -> None:
    """Take a data set that nobody wants."""


class Owner(Wire, Protocol):
    """What a performer needs of its link."""

    has_ended: bool

    def operation_ended(self) -> None: ...


class Collector:
    """Take a data set whole, up to a length; `done` gets None when it is longer."""

    def __init__(self, limit: int, done: Callable[[bytes | None], None]) -> None:
        self._limit = limit
        self._done = done
        self._data = bytearray()
        self._is_too_long = False

    def __call__(self, data: memoryview, is_last: bool) -> None:
        if len(self._data) + len(data) > self._limit:
            self._is_too_long = True
            self._data.clear()
        elif not self._is_too_long:
            self._data += data
        if is_last:
            self._done(None if self._is_too_long else bytes(self._data))


class _Store:
    """One C-STORE whose data set is on its way."""

    __slots__ = ("_done", "context_id", "request", "sink", "size", "started")

    def __init__(
        self,
        request: CStoreRequest,
        context_id: int,
        sink: StoreSink | None,
        done: Callable[[_Store], None],
    ) -> None:
        self.request = request
        self.context_id = context_id
        self.sink = sink  # None: broken, the rest is let pass
        self.size = 0
        self.started = time.perf_counter()
        self._done = done

    def __call__(self, data: memoryview, is_last: bool) -> None:
        if self.sink is not None:
            try:
                self.sink.write(data)
            except Exception:
                log.exception("a C-STORE sink failed while writing")
                self.abandon()
        self.size += len(data)
        if is_last:
            self._done(self)

    def abandon(self) -> None:
        """Give up a data set that will not be whole."""
        if self.sink is not None:
            self.sink.abandon()
            self.sink = None


class Performer:
    """Performs what one peer asks; `running` are the operations not yet answered."""

    def __init__(
        self,
        owner: Owner,
        info: AssociationInfo,
        *,
        window: int,
        open_store: OpenStore,
        handle: Handle | None = None,
        observer: Observer | None = None,
        tasks: set[asyncio.Task[None]] | None = None,
    ) -> None:
        """window: how many operations at a time. tasks: where what runs is entered meanwhile."""
        self._owner = owner
        self._info = info
        self._window = window
        self._open_store = open_store
        self._handle = handle
        self._observer = observer or Observer()
        self._tasks: set[asyncio.Task[None]] = set() if tasks is None else tasks
        self._contexts: Mapping[int, PresentationContext] = info.contexts
        self._receiving: _Store | None = None
        self.running: dict[int, Exchange | _Store] = {}
        self._refusing = 0  # requests refused whose answer is on its way

    def may_begin(self) -> bool:
        """The window has room for one more."""
        return len(self.running) + self._refusing < self._window

    @property
    def has_work(self) -> bool:
        """Something is not yet answered."""
        return bool(self.running) or self._refusing > 0

    @property
    def is_busy(self) -> bool:
        """A request has arrived whole and is not yet answered."""
        return len(self.running) + self._refusing > (self._receiving is not None)

    def begin(self, command: Command) -> Taker:
        """Start on a request; the result takes its data set, if it has one."""
        request: Any = command.message
        context_id, has_data_set = command.context_id, command.has_data_set
        if request.message_id in self.running:
            return self._refuse(context_id, request, DUPLICATE_INVOCATION)
        if isinstance(request, UnknownRequest):
            return self._refuse(context_id, request, UNRECOGNIZED_OPERATION)
        if isinstance(request, CStoreRequest):
            if not has_data_set:
                return self._refuse(context_id, request, CANNOT_UNDERSTAND, "no data set")
            return self._begin_store(context_id, request)
        if self._handle is None:
            return self._refuse(context_id, request, UNRECOGNIZED_OPERATION)
        exchange = Exchange(self._info, self._contexts[context_id], request, self._owner)
        self.running[request.message_id] = exchange
        if not has_data_set:
            self._spawn(self._run(exchange, None))
            return discard
        return self._collect(exchange)

    def cancel(self, message_id: int) -> None:
        """C-CANCEL-RQ: let the operation know. A C-STORE cannot be cancelled (PS3.7 9.1.1)."""
        exchange = self.running.get(message_id)
        if isinstance(exchange, Exchange):
            exchange.cancelled = True

    def cancel_all(self) -> None:
        """The peer wants no more answers."""
        for message_id in self.running:
            self.cancel(message_id)

    def end(self) -> None:
        """The association is over; what is being committed runs on."""
        self.cancel_all()
        if self._receiving is not None:
            self._receiving.abandon()
            self._receiving = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refuse(self, context_id: int, request: Request, status: int, comment: str = "") -> Taker:
        log.info("%s from %s refused: %04X", type(request).__name__, self._info.address, status)
        self._refusing += 1
        self._spawn(self._answer_refused(context_id, answer(request, status, comment)))
        return discard

    async def _answer_refused(self, context_id: int, response: Response) -> None:
        # It takes a place in the window: a peer that asks and never listens is held up.
        try:
            await self._say(context_id, response)
        finally:
            self._refusing -= 1
            self._owner.operation_ended()

    async def _say(self, context_id: int, response: Response) -> None:
        try:
            await self._owner.send(context_id, response)
        except DimseError as error:
            log.debug("not answered: %s", error)

    def _ended(self, request: Request) -> None:
        self.running.pop(request.message_id, None)
        self._owner.operation_ended()

    # --- C-STORE ---

    def _begin_store(self, context_id: int, request: CStoreRequest) -> Taker:
        sink: StoreSink | None = None
        try:
            sink = self._open_store(request, self._contexts[context_id], self._info)
        except Exception:
            log.exception("a C-STORE sink could not be opened")
        store = _Store(request, context_id, sink, self._store_received)
        self._receiving = self.running[request.message_id] = store
        return store

    def _store_received(self, store: _Store) -> None:
        self._receiving = None
        self._spawn(self._conclude(store))

    async def _conclude(self, store: _Store) -> None:
        request = store.request
        response = None
        try:
            if store.sink is not None:
                response = await store.sink.finish()
        except Exception:
            log.exception("a C-STORE sink failed to finish")
        finally:
            if response is None:
                response = answer(request, PROCESSING_FAILURE, "internal error")
            if not self._owner.has_ended:
                await self._say(store.context_id, response)
            self._ended(request)
        seconds = time.perf_counter() - store.started
        self._observer.performed(self._info, request, response.status, seconds, store.size)

    # --- everything else ---

    def _collect(self, exchange: Exchange) -> Taker:
        is_query = isinstance(exchange.request, CFindRequest | CGetRequest | CMoveRequest)
        limit = MAX_IDENTIFIER_BYTES if is_query else MAX_ATTRIBUTES_BYTES

        def done(identifier: bytes | None) -> None:
            if identifier is not None:
                self._spawn(self._run(exchange, identifier))
                return
            status = OUT_OF_RESOURCES if is_query else RESOURCE_LIMITATION
            self._refuse(exchange.context.id, exchange.request, status, "data set too long")
            self._ended(exchange.request)

        return Collector(limit, done)

    async def _run(self, exchange: Exchange, identifier: bytes | None) -> None:
        assert self._handle is not None
        request = exchange.request
        started = time.perf_counter()
        try:
            await self._handle(request, identifier, exchange)
        except DimseError as error:
            log.info("%s from %s: %s", type(request).__name__, self._info.address, error)
        except Exception:
            log.exception("%s failed", type(request).__name__)
        finally:
            if exchange.status is None and not self._owner.has_ended:
                exchange.status = PROCESSING_FAILURE
                failure = answer(request, PROCESSING_FAILURE, "internal error")
                await self._say(exchange.context.id, failure)
            self._ended(request)
        status = PROCESSING_FAILURE if exchange.status is None else exchange.status
        seconds = time.perf_counter() - started
        size = len(identifier or b"")
        self._observer.performed(self._info, request, status, seconds, size)
