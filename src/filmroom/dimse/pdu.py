"""Protocol Data Units <-> bytes (PS3.8 9.3). Pure: no socket, no clock, no state.

A P-DATA-TF is never gathered: its PDVs are handed out piece by piece as they arrive, as views of
what was fed, so that a fragment goes from the receive buffer to its consumer without a copy. The
other PDUs are small; each is gathered up to the length its type may have, checked before the
first byte of it is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from filmroom.dimse import items
from filmroom.dimse.errors import AbortReason, AbortSource, RemoteProtocolError

HEADER = struct.Struct(">BxI")  # PDU-type, reserved, PDU-length                    PS3.8 9.3.1
PDV = struct.Struct(">IBB")  # Item-length, context ID, message control header  PS3.8 9.3.5.1, E.2
ASSOCIATE = struct.Struct(">HH16s16s32x")  # protocol version, called, calling  PS3.8 9.3.2
LAST, COMMAND = 0b10, 0b01  # message control header bits                           PS3.8 E.2

APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
PROTOCOL_VERSION = 1

ASSOCIATE_LIMIT_BYTES = 1 << 19  # 128 contexts of 128 transfer syntaxes each
MAX_CONTEXTS_READ = 256  # 128 are possible; some more are rejected politely
SMALL_LIMIT_BYTES = 64  # the fixed PDUs have 4; a little more harms nobody
P_DATA_SLACK_BYTES = 4096  # peers that count the PDU header or PDV header wrongly


class PduType(IntEnum):
    """The seven PDUs."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


P_DATA_TF = int(PduType.P_DATA_TF)  # a plain int: it is compared for every fragment


@dataclass(frozen=True, slots=True)
class Proposal:
    """An A-ASSOCIATE-RQ: who asks whom for what (PS3.8 9.3.2)."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[items.ProposedContext, ...]
    user: items.UserInformation = field(default_factory=items.UserInformation)
    application_context: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = PROTOCOL_VERSION  # a bit field


@dataclass(frozen=True, slots=True)
class Answer:
    """An A-ASSOCIATE-AC (PS3.8 9.3.3)."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[items.AnsweredContext, ...]
    user: items.UserInformation = field(default_factory=items.UserInformation)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ, as numbers (PS3.8 9.3.4)."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 2 provider (ACSE), 3 provider (presentation)
    reason: int


class Pdu(NamedTuple):
    """A whole PDU other than P-DATA-TF."""

    type: int
    body: memoryview


class Piece(NamedTuple):
    """Some bytes of one PDV; `data` is valid until more is fed, so use or copy it before."""

    context_id: int
    control: int  # message control header: LAST | COMMAND
    data: memoryview
    ends_pdv: bool


class PduReader:
    """Cut a byte stream into PDUs and PDV pieces: `feed`, then `next` until it gives None.

    `max_length` is what we announced for P-DATA-TF; 0 is no limit. An exception leaves the
    reader unusable: there is no telling where the next PDU begins.
    """

    def __init__(self, max_length: int) -> None:
        associate = ASSOCIATE_LIMIT_BYTES
        self._limits = dict.fromkeys(PduType, SMALL_LIMIT_BYTES)
        self._limits[PduType.ASSOCIATE_RQ] = self._limits[PduType.ASSOCIATE_AC] = associate
        self._limits[PduType.P_DATA_TF] = max_length + P_DATA_SLACK_BYTES if max_length else 2**32
        self._view = memoryview(b"")
        self._at = 0
        self._gathered = bytearray()
        self._pdu_type = 0  # of a PDU whose header is read and whose body is not
        self._pdu_left = 0
        self._in_pdv = False
        self._pdv_left = 0
        self._context_id = 0
        self._control = 0

    def feed(self, data: memoryview) -> None:
        """Add what arrived. `data` is not copied while `next` takes all of it."""
        rest = self._view[self._at :]
        self._view = memoryview(bytes(rest) + bytes(data)) if len(rest) else data
        self._at = 0

    def keep(self) -> None:
        """Copy what was not taken yet, so that the caller may reuse its buffer."""
        self._view = memoryview(bytes(self._view[self._at :]))
        self._at = 0

    @property
    def gathered_bytes(self) -> int:
        """What is kept of a PDU that is not whole yet."""
        return len(self._gathered)

    def next(self) -> Pdu | Piece | None:
        """The next whole PDU or piece of a PDV; None when more bytes are needed."""
        while True:
            if self._in_pdv:
                return self._piece()
            if self._pdu_type == P_DATA_TF:
                if not self._open_pdv():
                    return None
            elif self._pdu_type:
                body = self._gather(self._pdu_left)
                if body is None:
                    return None
                pdu, self._pdu_type = Pdu(self._pdu_type, body), 0
                return pdu
            elif not self._open_pdu():
                return None

    def _open_pdu(self) -> bool:
        if self._at < len(self._view) and not self._gathered:
            self._refuse_unknown(self._view[self._at])
        header = self._gather(HEADER.size)
        if header is None:
            return False
        pdu_type, length = HEADER.unpack(header)
        limit = self._limits[pdu_type]
        if length > limit:
            raise RemoteProtocolError(
                f"{PduType(pdu_type).name} PDU of {length} bytes, {limit} allowed"
            )
        if pdu_type == P_DATA_TF and length == 0:
            raise RemoteProtocolError("P-DATA-TF without a PDV")
        self._pdu_type, self._pdu_left = pdu_type, length
        return True

    def _refuse_unknown(self, pdu_type: int) -> None:
        # From its first byte on: noise, HTTP and TLS need not send a whole header to be known.
        if pdu_type not in self._limits:
            raise RemoteProtocolError(
                f"PDU type {pdu_type:02X}H does not exist", AbortReason.UNRECOGNIZED_PDU
            )

    def _open_pdv(self) -> bool:
        if self._pdu_left < PDV.size:
            raise RemoteProtocolError("P-DATA-TF ends inside a PDV header")
        header = self._gather(PDV.size)
        if header is None:
            return False
        length, self._context_id, self._control = PDV.unpack(header)
        self._pdu_left -= PDV.size
        self._pdv_left = length - 2  # Item-length counts from the context ID on
        if length < 2 or self._pdv_left > self._pdu_left:
            raise RemoteProtocolError(f"PDV length {length} does not fit its PDU")
        self._in_pdv = True
        return True

    def _piece(self) -> Piece | None:
        at, left = self._at, self._pdv_left
        data = self._view[at : at + left]
        count = len(data)
        if count == 0 and left:
            return None
        self._at = at + count
        self._pdu_left -= count
        self._pdv_left = left = left - count
        if left == 0:
            self._in_pdv = False
            if self._pdu_left == 0:
                self._pdu_type = 0
        return Piece(self._context_id, self._control, data, left == 0)

    def _gather(self, count: int) -> memoryview | None:
        """Take exactly `count` bytes, or keep what there is and give None."""
        at, gathered = self._at, self._gathered
        if not gathered and len(self._view) - at >= count:
            self._at = at + count
            return self._view[at : at + count]
        piece = self._view[at : at + count - len(gathered)]
        gathered += piece
        self._at = at + len(piece)
        if len(gathered) < count:
            return None
        self._gathered = bytearray()
        return memoryview(bytes(gathered))


