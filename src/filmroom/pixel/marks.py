"""What a presentation state does to a picture as a whole, as plain values (PS3.3 C.10)."""

from __future__ import annotations

from dataclasses import dataclass

from filmroom.pixel.cielab import Colour

Point = tuple[float, float]  # x to the right, y down


@dataclass(frozen=True, slots=True)
class Shape:
    """A graphic object (C.10.5.2).

    kind: POINT, POLYLINE, INTERPOLATED, CIRCLE or ELLIPSE. points: in pixels of the image,
    the corner of its first pixel being 0, or with `displayed` as shares of the displayed area.
    """

    kind: str
    points: tuple[Point, ...]
    displayed: bool
    filled: bool
    colour: Colour


@dataclass(frozen=True, slots=True)
class Text:
    """A text object (C.10.5.1): in a box, at an anchor, or both; coordinates as in Shape.

    justified: LEFT, CENTER or RIGHT. pointing: whether a line leads to the anchor.
    """

    text: str
    colour: Colour
    box: tuple[Point, Point] | None = None
    box_displayed: bool = False
    anchor: Point | None = None
    anchor_displayed: bool = False
    pointing: bool = False
    justified: str = "LEFT"


@dataclass(frozen=True, slots=True)
class Area:
    """The displayed area (C.10.4): edges in pixels of the image, right and bottom exclusive.

    stretch: height of a pixel by its width. magnification: output pixels by image pixels.
    """

    left: int
    top: int
    right: int
    bottom: int
    stretch: float = 1.0
    magnification: float = 1.0


@dataclass(frozen=True, slots=True)
class Presentation:
    """Area, rotation (clockwise, in degrees), then a horizontal flip, then marks over all."""

    area: Area | None = None
    rotation: int = 0
    flipped: bool = False
    marks: tuple[Shape | Text, ...] = ()
