"""What went wrong -> HTTP status and a body that helps (PS3.18 8.5, RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from filmroom.archive.errors import ArchiveError
from filmroom.dicomweb.leaving import Gone
from filmroom.dicomweb.multipart import MalformedMultipart
from filmroom.dicomweb.negotiate import NotUnderstood
from filmroom.http import RETRY_AFTER_SECONDS, TITLES, of_archive, problem
from filmroom.pixel.errors import BadParameter, Busy, NoCodec, NoWorker, PixelError

log = logging.getLogger(__name__)

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


def response(told: Problem) -> Response:
    """The problem as application/problem+json."""
    headers = {"X-Content-Type-Options": "nosniff", **told.headers}
    return problem(told.status, told.detail, headers, title=told.title)


def of_pixels(error: PixelError) -> Problem:
    """A pixel error in HTTP's words."""
    if isinstance(error, BadParameter):
        return Problem(400, TITLES[400], error.message)
    if isinstance(error, Busy | NoWorker):
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
        except Problem as told:
            return response(told)
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
            return of_archive(error)
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
