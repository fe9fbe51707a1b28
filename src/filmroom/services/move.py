"""C-MOVE as a provider: instances sent to another peer on our own association (PS3.4 C.4.2).

The destination is always a configured peer, never an address from the request. For each
SOP class every stored transfer syntax is proposed in a context of its own and the plain
ones in another, so that an instance leaves as it is stored wherever that is welcome.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from filmroom.archive.access import Principal
from filmroom.archive.errors import ArchiveError
from filmroom.archive.records import Handle, Peer
from filmroom.archive.selected import Few, Selected
from filmroom.dimse.client import ClientAssociation, associate
from filmroom.dimse.errors import DimseError
from filmroom.dimse.exchange import Exchange
from filmroom.dimse.messages import CMoveRequest
from filmroom.services import outcomes
from filmroom.services.peers import AddressBook
from filmroom.services.query_retrieve import Retrieval, Retriever, log_refusal
from filmroom.services.suboperations import (
    MAX_CONTEXTS,
    Contexts,
    Files,
    Prepared,
    Proposed,
    Queue,
    Transcode,
    batches,
    kind_of,
    proposal,
)
from filmroom.services.table import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sending:
    """How C-MOVE reaches its destinations."""

    book: AddressBook
    connect_timeout_seconds: float = 10.0
    timeout_seconds: float = 60.0
    ssl_context: ssl.SSLContext | None = None  # for peers with tls


async def move(
    request: CMoveRequest,
    identifier: bytes,
    exchange: Exchange,
    *,
    row: Row,
    retriever: Retriever,
    principal: Principal,
    sending: Sending,
    transcode: Transcode | None = None,
) -> None:
    """Answer a C-MOVE-RQ: sub-operations on associations of our own (PS3.4 C.4.2)."""
    retrieval = Retrieval(request, exchange)
    peer = sending.book.destination(request.move_destination)
    if peer is None:
        log.warning(
            "C-MOVE by %s to unknown destination %r",
            exchange.info.calling_ae_title,
            request.move_destination,
        )
        return await retrieval.refuse(
            outcomes.DESTINATION_UNKNOWN, "No peer of that AE title with host and port"
        )
    selected = await retrieval.select(identifier, row, retriever, principal)
    if selected is None:
        return
    mover = _Mover(retrieval, peer, sending, retriever, transcode)
    try:
        await _send_all(mover, selected, exchange)
    except ArchiveError as error:  # the index went away between two pages
        log_refusal("C-MOVE", exchange, error)
        mover.trouble = error.message
        retrieval.counts.fail_rest()
    await retrieval.finish(mover.trouble)


async def _send_all(mover: _Mover, selected: Selected, exchange: Exchange) -> None:
    """Over one association, unless that would need more contexts than one may propose."""
    contexts = proposal((k.sop_class_uid, k.transfer_syntax_uid) for k in selected.kinds)
    async with aclosing(selected.pages()) as pages:
        if len(contexts) <= MAX_CONTEXTS:
            await mover.send(pages, contexts)
            return
        async for page in pages:
            for batch in batches(page, kind_of):
                if not exchange.cancelled:
                    await mover.send(Few(batch).pages(), proposal(map(kind_of, batch)))


class _Mover:
    """Sends instances to one peer, over one association after the other where needed."""

    def __init__(
        self,
        retrieval: Retrieval,
        peer: Peer,
        sending: Sending,
        files: Files,
        transcode: Transcode | None,
    ) -> None:
        self._retrieval = retrieval
        self._peer = peer
        self._sending = sending
        self._files = files
        self._transcode = transcode
        self.trouble = ""  # what went wrong with the association, for the error comment

    async def send(
        self, pages: AsyncIterator[Sequence[Handle]], contexts: Sequence[Proposed]
    ) -> None:
        """Send pages; an association lost on the way is replaced as long as that helps."""
        queue = Queue(pages, self._retrieval.counts, self._files, self._transcode)
        try:
            await self._retrieval.tell()
            while not self._retrieval.exchange.cancelled and await queue.has_more():
                sent = await self._one_association(queue, contexts)
                if not sent and not self._retrieval.exchange.cancelled:
                    await queue.fail_all()
        finally:
            queue.close()

    async def _one_association(self, queue: Queue, contexts: Sequence[Proposed]) -> int:
        """Send until all is sent, cancelled, or the association is lost; how many arrived."""
        peer = self._peer
        try:
            association = await associate(
                peer.host,
                peer.port,
                calling=self._retrieval.exchange.info.called_ae_title,
                called=peer.ae_title,
                contexts=contexts,
                connect_timeout=self._sending.connect_timeout_seconds,
                timeout=self._sending.timeout_seconds,
                ssl=self._sending.ssl_context if peer.tls else None,
            )
        except DimseError as error:
            self._note_trouble(error)
            return 0
        sent = 0
        try:
            accepted = Contexts(association.info.contexts.values())
            while not self._retrieval.exchange.cancelled:
                prepared = await queue.next(accepted)
                if prepared is None:
                    break
                await queue.look_ahead(accepted)
                sent += await self._store(association, prepared)
                await self._retrieval.tell()
            await association.release()
        except (DimseError, ArchiveError, EOFError) as error:  # lost, or a file ended early
            self._note_trouble(error)
        finally:
            queue.close()
            association.abort()
        return sent

    async def _store(self, association: ClientAssociation, prepared: Prepared) -> int:
        """One sub-operation; 1 when it was answered. DimseError when the peer is gone."""
        request = self._retrieval.request
        handle = prepared.handle
        status = outcomes.PROCESSING_FAILURE
        try:
            response = await association.store(
                handle.sop_class_uid,
                handle.sop_instance_uid,
                prepared.source,
                priority=request.priority,
                move_originator=(
                    self._retrieval.exchange.info.calling_ae_title,
                    request.message_id,
                ),
                context_id=prepared.context_id,
            )
            status = response.status
        finally:
            prepared.source.close()
            self._retrieval.counts.note(handle, status)
        return 1

    def _note_trouble(self, error: Exception) -> None:
        log.warning("C-MOVE to %s: %s", self._peer.ae_title, error)
        self.trouble = f"{self._peer.ae_title}: {error}"
