"""Store instances (PS3.18 10.5): bodies stream into intakes, commits overlap with reading.

While part k+1 arrives, part k is being made durable, so that the archive's group commit
has something to group. Memory does not grow with the size or number of the parts.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from filmroom.archive.access import Action, demand
from filmroom.archive.errors import ArchiveError, Unintelligible
from filmroom.archive.records import Origin
from filmroom.dicomweb import negotiate, xml
from filmroom.dicomweb.multipart import (
    MalformedMultipart,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
)
from filmroom.dicomweb.negotiate import DICOM, JSON, XML, MediaRange, parse_media_type
from filmroom.dicomweb.problems import Problem, bad_request
from filmroom.dicomweb.service import Service, accept_of, not_acceptable, principal_of, uid_of
from filmroom.dicomweb.stow_report import Report, failed
from filmroom.http import RETRY_AFTER_SECONDS

if TYPE_CHECKING:
    from filmroom.archive.ingest import Intake

log = logging.getLogger(__name__)

OFFERS = (JSON, "application/json", XML)
BODIES = (
    f'multipart/related; type="{DICOM}"',
    DICOM,
    f'multipart/related; type="{JSON}"',
    f'multipart/related; type="{XML}"',
)
GIVE_UP_AFTER = 100  # failures in a row with nothing stored: this is not a store
INFLATE_STEP = 256 * 1024
FREE_OF_RATIO_BYTES = 64 * 1024 * 1024
MAX_RATIO = 100  # inflated to deflated, beyond the free part
FREE_MEMBERS = 100  # of a gzip body, however short they are
LEAST_MEMBER_BYTES = 1024  # on average, when there are more: each has its cost


async def store(service: Service, request: Request) -> Response:
    """POST /studies and /studies/{study}."""
    principal = principal_of(request)
    demand(principal, Action.STORE)
    study = uid_of(request, "study")
    offer = negotiate.choose(accept_of(request), OFFERS)
    if offer is None:
        raise not_acceptable(OFFERS)
    address = request.client.host if request.client else ""
    storing = Storing(service, Origin("stow", principal.name, address), study)
    body = decoded(request)
    media_type = content_type_of(request)
    try:
        await _take(service, storing, media_type, body)
    except MalformedMultipart as error:
        await storing.cease()
        if not storing.report.stored:
            raise
        storing.fail(Unintelligible(str(error)))
    except ClientDisconnect:
        await storing.cease()
        log.info("a store was broken off", extra={"stored": len(storing.report.stored)})
        raise bad_request("the request was broken off") from None
    except BaseException:
        await storing.cease()
        raise
    return _answer(service, storing.report, offer)


async def _take(
    service: Service, storing: Storing, media_type: MediaRange, body: AsyncIterator[bytes]
) -> None:
    if media_type.media_type == DICOM:
        await take_single(storing, body)
        return
    if not media_type.is_multipart:
        raise unsupported_body(media_type.media_type)
    reader = MultipartReader(
        media_type.parameter("boundary") or "", max_parts=service.settings.max_parts
    )
    content = media_type.content
    if content in (JSON, XML):
        from filmroom.dicomweb.stow_metadata import take_metadata

        await take_metadata(service, storing, reader, body)
    elif content in (DICOM, "*/*"):
        await take_files(storing, reader, body)
    else:
        raise unsupported_body(f"multipart/related of {content}")


def content_type_of(request: Request) -> MediaRange:
    """The request's Content-Type; a Problem of 415 or 400 when it has none."""
    text = request.headers.get("content-type")
    if not text:
        raise unsupported_body("nothing")
    return parse_media_type(text)


def unsupported_body(what: str) -> Problem:
    """415, saying what can be stored (Table 10.5.3-1)."""
    known = " | ".join(BODIES)
    return Problem(415, "Unsupported Media Type", f"{what} cannot be stored; what can: {known}")


async def take_files(storing: Storing, reader: MultipartReader, body: AsyncIterator[bytes]) -> None:
    """A multipart of Part 10 files."""
    async for chunk in body:
        for event in reader.feed(chunk):
            if isinstance(event, PartData):
                storing.write(event.data)
            elif isinstance(event, PartBegin):
                storing.begin(event.headers.get("content-type"))
            elif isinstance(event, PartEnd):
                await storing.end()
                if await storing.hopeless():
                    raise MalformedMultipart("too many parts in a row that are no DICOM files")
    reader.finish()
    await storing.settle()


async def take_single(storing: Storing, body: AsyncIterator[bytes]) -> None:
    """One Part 10 file as the whole body."""
    storing.begin(DICOM)
    async for chunk in body:
        storing.write(memoryview(chunk))
    await storing.end()
    await storing.settle()


