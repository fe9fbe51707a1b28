"""Rendered resources and thumbnails: pictures that any browser can show (PS3.18 10.4.1.1.3-4).

An instance or frame is one picture; a series or study is all its pictures in a multipart
answer, or one that stands for it when the client asks for a single image. Pictures are made
by the pixel workers and kept for a while in memory: their bytes can never become stale.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response

from filmroom import __version__
from filmroom.archive.access import Principal
from filmroom.archive.archive import Archive
from filmroom.archive.errors import NotHeld, Unintelligible, Unsupported
from filmroom.archive.kept import Kept
from filmroom.archive.records import Handle
from filmroom.archive.selected import Few, Selected
from filmroom.dicom import dicomjson
from filmroom.dicom.errors import Malformed
from filmroom.dicom.frames import MAX_FRAMES, FrameTable
from filmroom.dicom.uids import EXPLICIT_VR_BE, TRANSFER_SYNTAXES
from filmroom.dicomweb.answers import BINARY_HEADERS, REVALIDATE, Pieces
from filmroom.dicomweb.chosen import images_of, representative, showable
from filmroom.dicomweb.rendered_offers import negotiated
from filmroom.dicomweb.rendered_parts import in_parts
from filmroom.dicomweb.states import asked_for, demand_no_window, subjects
from filmroom.pixel import state as states
from filmroom.pixel.codecs import can_decode
from filmroom.pixel.errors import BadParameter, NoCodec, TooLarge, Undecodable
from filmroom.pixel.icc import profile_of
from filmroom.pixel.notes import TAGS as NOTED
from filmroom.pixel.notes import notes_of
from filmroom.pixel.options import GIF, MOVING, MP4, RenderOptions, parse_options
from filmroom.pixel.picture import Picture, frames_of, matters, picture_of, shape_of
from filmroom.pixel.pool import Pool
from filmroom.pixel.render import Lying, Stored, render_from, render_stored
from filmroom.pixel.transcode import bit_offset
from filmroom.pixel.values import decode_binaries, number_of, weight_of

PICTURES_BYTES = 64 << 20  # rendered pictures kept
ATTRIBUTES_BYTES = 64 << 20  # parsed attributes of headers kept
LONG_HEADER_BYTES = 256 << 10  # longer ones keep the event loop waiting: in a thread
LONGEST_HEADER_BYTES = 64 << 20
INLINE_LIMIT = 16 << 20  # LUTs and overlays are needed here, not a reference to them
# Frames, coded bytes of frames, and pixels of frames in one animation.
LIMITS = {GIF: (256, 64 << 20, 256_000_000), MP4: (4096, 512 << 20, 500_000_000)}
FEW_FRAMES = 16  # more are made ready in a thread
MANY_FRAGMENTS = 1000  # more than frames: not told to a worker one by one

PICTURES: Kept[bytes] = Kept(PICTURES_BYTES)
ATTRIBUTES: Kept[Mapping[str, Any]] = Kept(ATTRIBUTES_BYTES)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to be made: a frame (0-based) of an instance, as a state presents it."""

    handle: Handle
    frame_index: int
    state: Handle | None = None


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
    may_move = one_instance and frame_index is None
    media_type, multiple = negotiated(accept, thumbnail, may_move, one_instance)
    options = parse_options(params, media_type, thumbnail=thumbnail)
    studio = Studio(archive, pool, options)
    wanted_state = asked_for(params, one_instance)
    state: Handle | None = None
    if instance is not None:
        images, state = await studio.subjects(
            principal, study, series, instance, frame_index, wanted_state
        )
    else:
        images = await images_of(archive, principal, study, series)
    if state is not None:
        demand_no_window(params)
    if not multiple and not one_instance:
        images = Few([await representative(images)])
    etag = await _etag(images, state, (frame_index, options, multiple, thumbnail))
    headers = {**BINARY_HEADERS, "ETag": etag}
    if not one_instance or state is not None:
        headers["Cache-Control"] = REVALIDATE  # more images may arrive
    if if_none_match is not None and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    if multiple:
        shots = studio.all_shots(images, frame_index, state)
        return await in_parts(studio.picture, shots, media_type, headers)
    middle = thumbnail or not one_instance
    first = (images.whole or ())[0]
    picture = await studio.single(first, frame_index, state, middle=middle)
    return Pieces((picture,), {**headers, "Content-Type": media_type})


