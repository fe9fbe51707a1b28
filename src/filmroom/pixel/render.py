"""A frame and a request to a picture file (PS3.18 8.3.5, 10.4).

Runs in a worker: decode, modality and VOI, palette or colour, shutters and overlays, then
what a presentation state lays out, region and size, colour management, notes, and encode.
Nothing here is cached but the look-up tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from filmroom.pixel.codecs import decode
from filmroom.pixel.color import apply_palette, spread_palette, to_rgb
from filmroom.pixel.encode import Shown, encode
from filmroom.pixel.errors import BadParameter, NoCodec
from filmroom.pixel.icc import manage
from filmroom.pixel.lut import show_grey
from filmroom.pixel.notes import burn
from filmroom.pixel.numeric import np
from filmroom.pixel.options import LARGEST_AREA, RenderOptions, Viewport
from filmroom.pixel.overlay import fill
from filmroom.pixel.picture import Picture, picture_of
from filmroom.pixel.present import lay_out
from filmroom.pixel.shutter import cover

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array
    from filmroom.pixel.numeric import Bytes as Pixels  # (rows, columns) or (rows, columns, 3)

THIN_TO = 2  # source pixels per rendered one that grey levels are looked up for
SPARE = 1.5  # decoded pixels per rendered one at least: wavelets' small pictures are sharp
SKIP_FROM = 4  # source pixels per rendered one from which whole pixels are skipped first


@dataclass(frozen=True, slots=True)
class Stored:
    """One frame as it lies in its file, and what to make of it."""

    coded: bytes
    picture: Picture
    bit_offset: int = 0


@dataclass(frozen=True, slots=True)
class Lying:
    """The same by where its pieces lie in a file: (offset, length) of each."""

    pieces: tuple[tuple[int, int], ...]
    picture: Picture
    bit_offset: int = 0


def render(
    frame: Array,
    attributes: Mapping[str, Any],
    options: RenderOptions,
    *,
    frame_index: int = 0,
) -> bytes:
    """Render a decoded frame by the attributes of its instance (DICOM JSON)."""
    picture = picture_of(attributes, frame_index)
    return encode([_show(frame, picture.shape.photometric, picture, options)], options)


def render_from(
    file: int,
    frames: Sequence[Lying],
    transfer_syntax_uid: str,
    options: RenderOptions,
    frame_time_ms: float = 100.0,
) -> bytes:
    """`render_stored` of frames in an open file, read one after the other."""

    def read() -> Iterator[Stored]:
        for lying in frames:
            pieces = [os.pread(file, length, offset) for offset, length in lying.pieces]
            yield Stored(b"".join(pieces), lying.picture, lying.bit_offset)

    return render_stored(read(), transfer_syntax_uid, options, frame_time_ms)


def render_stored(
    frames: Iterable[Stored],
    transfer_syntax_uid: str,
    options: RenderOptions,
    frame_time_ms: float = 100.0,
) -> bytes:
    """Decode and render frames as stored; several only for what moves. The task for a worker."""

    def shown() -> Iterator[Shown]:
        for stored in frames:
            picture = stored.picture
            array, photometric = decode(
                stored.coded,
                transfer_syntax_uid,
                picture.shape,
                bit_offset=stored.bit_offset,
                reduce=_halvings(picture, options),
            )
            yield _show(array, photometric, picture, options)

    return encode(shown(), options, frame_time_ms)


def _show(array: Array, photometric: str, picture: Picture, options: RenderOptions) -> Shown:
    pixels = _laid_out(array, photometric, picture, options)
    pixels, profile = manage(pixels, picture.profile, options.profile)
    if picture.notes is not None:
        pixels = burn(pixels, picture.notes)
    return Shown(pixels, profile)


def _laid_out(array: Array, photometric: str, picture: Picture, options: RenderOptions) -> Pixels:
    """The picture in its final size."""
    viewport = options.viewport
    if picture.presentation is not None:
        pixels = paint(array, photometric, picture, options)
        simple = options.region is None and viewport is not None and viewport == _whole(viewport)
        if simple and viewport is not None:
            return lay_out(pixels, picture.presentation, (viewport.width, viewport.height))
        return place(lay_out(pixels, picture.presentation, None), options)
    if viewport is None or not _scales(picture, options):
        return place(paint(array, photometric, picture, options), options)
    height, width = _size(picture.shape.rows, picture.shape.columns, viewport)
    skip = min(array.shape[0] // height, array.shape[1] // width) // THIN_TO
    if array.ndim == 2 and skip > 1:
        array = array[::skip, ::skip]
    return _resize(paint(array, photometric, picture, options), height, width)


def _scales(picture: Picture, options: RenderOptions) -> bool:
    """Whether a smaller array gives the same picture, but smaller: nothing is drawn by place."""
    viewport, shape = options.viewport, picture.shape
    if options.region is not None or viewport is None or viewport != _whole(viewport):
        return False
    if picture.overlays or picture.shutter or picture.palette or picture.presentation:
        return False
    grey = picture.grey
    window = options.window or grey.window
    known = grey.voi is not None or (window is not None and window.usable)
    known = known or (shape.bits <= 8 and grey.modality is None and grey.slope == 1.0)
    # Else the frame's own range is its window, and all pixels have a say in it.
    return known or shape.samples > 1


def _halvings(picture: Picture, options: RenderOptions) -> int:
    """How often the size may be halved while decoding."""
    viewport, shape = options.viewport, picture.shape
    if viewport is None or not _scales(picture, options):
        return 0
    height, width = _size(shape.rows, shape.columns, viewport)
    spare = min(shape.rows / height, shape.columns / width) / SPARE
    return max(int(spare).bit_length() - 1, 0)


def _whole(viewport: Viewport) -> Viewport:
    return Viewport(viewport.width, viewport.height)


def paint(array: Array, photometric: str, picture: Picture, options: RenderOptions) -> Pixels:
    """Sample values to grey levels or RGB, shutters and overlays on it, still in full size."""
    shape = picture.shape
    if array.ndim == 3:
        pixels = to_rgb(array, photometric, shape)
    elif photometric == "PALETTE COLOR":
        if picture.palette is None:
            raise NoCodec("the image has no palette that can be read")
        pixels = apply_palette(array, picture.palette)
    else:
        grey = picture.grey
        if options.window is not None:
            grey = replace(grey, window=options.window, voi=None)
        pixels = show_grey(array, grey, shape)
        if picture.pseudo is not None:
            pixels = spread_palette(picture.pseudo)[pixels]
    if picture.shutter is not None:
        pixels = cover(pixels, picture.shutter)
    for overlay in picture.overlays:
        pixels = fill(pixels, overlay.mask(*pixels.shape[:2]), overlay.colour)
    return pixels


def place(pixels: Pixels, options: RenderOptions) -> Pixels:
    """Cut out, flip and scale as asked; the aspect ratio is kept (PS3.18 8.3.5.1.3)."""
    viewport = options.viewport
    if options.region is not None:
        pixels = _fraction(pixels, options.region)
    if viewport is None:
        return pixels
    pixels = _cut(pixels, viewport)
    return _resize(pixels, *_size(pixels.shape[0], pixels.shape[1], viewport))


def _size(rows: int, columns: int, viewport: Viewport) -> tuple[int, int]:
    """(height, width) of an image that fills a viewport and keeps its shape."""
    scale = min(viewport.width / columns, viewport.height / rows)
    width = min(max(round(columns * scale), 1), viewport.width)
    height = min(max(round(rows * scale), 1), viewport.height)
    if width * height > LARGEST_AREA:
        raise BadParameter(f"a rendered image may have at most {LARGEST_AREA} pixels")
    return height, width


def _fraction(pixels: Pixels, region: tuple[float, float, float, float]) -> Pixels:
    rows, columns = pixels.shape[:2]
    left, right = int(region[0] * columns), max(int(region[2] * columns), 1)
    top, bottom = int(region[1] * rows), max(int(region[3] * rows), 1)
    cut = pixels[top:bottom, left:right]
    if not cut.size:
        raise BadParameter("the region holds no pixel")
    return cut


def _cut(pixels: Pixels, viewport: Viewport) -> Pixels:
    rows, columns = pixels.shape[:2]
    x, y = abs(viewport.source_x or 0.0), abs(viewport.source_y or 0.0)
    width = columns - x if viewport.source_width is None else abs(viewport.source_width)
    height = rows - y if viewport.source_height is None else abs(viewport.source_height)
    left, right = int(min(x, columns)), round(min(x + width, columns))
    top, bottom = int(min(y, rows)), round(min(y + height, rows))
    cut = pixels[top:bottom, left:right]
    if not cut.size:
        raise BadParameter("the viewport's source region lies outside the image")
    if (viewport.source_width or 0) < 0:
        cut = cut[:, ::-1]
    if (viewport.source_height or 0) < 0:
        cut = cut[::-1]
    return cut


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    from PIL import Image

    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    skip = min(rows // height, columns // width) // SKIP_FROM
    if skip > 1:
        pixels = pixels[::skip, ::skip]
    smaller = width < columns
    method = Image.Resampling.BILINEAR if smaller else Image.Resampling.BICUBIC
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), method, reducing_gap=2.0))
