"""The ratios as bars on a logarithmic scale: an SVG, light or dark as its reader is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from report import Line, times

LABEL, PLOT, RIGHT = 330, 560, 70  # widths of the three columns, in pixels
BAR, STEP, TOP = 13, 20, 62
LEAST, MOST = 0.1, 1000.0
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #333; }
  .small { font-size: 11px; fill: #666; } .title { font-size: 15px; font-weight: 600; }
  .grid { stroke: #8884; } .one { stroke: #888; stroke-width: 1.5; }
  .reached { fill: #2f855a; } .ahead { fill: #3b78b5; } .behind { fill: #c05621; }
  .wanted { stroke: #111; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd; } .small { fill: #999; } .wanted { stroke: #eee; }
    .reached { fill: #48a97c; } .ahead { fill: #5b9bd8; } .behind { fill: #dd7a42; } }
"""


def x(value: float) -> float:
    """Where a ratio lies; what is beyond the scale lies at its end."""
    share = math.log(min(max(value, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LABEL + PLOT * share


def svg(summed: Sequence[Line], caption: str) -> str:
    """One bar for each row that has a ratio: right of the line filmroom is better."""
    bars = [each for each in summed if each.ratio is not None]
    height = TOP + STEP * len(bars) + 12
    width = LABEL + PLOT + RIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        f'aria-label="How many times better than Orthanc filmroom is, row by row">',
        f"<style>{STYLE}</style>",
        '<text class="title" x="8" y="20">filmroom beside Orthanc: times better</text>',
        f'<text class="small" x="8" y="38">{escape(caption)}</text>',
    ]
    for mark in (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000):
        kind = "one" if mark == 1 else "grid"
        out += [
            f'<line class="{kind}" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP - 6}" '
            f'y2="{height - 8}"/>',
            f'<text class="small" text-anchor="middle" x="{x(mark):.1f}" y="{TOP - 10}">'
            f"{mark:g}x</text>",
        ]
    for n, each in enumerate(bars):
        out += _bar(each, TOP + STEP * n)
    return "\n".join([*out, "</svg>", ""])


def _bar(each: Line, y: float) -> list[str]:
    ratio = each.ratio or 0.0
    kind = "behind" if ratio < 1 else "ahead" if each.reached is False else "reached"
    left, right = sorted((x(1), x(ratio)))
    middle = y + BAR - 3
    mark = None if each.row.needed is None else x(each.row.needed)
    words = right if mark is None or not -5 < mark - right < 45 else mark  # not across the mark
    out = [
        f'<text text-anchor="end" x="{LABEL - 8}" y="{middle}">{escape(each.row.title)}</text>',
        f'<rect class="{kind}" x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" '
        f'height="{BAR}" rx="2"/>',
        f'<text class="small" x="{words + 5:.1f}" y="{middle}">{times(ratio)}</text>',
    ]
    if mark is not None:
        ends = f'y1="{y - 2}" y2="{y + BAR + 2}"'
        out.append(f'<line class="wanted" x1="{mark:.1f}" x2="{mark:.1f}" {ends}/>')
    return out
