"""The items of the associate PDUs <-> values (PS3.8 9.3.2-9.3.3, PS3.7 Annex D.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from filmroom.dimse.errors import RemoteProtocolError

ITEM = struct.Struct(">BxH")  # Item-type, reserved, Item-length
U16 = struct.Struct(">H")
U32 = struct.Struct(">I")
PAIR = struct.Struct(">HH")

APPLICATION_CONTEXT = 0x10
PROPOSED_CONTEXT = 0x20
ANSWERED_CONTEXT = 0x21
ABSTRACT_SYNTAX = 0x30
TRANSFER_SYNTAX = 0x40
USER_INFORMATION = 0x50
MAXIMUM_LENGTH = 0x51
IMPLEMENTATION_CLASS_UID = 0x52
ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
ROLE_SELECTION = 0x54
IMPLEMENTATION_VERSION_NAME = 0x55
SOP_CLASS_EXTENDED = 0x56
SOP_CLASS_COMMON_EXTENDED = 0x57
USER_IDENTITY = 0x58
USER_IDENTITY_ANSWER = 0x59

MAX_ITEMS = 1024  # side by side; 128 contexts and a few more are what one may need
MAX_CONTEXT_ITEMS = 128  # within one presentation context: its syntaxes
MAX_UID_CHARACTERS = 64


class ContextResult(IntEnum):
    """Result of one presentation context (PS3.8 9.3.3.2)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of an A-ASSOCIATE-RQ."""

    id: int  # odd, 1-255
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """One presentation context of an A-ASSOCIATE-AC; the syntax counts only when accepted."""

    id: int
    result: int
    transfer_syntax: str = ""


@dataclass(frozen=True, slots=True)
class Role:
    """Which roles the association requestor may play for a SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class OperationsWindow:
    """How many operations may be outstanding, as the requestor sees it; 0 is no limit."""

    invoked: int
    performed: int


