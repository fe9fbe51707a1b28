"""Photometric interpretations to RGB, and palettes (PS3.3 C.7.6.3.1.2, C.7.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from filmroom.pixel.errors import NoCodec, Undecodable
from filmroom.pixel.lut import Table, look_up
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array, Bytes

LONGEST_PALETTE = 65536

# ITU-R BT.601 with footroom and headroom, columns Y, Cb, Cr (C.7.6.3.1.2 YBR_PARTIAL_422).
PARTIAL = (1.1644, 0.0, 1.5960), (1.1644, -0.3917, -0.8129), (1.1644, 2.0173, 0.0)


@dataclass(frozen=True, slots=True)
class Palette:
    """Red, Green and Blue Palette Color Lookup Tables (C.7.9)."""

    red: Table
    green: Table
    blue: Table


def to_rgb(samples: Array, photometric: str, shape: ImageShape) -> Bytes:
    """Colour samples (rows, columns, 3) of any depth as 8-bit RGB of the same size."""
    narrow = _to_8_bits(samples, shape)
    if photometric in ("RGB", "YBR_RCT", "YBR_ICT"):
        return np.asarray(narrow[..., :3])
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        from PIL import Image

        size = narrow.shape[1], narrow.shape[0]
        picture = Image.frombuffer("YCbCr", size, narrow.tobytes(), "raw", "YCbCr", 0, 1)
        return np.asarray(picture.convert("RGB"))
    if photometric in ("YBR_PARTIAL", "YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        shifted = narrow.astype(np.float32) - np.array([16, 128, 128], np.float32)
        mixed = (shifted @ np.array(PARTIAL, np.float32).T).clip(0, 255)
        return np.asarray(np.rint(mixed), dtype=np.uint8)
    raise NoCodec(f"{photometric} cannot be shown")


def _to_8_bits(samples: Array, shape: ImageShape) -> Bytes:
    if samples.dtype == np.uint8 and shape.bits == 8:
        return np.asarray(samples)
    top = (1 << shape.bits) - 1
    scaled = samples.astype(np.float64).clip(0, top) * (255.0 / top)
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def apply_palette(indices: Array, palette: Palette) -> Bytes:
    """Indices (rows, columns) to RGB; indices outside a table take its first or last entry."""
    planes = [
        (look_up(indices, table) >> max(table.bits - 8, 0)).astype(np.uint8)
        for table in (palette.red, palette.green, palette.blue)
    ]
    return np.stack(planes, axis=-1)


def spread_palette(palette: Palette) -> Bytes:
    """256 grey levels over the whole of a palette: (256, 3) (PS3.4 N.2.1.3, pseudo-colour)."""
    entries = len(palette.red.array)
    indices = palette.red.first + np.rint(np.linspace(0, entries - 1, 256))
    return np.asarray(apply_palette(indices.reshape(1, 256), palette)[0])


def expand_segments(segmented: bytes, bits: int, entries: int) -> bytes:
    """Segmented palette data to plain 16-bit entries (C.7.9.2.2).

    bits: of one value of the segments, 8 or 16. entries: how many are promised. Raises
    Undecodable for segments that promise more, or point outside themselves.
    """
    width = 1 if bits == 8 else 2
    words = np.frombuffer(segmented[: len(segmented) // width * width], f"<u{width}").tolist()
    values: list[int] = []
    starts: list[int] = []
    at = 0
    while at + 2 <= len(words) and len(values) < entries:
        starts.append(at)
        indirect = words[at] == 2
        at = (
            _indirect(words, at, starts, values, width) if indirect else _segment(words, at, values)
        )
        if len(values) > LONGEST_PALETTE:
            raise Undecodable("a palette segment is too long")
    if not values:
        raise Undecodable("a segmented palette has no entries")
    values += [values[-1]] * (entries - len(values))
    return np.array(values[:entries], "<u2").tobytes()


def _segment(words: list[int], at: int, values: list[int]) -> int:
    """A discrete (0) or linear (1) segment; returns where the next one starts."""
    kind, length = words[at], words[at + 1]
    if kind == 0:
        values += words[at + 2 : at + 2 + length]
        return at + 2 + length
    if kind != 1 or at + 2 >= len(words):
        raise Undecodable(f"palette segment of unknown kind {kind}")
    end = words[at + 2]
    start = values[-1] if values else 0
    steps = np.linspace(start, end, length + 1)[1:]
    values += np.rint(steps).astype(int).tolist()
    return at + 3


def _indirect(words: list[int], at: int, starts: list[int], values: list[int], width: int) -> int:
    """An indirect segment (2): repeat earlier segments, named by their byte offset."""
    after = at + 2 + 4 // width
    if after > len(words):
        raise Undecodable("an indirect palette segment is cut short")
    pieces = words[at + 2 : after]
    offset = sum(piece << (8 * width * place) for place, piece in enumerate(pieces))
    # The standard counts bytes, much software counts values.
    repeated = offset // width if offset // width in starts[:-1] else offset
    if repeated not in starts[:-1]:
        raise Undecodable("an indirect palette segment points outside the palette")
    for _ in range(words[at + 1]):
        if repeated >= at or words[repeated] == 2 or len(values) > LONGEST_PALETTE:
            raise Undecodable("an indirect palette segment points at no plain segment")
        repeated = _segment(words, repeated, values)
    return after
