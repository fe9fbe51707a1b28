"""A painted frame to a picture as a presentation state lays it out (PS3.4 N.2.5, PS3.3 C.10)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from filmroom.pixel.draw import Places, draw_marks
from filmroom.pixel.errors import BadParameter, Undecodable
from filmroom.pixel.marks import Area, Presentation
from filmroom.pixel.numeric import np
from filmroom.pixel.options import LARGEST_AREA, LARGEST_SIDE

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Bytes

FARTHEST = 1 << 20  # pixels; an area that reaches farther is none


def lay_out(pixels: Bytes, presentation: Presentation, within: tuple[int, int] | None) -> Bytes:
    """The displayed area, rotated, flipped and drawn upon.

    within: (width, height) that the picture has to fit into and fill; None for one pixel by
    pixel of the image, or as its magnification says. What the area shows outside the image
    is black. Raises Undecodable for an area that makes no sense, BadParameter for a picture
    of more than LARGEST_AREA pixels.
    """
    rows, columns = pixels.shape[:2]
    area = presentation.area or Area(0, 0, columns, rows)
    if not all(abs(edge) <= FARTHEST for edge in (area.left, area.top, area.right, area.bottom)):
        raise Undecodable("the displayed area of the presentation state is too large")
    width, height = _size(area, presentation.rotation, within)
    turned = presentation.rotation % 180 != 0
    upright = (height, width) if turned else (width, height)
    cut = _cut(pixels, area, *upright)
    cut = np.rot90(cut, -(presentation.rotation // 90))
    if presentation.flipped:
        cut = cut[:, ::-1]
    places = Places(area, presentation.rotation, presentation.flipped, width, height)
    return draw_marks(cut, presentation, places)


def _size(area: Area, rotation: int, within: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) of the picture."""
    wide = float(area.right - area.left)
    high = (area.bottom - area.top) * area.stretch
    if rotation % 180:
        wide, high = high, wide
    if within is not None:
        scale = min(within[0] / wide, within[1] / high)
    else:
        scale = min(
            area.magnification, math.sqrt(LARGEST_AREA / (wide * high)), LARGEST_SIDE / wide,
            LARGEST_SIDE / high,
        )  # fmt: skip
    width, height = max(round(wide * scale), 1), max(round(high * scale), 1)
    if within is not None and width * height > LARGEST_AREA:
        raise BadParameter(f"a rendered image may have at most {LARGEST_AREA} pixels")
    return width, height


def _cut(pixels: Bytes, area: Area, width: int, height: int) -> Bytes:
    """The area of the image at that size, black where it reaches beyond the image."""
    from PIL import Image

    rows, columns = pixels.shape[:2]
    left, right = max(area.left, 0), min(area.right, columns)
    top, bottom = max(area.top, 0), min(area.bottom, rows)
    canvas = np.zeros((height, width, *pixels.shape[2:]), np.uint8)
    if left >= right or top >= bottom:
        return canvas
    across = width / (area.right - area.left)
    down = height / (area.bottom - area.top)
    x, x_end = round((left - area.left) * across), round((right - area.left) * across)
    y, y_end = round((top - area.top) * down), round((bottom - area.top) * down)
    if x >= x_end or y >= y_end:
        return canvas
    piece = np.ascontiguousarray(pixels[top:bottom, left:right])
    if piece.shape[:2] != (y_end - y, x_end - x):
        smaller = x_end - x < piece.shape[1]
        method = Image.Resampling.BILINEAR if smaller else Image.Resampling.BICUBIC
        image = Image.fromarray(piece).resize((x_end - x, y_end - y), method, reducing_gap=2.0)
        piece = np.asarray(image)
    canvas[y:y_end, x:x_end] = piece
    return canvas
