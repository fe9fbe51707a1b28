"""What went wrong -> HTTP status and a body that helps (PS3.18 8.5, RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from filmroom.archive.errors import (
    ArchiveError,
    Conflict,
    NotHeld,
    Refused,
    Unavailable,
    Unintelligible,
    Unsupported,
)
from filmroom.dicomweb.leaving import Gone
from filmroom.dicomweb.multipart import MalformedMultipart
from filmroom.dicomweb.negotiate import NotUnderstood
from filmroom.pixel.errors import BadParameter, Busy, NoCodec, PixelError

log = logging.getLogger(__name__)

HTTP_STATUS: dict[type[ArchiveError], int] = {
    Refused: 403,
    Unintelligible: 400,
    Conflict: 409,
    NotHeld: 404,
    Unsupported: 406,
    Unavailable: 503,
}

TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    406: "Not Acceptable",
    409: "Conflict",
    413: "Too Large",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    500: "Internal Error",
    503: "Try Again Later",
}

MEANINGS: dict[int, str] = {  # of all that an HTTP client may be answered, for the manual
    200: "Done. Of a store: every instance is held.",
    202: "Of a store: some instances are held, or held with a warning. The body says of each "
    "what became of it.",
    206: "The byte range that was asked for.",
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
    500: "This should not have happened: the log has it under the ID in the body.",
    503: "Disk, index or workers are not available; try again after `Retry-After` seconds.",
}

RETRY_AFTER_SECONDS = 5
LEFT = 499  # what others log when a client has closed its request

Endpoint = Callable[[Request], Awaitable[Response]]


class Problem(Exception):
    """An answer that is no success; `detail` says what the client can do about it."""

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})


def bad_request(detail: str) -> Problem:
    """400 with this sentence."""
    return Problem(400, TITLES[400], detail)


def response(problem: Problem) -> Response:
    """The problem as application/problem+json."""
    body = {"title": problem.title, "detail": problem.detail, "status": problem.status}
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    headers |= problem.headers
    return Response(
        orjson.dumps(body),
        status_code=problem.status,
        headers=headers,
        media_type="application/problem+json",
    )


def of_archive(error: ArchiveError) -> Problem:
    """An archive error in HTTP's words; its `detail` goes to the log only."""
    status = HTTP_STATUS.get(type(error), 500)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retry else {}
    return Problem(status, TITLES[status], error.message, headers)


def of_pixels(error: PixelError) -> Problem:
    """A pixel error in HTTP's words."""
    if isinstance(error, BadParameter):
        return Problem(400, TITLES[400], error.message)
    if isinstance(error, Busy):
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return Problem(503, TITLES[503], error.message, headers)
    if isinstance(error, NoCodec):
        return Problem(406, TITLES[406], error.message)
    return Problem(500, "These pixels cannot be processed", error.message)


def guarded(handler: Endpoint) -> Endpoint:
    """`handler`, with what it raises turned into answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Problem as problem:
            return response(problem)
        except ArchiveError as error:
            if error.detail:
                log.warning(
                    "request not served",
                    extra={
                        "path": request.url.path,
                        "reason": error.message,
                        "detail": error.detail,
                    },
                )
            return response(of_archive(error))
        except PixelError as error:
            log.warning(
                "pixels not served", extra={"path": request.url.path, "reason": error.message}
            )
            return response(of_pixels(error))
        except (NotUnderstood, MalformedMultipart) as error:
            return response(bad_request(str(error)))
        except Gone:
            return Response(status_code=LEFT)  # for the log; nobody reads it

    return answer
