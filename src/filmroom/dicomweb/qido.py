"""Search for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from filmroom.dicom.models import Level
from filmroom.dicomweb import negotiate
from filmroom.dicomweb.answers import DOCUMENT_HEADERS, document, not_modified
from filmroom.dicomweb.negotiate import JSON, XML
from filmroom.dicomweb.qido_query import Search, parse, unsupported_options
from filmroom.dicomweb.service import (
    Service,
    accept_of,
    not_acceptable,
    principal_of,
    uid_of,
)
from filmroom.dicomweb.wado import xml_parts

OFFERS = (JSON, "application/json", f'multipart/related; type="{XML}"')
_DUMPED_INLINE = 200  # answers; more are serialised in a thread
_RETRIEVE_URL = "00081190"

Answers = list[dict[str, Any]]


async def studies(service: Service, request: Request) -> Response:
    """GET /studies."""
    return await _search(service, request, Level.STUDY)


async def series(service: Service, request: Request) -> Response:
    """GET /series and /studies/{study}/series."""
    return await _search(service, request, Level.SERIES)


async def instances(service: Service, request: Request) -> Response:
    """GET /instances, /studies/{study}/instances and .../series/{series}/instances."""
    return await _search(service, request, Level.IMAGE)


async def _search(service: Service, request: Request, level: Level) -> Response:
    offer = negotiate.choose(accept_of(request), OFFERS)
    if offer is None:
        raise not_acceptable(OFFERS)
    within = {
        keyword: uid
        for keyword, name in (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series"))
        if (uid := uid_of(request, name)) is not None
    }
    query_string = request.scope["query_string"]
    search = parse(query_string, level, within)
    answers, total = await _page(service, request, search)
    for answer in answers:
        answer[_RETRIEVE_URL] = {"vr": "UR", "Value": [_url(service, level, answer)]}
    headers = {**DOCUMENT_HEADERS, "X-Total-Count": str(total), "Content-Type": offer}
    warning = _warning(service, unsupported_options(query_string), total, search, len(answers))
    if warning:
        headers["Warning"] = warning
    return await _answer(request, answers, offer, headers)


async def _page(service: Service, request: Request, search: Search) -> tuple[Answers, int]:
    """One page of answers, and how many there are in all."""
    if search.impossible:
        return [], 0
    finder, principal = service.archive.finder, principal_of(request)
    most = service.settings.max_results
    limit = most if search.limit is None else min(search.limit, most)
    query = search.query(limit + 1)  # one more tells whether there are more
    answers = await finder.search(principal, query, search.requested) if limit else []
    if len(answers) <= limit and (answers or search.offset == 0) and limit:
        return answers, search.offset + len(answers)
    return answers[:limit], await finder.count(principal, query)


def _warning(
    service: Service, unsupported: list[str], total: int, search: Search, returned: int
) -> str:
    """The Warning header's value (8.3.4.4.1, 8.3.4.5), empty when all is said."""
    root = service.url()
    remaining = total - search.offset - returned
    texts = [f"The {name} parameter is not supported" for name in unsupported]
    if remaining > 0:
        texts.append(f"There are {remaining} additional results that can be requested")
    return ", ".join(f"299 {root}: {text}" for text in texts)


def _url(service: Service, level: Level, answer: dict[str, Any]) -> str:
    """Where the answer's own study, series or instance is to be had (10.6.3.3)."""
    path: list[str] = []
    members = (("studies", "0020000D"), ("series", "0020000E"), ("instances", "00080018"))
    for name, tag in members[: int(level)]:
        path += (name, str(answer[tag]["Value"][0]))
    return service.url(*path)


async def _answer(
    request: Request, answers: Answers, offer: str, headers: dict[str, str]
) -> Response:
    if len(answers) > _DUMPED_INLINE:
        body = await asyncio.to_thread(orjson.dumps, answers, None, orjson.OPT_SORT_KEYS)
    else:
        body = orjson.dumps(answers, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(body + offer.encode() + headers["X-Total-Count"].encode()).hexdigest()
    headers["ETag"] = f'W/"{digest[:32]}"'
    if (unchanged := not_modified(request, headers["ETag"], headers)) is not None:
        return unchanged
    if offer == OFFERS[2]:
        return await xml_parts([dict(sorted(answer.items())) for answer in answers], headers)
    return await document(request, body, offer, headers)
