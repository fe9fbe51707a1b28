"""Text on pictures: one font, and what is done with letters it has not.

Pillow brings a font of its own with the letters of English only. Latin letters lose their
accents; for others a font of the machine is taken when it has them all, else a letter is
written as its code point. Nobody shall read a box as a name.
"""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts")
FAMILIES = ("DejaVuSans.", "NotoSans-Regular.", "NotoSansCJK-Regular.", "DroidSansFallback")
MOST_FONTS = 16
SMALLEST, LARGEST = 7, 200  # pixels
SPACING = 1.25  # from one line to the next, in sizes
_NO_LETTER = "\uffff"
_LATIN = {
    "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "æ": "ae", "Æ": "AE",
    "œ": "oe", "Œ": "OE", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "’": "'", "‘": "'",
    "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "…": "...", "°": "deg", "µ": "u", "μ": "u",
    "²": "2", "³": "3",
}  # fmt: skip


@lru_cache(maxsize=64)
def _bundled(size: int) -> Font:
    from PIL import ImageFont

    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _of_the_machine(path: str, size: int) -> Font:
    from PIL import ImageFont

    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1)
def machine_fonts() -> tuple[str, ...]:
    """Files of fonts that are known to have many letters."""
    found: list[str] = []
    for top in FOLDERS:
        for folder, _, names in os.walk(top):
            found += [os.path.join(folder, n) for n in names if n.startswith(FAMILIES)]
    rank = {family: number for number, family in enumerate(FAMILIES)}
    found.sort(key=lambda path: (rank[_family(path)], path))
    return tuple(found[:MOST_FONTS])


def _family(path: str) -> str:
    return next(family for family in FAMILIES if os.path.basename(path).startswith(family))


@lru_cache(maxsize=4096)
def _has(path: str, letter: str) -> bool:
    """Whether a font has a letter; path "" for the bundled one."""
    try:
        font = _of_the_machine(path, 20) if path else _bundled(20)
    except OSError:
        return False
    if letter == " ":
        return True
    mask = font.getmask(letter)
    return mask.size != (0, 0) and bytes(mask) != bytes(font.getmask(_NO_LETTER))


def font_for(text: str) -> tuple[str, str]:
    """(path of a font, "" for the bundled one; the text in letters that it has)."""
    clean = "".join(" " if not letter.isprintable() else letter for letter in text)
    if all(_has("", letter) for letter in clean):
        return "", clean
    for path in machine_fonts():
        if all(_has(path, letter) for letter in clean):
            return path, clean
    return "", "".join(_drawable(letter) for letter in clean)


def _drawable(letter: str) -> str:
    if _has("", letter):
        return letter
    plain = _LATIN.get(letter) or "".join(
        part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part)
    )
    if plain and all(_has("", part) for part in plain):
        return plain
    return f"[U+{ord(letter):04X}]"


def _font(path: str, size: int) -> Font:
    return _of_the_machine(path, size) if path else _bundled(size)


def width_of(text: str, size: int) -> float:
    """Width of a line in pixels."""
    path, drawable = font_for(text)
    return float(_font(path, size).getlength(drawable))


def fitting(lines: list[str], size: int, width: float, height: float) -> int:
    """The largest size of at most `size` at which lines fit; 0 when even the smallest does not."""
    size = min(size, LARGEST, int(height / (SPACING * max(len(lines), 1))))
    if size < SMALLEST:
        return 0
    widest = max((width_of(line, size) for line in lines), default=0.0)
    if widest > width:
        size = int(size * width / widest)
    while size >= SMALLEST and any(width_of(line, size) > width for line in lines):
        size -= 1
    return size if size >= SMALLEST else 0


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    fill: int | tuple[int, int, int],
    edge: int | tuple[int, int, int],
) -> None:
    """Write one line with its top left corner there, with an edge that sets it off."""
    path, drawable = font_for(text)
    draw.text(
        at,
        drawable,
        fill=fill,
        font=_font(path, size),
        stroke_width=max(size // 16, 1),
        stroke_fill=edge,
    )
