"""A drawing as a picture (PNG, JPEG, GIF), and the small pictures that stand for documents."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from filmroom.documents.drawing import COARSE, FINE, PAPER, Drawing, Grid, Text, Trace
from filmroom.documents.wording import harmless

SCALE = 5.0  # pixels of a millimetre, when nobody asks for another size
MOST_PIXELS = 24_000_000
MOST_SIDE = 8_000
MOST_ICON = 1024  # pixels of a side
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF"}
FOLD = 0.22  # of an icon's width
COLOURS = {"SR": "#2f6db3", "KO": "#2f6db3", "PDF": "#b3392f"}  # of the badge
OTHER = "#2c7a57"


def picture_of(
    drawing: Drawing, media_type: str, size: tuple[int, int] | None, quality: int
) -> bytes:
    """size: the (width, height) in pixels into which it is to fit."""
    scale = min(SCALE, MOST_SIDE / max(drawing.width, drawing.height))
    scale = min(scale, (MOST_PIXELS / (drawing.width * drawing.height)) ** 0.5)
    if size is not None:
        scale = min(scale * 4, size[0] / drawing.width, size[1] / drawing.height)
        scale = min(scale, (MOST_PIXELS / (drawing.width * drawing.height)) ** 0.5)
    width, height = (max(round(side * scale), 1) for side in (drawing.width, drawing.height))
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    for part in drawing.parts:
        match part:
            case Grid():
                _grid(pen, part, scale)
            case Trace():
                points = [tuple(point) for point in (part.points * scale).tolist()]
                pen.line(points, part.colour, max(round(part.width * scale), 1))
            case Text():
                _text(pen, part, scale)
    return coded(image, media_type, quality)


def _grid(pen: ImageDraw.ImageDraw, grid: Grid, scale: float) -> None:
    """Lines of single millimetres only where there is room between them."""
    for step, colour in ((1, FINE), (5, COARSE)):
        if step * scale < 3:
            continue
        for at in range(0, int(grid.width) + 1, step):
            x = (grid.x + at) * scale
            pen.line((x, grid.y * scale, x, (grid.y + grid.height) * scale), colour)
        for at in range(0, int(grid.height) + 1, step):
            y = (grid.y + at) * scale
            pen.line((grid.x * scale, y, (grid.x + grid.width) * scale, y), colour)


def _text(pen: ImageDraw.ImageDraw, text: Text, scale: float) -> None:
    pixels = text.size * scale
    if pixels < 4:
        return  # nobody could read it
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    place = text.x * scale, text.y * scale
    stroke = 0.3 if text.bold else 0
    pen.text(
        place, _one_line(text.words), text.colour, font_of(round(pixels)), anchor,
        stroke_width=stroke,
    )  # fmt: skip


def _one_line(words: str) -> str:
    return " ".join(harmless(words).split())


@lru_cache(maxsize=64)
def font_of(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow carries within itself."""
    return ImageFont.load_default(max(pixels, 4))


def coded(image: Image.Image, media_type: str, quality: int) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    more = {"quality": quality} if media_type == "image/jpeg" else {}
    image.save(out, FORMATS[media_type], **more)
    return out.getvalue()


# -- small pictures ---------------------------------------------------------------------------
def icon_of(badge: str, title: str, media_type: str, size: tuple[int, int]) -> bytes:
    """A sheet with a folded corner, what it is, and its title. size: (width, height) in pixels."""
    size = min(size[0], MOST_ICON), min(size[1], MOST_ICON)
    width, height = size
    image = Image.new("RGB", size, "#20252b")
    pen = ImageDraw.Draw(image)
    tall = height * 0.9
    wide = min(tall * 0.75, width * 0.9)
    tall = wide / 0.75
    left, top = (width - wide) / 2, (height - tall) / 2
    right, bottom, fold = left + wide, top + tall, wide * FOLD
    pen.polygon(
        [(left, top), (right - fold, top), (right, top + fold), (right, bottom), (left, bottom)],
        "#f3f5f7",
    )
    pen.polygon([(right - fold, top), (right - fold, top + fold), (right, top + fold)], "#b9c2cb")
    band = top + tall * 0.2
    pen.rectangle((left, band, left + wide * 0.62, band + tall * 0.2), COLOURS.get(badge, OTHER))
    pen.text(
        (left + wide * 0.08, band + tall * 0.1), badge, "#ffffff", font_of(round(tall * 0.15)), "lm"
    )
    _wrapped(
        pen, _one_line(title), left + wide * 0.08, band + tall * 0.27, wide * 0.84, tall * 0.45
    )
    return coded(image, media_type, 90)


def _wrapped(
    pen: ImageDraw.ImageDraw, words: str, x: float, y: float, width: float, height: float
) -> None:
    """As many words as find room, at a size that can be read."""
    pixels = max(round(height * 0.19), 7)
    font = font_of(pixels)
    line, top = "", y
    for word in [*words[:200].split(), ""]:
        longer = f"{line} {word}".strip()
        if word and pen.textlength(longer, font) <= width:
            line = longer
            continue
        if top + pixels > y + height:
            return
        while line and pen.textlength(line, font) > width:
            line = line[:-1]
        pen.text((x, top), line, "#333a42", font)
        line, top = word, top + pixels * 1.25
