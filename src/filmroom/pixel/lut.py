"""Modality, VOI and Presentation LUT: stored values to grey levels (PS3.3 C.11.1, C.11.2, C.11.6).

All steps fold into one table over every value a pixel can have, so that a frame costs one
look-up per pixel. Pixels of more than 16 bits, and floats, go through the same functions
without a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from filmroom.pixel.errors import BadParameter
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from filmroom.pixel.numeric import Array, Bytes, Values

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
SMALLEST_SPAN = 1e-6  # a window of no width is a step, not a division by zero
LARGEST = 1e30  # beyond any unit of measurement, and squares of it still are numbers


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center and Width in the Modality LUT's output units (HU for CT).

    function: VOI LUT Function, one of FUNCTIONS (C.11.2.1.2, C.11.2.1.3).
    """

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def usable(self) -> bool:
        """Whether center and width are numbers at all; any width is clamped, not refused."""
        return math.isfinite(self.center) and math.isfinite(self.width)


@dataclass(frozen=True, slots=True)
class Table:
    """A LUT Descriptor and LUT Data (C.11.1.1): entries from the value `first` on.

    bits: the depth of an entry. entries: unsigned 16-bit little endian.
    """

    first: int
    bits: int
    entries: bytes

    @property
    def array(self) -> NDArray[np.uint16]:
        """The entries as numbers."""
        return np.frombuffer(self.entries, "<u2")

    @property
    def largest(self) -> int:
        """The largest value an entry of this depth can have."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, slots=True)
class Grey:
    """How grey-scale values of one frame are to be shown.

    window: the chosen VOI window, voi: a VOI LUT instead of it; with neither, the frame's own
    range fills the grey levels. padding: stored values that are no image (C.7.5.1.1.2), not
    counted in that range. inverse: low values are white. presentation: a Presentation LUT over
    the whole output of the window or VOI LUT (C.11.6.1.1). whole_range: without a window, what
    the pixels could hold fills the grey levels, not what they do hold.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality: Table | None = None
    window: Window | None = None
    voi: Table | None = None
    inverse: bool = False
    padding: tuple[int, int] | None = None
    presentation: Table | None = None
    whole_range: bool = False


def look_up(values: Array, table: Table) -> NDArray[np.uint16]:
    """Entries of `table`; values outside it take its first or last entry (C.11.1.1, C.11.2.1.1)."""
    entries = table.array
    # In a wider type: an index below the first must not come round to the other end.
    wide = np.nan_to_num(values) if values.dtype.kind == "f" else values.astype(np.int64)
    at = np.clip(wide - table.first, 0, len(entries) - 1)
    return np.asarray(entries[at.astype(np.intp)])


def apply_modality(stored: Array, grey: Grey) -> Values:
    """Stored values to the Modality LUT's output units (C.11.1)."""
    if grey.modality is not None:
        return look_up(stored, grey.modality).astype(np.float32)
    values = stored.astype(np.float32)
    if grey.slope != 1.0:
        values *= np.float32(grey.slope)
    if grey.intercept != 0.0:
        values += np.float32(grey.intercept)
    return values


def apply_window(values: Values, window: Window) -> Values:
    """Map values to 0..1 with the window's function: 0 below it, 1 above it.

    LINEAR (C.11.2.1.2.1) keeps the standard's half-unit terms; LINEAR_EXACT (C.11.2.1.3.2)
    has none; SIGMOID (C.11.2.1.3.1) has no ends.
    """
    center, width = _clamped(window.center), max(_clamped(window.width), 0.0)
    if window.function == "SIGMOID":
        exponent = -4.0 * (values - center) / max(width, SMALLEST_SPAN)
        return np.asarray(1.0 / (1.0 + np.exp(exponent.clip(-80.0, 80.0))), dtype=np.float32)
    if window.function == "LINEAR_EXACT":
        scaled = (values - center) / max(width, SMALLEST_SPAN) + 0.5
    else:
        scaled = (values - (center - 0.5)) / max(width - 1.0, SMALLEST_SPAN) + 0.5
    return np.asarray(scaled.clip(0.0, 1.0), dtype=np.float32)


