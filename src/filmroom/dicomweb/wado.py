"""Retrieve instances and metadata (PS3.18 10.4), and WADO-URI (PS3.18 9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from filmroom.archive.convert import instance_uid_as
from filmroom.archive.errors import NotHeld, Unsupported
from filmroom.archive.records import Handle, Selection
from filmroom.archive.selected import Few, Selected, Sound
from filmroom.dicom.uids import EXPLICIT_VR_LE, is_valid_uid
from filmroom.dicomweb import documents, negotiate, xml
from filmroom.dicomweb.answers import (
    BINARY_HEADERS,
    DOCUMENT_HEADERS,
    INLINE_BYTES,
    Chunk,
    FilePiece,
    Part,
    Pieces,
    Stream,
    document,
    not_modified,
    part_wanted,
    ranged,
)
from filmroom.dicomweb.archive_zip import entry_name, zip_chunks
from filmroom.dicomweb.leaving import while_there
from filmroom.dicomweb.multipart import (
    PART_TAIL,
    closing,
    content_type,
    new_boundary,
    part_head,
)
from filmroom.dicomweb.negotiate import AS_STORED, DICOM, JSON, XML, ZIP, Form, accept_text
from filmroom.dicomweb.problems import bad_request
from filmroom.dicomweb.rendered import render_response
from filmroom.dicomweb.service import (
    Service,
    accept_of,
    not_acceptable,
    principal_of,
    required_uid,
    uid_of,
)
from filmroom.dicomweb.transfer import etag_of, instance_chunks, target_for, target_of
from filmroom.dicomweb.video import is_video, stored_video
from filmroom.dicomweb.whole import file_chunks, file_sent, whole_of
from filmroom.http import accepts_gzip
from filmroom.pixel.errors import NoCodec

INSTANCE_OFFERS = (
    'multipart/related; type="application/dicom"; transfer-syntax=*',
    "application/zip",
)
SINGLE_OFFERS = (*INSTANCE_OFFERS, "application/dicom; transfer-syntax=*")
METADATA_OFFERS = (JSON, "application/json", f'multipart/related; type="{XML}"')

LEFT_OUT_NAME = "NOT-COMPLETE.txt"
LEFT_OUT = "Not in this archive, because the stored files are damaged:"

P = TypeVar("P", bound=Part)
FIRST_CHUNKS = 4  # part head, File Meta Information, header, first frame


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, and in which form."""

    selected: Selected
    form: Form
    left_out: Sequence[str]  # those whose stored files are damaged
    strict: bool = True  # no other transfer syntax will do

    async def items(self) -> AsyncGenerator[tuple[Handle, str], None]:
        """(instance, its transfer syntax on the way out, `*` for as it lies), in order."""
        async with aclosing(self.selected.pages()) as pages:
            async for page in pages:
                for handle in page:
                    yield handle, self.target(handle)

    def target(self, handle: Handle) -> str:
        """An instance of another kind than all before, come in the meantime, goes as it lies."""
        return target_of(handle, self.form) or AS_STORED


async def instances(service: Service, request: Request) -> Response:
    """GET of a study, a series or an instance: whole Part 10 files."""
    study = required_uid(request, "study")
    series, sop = uid_of(request, "series"), uid_of(request, "instance")
    forms = negotiate.instance_forms(accept_of(request), single=sop is not None)
    if not forms:
        raise not_acceptable(SINGLE_OFFERS if sop else INSTANCE_OFFERS)
    selected = await _selected(service, request, study, series, sop)
    kinds = {(kind.transfer_syntax_uid, kind.has_frames) for kind in selected.kinds}
    damaged = selected.damaged
    if damaged:
        selected = Sound(selected)
    refused: NoCodec | None = None
    for form in forms:
        if all(target_for(*kind, form) is not None for kind in kinds):
            plan = Plan(selected, form, damaged, strict=sop is not None)
            try:
                return await _send(service, request, plan, sop or series or study)
            except NoCodec as error:  # these very pixels cannot be had in that syntax
                refused = error
    raise refused or not_acceptable(SINGLE_OFFERS if sop else INSTANCE_OFFERS)