def encode_associate_rq(proposal: Proposal) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    return _associate(PduType.ASSOCIATE_RQ, proposal, proposal.contexts, proposal.user)


def encode_associate_ac(answer: Answer) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 9.3.3)."""
    return _associate(PduType.ASSOCIATE_AC, answer, answer.contexts, answer.user)


def _associate(
    pdu_type: PduType,
    titles: Proposal | Answer,
    contexts: Iterable[items.ProposedContext | items.AnsweredContext],
    user: items.UserInformation,
) -> bytes:
    application_context = APPLICATION_CONTEXT_NAME.encode()
    body = b"".join(
        [
            ASSOCIATE.pack(
                PROTOCOL_VERSION,
                0,
                titles.called_ae_title.encode("latin-1").ljust(16),
                titles.calling_ae_title.encode("latin-1").ljust(16),
            ),
            items.item(items.APPLICATION_CONTEXT, application_context),
            *(items.encode_context(context) for context in contexts),
            items.encode_user_information(user),
        ]
    )
    return HEADER.pack(pdu_type, len(body)) + body


def decode_associate_rq(body: memoryview) -> Proposal:
    """The body of an A-ASSOCIATE-RQ; raises RemoteProtocolError."""
    version, called, calling = _titles(body)
    contexts: list[items.ProposedContext] = []
    user = items.UserInformation()
    application_context = ""
    for item_type, value in items.iter_items(body[ASSOCIATE.size :]):
        if item_type == items.PROPOSED_CONTEXT:
            contexts.append(items.decode_proposed_context(value))
            if len(contexts) > MAX_CONTEXTS_READ:
                raise RemoteProtocolError(f"more than {MAX_CONTEXTS_READ} presentation contexts")
        elif item_type == items.APPLICATION_CONTEXT:
            application_context = items.text(value)
        elif item_type == items.USER_INFORMATION:
            user = items.decode_user_information(value)
    return Proposal(called, calling, tuple(contexts), user, application_context, version)


def decode_associate_ac(body: memoryview) -> Answer:
    """The body of an A-ASSOCIATE-AC; raises RemoteProtocolError."""
    _, called, calling = _titles(body)
    contexts: list[items.AnsweredContext] = []
    user = items.UserInformation()
    for item_type, value in items.iter_items(body[ASSOCIATE.size :]):
        if item_type == items.ANSWERED_CONTEXT:
            contexts.append(items.decode_answered_context(value))
        elif item_type == items.USER_INFORMATION:
            user = items.decode_user_information(value)
    return Answer(called, calling, tuple(contexts), user)


def _titles(body: memoryview) -> tuple[int, str, str]:
    if len(body) < ASSOCIATE.size:
        raise RemoteProtocolError("an associate PDU ends before its items")
    version, _, called, calling = ASSOCIATE.unpack_from(body)
    return version, items.text(memoryview(called)), items.text(memoryview(calling))


def encode_associate_rj(rejection: Rejection) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _fixed(PduType.ASSOCIATE_RJ, rejection.result, rejection.source, rejection.reason)


def decode_associate_rj(body: memoryview) -> Rejection:
    """The body of an A-ASSOCIATE-RJ."""
    return Rejection(*_three(body))


def encode_release_rq() -> bytes:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""
    return _fixed(PduType.RELEASE_RQ, 0, 0, 0)


def encode_release_rp() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return _fixed(PduType.RELEASE_RP, 0, 0, 0)


def encode_abort(source: AbortSource, reason: AbortReason) -> bytes:
    """A-ABORT (PS3.8 9.3.8)."""
    return _fixed(PduType.ABORT, 0, source, reason)


def decode_abort(body: memoryview) -> tuple[int, int]:
    """(source, reason) of an A-ABORT."""
    _, source, reason = _three(body)
    return source, reason


def _fixed(pdu_type: PduType, first: int, second: int, third: int) -> bytes:
    return HEADER.pack(pdu_type, 4) + bytes((0, first, second, third))


def _three(body: memoryview) -> tuple[int, int, int]:
    if len(body) < 4:
        raise RemoteProtocolError("a PDU of fixed size is too short")
    return body[1], body[2], body[3]
