"""Overlay planes: bits of an image, or of a presentation state, drawn over it (PS3.3 C.9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from filmroom.pixel.cielab import Colour
from filmroom.pixel.numeric import np
from filmroom.pixel.values import Attributes, number_of, numbers_of, raw_of, text_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from filmroom.pixel.numeric import Bytes

GROUPS = range(0x6000, 0x6020, 2)

WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay plane: `bits` hold rows x columns bits, the first lowest.

    row, column: where its first pixel lies in the image, from 0; may be outside. skip: bits
    before the first, of the plane that shares its byte.
    """

    rows: int
    columns: int
    row: int
    column: int
    bits: bytes
    colour: Colour = WHITE
    skip: int = 0

    def mask(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which pixels of an image of that size are set."""
        end = self.skip + self.rows * self.columns
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=end, bitorder="little")
        plane = bits[self.skip :].reshape(self.rows, self.columns).astype(bool)
        top, left = max(self.row, 0), max(self.column, 0)
        plane = plane[top - self.row :, left - self.column :]
        plane = plane[: max(rows - top, 0), : max(columns - left, 0)]
        whole = np.zeros((rows, columns), bool)
        whole[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
        return whole


def fill(pixels: Bytes, mask: NDArray[np.bool_], colour: Colour) -> Bytes:
    """A copy whose masked pixels have that colour; grey becomes RGB only for a real colour."""
    red, green, blue = colour
    if pixels.ndim == 3:
        filled = pixels.copy()
        filled[mask] = np.array(colour, np.uint8)
    elif red == green == blue:
        filled = pixels.copy()
        filled[mask] = red
    else:
        filled = np.repeat(pixels[..., None], 3, axis=-1)
        filled[mask] = np.array(colour, np.uint8)
    return filled


def overlays_of(attributes: Attributes, frame_index: int) -> tuple[Overlay, ...]:
    """The graphics overlays of a frame, in the order of their groups."""
    found = (overlay_of(attributes, f"{group:04X}", frame_index) for group in GROUPS)
    return tuple(overlay for overlay in found if overlay is not None)


def overlay_of(
    attributes: Attributes, group: str, frame_index: int, kinds: str = "G"
) -> Overlay | None:
    """An overlay with bits of its own; regions of interest are not drawn (C.9.2.1.3).

    group: as in its tags, "6000". kinds: which Overlay Types are wanted.
    """
    if text_of(attributes, f"{group}0040") not in tuple(kinds):
        return None
    rows = int(number_of(attributes, f"{group}0010") or 0)
    columns = int(number_of(attributes, f"{group}0011") or 0)
    raw = raw_of(attributes, f"{group}3000")
    origin = numbers_of(attributes, f"{group}0050") or [1, 1]
    index = frame_index - int(number_of(attributes, f"{group}0051") or 1) + 1
    frames = int(number_of(attributes, f"{group}0015") or 1)
    if frames == 1 and number_of(attributes, f"{group}0051") is None:
        index = 0
    size = rows * columns
    if not 0 <= index < frames or size <= 0 or len(origin) < 2:
        return None
    # The planes of several frames follow each other without gaps (PS3.5 8.1.2): one need not
    # begin with a byte.
    first, last = index * size // 8, ((index + 1) * size + 7) // 8
    if len(raw) < last:
        return None
    row, column = int(origin[0]) - 1, int(origin[1]) - 1
    return Overlay(rows, columns, row, column, raw[first:last], skip=index * size % 8)