class Storing:
    """The instances of one request on their way in, and what became of them."""

    def __init__(self, service: Service, origin: Origin, study: str | None) -> None:
        self.report = Report()
        self.origin = origin
        self.study = study
        self._ingest = service.archive.ingest
        self._in_flight = service.settings.commits_in_flight
        self._intake: Intake | None = None
        self._refused: ArchiveError | None = None
        self._commits: deque[tuple[Intake, asyncio.Task[object]]] = deque()

    async def hopeless(self) -> bool:
        """Nothing but failures, and many of them."""
        if self.report.stored or len(self.report.failures) < GIVE_UP_AFTER:
            return False
        await self.settle()  # one that came before them may be about to be stored
        return not self.report.stored

    def begin(self, content_type: str | None) -> None:
        """A part begins; its intake is opened with its first byte."""
        self._refused = None
        if content_type is not None:
            try:
                if parse_media_type(content_type).media_type != DICOM:
                    self._refused = Unintelligible("the part is not application/dicom")
            except negotiate.NotUnderstood as error:
                self._refused = Unintelligible(str(error))

    def adopt(self, intake: Intake) -> None:
        """Use an intake that was opened elsewhere for the current instance."""
        self._refused = None
        self._intake = intake

    def write(self, data: memoryview) -> None:
        """The next bytes of the part; after a failure the rest of it is let pass."""
        if self._refused is not None:
            return
        try:
            if self._intake is None:
                self._intake = self._ingest.open_file(self.origin, study_instance_uid=self.study)
            self._intake.write(data)
        except ArchiveError as error:
            self._refused = error

    async def end(self) -> None:
        """The part is complete: begin its commit, and wait if too many are under way."""
        intake, self._intake = self._intake, None
        refused, self._refused = self._refused, None
        if intake is None or refused is not None:
            claimed = intake.claimed if intake is not None else ("", "")
            if intake is not None:
                intake.abandon()
            self.fail(refused or Unintelligible("an empty part"), claimed)
            return
        self._commits.append((intake, asyncio.ensure_future(intake.commit())))
        await asyncio.sleep(0)  # let it reach the committer before the next part is read
        while self._commits and self._commits[0][1].done():
            await self._collect()
        if len(self._commits) >= self._in_flight:
            await self._collect()

    def fail(self, error: ArchiveError, claimed: tuple[str, str] = ("", "")) -> None:
        """Note a failure."""
        if error.detail:
            log.warning(
                "instance not stored",
                extra={"reason": error.message, "detail": error.detail, "origin": self.origin.name},
            )
        self.report.failures.append(failed(error, claimed))

    async def _collect(self) -> None:
        intake, commit = self._commits.popleft()
        try:
            self.report.stored.append(await commit)  # type: ignore[arg-type]
        except ArchiveError as error:
            self.fail(error, intake.claimed)

    async def settle(self) -> None:
        """Wait for all commits."""
        while self._commits:
            await self._collect()

    def drop(self) -> None:
        """Forget the part in hand."""
        intake, self._intake = self._intake, None
        if intake is not None:
            intake.abandon()

    async def cease(self) -> None:
        """The body broke off: drop the part in hand, let the complete ones be committed."""
        self.drop()
        await self.settle()


# -- the body ----------------------------------------------------------------------------------
def decoded(request: Request) -> AsyncIterator[bytes]:
    """The request's body without its content coding; a 415 Problem for unknown ones."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return request.stream()
    if coding in ("gzip", "x-gzip"):
        return _inflated(request)
    raise Problem(
        415,
        "Unsupported Media Type",
        f"Content-Encoding {coding[:40]!r} is not understood; gzip is",
        {"Accept-Encoding": "gzip"},
    )


async def _inflated(request: Request) -> AsyncIterator[bytes]:
    """A gzip body, of one or more members, in bounded steps (RFC 1952 2.2).

    Raises a 413 Problem when it inflates out of all proportion, and a 400 for other nonsense.
    """
    stream = zlib.decompressobj(31)
    taken = given = members = 0
    try:
        async for chunk in request.stream():
            taken += len(chunk)
            pending = chunk
            while pending:
                if stream.eof:  # another member may follow, or the zeros that tar and tapes add
                    pending = pending.lstrip(b"\0")
                    if not pending:
                        break
                    members += 1
                    if members > FREE_MEMBERS and members * LEAST_MEMBER_BYTES > taken:
                        raise bad_request("the gzip body is in too many pieces")
                    stream = zlib.decompressobj(31)
                piece = stream.decompress(pending, INFLATE_STEP)
                pending = stream.unused_data if stream.eof else stream.unconsumed_tail
                given += len(piece)
                if given > FREE_OF_RATIO_BYTES and given > MAX_RATIO * taken:
                    raise Problem(413, "Too Large", "the gzip body inflates out of proportion")
                yield piece
    except zlib.error as error:
        raise bad_request(f"the body is not gzip: {error}") from None
    if not stream.eof:
        raise bad_request("the gzip body is not complete")


def _answer(service: Service, report: Report, offer: str) -> Response:
    data_set = report.data_set(service)
    body = xml.dumps(data_set) if offer == XML else orjson.dumps(data_set)
    status = report.status
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Response(body, status, headers, offer)
