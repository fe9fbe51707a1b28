"""The operations we invoke on a peer: message IDs, the window, and answers to whom they belong."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from filmroom.dimse.errors import DimseError, NoAnswer
from filmroom.dimse.exchange import Source
from filmroom.dimse.messages import (
    CCancelRequest,
    CStoreRequest,
    CStoreResponse,
    Message,
    Request,
    Response,
    is_pending,
)
from filmroom.dimse.pdv import Command
from filmroom.dimse.performer import Collector, Taker, discard

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 16 << 20
BACKLOG = 64  # answers waiting for their reader before we stop reading from the peer
UNLIMITED_WINDOW = 64

Answer: TypeAlias = tuple[Response, bytes | None]  # with its data set, if it had one


class Owner(Protocol):
    """What an invoker needs of its link."""

    async def send(
        self, context_id: int, message: Message, data_set: bytes | None = None
    ) -> None: ...
    async def send_store(self, context_id: int, request: CStoreRequest, source: Source) -> None: ...
    def pause_reading(self, reason: str) -> None: ...
    def resume_reading(self, reason: str) -> None: ...
    def abort(self, why: str) -> None: ...
    def gone(self) -> DimseError: ...


class Call:
    """One request of ours and its answers, in the order they came."""

    def __init__(self, request: Request, context_id: int) -> None:
        self.request = request
        self.context_id = context_id
        self.is_answered = False  # the final response is here, if perhaps not yet taken
        self.answers: deque[Answer] = deque()
        self.news = asyncio.Event()


class Invoker:
    """Asks one peer; `timeout_seconds` is how long it may be silent with an answer outstanding."""

    def __init__(self, owner: Owner, *, window: int, timeout_seconds: float) -> None:
        self._owner = owner
        self._slots = asyncio.Semaphore(window or UNLIMITED_WINDOW)
        self._timeout_seconds = timeout_seconds
        self._calls: dict[int, Call] = {}
        self._last_id = 0
        self._has_ended = False

    # --- what we ask ---

    @asynccontextmanager
    async def call(
        self, context_id: int, request: Any, data_set: bytes | None = None
    ) -> AsyncIterator[Call]:
        """Send a request; take its answers with `next_answer`. Its message ID is given here."""
        async with self._slots:
            call = self._open(context_id, request)
            try:
                await self._owner.send(context_id, call.request, data_set)
                yield call
            finally:
                self._close(call)

    async def store(
        self, context_id: int, request: CStoreRequest, source: Source
    ) -> CStoreResponse:
        """Send an instance and wait for its answer."""
        async with self._slots:
            call = self._open(context_id, request)
            assert isinstance(call.request, CStoreRequest)
            try:
                await self._owner.send_store(context_id, call.request, source)
                response, _ = await self.next_answer(call)
            finally:
                self._close(call)
        if not isinstance(response, CStoreResponse):
            self._owner.abort("a C-STORE-RQ was answered by something else")
            raise self._owner.gone()
        return response

    async def next_answer(self, call: Call) -> Answer:
        """The next answer of a call; silence for too long aborts the association (NoAnswer)."""
        if not call.answers:
            call.news.clear()
            if self._has_ended:
                raise self._owner.gone()
            await self._wait(call)
        if not call.answers:
            raise self._owner.gone()
        answer = call.answers.popleft()
        if len(call.answers) == BACKLOG // 2:
            self._owner.resume_reading("answers")
        return answer

    async def cancel(self, call: Call) -> None:
        """C-CANCEL-RQ: the final response still comes, and has to be taken."""
        if not call.is_answered:
            await self._owner.send(call.context_id, CCancelRequest(call.request.message_id))

    async def _wait(self, call: Call) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await call.news.wait()
        except TimeoutError:
            why = f"no answer within {self._timeout_seconds:g} s"
            self._owner.abort(why)
            raise NoAnswer(f"{why} to {type(call.request).__name__}") from None

    def _open(self, context_id: int, request: Any) -> Call:
        if self._has_ended:
            raise self._owner.gone()
        if not request.message_id or request.message_id in self._calls:
            request = replace(request, message_id=self._free_id())
        call = self._calls[request.message_id] = Call(request, context_id)
        return call

    def _close(self, call: Call) -> None:
        self._calls.pop(call.request.message_id, None)
        call.answers.clear()
        self._owner.resume_reading("answers")

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % 0xFFFF + 1
            if self._last_id not in self._calls:
                return self._last_id

    # --- what comes back ---

    def receive(self, command: Command) -> Taker:
        """A response arrived; the result takes its data set, if it has one."""
        response: Any = command.message
        call = self._calls.get(response.message_id_being_responded_to)
        if call is None:
            log.debug("a response that nobody waits for: %s", type(response).__name__)
            return discard
        if not command.has_data_set:
            self._put(call, response, None)
            return discard
        waiting = call

        def done(data_set: bytes | None) -> None:
            if data_set is None:
                self._owner.abort(f"an answer with more than {MAX_ANSWER_BYTES} bytes")
            else:
                self._put(waiting, response, data_set)

        return Collector(MAX_ANSWER_BYTES, done)

    def _put(self, call: Call, response: Response, data_set: bytes | None) -> None:
        call.is_answered = not is_pending(response.status)
        call.answers.append((response, data_set))
        call.news.set()
        if len(call.answers) > BACKLOG:
            self._owner.pause_reading("answers")

    def end(self) -> None:
        """The association is over: whoever waits learns it."""
        self._has_ended = True
        for call in self._calls.values():
            call.news.set()
