"""Rendered resources and thumbnails: pictures that any browser can show (PS3.18 10.4.1.1.3-4).

An instance or frame is one picture; a series or study is all its pictures in a multipart
answer, or one that stands for it when the client asks for a single image. Pictures are made
by the pixel workers and kept for a while in memory: their bytes can never become stale.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from filmroom.archive.access import Principal
from filmroom.archive.archive import Archive
from filmroom.archive.errors import Damaged, NotHeld, Unintelligible, Unsupported
from filmroom.archive.kept import Kept
from filmroom.archive.metadata import NOTHING_SOUND
from filmroom.archive.records import Handle, Selection
from filmroom.archive.selected import Few, Selected, Sound
from filmroom.dicom import dicomjson
from filmroom.dicom.errors import Malformed
from filmroom.dicom.frames import FrameTable
from filmroom.dicomweb import negotiate
from filmroom.dicomweb.answers import BINARY_HEADERS, REVALIDATE, Chunk, Pieces, Stream
from filmroom.dicomweb.multipart import (
    PART_TAIL,
    closing,
    content_type,
    new_boundary,
    part_head,
)
from filmroom.pixel.codecs import can_decode
from filmroom.pixel.errors import NoCodec, TooLarge, Undecodable
from filmroom.pixel.options import GIF, MEDIA_TYPES, RenderOptions, not_obeyed, parse_options
from filmroom.pixel.picture import frames_of, matters, number_of, picture_of
from filmroom.pixel.pool import Pool
from filmroom.pixel.render import Lying, Stored, render_from, render_stored
from filmroom.pixel.transcode import bit_offset

SINGLE = MEDIA_TYPES
MULTIPLE = tuple(f'multipart/related; type="{media_type}"' for media_type in MEDIA_TYPES)

PICTURES_BYTES = 64 << 20  # rendered pictures kept
ATTRIBUTES_BYTES = 8 << 20  # headers whose parsed attributes are kept
LONG_HEADER_BYTES = 256 << 10
INLINE_LIMIT = 16 << 20  # LUTs and overlays are needed here, not a reference to them
CINE_FRAMES = 256
CINE_BYTES = 64 << 20  # of coded frames in one animation
PARTS_AHEAD = 4
MANY_FRAGMENTS = 1000  # more than frames: not told to a worker one by one

# Selected, but not what a person would choose to stand for a study.
SECOND_CHOICE = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    }
)


PICTURES: Kept[bytes] = Kept(PICTURES_BYTES)
ATTRIBUTES: Kept[Mapping[str, Any]] = Kept(ATTRIBUTES_BYTES)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to be made: a frame (0-based) of an instance."""

    handle: Handle
    frame_index: int


async def render_response(
    archive: Archive,
    pool: Pool,
    principal: Principal,
    *,
    study: str,
    series: str | None,
    instance: str | None,
    frame_index: int | None,
    params: Mapping[str, str],
    accept: str | None,
    thumbnail: bool,
    if_none_match: str | None = None,
) -> Response:
    """Answer a request for a rendered resource or thumbnail at any level.

    frame_index: 0-based. params: the query. if_none_match: the header; when our ETag is in
    it the answer is 304. Raises NotHeld, Unsupported (no image, or no acceptable media
    type), BadParameter for a query that cannot be obeyed, and what the pool raises.
    """
    one_instance = instance is not None
    media_type, multiple = _negotiated(accept, thumbnail, one_instance)
    options = parse_options(params, media_type, thumbnail=thumbnail)
    if instance is not None:
        images: Selected = Few(
            [await archive.retriever.instance(principal, study, series, instance)]
        )
    else:
        images = await _images(archive, principal, study, series)
    if not multiple and not one_instance:
        images = Few([await representative(images)])
    etag = await _etag(images, frame_index, options, multiple, thumbnail)
    headers = {**BINARY_HEADERS, "ETag": etag}
    if not one_instance:
        headers["Cache-Control"] = REVALIDATE  # more images may arrive
    if not thumbnail and (ignored := not_obeyed(params)):
        text = f"{' and '.join(ignored)} not applied: no such rendering is made here"
        headers["Warning"] = f'299 filmroom "{text}"'  # PS3.18 8.3.5.1
    if if_none_match is not None and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    studio = Studio(archive, pool, options)
    if multiple:
        shots = studio.all_shots(images, frame_index)
        return await _multipart(studio, shots, media_type, headers)
    middle = thumbnail or not one_instance
    (handle,) = images.whole or ()
    picture = await studio.single(handle, frame_index, middle=middle)
    return Pieces((picture,), {**headers, "Content-Type": media_type})


def _negotiated(accept: str | None, thumbnail: bool, one_instance: bool) -> tuple[str, bool]:
    """(media type, whether in a multipart answer). Raises Unsupported."""
    in_order = (*SINGLE, *MULTIPLE) if one_instance else (*MULTIPLE, *SINGLE)
    offers: tuple[str, ...] = SINGLE if thumbnail else in_order
    offer = negotiate.choose(accept or "", offers)
    if offer is None:
        raise Unsupported(negotiate.what_is_to_be_had(offers))
    multiple, media_type = negotiate.split_offer(offer)
    return media_type, multiple


