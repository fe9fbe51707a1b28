"""What the attributes of an image say about showing one of its frames.

From a DICOM JSON object (PS3.18 F) to one frozen value that travels to a worker: shape,
modality and VOI transformation, palette, overlays. Enhanced images say these per frame or
for all frames in functional groups (PS3.3 C.7.6.16). Bad values are left out, not refused:
whoever stored them wants to see the image all the same.
"""

from __future__ import annotations

import base64
import binascii
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from filmroom.pixel.color import Palette, expand_segments
from filmroom.pixel.errors import PixelError, Undecodable
from filmroom.pixel.lut import FUNCTIONS, Grey, Table, Window
from filmroom.pixel.shape import FLOAT_BITS, ImageShape

Attributes = Mapping[str, Any]

SHARED, PER_FRAME = "52009229", "52009230"
VOI_GROUP, MODALITY_GROUP = "00289132", "00289145"
MODALITY_LUT, VOI_LUT = "00283000", "00283010"
LARGEST_TABLE = 65536
OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_GROUPS = frozenset({0x0028, 0x5200})
_TAGS = frozenset({0x20500020, 0x00181063, 0x00082144, 0x00180040})


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay plane (C.9.2): `bits` hold rows x columns bits, the first lowest.

    row, column: where its first pixel lies in the image, from 0; may be outside.
    """

    rows: int
    columns: int
    row: int
    column: int
    bits: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, ready to be shown."""

    shape: ImageShape
    grey: Grey = field(default_factory=Grey)
    palette: Palette | None = None
    overlays: tuple[Overlay, ...] = ()


def matters(tag: int) -> bool:
    """Whether an attribute may have a part in how frames are shown, and how fast."""
    group = tag >> 16
    return group in _GROUPS or tag in _TAGS or group in OVERLAY_GROUPS


def values_of(attributes: Attributes, tag: str) -> list[Any]:
    """The values of an attribute; [] when it is absent or empty."""
    values = attributes.get(tag, {}).get("Value", [])
    return values if isinstance(values, list) else []


def items_of(attributes: Attributes, tag: str) -> list[Attributes]:
    """The items of a sequence that are data sets."""
    return [item for item in values_of(attributes, tag) if isinstance(item, dict)]


def text_of(attributes: Attributes, tag: str) -> str:
    """The first value as text."""
    values = values_of(attributes, tag)
    return str(values[0]).strip() if values and values[0] is not None else ""


def number_of(attributes: Attributes, tag: str) -> float | None:
    """The first value as a finite number, or None."""
    numbers = numbers_of(attributes, tag)
    return numbers[0] if numbers else None


def numbers_of(attributes: Attributes, tag: str) -> list[float]:
    """All values that are finite numbers, in order; one that is none ends the list."""
    numbers: list[float] = []
    for value in values_of(attributes, tag):
        try:
            number = float(value)
        except (TypeError, ValueError):
            break
        if not math.isfinite(number):
            break
        numbers.append(number)
    return numbers


def raw_of(attributes: Attributes, tag: str) -> bytes:
    """An inline binary value, or a list of 16-bit numbers as bytes; b"" when absent."""
    attribute = attributes.get(tag, {})
    if "InlineBinary" in attribute:
        try:
            return base64.b64decode(attribute["InlineBinary"], validate=False)
        except (binascii.Error, TypeError, ValueError):
            return b""
    words = array("H", (int(number) & 0xFFFF for number in numbers_of(attributes, tag)))
    return words.tobytes()


def frames_of(attributes: Attributes) -> int:
    """Number of Frames, at least 1."""
    return max(int(number_of(attributes, "00280008") or 1), 1)


def shape_of(attributes: Attributes) -> ImageShape:
    """The Image Pixel attributes (C.7.6.3). Raises Undecodable when there is no image."""
    rows, columns = number_of(attributes, "00280010"), number_of(attributes, "00280011")
    allocated = number_of(attributes, "00280100")
    if rows is None or columns is None or allocated is None:
        raise Undecodable("the instance describes no image")
    stored = number_of(attributes, "00280101")
    high_bit = number_of(attributes, "00280102")
    return ImageShape(
        rows=int(rows),
        columns=int(columns),
        samples=int(number_of(attributes, "00280002") or 1),
        bits_allocated=int(allocated),
        bits_stored=int(stored if stored is not None else allocated),
        pixel_representation=int(number_of(attributes, "00280103") or 0),
        photometric=text_of(attributes, "00280004") or "MONOCHROME2",
        planar=int(number_of(attributes, "00280006") or 0),
        high_bit=int(high_bit) if high_bit is not None else None,
        floating=stored is None and int(allocated) in FLOAT_BITS,
        pixel_vr=str(attributes.get("7FE00010", {}).get("vr", "OW")),
    )


def picture_of(attributes: Attributes, frame_index: int = 0) -> Picture:
    """All about showing one frame. Raises Undecodable when there is no image."""
    shape = shape_of(attributes)
    photometric = shape.photometric
    palette = _palette(attributes) if photometric == "PALETTE COLOR" else None
    return Picture(
        shape=shape,
        grey=_grey(attributes, frame_index, shape) if shape.samples == 1 else Grey(),
        palette=palette,
        overlays=_overlays(attributes, frame_index),
    )