async def _selected(
    service: Service, request: Request, study: str, series: str | None, sop: str | None
) -> Selected:
    retriever, principal = service.archive.retriever, principal_of(request)
    if sop is not None:
        return Few([await retriever.instance(principal, study, series, sop)])
    selection = Selection(
        study_instance_uids=(study,), series_instance_uids=(series,) if series else ()
    )
    selected = await retriever.select(principal, selection)
    if not selected.kinds:
        raise NotHeld("no such series in that study" if series else "no such study")
    return selected


async def _send(service: Service, request: Request, plan: Plan, name: str) -> Response:
    if plan.form.media_type == ZIP:
        headers = {"Content-Type": ZIP, "Content-Disposition": _attachment(f"{name}.zip")}
        headers |= {**DOCUMENT_HEADERS, **warning(len(plan.left_out))}
        entries = _entries(service, plan)
        stage = service.archive.retriever.stage
        return Stream(lambda: zip_chunks(entries, stage), headers)
    if plan.form.multipart:
        response = await _multipart(service, request, plan)
        if plan.left_out and response.status_code == 200:
            response.status_code = 206  # PS3.18 10.4.3
        return response
    (handle,) = plan.selected.whole or ()
    return await single_file(service, request, handle, plan.target(handle))


async def _entries(
    service: Service, plan: Plan
) -> AsyncGenerator[tuple[str, AsyncIterator[Chunk]], None]:
    async with aclosing(plan.items()) as items:
        async for handle, target in items:
            _, recoded = await _possible(service, handle, target, plan.strict)
            yield entry_name(handle), recoded or file_chunks(service, handle)
    if plan.left_out:  # whoever opens the archive did not see the header
        yield LEFT_OUT_NAME, _left_out(plan.left_out)


async def _left_out(uids: Sequence[str]) -> AsyncIterator[Chunk]:
    yield "".join(f"{line}\n" for line in (LEFT_OUT, *uids)).encode()


def warning(left_out: int) -> dict[str, str]:
    """The header that says that an answer is not complete."""
    if not left_out:
        return {}
    text = f"{left_out} of the instances left out: their stored files are damaged"
    return {"Warning": f'299 filmroom "{text}"'}


def _attachment(name: str) -> str:
    return f'attachment; filename="{name}"'


def _part_type(handle: Handle, target: str) -> str:
    syntax = handle.location.transfer_syntax_uid if target == AS_STORED else target
    return f"{DICOM}; transfer-syntax={syntax}"


async def single_file(service: Service, request: Request, handle: Handle, target: str) -> Response:
    """One Part 10 file as the whole body, with byte ranges when it goes as it lies."""
    made = target != AS_STORED
    etag = etag_of(handle, *([target] if made else []), made=made)
    headers = {
        **BINARY_HEADERS,
        "Content-Type": _part_type(handle, target),
        "Content-Disposition": _attachment(f"{instance_uid_as(handle, target)}.dcm"),
        "ETag": etag,
    }
    unchanged = not_modified(request, etag, headers)
    if unchanged is not None:
        return unchanged
    if target != AS_STORED:
        return await _stream(request, instance_chunks(service, handle, target), headers)
    whole = whole_of(handle)
    size = whole.size
    if size <= INLINE_BYTES:
        with service.archive.retriever.open(handle) as file:
            body = [chunk async for chunk in whole.read(file, 0, size)]
            return ranged(request, b"".join(body), headers, etag)
    first, stop, status = part_wanted(request, size, etag, headers)
    await service.archive.retriever.demand(handle, first)
    chunks = file_chunks(service, handle, first, stop)
    return Stream(lambda: chunks, headers, length=stop - first, status_code=status)


async def _possible(
    service: Service, handle: Handle, target: str, strict: bool
) -> tuple[str, AsyncGenerator[Chunk, None] | None]:
    """The syntax that an instance really is sent in, and its file; None for as it lies.

    One of many whose pixels cannot be had in the syntax asked for goes uncompressed, or else as
    it lies: its part says so. That is better than to break off. Strict: raises NoCodec.
    """
    for wanted in (target,) if strict else (target, EXPLICIT_VR_LE):
        if wanted == AS_STORED:
            break
        chunks = instance_chunks(service, handle, wanted)
        try:
            return wanted, _again(await _beginning(chunks), chunks)
        except NoCodec:
            if strict:
                raise
    return AS_STORED, None


