"""Stored videos as rendered resources: the stream as it is stored, with byte ranges.

MPEG-2, H.264 and HEVC instances hold one stream for all frames (PS3.5 8.2.5 to 8.2.8). It is
not decoded here. What a player needs to know is the container it lies in, so that is looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from filmroom.archive.errors import Unsupported
from filmroom.archive.records import Handle
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.dicomweb import negotiate
from filmroom.dicomweb.answers import (
    BINARY_HEADERS,
    Chunk,
    Stream,
    not_modified,
    part_wanted,
    read_pieces,
    window,
)
from filmroom.dicomweb.service import Service

HEAD_BYTES = 12
MPEG2_FIRST = b"\x00\x00\x01"


def is_video(handle: Handle) -> bool:
    """Whether an instance is stored as a video stream."""
    syntax = TRANSFER_SYNTAXES.get(handle.location.transfer_syntax_uid)
    return syntax is not None and syntax.video and bool(handle.frames)


def container(head: bytes, transfer_syntax_uid: str) -> str:
    """The media type of a stream, from its first bytes and its transfer syntax."""
    coded = TRANSFER_SYNTAXES[transfer_syntax_uid]
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:1] == b"\x47":
        return "video/mp2t"
    if coded.media_type == "video/mpeg" and head[:3] == MPEG2_FIRST:
        return "video/mpeg"
    return "video/H265" if coded.name.startswith("HEVC") else "video/H264"


async def stored_video(
    service: Service, request: Request, handle: Handle, accept: str | None
) -> Response:
    """The whole stream, or the range of it that is asked for.

    Raises Unsupported when the client does not take the media type that it is.
    """
    retriever = service.archive.retriever
    table = retriever.frame_table(handle)
    assert table is not None
    start = handle.location.data_set_offset
    pieces = [
        (start + offset, length)
        for index in range(table.frames)
        for offset, length in table.ranges(index)
    ]
    await retriever.demand(handle, start)
    with retriever.open(handle) as file:
        first = window(pieces, 0, HEAD_BYTES)
        head = b"".join([bytes(chunk) async for chunk in read_pieces(file, first)])
    media_type = container(head, handle.location.transfer_syntax_uid)
    if negotiate.choose(accept or "", (media_type,)) is None:
        raise Unsupported(negotiate.what_is_to_be_had((media_type,)))
    etag = f'"{handle.etag}-video"'
    headers = {**BINARY_HEADERS, "Content-Type": media_type, "Accept-Ranges": "bytes"}
    if (unchanged := not_modified(request, etag, headers)) is not None:
        return unchanged
    headers["ETag"] = etag
    size = sum(length for _, length in pieces)
    begin, stop, status = part_wanted(request, size, etag, headers)
    pieces = window(pieces, begin, stop)

    async def chunks() -> AsyncIterator[Chunk]:
        with retriever.open(handle) as file:
            async for chunk in read_pieces(file, pieces):
                yield chunk

    return Stream(chunks, headers, length=stop - begin, status_code=status)
