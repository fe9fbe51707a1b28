"""An association as one object: bytes in, events out; messages in, bytes out. No socket, no clock.

Whoever owns the socket feeds `receive_data`, takes events with `next_event` until it gives None,
and sends whatever the other methods return. RemoteProtocolError from `next_event` means: send
`abort_for(error)`, then close. Everything that changes the state goes through `upper_layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeAlias

from filmroom.dimse import pdu
from filmroom.dimse.commands import encode_command
from filmroom.dimse.errors import (
    AbortReason,
    AbortSource,
    LocalProtocolError,
    RemoteProtocolError,
)
from filmroom.dimse.items import OperationsWindow, UserIdentity
from filmroom.dimse.messages import Message
from filmroom.dimse.negotiation import Accept, Acceptance, PresentationContext, Reject, agreed
from filmroom.dimse.pdu import LAST, Pdu, PduReader, PduType, Piece
from filmroom.dimse.pdv import Command, Data, MessageReader, cut, fragment_bytes, head
from filmroom.dimse.upper_layer import Action, Event, State, UpperLayer

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """Who speaks with whom on what terms. `id` is unique within this process.

    `max_length` is the peer's: how long a P-DATA-TF body it takes, 0 is no limit.
    `extended` is the application information as it was answered, per SOP class;
    `proposed_extended` as the requestor sent it.
    """

    calling_ae_title: str
    called_ae_title: str
    address: str
    max_length: int
    contexts: Mapping[int, PresentationContext]
    operations: OperationsWindow
    extended: Mapping[str, bytes] = field(default_factory=dict)
    proposed_extended: Mapping[str, bytes] = field(default_factory=dict)
    user_identity: UserIdentity | None = None
    implementation_uid: str = ""
    implementation_version: str = ""
    id: int = field(default_factory=lambda: next(_numbers))


def describe(
    proposal: pdu.Proposal,
    answer: pdu.Answer,
    terms: Acceptance,
    *,
    address: str,
    is_requestor: bool,
) -> AssociationInfo:
    """What is worth knowing of an association; of a user identity never its passcode."""
    theirs = answer.user if is_requestor else proposal.user
    identity = proposal.user.user_identity
    return AssociationInfo(
        calling_ae_title=proposal.calling_ae_title,
        called_ae_title=proposal.called_ae_title,
        address=address,
        max_length=theirs.max_length,
        contexts=terms.contexts,
        operations=terms.operations,
        extended=terms.extended,
        proposed_extended=proposal.user.extended,
        user_identity=replace(identity, secondary=b"") if identity else None,
        implementation_uid=theirs.implementation_uid,
        implementation_version=theirs.implementation_version,
    )


@dataclass(frozen=True, slots=True)
class AssociateRequested:
    """Answer with `accept` or `reject`."""

    proposal: pdu.Proposal


@dataclass(frozen=True, slots=True)
class AssociateAccepted:
    """Our request was accepted; `Association.acceptance` holds the terms."""

    answer: pdu.Answer


@dataclass(frozen=True, slots=True)
class AssociateRejected:
    """Our request was refused; close the connection."""

    rejection: pdu.Rejection


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The peer is done; answer with `confirm_release` when our own work is."""


