"""Text burnt into rendered pictures: whose image it is and how it was made (PS3.18 8.3.5.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filmroom.pixel import lettering
from filmroom.pixel.errors import BadParameter
from filmroom.pixel.lut import Window
from filmroom.pixel.numeric import np
from filmroom.pixel.picture import Notes, Picture
from filmroom.pixel.values import Attributes, items_of, number_of, text_of, values_of

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Bytes
    from filmroom.pixel.options import RenderOptions

PATIENT = frozenset({0x00100010, 0x00100020, 0x00100030, 0x00100040})
TECHNIQUE = frozenset(
    {0x00080060, 0x00180015, 0x00180050, 0x00180060, 0x00180080, 0x00180081, 0x00181151}
)
TAGS = PATIENT | TECHNIQUE
TEXT_SHARE = 36  # of the picture's shorter side
LEAST_SIZE, MOST_SIZE = 11, 48
MOST_LETTERS = 64  # of one value: a VR's own limit, about
_GROUPS = {"00180080": "00189112", "00180081": "00189114", "00180050": "00289110"}
_WITHIN = {"00180081": "00189082"}  # Effective Echo Time of enhanced images


def notes_of(
    attributes: Attributes, picture: Picture, options: RenderOptions, frame_index: int = 0
) -> Notes:
    """The lines that were asked for; what the image does not say is left out."""
    patient: tuple[str, ...] = ()
    technique: tuple[str, ...] = ()
    if "patient" in options.annotation:
        name, born = person_of(attributes), text_of(attributes, "00100030")
        if len(born) == 8 and born.isdigit():
            born = f"{born[:4]}-{born[4:6]}-{born[6:]}"
        sex = text_of(attributes, "00100040")
        said = name, text_of(attributes, "00100020"), f"{born}  {sex}".strip()
        patient = _clean(said) or ("patient unknown",)
    if "technique" in options.annotation:
        window = options.window or picture.grey.window
        lines = _technique(attributes, window, picture, frame_index)
        technique = _clean(lines) or ("technique unknown",)
    return Notes(patient, technique)


def _clean(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(line.strip()[:MOST_LETTERS] for line in lines if line.strip())


def person_of(attributes: Attributes) -> str:
    """Patient's Name for reading: the Latin group when it has one, else the others."""
    names = values_of(attributes, "00100010")
    if not names or not isinstance(names[0], dict):
        return text_of(attributes, "00100010")
    for group in ("Alphabetic", "Ideographic", "Phonetic"):
        parts = str(names[0].get(group) or "").split("^")
        if any(part.strip() for part in parts):
            family, given = parts[0].strip(), " ".join(part for part in parts[1:3] if part.strip())
            return ", ".join(part for part in (family, given) if part)
    return ""


def _technique(
    attributes: Attributes, window: Window | None, picture: Picture, frame_index: int
) -> tuple[str, ...]:
    def said(tag: str, unit: str, before: str = "") -> str:
        number = _number(attributes, tag, frame_index)
        return "" if number is None else f"{before}{number:g} {unit}"

    kind = f"{text_of(attributes, '00080060')} {text_of(attributes, '00180015')}".strip()
    tube = "  ".join(filter(None, (said("00180060", "kV"), said("00181151", "mA"))))
    times = "  ".join(filter(None, (said("00180080", "ms", "TR "), said("00180081", "ms", "TE "))))
    shown = ""
    is_grey = picture.shape.samples == 1 and picture.palette is None
    if is_grey and window is not None and picture.grey.voi is None and window.usable:
        shown = f"C {window.center:g}  W {window.width:g}"
    return kind, tube, said("00180050", "mm", "slice "), times, shown


def _number(attributes: Attributes, tag: str, frame_index: int) -> float | None:
    """At the top level, or in the functional groups of an enhanced image."""
    number = number_of(attributes, tag)
    if number is not None or tag not in _GROUPS:
        return number
    for groups, index in (("52009230", frame_index), ("52009229", 0)):
        for frame in items_of(attributes, groups)[index : index + 1]:
            for item in items_of(frame, _GROUPS[tag])[:1]:
                number = number_of(item, _WITHIN.get(tag, tag))
                if number is not None:
                    return number
    return None


def burn(pixels: Bytes, notes: Notes) -> Bytes:
    """The picture with its notes: the patient at the top left, technique at the bottom left.

    Raises BadParameter when the picture is too small for them to be read.
    """
    from PIL import Image, ImageDraw

    rows, columns = pixels.shape[:2]
    usual = min(max(min(rows, columns) // TEXT_SHARE, LEAST_SIZE), MOST_SIZE)
    margin = max(usual // 3, 2)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L"
    room = rows / 2 - margin if notes.patient and notes.technique else rows - 2 * margin
    ink, edge = (255, 0) if image.mode == "L" else ((255, 255, 255), (0, 0, 0))
    for lines, at_bottom in ((notes.patient, False), (notes.technique, True)):
        if not lines:
            continue
        size = lettering.fitting(list(lines), usual, columns - 2 * margin, room)
        if not size:
            raise BadParameter("annotation: the picture is too small to be written on")
        step = size * lettering.SPACING
        top = rows - margin - step * len(lines) if at_bottom else margin
        for number, line in enumerate(lines):
            lettering.write(draw, (margin, top + number * step), line, size, ink, edge)
    return np.asarray(image)