def _places(attributes: Attributes, frame_index: int, group: str) -> list[Attributes]:
    """Where a functional group's attributes may be: this frame's, all frames', top level."""
    places: list[Attributes] = []
    per_frame = items_of(attributes, PER_FRAME)
    if frame_index < len(per_frame):
        places += items_of(per_frame[frame_index], group)[:1]
    for shared in items_of(attributes, SHARED)[:1]:
        places += items_of(shared, group)[:1]
    return [*places, attributes]


def _grey(attributes: Attributes, frame_index: int, shape: ImageShape) -> Grey:
    slope, intercept, modality = 1.0, 0.0, None
    for place in _places(attributes, frame_index, MODALITY_GROUP):
        modality = _first_table(place, MODALITY_LUT, shape)
        said = number_of(place, "00281053")
        if modality is None and said is None:
            continue
        slope, intercept = said or 1.0, number_of(place, "00281052") or 0.0
        break
    window, voi = None, None
    for place in _places(attributes, frame_index, VOI_GROUP):
        voi, window = _first_table(place, VOI_LUT, shape), _first_window(place)
        if voi is not None or window is not None:
            break
    return Grey(
        slope=slope,
        intercept=intercept,
        modality=modality,
        window=window,
        voi=voi,
        inverse=shape.photometric == "MONOCHROME1" or text_of(attributes, "20500020") == "INVERSE",
        padding=_padding(attributes, shape),
    )


def _first_window(place: Attributes) -> Window | None:
    center, width = number_of(place, "00281050"), number_of(place, "00281051")
    if center is None or width is None:
        return None
    function = text_of(place, "00281056")
    return Window(center, width, function if function in FUNCTIONS else "LINEAR")


def _padding(attributes: Attributes, shape: ImageShape) -> tuple[int, int] | None:
    first = number_of(attributes, "00280120")
    if first is None:
        return None
    last = number_of(attributes, "00280121")
    ends = [_signed(int(first), shape), _signed(int(first if last is None else last), shape)]
    return min(ends), max(ends)


def _signed(value: int, shape: ImageShape) -> int:
    """US where SS was meant: as large as only a negative number could be."""
    return value - 65536 if shape.signed and value > 32767 else value


def _first_table(place: Attributes, tag: str, shape: ImageShape) -> Table | None:
    for item in items_of(place, tag):
        table = table_of(numbers_of(item, "00283002"), raw_of(item, "00283006"), shape)
        if table is not None:
            return table
    return None


def table_of(descriptor: list[float], raw: bytes, shape: ImageShape) -> Table | None:
    """A LUT from its descriptor and data (C.11.1.1); None when they make no sense."""
    if len(descriptor) < 3 or not raw:
        return None
    entries = int(descriptor[0]) & 0xFFFF or LARGEST_TABLE
    bits = int(descriptor[2])
    if not 1 <= bits <= 16:
        return None
    if bits <= 8 and len(raw) < 2 * entries:
        raw = array("H", raw[:entries]).tobytes()
    raw = raw[: 2 * entries]
    if bits <= 8 and any(raw[1::2]) and not any(raw[::2]):
        raw = array("H", raw[1::2]).tobytes()  # 8-bit values in the high bytes
    return Table(_signed(int(descriptor[1]), shape), bits, raw[: len(raw) // 2 * 2])


def _palette(attributes: Attributes) -> Palette | None:
    tables = [_palette_table(attributes, channel) for channel in (1, 2, 3)]
    red, green, blue = tables
    if red is None or green is None or blue is None:
        return None
    return Palette(red, green, blue)


def _palette_table(attributes: Attributes, channel: int) -> Table | None:
    descriptor = numbers_of(attributes, f"0028110{channel}")
    shape = ImageShape(1, 1)
    plain = raw_of(attributes, f"0028120{channel}")
    if plain:
        return table_of(descriptor, plain, shape)
    segmented = raw_of(attributes, f"0028122{channel}")
    if len(descriptor) < 3 or not segmented:
        return None
    entries = int(descriptor[0]) or LARGEST_TABLE
    try:
        expanded = expand_segments(segmented, int(descriptor[2]), entries)
    except PixelError:
        return None
    return Table(int(descriptor[1]), int(descriptor[2]), expanded)


def _overlays(attributes: Attributes, frame_index: int) -> tuple[Overlay, ...]:
    found = (_overlay(attributes, f"{group:04X}", frame_index) for group in OVERLAY_GROUPS)
    return tuple(overlay for overlay in found if overlay is not None)


def _overlay(attributes: Attributes, group: str, frame_index: int) -> Overlay | None:
    """A graphics overlay with bits of its own; regions of interest are not drawn (C.9.2.1.3)."""
    if text_of(attributes, f"{group}0040") != "G":
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
    first, last = index * size // 8, ((index + 1) * size + 7) // 8
    if len(raw) < last or index * size % 8:
        return None
    return Overlay(rows, columns, int(origin[0]) - 1, int(origin[1]) - 1, raw[first:last])
