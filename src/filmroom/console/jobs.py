"""Jobs and nodes: what is being done by and by, by whom, and what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from filmroom.archive.archive import Archive
from filmroom.archive.errors import Conflict, NotHeld, Unintelligible
from filmroom.archive.jobs import SILENT_SECONDS, NodeSeen, Queue, State, job_as_dict, send_job
from filmroom.archive.peers import PeerBook
from filmroom.console.answers import answer, body, who

MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class NewSending:
    """Body of a new job: send a study, or one series or instance of it, to a configured peer."""

    peer: str
    study: str
    series: str = ""
    instance: str = ""


def routes(archive: Archive, book: PeerBook) -> list[BaseRoute]:
    """The routes under /api/jobs and /api/nodes."""

    def queue() -> Queue:
        return archive.index.jobs

    async def list_jobs(request: Request) -> Response:
        """Newest first; `state` (repeatable), `before` (an id) and `limit` choose."""
        asked = request.query_params
        try:
            states = [State(word) for word in asked.getlist("state")] or list(State)
            before, limit = _number(asked.get("before", "0")), _number(asked.get("limit", "100"))
        except ValueError as error:
            raise Unintelligible(str(error)) from None
        found = await asyncio.to_thread(queue().jobs, states, before, min(limit, MOST_LISTED))
        return answer([job_as_dict(job) for job in found])

    async def count_jobs(request: Request) -> Response:
        """How many there are in each state, and the lanes they wait in."""
        counts = await asyncio.to_thread(queue().counts)
        lanes = await asyncio.to_thread(queue().lanes)
        told = {state.value: count for state, count in counts.items()}
        return answer({"states": told, "lanes": [asdict(lane) for lane in lanes]})

    async def show_job(request: Request) -> Response:
        """One job."""
        return answer(await _found(_id(request)))

    async def send(request: Request) -> Response:
        """Send something to a peer, by and by; the same that waits already is not put twice."""
        given = await body(request, NewSending)
        if given.peer not in {peer.ae_title for peer in book.peers()}:
            raise Unintelligible("no peer of that AE title is known")
        job = send_job(given.peer, given.study, given.series, given.instance)
        (id_,) = await asyncio.to_thread(queue().put, [job])
        return answer(await _found(id_), 202, {"Location": f"/api/jobs/{id_}"})

    async def cancel(request: Request) -> Response:
        """Do not do it, or no more of it."""
        id_ = _id(request)
        if not await asyncio.to_thread(queue().cancel, id_, f"cancelled by {who(request).name}"):
            await _found(id_)
            raise Conflict("it has ended already")
        return answer(await _found(id_))

    async def retry(request: Request) -> Response:
        """Try it now, whatever came of it so far."""
        id_ = _id(request)
        if not await asyncio.to_thread(queue().retry, id_):
            await _found(id_)
            raise Conflict("it is running, is done, or waits already")
        return answer(await _found(id_))

    async def list_nodes(request: Request) -> Response:
        """The nodes that share the index; one alone on its own is not listed."""
        return answer(
            [_node(node) for node in await asyncio.to_thread(archive.index.cluster.nodes)]
        )

    async def _found(id_: int) -> dict[str, Any]:
        job = await asyncio.to_thread(queue().job, id_)
        if job is None:
            raise NotHeld("there is no such job")
        return job_as_dict(job)

    return [
        Route("/api/jobs", list_jobs, methods=["GET"]),
        Route("/api/jobs", send, methods=["POST"]),
        Route("/api/jobs/counts", count_jobs, methods=["GET"]),
        Route("/api/jobs/{id}", show_job, methods=["GET"]),
        Route("/api/jobs/{id}/cancel", cancel, methods=["POST"]),
        Route("/api/jobs/{id}/retry", retry, methods=["POST"]),
        Route("/api/nodes", list_nodes, methods=["GET"]),
    ]


def _id(request: Request) -> int:
    try:
        return _number(str(request.path_params["id"]))
    except ValueError:
        raise NotHeld("there is no such job") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ValueError("that is no number")
    return int(text)


def _node(node: NodeSeen) -> dict[str, Any]:
    return {
        "name": node.name,
        "version": node.version,
        "started_at": node.started_at,
        "seen_at": node.seen_at,
        "is_here": node.silent_seconds < SILENT_SECONDS,
    }
