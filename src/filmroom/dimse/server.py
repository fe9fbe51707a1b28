"""Listen, and answer: one event loop serves every association (asyncio or uvloop).

    server = Server(provider, ServerSettings(port=11112))
    await server.start()
    ...
    await server.stop(grace_seconds=10)

A connection is a stranger until its A-ASSOCIATE-RQ was accepted; strangers are many, cheap and
short-lived (ARTIM), associations are counted. What a provider has to offer is in exchange.py.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from dataclasses import dataclass
from functools import partial

from filmroom.addresses import neighbourhood
from filmroom.dimse.association import (
    AssociateRequested,
    Association,
    AssociationEvent,
    AssociationInfo,
    describe,
)
from filmroom.dimse.dialogue import Dialogue
from filmroom.dimse.errors import DimseError
from filmroom.dimse.exchange import Exchange, Observer, Provider, Source, StoreSink
from filmroom.dimse.negotiation import (
    LOCAL_LIMIT_EXCEEDED,
    MAX_PDU_BYTES,
    TEMPORARY_CONGESTION,
    Decision,
    Reject,
    negotiate,
)
from filmroom.dimse.pdu import Proposal

__all__ = ["Exchange", "Observer", "Provider", "Server", "ServerSettings", "Source", "StoreSink"]

log = logging.getLogger(__name__)

MAX_STRANGER_BYTES = 32 << 20  # of association requests not yet whole, of all strangers together


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to listen, how long to wait, how many to serve. A limit of 0 is no limit."""

    host: str = "0.0.0.0"
    port: int = 11112  # 0: any free one, see `Server.port`
    artim_seconds: float = 30.0  # for an A-ASSOCIATE-RQ, and for a peer to close when it should
    idle_seconds: float = 300.0  # without a byte from an associated peer, or read by it
    answer_seconds: float = 120.0  # for an answer to a sub-operation of C-GET
    max_associations: int = 2048
    max_per_peer: int = 256  # associations per neighbourhood; an AE title is only a claim
    max_connections: int = 8192  # beyond it the oldest stranger has to go
    backlog: int = 1024
    ssl: ssl.SSLContext | None = None
    share_port: bool = False  # with other processes: the kernel deals connections out


class Server:
    """A DICOM server on one port. Everything but the constructor belongs to one event loop."""

    def __init__(
        self,
        provider: Provider,
        settings: ServerSettings | None = None,
        *,
        observer: Observer | None = None,
    ) -> None:
        self.provider = provider
        self.settings = settings or ServerSettings()
        self.observer = observer or Observer()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_stopping = False
        self._listener: asyncio.Server | None = None
        self._port = self.settings.port
        self._strangers: dict[ServerLink, int] = {}  # in the order they came; bytes kept of each
        self._stranger_bytes = 0
        self._associations: set[ServerLink] = set()
        self._per_peer: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """The port in use, once started."""
        return self._port

    @property
    def association_count(self) -> int:
        """Associations established at this moment."""
        return len(self._associations)

    async def start(self) -> None:
        """Begin to listen; OSError when that is not possible."""
        settings = self.settings
        self._listener = await asyncio.get_running_loop().create_server(
            partial(ServerLink, self),
            settings.host,
            settings.port,
            backlog=settings.backlog,
            reuse_port=settings.share_port or None,
            ssl=settings.ssl,
            ssl_handshake_timeout=settings.artim_seconds if settings.ssl else None,
        )
        self._port = int(self._listener.sockets[0].getsockname()[1])
        log.info("listening for DICOM on %s port %d", settings.host, self.port)

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """Listen no more; let operations finish for so long, then abort. Commits are waited for."""
        self.is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for stranger in list(self._strangers):
            stranger.cut()
        for link in list(self._associations):
            link.part_when_idle()
        if self.tasks or self._associations:
            await self._wait(grace_seconds)
        for link in list(self._associations):
            link.abort("the server stops")
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=1.0)

    async def _wait(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while self.tasks or self._associations:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.02))

    # --- the links' side ---

    def arrived(self, link: ServerLink) -> None:
        """A connection was opened."""
        limit = self.settings.max_connections
        if limit and len(self._strangers) + len(self._associations) >= limit and self._strangers:
            log.warning("too many connections: the oldest without an association is cut")
            self._cut_oldest()
        self._strangers[link] = 0

    def left(self, link: ServerLink) -> None:
        """A connection was closed."""
        self._stranger_bytes -= self._strangers.pop(link, 0)

    def gathering(self, link: ServerLink, size: int) -> None:
        """`size` bytes of an association request are kept until the rest has come."""
        if link in self._strangers:
            self._stranger_bytes += size - self._strangers[link]
            self._strangers[link] = size
        while self._stranger_bytes > MAX_STRANGER_BYTES and len(self._strangers) > 1:
            log.warning("too many half association requests: the oldest is cut")
            self._cut_oldest()

    def _cut_oldest(self) -> None:
        oldest = next(iter(self._strangers))
        self.left(oldest)
        oldest.cut()

    def decide(self, proposal: Proposal, address: str) -> Decision:
        """Accept or reject an association."""
        if self.is_stopping:
            return TEMPORARY_CONGESTION
        calling, called = proposal.calling_ae_title, proposal.called_ae_title
        try:
            policy = self.provider.policy(calling, called, address)
            if isinstance(policy, Reject):
                return policy
            if self._is_full(address):
                return LOCAL_LIMIT_EXCEEDED
            return negotiate(proposal, policy)
        except Exception:
            log.exception("an association from %s could not be negotiated", address)
            return TEMPORARY_CONGESTION

    def _is_full(self, address: str) -> bool:
        total, each = self.settings.max_associations, self.settings.max_per_peer
        return bool(
            (total and len(self._associations) >= total)
            or (each and self._per_peer[neighbourhood(address)] >= each)
        )

    def associated(self, link: ServerLink, info: AssociationInfo) -> None:
        """An association was accepted."""
        self.left(link)
        self._associations.add(link)
        self._per_peer[neighbourhood(info.address)] += 1
        self.observer.associated(info)

    def ended(self, link: ServerLink, info: AssociationInfo, how: str) -> None:
        """An association ended, if not yet its connection."""
        self._associations.discard(link)
        peer = neighbourhood(info.address)
        self._per_peer[peer] -= 1
        if self._per_peer[peer] <= 0:
            del self._per_peer[peer]
        self.observer.ended(info, how)


