"""Many rendered pictures in one multipart answer (PS3.18 8.6.1.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar

from starlette.responses import Response

from filmroom.dicomweb.answers import Chunk, Stream
from filmroom.dicomweb.multipart import (
    PART_TAIL,
    closing,
    content_type,
    part_head,
    steady_boundary,
)

PARTS_AHEAD = 4
T = TypeVar("T")


async def in_parts(
    make: Callable[[T], Awaitable[bytes]],
    shots: AsyncGenerator[T, None],
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """All pictures, one part each, made a few ahead of the reader.

    make: a picture of a shot. What the first one raises is raised before anything is sent.
    headers: with a strong ETag, which stands for the boundary too.
    """
    boundary = steady_boundary(headers["ETag"])
    # What fails must fail before the answer begins.
    first = await make(await anext(shots))

    async def chunks() -> AsyncIterator[Chunk]:
        head = part_head(boundary, {"Content-Type": media_type})
        yield head + first + PART_TAIL
        async with aclosing(shots):
            while batch := [shot async for shot in _take(shots, PARTS_AHEAD)]:
                for picture in await asyncio.gather(*map(make, batch)):
                    yield head + picture + PART_TAIL
        yield closing(boundary)

    body: Callable[[], AsyncIterator[Chunk]] = chunks
    return Stream(body, {**headers, "Content-Type": content_type(boundary, media_type)})


async def _take(shots: AsyncIterator[T], count: int) -> AsyncIterator[T]:
    for _ in range(count):
        shot = await anext(shots, None)
        if shot is None:
            return
        yield shot
