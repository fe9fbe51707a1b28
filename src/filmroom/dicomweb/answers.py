"""Successful answers: whole bodies, streams of file ranges, validators, byte ranges.

A body that is at hand goes out in one piece per send; a file that is long, or one of many, is
sent by the kernel where the server offers that (see asgi.zero_copy), else read 512 KiB at a time
while it is sent, without leaving the loop when the page cache has it (preadv2 with
RWF_NOWAIT) and in a thread when the disk must be asked. HEAD reads nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from filmroom.archive.errors import Unavailable
from filmroom.archive.retrieve import OpenFile
from filmroom.dicomweb.leaving import Gone, while_there
from filmroom.dicomweb.problems import Problem
from filmroom.http import accepts_gzip

CHUNK_BYTES = 512 * 1024
INLINE_BYTES = 1024 * 1024  # up to here a body is read at once
GZIP_FROM_BYTES = 1024
GZIP_INLINE_BYTES = 128 * 1024  # larger bodies are compressed in a thread
MAX_BYTE_RANGES = 16

IMMUTABLE = "private, max-age=31536000, immutable"  # a UID's content never changes
REVALIDATE = "private, no-cache"
BINARY_HEADERS = {
    "Cache-Control": IMMUTABLE,
    "Vary": "Accept, Cookie, Authorization",
    "X-Content-Type-Options": "nosniff",
}
DOCUMENT_HEADERS = {
    "Cache-Control": REVALIDATE,
    "Vary": "Accept, Accept-Encoding, Cookie, Authorization",
    "X-Content-Type-Options": "nosniff",
}

Chunk = bytes | bytearray
ZERO_COPY = "http.response.zerocopysend"  # an extension of ASGI
Piece = tuple[int, int]  # (offset, length) in a file


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A range of a file, to be sent unread; whoever yields it keeps the file open meanwhile."""

    file: OpenFile
    offset: int
    length: int


Part = Chunk | FilePiece


def sends_files(request: Request) -> bool:
    """Whether a Stream in answer to this request may have FilePieces."""
    return ZERO_COPY in request.scope.get("extensions", ())


async def _send_part(part: Part, send: Send) -> None:
    if not isinstance(part, FilePiece):
        await send({"type": "http.response.body", "body": part, "more_body": True})
        return
    if part.file.fd < 0:
        raise RuntimeError("a file is closed before it is sent")
    piece = {"file": part.file.fd, "offset": part.offset, "count": part.length}
    await send({"type": ZERO_COPY, **piece, "more_body": True})


class Pieces(Response):
    """A body that is at hand, in pieces that need not be joined."""

    def __init__(
        self, pieces: Sequence[Chunk], headers: Mapping[str, str], status_code: int = 200
    ) -> None:
        self._pieces = pieces
        length = str(sum(map(len, pieces)))
        _start(self, status_code, {**headers, "Content-Length": length})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: one message per piece; none of them for HEAD."""
        await send(_head_of(self))
        *pieces, last = self._pieces if self._pieces and scope["method"] != "HEAD" else (b"",)
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": last})


class Stream(Response):
    """A body that is made while it is sent; length None when nobody knows it yet."""

    def __init__(
        self,
        chunks: Callable[[], AsyncIterator[Part]],
        headers: Mapping[str, str],
        *,
        length: int | None = None,
        status_code: int = 200,
    ) -> None:
        self._chunks = chunks
        known = {"Content-Length": str(length)} if length is not None else {}
        _start(self, status_code, {**headers, **known})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: send until done, or until the client has gone."""
        await send(_head_of(self))
        if scope["method"] != "HEAD":
            chunks = self._chunks()
            try:
                async with while_there(receive):
                    async for chunk in chunks:
                        await _send_part(chunk, send)
            except Gone:
                return
            finally:
                close = getattr(chunks, "aclose", None)
                if close is not None:
                    await close()
        await send({"type": "http.response.body", "body": b""})


def _start(response: Response, status_code: int, headers: Mapping[str, str]) -> None:
    """What Response.__init__ does, without rendering a body."""
    response.status_code = status_code
    response.background = None
    response.body = b""
    response.raw_headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]


def _head_of(response: Response) -> dict[str, object]:
    return {
        "type": "http.response.start",
        "status": response.status_code,
        "headers": response.raw_headers,
    }


# -- reading ----------------------------------------------------------------------------------
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


