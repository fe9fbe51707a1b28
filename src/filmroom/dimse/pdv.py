"""Messages <-> fragments under the peer's maximum length (PS3.8 Annex E, PS3.7 6.3.1)."""

from __future__ import annotations

from typing import NamedTuple

from filmroom.dimse.commands import MAX_COMMAND_BYTES, decode_command
from filmroom.dimse.errors import AbortReason, RemoteProtocolError
from filmroom.dimse.messages import Message
from filmroom.dimse.pdu import COMMAND, HEADER, LAST, P_DATA_TF, PDV, Piece

UNLIMITED_PDU_BYTES = 256 * 1024  # what we send at once to a peer that names no limit
SMALLEST_PDU_BYTES = PDV.size + 2  # a peer that names less could not be sent anything
NONE = -1  # no presentation context: 0 is not allowed, but may come


def fragment_bytes(max_length: int) -> int:
    """How many bytes of a message fit one P-DATA-TF of ours; even, as PS3.5 values are."""
    body = min(max_length or UNLIMITED_PDU_BYTES, UNLIMITED_PDU_BYTES)
    return (max(body, SMALLEST_PDU_BYTES) - PDV.size) & ~1


def cut(
    context_id: int,
    data: bytes | memoryview,
    size: int,
    *,
    is_command: bool = False,
    is_last: bool = True,
) -> list[bytes | memoryview]:
    """P-DATA-TF PDUs of one PDV each, as headers and views of `data`: nothing is copied.

    size: the most bytes a fragment may have. is_last: the message's command or data set ends
    with these bytes. Empty data makes one empty fragment.
    """
    kind = COMMAND if is_command else 0
    view = memoryview(data)
    total = len(view)
    last_at = (total - 1) // size * size if total else 0
    full = head(context_id, size, kind)
    buffers: list[bytes | memoryview] = []
    for at in range(0, last_at, size):
        buffers.append(full)
        buffers.append(view[at : at + size])
    buffers.append(head(context_id, total - last_at, kind | (LAST if is_last else 0)))
    if total:
        buffers.append(view[last_at:])
    return buffers


def head(context_id: int, length: int, control: int) -> bytes:
    """The headers of a P-DATA-TF with one PDV that carries `length` bytes."""
    pdv = PDV.pack(length + 2, context_id, control)
    return HEADER.pack(P_DATA_TF, PDV.size + length) + pdv


class Command(NamedTuple):
    """A message's command set is complete; its data set, if it has one, follows in pieces."""

    context_id: int
    message: Message
    has_data_set: bool


class Data(NamedTuple):
    """Some bytes of the data set of the last Command; `data` is valid until more is fed."""

    data: memoryview
    is_last: bool


class MessageReader:
    """Put pieces of PDVs together: commands whole, data sets as they come.

    The fragments of one message follow each other on one presentation context, command first;
    anything else is refused (PS3.8 Annex E.2). The command set is bounded.
    """

    __slots__ = ("_command", "_context_id", "_in_data_set", "context_ids")

    def __init__(self) -> None:
        self.context_ids: frozenset[int] = frozenset()
        self._command = b""
        self._context_id = NONE  # of the message that is on its way
        self._in_data_set = False

    @property
    def is_between_messages(self) -> bool:
        """Nothing has begun that has not ended."""
        return self._context_id == NONE

    def add(self, piece: Piece) -> Command | Data | None:
        """Take the next piece; what it completes, or the piece of a data set that it is."""
        context_id, control, data, ends_pdv = piece
        if context_id != self._context_id:
            self._begin(context_id)
        if bool(control & COMMAND) == self._in_data_set:
            what = "a command" if self._in_data_set else "a data set"
            raise RemoteProtocolError(
                f"a fragment of {what} out of place", AbortReason.UNEXPECTED_PDU_PARAMETER
            )
        ends_message_part = ends_pdv and bool(control & LAST)
        if not self._in_data_set:
            return self._add_command(data, ends_message_part)
        if ends_message_part:
            self._in_data_set = False
            self._context_id = NONE
        return Data(data, ends_message_part)

    def _begin(self, context_id: int) -> None:
        if self._context_id != NONE:
            raise RemoteProtocolError(
                f"a fragment on context {context_id} within a message on {self._context_id}",
                AbortReason.UNEXPECTED_PDU_PARAMETER,
            )
        if context_id not in self.context_ids:
            raise RemoteProtocolError(
                f"presentation context {context_id} was not accepted",
                AbortReason.INVALID_PDU_PARAMETER_VALUE,
            )
        self._context_id = context_id

    def _add_command(self, data: memoryview, is_last: bool) -> Command | None:
        if len(self._command) + len(data) > MAX_COMMAND_BYTES:
            raise RemoteProtocolError(f"a command set longer than {MAX_COMMAND_BYTES} bytes")
        command = self._command + bytes(data) if self._command else bytes(data)
        if not is_last:
            self._command = command
            return None
        self._command = b""
        message, has_data_set = decode_command(command)
        context_id = self._context_id
        self._in_data_set = has_data_set
        if not has_data_set:
            self._context_id = NONE
        return Command(context_id, message, has_data_set)
