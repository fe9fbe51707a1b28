"""Presentation states: what they say of one frame of an image (PS3.3 A.33, C.10, C.11; PS3.4 N).

Pure reading of DICOM JSON. A state's own LUTs take the place of the image's, and where it has
none nothing is applied (PS3.4 N.2.1): whoever made it saw the image so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from filmroom.pixel.cielab import Colour, colour_of, grey_colour
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.lut import Grey
from filmroom.pixel.marks import Area, Point, Presentation, Shape, Text
from filmroom.pixel.overlay import GROUPS, WHITE, Overlay, overlay_of
from filmroom.pixel.picture import (
    PRESENTATION_LUT,
    Picture,
    first_table,
    modality_of,
    palette_of,
    voi_of,
)
from filmroom.pixel.shutter import shutter_of
from filmroom.pixel.values import Attributes, items_of, number_of, numbers_of, raw_of, text_of

GRAYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"
COLOUR = "1.2.840.10008.5.1.4.1.1.11.2"
PSEUDO_COLOUR = "1.2.840.10008.5.1.4.1.1.11.3"
KINDS = frozenset({GRAYSCALE, COLOUR, PSEUDO_COLOUR})
FAMILY = "1.2.840.10008.5.1.4.1.1.11."

REFERENCED_IMAGES = "00081140"
MOST_MARKS = 2000
MOST_POINTS = 100_000
MOST_LETTERS = 1024  # UT and ST; what is longer is cut
_GROUPS = frozenset({0x0028, 0x0070, 0x2050})
_TAGS = frozenset({0x00080016, 0x00081115, *range(0x00181600, 0x00181625)})
_KINDS_OF_SHAPE = frozenset({"POINT", "POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE"})


@dataclass(frozen=True, slots=True)
class Subject:
    """An image that a state refers to; frames from 1, empty for all."""

    series_instance_uid: str
    sop_instance_uid: str
    frames: tuple[int, ...] = ()


def matters(tag: int) -> bool:
    """Whether an attribute of a presentation state has a part in what it does."""
    group = tag >> 16
    return group in _GROUPS or tag in _TAGS or group in GROUPS


def is_state(sop_class_uid: str) -> bool:
    """Whether a SOP class is of a presentation state of any kind."""
    return sop_class_uid.startswith(FAMILY)


def subjects_of(state: Attributes) -> list[Subject]:
    """All images it refers to, in its order (C.11.11)."""
    return [
        Subject(
            text_of(series, "0020000E"),
            text_of(image, "00081155"),
            tuple(int(number) for number in numbers_of(image, "00081160")),
        )
        for series in items_of(state, "00081115")
        for image in items_of(series, REFERENCED_IMAGES)
    ]


def frames_meant(state: Attributes, sop_instance_uid: str, frames: int) -> Sequence[int]:
    """0-based frames of an image of so many that a state is for; none when it is not for it.

    All of them are a range: `frames` may be any number, and takes no memory.
    """
    subjects = [each for each in subjects_of(state) if each.sop_instance_uid == sop_instance_uid]
    if any(not subject.frames for subject in subjects):
        return range(frames)
    named = {number for subject in subjects for number in subject.frames}
    return sorted(number - 1 for number in named if 1 <= number <= frames)


def presented(
    picture: Picture, state: Attributes, image: Attributes, sop_instance_uid: str, frame_index: int
) -> Picture:
    """A frame's picture as a presentation state wants it.

    image: the image's own attributes; frame_index: 0-based. The caller has made sure that
    the state refers to it. Raises NoCodec for kinds of states and images that do not go together.
    """
    kind = text_of(state, "00080016")
    if kind not in KINDS:
        raise NoCodec(f"presentation states of SOP class {kind} cannot be applied")
    is_grey = picture.shape.samples == 1 and picture.palette is None
    if is_grey is (kind == COLOUR):
        raise NoCodec("the presentation state is for another kind of image")
    here = _Here(sop_instance_uid, frame_index + 1)
    pseudo = palette_of(state) if kind == PSEUDO_COLOUR else None
    if kind == PSEUDO_COLOUR and pseudo is None:
        raise NoCodec("the presentation state has no palette that can be read")
    colours = _layers(state)
    return replace(
        picture,
        grey=_grey(picture, state, here) if is_grey else picture.grey,
        pseudo=pseudo,
        overlays=tuple(_overlays(state, image, frame_index, colours)),
        shutter=shutter_of(state, frame_index),
        profile=raw_of(state, "00282000") or picture.profile,
        presentation=Presentation(
            area=_area(state, here),
            rotation=int(number_of(state, "00700042") or 0) % 360 // 90 * 90,
            flipped=text_of(state, "00700041") == "Y",
            marks=_marks(state, here, colours),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Here:
    """The frame (from 1) that is to be shown."""

    sop_instance_uid: str
    frame: int

    def is_meant(self, item: Attributes) -> bool:
        """Whether an item is for it: by its Referenced Image Sequence, or for all without one."""
        images = items_of(item, REFERENCED_IMAGES)
        if not images:
            return True
        return any(
            text_of(image, "00081155") == self.sop_instance_uid
            and (not (frames := numbers_of(image, "00081160")) or self.frame in frames)
            for image in images
        )


def _grey(picture: Picture, state: Attributes, here: _Here) -> Grey:
    shape = picture.shape
    grey = Grey(padding=picture.grey.padding, whole_range=True)
    grey = modality_of(state, grey, shape) or grey
    for item in items_of(state, "00283110"):
        if here.is_meant(item) and (found := voi_of(item, grey, shape)) is not None:
            grey = found
            break
    table = first_table(state, PRESENTATION_LUT, signed=False)
    return replace(
        grey, presentation=table, inverse=text_of(state, "20500020") == "INVERSE" and not table
    )


def _area(state: Attributes, here: _Here) -> Area | None:
    for item in items_of(state, "0070005A"):
        first, last = numbers_of(item, "00700052"), numbers_of(item, "00700053")
        if not here.is_meant(item) or len(first) < 2 or len(last) < 2:
            continue
        # The corners are those seen after rotation, as places in the image as stored.
        left, right = sorted((int(first[0]), int(last[0])))
        top, bottom = sorted((int(first[1]), int(last[1])))
        magnification = number_of(item, "00700103")
        is_magnified = text_of(item, "00700100") == "MAGNIFY" and magnification is not None
        return Area(
            left - 1,
            top - 1,
            right,
            bottom,
            stretch=_stretch(item),
            magnification=min(max(magnification or 1.0, 0.01), 100.0) if is_magnified else 1.0,
        )
    return None


def _stretch(item: Attributes) -> float:
    """Height of a pixel by its width: from spacing (row, column) or aspect ratio."""
    for tag in ("00700101", "00700102"):
        sides = numbers_of(item, tag)
        if len(sides) >= 2 and sides[0] > 0 and sides[1] > 0:
            return min(max(sides[0] / sides[1], 0.1), 10.0)
    return 1.0


def _layers(state: Attributes) -> dict[str, tuple[float, Colour]]:
    """Layer name -> its order and recommended colour (C.10.7)."""
    found: dict[str, tuple[float, Colour]] = {}
    for item in items_of(state, "00700060"):
        colour = colour_of(numbers_of(item, "00700401"))
        grey = number_of(item, "00700066")
        legacy = numbers_of(item, "00700067")
        if colour is None and len(legacy) >= 3:
            red, green, blue = (grey_colour(int(each))[0] for each in legacy[:3])
            colour = red, green, blue
        if colour is None:
            colour = WHITE if grey is None else grey_colour(int(grey))
        found[text_of(item, "00700002")] = (number_of(item, "00700062") or 0.0, colour)
    return found


def _overlays(
    state: Attributes, image: Attributes, frame_index: int, layers: dict[str, tuple[float, Colour]]
) -> Iterator[Overlay]:
    """Overlays that the state activates, its own before the image's of that group (C.11.7)."""
    ordered: list[tuple[float, Overlay]] = []
    for number in GROUPS:
        group = f"{number:04X}"
        layer = text_of(state, f"{group}1001")
        if not layer:
            continue
        overlay = overlay_of(state, group, frame_index, "GR") or overlay_of(
            image, group, frame_index, "GR"
        )
        if overlay is not None:
            order, colour = layers.get(layer, (0.0, WHITE))
            ordered.append((order, replace(overlay, colour=colour)))
    for _, overlay in sorted(ordered, key=lambda each: each[0]):
        yield overlay


