"""Colours of presentation states: P-values and encoded CIELab to 8-bit sRGB (PS3.3 C.10.7.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

Colour = tuple[int, int, int]

_WHITE = (0.9642, 1.0, 0.8249)  # D50
# XYZ of D50, adapted to D65, to linear sRGB.
_TO_SRGB = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)


def grey_colour(p_value: int) -> Colour:
    """A P-value of 0 to 65535 as a grey."""
    level = (max(0, min(p_value, 0xFFFF)) * 255 + 0x7FFF) // 0xFFFF
    return level, level, level


def colour_of(encoded: Sequence[float]) -> Colour | None:
    """CIELab as three numbers of 0 to 65535; None when they are not there."""
    if len(encoded) < 3:
        return None
    first, *others = (max(0.0, min(number, 65535.0)) for number in encoded[:3])
    lightness = first / 65535.0 * 100.0
    a, b = (number / 65535.0 * 255.0 - 128.0 for number in others)
    y = (lightness + 16.0) / 116.0
    xyz = [
        white * (f**3 if f > 6.0 / 29.0 else 3.0 * (6.0 / 29.0) ** 2 * (f - 4.0 / 29.0))
        for white, f in zip(_WHITE, (y + a / 500.0, y, y - b / 200.0), strict=True)
    ]
    linear = [sum(m * value for m, value in zip(row, xyz, strict=True)) for row in _TO_SRGB]
    red, green, blue = (round(255.0 * _gamma(min(max(value, 0.0), 1.0))) for value in linear)
    return red, green, blue


def _gamma(value: float) -> float:
    if value <= 0.0031308:
        return 12.92 * value
    return float(1.055 * value ** (1 / 2.4) - 0.055)