@dataclass(frozen=True, slots=True)
class CommonExtended:
    """Which service a SOP class belongs to, and what it is like (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who asks (PS3.7 D.3.3.7). `secondary` is the passcode of type 2; never log either field."""

    type: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    positive_response_requested: bool = False


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The User Information item of either associate PDU."""

    max_length: int = 0  # of a P-DATA-TF body, in bytes; 0 is no limit
    implementation_uid: str = ""
    implementation_version: str = ""
    operations: OperationsWindow | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    common_extended: tuple[CommonExtended, ...] = ()
    user_identity: UserIdentity | None = None  # A-ASSOCIATE-RQ only
    identity_answer: bytes | None = None  # A-ASSOCIATE-AC only


def item(item_type: int, body: bytes) -> bytes:
    """One item or sub-item."""
    return ITEM.pack(item_type, len(body)) + body


def iter_items(body: memoryview, most: int = MAX_ITEMS) -> Iterator[tuple[int, memoryview]]:
    """Yield (Item-type, body) of consecutive items; a length past the end is refused."""
    at, total, number = 0, len(body), 0
    while at < total:
        number += 1
        if number > most:
            raise RemoteProtocolError(f"an associate PDU with more than {most} items side by side")
        if total - at < ITEM.size:
            raise RemoteProtocolError("an associate PDU ends inside an item header")
        item_type, length = ITEM.unpack_from(body, at)
        end = at + ITEM.size + length
        if end > total:
            raise RemoteProtocolError(f"item {item_type:02X}H of {length} bytes does not fit")
        yield item_type, body[at + ITEM.size : end]
        at = end


def text(raw: memoryview) -> str:
    """A UID or name from the wire, without its padding (PS3.8 Annex F pads nothing; peers do)."""
    return str(raw, "latin-1").strip("\0 ")


def encode_context(context: ProposedContext | AnsweredContext) -> bytes:
    """Item 20H or 21H."""
    if isinstance(context, ProposedContext):
        head = bytes((context.id, 0, 0, 0))
        subs = [item(ABSTRACT_SYNTAX, context.abstract_syntax.encode("ascii"))]
        subs += [item(TRANSFER_SYNTAX, uid.encode("ascii")) for uid in context.transfer_syntaxes]
        return item(PROPOSED_CONTEXT, head + b"".join(subs))
    head = bytes((context.id, 0, context.result, 0))
    syntax = item(TRANSFER_SYNTAX, context.transfer_syntax.encode("ascii"))
    return item(ANSWERED_CONTEXT, head + syntax)


def decode_proposed_context(body: memoryview) -> ProposedContext:
    """The body of item 20H."""
    if len(body) < 4:
        raise RemoteProtocolError("a presentation context item is too short")
    abstract_syntax = ""
    transfer_syntaxes = []
    for item_type, value in iter_items(body[4:], MAX_CONTEXT_ITEMS):
        if item_type == ABSTRACT_SYNTAX:
            abstract_syntax = text(value)
        elif item_type == TRANSFER_SYNTAX:
            transfer_syntaxes.append(text(value))
    return ProposedContext(body[0], abstract_syntax, tuple(transfer_syntaxes))


def decode_answered_context(body: memoryview) -> AnsweredContext:
    """The body of item 21H."""
    if len(body) < 4:
        raise RemoteProtocolError("a presentation context item is too short")
    for item_type, value in iter_items(body[4:]):
        if item_type == TRANSFER_SYNTAX:
            return AnsweredContext(body[0], body[2], text(value))
    return AnsweredContext(body[0], body[2])


def encode_user_information(user: UserInformation) -> bytes:
    """Item 50H with its sub-items in ascending order."""
    subs = [
        item(MAXIMUM_LENGTH, U32.pack(user.max_length)),
        item(IMPLEMENTATION_CLASS_UID, user.implementation_uid.encode("ascii")),
    ]
    if user.operations is not None:
        window = PAIR.pack(user.operations.invoked, user.operations.performed)
        subs.append(item(ASYNCHRONOUS_OPERATIONS_WINDOW, window))
    for uid, role in user.roles.items():
        subs.append(
            item(ROLE_SELECTION, _counted(uid.encode("ascii")) + bytes((role.scu, role.scp)))
        )
    if user.implementation_version:
        name = user.implementation_version.encode("ascii")
        subs.append(item(IMPLEMENTATION_VERSION_NAME, name))
    for uid, information in user.extended.items():
        subs.append(item(SOP_CLASS_EXTENDED, _counted(uid.encode()) + information))
    subs += [_encode_common_extended(common) for common in user.common_extended]
    if user.user_identity is not None:
        subs.append(_encode_identity(user.user_identity))
    if user.identity_answer is not None:
        subs.append(item(USER_IDENTITY_ANSWER, _counted(user.identity_answer)))
    return item(USER_INFORMATION, b"".join(subs))


def decode_user_information(body: memoryview) -> UserInformation:
    """The body of item 50H; sub-items that we do not know are passed over (PS3.8 9.3.1)."""
    found: dict[str, object] = {}
    roles: dict[str, Role] = {}
    extended: dict[str, bytes] = {}
    common: list[CommonExtended] = []
    for item_type, value in iter_items(body):
        if item_type == ROLE_SELECTION:
            uid, flags = _split(value)
            if len(flags) < 2:
                raise RemoteProtocolError("a role selection item is too short")
            roles[text(uid)] = Role(flags[0] == 1, flags[1] == 1)
        elif item_type == SOP_CLASS_EXTENDED:
            uid, information = _split(value)
            extended[text(uid)] = bytes(information)
        elif item_type == SOP_CLASS_COMMON_EXTENDED:
            common.append(_decode_common_extended(value))
        elif item_type in _SINGLE:
            name, decode = _SINGLE[item_type]
            found[name] = decode(value)
    return UserInformation(
        roles=roles,
        extended=extended,
        common_extended=tuple(common),
        **found,  # type: ignore[arg-type]
    )


def _counted(value: bytes) -> bytes:
    return U16.pack(len(value)) + value


def _split(value: memoryview) -> tuple[memoryview, memoryview]:
    """A value with its own 16-bit length in front, and what follows it."""
    if len(value) < 2:
        raise RemoteProtocolError("a sub-item is too short")
    (length,) = U16.unpack_from(value)
    if length > len(value) - 2:
        raise RemoteProtocolError(f"a field of {length} bytes does not fit its sub-item")
    return value[2 : 2 + length], value[2 + length :]


def _encode_common_extended(common: CommonExtended) -> bytes:
    related = b"".join(_counted(uid.encode()) for uid in common.related_general_sop_classes)
    return item(
        SOP_CLASS_COMMON_EXTENDED,
        _counted(common.sop_class_uid.encode())
        + _counted(common.service_class_uid.encode())
        + _counted(related),
    )


def _decode_common_extended(value: memoryview) -> CommonExtended:
    sop_class, rest = _split(value)
    service_class, rest = _split(rest)
    related: list[str] = []
    if len(rest) >= 2:
        uids, _ = _split(rest)
        while len(uids):
            uid, uids = _split(uids)
            related.append(text(uid))
    return CommonExtended(text(sop_class), text(service_class), tuple(related))


def _encode_identity(identity: UserIdentity) -> bytes:
    head = bytes((identity.type, identity.positive_response_requested))
    return item(USER_IDENTITY, head + _counted(identity.primary) + _counted(identity.secondary))


def _decode_identity(value: memoryview) -> UserIdentity:
    if len(value) < 2:
        raise RemoteProtocolError("a user identity item is too short")
    primary, rest = _split(value[2:])
    secondary, _ = _split(rest) if len(rest) else (rest, rest)
    return UserIdentity(value[0], bytes(primary), bytes(secondary), value[1] == 1)


def _decode_max_length(value: memoryview) -> int:
    if len(value) != U32.size:
        raise RemoteProtocolError("a maximum length item is not four bytes")
    return int(U32.unpack(value)[0])


def _decode_window(value: memoryview) -> OperationsWindow:
    if len(value) != PAIR.size:
        raise RemoteProtocolError("an asynchronous operations window item is not four bytes")
    return OperationsWindow(*PAIR.unpack(value))


_SINGLE = {
    MAXIMUM_LENGTH: ("max_length", _decode_max_length),
    IMPLEMENTATION_CLASS_UID: ("implementation_uid", text),
    ASYNCHRONOUS_OPERATIONS_WINDOW: ("operations", _decode_window),
    IMPLEMENTATION_VERSION_NAME: ("implementation_version", text),
    USER_IDENTITY: ("user_identity", _decode_identity),
    USER_IDENTITY_ANSWER: ("identity_answer", lambda value: bytes(_split(value)[0])),
}