def _marks(
    state: Attributes, here: _Here, layers: dict[str, tuple[float, Colour]]
) -> tuple[Shape | Text, ...]:
    """Graphic and text objects, the lowest layer first. Raises NoCodec when they are too many."""
    ordered: list[tuple[float, Shape | Text]] = []
    points = 0
    for item in items_of(state, "00700001"):
        if not here.is_meant(item):
            continue
        order, colour = layers.get(text_of(item, "00700002"), (0.0, WHITE))
        marks: list[Shape | Text | None] = [
            _shape(each, colour) for each in items_of(item, "00700009")
        ]
        marks += [_text(each, colour) for each in items_of(item, "00700008")]
        for mark in marks:
            if mark is not None:
                points += len(mark.points) if isinstance(mark, Shape) else 1
                ordered.append((order, mark))
    if len(ordered) > MOST_MARKS or points > MOST_POINTS:
        raise NoCodec("the presentation state has too many annotations")
    return tuple(mark for _, mark in sorted(ordered, key=lambda each: each[0]))


def _points(numbers: list[float]) -> tuple[Point, ...]:
    return tuple(zip(numbers[::2], numbers[1::2], strict=False))


def _shape(item: Attributes, colour: Colour) -> Shape | None:
    kind, points = text_of(item, "00700023"), _points(numbers_of(item, "00700022"))
    least = {"POINT": 1, "ELLIPSE": 4}.get(kind, 2)
    if kind not in _KINDS_OF_SHAPE or len(points) < least:
        return None
    displayed = text_of(item, "00700005") == "DISPLAY"
    return Shape(kind, points, displayed, text_of(item, "00700024") == "Y", colour)


def _text(item: Attributes, colour: Colour) -> Text | None:
    text = text_of(item, "00700006")[:MOST_LETTERS]
    corners = _points(numbers_of(item, "00700010")[:2] + numbers_of(item, "00700011")[:2])
    anchors = _points(numbers_of(item, "00700014")[:2])
    if not text or (len(corners) < 2 and not anchors):
        return None
    return Text(
        text,
        colour,
        box=(corners[0], corners[1]) if len(corners) == 2 else None,
        box_displayed=text_of(item, "00700003") == "DISPLAY",
        anchor=anchors[0] if anchors else None,
        anchor_displayed=text_of(item, "00700004") == "DISPLAY",
        pointing=text_of(item, "00700015") == "Y",
        justified=text_of(item, "00700012") or "LEFT",
    )
