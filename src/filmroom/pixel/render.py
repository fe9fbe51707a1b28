"""A frame and a request to a picture file: JPEG, PNG or GIF (PS3.18 8.3.5, 10.4).

Runs in a worker: decode, modality and VOI, palette or colour, overlays, region and size,
encode. Nothing here is cached but the look-up tables.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from filmroom.pixel.codecs import decode
from filmroom.pixel.color import apply_palette, to_rgb
from filmroom.pixel.errors import BadParameter, NoCodec
from filmroom.pixel.lut import show_grey
from filmroom.pixel.numeric import np
from filmroom.pixel.options import GIF, LARGEST_AREA, PNG, RenderOptions, Viewport
from filmroom.pixel.picture import Overlay, Picture, picture_of

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array
    from filmroom.pixel.numeric import Bytes as Pixels  # (rows, columns) or (rows, columns, 3)

JPEG_LARGEST_SIDE = 65500
THIN_TO = 2  # source pixels per rendered one that grey levels are looked up for
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
    shown = _show(frame, picture.shape.photometric, picture, options)
    return encode([shown], options)


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
    """Decode and render frames as stored; several only for GIF. The task for a worker."""
    shown = []
    for stored in frames:
        array, photometric = decode(
            stored.coded,
            transfer_syntax_uid,
            stored.picture.shape,
            bit_offset=stored.bit_offset,
        )
        shown.append(_show(array, photometric, stored.picture, options))
    return encode(shown, options, frame_time_ms)


def _show(array: Array, photometric: str, picture: Picture, options: RenderOptions) -> Pixels:
    skip = _skip(array, photometric, picture, options)
    if skip > 1 and options.viewport is not None:
        size = _size(array.shape[0], array.shape[1], options.viewport)
        return _resize(paint(array[::skip, ::skip], photometric, picture, options), *size)
    return place(paint(array, photometric, picture, options), options)


def _skip(array: Array, photometric: str, picture: Picture, options: RenderOptions) -> int:
    """Of how many pixels each way one is enough for a much smaller picture of a grey image."""
    grey = picture.grey
    window = options.window or grey.window
    is_plain = array.ndim == 2 and photometric != "PALETTE COLOR" and not picture.overlays
    if not is_plain or (grey.voi is None and (window is None or not window.usable)):
        return 1  # without a window the frame's own range is its window
    viewport = options.viewport
    if options.region is not None or viewport is None or viewport != _whole(viewport):
        return 1
    height, width = _size(array.shape[0], array.shape[1], viewport)
    return int(min(array.shape[0] // height, array.shape[1] // width) // THIN_TO)


def _whole(viewport: Viewport) -> Viewport:
    return Viewport(viewport.width, viewport.height)


def paint(array: Array, photometric: str, picture: Picture, options: RenderOptions) -> Pixels:
    """Sample values to grey levels or RGB, overlays burnt in, still in full size."""
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
    for overlay in picture.overlays:
        pixels = _burn(pixels, overlay)
    return pixels


def _burn(pixels: Pixels, overlay: Overlay) -> Pixels:
    size = overlay.rows * overlay.columns
    bits = np.unpackbits(np.frombuffer(overlay.bits, np.uint8), count=size, bitorder="little")
    mask = bits.reshape(overlay.rows, overlay.columns).astype(bool)
    top, left = max(overlay.row, 0), max(overlay.column, 0)
    mask = mask[top - overlay.row :, left - overlay.column :]
    mask = mask[: max(pixels.shape[0] - top, 0), : max(pixels.shape[1] - left, 0)]
    pixels = pixels.copy()
    pixels[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = 255
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


def encode(
    pictures: Sequence[Pixels], options: RenderOptions, frame_time_ms: float = 100.0
) -> bytes:
    """Rendered frames as a file of the wanted media type; several only for GIF."""
    if not pictures:
        raise BadParameter("there is no frame to render")
    if options.media_type == GIF:
        return _gif(pictures, frame_time_ms)
    pixels = np.ascontiguousarray(pictures[0])
    import imagecodecs

    if options.media_type == PNG:
        return bytes(imagecodecs.png_encode(pixels, level=1))
    if max(pixels.shape[:2]) > JPEG_LARGEST_SIDE:
        raise BadParameter("the image is too large for JPEG, ask for a viewport")
    space = "GRAYSCALE" if pixels.ndim == 2 else "RGB"
    return bytes(
        imagecodecs.jpeg8_encode(
            pixels,
            level=options.quality,
            colorspace=space,
            outcolorspace="GRAYSCALE" if pixels.ndim == 2 else "YCBCR",
        )
    )


def _gif(pictures: Sequence[Pixels], frame_time_ms: float) -> bytes:
    from PIL import Image

    images = [Image.fromarray(np.ascontiguousarray(pixels)) for pixels in pictures]
    if images[0].mode == "RGB":
        images = [image.quantize(256, Image.Quantize.FASTOCTREE) for image in images]
    out = io.BytesIO()
    # Browsers take anything under 20 ms for 100 ms.
    duration = max(round(frame_time_ms / 10) * 10, 20)
    more: dict[str, Any] = {}
    if len(images) > 1:
        more = {"save_all": True, "append_images": images[1:], "duration": duration, "loop": 0}
    images[0].save(out, "GIF", **more)
    return out.getvalue()
