"""What every HTTP answer of ours has in common: statuses, problems in words (RFC 9457), gzip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

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

HTTP_STATUS: dict[type[ArchiveError], int] = {
    Refused: 403,
    Unintelligible: 400,
    Conflict: 409,
    NotHeld: 404,
    Unsupported: 406,
    Damaged: 500,
    Unavailable: 503,
}

TITLES = {
    400: "Bad Request",
    401: "Sign In First",
    403: "Not Allowed",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    413: "Too Large",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    429: "Too Many Attempts",
    500: "Internal Error",
    503: "Try Again Later",
}

MEANINGS: dict[int, str] = {  # of all that an HTTP client may be answered, for the manual
    200: "Done. Of a store: every instance is held.",
    202: "Of a store: some instances are held, or held with a warning. The body says of each "
    "what became of it.",
    206: "The byte range that was asked for. Of a study or series: all but those instances whose "
    "stored files are damaged; `Warning` says how many those are.",
    304: "What you have (`If-None-Match`) is what there is.",
    400: "The request makes no sense; `detail` says where. Of a store: no instance could be read.",
    401: "Sign in: there is no token, password or session, or it is worth nothing any more.",
    403: "This user or token may not do that, or the request comes from another site's page.",
    404: "There is no such study, series, instance, frame or address.",
    405: "That cannot be done here; `Allow` says what can.",
    406: "It is there, but in none of the forms in `Accept`; `detail` lists those there are.",
    408: "The request did not arrive in time.",
    409: "Of a store: no instance is held; the body says why of each. Elsewhere: it contradicts "
    "what is held.",
    413: "Too large, or too many parts: see `http.max_body_bytes`.",
    414: "The address is too long.",
    415: "The body is of a kind that is not taken here; `detail` lists those that are.",
    416: "There are no such bytes; `Content-Range` tells how many there are.",
    429: "Too many wrong passwords; `Retry-After` says how many seconds to wait.",
    431: "The header of the request is too large.",
    500: "The stored file is damaged and is not sent: `detail` says so. Or something happened that "
    "should not have: the log has it under the ID in the body.",
    503: "Disk, index or workers are not available, or there are too many connections; try again "
    "after `Retry-After` seconds.",
    505: "The request is in another version of HTTP than 1.0 and 1.1.",
}

RETRY_AFTER_SECONDS = 5


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    *,
    title: str = "",
    **more: Any,
) -> Response:
    """What went wrong, and in `detail` what to do about it. title: "" for that of the status."""
    title = title or TITLES.get(status, "Problem")
    return Response(
        orjson.dumps({"title": title, "status": status, "detail": detail, **more}),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/problem+json",
    )


def of_archive(error: ArchiveError) -> Response:
    """An archive error in HTTP's words; its `detail` is not shown."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retry else None
    return problem(said_of(error, HTTP_STATUS, 500), error.message, headers)


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether a gzip-coded body may be sent (RFC 9110 12.5.3)."""
    welcome: dict[str, bool] = {}
    for coding in (accept_encoding or "").lower().split(","):
        name, _, quality = coding.partition(";")
        welcome[name.strip()] = quality.replace(" ", "").rstrip("0.") not in ("q=", "q")
    return welcome.get("gzip", welcome.get("*", False))
