"""C-MOVE as a provider: instances sent to another peer on our own association (PS3.4 C.4.2).

The destination is always a configured peer, never an address from the request.
"""

from __future__ import annotations

import logging

from filmroom.archive.access import Principal
from filmroom.archive.errors import ArchiveError
from filmroom.dimse.exchange import Exchange
from filmroom.dimse.messages import CMoveRequest
from filmroom.services import outcomes
from filmroom.services.query_retrieve import Retrieval, Retriever, log_refusal
from filmroom.services.sender import Sender, Sending
from filmroom.services.suboperations import Transcode
from filmroom.services.table import Row

log = logging.getLogger(__name__)


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
    retrieval = _Moving(request, exchange)
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
    sender = Sender(retrieval, peer, sending, retriever, transcode)
    try:
        await sender.send_all(selected)
    except ArchiveError as error:  # the index went away between two pages
        log_refusal("C-MOVE", exchange, error)
        sender.trouble = error.message
        retrieval.counts.fail_rest()
    await retrieval.finish(sender.trouble)


class _Moving(Retrieval):
    """A C-MOVE as the errand of a Sender."""

    fails_rest = True

    @property
    def calling_ae_title(self) -> str:
        return self.exchange.info.called_ae_title

    @property
    def priority(self) -> int:
        return self.request.priority

    @property
    def originator(self) -> tuple[str, int]:
        return self.exchange.info.calling_ae_title, self.request.message_id

    @property
    def is_over(self) -> bool:
        return self.exchange.cancelled