async def read_range(file: OpenFile, offset: int, length: int) -> Chunk:
    """Exactly these bytes of a file; Unavailable when they are not there."""
    await file.ready(offset, length)
    fd = file.fd
    buffer = bytearray(length)
    view = memoryview(buffer)
    have = 0
    if _NOWAIT:
        try:
            have = os.preadv(fd, [view], offset, _NOWAIT)
        except OSError:
            have = 0  # not in the page cache, or a file system that cannot say
    if have < length:
        have += await asyncio.to_thread(_read_into, fd, view[have:], offset + have)
    if have < length:
        raise Unavailable("a stored file is shorter than it was")
    return buffer


def _read_into(fd: int, view: memoryview, offset: int) -> int:
    have = 0
    try:
        while have < len(view):
            count = os.preadv(fd, [view[have:]], offset + have)
            if count == 0:
                break
            have += count
    except OSError as error:
        raise Unavailable("storage failed", detail=str(error)) from error
    return have


async def read_pieces(file: OpenFile, pieces: Iterable[Piece]) -> AsyncIterator[Chunk]:
    """The bytes of several ranges of one file, in chunks."""
    for offset, length in pieces:
        end = offset + length
        while offset < end:
            count = min(CHUNK_BYTES, end - offset)
            yield await read_range(file, offset, count)
            offset += count


def window(pieces: Sequence[Piece], first: int, stop: int) -> list[Piece]:
    """The pieces that hold the bytes first..stop-1 of what `pieces` hold together."""
    cut: list[Piece] = []
    position = 0
    for offset, length in pieces:
        begin, end = max(first - position, 0), min(stop - position, length)
        if begin < end:
            cut.append((offset + begin, end - begin))
        position += length
    return cut


# -- validators, ranges, coding -------------------------------------------------------------------
def not_modified(request: Request, etag: str, headers: Mapping[str, str]) -> Response | None:
    """A 304 when the client holds this representation already (RFC 9110 13.1.2)."""
    known = request.headers.get("if-none-match")
    if known is None:
        return None
    bare = etag.removeprefix("W/")
    tags = (tag.strip().removeprefix("W/") for tag in known.split(","))
    if known.strip() != "*" and bare not in tags:
        return None
    answer = Pieces((), {**headers, "ETag": etag}, 304)
    answer.raw_headers = [each for each in answer.raw_headers if each[0] != b"content-length"]
    return answer


def byte_range(request: Request, size: int, etag: str) -> Piece | None:
    """The (first, stop) asked for, None for the whole; raises a 416 Problem (RFC 9110 14).

    Several ranges are answered with the whole, as a server may; absurdly many are refused.
    """
    text = request.headers.get("range")
    if text is None or not text.startswith("bytes="):
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        return None
    if "," in text:
        if text.count(",") >= MAX_BYTE_RANGES:
            raise _unsatisfiable(size)
        return None
    found = re.fullmatch(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", text)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, stop = max(size - int(found[2]), 0), size
    else:
        first, stop = int(found[1]), min(int(found[2] or size) + 1, size)
    if found[2] and found[1] and int(found[2]) < int(found[1]):
        return None
    if first >= stop:
        raise _unsatisfiable(size)
    return first, stop


def _unsatisfiable(size: int) -> Problem:
    headers = {"Content-Range": f"bytes */{size}"}
    return Problem(416, "Range Not Satisfiable", f"the resource has {size} bytes", headers)


def part_wanted(
    request: Request, size: int, etag: str, headers: dict[str, str]
) -> tuple[int, int, int]:
    """(first, stop, status) of what to send of so many bytes, all or a range (RFC 9110 14).

    What has to be said of it is put into `headers`. Raises a 416 Problem.
    """
    headers["Accept-Ranges"] = "bytes"
    wanted = byte_range(request, size, etag)
    if wanted is None:
        return 0, size, 200
    first, stop = wanted
    headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
    return first, stop, 206


def ranged(request: Request, body: bytes, headers: Mapping[str, str], etag: str) -> Response:
    """A body at hand, or the range of it that was asked for."""
    headers = {**headers, "ETag": etag}
    first, stop, status = part_wanted(request, len(body), etag, headers)
    return Pieces((body[first:stop] if status == 206 else body,), headers, status)


async def document(
    request: Request, body: bytes, media_type: str, headers: Mapping[str, str]
) -> Response:
    """A text answer, gzipped when that is welcome and worth it."""
    headers = {**DOCUMENT_HEADERS, **headers, "Content-Type": media_type}
    if len(body) >= GZIP_FROM_BYTES and accepts_gzip(request.headers.get("accept-encoding")):
        if len(body) <= GZIP_INLINE_BYTES:
            body = _gzip(body)
        else:
            body = await asyncio.to_thread(_gzip, body)
        headers["Content-Encoding"] = "gzip"
    return Pieces((body,), headers)


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, 1, 31)