async def _etag(images: Selected, state: Handle | None, wish: tuple[object, ...]) -> str:
    """A strong validator: one version makes equal pictures of equal content and wishes."""
    digest = hashlib.sha256(repr((__version__, wish)).encode())
    if state is not None:
        digest.update(state.location.digest)
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

    async def subjects(
        self,
        principal: Principal,
        study: str,
        series: str | None,
        instance: str,
        frame_index: int | None,
        wanted_state: tuple[str, str] | None,
    ) -> tuple[Selected, Handle | None]:
        """What is to be shown of one instance, and the presentation state it is shown by.

        A presentation state is shown as the images it refers to.
        """
        retriever = self._archive.retriever
        handle = await retriever.instance(principal, study, series, instance)
        if wanted_state is not None:
            return Few([handle]), await retriever.instance(principal, study, *wanted_state)
        if not states.is_state(handle.sop_class_uid):
            return Few([handle]), None
        said = await self.state(handle)
        return Few(await subjects(retriever, principal, handle, said, frame_index)), handle

    def _content(self, handle: Handle | None) -> tuple[int, bytes] | None:
        """What a picture is of; another when a file turned out to be damaged meanwhile."""
        if handle is None:
            return None
        return self._archive.retriever.trust, handle.location.digest

    async def single(
        self, handle: Handle, frame_index: int | None, state: Handle | None, *, middle: bool
    ) -> bytes:
        """One picture of an instance; what can move shows a whole multi-frame instance."""
        attributes = await self._attributes(handle)
        indices = await self._indices(handle, attributes, state)
        moves = self._options.media_type in MOVING and not middle
        if frame_index is None and moves and len(indices) > 1:
            return await self._cine(handle, attributes, indices, state)
        if self._options.media_type == MP4:
            raise Unsupported("one frame is no video; ask for image/jpeg")
        if frame_index is None:
            said = number_of(attributes, "00286010")  # Representative Frame Number
            frame_index = indices[len(indices) // 2 if middle else 0]
            if said is not None and int(said) - 1 in indices:
                frame_index = int(said) - 1
        elif state is not None and frame_index not in indices:
            raise BadParameter("the presentation state does not refer to that frame")
        return await self.picture(Shot(handle, frame_index, state))

    async def _indices(
        self, handle: Handle, attributes: Mapping[str, Any], state: Handle | None
    ) -> Sequence[int]:
        """The frames (0-based) that may be shown, at least one."""
        frames = self._count(handle, attributes)
        if state is None:
            return range(frames)
        indices = states.frames_meant(await self.state(state), handle.sop_instance_uid, frames)
        if not indices:
            raise BadParameter("the presentation state does not refer to that image")
        return indices

    async def picture(self, shot: Shot) -> bytes:
        """One picture, from memory when it was made lately."""
        key = self._key(shot.handle, shot.frame_index, shot.state)
        kept = PICTURES.get(key)
        if kept is None:
            attributes = await self._attributes(shot.handle)
            kept = await self._render(shot.handle, attributes, [shot.frame_index], shot.state)
            PICTURES.put(key, kept, len(kept))
        return kept

    def _key(self, handle: Handle, frame_index: int | None, state: Handle | None) -> Hashable:
        return self._content(handle), frame_index, self._content(state), self._options

    async def all_shots(
        self, images: Selected, frame_index: int | None, state: Handle | None
    ) -> AsyncGenerator[Shot, None]:
        """Every frame of every instance, or the one frame that was asked for."""
        async with aclosing(showable(images)) as handles:
            async for handle in handles:
                if frame_index is not None:
                    yield Shot(handle, frame_index, state)
                    continue
                table = self._archive.retriever.frame_table(handle)
                simple = table is not None and state is None
                attributes = {} if simple else await self._attributes(handle)
                for index in await self._indices(handle, attributes, state):
                    yield Shot(handle, index, state)

    async def _cine(
        self,
        handle: Handle,
        attributes: Mapping[str, Any],
        indices: Sequence[int],
        state: Handle | None,
    ) -> bytes:
        """A GIF of at most CINE_FRAMES frames, evenly chosen, or an MP4 of more of them."""
        table = self._archive.retriever.frame_table(handle)
        coded_bytes = table.span(0)[1] if table is not None else 1
        shape, viewport = shape_of(attributes), self._options.viewport
        shown = viewport.width * viewport.height if viewport is not None else 1
        pixels = max(shape.rows * shape.columns, shown, 1)
        most, most_bytes, most_pixels = LIMITS[self._options.media_type]
        most = max(min(most, most_bytes // max(coded_bytes, 1), most_pixels // pixels), 1)
        step = -(-len(indices) // most)
        key = self._key(handle, None, state)
        kept = PICTURES.get(key)
        if kept is None:
            time_ms = frame_time_ms(attributes) * step
            kept = await self._render(handle, attributes, indices[::step], state, time_ms)
            PICTURES.put(key, kept, len(kept))
        return kept

    async def _render(
        self,
        handle: Handle,
        attributes: Mapping[str, Any],
        indices: Sequence[int],
        state: Handle | None,
        time_ms: float = 100.0,
    ) -> bytes:
        syntax = handle.location.transfer_syntax_uid
        if not can_decode(syntax):
            raise Unsupported(f"transfer syntax {syntax} cannot be rendered")
        said = None if state is None else await self.state(state)
        try:
            table = self._archive.retriever.frame_table(handle)
            dressed = await self._dressed_all(handle, attributes, indices, state, said)
            if table is None or len(table.lengths) - table.frames > MANY_FRAGMENTS:
                stored = [await self._stored(handle, picture, index) for index, picture in dressed]
                return await self._pool.run(render_stored, stored, syntax, self._options, time_ms)
            lying = [_lying(handle, table, picture, index) for index, picture in dressed]
            with self._archive.retriever.open(handle) as file:
                if not self._archive.retriever.is_here:
                    for offset, length in (piece for each in lying for piece in each.pieces):
                        await file.ready(offset, length)
                return await self._pool.run_on(
                    file.fd, render_from, lying, syntax, self._options, time_ms
                )
        except (Undecodable, TooLarge, NoCodec) as error:
            raise Unsupported(f"this image cannot be rendered: {error.message}") from error

    async def _dressed_all(
        self,
        handle: Handle,
        attributes: Mapping[str, Any],
        indices: Sequence[int],
        state: Handle | None,
        said: Mapping[str, Any] | None,
    ) -> list[tuple[int, Picture]]:
        """Each frame and its picture; equal ones are one object, and travel once."""

        def dress() -> list[tuple[int, Picture]]:
            same: dict[Picture, Picture] = {}
            pictures = (
                (index, self._dressed(handle, attributes, index, said)) for index in indices
            )
            return [(index, same.setdefault(picture, picture)) for index, picture in pictures]

        if len(indices) > FEW_FRAMES or _is_long(handle) or (state and _is_long(state)):
            return await asyncio.to_thread(dress)
        return dress()

    def _dressed(
        self,
        handle: Handle,
        attributes: Mapping[str, Any],
        index: int,
        state: Mapping[str, Any] | None,
    ) -> Picture:
        """All about one picture that a worker has to know."""
        picture = picture_of(attributes, index)
        if self._options.profile != "no":
            picture = replace(picture, profile=profile_of(attributes))
        if state is not None:
            uid = handle.sop_instance_uid
            picture = states.presented(picture, state, attributes, uid, index)
        if self._options.annotation:
            notes = notes_of(attributes, picture, self._options, index)
            picture = replace(picture, notes=notes)
        return picture

    async def _stored(self, handle: Handle, picture: Picture, index: int) -> Stored:
        coded = await self._archive.retriever.read_frame(handle, index)
        offset = bit_offset(picture.shape, handle.location.transfer_syntax_uid, index)
        return Stored(coded, picture, offset)

    def _count(self, handle: Handle, attributes: Mapping[str, Any]) -> int:
        """How many frames there are. Raises NotHeld when there are none."""
        table = self._archive.retriever.frame_table(handle)
        if table is not None:
            return table.frames
        if not TRANSFER_SYNTAXES[handle.location.transfer_syntax_uid].deflated:
            raise NotHeld("the instance has no frames")
        return min(frames_of(attributes), MAX_FRAMES)  # as it says: they are found by inflating

    async def state(self, handle: Handle) -> Mapping[str, Any]:
        """What a presentation state says, as DICOM JSON."""
        if not states.is_state(handle.sop_class_uid):
            raise BadParameter("presentationUID is not that of a presentation state")
        return await self._said(handle, "state", partial(self._parse, wanted=states.matters))

    async def _attributes(self, handle: Handle) -> Mapping[str, Any]:
        """What the header says of showing frames, as DICOM JSON, LUTs and overlays in line."""
        return await self._said(handle, "image", self._parse_image)

    async def _said(
        self, handle: Handle, kind: str, parse: Callable[[Handle], tuple[Mapping[str, Any], int]]
    ) -> Mapping[str, Any]:
        key = (kind, self._content(handle))
        kept: Mapping[str, Any] | None = ATTRIBUTES.get(key)
        if kept is not None:
            return kept
        in_thread = _is_long(handle) or not self._archive.retriever.is_here
        said, size = await asyncio.to_thread(parse, handle) if in_thread else parse(handle)
        ATTRIBUTES.put(key, said, size)
        return said

    def _parse(
        self, handle: Handle, wanted: Callable[[int], bool]
    ) -> tuple[Mapping[str, Any], int]:
        """The attributes, and about how much memory they take."""
        if handle.location.header_bytes > LONGEST_HEADER_BYTES:
            raise Unsupported("the header is too long for a picture to be made")
        header = self._archive.retriever.header(handle)
        try:
            text = dicomjson.encode(
                header,
                handle.location.transfer_syntax_uid,
                lambda path: path,
                inline_limit=INLINE_LIMIT,
                wanted=wanted,
            )
        except Malformed as error:
            raise Unintelligible(str(error)) from error
        attributes: dict[str, Any] = orjson.loads(text)
        if b'"InlineBinary"' in text:
            decode_binaries(attributes)
        return attributes, weight_of(text)

    def _parse_image(self, handle: Handle) -> tuple[Mapping[str, Any], int]:
        attributes, size = self._parse(handle, lambda tag: matters(tag) or tag in NOTED)
        if "00280010" not in attributes:
            raise Unsupported(
                "the instance is no image; ask for application/dicom, or for its metadata"
            )
        if handle.location.transfer_syntax_uid == EXPLICIT_VR_BE:
            attributes = {**attributes, "7FE00010": {"vr": self._pixel_vr(handle)}}
        return attributes, size

    def _pixel_vr(self, handle: Handle) -> str:
        """OB or OW: only the latter's bytes are swapped in big endian (PS3.5 8.1.1)."""
        location = handle.location
        with self._archive.retriever.open(handle) as file:
            element = file.read(location.data_set_offset + location.header_bytes, 8)
        return element[4:6].decode("latin-1")


def _is_long(handle: Handle) -> bool:
    return handle.location.header_bytes > LONG_HEADER_BYTES


def _lying(handle: Handle, table: FrameTable, picture: Picture, index: int) -> Lying:
    if not 0 <= index < table.frames:
        raise NotHeld(f"no frame {index + 1}: the instance has {table.frames}")
    begin = handle.location.data_set_offset
    pieces = tuple((begin + offset, length) for offset, length in table.ranges(index))
    offset = bit_offset(picture.shape, handle.location.transfer_syntax_uid, index)
    return Lying(pieces, picture, offset)


def frame_time_ms(attributes: Mapping[str, Any]) -> float:
    """Milliseconds from one frame to the next (PS3.3 C.7.6.5); 100 when nobody says."""
    for tag, as_rate in (("00181063", False), ("00082144", True), ("00180040", True)):
        number = number_of(attributes, tag)
        if number is not None and number > 0:
            return 1000.0 / number if as_rate else number
    return 100.0
