"""A drawing in millimetres, as values: what SVG and picture are both made of. y grows downwards."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

INK, SOFT, FINE, COARSE, PAPER = "#111111", "#5a5a5a", "#f6d5d5", "#e79a9a", "#ffffff"


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; y is its base line. anchor: start, middle or end."""

    x: float
    y: float
    words: str
    size: float = 3.0
    anchor: str = "start"
    bold: bool = False
    colour: str = INK


@dataclass(frozen=True, slots=True)
class Grid:
    """Graph paper: a line each millimetre, a stronger one each fifth."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Trace:
    """A curve: (n, 2) points x, y. Not drawn outside its grid: that is seen to before."""

    points: NDArray[np.float64]
    width: float = 0.25
    colour: str = INK


Part = Text | Grid | Trace


@dataclass(slots=True)
class Drawing:
    """Parts in the order in which they are laid down."""

    width: float
    height: float
    title: str
    parts: list[Part] = field(default_factory=list)


def runs(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Points in pieces, cut where y is NaN."""
    good = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], good.astype(np.int8), [0]))))
    return [
        np.column_stack((x[start:stop], y[start:stop]))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


def thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], step: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most four points for each `step` of x, the lowest and the highest among them.

    x: ascending. A column in which something is missing is kept when it holds anything.
    """
    if len(x) < 2 or (x[-1] - x[0]) / step * 4 >= len(x):
        return x, y
    column = np.floor((x - x[0]) / step).astype(np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(starts[1:], len(x)) - 1
    keep = {*starts.tolist(), *ends.tolist()}
    low, high = np.where(np.isnan(y), np.inf, y), np.where(np.isnan(y), -np.inf, y)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        keep.add(start + int(np.argmin(low[start : end + 1])))
        keep.add(start + int(np.argmax(high[start : end + 1])))
    chosen = np.array(sorted(keep))
    return x[chosen], y[chosen]
