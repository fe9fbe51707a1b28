"""C-STORE as a user: instances sent to a peer on associations of our own (PS3.4 B).

For each SOP class every stored transfer syntax is proposed in a context of its own and the
plain ones in another, so that an instance leaves as it is stored wherever that is welcome.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from filmroom.archive.errors import ArchiveError
from filmroom.archive.records import Handle, Peer
from filmroom.archive.selected import Few, Selected
from filmroom.dimse.client import ClientAssociation, associate
from filmroom.dimse.errors import DimseError
from filmroom.services import outcomes
from filmroom.services.peers import AddressBook
from filmroom.services.suboperations import (
    MAX_CONTEXTS,
    Contexts,
    Counts,
    Files,
    Prepared,
    Proposed,
    Queue,
    Transcode,
    batches,
    kind_of,
    proposal,
)

log = logging.getLogger(__name__)

MEDIUM = 0  # priority  PS3.7 9.1.1.1


@dataclass(frozen=True, slots=True)
class Sending:
    """How our peers are reached."""

    book: AddressBook
    connect_timeout_seconds: float = 10.0
    timeout_seconds: float = 60.0
    ssl_context: Callable[[], ssl.SSLContext] = ssl.create_default_context  # for peers with tls


class Errand(Protocol):
    """On whose behalf something is sent."""

    counts: Counts

    @property
    def calling_ae_title(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def originator(self) -> tuple[str, int] | None:
        """Calling AE title and Message ID of the C-MOVE behind it, if there is one."""
        ...

    @property
    def is_over(self) -> bool:
        """Nothing more is wanted."""
        ...

    @property
    def fails_rest(self) -> bool:
        """What was not answered, and what is left when the peer cannot be reached, has failed."""
        ...

    async def tell(self) -> None:
        """Something has happened; called often."""
        ...


class Sender:
    """Sends instances to one peer, over one association after the other where needed."""

    def __init__(
        self,
        errand: Errand,
        peer: Peer,
        sending: Sending,
        files: Files,
        transcode: Transcode | None,
    ) -> None:
        self._errand = errand
        self._peer = peer
        self._sending = sending
        self._files = files
        self._transcode = transcode
        self.trouble = ""  # what went wrong with the association

    async def send_all(self, selected: Selected) -> None:
        """Over one association, unless that would need more contexts than one may propose.

        Raises ArchiveError when the index went away between two pages.
        """
        contexts = proposal((k.sop_class_uid, k.transfer_syntax_uid) for k in selected.kinds)
        async with aclosing(selected.pages()) as pages:
            if len(contexts) <= MAX_CONTEXTS:
                await self._send(pages, contexts)
                return
            async for page in pages:
                for batch in batches(page, kind_of):
                    if not self._errand.is_over:
                        await self._send(Few(batch).pages(), proposal(map(kind_of, batch)))

    async def _send(
        self, pages: AsyncIterator[Sequence[Handle]], contexts: Sequence[Proposed]
    ) -> None:
        """Send pages; an association lost on the way is replaced as long as that helps."""
        queue = Queue(pages, self._errand.counts, self._files, self._transcode)
        try:
            await self._errand.tell()
            while not self._errand.is_over and await queue.has_more():
                sent = await self._one_association(queue, contexts)
                if not sent and not self._errand.is_over:
                    if not self._errand.fails_rest:
                        return
                    await queue.fail_all()
        finally:
            queue.close()

    async def _one_association(self, queue: Queue, contexts: Sequence[Proposed]) -> int:
        """Send until all is sent, over, or the association is lost; how many arrived."""
        peer = self._peer
        try:
            association = await associate(
                peer.host,
                peer.port,
                calling=self._errand.calling_ae_title,
                called=peer.ae_title,
                contexts=contexts,
                connect_timeout=self._sending.connect_timeout_seconds,
                timeout=self._sending.timeout_seconds,
                ssl=self._sending.ssl_context() if peer.tls else None,
            )
        except DimseError as error:
            self._note_trouble(error)
            return 0
        sent, on_the_wire = 0, None
        try:
            accepted = Contexts(association.info.contexts.values())
            while not self._errand.is_over:
                prepared = await queue.next(accepted)
                if prepared is None:
                    break
                await queue.look_ahead(accepted)
                on_the_wire = prepared.handle
                sent += await self._store(association, prepared)
                on_the_wire = None
                await self._errand.tell()
            await association.release()
        except (DimseError, ArchiveError, EOFError) as error:  # lost, or a file ended early
            self._note_trouble(error)
        finally:
            queue.close()
            if on_the_wire is not None and not self._errand.fails_rest:
                queue.give_back(on_the_wire)
            association.abort()
        return sent

    async def _store(self, association: ClientAssociation, prepared: Prepared) -> int:
        """One instance; 1 when it was answered. DimseError when the peer is gone."""
        handle = prepared.handle
        status = outcomes.PROCESSING_FAILURE if self._errand.fails_rest else None
        try:
            response = await association.store(
                handle.sop_class_uid,
                handle.sop_instance_uid,
                prepared.source,
                priority=self._errand.priority,
                move_originator=self._errand.originator,
                context_id=prepared.context_id,
            )
            status = response.status
        finally:
            prepared.source.close()
            if status is not None:
                self._errand.counts.note(handle, status)
        return 1

    def _note_trouble(self, error: Exception) -> None:
        log.warning("sending to %s: %s", self._peer.ae_title, error)
        self.trouble = f"{self._peer.ae_title}: {error}"