class ServerLink(Dialogue):
    """One connection to the server."""

    def __init__(self, server: Server) -> None:
        super().__init__(
            Association(is_requestor=False, max_length=MAX_PDU_BYTES),
            artim_seconds=server.settings.artim_seconds,
            idle_seconds=server.settings.idle_seconds,
        )
        self._server = server
        self._is_parting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.arrived(self)
        self.start_timer(self.artim_seconds, self._on_silence)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)
        super().connection_lost(exc)

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        if self.performer is None:
            self._server.gathering(self, self.association.gathered_bytes)

    def _on_silence(self) -> None:
        log.info("%s sent no association request in %g s", self.address, self.artim_seconds)
        self.on_artim()

    def on_association_event(self, event: AssociationEvent) -> None:
        if isinstance(event, AssociateRequested):
            self._answer(event.proposal)
        else:
            super().on_association_event(event)

    def _answer(self, proposal: Proposal) -> None:
        decision = self._server.decide(proposal, self.address)
        if isinstance(decision, Reject):
            self._reject(proposal, decision)
            return
        settings, provider = self._server.settings, self._server.provider
        self.write(self.association.accept(decision))
        info = describe(
            proposal,
            decision.answer,
            decision.acceptance,
            address=self.address,
            is_requestor=False,
        )
        self._server.associated(self, info)
        self.open(
            info,
            is_requestor=False,
            open_store=provider.open_store,
            handle=provider.handle,
            answer_seconds=settings.answer_seconds,
            observer=self._server.observer,
            tasks=self._server.tasks,
        )

    def _reject(self, proposal: Proposal, decision: Reject) -> None:
        calling, called = proposal.calling_ae_title, proposal.called_ae_title
        log.warning(
            "association from %r at %s to %r rejected: %s",
            calling,
            self.address,
            called,
            decision.message,
        )
        self.write(self.association.reject(decision))
        self.start_timer(self.artim_seconds, self.on_artim)
        self._server.observer.refused(calling, called, self.address, decision)

    def may_begin(self) -> bool:
        return super().may_begin() and not self._is_parting

    def part_when_idle(self) -> None:
        """The server stops: no new operations, and the end after those in progress."""
        self._is_parting = True
        if not self._has_work():
            self.abort("the server stops")

    def operation_ended(self) -> None:
        super().operation_ended()
        if self._is_parting and not self._has_work():
            self.abort("the server stops")

    def on_end(self, error: DimseError | None) -> None:
        super().on_end(error)
        if self.performer is None:
            return
        how = "released" if error is None else "aborted"
        if error is not None:
            log.info("association with %r ended: %s", self.info.calling_ae_title, error)
        self._server.ended(self, self.info, how)