def _clamped(number: float) -> float:
    return max(-LARGEST, min(LARGEST, number))


def apply_voi(values: Values, grey: Grey) -> Values:
    """Map modality values to 0..1 with the VOI LUT or the window."""
    if grey.voi is not None:
        return (look_up(values, grey.voi) / np.float32(grey.voi.largest)).clip(0.0, 1.0)
    if grey.window is None:
        raise BadParameter("no window was chosen")
    return apply_window(values, grey.window)


def apply_presentation(shares: Values, table: Table) -> Values:
    """A Presentation LUT: 0..1 to 0..1; its entries span the whole of its input (C.11.6.1.1)."""
    at = shares * np.float32(len(table.array) - 1) + np.float32(table.first)
    return np.asarray(look_up(np.rint(at), table) / np.float32(table.largest), np.float32)


def to_grey(values: Values, grey: Grey) -> Bytes:
    """Modality values to 0..255, inverted if asked (C.11.6.1.2)."""
    shares = apply_voi(values, grey)
    if grey.presentation is not None:
        shares = apply_presentation(shares, grey.presentation).clip(0.0, 1.0)
    levels = shares * np.float32(255.0)
    if grey.inverse:
        levels = np.float32(255.0) - levels
    return np.asarray(np.rint(levels), dtype=np.uint8)


def own_window(stored: Array, grey: Grey, shape: ImageShape) -> Window:
    """A window for a frame that brings none: its own range, or all 8 bits of an 8-bit image.

    Padding pixels do not count, and neither does what is no finite number.
    """
    eight = shape.bits <= 8 and grey.modality is None and grey.slope == 1.0
    if (eight or grey.whole_range) and not shape.floating:
        lowest = -(1 << (shape.bits - 1)) if shape.signed else 0
        whole = np.array([lowest, lowest + (1 << shape.bits) - 1])
        ends = apply_modality(whole, grey)
        if grey.modality is not None:
            ends = np.array([0, grey.modality.largest], np.float32)
    else:
        ends = apply_modality(_extremes(stored, grey.padding), grey)
    low, high = float(ends.min()), float(ends.max())
    return Window((low + high) / 2.0, max(high - low, SMALLEST_SPAN), "LINEAR_EXACT")


def _extremes(stored: Array, padding: tuple[int, int] | None) -> Array:
    if padding is not None:
        inside = stored[(stored < padding[0]) | (stored > padding[1])]
        stored = inside if inside.size else stored
    if stored.dtype.kind == "f":
        finite = stored[np.isfinite(stored)]
        if not finite.size:
            return np.zeros(2, stored.dtype)
        stored = finite
    return np.array([stored.min(), stored.max()])


def show_grey(stored: Array, grey: Grey, shape: ImageShape) -> Bytes:
    """A frame of stored values as grey levels 0..255: (rows, columns) in and out."""
    if grey.voi is None and (grey.window is None or not grey.window.usable):
        grey = replace(grey, window=own_window(stored, grey, shape))
    if stored.dtype.itemsize > 2:
        with np.errstate(all="ignore"):
            values = np.nan_to_num(apply_modality(stored, grey), posinf=LARGEST, neginf=-LARGEST)
            return to_grey(values, grey)
    table = grey_table(grey, stored.dtype.itemsize * 8, stored.dtype.kind == "i")
    return table.take(stored.view(f"u{stored.dtype.itemsize}"))


@lru_cache(maxsize=64)
def grey_table(grey: Grey, bits: int, signed: bool) -> Bytes:
    """The grey level of every bit pattern of 8 or 16 bits."""
    patterns = np.arange(1 << bits, dtype=f"u{bits // 8}")
    stored = patterns.view(f"i{bits // 8}") if signed else patterns
    with np.errstate(all="ignore"):
        return to_grey(apply_modality(stored, grey), grey)
