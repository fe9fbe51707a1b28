"""What the attributes of an image say about showing one of its frames.

From a DICOM JSON object (PS3.18 F) to one frozen value that travels to a worker: shape,
modality and VOI transformation, palette, overlays. Enhanced images say these per frame or
for all frames in functional groups (PS3.3 C.7.6.16). Bad values are left out, not refused:
whoever stored them wants to see the image all the same.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace

from filmroom.pixel.color import LONGEST_SEGMENTS, Palette, Segments
from filmroom.pixel.errors import Undecodable
from filmroom.pixel.lut import FUNCTIONS, Grey, Table, Window
from filmroom.pixel.marks import Presentation
from filmroom.pixel.overlay import GROUPS, Overlay, overlays_of
from filmroom.pixel.shape import FLOAT_BITS, ImageShape
from filmroom.pixel.shutter import Shutter, shutter_of
from filmroom.pixel.values import (
    Attributes,
    items_of,
    number_of,
    numbers_of,
    raw_of,
    text_of,
    values_of,
)

SHARED, PER_FRAME = "52009229", "52009230"
VOI_GROUP, MODALITY_GROUP = "00289132", "00289145"
MODALITY_LUT, VOI_LUT = "00283000", "00283010"
LARGEST_TABLE = 65536
PRESENTATION_LUT = "20500010"
_GROUPS = frozenset({0x0028, 0x5200})
_SHUTTERS = range(0x00181600, 0x00181625)
_TAGS = frozenset(
    {
        *(0x20500010, 0x20500020),  # Presentation LUT
        *(0x00181063, 0x00082144, 0x00180040),  # how fast
        0x00480105,  # Optical Path Sequence: ICC profiles
        *_SHUTTERS,
    }
)


@dataclass(frozen=True, slots=True)
class Notes:
    """Lines of text to be burnt into a rendered picture (PS3.18 8.3.5.1.1)."""

    patient: tuple[str, ...] = ()
    technique: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, ready to be shown."""

    shape: ImageShape
    grey: Grey = field(default_factory=Grey)
    palette: Palette | None = None
    overlays: tuple[Overlay, ...] = ()
    shutter: Shutter | None = None
    pseudo: Palette | None = None  # grey levels are shown in these colours
    presentation: Presentation | None = None
    notes: Notes | None = None
    profile: bytes = b""  # ICC, of colour pixels


def matters(tag: int) -> bool:
    """Whether an attribute may have a part in how frames are shown, and how fast."""
    group = tag >> 16
    return group in _GROUPS or tag in _TAGS or group in GROUPS


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
    palette = palette_of(attributes) if photometric == "PALETTE COLOR" else None
    return Picture(
        shape=shape,
        grey=_grey(attributes, frame_index, shape) if shape.samples == 1 else Grey(),
        palette=palette,
        overlays=overlays_of(attributes, frame_index),
        shutter=shutter_of(attributes, frame_index),
    )


def _places(attributes: Attributes, frame_index: int, group: str) -> list[Attributes]:
    """Where a functional group's attributes may be: this frame's, all frames', top level."""
    places: list[Attributes] = []
    # Not by items_of: for each of many frames it would walk all of them.
    per_frame = values_of(attributes, PER_FRAME)
    if frame_index < len(per_frame) and isinstance(per_frame[frame_index], dict):
        places += items_of(per_frame[frame_index], group)[:1]
    for shared in items_of(attributes, SHARED)[:1]:
        places += items_of(shared, group)[:1]
    return [*places, attributes]


def _grey(attributes: Attributes, frame_index: int, shape: ImageShape) -> Grey:
    grey = Grey(padding=_padding(attributes, shape))
    for place in _places(attributes, frame_index, MODALITY_GROUP):
        if (found := modality_of(place, grey, shape)) is not None:
            grey = found
            break
    for place in _places(attributes, frame_index, VOI_GROUP):
        if (found := voi_of(place, grey, shape)) is not None:
            grey = found
            break
    table = first_table(attributes, PRESENTATION_LUT, signed=False)
    if table is not None:
        return replace(grey, presentation=table)
    inverse = text_of(attributes, "20500020") == "INVERSE"
    return replace(grey, inverse=shape.photometric == "MONOCHROME1" or inverse)


