"""C-STORE-RQ ... N-DELETE-RSP as values (PS3.7 9, 10; numbers from Annexes C and E).

A message says nothing of its data set but whether there is one: that travels beside it. Texts and
UIDs are as the peer sent them, padding removed and otherwise unchecked. `answer` makes the
response that belongs to a request.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias, get_args

VERIFICATION = "1.2.840.10008.1.1"

SUCCESS = 0x0000
CANCEL = 0xFE00
PENDING = 0xFF00
PENDING_WITH_WARNING = 0xFF01  # optional keys were not supported       PS3.4 C.4.1.1.4
PROCESSING_FAILURE = 0x0110
NO_SUCH_SOP_CLASS = 0x0118
SOP_CLASS_NOT_SUPPORTED = 0x0122
DUPLICATE_INVOCATION = 0x0210
UNRECOGNIZED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000

RESPONSE = 0x8000  # the bit that tells a response from its request        PS3.7 E.1
LOW, MEDIUM, HIGH = 0x0002, 0x0000, 0x0001  # Priority


@dataclass(frozen=True, slots=True)
class CEchoRequest:
    message_id: int
    affected_sop_class_uid: str = VERIFICATION

    COMMAND_FIELD: ClassVar[int] = 0x0030


@dataclass(frozen=True, slots=True)
class CStoreRequest:
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    priority: int = MEDIUM
    move_originator_ae_title: str = ""
    move_originator_message_id: int | None = None

    COMMAND_FIELD: ClassVar[int] = 0x0001


@dataclass(frozen=True, slots=True)
class CFindRequest:
    message_id: int
    affected_sop_class_uid: str
    priority: int = MEDIUM

    COMMAND_FIELD: ClassVar[int] = 0x0020


@dataclass(frozen=True, slots=True)
class CGetRequest:
    message_id: int
    affected_sop_class_uid: str
    priority: int = MEDIUM

    COMMAND_FIELD: ClassVar[int] = 0x0010


@dataclass(frozen=True, slots=True)
class CMoveRequest:
    message_id: int
    affected_sop_class_uid: str
    move_destination: str
    priority: int = MEDIUM

    COMMAND_FIELD: ClassVar[int] = 0x0021


@dataclass(frozen=True, slots=True)
class CCancelRequest:
    """Asks to stop an operation; it has no response of its own (PS3.7 9.3.2.3)."""

    message_id_being_responded_to: int

    COMMAND_FIELD: ClassVar[int] = 0x0FFF


@dataclass(frozen=True, slots=True)
class NEventReportRequest:
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    event_type_id: int

    COMMAND_FIELD: ClassVar[int] = 0x0100


@dataclass(frozen=True, slots=True)
class NGetRequest:
    message_id: int
    requested_sop_class_uid: str
    requested_sop_instance_uid: str
    attribute_identifier_list: tuple[int, ...] = ()

    COMMAND_FIELD: ClassVar[int] = 0x0110


@dataclass(frozen=True, slots=True)
class NSetRequest:
    message_id: int
    requested_sop_class_uid: str
    requested_sop_instance_uid: str

    COMMAND_FIELD: ClassVar[int] = 0x0120


@dataclass(frozen=True, slots=True)
class NActionRequest:
    message_id: int
    requested_sop_class_uid: str
    requested_sop_instance_uid: str
    action_type_id: int

    COMMAND_FIELD: ClassVar[int] = 0x0130


@dataclass(frozen=True, slots=True)
class NCreateRequest:
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str = ""

    COMMAND_FIELD: ClassVar[int] = 0x0140


@dataclass(frozen=True, slots=True)
class NDeleteRequest:
    message_id: int
    requested_sop_class_uid: str
    requested_sop_instance_uid: str

    COMMAND_FIELD: ClassVar[int] = 0x0150


@dataclass(frozen=True, slots=True)
class UnknownRequest:
    """A request whose Command Field is none of ours: answered with 0211H (PS3.7 C.5.8)."""

    message_id: int
    command_field: int


@dataclass(frozen=True, slots=True)
class CEchoResponse:
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()

    COMMAND_FIELD: ClassVar[int] = 0x8030


@dataclass(frozen=True, slots=True)
class CStoreResponse:
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    status: int
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()

    COMMAND_FIELD: ClassVar[int] = 0x8001


@dataclass(frozen=True, slots=True)
class CFindResponse:
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()

    COMMAND_FIELD: ClassVar[int] = 0x8020


@dataclass(frozen=True, slots=True)
class CGetResponse:
    """`remaining` to `warning` count sub-operations; None leaves the element out."""

    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    COMMAND_FIELD: ClassVar[int] = 0x8010


@dataclass(frozen=True, slots=True)
class CMoveResponse:
    """`remaining` to `warning` count sub-operations; None leaves the element out."""

    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    COMMAND_FIELD: ClassVar[int] = 0x8021


@dataclass(frozen=True, slots=True)
class _NResponse:
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()
    affected_sop_instance_uid: str = ""
    attribute_identifier_list: tuple[int, ...] = ()
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class NEventReportResponse(_NResponse):
    event_type_id: int | None = None

    COMMAND_FIELD: ClassVar[int] = 0x8100


@dataclass(frozen=True, slots=True)
class NGetResponse(_NResponse):
    COMMAND_FIELD: ClassVar[int] = 0x8110


@dataclass(frozen=True, slots=True)
class NSetResponse(_NResponse):
    COMMAND_FIELD: ClassVar[int] = 0x8120


@dataclass(frozen=True, slots=True)
class NActionResponse(_NResponse):
    action_type_id: int | None = None

    COMMAND_FIELD: ClassVar[int] = 0x8130


@dataclass(frozen=True, slots=True)
class NCreateResponse(_NResponse):
    COMMAND_FIELD: ClassVar[int] = 0x8140


@dataclass(frozen=True, slots=True)
class NDeleteResponse(_NResponse):
    COMMAND_FIELD: ClassVar[int] = 0x8150


@dataclass(frozen=True, slots=True)
class UnknownResponse:
    """The response to a request that was not recognised, or one that we do not know."""

    message_id_being_responded_to: int
    status: int
    command_field: int
    error_comment: str = ""


Request: TypeAlias = (
    CEchoRequest
    | CStoreRequest
    | CFindRequest
    | CGetRequest
    | CMoveRequest
    | NEventReportRequest
    | NGetRequest
    | NSetRequest
    | NActionRequest
    | NCreateRequest
    | NDeleteRequest
    | UnknownRequest
)
Response: TypeAlias = (
    CEchoResponse
    | CStoreResponse
    | CFindResponse
    | CGetResponse
    | CMoveResponse
    | NEventReportResponse
    | NGetResponse
    | NSetResponse
    | NActionResponse
    | NCreateResponse
    | NDeleteResponse
    | UnknownResponse
)
Message: TypeAlias = Request | Response | CCancelRequest

REQUESTS: frozenset[type[Any]] = frozenset(get_args(Request))

KNOWN: dict[int, type[Any]] = {
    kind.COMMAND_FIELD: kind
    for kind in (
        *(CEchoRequest, CStoreRequest, CFindRequest, CGetRequest, CMoveRequest, CCancelRequest),
        *(NEventReportRequest, NGetRequest, NSetRequest),
        *(NActionRequest, NCreateRequest, NDeleteRequest),
        *(CEchoResponse, CStoreResponse, CFindResponse, CGetResponse, CMoveResponse),
        *(NEventReportResponse, NGetResponse, NSetResponse),
        *(NActionResponse, NCreateResponse, NDeleteResponse),
    )
}


def is_pending(status: int) -> bool:
    """More responses follow (PS3.7 C.1.4)."""
    return status in (PENDING, PENDING_WITH_WARNING)


def answer(request: Request, status: int, error_comment: str = "", **more: Any) -> Any:
    """The response that belongs to `request`, its identifying fields copied (PS3.7 9.1, 10.1).

    `more` are further fields of that response, such as `completed=3`.
    """
    if isinstance(request, UnknownRequest):
        return UnknownResponse(
            request.message_id, status, request.command_field | RESPONSE, error_comment
        )
    kind = KNOWN[request.COMMAND_FIELD | RESPONSE]
    values: dict[str, Any] = {}
    for ours, theirs in _COPIED[type(request)]:
        values[ours] = getattr(request, theirs)
    values.update(more)
    return kind(
        message_id_being_responded_to=request.message_id,
        status=status,
        error_comment=error_comment,
        **values,
    )


def _copied(request: type[Any], response: type[Any]) -> tuple[tuple[str, str], ...]:
    """(response field, request field) for what a response repeats of its request."""
    theirs = {field.name for field in fields(request)}
    pairs = []
    for name in (field.name for field in fields(response)):
        for candidate in (name, name.replace("affected_", "requested_")):
            if candidate in theirs and name != "attribute_identifier_list":
                pairs.append((name, candidate))
                break
    return tuple(pairs)


_COPIED: dict[type[Any], tuple[tuple[str, str], ...]] = {
    kind: _copied(kind, KNOWN[command_field | RESPONSE])
    for command_field, kind in KNOWN.items()
    if command_field | RESPONSE in KNOWN and not command_field & RESPONSE
}
