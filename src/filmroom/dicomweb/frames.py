"""Retrieve frames and bulk data (PS3.18 10.4.1.1.5, 10.4.1.1.6): ranged reads, no parsing.

A single frame has byte ranges however it is packed and coded: of an HTJ2K codestream in RPCL
order the first bytes are a coarse image, which viewers fetch and show before the rest.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from filmroom.archive.errors import NotHeld
from filmroom.archive.records import Handle
from filmroom.dicom.errors import NeedMore
from filmroom.dicom.uids import EXPLICIT_VR_BE, EXPLICIT_VR_LE, TRANSFER_SYNTAXES
from filmroom.dicom.vrs import swapped
from filmroom.dicomweb import negotiate
from filmroom.dicomweb.answers import (
    BINARY_HEADERS,
    Chunk,
    Piece,
    Pieces,
    Stream,
    not_modified,
    part_wanted,
    ranged,
    read_pieces,
    window,
)
from filmroom.dicomweb.leaving import while_there
from filmroom.dicomweb.multipart import (
    PART_TAIL,
    closing,
    content_type,
    part_head,
    steady_boundary,
)
from filmroom.dicomweb.negotiate import AS_STORED, OCTETS, Form
from filmroom.dicomweb.problems import Problem, bad_request
from filmroom.dicomweb.service import (
    Service,
    accept_of,
    not_acceptable,
    principal_of,
    required_uid,
)
from filmroom.dicomweb.transfer import etag_of, frame_as
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.transcode import can_transcode

if TYPE_CHECKING:
    from filmroom.archive.retrieve import Bulk

BULK_OFFERS = (OCTETS, f'multipart/related; type="{OCTETS}"')
_NUMBERS = re.compile(r"[1-9]\d{0,8}(?:,[1-9]\d{0,8})*")
_BULK_PATH = re.compile(r"[0-9A-Fa-f]{8}(?:/\d{1,9}/[0-9A-Fa-f]{8}){0,64}")


async def frames(service: Service, request: Request) -> Response:
    """GET .../frames/{numbers}: as stored when the client allows it, else transcoded."""
    indices = _indices(request.path_params["frames"], service.settings.max_frames)
    handle = await service.archive.retriever.instance(
        principal_of(request),
        required_uid(request, "study"),
        required_uid(request, "series"),
        required_uid(request, "instance"),
    )
    stored = handle.location.transfer_syntax_uid
    forms = _frame_forms(accept_of(request), stored, len(indices) == 1)
    for form in forms:
        try:
            return await _frames_in(service, request, handle, indices, form)
        except NoCodec:  # these very pixels cannot be had in that syntax
            if form is forms[-1]:
                raise
    raise AssertionError("there is always a form")


async def _frames_in(
    service: Service, request: Request, handle: Handle, indices: tuple[int, ...], form: Form
) -> Response:
    stored = handle.location.transfer_syntax_uid
    numbers = request.path_params["frames"] if len(indices) <= 8 else hash_of(indices)
    kind = [numbers, form.transfer_syntax_uid, *(["m"] if form.multipart else [])]
    etag = etag_of(handle, *kind, made=form.recoded)
    if (unchanged := not_modified(request, etag, BINARY_HEADERS)) is not None:
        return unchanged
    async with while_there(request.receive) if form.recoded else nullcontext():
        first = await _frame(service, handle, indices[0], form)
    part_type = part_type_of(form, stored)
    if not form.multipart:
        return ranged(request, first, {**BINARY_HEADERS, "Content-Type": part_type}, etag)
    boundary = steady_boundary(etag)
    headers = {
        **BINARY_HEADERS,
        "Content-Type": content_type(boundary, form.media_type),
        "ETag": etag,
    }
    head = part_head(boundary, {"Content-Type": part_type})
    end = PART_TAIL + closing(boundary)
    if len(indices) == 1:
        return _ranged_pieces(request, (head, first, end), headers, etag)
    _all_there(service, handle, indices)

    async def chunks() -> AsyncIterator[Chunk]:
        yield head
        yield first
        for frame_index in indices[1:]:
            yield PART_TAIL + head
            yield await _frame(service, handle, frame_index, form)
        yield end

    return Stream(chunks, headers)


def _ranged_pieces(
    request: Request, pieces: tuple[bytes, ...], headers: dict[str, str], etag: str
) -> Response:
    if "range" in request.headers:
        return ranged(request, b"".join(pieces), headers, etag)
    return Pieces(pieces, {**headers, "Accept-Ranges": "bytes"})


def hash_of(indices: tuple[int, ...]) -> str:
    """A short stand-in for a long frame list inside an ETag."""
    return f"{len(indices)}.{hash(indices) & 0xFFFFFFFFFFFFFFFF:016x}"


def _indices(numbers: str, at_most: int) -> tuple[int, ...]:
    """Frame indices of a list of frame numbers, in the order asked for."""
    if numbers.count(",") >= at_most:
        raise Problem(413, "Too Many Frames", f"at most {at_most} frames in one request")
    if _NUMBERS.fullmatch(numbers) is None:
        raise bad_request("frames are positive numbers joined by commas, e.g. frames/1,2,3")
    return tuple(int(number) - 1 for number in numbers.split(","))


def _all_there(service: Service, handle: Handle, indices: tuple[int, ...]) -> None:
    table = service.archive.retriever.frame_table(handle)
    if table is not None and max(indices) >= table.frames:
        raise NotHeld(f"no frame {max(indices) + 1}: the instance has {table.frames}")


@lru_cache(maxsize=4096)
def _frame_forms(accept: str, stored: str, one: bool) -> tuple[Form, ...]:
    """The forms that can be made, best first; raises a 406 Problem when there is none."""
    found = tuple(
        form
        for form in negotiate.frame_forms(accept, stored)
        if (form.multipart or one)
        and (not form.recoded or can_transcode(stored, form.transfer_syntax_uid))
    )
    if found:
        return found
    packaging = "multipart/related; type"
    raise not_acceptable(
        [
            f'{packaging}="{OCTETS}"; transfer-syntax=*',
            f'{packaging}="{negotiate.media_type_of(stored)}"; transfer-syntax={stored}',
            f'{packaging}="{OCTETS}"',
            OCTETS,
        ]
    )


def part_type_of(form: Form, stored: str) -> str:
    """The Content-Type of a frame: viewers choose their decoder by its transfer-syntax."""
    syntax = stored if form.transfer_syntax_uid == AS_STORED else form.transfer_syntax_uid
    if form.media_type == OCTETS and not TRANSFER_SYNTAXES[syntax].encapsulated:
        syntax = EXPLICIT_VR_LE  # uncompressed bulk data are little endian words (8.7.3.3.1)
    return f"{form.media_type}; transfer-syntax={syntax}"


async def _frame(service: Service, handle: Handle, frame_index: int, form: Form) -> bytes:
    retriever = service.archive.retriever
    if form.recoded:
        return await frame_as(service, handle, frame_index, form.transfer_syntax_uid)
    table = retriever.frame_table(handle)
    if form.media_type == OCTETS and table is not None and table.frame_bits % 8:
        # 1-bit frames that share bytes
        return await frame_as(service, handle, frame_index, EXPLICIT_VR_LE)
    return await retriever.read_frame(handle, frame_index)


# -- bulk data ------------------------------------------------------------------------------------
async def bulkdata(service: Service, request: Request) -> Response:
    """GET of a BulkDataURI: one value, single part or multipart, with byte ranges."""
    path = request.path_params["path"]
    if len(path) > 1024 or _BULK_PATH.fullmatch(path) is None:
        raise bad_request("a bulk data path is tag, or tag/item number/tag, e.g. 7FE00010")
    bulk = await _located(service, request, path)
    syntax = TRANSFER_SYNTAXES[bulk.handle.location.transfer_syntax_uid]
    if path.upper() == "7FE00010" and syntax.encapsulated:
        return await _compressed_pixels(service, request, bulk.handle)
    offer = negotiate.choose(accept_of(request), BULK_OFFERS)
    if offer is None:
        raise not_acceptable(BULK_OFFERS)
    kind = [path.replace("/", "."), *(["m"] if offer.startswith("multipart") else [])]
    etag = etag_of(bulk.handle, *kind, made=False)
    if (unchanged := not_modified(request, etag, BINARY_HEADERS)) is not None:
        return unchanged
    if syntax.uid == EXPLICIT_VR_BE and bulk.vr not in ("OB", "UN"):
        swapped_bytes = await asyncio.to_thread(_swapped, service, bulk)
        return _packed(request, swapped_bytes, offer, etag)
    return await _file_ranges(
        service, request, bulk.handle, [(bulk.offset, bulk.length)], offer, OCTETS, etag
    )


async def _located(service: Service, request: Request, path: str) -> Bulk:
    study, series = required_uid(request, "study"), required_uid(request, "series")
    sop, principal = required_uid(request, "instance"), principal_of(request)
    try:
        return await service.archive.retriever.bulk(principal, study, series, sop, path)
    except NeedMore:  # the header has no pixel data to lead to
        raise NotHeld("the instance has no such bulk data") from None


def _packed(request: Request, body: bytes, offer: str, etag: str) -> Response:
    if offer == OCTETS:
        return ranged(request, body, {**BINARY_HEADERS, "Content-Type": OCTETS}, etag)
    boundary = steady_boundary(etag)
    headers = {**BINARY_HEADERS, "Content-Type": content_type(boundary, OCTETS), "ETag": etag}
    head = part_head(boundary, {"Content-Type": OCTETS})
    return Pieces((head, body, PART_TAIL + closing(boundary)), headers)


def _swapped(service: Service, bulk: Bulk) -> bytes:
    """A big endian value as little endian words (8.7.3.3.1)."""
    with service.archive.retriever.open(bulk.handle) as file:
        return swapped(file.read(bulk.offset, bulk.length), bulk.vr)


async def _file_ranges(
    service: Service,
    request: Request,
    handle: Handle,
    pieces: list[Piece],
    offer: str,
    media_type: str,
    etag: str,
) -> Response:
    """Ranges of the stored file as one value, streamed; a byte range of it if asked."""
    size = sum(length for _, length in pieces)
    headers = {**BINARY_HEADERS, "Content-Type": media_type, "ETag": etag}
    head = tail = b""
    status = 200
    if offer.startswith("multipart"):
        boundary = steady_boundary(etag)
        headers["Content-Type"] = content_type(boundary, media_type)
        head = part_head(boundary, {"Content-Type": media_type})
        tail = PART_TAIL + closing(boundary)
    else:
        first, stop, status = part_wanted(request, size, etag, headers)
        pieces, size = window(pieces, first, stop), stop - first

    if pieces:
        await service.archive.retriever.demand(handle, pieces[0][0])

    async def chunks() -> AsyncIterator[Chunk]:
        if head:
            yield head
        with service.archive.retriever.open(handle) as file:
            async for chunk in read_pieces(file, pieces):
                yield chunk
        if tail:
            yield tail

    length = len(head) + size + len(tail)
    return Stream(chunks, headers, length=length, status_code=status)


async def _compressed_pixels(service: Service, request: Request, handle: Handle) -> Response:
    """The pixel data of an encapsulated instance, without the item delimiters (8.7.3.3.2).

    A multipart has one part per frame. A single part is possible for a video or a single
    frame as stored, and for decoded frames, one after the other.
    """
    stored = handle.location.transfer_syntax_uid
    table = service.archive.retriever.frame_table(handle)
    if table is None:
        raise NotHeld("the instance has no frames")
    one = table.frames == 1 or TRANSFER_SYNTAXES[stored].video
    accept = accept_of(request)
    stored_type = negotiate.media_type_of(stored)
    if one and negotiate.choose(accept, (stored_type,)) is not None:
        etag = etag_of(handle, "pixels", made=False)
        location = handle.location
        pieces = [
            (location.data_set_offset + offset, length)
            for index in range(table.frames)
            for offset, length in table.ranges(index)
        ]
        return await _file_ranges(service, request, handle, pieces, stored_type, stored_type, etag)
    form = _frame_forms(accept, stored, True)[0]
    etag = etag_of(handle, "pixels", form.multipart, form.transfer_syntax_uid, made=form.recoded)
    if (unchanged := not_modified(request, etag, BINARY_HEADERS)) is not None:
        return unchanged
    boundary = steady_boundary(etag) if form.multipart else ""
    part_type = part_type_of(form, stored)
    whole_type = content_type(boundary, form.media_type) if boundary else part_type
    head = part_head(boundary, {"Content-Type": part_type}) if boundary else b""

    async def chunks() -> AsyncIterator[Chunk]:
        for frame_index in range(table.frames):
            if head:
                yield head
            yield await _frame(service, handle, frame_index, form)
            if head:
                yield PART_TAIL
        if boundary:
            yield closing(boundary)

    return Stream(chunks, {**BINARY_HEADERS, "Content-Type": whole_type, "ETag": etag})