async def _images(
    archive: Archive, principal: Principal, study: str, series: str | None
) -> Selected:
    """The instances of a study or series that can be shown."""
    wanted = Selection(
        study_instance_uids=(study,), series_instance_uids=(series,) if series else ()
    )
    selected = await archive.retriever.select(principal, wanted)
    if not selected.kinds:
        raise NotHeld("no such study" if series is None else "no such series in that study")
    if not any(k.has_frames and can_decode(k.transfer_syntax_uid) for k in selected.kinds):
        raise Unsupported("nothing in it is an image that can be rendered")
    if selected.damaged:
        selected = Sound(selected)
        async with aclosing(_showable(selected)) as images:
            if await anext(images, None) is None:
                raise Damaged(NOTHING_SOUND)
    return selected


async def _showable(images: Selected) -> AsyncGenerator[Handle, None]:
    """One after the other; only a page of them is held."""
    async with aclosing(images.pages()) as pages:
        async for page in pages:
            for handle in page:
                if handle.frames and can_decode(handle.location.transfer_syntax_uid):
                    yield handle


async def representative(images: Selected) -> Handle:
    """The instance that stands for a study: the middle image of its largest image series."""
    sizes: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    async for handle in _showable(images):
        sizes[handle.sop_class_uid in SECOND_CHOICE][handle.series_instance_uid] += 1
    second = not sizes[False]
    ((largest, size),) = sizes[second].most_common(1)
    chosen, left = None, size // 2
    async with aclosing(_showable(images)) as handles:
        async for handle in handles:
            is_second = handle.sop_class_uid in SECOND_CHOICE
            if handle.series_instance_uid != largest or is_second is not second:
                continue
            chosen, left = handle, left - 1
            if left < 0:
                break
    if chosen is None:
        raise NotHeld("the images are gone")
    return chosen


async def _etag(
    images: Selected,
    frame_index: int | None,
    options: RenderOptions,
    multiple: bool,
    thumbnail: bool,
) -> str:
    """A strong validator: equal content and equal wishes give equal pictures."""
    wish = repr((frame_index, options, multiple, thumbnail)).encode()
    digest = hashlib.sha256(wish)
    async with aclosing(images.pages()) as pages:
        async for page in pages:
            for handle in page:
                digest.update(handle.location.digest)
    return f'"{digest.hexdigest()[:32]}"'