async def _beginning(chunks: AsyncIterator[P]) -> list[P]:
    return [chunk async for chunk in _take(chunks, FIRST_CHUNKS)]


async def _again(first: list[P], rest: AsyncIterator[P]) -> AsyncGenerator[P, None]:
    for chunk in first:
        yield chunk
    first.clear()
    async for chunk in rest:
        yield chunk


async def _stream(
    request: Request,
    chunks: AsyncIterator[Part],
    headers: Mapping[str, str],
    length: int | None = None,
) -> Response:
    """A stream whose beginning is made already: what cannot be made fails in time."""
    first: list[Part] = []
    if request.method != "HEAD":
        async with while_there(request.receive):
            first = await _beginning(chunks)
    return Stream(lambda: _again(first, chunks), headers, length=length)


async def _take(chunks: AsyncIterator[P], count: int) -> AsyncIterator[P]:
    """The first ones; a piece of a file is the last, for its file is closed behind it."""
    for _ in range(count):
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        yield chunk
        if isinstance(chunk, FilePiece):
            return


async def _multipart(service: Service, request: Request, plan: Plan) -> Response:
    boundary = new_boundary()
    headers = {**BINARY_HEADERS, "Content-Type": content_type(boundary, DICOM)}
    headers |= warning(len(plan.left_out))
    heads: dict[str, bytes] = {}

    def head_of(handle: Handle, target: str) -> bytes:
        part_type = _part_type(handle, target)
        if part_type not in heads:
            heads[part_type] = part_head(boundary, {"Content-Type": part_type})
        return heads[part_type]

    end = closing(boundary)
    whole = plan.selected.whole
    if "instance" not in request.path_params:  # a study or series may grow
        headers["Cache-Control"] = DOCUMENT_HEADERS["Cache-Control"]
    else:
        (handle,) = whole or ()
        target = plan.target(handle)
        headers["ETag"] = "W/" + etag_of(handle, target, made=target != AS_STORED)
        if (unchanged := not_modified(request, headers["ETag"], headers)) is not None:
            return unchanged
        if target == AS_STORED and handle.location.size_bytes <= INLINE_BYTES:
            body = [chunk async for chunk in file_chunks(service, handle)]
            return Pieces((head_of(handle, target), *body, PART_TAIL + end), headers)
    length = None
    if whole is not None and all(plan.target(handle) == AS_STORED for handle in whole):
        files = sum(whole_of(handle).size for handle in whole)
        around = sum(len(head_of(handle, AS_STORED)) + len(PART_TAIL) for handle in whole)
        length = files + around + len(end)

    async def chunks() -> AsyncIterator[Part]:
        before = b""
        async with aclosing(plan.items()) as items:
            async for handle, target in items:
                possible, recoded = await _possible(service, handle, target, plan.strict)
                yield before + head_of(handle, possible)
                async with aclosing(recoded or file_sent(service, request, handle)) as parts:
                    async for part in parts:
                        yield part
                before = PART_TAIL
        yield before + end

    return await _stream(request, chunks(), headers, length)


async def metadata(service: Service, request: Request) -> Response:
    """GET .../metadata: the headers as DICOM JSON or native XML (PS3.18 10.4.1.1.2)."""
    study = required_uid(request, "study")
    series, sop = uid_of(request, "series"), uid_of(request, "instance")
    offer = negotiate.choose(accept_of(request), METADATA_OFFERS)
    if offer is None:
        raise not_acceptable(METADATA_OFFERS)
    found = await service.archive.retriever.metadata(principal_of(request), study, series, sop)
    as_xml = offer == METADATA_OFFERS[2]
    etag = f'W/"{found.etag}{"-xml" if as_xml else ""}"'
    headers = {**DOCUMENT_HEADERS, "ETag": etag, "Content-Type": offer, **warning(found.left_out)}
    unchanged = not_modified(request, etag, headers)
    if unchanged is not None:
        return unchanged
    if as_xml:
        data_sets = orjson.loads(await asyncio.to_thread(lambda: found.body))
        return await xml_parts(data_sets, headers)
    if found.gzipped is not None:
        if accepts_gzip(request.headers.get("accept-encoding")):
            return Pieces((found.gzipped,), {**headers, "Content-Encoding": "gzip"})
        return Pieces((await asyncio.to_thread(lambda: found.body),), headers)
    return await document(request, found.body, offer, headers)