def modality_of(place: Attributes, grey: Grey, shape: ImageShape) -> Grey | None:
    """`grey` with a place's Modality LUT or rescale (C.11.1); None when it has none."""
    table = first_table(place, MODALITY_LUT, signed=shape.signed)
    slope = number_of(place, "00281053")
    if table is None and slope is None:
        return None
    intercept = number_of(place, "00281052") or 0.0
    return replace(grey, slope=slope or 1.0, intercept=intercept, modality=table)


def voi_of(place: Attributes, grey: Grey, shape: ImageShape) -> Grey | None:
    """`grey` with a place's first VOI LUT or window (C.11.2); None when it has none.

    grey: with the modality transformation whose output goes into it.
    """
    table = first_table(place, VOI_LUT, signed=_is_output_signed(grey, shape))
    window = _first_window(place)
    if table is None and window is None:
        return None
    return replace(grey, voi=table, window=window)


def _is_output_signed(grey: Grey, shape: ImageShape) -> bool:
    """Whether the modality transformation can give negative values (C.11.2.1.1)."""
    if grey.modality is not None:
        return False
    bits = min(max(shape.bits, 1), 64)  # nobody has looked yet whether they make sense
    lowest = -(1 << (bits - 1)) if shape.signed else 0
    highest = lowest + (1 << bits) - 1
    return min(lowest * grey.slope, highest * grey.slope) + grey.intercept < 0


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
    signed = shape.signed
    ends = [_signed(int(first), signed), _signed(int(first if last is None else last), signed)]
    return min(ends), max(ends)


def _signed(value: int, signed: bool) -> int:
    """US where SS was meant: as large as only a negative number could be."""
    return value - 65536 if signed and value > 32767 else value


def first_table(place: Attributes, tag: str, *, signed: bool) -> Table | None:
    """The first LUT of a sequence that makes sense; signed: whether what goes into it may be."""
    for item in items_of(place, tag):
        table = table_of(numbers_of(item, "00283002"), raw_of(item, "00283006"), signed=signed)
        if table is not None:
            return table
    return None


def table_of(descriptor: list[float], raw: bytes, *, signed: bool = False) -> Table | None:
    """A LUT from its descriptor and data (C.11.1.1); None when they make no sense."""
    described = _described(descriptor, signed=signed)
    if described is None or not raw:
        return None
    entries, first, bits = described
    if bits <= 8 and len(raw) < 2 * entries:
        raw = array("H", list(raw[:entries])).tobytes()
    raw = raw[: 2 * entries]
    if bits <= 8 and any(raw[1::2]) and not any(raw[::2]):
        raw = array("H", list(raw[1::2])).tobytes()  # 8-bit values in the high bytes
    if len(raw) < 2:
        return None
    return Table(first, bits, raw[: len(raw) // 2 * 2])


def _described(descriptor: list[float], *, signed: bool = False) -> tuple[int, int, int] | None:
    """(entries, first value, bits) of a LUT Descriptor; None when it is no table of 16 bits.

    Whatever VR the numbers came in: none of them is larger than a US or SS could be.
    """
    if len(descriptor) < 3:
        return None
    entries, first, bits = (int(number) for number in descriptor[:3])
    if not -32768 <= first <= 65535 or not 1 <= bits <= 16:
        return None
    return entries & 0xFFFF or LARGEST_TABLE, _signed(first, signed), bits


def palette_of(attributes: Attributes) -> Palette | None:
    """The palette of an image or a pseudo-colour state (C.7.9); None when there is none whole."""
    tables = [_palette_table(attributes, channel) for channel in (1, 2, 3)]
    red, green, blue = tables
    if red is None or green is None or blue is None:
        return None
    return Palette(red, green, blue)


def _palette_table(attributes: Attributes, channel: int) -> Table | Segments | None:
    descriptor = numbers_of(attributes, f"0028110{channel}")
    plain = raw_of(attributes, f"0028120{channel}")
    if plain:
        return table_of(descriptor, plain)
    segmented = raw_of(attributes, f"0028122{channel}")
    described = _described(descriptor)
    if described is None or not segmented:
        return None
    entries, first, bits = described
    return Segments(first, bits, entries, segmented[:LONGEST_SEGMENTS])
