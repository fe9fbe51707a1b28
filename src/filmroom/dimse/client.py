"""Associate and ask: echo, store, find, move, get, n-*; every failure is a DimseError.

    association = await associate(host, port, calling="ME", called="PACS", contexts=[...])
    try:
        response = await association.store(sop_class_uid, sop_instance_uid, source)
    finally:
        await association.release()

`contexts` are (abstract syntax, [transfer syntaxes]) in the order they are proposed, at most 128.
`roles` are what we want to be beyond a plain SCU: SOP classes for which we also act as SCP (C-GET),
or Role values by SOP class.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as tls
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from filmroom.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from filmroom.dimse.association import (
    AssociateAccepted,
    AssociateRejected,
    Association,
    AssociationEvent,
    AssociationInfo,
    describe,
)
from filmroom.dimse.dialogue import Dialogue
from filmroom.dimse.errors import (
    AssociationRejected,
    ConnectFailed,
    DimseError,
    LocalProtocolError,
    NoAnswer,
)
from filmroom.dimse.exchange import OpenStore, Source, StoreSink
from filmroom.dimse.invoker import Invoker
from filmroom.dimse.items import (
    OperationsWindow,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)
from filmroom.dimse.messages import (
    MEDIUM,
    SOP_CLASS_NOT_SUPPORTED,
    VERIFICATION,
    CEchoRequest,
    CFindRequest,
    CGetRequest,
    CMoveRequest,
    CStoreRequest,
    CStoreResponse,
    answer,
    is_pending,
)
from filmroom.dimse.negotiation import MAX_CONTEXTS, MAX_PDU_BYTES, PresentationContext
from filmroom.dimse.pdu import Proposal, Rejection
from filmroom.dimse.performer import Handle

RELEASE_SECONDS = 10.0
REASONS: dict[tuple[int, int], str] = {  # (source, reason)                       PS3.8 9.3.4
    (1, 1): "it gave no reason",
    (1, 2): "it does not know the application context",
    (1, 3): "it does not know our calling AE title",
    (1, 7): "it is not called by that AE title",
    (2, 1): "it gave no reason",
    (2, 2): "it does not know the protocol version",
    (3, 1): "it is congested; try again later",
    (3, 2): "its limit of associations is reached; try again later",
}


async def associate(
    host: str,
    port: int,
    *,
    calling: str,
    called: str,
    contexts: Sequence[tuple[str, Sequence[str]]],
    roles: Mapping[str, Role] | Iterable[str] = (),
    extended: Mapping[str, bytes] | None = None,
    user_identity: UserIdentity | None = None,
    max_operations: int = 1,
    connect_timeout: float = 10.0,
    timeout: float = 60.0,
    ssl: tls.SSLContext | None = None,
    handle: Handle | None = None,
    max_length: int = MAX_PDU_BYTES,
) -> ClientAssociation:
    """Open an association; raises ConnectFailed, AssociationRejected or another DimseError.

    connect_timeout: seconds for the connection, and again for the answer to our request.
    timeout: seconds of silence with an answer outstanding. max_operations: how many operations may
    be outstanding either way, if the peer agrees. handle: answers requests of the peer, such as
    N-EVENT-REPORT (as Provider.handle does).
    """
    proposal = Proposal(
        called_ae_title=called,
        calling_ae_title=calling,
        contexts=_numbered(contexts),
        user=UserInformation(
            max_length=max_length,
            implementation_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
            operations=_window(max_operations),
            roles=_roles(roles),
            extended=extended or {},
            user_identity=user_identity,
        ),
    )
    link = ClientLink(proposal, handle=handle, timeout=timeout)
    await _connect(link, host, port, f"{called} at {host} port {port}", connect_timeout, ssl)
    return ClientAssociation(link)


async def _connect(
    link: ClientLink,
    host: str,
    port: int,
    peer: str,
    seconds: float,
    context: tls.SSLContext | None,
) -> None:
    """Connect, and wait for the association; peer: how to call it in an error."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_connection(
                lambda: link, host, port, ssl=context, server_hostname=host if context else None
            )
    except TimeoutError:
        raise ConnectFailed(f"{peer} did not answer within {seconds:g} s") from None
    except OSError as error:
        raise ConnectFailed(f"cannot connect to {peer}: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(seconds):
            await link.is_established
    except TimeoutError:
        link.cut()
        raise NoAnswer(f"{peer} did not answer our association request in time") from None
    except DimseError as error:
        link.close()
        error.args = (f"{peer}: {error}",)
        raise
    except asyncio.CancelledError:
        link.cut()
        raise


def _numbered(contexts: Sequence[tuple[str, Sequence[str]]]) -> tuple[ProposedContext, ...]:
    if not 0 < len(contexts) <= MAX_CONTEXTS:
        raise LocalProtocolError(f"{len(contexts)} presentation contexts, 1-{MAX_CONTEXTS} allowed")
    return tuple(
        ProposedContext(2 * at + 1, abstract_syntax, tuple(syntaxes))
        for at, (abstract_syntax, syntaxes) in enumerate(contexts)
    )


def _window(max_operations: int) -> OperationsWindow | None:
    if max_operations == 1:
        return None
    return OperationsWindow(max_operations, max_operations)


def _roles(roles: Mapping[str, Role] | Iterable[str]) -> dict[str, Role]:
    if isinstance(roles, Mapping):
        return dict(roles)
    return {uid: Role(scu=True, scp=True) for uid in roles}


class ClientLink(Dialogue):
    """The connection of one association of ours."""

    def __init__(self, proposal: Proposal, *, handle: Handle | None, timeout: float) -> None:
        super().__init__(
            Association(is_requestor=True, max_length=proposal.user.max_length),
            artim_seconds=RELEASE_SECONDS,
            idle_seconds=0,
        )
        self._proposal = proposal
        self._handle = handle
        self._timeout = timeout
        self.open_store: OpenStore = _refuse_store
        self.is_established: asyncio.Future[None] = self.loop.create_future()
        self.is_over: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(self.association.request(self._proposal))

    def on_association_event(self, event: AssociationEvent) -> None:
        match event:
            case AssociateAccepted(answered):
                terms = self.association.acceptance
                assert terms is not None
                info = describe(
                    self._proposal, answered, terms, address=self.address, is_requestor=True
                )
                self.open(
                    info,
                    is_requestor=True,
                    open_store=self._open_store,
                    handle=self._handle,
                    answer_seconds=self._timeout,
                )
                if not self.is_established.done():
                    self.is_established.set_result(None)
            case AssociateRejected(rejection):
                self.end(_rejected(rejection))
                self.close()
            case _:
                super().on_association_event(event)

    def _open_store(
        self, request: CStoreRequest, context: PresentationContext, info: AssociationInfo
    ) -> StoreSink:
        return self.open_store(request, context, info)

    def on_end(self, error: DimseError | None) -> None:
        super().on_end(error)
        if not self.is_established.done():
            self.is_established.set_exception(error or self.gone())
        if not self.is_over.done():
            self.is_over.set_result(None)


def _rejected(rejection: Rejection) -> AssociationRejected:
    why = REASONS.get((rejection.source, rejection.reason), f"reason {rejection.reason}")
    return AssociationRejected(
        f"the association was rejected: {why}",
        result=rejection.result,
        source=rejection.source,
        reason=rejection.reason,
    )


class _RefusingSink:
    """For instances that nobody asked for."""

    def __init__(self, request: CStoreRequest) -> None:
        self._request = request

    def write(self, data: memoryview, /) -> None:
        """Nobody wants it."""

    async def finish(self) -> CStoreResponse:
        response: CStoreResponse = answer(self._request, SOP_CLASS_NOT_SUPPORTED)
        return response

    def abandon(self) -> None:
        """There is nothing to abandon."""


def _refuse_store(
    request: CStoreRequest, context: PresentationContext, info: AssociationInfo
) -> StoreSink:
    return _RefusingSink(request)


class ClientAssociation:
    """An established association with a peer."""

    def __init__(self, link: ClientLink) -> None:
        self._link = link
        self.info: AssociationInfo = link.info

    async def __aenter__(self) -> ClientAssociation:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.release()
        else:
            self.abort()

    @property
    def is_open(self) -> bool:
        return not self._link.has_ended

    @property
    def _invoker(self) -> Invoker:
        assert self._link.invoker is not None
        return self._link.invoker

    def context_for(self, abstract_syntax: str, transfer_syntax: str = "") -> PresentationContext:
        """The first accepted context for it; LocalProtocolError when there is none."""
        for context in self.info.contexts.values():
            if context.abstract_syntax == abstract_syntax and transfer_syntax in (
                "",
                context.transfer_syntax,
            ):
                return context
        raise LocalProtocolError(
            f"{self.info.called_ae_title} accepted no presentation context for {abstract_syntax}"
        )

    async def echo(self) -> int:
        """C-ECHO; its status."""
        response, _ = await self.request(VERIFICATION, CEchoRequest(0))
        return int(response.status)

    async def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        source: Source,
        *,
        priority: int = MEDIUM,
        move_originator: tuple[str, int] | None = None,
        context_id: int | None = None,
    ) -> CStoreResponse:
        """C-STORE. move_originator: AE title and message ID of the C-MOVE behind it."""
        if context_id is None:
            context_id = self.context_for(sop_class_uid).id
        title, message_id = move_originator or ("", None)
        request = CStoreRequest(0, sop_class_uid, sop_instance_uid, priority, title, message_id)
        return await self._link.store(context_id, request, source)

    def find(
        self, root_uid: str, identifier: bytes, *, priority: int = MEDIUM
    ) -> AsyncIterator[tuple[int, bytes | None]]:
        """C-FIND: (status, identifier) per response, the final one included.

        Identifiers are in the transfer syntax of `context_for(root_uid)`. Leaving early
        cancels: close the iterator (contextlib.aclosing) to have that done at once.
        """
        request = CFindRequest(0, root_uid, priority)
        return _pairs(self.responses(root_uid, request, identifier))

    def move(
        self, root_uid: str, identifier: bytes, destination: str, *, priority: int = MEDIUM
    ) -> AsyncIterator[Any]:
        """C-MOVE: every CMoveResponse, the final one included. Leaving early cancels."""
        request = CMoveRequest(0, root_uid, destination, priority)
        return _firsts(self.responses(root_uid, request, identifier))

    async def get(
        self, root_uid: str, identifier: bytes, on_store: OpenStore, *, priority: int = MEDIUM
    ) -> AsyncIterator[Any]:
        """C-GET: every CGetResponse; instances go to sinks that `on_store` opens."""
        self._link.open_store = on_store
        request = CGetRequest(0, root_uid, priority)
        try:
            async with contextlib.aclosing(
                self.responses(root_uid, request, identifier)
            ) as responses:
                async for response, _ in responses:
                    yield response
        finally:
            self._link.open_store = _refuse_store

    async def request(
        self, abstract_syntax: str, request: Any, data_set: bytes | None = None
    ) -> tuple[Any, bytes | None]:
        """Any request with one response, such as N-ACTION: the response and its data set.

        The message ID of `request` may be 0: one is given.
        """
        context = self.context_for(abstract_syntax)
        async with self._invoker.call(context.id, request, data_set) as call:
            return await self._invoker.next_answer(call)

    async def responses(
        self, abstract_syntax: str, request: Any, identifier: bytes | None
    ) -> AsyncGenerator[tuple[Any, bytes | None], None]:
        """Any request with several responses; leaving early sends a C-CANCEL-RQ."""
        context = self.context_for(abstract_syntax)
        async with self._invoker.call(context.id, request, identifier) as call:
            is_final = False
            try:
                while not is_final:
                    response, data_set = await self._invoker.next_answer(call)
                    is_final = not is_pending(response.status)
                    yield response, data_set
            except GeneratorExit:
                await self._invoker.cancel(call)
                while not is_final:
                    response, _ = await self._invoker.next_answer(call)
                    is_final = not is_pending(response.status)
                raise

    async def release(self) -> None:
        """Part in peace: A-RELEASE, then close. Harmless when the association is over."""
        link = self._link
        if link.has_ended:
            link.close()
            return
        link.write(link.association.release())
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await link.is_over
        except TimeoutError:
            link.abort("the peer did not confirm the release")

    def abort(self) -> None:
        """Part at once: A-ABORT. Harmless when the association is over."""
        self._link.abort("we aborted the association")


async def _pairs(
    responses: AsyncGenerator[tuple[Any, bytes | None], None],
) -> AsyncIterator[tuple[int, bytes | None]]:
    async with contextlib.aclosing(responses):
        async for response, data_set in responses:
            yield response.status, data_set


async def _firsts(responses: AsyncGenerator[tuple[Any, bytes | None], None]) -> AsyncIterator[Any]:
    async with contextlib.aclosing(responses):
        async for response, _ in responses:
            yield response
