"""What an owner of this room offers to it, and what it is given: sinks, sources, providers.

    Server --open_store--> StoreSink       a data set that comes in, fragment by fragment
    Server --handle------> Exchange        any other operation: answer it with `respond`
    store  --read--------> Source          a data set that goes out

Everything runs on the event loop of the association: nothing here may block for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.messages import CStoreRequest, CStoreResponse, Request, Response, is_pending
from filmroom.dimse.negotiation import Policy, PresentationContext, Reject


class Source(Protocol):
    """The bytes of a data set, in order; `size` of them, known before the first is sent."""

    @property
    def size(self) -> int: ...

    async def ready(self, length: int, /) -> None:
        """Return when the next `length` bytes can be read without waiting."""
        ...

    def read(self, length: int, /) -> bytes | memoryview:
        """Exactly the next `length` bytes. A view must stay as it is until it is sent."""
        ...


class StoreSink(Protocol):
    """Where the data set of one C-STORE goes."""

    def write(self, data: memoryview, /) -> None:
        """Consume or copy before returning: the memory is reused for the next read.

        What is expected to go wrong is kept for `finish` to answer. An exception is a bug: it is
        logged, the rest of the data set is let pass, `abandon` is called, the answer is 0110H.
        """
        ...

    async def finish(self) -> CStoreResponse:
        """The data set is whole: answer. Runs to its end even when the peer is gone by then."""
        ...

    def abandon(self) -> None:
        """The data set will never be whole. Never raises."""
        ...


OpenStore: TypeAlias = Callable[[CStoreRequest, PresentationContext, AssociationInfo], StoreSink]


class Wire(Protocol):
    """What an exchange needs of its association."""

    async def send(
        self, context_id: int, message: Response, data_set: bytes | None = None
    ) -> None: ...

    async def send_all(
        self, context_id: int, message: Response, data_sets: Sequence[bytes]
    ) -> None: ...

    async def store(
        self, context_id: int, request: CStoreRequest, source: Source
    ) -> CStoreResponse: ...


class Exchange:
    """One operation in progress, other than a C-STORE.

    `cancelled` becomes true by a C-CANCEL-RQ, when the peer wants to release, and when the
    association ends; look at it between any two steps. After the final response it means nothing.
    """

    __slots__ = ("_wire", "cancelled", "context", "info", "request", "status")

    def __init__(
        self, info: AssociationInfo, context: PresentationContext, request: Request, wire: Wire
    ) -> None:
        self.info = info
        self.context = context
        self.request = request
        self.cancelled = False
        self.status: int | None = None  # of the final response, once it is sent
        self._wire = wire

    async def respond(self, response: Response, identifier: bytes | None = None) -> None:
        """Send a response, and wait while the peer is behind; DimseError when it is gone."""
        if not is_pending(response.status):
            self.status = response.status
        await self._wire.send(self.context.id, response, identifier)

    async def respond_all(self, pending: Response, identifiers: Sequence[bytes]) -> None:
        """The same pending response with each of these identifiers, in one send."""
        await self._wire.send_all(self.context.id, pending, identifiers)

    async def store(self, request: CStoreRequest, context_id: int, source: Source) -> int:
        """A C-STORE sub-operation on this association (C-GET); returns its status.

        `request.message_id` is replaced where it is taken. Raises DimseError when the peer is gone.
        """
        response = await self._wire.store(context_id, request, source)
        return response.status


class Provider(Protocol):
    """Who answers on the server's side."""

    def policy(self, calling: str, called: str, address: str) -> Policy | Reject:
        """Who may associate with what."""
        ...

    def open_store(
        self, request: CStoreRequest, context: PresentationContext, info: AssociationInfo, /
    ) -> StoreSink:
        """Never raises: to refuse, return a sink whose `finish` says so."""
        ...

    async def handle(self, request: Request, identifier: bytes | None, exchange: Exchange) -> None:
        """Everything else: sends its own responses, the final one last.

        Returning without a final response, or raising, makes it 0110H.
        """
        ...


class Observer:
    """Told what happens, for counting; override what is of interest. Must be quick."""

    def associated(self, info: AssociationInfo) -> None:
        """An association was accepted."""

    def refused(self, calling: str, called: str, address: str, decision: Reject) -> None:
        """An association was rejected."""

    def ended(self, info: AssociationInfo, how: str) -> None:
        """An association ended: "released", "aborted" or "lost"."""

    def performed(
        self, info: AssociationInfo, request: Request, status: int, seconds: float, size: int
    ) -> None:
        """An operation was answered; size: bytes of its incoming data set."""