@dataclass(frozen=True, slots=True)
class Released:
    """Our release was confirmed. `may_close`: nothing more is to be said (AR-3)."""

    may_close: bool


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer aborted; close the connection."""

    source: int
    reason: int


AssociationEvent: TypeAlias = (
    Command
    | Data
    | AssociateRequested
    | AssociateAccepted
    | AssociateRejected
    | ReleaseRequested
    | Released
    | Aborted
)

_ABORTS = (Action.ABORT_AS_USER, Action.ABORT_AS_PROVIDER, Action.ABORT_AGAIN)
_CAN_RECEIVE = (State.ESTABLISHED, State.AWAITING_RELEASE_RP)
_NOTHING_TO_ABORT = (State.IDLE, State.AWAITING_ASSOCIATE_RQ, State.AWAITING_CLOSE)


class Association:
    """One side of an association. `max_length` is what we announce for P-DATA-TF bodies."""

    def __init__(self, *, is_requestor: bool, max_length: int) -> None:
        self._upper_layer = UpperLayer(is_requestor=is_requestor)
        self._reader = PduReader(max_length)
        self._messages = MessageReader()
        self._proposal: pdu.Proposal | None = None
        self._source = AbortSource.SERVICE_PROVIDER
        self._is_deaf = False
        self._fragment_bytes = 0
        self.acceptance: Acceptance | None = None
        if is_requestor:
            self._upper_layer.advance(Event.ASSOCIATE_REQUESTED)
        else:
            self._upper_layer.advance(Event.TRANSPORT_OPENED)

    @property
    def state(self) -> State:
        return self._upper_layer.state

    @property
    def is_between_messages(self) -> bool:
        """No message is half received."""
        return self._messages.is_between_messages

    @property
    def gathered_bytes(self) -> int:
        """What is kept of a PDU that is not whole yet."""
        return self._reader.gathered_bytes

    @property
    def fragment_bytes(self) -> int:
        """How many bytes of a message one P-DATA-TF to the peer carries."""
        return self._fragment_bytes

    # --- what arrives ---

    def receive_data(self, data: memoryview) -> None:
        """Add what arrived; take all events, or call `keep_data`, before `data` changes."""
        if not self._is_deaf:
            self._reader.feed(data)

    def keep_data(self) -> None:
        """Copy what no event was made of yet, so that the receive buffer can be reused."""
        self._reader.keep()

    def next_event(self) -> AssociationEvent | None:
        """The next thing the peer did; None when more bytes are needed.

        Raises RemoteProtocolError; whatever else arrives after that is ignored.
        """
        while not self._is_deaf:
            try:
                found = self._reader.next()
                if found is None:
                    return None
                event = self._on_piece(found) if type(found) is Piece else self._on_pdu(found)
            except RemoteProtocolError:
                if not self._is_deaf:
                    self._fall_silent(self._upper_layer.advance(Event.INVALID_PDU_RECEIVED))
                raise
            if event is not None:
                return event
        return None

    def _on_piece(self, piece: Piece) -> AssociationEvent | None:
        # In these two states P-DATA leaves the machine where it is: no need to ask the table.
        if self._upper_layer.state in _CAN_RECEIVE:
            return self._messages.add(piece)
        self._advance(Event.P_DATA_RECEIVED, "P-DATA-TF")
        return None

    def _on_pdu(self, found: Pdu | Piece) -> AssociationEvent | None:
        assert isinstance(found, Pdu)
        event, decode = _RECEIVED[found.type]
        decoded = decode(found.body)
        action = self._advance(event, PduType(found.type).name)
        return self._indicate(action, decoded)

    def _advance(self, event: Event, name: str) -> Action:
        state = self._upper_layer.state
        action = self._upper_layer.advance(event)
        if action in _ABORTS:
            self._fall_silent(action)
            raise RemoteProtocolError(
                f"{name} is not allowed while {state.name}", AbortReason.UNEXPECTED_PDU
            )
        return action

    def _fall_silent(self, action: Action) -> None:
        self._is_deaf = True
        if action is Action.ABORT_AS_USER:
            self._source = AbortSource.SERVICE_USER

    def _indicate(self, action: Action, decoded: Any) -> AssociationEvent | None:
        match action:
            case Action.INDICATE_ASSOCIATE:
                self._proposal = decoded
                return AssociateRequested(decoded)
            case Action.CONFIRM_ACCEPTED:
                assert self._proposal is not None
                self._agree(agreed(self._proposal, decoded))
                return AssociateAccepted(decoded)
            case Action.INDICATE_RELEASE | Action.INDICATE_RELEASE_COLLISION:
                return ReleaseRequested()
            case Action.CONFIRM_RELEASE_IN_COLLISION:
                return Released(may_close=False)
            case Action.IGNORE:
                return None
        self._is_deaf = True
        match action:
            case Action.CONFIRM_REJECTED:
                return AssociateRejected(decoded)
            case Action.CONFIRM_RELEASE_AND_CLOSE:
                return Released(may_close=True)
        return Aborted(*decoded)

    def _agree(self, acceptance: Acceptance) -> None:
        self._proposal = None
        self.acceptance = acceptance
        self._messages.context_ids = frozenset(acceptance.contexts)
        if self._upper_layer.is_requestor:
            theirs = acceptance.max_length_of_acceptor
        else:
            theirs = acceptance.max_length_of_requestor
        self._fragment_bytes = fragment_bytes(theirs)

    # --- what we say; each returns the bytes to send ---

    def request(self, proposal: pdu.Proposal) -> bytes:
        """A-ASSOCIATE-RQ, once the connection is there."""
        self._upper_layer.advance(Event.TRANSPORT_CONNECTED)
        self._proposal = proposal
        return pdu.encode_associate_rq(proposal)

    def accept(self, decision: Accept) -> bytes:
        """A-ASSOCIATE-AC."""
        self._upper_layer.advance(Event.ASSOCIATE_ACCEPTED)
        self._agree(decision.acceptance)
        return pdu.encode_associate_ac(decision.answer)

    def reject(self, decision: Reject) -> bytes:
        """A-ASSOCIATE-RJ; the peer is to close the connection."""
        self._upper_layer.advance(Event.ASSOCIATE_REJECTED)
        return pdu.encode_associate_rj(decision.rejection)

    def message(self, context_id: int, message: Message, data_set: bytes | None = None) -> bytes:
        """A whole message, ready for one send."""
        return b"".join(self.message_head(context_id, message, data_set))

    def messages(self, context_id: int, message: Message, data_sets: Sequence[bytes]) -> bytes:
        """A message once with each of these data sets, ready for one send."""
        self._check_can_send(context_id)
        size = self._fragment_bytes
        command = b"".join(
            cut(context_id, encode_command(message, has_data_set=True), size, is_command=True)
        )
        parts: list[bytes | memoryview] = []
        for data_set in data_sets:
            parts.append(command)
            if len(data_set) <= size:
                parts += (head(context_id, len(data_set), LAST), data_set)
            else:
                parts += cut(context_id, data_set, size)
        return b"".join(parts)

    def message_head(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None
    ) -> list[bytes | memoryview]:
        """The command set, and the whole data set when given, as buffers for one gathered send.

        With `data_set` b"" a data set is announced and has to follow by `data_set_part`.
        """
        self._check_can_send(context_id)
        size = self._fragment_bytes
        command = encode_command(message, has_data_set=data_set is not None)
        buffers = cut(context_id, command, size, is_command=True)
        if data_set:
            buffers += cut(context_id, data_set, size)
        return buffers

    def data_set_part(
        self, context_id: int, data: bytes | memoryview, *, is_last: bool
    ) -> list[bytes | memoryview]:
        """The next bytes of a data set, as buffers that share memory with `data`."""
        self._check_can_send(context_id)
        return cut(context_id, data, self._fragment_bytes, is_last=is_last)

    def _check_can_send(self, context_id: int) -> None:
        self._upper_layer.advance(Event.P_DATA_REQUESTED)
        if self.acceptance is None or context_id not in self.acceptance.contexts:
            raise LocalProtocolError(f"presentation context {context_id} was not accepted")

    def release(self) -> bytes:
        """A-RELEASE-RQ."""
        self._upper_layer.advance(Event.RELEASE_REQUESTED)
        return pdu.encode_release_rq()

    def confirm_release(self) -> bytes:
        """A-RELEASE-RP."""
        self._upper_layer.advance(Event.RELEASE_ANSWERED)
        return pdu.encode_release_rp()

    def abort(self) -> bytes:
        """A-ABORT by us, the service user; nothing where the table has nothing to abort."""
        if self._upper_layer.state in _NOTHING_TO_ABORT:
            return b""
        self._upper_layer.advance(Event.ABORT_REQUESTED)
        self._is_deaf = True
        return pdu.encode_abort(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED)

    def abort_for(self, error: RemoteProtocolError) -> bytes:
        """A-ABORT in answer to what `next_event` raised; a reason only where it counts."""
        if self._source is AbortSource.SERVICE_USER:
            return pdu.encode_abort(self._source, AbortReason.NOT_SPECIFIED)
        return pdu.encode_abort(self._source, error.reason)

    # --- what the transport and the clock say ---

    def transport_closed(self) -> None:
        """The connection is gone, whoever closed it."""
        if self._upper_layer.state is not State.IDLE:
            self._upper_layer.advance(Event.TRANSPORT_CLOSED)
        self._is_deaf = True

    def artim_expired(self) -> None:
        """The ARTIM timer ran out (PS3.8 9.1.5); close the connection."""
        self._upper_layer.advance(Event.ARTIM_EXPIRED)
        self._is_deaf = True


def _nothing(body: memoryview) -> None:
    """Release PDUs say nothing but their type."""


_RECEIVED: dict[int, tuple[Event, Callable[[memoryview], Any]]] = {
    PduType.ASSOCIATE_RQ: (Event.ASSOCIATE_RQ_RECEIVED, pdu.decode_associate_rq),
    PduType.ASSOCIATE_AC: (Event.ASSOCIATE_AC_RECEIVED, pdu.decode_associate_ac),
    PduType.ASSOCIATE_RJ: (Event.ASSOCIATE_RJ_RECEIVED, pdu.decode_associate_rj),
    PduType.RELEASE_RQ: (Event.RELEASE_RQ_RECEIVED, _nothing),
    PduType.RELEASE_RP: (Event.RELEASE_RP_RECEIVED, _nothing),
    PduType.ABORT: (Event.ABORT_RECEIVED, pdu.decode_abort),
}
