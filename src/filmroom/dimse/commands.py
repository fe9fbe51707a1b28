"""The command set <-> message values (PS3.7 6.3.1, Annex E).

Always implicit VR little endian, group 0000 only, elements in ascending order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, NamedTuple

from filmroom.dimse.errors import RemoteProtocolError
from filmroom.dimse.messages import KNOWN, RESPONSE, Message, UnknownRequest, UnknownResponse

MAX_COMMAND_BYTES = 64 * 1024
NO_DATA_SET = 0x0101  # Command Data Set Type; anything else says "present"
HAS_DATA_SET = 0x0001
MAX_LO_CHARACTERS = 64

_ELEMENT = struct.Struct("<HHI")  # group, element, length
_US_ELEMENT = struct.Struct("<HHIH")
_GROUP_LENGTH = struct.Struct("<HHII")
_US = struct.Struct("<H")
_TAG = struct.Struct("<HH")
_COMMAND_FIELD, _DATA_SET_TYPE = 0x0100, 0x0800
_MESSAGE_ID, _RESPONDED_TO, _STATUS = 0x0110, 0x0120, 0x0900


class _Form(NamedTuple):
    """How a field lies in the command set: its element number and its kind."""

    element: int
    kind: str  # UI, AE, LO, US or AT


_FORMS: dict[str, _Form] = {
    "affected_sop_class_uid": _Form(0x0002, "UI"),
    "requested_sop_class_uid": _Form(0x0003, "UI"),
    "message_id": _Form(0x0110, "US"),
    "message_id_being_responded_to": _Form(0x0120, "US"),
    "move_destination": _Form(0x0600, "AE"),
    "priority": _Form(0x0700, "US"),
    "status": _Form(0x0900, "US"),
    "offending_elements": _Form(0x0901, "AT"),
    "error_comment": _Form(0x0902, "LO"),
    "error_id": _Form(0x0903, "US"),
    "affected_sop_instance_uid": _Form(0x1000, "UI"),
    "requested_sop_instance_uid": _Form(0x1001, "UI"),
    "event_type_id": _Form(0x1002, "US"),
    "attribute_identifier_list": _Form(0x1005, "AT"),
    "action_type_id": _Form(0x1008, "US"),
    "remaining": _Form(0x1020, "US"),
    "completed": _Form(0x1021, "US"),
    "failed": _Form(0x1022, "US"),
    "warning": _Form(0x1023, "US"),
    "move_originator_ae_title": _Form(0x1030, "AE"),
    "move_originator_message_id": _Form(0x1031, "US"),
}


def encode_command(message: Message, *, has_data_set: bool) -> bytes:
    """The command set of a message, group length first. Empty fields are left out."""
    data_set_type = HAS_DATA_SET if has_data_set else NO_DATA_SET
    elements = {
        _COMMAND_FIELD: _encode_us(_COMMAND_FIELD, _command_field(message)),
        _DATA_SET_TYPE: _encode_us(_DATA_SET_TYPE, data_set_type),
    }
    for name, form in _LAYOUT[type(message)]:
        value = getattr(message, name)
        if value is not None and value not in ("", ()):
            elements[form.element] = _ENCODERS[form.kind](form.element, value)
    body = b"".join(elements[element] for element in sorted(elements))
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def decode_command(data: bytes) -> tuple[Message, bool]:
    """(message, whether a data set follows); raises RemoteProtocolError.

    A text that is missing becomes "": what that means is for the service to say. A number that
    is missing makes the message unusable.
    """
    values = _elements(data)
    command_field = _number(values, _COMMAND_FIELD)
    has_data_set = _number(values, _DATA_SET_TYPE) != NO_DATA_SET
    kind = KNOWN.get(command_field)
    if kind is None:
        return _unknown(command_field, values), has_data_set
    arguments: dict[str, Any] = {}
    for name, form in _LAYOUT[kind]:
        raw = values.get(form.element, b"")
        if raw:
            arguments[name] = _DECODERS[form.kind](raw)
        elif name in _REQUIRED[kind]:
            if form.kind == "US":
                raise RemoteProtocolError(f"{kind.__name__} without its {name}")
            arguments[name] = ""
    message: Message = kind(**arguments)
    return message, has_data_set


def _unknown(command_field: int, values: dict[int, bytes]) -> Message:
    if command_field & RESPONSE:
        responded_to = _number(values, _RESPONDED_TO)
        return UnknownResponse(responded_to, _number(values, _STATUS), command_field)
    return UnknownRequest(_number(values, _MESSAGE_ID), command_field)


def _command_field(message: Message) -> int:
    if isinstance(message, UnknownRequest | UnknownResponse):
        return message.command_field
    return message.COMMAND_FIELD


def _elements(data: bytes) -> dict[int, bytes]:
    """Element number -> value field."""
    found: dict[int, bytes] = {}
    at, total = 0, len(data)
    while at < total:
        if total - at < _ELEMENT.size:
            raise RemoteProtocolError("a command set ends inside an element")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group != 0 or length > total - at:
            raise RemoteProtocolError("a command set that is not one of implicit VR little endian")
        found[element] = data[at : at + length]
        at += length
    return found


def _number(values: dict[int, bytes], element: int) -> int:
    return _decode_us(values.get(element, b""))


def _encode_us(element: int, value: int) -> bytes:
    return _US_ELEMENT.pack(0, element, 2, value)


def _encode_text(element: int, value: str, padding: bytes) -> bytes:
    raw = value.encode("ascii", "replace")
    raw += padding * (len(raw) % 2)
    return _ELEMENT.pack(0, element, len(raw)) + raw


def _encode_tags(element: int, value: tuple[int, ...]) -> bytes:
    raw = b"".join(_TAG.pack(tag >> 16, tag & 0xFFFF) for tag in value)
    return _ELEMENT.pack(0, element, len(raw)) + raw


def _decode_us(raw: bytes) -> int:
    if len(raw) != _US.size:
        raise RemoteProtocolError(f"a command set with {len(raw)} bytes where a number belongs")
    return int(_US.unpack(raw)[0])


def _decode_text(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 ")


def _decode_tags(raw: bytes) -> tuple[int, ...]:
    if len(raw) % _TAG.size:
        raise RemoteProtocolError("a command set with a broken list of tags")
    return tuple(group << 16 | element for group, element in _TAG.iter_unpack(raw))


_ENCODERS: dict[str, Callable[[int, Any], bytes]] = {
    "US": _encode_us,
    "UI": lambda element, value: _encode_text(element, value, b"\0"),
    "AE": lambda element, value: _encode_text(element, value, b" "),
    "LO": lambda element, value: _encode_text(element, value[:MAX_LO_CHARACTERS], b" "),
    "AT": _encode_tags,
}
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "US": _decode_us,
    "UI": _decode_text,
    "AE": _decode_text,
    "LO": _decode_text,
    "AT": _decode_tags,
}

_KINDS: tuple[type[Any], ...] = (*KNOWN.values(), UnknownRequest, UnknownResponse)
_LAYOUT: dict[type[Any], tuple[tuple[str, _Form], ...]] = {
    kind: tuple((f.name, _FORMS[f.name]) for f in fields(kind) if f.name in _FORMS)
    for kind in _KINDS
}
_REQUIRED: dict[type[Any], frozenset[str]] = {
    kind: frozenset(f.name for f in fields(kind) if f.default is MISSING) for kind in _KINDS
}