async def xml_parts(
    data_sets: Sequence[Mapping[str, object]], headers: Mapping[str, str]
) -> Response:
    """Data sets as a multipart of Native DICOM Model documents (PS3.18 8.6.1.2, PS3.19 A.1)."""
    boundary = new_boundary()

    def body() -> list[bytes]:
        head = part_head(boundary, {"Content-Type": XML})
        pieces = [piece for each in data_sets for piece in (head, xml.dumps(each), PART_TAIL)]
        return [*pieces, closing(boundary)]

    pieces = await asyncio.to_thread(body) if len(data_sets) > 10 else body()
    return Pieces(pieces, {**headers, "Content-Type": content_type(boundary, XML)})


async def wado_uri(service: Service, request: Request) -> Response:
    """GET /wado?requestType=WADO&studyUID&seriesUID&objectUID (PS3.18 9.4)."""
    params = dict(request.query_params)
    if params.get("requestType") != "WADO":
        raise bad_request("requestType=WADO is needed")
    uids = [params.get(name, "") for name in ("studyUID", "seriesUID", "objectUID")]
    if not all(map(is_valid_uid, uids)):
        raise bad_request("studyUID, seriesUID and objectUID must each be a valid UID")
    if "anonymize" in params:
        raise bad_request("anonymize is not offered: nothing is sent rather than too much")
    study, series, sop = uids
    wanted = params.get("contentType") or request.headers.get("accept") or "*/*"
    ranges = [each for each in negotiate.parse_accept(wanted) if each.q > 0]
    if any(each.media_type == DICOM for each in ranges):
        return await _uri_dicom(service, request, study, series, sop)
    principal, frame_index = principal_of(request), _frame_index(params)
    accept = None if wanted == "*/*" else wanted
    try:
        handle = await service.archive.retriever.instance(principal, study, series, sop)
        if is_video(handle) and frame_index is None:
            return await stored_video(service, request, handle, accept)
        async with while_there(request.receive):
            if "frameNumber" not in params:
                found = await documents.of_instance(
                    service, request, handle, accept=accept_text(None, wanted)
                )
                if found is not None:
                    return found
            return await render_response(
                service.archive,
                service.pool,
                principal,
                study=study,
                series=series,
                instance=sop,
                frame_index=frame_index,
                params=params,
                accept=accept,
                thumbnail=False,
                if_none_match=request.headers.get("if-none-match"),
            )
    except Unsupported:
        if not any(each.media_type == "*/*" for each in ranges):
            raise
    return await _uri_dicom(service, request, study, series, sop)


def _frame_index(params: Mapping[str, str]) -> int | None:
    number = params.get("frameNumber")
    if number is None:
        return None
    if not (number.isascii() and number.isdigit() and 1 <= len(number) <= 9 and int(number)):
        raise bad_request("frameNumber is a positive integer")
    return int(number) - 1


async def _uri_dicom(
    service: Service, request: Request, study: str, series: str, sop: str
) -> Response:
    """The Part 10 file; Explicit VR Little Endian unless transferSyntax says otherwise (9.4.1)."""
    handle = await service.archive.retriever.instance(principal_of(request), study, series, sop)
    wanted = request.query_params.get("transferSyntax")
    if wanted is not None and wanted != AS_STORED and not is_valid_uid(wanted):
        raise bad_request("transferSyntax is not a valid UID")
    default = Form(False, DICOM, EXPLICIT_VR_LE, by_default=True)
    asked = Form(False, DICOM, wanted) if wanted else default
    if (target := target_of(handle, asked)) is not None:
        try:
            return await single_file(service, request, handle, target)
        except NoCodec:  # these very pixels: then in the default
            if target == EXPLICIT_VR_LE:
                raise
    target = target_of(handle, default)
    if target is None:
        raise Unsupported("the instance cannot be given in that transfer syntax")
    return await single_file(service, request, handle, target)
