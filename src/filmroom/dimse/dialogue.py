"""An established association with both directions in it: what the peer asks, and what we ask."""

from __future__ import annotations

import asyncio

from filmroom.dimse.association import (
    Aborted,
    AssociationEvent,
    AssociationInfo,
    Released,
    ReleaseRequested,
)
from filmroom.dimse.errors import AssociationAborted, DimseError
from filmroom.dimse.exchange import Observer, OpenStore, Source
from filmroom.dimse.invoker import Invoker
from filmroom.dimse.link import Link
from filmroom.dimse.messages import REQUESTS, CCancelRequest, CStoreRequest, CStoreResponse
from filmroom.dimse.pdv import Command, Data
from filmroom.dimse.performer import Handle, Performer, Taker, discard

UNLIMITED_WINDOW = 64  # outstanding operations, for who agreed on no limit


class Dialogue(Link):
    """A link whose association can be `open`; server and client say how it comes to that."""

    info: AssociationInfo
    performer: Performer | None = None
    invoker: Invoker | None = None
    _taker: Taker = staticmethod(discard)
    _is_release_wanted = False

    def open(
        self,
        info: AssociationInfo,
        *,
        is_requestor: bool,
        open_store: OpenStore,
        handle: Handle | None,
        answer_seconds: float,
        observer: Observer | None = None,
        tasks: set[asyncio.Task[None]] | None = None,
    ) -> None:
        """The association is established."""
        window = info.operations
        ours, theirs = window.performed, window.invoked
        if not is_requestor:
            ours, theirs = theirs, ours
        self.info = info
        self.performer = Performer(
            self,
            info,
            window=ours or UNLIMITED_WINDOW,
            open_store=open_store,
            handle=handle,
            observer=observer,
            tasks=tasks,
        )
        self.invoker = Invoker(
            self, window=theirs or UNLIMITED_WINDOW, timeout_seconds=answer_seconds
        )
        self.start_idle_timer()

    def is_busy(self) -> bool:
        """A complete request of the peer is being worked on."""
        performer = self.performer
        return performer is not None and performer.is_busy

    def on_event(self, event: AssociationEvent) -> bool:
        if type(event) is Data:
            self._taker(event.data, event.is_last)
            return True
        if type(event) is Command:
            return self._on_command(event)
        self.on_association_event(event)
        return True

    def on_association_event(self, event: AssociationEvent) -> None:
        """Everything but messages; to be extended by how the association is established."""
        match event:
            case ReleaseRequested():
                self._is_release_wanted = True
                if self.performer is not None:
                    self.performer.cancel_all()
                self.operation_ended()
            case Released(may_close):
                self.end(None)
                if may_close:
                    self.close()
            case Aborted(source, reason):
                who = "the peer" if source == 0 else "the peer's upper layer"
                self.end(AssociationAborted(f"{who} aborted the association (reason {reason})"))
                self.close()

    def _on_command(self, command: Command) -> bool:
        assert self.performer is not None
        assert self.invoker is not None
        message = command.message
        if type(message) in REQUESTS:
            if not self.may_begin():
                return False
            self._taker = self.performer.begin(command)
        elif isinstance(message, CCancelRequest):
            self.performer.cancel(message.message_id_being_responded_to)
            self._taker = discard
        else:
            self._taker = self.invoker.receive(command)
        return True

    def may_begin(self) -> bool:
        """Whether one more request of the peer may be worked on now."""
        return self.performer is not None and self.performer.may_begin()

    def operation_ended(self) -> None:
        """One operation less: go on with what was held back, or part as the peer wishes."""
        if self.has_ended:
            return
        self.go_on()
        if self._is_release_wanted and not self.has_ended and not self._has_work():
            self._is_release_wanted = False
            self.write(self.association.confirm_release())
            self.on_release_confirmed()

    def _has_work(self) -> bool:
        return self.performer is not None and self.performer.has_work

    def on_release_confirmed(self) -> None:
        """The association is over; the peer is to close the connection."""
        self.end(None)
        self.start_timer(self.artim_seconds, self.on_artim)

    def on_artim(self) -> None:
        """ARTIM ran out: the peer did not do what it was to do (PS3.8 9.1.5)."""
        self.association.artim_expired()
        self.cut()

    def on_end(self, error: DimseError | None) -> None:
        if self.performer is not None:
            self.performer.end()
        if self.invoker is not None:
            self.invoker.end()

    async def store(
        self, context_id: int, request: CStoreRequest, source: Source
    ) -> CStoreResponse:
        """Send an instance and wait for its answer."""
        assert self.invoker is not None
        return await self.invoker.store(context_id, request, source)
