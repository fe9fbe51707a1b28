"""What is stored smaller than it came: what that saves, and studies that somebody names."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from filmroom.archive.archive import Archive
from filmroom.archive.jobs import job_as_dict
from filmroom.archive.shrinking import compress_job
from filmroom.console.answers import answer, body


@dataclass(frozen=True, slots=True)
class NewCompressing:
    """Body of a new job: store a study smaller, or (`undo`) as it came; none: what rules want."""

    study: str = ""
    undo: bool = False


def routes(archive: Archive) -> list[BaseRoute]:
    """The routes under /api/compress."""

    async def savings(request: Request) -> Response:
        """How many instances are stored smaller than they came, and what that saves."""
        found = await asyncio.to_thread(archive.index.smaller.savings)
        return answer(found.as_dict())

    async def compress(request: Request) -> Response:
        """Store a study smaller by and by, or as it came; without one, what the rules want."""
        given = await body(request, NewCompressing)
        queue = archive.index.jobs
        (id_,) = await asyncio.to_thread(queue.put, [compress_job(given.study, undo=given.undo)])
        job = await asyncio.to_thread(queue.job, id_)
        told = {} if job is None else job_as_dict(job)
        return answer(told, 202, {"Location": f"/api/jobs/{id_}"})

    return [
        Route("/api/compress", savings, methods=["GET"]),
        Route("/api/compress", compress, methods=["POST"]),
    ]
