"""Finished pictures to files: JPEG, PNG, WebP, GIF, MP4 (PS3.18 8.7.3)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from filmroom.pixel.errors import BadParameter
from filmroom.pixel.movie import mp4
from filmroom.pixel.numeric import np
from filmroom.pixel.options import GIF, MP4, PNG, WEBP, RenderOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from filmroom.pixel.numeric import Bytes as Pixels  # (rows, columns) or (rows, columns, 3)

JPEG_LARGEST_SIDE = 65500
WEBP_LARGEST_SIDE = 16383


class Shown(NamedTuple):
    """A picture in its final size, and an ICC profile to put with it; empty for none."""

    pixels: Pixels
    profile: bytes = b""


def encode(
    pictures: Iterable[Shown], options: RenderOptions, frame_time_ms: float = 100.0
) -> bytes:
    """Rendered frames as a file of the wanted media type; several only for what moves."""
    if options.media_type == MP4:
        return mp4((shown.pixels for shown in pictures), frame_time_ms, options.quality)
    if options.media_type == GIF:
        return _gif([shown.pixels for shown in pictures], frame_time_ms)
    first = list(islice(pictures, 1))
    if not first:
        raise BadParameter("there is no frame to render")
    pixels, profile = np.ascontiguousarray(first[0].pixels), first[0].profile
    if options.media_type == WEBP:
        return _webp(pixels, options.quality, profile)
    if options.media_type == PNG:
        return _png(pixels, profile)
    return _jpeg(pixels, options.quality, profile)


def _image(pixels: Pixels) -> Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(pixels))


def _png(pixels: Pixels, profile: bytes) -> bytes:
    import imagecodecs

    if not profile:
        return bytes(imagecodecs.png_encode(pixels, level=1))
    out = io.BytesIO()
    _image(pixels).save(out, "PNG", compress_level=1, icc_profile=profile)
    return out.getvalue()


def _jpeg(pixels: Pixels, quality: int, profile: bytes) -> bytes:
    import imagecodecs

    if max(pixels.shape[:2]) > JPEG_LARGEST_SIDE:
        raise BadParameter("the image is too large for JPEG, ask for a viewport")
    if profile:
        out = io.BytesIO()
        _image(pixels).save(out, "JPEG", quality=quality, icc_profile=profile)
        return out.getvalue()
    space = "GRAYSCALE" if pixels.ndim == 2 else "RGB"
    return bytes(
        imagecodecs.jpeg8_encode(
            pixels,
            level=quality,
            colorspace=space,
            outcolorspace="GRAYSCALE" if pixels.ndim == 2 else "YCBCR",
        )
    )


def _webp(pixels: Pixels, quality: int, profile: bytes) -> bytes:
    """Method 0, the fastest: a third of the default's time for files as small."""
    if max(pixels.shape[:2]) > WEBP_LARGEST_SIDE:
        raise BadParameter("the image is too large for WebP, ask for a viewport")
    out = io.BytesIO()
    more: dict[str, Any] = {"icc_profile": profile} if profile else {}
    # WebP has no grey; quality 100 is still lossy, as for JPEG.
    _image(pixels).convert("RGB").save(out, "WEBP", quality=quality, method=0, **more)
    return out.getvalue()


def _gif(pictures: Sequence[Pixels], frame_time_ms: float) -> bytes:
    from PIL import Image

    if not pictures:
        raise BadParameter("there is no frame to render")
    images = [_image(pixels) for pixels in pictures]
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
