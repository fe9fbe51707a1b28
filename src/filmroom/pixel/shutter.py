"""Display shutters: what of an image is covered (PS3.3 C.7.6.11, C.7.6.15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from filmroom.pixel.cielab import Colour, colour_of, grey_colour
from filmroom.pixel.numeric import np
from filmroom.pixel.overlay import Overlay, fill, overlay_of
from filmroom.pixel.values import Attributes, number_of, numbers_of, values_of

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Bytes

MOST_CORNERS = 10_000
FAR = 1e6  # pixels, beyond any image
BLACK: Colour = (0, 0, 0)
_RECTANGLE = ("00181602", "00181604", "00181606", "00181608")


@dataclass(frozen=True, slots=True)
class Shutter:
    """Shutters of one image; what lies outside any of them is covered.

    rectangle: left, right, upper, lower edge, from 1, each the last line that is seen.
    circle: row and column of the centre, from 1, and radius in pixels. polygon: (row,
    column) of its corners, from 1. bitmap: covers where its bits are set.
    """

    rectangle: tuple[int, int, int, int] | None = None
    circle: tuple[float, float, float] | None = None
    polygon: tuple[tuple[float, float], ...] = ()
    bitmap: Overlay | None = None
    colour: Colour = BLACK


def shutter_of(attributes: Attributes, frame_index: int = 0) -> Shutter | None:
    """The shutters an image or a presentation state asks for; those without sense are not."""
    shapes = {str(shape).strip() for shape in values_of(attributes, "00181600")}
    rectangle, circle, bitmap = None, None, None
    corners: tuple[tuple[float, float], ...] = ()
    if "RECTANGULAR" in shapes:
        edges = [numbers_of(attributes, tag)[:1] for tag in _RECTANGLE]
        left, right, upper, lower = (int(_near(edge[0])) if edge else None for edge in edges)
        if left is not None and right is not None and upper is not None and lower is not None:
            rectangle = left, right, upper, lower
    if "CIRCULAR" in shapes:
        centre, radius = numbers_of(attributes, "00181610"), number_of(attributes, "00181612")
        if len(centre) >= 2 and radius is not None and radius > 0:
            circle = _near(centre[0]), _near(centre[1]), _near(radius)
    if "POLYGONAL" in shapes:
        numbers = numbers_of(attributes, "00181620")[: 2 * MOST_CORNERS]
        corners = tuple(zip(numbers[::2], numbers[1::2], strict=False))
        corners = corners if len(corners) > 2 else ()
    if "BITMAP" in shapes:
        group = int(number_of(attributes, "00181623") or 0)
        bitmap = overlay_of(attributes, f"{group:04X}", frame_index, "GR")
    if rectangle is None and circle is None and not corners and bitmap is None:
        return None
    grey = int(number_of(attributes, "00181622") or 0)
    colour = colour_of(numbers_of(attributes, "00181624")) or grey_colour(grey)
    return Shutter(rectangle, circle, corners, bitmap, colour)


def _near(number: float) -> float:
    return max(-FAR, min(FAR, number))


def cover(pixels: Bytes, shutter: Shutter) -> Bytes:
    """The image with its covered pixels in the shutter's colour."""
    rows, columns = pixels.shape[:2]
    seen = np.ones((rows, columns), bool)
    row = np.arange(1, rows + 1)[:, None]
    column = np.arange(1, columns + 1)[None, :]
    if shutter.rectangle is not None:
        left, right, upper, lower = shutter.rectangle
        seen &= (row >= upper) & (row <= lower) & (column >= left) & (column <= right)
    if shutter.circle is not None:
        middle, centre, radius = shutter.circle
        seen &= (row - middle) ** 2 + (column - centre) ** 2 <= radius**2
    if shutter.polygon:
        seen &= _inside(shutter.polygon, rows, columns)
    if shutter.bitmap is not None:
        seen &= ~shutter.bitmap.mask(rows, columns)
    return fill(pixels, ~seen, shutter.colour)


def _inside(corners: tuple[tuple[float, float], ...], rows: int, columns: int) -> Bytes:
    from PIL import Image, ImageDraw

    plane = Image.new("1", (columns, rows))
    far = 2.0 * max(rows, columns) + 2.0
    points = [
        (min(max(column - 1, -far), far), min(max(row - 1, -far), far)) for row, column in corners
    ]
    ImageDraw.Draw(plane).polygon(points, fill=1, outline=1)
    return np.asarray(plane)
