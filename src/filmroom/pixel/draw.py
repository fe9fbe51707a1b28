"""Graphic and text objects drawn on a finished picture (PS3.3 C.10.5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filmroom.pixel import lettering
from filmroom.pixel.cielab import Colour
from filmroom.pixel.marks import Area, Point, Presentation, Shape, Text
from filmroom.pixel.numeric import np

if TYPE_CHECKING:
    from PIL import ImageDraw

    from filmroom.pixel.numeric import Bytes

ROUND = 96  # corners of a circle
STEPS = 12  # of a curve from point to point
MOST_STEPS = 20_000  # of one curve
LINE_SHARE = 700  # pixels of the picture's shorter side for one of a line's width
TEXT_SHARE = 32  # and for one of the height of text that has no box
FAR = 30_000.0  # pixels outside the picture: beyond that nothing is drawn to the pixel


@dataclass(frozen=True, slots=True)
class Places:
    """From pixels of the image, or shares of the displayed area, to pixels of the picture."""

    area: Area
    rotation: int
    flipped: bool
    width: int
    height: int

    def __call__(self, point: Point, displayed: bool) -> Point:
        """Where a point lies in the picture."""
        x, y = point
        if not displayed:
            x = (x - self.area.left) / max(self.area.right - self.area.left, 1)
            y = (y - self.area.top) / max(self.area.bottom - self.area.top, 1)
            for _ in range(self.rotation // 90):
                x, y = 1.0 - y, x
            x = 1.0 - x if self.flipped else x
        return _near(x * self.width), _near(y * self.height)


def _near(number: float) -> float:
    return max(-FAR, min(FAR, number))


def draw_marks(pixels: Bytes, presentation: Presentation, places: Places) -> Bytes:
    """The picture with all marks on it; grey unless a mark has a colour."""
    from PIL import Image, ImageDraw

    if not presentation.marks:
        return pixels
    coloured = any(len(set(mark.colour)) > 1 for mark in presentation.marks)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if coloured and image.mode != "RGB":
        image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L"
    pen = max(round(min(places.width, places.height) / LINE_SHARE), 1)
    for mark in presentation.marks:
        ink = mark.colour if image.mode == "RGB" else mark.colour[0]
        if isinstance(mark, Text):
            _text(draw, mark, places, pen, ink)
        else:
            _shape(draw, mark, places, pen, ink)
    return np.asarray(image)


Ink = int | Colour


def _shape(draw: ImageDraw.ImageDraw, shape: Shape, places: Places, pen: int, ink: Ink) -> None:
    points = [places(point, shape.displayed) for point in OUTLINES[shape.kind](shape.points)]
    if shape.kind == "POINT":
        _cross(draw, points[0], pen, ink)
        return
    closed = math.dist(points[0], points[-1]) < 1.0
    if shape.filled and closed and len(points) > 2:
        draw.polygon(points, fill=ink)
    draw.line(points, fill=ink, width=pen, joint="curve" if pen > 1 else None)


def _cross(draw: ImageDraw.ImageDraw, at: Point, pen: int, ink: Ink) -> None:
    (x, y), arm = at, 2 * pen + 1
    draw.line([(x - arm, y), (x + arm, y)], fill=ink, width=pen)
    draw.line([(x, y - arm), (x, y + arm)], fill=ink, width=pen)


def _as_they_are(points: Sequence[Point]) -> list[Point]:
    return list(points)


def _circle(points: Sequence[Point]) -> list[Point]:
    """A centre and a point on it."""
    centre, on_it = points[:2]
    radius = math.dist(centre, on_it)
    return _ring(centre, (radius, 0.0), (0.0, radius))


def _ellipse(points: Sequence[Point]) -> list[Point]:
    """Both ends of the major, then of the minor axis."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points[:4]
    centre = (ax + bx) / 2.0, (ay + by) / 2.0
    major = (bx - ax) / 2.0, (by - ay) / 2.0
    return _ring(centre, major, ((dx - cx) / 2.0, (dy - cy) / 2.0))


def _ring(centre: Point, first: Point, second: Point) -> list[Point]:
    angles = (2.0 * math.pi * step / ROUND for step in range(ROUND + 1))
    return [
        (
            centre[0] + math.cos(angle) * first[0] + math.sin(angle) * second[0],
            centre[1] + math.cos(angle) * first[1] + math.sin(angle) * second[1],
        )
        for angle in angles
    ]


def _curve(points: Sequence[Point]) -> list[Point]:
    """A smooth line through all points: a cubic between two, with their neighbours' slope."""
    closed = len(points) > 3 and points[0] == points[-1]
    before = points[-2] if closed else points[0]
    after = points[1] if closed else points[-1]
    padded = [before, *points, after]
    steps = min(STEPS, max(MOST_STEPS // len(points), 1))
    curve = [points[0]]
    for at in range(1, len(points)):
        p, q, r, s = padded[at - 1 : at + 3]
        curve += [_between(p, q, r, s, step / steps) for step in range(1, steps + 1)]
    return curve


def _between(p: Point, q: Point, r: Point, s: Point, t: float) -> Point:
    def along(p: float, q: float, r: float, s: float) -> float:
        a, b, c = 3.0 * q - p - 3.0 * r + s, 2.0 * p - 5.0 * q + 4.0 * r - s, r - p
        return 0.5 * (((a * t + b) * t + c) * t + 2.0 * q)

    return along(p[0], q[0], r[0], s[0]), along(p[1], q[1], r[1], s[1])


OUTLINES: dict[str, Callable[[Sequence[Point]], list[Point]]] = {
    "POINT": _as_they_are,
    "POLYLINE": _as_they_are,
    "INTERPOLATED": _curve,
    "CIRCLE": _circle,
    "ELLIPSE": _ellipse,
}


def _text(draw: ImageDraw.ImageDraw, text: Text, places: Places, pen: int, ink: Ink) -> None:
    lines = text.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    usual = max(min(places.width, places.height) // TEXT_SHARE, 10)
    anchor = None if text.anchor is None else places(text.anchor, text.anchor_displayed)
    if text.box is not None:
        (ax, ay), (bx, by) = (places(corner, text.box_displayed) for corner in text.box)
        left, right, top, bottom = min(ax, bx), max(ax, bx), min(ay, by), max(ay, by)
        # Text that does not fit is drawn small rather than not at all.
        size = lettering.fitting(lines, 2 * usual, right - left, bottom - top) or usual // 2
    elif anchor is not None:
        left, top, size = anchor[0] + 4.0 * pen, anchor[1] + 4.0 * pen, usual
        right = left + max(lettering.width_of(line, size) for line in lines)
        bottom = top + len(lines) * size * lettering.SPACING
    else:
        return
    size = max(size, lettering.SMALLEST)
    edge: Any = _edge(ink)
    for number, line in enumerate(lines):
        room = right - left - lettering.width_of(line, size)
        share = {"CENTER": 0.5, "RIGHT": 1.0}.get(text.justified, 0.0)
        at = left + max(room, 0.0) * share, top + number * size * lettering.SPACING
        lettering.write(draw, at, line, size, ink, edge)
    if anchor is not None and text.pointing:
        if text.box is None:
            _cross(draw, anchor, pen, ink)
        else:
            nearest = min(max(anchor[0], left), right), min(max(anchor[1], top), bottom)
            draw.line([nearest, anchor], fill=ink, width=pen)


def _edge(ink: Ink) -> Ink:
    """Black around what is bright, white around what is dark."""
    if isinstance(ink, int):
        return 0 if ink >= 128 else 255
    return (0, 0, 0) if sum(ink) >= 384 else (255, 255, 255)
