"""Photometric interpretations to RGB, and palettes (PS3.3 C.7.6.3.1.2, C.7.9)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from filmroom.pixel.errors import NoCodec, Undecodable
from filmroom.pixel.lut import Table, look_up
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array, Bytes

LONGEST_PALETTE = 65536
MOST_SEGMENTS = 65536  # carried out, each repetition counted: as many as a palette has entries
LONGEST_SEGMENTS = 8 * LONGEST_PALETTE  # bytes: the worst segment takes 8 for one entry

# ITU-R BT.601 with footroom and headroom, columns Y, Cb, Cr (C.7.6.3.1.2 YBR_PARTIAL_422).
PARTIAL = (1.1644, 0.0, 1.5960), (1.1644, -0.3917, -0.8129), (1.1644, 2.0173, 0.0)


@dataclass(frozen=True, slots=True)
class Segments:
    """A segmented table (C.7.9.2.2) as it came: workers expand it, the server does not.

    first, bits: as of a Table. entries: how many are promised.
    """

    first: int
    bits: int
    entries: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Palette:
    """Red, Green and Blue Palette Color Lookup Tables (C.7.9)."""

    red: Table | Segments
    green: Table | Segments
    blue: Table | Segments


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
    """Indices (rows, columns) to RGB; indices outside a table take its first or last entry.

    Raises Undecodable for a segmented table that cannot be expanded.
    """
    tables = [_plain(table) for table in (palette.red, palette.green, palette.blue)]
    planes = [
        (look_up(indices, table) >> max(table.bits - 8, 0)).astype(np.uint8) for table in tables
    ]
    return np.stack(planes, axis=-1)


def spread_palette(palette: Palette) -> Bytes:
    """256 grey levels over the whole of a palette: (256, 3) (PS3.4 N.2.1.3, pseudo-colour)."""
    red = _plain(palette.red)
    indices = red.first + np.rint(np.linspace(0, len(red.array) - 1, 256))
    return np.asarray(apply_palette(indices.reshape(1, 256), palette)[0])


def _plain(table: Table | Segments) -> Table:
    return _expanded(table) if isinstance(table, Segments) else table


@lru_cache(maxsize=12)
def _expanded(table: Segments) -> Table:
    """For all frames of a movie once."""
    entries = expand_segments(table.data, table.bits, table.entries)
    return Table(table.first, table.bits, entries)


def expand_segments(segmented: bytes, bits: int, entries: int) -> bytes:
    """Segmented palette data to plain 16-bit entries (C.7.9.2.2), at most LONGEST_PALETTE.

    bits: of one value of the segments, 8 or 16. entries: how many are promised. Raises
    Undecodable for segments that promise more, go on without end, or point outside themselves.
    """
    width = 1 if bits == 8 else 2
    segmented, entries = segmented[:LONGEST_SEGMENTS], min(entries, LONGEST_PALETTE)
    words = np.frombuffer(segmented[: len(segmented) // width * width], f"<u{width}").tolist()
    values = _Expansion(words, width).values(entries)
    if not values:
        raise Undecodable("a segmented palette has no entries")
    values += [values[-1]] * (entries - len(values))
    return np.array(values[:entries], "<u2").tobytes()


class _Expansion:
    """Segments on their way to values; however they are nested, there are few steps.

    words: of the segments. width: bytes of one of them.
    """

    def __init__(self, words: list[int], width: int) -> None:
        self._words = words
        self._width = width
        self._values: list[int] = []
        self._starts: set[int] = set()
        self._steps = 0

    def values(self, enough: int) -> list[int]:
        """The values, no more segments than for that many."""
        at = 0
        while at + 2 <= len(self._words) and len(self._values) < enough:
            after = self._indirect(at) if self._words[at] == 2 else self._segment(at)
            self._starts.add(at)
            at = after
        return self._values

    def _segment(self, at: int) -> int:
        """A discrete (0) or linear (1) segment; returns where the next one starts."""
        words, values = self._words, self._values
        kind, length = words[at], words[at + 1]
        # One that is empty adds nothing: values alone would never end a repetition of it.
        self._steps += 1
        if self._steps > MOST_SEGMENTS or len(values) > LONGEST_PALETTE:
            raise Undecodable("a segmented palette is too long")
        if kind == 0:
            values += words[at + 2 : at + 2 + length]
            return at + 2 + length
        if kind != 1 or at + 2 >= len(words):
            raise Undecodable(f"palette segment of unknown kind {kind}")
        start, end = values[-1] if values else 0, words[at + 2]
        values += [
            round((start * (length - step) + end * step) / length) for step in range(1, length + 1)
        ]
        return at + 3

    def _indirect(self, at: int) -> int:
        """An indirect segment (2): repeat earlier segments, named by their byte offset."""
        words, width = self._words, self._width
        after = at + 2 + 4 // width
        if after > len(words):
            raise Undecodable("an indirect palette segment is cut short")
        pieces = words[at + 2 : after]
        offset = sum(piece << (8 * width * place) for place, piece in enumerate(pieces))
        # The standard counts bytes, much software counts values.
        repeated = offset // width if offset // width in self._starts else offset
        if repeated not in self._starts:
            raise Undecodable("an indirect palette segment points outside the palette")
        for _ in range(words[at + 1]):
            if repeated >= at or words[repeated] == 2:
                raise Undecodable("an indirect palette segment points at no plain segment")
            repeated = self._segment(repeated)
        return after
