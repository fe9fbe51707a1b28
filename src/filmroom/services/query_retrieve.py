"""C-FIND and C-GET as a provider, and what C-MOVE shares with C-GET (PS3.4 C.4).

Each is a coroutine that answers one request on its exchange and honours C-CANCEL between
two responses. Archive errors become statuses here; anything else is the server's to log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

from filmroom.archive.access import Action, Principal, demand
from filmroom.archive.errors import ArchiveError
from filmroom.archive.records import Handle, Query, Selection
from filmroom.archive.selected import Selected, count
from filmroom.dimse.exchange import Exchange
from filmroom.dimse.messages import CFindRequest, CGetRequest, CMoveRequest, CStoreRequest, answer
from filmroom.services import outcomes
from filmroom.services.answers import Answerer, failed_list
from filmroom.services.identifiers import (
    BadIdentifier,
    Negotiated,
    read_find,
    read_selection,
)
from filmroom.services.suboperations import Contexts, Counts, Files, Pace, Queue, Transcode
from filmroom.services.table import Row

log = logging.getLogger(__name__)

READ_INLINE_BYTES = 32 * 1024
GATHERED_BYTES = 32 * 1024  # of pending responses in one send
ANSWER_BYTES = 128  # of a pending response beside its identifier
T = TypeVar("T")


class Finder(Protocol):
    """What we need of archive.find.Finder."""

    def stream(
        self,
        principal: Principal,
        query: Query,
        requested: frozenset[int] | None,
        write: Callable[[dict[str, Any]], bytes],
        /,
    ) -> AsyncIterator[list[bytes]]: ...


class Retriever(Files, Protocol):
    """What we need of archive.retrieve.Retriever."""

    async def select(self, principal: Principal, selection: Selection, /) -> Selected: ...


async def _understood(
    read: Callable[[bytes, str, Row, Negotiated], T],
    identifier: bytes,
    syntax: str,
    row: Row,
    negotiated: Negotiated,
) -> T:
    """Read an identifier; a long one (thousands of UIDs) not on the event loop."""
    if len(identifier) <= READ_INLINE_BYTES:
        return read(identifier, syntax, row, negotiated)
    return await asyncio.to_thread(read, identifier, syntax, row, negotiated)


# -- C-FIND ------------------------------------------------------------------------------


async def find(
    request: CFindRequest,
    identifier: bytes,
    exchange: Exchange,
    *,
    row: Row,
    finder: Finder,
    principal: Principal,
    matched_sequences: Mapping[str, frozenset[str]] | None = None,
) -> None:
    """Answer a C-FIND-RQ: a pending response per match, then the final one."""

    async def final(status: int, comment: str = "", offending: tuple[int, ...] = ()) -> None:
        await exchange.respond(
            answer(request, status, outcomes.comment(comment), offending_elements=offending)
        )

    syntax = exchange.context.transfer_syntax
    negotiated = Negotiated.from_bytes(exchange.info.extended.get(row.sop_class_uid, b""))
    try:
        demand(principal, Action.QUERY)
        read = partial(read_find, matched_sequences=matched_sequences)
        asked = await _understood(read, identifier, syntax, row, negotiated)
        answerer = Answerer(asked, syntax, exchange.info.called_ae_title)
        status = outcomes.PENDING_KEYS_UNSUPPORTED if asked.unsupported else outcomes.PENDING
        pending = answer(request, status)
        async for found in finder.stream(principal, asked.query, asked.requested, answerer.write):
            for together in _gathered(found):
                if exchange.cancelled:
                    return await final(outcomes.CANCELLED)
                await exchange.respond_all(pending, together)
                await asyncio.sleep(0)  # others have their turn, and a C-CANCEL is heard
    except BadIdentifier as error:
        return await final(outcomes.IDENTIFIER_MISMATCH, error.message, (error.tag,))
    except ArchiveError as error:
        log_refusal("C-FIND", exchange, error)
        return await final(outcomes.status_of(error, outcomes.QUERY_STATUS), error.message)
    await final(outcomes.CANCELLED if exchange.cancelled else outcomes.SUCCESS)


def _gathered(identifiers: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """As many at a time as make one send."""
    first = size = 0
    for at, identifier in enumerate(identifiers):
        if at > first and size + len(identifier) > GATHERED_BYTES:
            yield identifiers[first:at]
            first, size = at, 0
        size += len(identifier) + ANSWER_BYTES
    if identifiers:
        yield identifiers[first:]


# -- C-MOVE and C-GET -----------------------------------------------------------------------


class Retrieval:
    """One C-MOVE or C-GET in progress: what is counted, and what is told of it."""

    def __init__(self, request: CMoveRequest | CGetRequest, exchange: Exchange) -> None:
        self.request = request
        self.exchange = exchange
        self.counts = Counts(0)
        self._pace = Pace()

    async def select(
        self,
        identifier: bytes,
        row: Row,
        retriever: Retriever,
        principal: Principal,
    ) -> Selected | None:
        """What is asked for; None when it was refused, and that has been answered."""
        negotiated = Negotiated.from_bytes(self.exchange.info.extended.get(row.sop_class_uid, b""))
        try:
            demand(principal, Action.RETRIEVE)
            syntax = self.exchange.context.transfer_syntax
            selection = await _understood(read_selection, identifier, syntax, row, negotiated)
            selected = await retriever.select(principal, selection)
        except BadIdentifier as error:
            await self.refuse(outcomes.IDENTIFIER_MISMATCH, error.message, (error.tag,))
            return None
        except ArchiveError as error:
            log_refusal(type(self.request).__name__, self.exchange, error)
            await self.refuse(outcomes.status_of(error, outcomes.RETRIEVE_STATUS), error.message)
            return None
        self.counts.remaining = count(selected)
        return selected

    async def tell(self) -> None:
        """Send a pending response with counts, when one is due."""
        if self._pace.is_due() and self.counts.remaining:
            await self.exchange.respond(self._response(outcomes.PENDING))

    async def refuse(self, status: int, comment: str, offending: tuple[int, ...] = ()) -> None:
        """End before anything was sent."""
        await self.exchange.respond(self._response(status, outcomes.comment(comment), offending))

    async def finish(self, comment: str = "") -> None:
        """Send the final response with the list of those that failed."""
        counts = self.counts
        cancelled = self.exchange.cancelled and counts.remaining > 0
        status = outcomes.CANCELLED if cancelled else counts.final_status
        failed = failed_list(counts.failed_uids, self.exchange.context.transfer_syntax)
        comment = outcomes.comment(comment or counts.reason)
        await self.exchange.respond(self._response(status, comment), failed)

    def _response(self, status: int, comment: str = "", offending: tuple[int, ...] = ()) -> Any:
        counts = self.counts
        with_remaining = status in (outcomes.PENDING, outcomes.CANCELLED)  # PS3.7 9.1.4.1.7
        return answer(
            self.request,
            status,
            comment,
            offending_elements=offending,
            remaining=_us(counts.remaining) if with_remaining else None,
            completed=_us(counts.completed),
            failed=_us(counts.failed),
            warning=_us(counts.warning),
        )


def _us(count: int) -> int:
    """As an unsigned short: more than 65,535 are told as that many."""
    return min(count, 0xFFFF)


async def get(
    request: CGetRequest,
    identifier: bytes,
    exchange: Exchange,
    *,
    row: Row,
    retriever: Retriever,
    principal: Principal,
    transcode: Transcode | None = None,
) -> None:
    """Answer a C-GET-RQ: sub-operations on the same association (PS3.4 C.4.3)."""
    retrieval = Retrieval(request, exchange)
    selected = await retrieval.select(identifier, row, retriever, principal)
    if selected is None:
        return
    comment = ""
    async with aclosing(selected.pages()) as pages:
        queue = Queue(pages, retrieval.counts, retriever, transcode)
        try:
            await _send_all(retrieval, queue)
        except ArchiveError as error:  # the index went away between two pages
            log_refusal("C-GET", exchange, error)
            comment = error.message
            retrieval.counts.fail_rest()
        finally:
            queue.close()
    await retrieval.finish(comment)


async def _send_all(retrieval: Retrieval, queue: Queue) -> None:
    exchange = retrieval.exchange
    contexts = Contexts(c for c in exchange.info.contexts.values() if c.scp_role)
    message_id = 0
    while not exchange.cancelled:
        await retrieval.tell()
        prepared = await queue.next(contexts)
        if prepared is None:
            break
        await queue.look_ahead(contexts)
        message_id = message_id % 0xFFFF + 1
        store = _store_request(retrieval.request, prepared.handle, message_id)
        try:
            status = await exchange.store(store, prepared.context_id, prepared.source)
        finally:
            prepared.source.close()
        retrieval.counts.note(prepared.handle, status)


def _store_request(
    request: CMoveRequest | CGetRequest, handle: Handle, message_id: int
) -> CStoreRequest:
    return CStoreRequest(
        message_id=message_id,
        affected_sop_class_uid=handle.sop_class_uid,
        affected_sop_instance_uid=handle.sop_instance_uid,
        priority=request.priority,
    )


def log_refusal(what: str, exchange: Exchange, error: ArchiveError) -> None:
    log.warning(
        "%s from %s (%s) refused: %s%s",
        what,
        exchange.info.calling_ae_title,
        exchange.info.address,
        error.message,
        f" [{error.detail}]" if error.detail else "",
    )
