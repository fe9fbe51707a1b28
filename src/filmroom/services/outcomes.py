"""Archive errors and outcomes -> DIMSE statuses (PS3.7 Annex C, PS3.4 B.2.3, C.4).

Nothing below this room knows a DIMSE status, and nothing above needs one: each service
has one small table here, and the conformance statement is printed from the same tables.
"""

from __future__ import annotations

from collections.abc import Mapping

from filmroom.archive.errors import (
    ArchiveError,
    Conflict,
    Damaged,
    NotHeld,
    Refused,
    Unavailable,
    Unintelligible,
    Unsupported,
    said_of,
)
from filmroom.archive.records import Outcome

SUCCESS = 0x0000
CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_KEYS_UNSUPPORTED = 0xFF01  # optional keys were not supported  PS3.4 C.4.1.1.4

PROCESSING_FAILURE = 0x0110  # PS3.7 C.5
SOP_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.5
NOT_AUTHORIZED = 0x0124  # PS3.7 C.5
UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 C.5
OUT_OF_RESOURCES = 0xA700
MATCHES_NOT_CALCULABLE = 0xA701  # PS3.4 C.4.2.1.5
SUB_OPERATIONS_FAILED = 0xA702  # unable to perform sub-operations  PS3.4 C.4.2.1.5
DESTINATION_UNKNOWN = 0xA801  # PS3.4 C.4.2.1.5
IDENTIFIER_MISMATCH = 0xA900  # identifier or data set does not match SOP class
SOME_FAILED = 0xB000  # one or more sub-operations failed, or elements coerced
CANNOT_UNDERSTAND = 0xC000

C_STORE_STATUS: Mapping[type[ArchiveError], int] = {
    Unavailable: OUT_OF_RESOURCES,
    Refused: NOT_AUTHORIZED,
    Conflict: IDENTIFIER_MISMATCH,
    Unintelligible: CANNOT_UNDERSTAND,
    NotHeld: PROCESSING_FAILURE,
    Unsupported: PROCESSING_FAILURE,
    Damaged: PROCESSING_FAILURE,
}

# What is kept under this UID is not what was sent: of the three warnings the standard has
# for C-STORE (PS3.4 B.2.3) only "coercion of data elements" says that. A sender treats a
# warning as stored, which is right: the bytes are safe in quarantine, an operator decides.
C_STORE_OUTCOME: Mapping[Outcome, tuple[int, str]] = {
    Outcome.NEW: (SUCCESS, ""),
    Outcome.SAME: (SUCCESS, ""),
    Outcome.REPLACED: (SUCCESS, ""),
    Outcome.KEPT_FIRST: (0xB000, "Other content is held under this UID; yours is in quarantine"),
}

QUERY_STATUS: Mapping[type[ArchiveError], int] = {
    Unavailable: OUT_OF_RESOURCES,
    Refused: NOT_AUTHORIZED,
    Conflict: CANNOT_UNDERSTAND,
    Unintelligible: IDENTIFIER_MISMATCH,
    NotHeld: CANNOT_UNDERSTAND,
    Unsupported: CANNOT_UNDERSTAND,
    Damaged: CANNOT_UNDERSTAND,
}

RETRIEVE_STATUS: Mapping[type[ArchiveError], int] = {
    **QUERY_STATUS,
    Unavailable: MATCHES_NOT_CALCULABLE,
}

MEANINGS: Mapping[str, Mapping[int, str]] = {
    "C-ECHO": {SUCCESS: "The peer is heard."},
    "C-STORE": {
        SUCCESS: "Held durably: bytes and index are on disk. Also for a repeated instance.",
        0xB000: "Another object is held under this SOP Instance UID; the first is kept, "
        "this one is in quarantine.",
        OUT_OF_RESOURCES: "Disk or index are not available; try again later.",
        IDENTIFIER_MISMATCH: "The data set contradicts the command or what is held already.",
        CANNOT_UNDERSTAND: "The data set cannot be read; it is in quarantine.",
        PROCESSING_FAILURE: "Something failed that should not have; see the log.",
        SOP_CLASS_NOT_SUPPORTED: "The SOP class is not that of the presentation context.",
        NOT_AUTHORIZED: "The peer may not store.",
    },
    "C-FIND": {
        PENDING: "A match.",
        PENDING_KEYS_UNSUPPORTED: "A match; some optional keys are not supported.",
        SUCCESS: "That was all.",
        CANCELLED: "Stopped by C-CANCEL.",
        OUT_OF_RESOURCES: "The index is not available; try again later.",
        IDENTIFIER_MISMATCH: "The identifier is not one of this SOP class; the offending "
        "element is named.",
        CANNOT_UNDERSTAND: "The query cannot be processed.",
        NOT_AUTHORIZED: "The peer may not query.",
    },
    "C-MOVE": {
        PENDING: "Sub-operations are continuing, with counts.",
        SUCCESS: "All were sent.",
        SOME_FAILED: "Some failed; they are listed in Failed SOP Instance UID List.",
        CANCELLED: "Stopped by C-CANCEL.",
        MATCHES_NOT_CALCULABLE: "The index is not available; try again later.",
        SUB_OPERATIONS_FAILED: "Nothing could be sent, or the destination cannot be reached.",
        DESTINATION_UNKNOWN: "The destination is no configured peer with host and port.",
        IDENTIFIER_MISMATCH: "The identifier is not one of this SOP class.",
        CANNOT_UNDERSTAND: "The request cannot be processed.",
        NOT_AUTHORIZED: "The peer may not retrieve.",
    },
    "C-GET": {
        PENDING: "Sub-operations are continuing, with counts.",
        SUCCESS: "All were sent.",
        SOME_FAILED: "Some failed; they are listed in Failed SOP Instance UID List.",
        CANCELLED: "Stopped by C-CANCEL.",
        MATCHES_NOT_CALCULABLE: "The index is not available; try again later.",
        SUB_OPERATIONS_FAILED: "Nothing could be sent on this association.",
        IDENTIFIER_MISMATCH: "The identifier is not one of this SOP class.",
        CANNOT_UNDERSTAND: "The request cannot be processed.",
        NOT_AUTHORIZED: "The peer may not retrieve.",
    },
}


def status_of(error: ArchiveError, table: Mapping[type[ArchiveError], int]) -> int:
    """The status for `error`, or for its nearest ancestor in `table`."""
    return said_of(error, table, PROCESSING_FAILURE)


def comment_of(error: ArchiveError) -> str:
    """Error Comment (0000,0902): LO, at most 64 characters of the default repertoire."""
    return comment(error.message)


def comment(text: str) -> str:
    """`text` as an Error Comment: printable ASCII, no backslash, at most 64 characters."""
    printable = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return printable[:64]