class Studio:
    """Makes the pictures of one request."""

    def __init__(self, archive: Archive, pool: Pool, options: RenderOptions) -> None:
        self._archive = archive
        self._pool = pool
        self._options = options

    def _content(self, handle: Handle) -> tuple[int, bytes]:
        """What a picture is of; another when a file turned out to be damaged meanwhile."""
        return self._archive.retriever.trust, handle.location.digest

    async def single(self, handle: Handle, frame_index: int | None, *, middle: bool) -> bytes:
        """One picture of an instance; a GIF of a whole multi-frame instance is animated."""
        attributes = await self._attributes(handle)
        frames = self._count(handle, attributes)
        if frame_index is None and self._options.media_type == GIF and frames > 1 and not middle:
            return await self._cine(handle, attributes, frames)
        if frame_index is None:
            said = number_of(attributes, "00286010")  # Representative Frame Number
            frame_index = frames // 2 if middle else 0
            if said is not None and 1 <= said <= frames:
                frame_index = int(said) - 1
        return await self.picture(Shot(handle, frame_index))

    async def picture(self, shot: Shot) -> bytes:
        """One picture, from memory when it was made lately."""
        key = (self._content(shot.handle), shot.frame_index, self._options)
        kept = PICTURES.get(key)
        if kept is None:
            attributes = await self._attributes(shot.handle)
            kept = await self._render(shot.handle, attributes, [shot.frame_index])
            PICTURES.put(key, kept, len(kept))
        return kept

    async def all_shots(
        self, images: Selected, frame_index: int | None
    ) -> AsyncGenerator[Shot, None]:
        """Every frame of every instance, or the one frame that was asked for."""
        async with aclosing(_showable(images)) as handles:
            async for handle in handles:
                if frame_index is not None:
                    yield Shot(handle, frame_index)
                    continue
                table = self._archive.retriever.frame_table(handle)
                frames = table.frames if table else frames_of(await self._attributes(handle))
                for index in range(frames):
                    yield Shot(handle, index)

    async def _cine(self, handle: Handle, attributes: Mapping[str, Any], frames: int) -> bytes:
        """An animation of at most CINE_FRAMES frames, evenly chosen."""
        table = self._archive.retriever.frame_table(handle)
        coded_bytes = table.span(0)[1] if table is not None else 1
        most = max(min(CINE_FRAMES, CINE_BYTES // max(coded_bytes, 1)), 1)
        step = -(-frames // most)
        key = (self._content(handle), None, self._options)
        kept = PICTURES.get(key)
        if kept is None:
            time_ms = frame_time_ms(attributes) * step
            kept = await self._render(handle, attributes, range(0, frames, step), time_ms)
            PICTURES.put(key, kept, len(kept))
        return kept

    async def _render(
        self,
        handle: Handle,
        attributes: Mapping[str, Any],
        indices: Sequence[int],
        time_ms: float = 100.0,
    ) -> bytes:
        syntax = handle.location.transfer_syntax_uid
        if not can_decode(syntax):
            raise Unsupported(f"transfer syntax {syntax} cannot be rendered")
        try:
            table = self._archive.retriever.frame_table(handle)
            if table is None or len(table.lengths) - table.frames > MANY_FRAGMENTS:
                stored = [await self._stored(handle, attributes, index) for index in indices]
                return await self._pool.run(render_stored, stored, syntax, self._options, time_ms)
            lying = [_lying(handle, table, attributes, index) for index in indices]
            with self._archive.retriever.open(handle) as file:
                if not self._archive.retriever.is_here:
                    for offset, length in (piece for each in lying for piece in each.pieces):
                        await file.ready(offset, length)
                return await self._pool.run_on(
                    file.fd, render_from, lying, syntax, self._options, time_ms
                )
        except (Undecodable, TooLarge, NoCodec) as error:
            raise Unsupported(f"this image cannot be rendered: {error.message}") from error

    async def _stored(self, handle: Handle, attributes: Mapping[str, Any], index: int) -> Stored:
        coded = await self._archive.retriever.read_frame(handle, index)
        picture = picture_of(attributes, index)
        offset = bit_offset(picture.shape, handle.location.transfer_syntax_uid, index)
        return Stored(coded, picture, offset)

    def _count(self, handle: Handle, attributes: Mapping[str, Any]) -> int:
        table = self._archive.retriever.frame_table(handle)
        return table.frames if table is not None else frames_of(attributes)

    async def _attributes(self, handle: Handle) -> Mapping[str, Any]:
        """What the header says of showing frames, as DICOM JSON, LUTs and overlays in line."""
        key = self._content(handle)
        kept: Mapping[str, Any] | None = ATTRIBUTES.get(key)
        if kept is None:
            size = handle.location.header_bytes
            if size > LONG_HEADER_BYTES or not self._archive.retriever.is_here:
                kept = await asyncio.to_thread(self._parse, handle)
            else:
                kept = self._parse(handle)
            ATTRIBUTES.put(key, kept, size)
        return kept

    def _parse(self, handle: Handle) -> Mapping[str, Any]:
        header = self._archive.retriever.header(handle)
        try:
            text = dicomjson.encode(
                header,
                handle.location.transfer_syntax_uid,
                lambda path: path,
                inline_limit=INLINE_LIMIT,
                wanted=matters,
            )
        except Malformed as error:
            raise Unintelligible(str(error)) from error
        attributes: dict[str, Any] = orjson.loads(text)
        if "00280010" not in attributes:
            raise Unsupported(
                "the instance is no image; ask for application/dicom, or for its metadata"
            )
        return attributes


def _lying(handle: Handle, table: FrameTable, attributes: Mapping[str, Any], index: int) -> Lying:
    if not 0 <= index < table.frames:
        raise NotHeld(f"no frame {index + 1}: the instance has {table.frames}")
    begin = handle.location.data_set_offset
    pieces = tuple((begin + offset, length) for offset, length in table.ranges(index))
    picture = picture_of(attributes, index)
    offset = bit_offset(picture.shape, handle.location.transfer_syntax_uid, index)
    return Lying(pieces, picture, offset)


def frame_time_ms(attributes: Mapping[str, Any]) -> float:
    """Milliseconds from one frame to the next (PS3.3 C.7.6.5); 100 when nobody says."""
    for tag, as_rate in (("00181063", False), ("00082144", True), ("00180040", True)):
        number = number_of(attributes, tag)
        if number is not None and number > 0:
            return 1000.0 / number if as_rate else number
    return 100.0


async def _multipart(
    studio: Studio,
    shots: AsyncGenerator[Shot, None],
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """All pictures, one part each, made a few ahead of the reader."""
    boundary = new_boundary()
    # What fails must fail before the answer begins.
    first = await studio.picture(await anext(shots))

    async def chunks() -> AsyncIterator[Chunk]:
        head = part_head(boundary, {"Content-Type": media_type})
        yield head + first + PART_TAIL
        async with aclosing(shots):
            while batch := [shot async for shot in _take(shots, PARTS_AHEAD)]:
                for picture in await asyncio.gather(*map(studio.picture, batch)):
                    yield head + picture + PART_TAIL
        yield closing(boundary)

    body: Callable[[], AsyncIterator[Chunk]] = chunks
    return Stream(body, {**headers, "Content-Type": content_type(boundary, media_type)})


async def _take(shots: AsyncIterator[Shot], count: int) -> AsyncIterator[Shot]:
    for _ in range(count):
        shot = await anext(shots, None)
        if shot is None:
            return
        yield shot
