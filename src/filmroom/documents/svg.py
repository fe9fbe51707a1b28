"""A drawing as SVG: in millimetres, so that it can be measured on the screen and in print."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filmroom.documents.drawing import COARSE, FINE, PAPER, Drawing, Grid, Part, Text, Trace
from filmroom.documents.markup import Markup, element, joined

UNITS = 100  # of the picture in one millimetre: whole numbers are short


def svg_of(drawing: Drawing) -> str:
    """The whole file."""
    width, height = drawing.width, drawing.height
    paper = element("rect", width="100%", height="100%", fill=PAPER)
    inside = joined(element("title", drawing.title), _patterns(), paper, *map(_part, drawing.parts))
    root = element(
        "svg",
        inside,
        xmlns="http://www.w3.org/2000/svg",
        width=f"{width:g}mm",
        height=f"{height:g}mm",
        viewBox=f"0 0 {_u(width)} {_u(height)}",
        font_family="system-ui, Roboto, 'Liberation Sans', Arial, sans-serif",
        stroke_linejoin="round",
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{root}\n'


def _u(millimetres: float) -> int:
    return round(millimetres * UNITS)


def _patterns() -> Markup:
    fine = element("path", d="M100 0H0V100", fill="none", stroke=FINE, stroke_width="12")
    coarse = element("path", d="M500 0H0V500", fill="none", stroke=COARSE, stroke_width="20")
    one = element(
        "pattern", fine, id="mm", width="100", height="100", patternUnits="userSpaceOnUse"
    )
    filled = element("rect", width="500", height="500", fill="url(#mm)")
    five = element(
        "pattern", filled, coarse, id="paper", width="500", height="500",
        patternUnits="userSpaceOnUse",
    )  # fmt: skip
    return element("defs", one, five)


def _part(part: Part) -> Markup:
    match part:
        case Grid(x, y, width, height):
            place = f"translate({_u(x)} {_u(y)})"
            return element(
                "rect", width=str(_u(width)), height=str(_u(height)), transform=place,
                fill="url(#paper)", stroke=COARSE, stroke_width="20",
            )  # fmt: skip
        case Trace(points, width, colour):
            return element(
                "path", d=_path(points), fill="none", stroke=colour, stroke_width=str(_u(width))
            )
        case Text(x, y, words, size, anchor, bold, colour):
            return element(
                "text", words, x=str(_u(x)), y=str(_u(y)), font_size=str(_u(size)), fill=colour,
                text_anchor="" if anchor == "start" else anchor,
                font_weight="600" if bold else "",
            )  # fmt: skip


def _path(points: NDArray[np.float64]) -> str:
    """The curve in steps from point to point."""
    whole = np.rint(points * UNITS).astype(np.int64)
    steps = np.diff(whole, axis=0)
    start = f"M{whole[0][0]} {whole[0][1]}"
    if not len(steps):
        return start + "h1"
    return start + "l" + " ".join(f"{x} {y}" for x, y in steps.tolist())
