"""Instances and frames in the transfer syntax a client demands, by the pixel workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from filmroom.archive.errors import Unavailable
from filmroom.archive.records import Handle
from filmroom.dicom import part10
from filmroom.dicom.elements import read_data_set
from filmroom.dicom.errors import Malformed
from filmroom.dicom.scan import Scan, inflate, scan
from filmroom.dicom.uids import (
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    TRANSFER_SYNTAXES,
)
from filmroom.dicomweb.answers import Chunk, read_pieces
from filmroom.dicomweb.negotiate import AS_STORED, Form
from filmroom.pixel import transcode
from filmroom.pixel.errors import Undecodable
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.archive.retrieve import OpenFile
    from filmroom.dicomweb.service import Service

UNCOMPRESSED = frozenset({EXPLICIT_VR_LE, IMPLICIT_VR_LE})
INFLATED_BYTES = 256 * 1024 * 1024  # most that a deflated data set may become
PIXEL_DATA = 0x7FE00010
_PIXEL_ELEMENT = 16  # bytes beyond the header that hold the pixel data's own element header
_SEQUENCE_END = 8  # bytes of the Sequence Delimitation Item after the last fragment


def target_of(handle: Handle, form: Form) -> str | None:
    """The syntax to send an instance in, `*` for as it lies; None when `form` cannot be.

    Without a demand of the client's, what is only held in a lossy or undecodable form
    goes out as it lies (PS3.18 8.7.3.2).
    """
    stored, wanted = handle.location.transfer_syntax_uid, form.transfer_syntax_uid
    if wanted in (AS_STORED, stored):
        return AS_STORED
    syntax = TRANSFER_SYNTAXES[stored]
    costly = syntax.lossy or not can_transcode(stored, wanted)
    if form.by_default and syntax.encapsulated and handle.frames and costly:
        return AS_STORED
    if not handle.frames:  # no pixels to point at: compression has no meaning
        wanted = wanted if wanted in UNCOMPRESSED else EXPLICIT_VR_LE
        return AS_STORED if stored == wanted else wanted
    return wanted if can_transcode(stored, wanted) else None


def can_transcode(stored: str, wanted: str) -> bool:
    """Whether pixels stored in one syntax can be sent in another."""
    return transcode.can_transcode(stored, wanted)


# -- frames ---------------------------------------------------------------------------------------
async def frame_as(service: Service, handle: Handle, frame_index: int, wanted: str) -> bytes:
    """One frame, decoded or recoded in a worker; not padded."""
    retriever = service.archive.retriever
    stored = handle.location.transfer_syntax_uid
    coded = retriever.frame(handle, frame_index)
    shape = _shape(retriever.header(handle), stored)
    bit_offset = transcode.bit_offset(shape, stored, frame_index)
    work = partial(transcode.transcode_frame, bit_offset=bit_offset)
    return await service.pool.run(work, coded, stored, wanted, shape)


@lru_cache(maxsize=64)
def _shape(header: bytes, syntax: str) -> ImageShape:
    """The shape of an instance's frames; frames of one instance are asked for in a row."""
    try:
        data_set = read_data_set(
            header,
            explicit_vr=syntax != IMPLICIT_VR_LE,
            little_endian=syntax != EXPLICIT_VR_BE,
        )
    except Malformed as error:
        raise Undecodable(str(error)) from error
    return transcode.shape_of(data_set)


# -- whole instances ------------------------------------------------------------------------------
async def instance_chunks(service: Service, handle: Handle, wanted: str) -> AsyncIterator[Chunk]:
    """A Part 10 file in another transfer syntax, frame by frame."""
    yield part10.meta_header(
        sop_class_uid=handle.sop_class_uid,
        sop_instance_uid=handle.sop_instance_uid,
        transfer_syntax_uid=wanted,
    )
    data_set = _with_pixels if handle.frames else _without_pixels
    async for chunk in data_set(service, handle, wanted):
        yield chunk


async def _without_pixels(service: Service, handle: Handle, wanted: str) -> AsyncIterator[Chunk]:
    """A data set that is rewritten as a whole: no frames, or deflated."""
    location = handle.location
    stored = location.transfer_syntax_uid
    with service.archive.retriever.open(handle) as file:
        length = location.size_bytes - location.data_set_offset
        data_set = await asyncio.to_thread(file.read, location.data_set_offset, length)
    if TRANSFER_SYNTAXES[stored].deflated:
        try:
            data_set = await asyncio.to_thread(inflate, data_set, INFLATED_BYTES)
        except Malformed as error:
            raise Unavailable("the stored file is damaged", detail=str(error)) from error
        stored = EXPLICIT_VR_LE
    if stored != wanted:
        data_set = await service.pool.run(transcode.rewrite, data_set, stored, wanted)
    yield data_set


async def _with_pixels(service: Service, handle: Handle, wanted: str) -> AsyncIterator[Chunk]:
    retriever, location = service.archive.retriever, handle.location
    table = retriever.frame_table(handle)
    assert table is not None
    with retriever.open(handle) as file:
        found = _scanned(file, handle)
        end = table.offset + table.length + _SEQUENCE_END
        if found.pixel_length is not None:
            end = found.pixel_offset + found.pixel_length
        trailer = location.data_set_offset + end
        work = partial(
            transcode.plan,
            frames=table.frames,
            first_frame=retriever.frame(handle, 0) if table.encapsulated else None,
            trailer=file.read(trailer, max(location.size_bytes - trailer, 0)),
            pixel_vr=found.pixel_vr,
            floating=found.pixel_tag != PIXEL_DATA,
        )
        header = retriever.header(handle)
        planned = await service.pool.run(work, header, location.transfer_syntax_uid, wanted)
        if planned.as_it_lies:
            async for piece in _copied(file, found, planned):
                yield piece
            return
        frame_at = partial(retriever.frame, handle)
        async for piece in transcode.stream_data_set(service.pool, planned, frame_at):
            yield piece


async def _copied(file: OpenFile, found: Scan, planned: transcode.Plan) -> AsyncIterator[Chunk]:
    """A new header, and the pixel data value as it lies."""
    yield planned.head
    size = (planned.size_bytes or 0) - len(planned.head) - len(planned.tail)
    held = min(size, found.pixel_length or 0)
    async for chunk in read_pieces(file.fd, ((file.data_set_offset + found.pixel_offset, held),)):
        yield chunk
    yield bytes(size - held) + planned.tail


def _scanned(file: OpenFile, handle: Handle) -> Scan:
    location = handle.location
    head = file.read(location.data_set_offset, location.header_bytes + _PIXEL_ELEMENT)
    try:
        return scan(head, location.transfer_syntax_uid, complete=False)
    except Malformed as error:
        raise Unavailable("the stored file is damaged", detail=str(error)) from error
