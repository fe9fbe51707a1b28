"""Pictures of people who do not exist: arrays for the sample studies, drawn from ellipsoids.

Everything is seeded, so that the same pictures come out on every machine. Lengths are in
mm in the patient's axes: x to the left, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

CT_SIDE, CT_SLICES = 512, 88
CT_SPACING_MM, CT_STEP_MM = 0.7, 2.5
MR_SIDE, MR_SLICES = 256, 24
MR_SPACING_MM, MR_STEP_MM = 0.9, 5.5
CR_ROWS, CR_COLUMNS, CR_SPACING_MM = 2140, 1760, 0.2
US_ROWS, US_COLUMNS, US_FRAMES, US_SPACING_MM = 480, 640, 40, 0.38

NODULE_MM = (-62.0, -8.0, 30.0)  # its centre; and its diameter:
NODULE_DIAMETER_MM = 14.0


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """A body part of one value: centre and half axes in mm, turned about z by `angle`."""

    value: float
    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0


def _draw(plane: Plane, xs: Plane, ys: Plane, z: float, part: Ellipsoid) -> None:
    """Set the pixels of `plane` that lie in `part` at height z."""
    cx, cy, cz = part.center
    rx, ry, rz = part.radii
    left = 1.0 - ((z - cz) / rz) ** 2
    if left <= 0:
        return
    reach = max(rx, ry) * left**0.5
    x0, x1 = np.searchsorted(xs, (cx - reach, cx + reach))
    y0, y1 = np.searchsorted(ys, (cy - reach, cy + reach))
    dx, dy = xs[x0:x1] - np.float32(cx), (ys[y0:y1] - np.float32(cy))[:, None]
    c, s = np.float32(np.cos(part.angle)), np.float32(np.sin(part.angle))
    inside = ((dx * c + dy * s) / rx) ** 2 + ((dy * c - dx * s) / ry) ** 2 <= left
    plane[y0:y1, x0:x1][inside] = part.value


def _axis(count: int, spacing_mm: float) -> Plane:
    """Centres of pixels around 0."""
    return np.asarray((np.arange(count) - (count - 1) / 2) * spacing_mm, dtype=np.float32)


def _blurred(plane: Plane) -> Plane:
    """Three-pixel smoothing in both directions: edges as a scanner shows them."""
    for axis in (0, 1):
        around = np.roll(plane, 1, axis) + np.roll(plane, -1, axis)
        plane = plane * np.float32(0.5) + around * np.float32(0.25)
    return plane


def _noise(shape: tuple[int, int], seed: int, count: int) -> list[Plane]:
    random = np.random.default_rng(seed)
    return [_blurred(random.standard_normal(shape, np.float32)) for _ in range(count)]


def _ribs() -> Iterator[Ellipsoid]:
    for number in range(9):
        z = 95.0 - 25.0 * number
        for side in (-1, 1):
            for step in range(11):
                angle = np.pi * (0.08 + 0.84 * step / 10)
                x, y = side * 128 * np.sin(angle), 92 * np.cos(angle) + 4
                center = (float(x), float(y), z - 20 * (1 - step / 10))
                yield Ellipsoid(620, center, (7, 16, 5.5), float(side * (np.pi / 2 - angle)))


def _vessels(seed: int) -> Iterator[Ellipsoid]:
    random = np.random.default_rng(seed)
    for side in (-1, 1):
        for _ in range(60):
            away = random.uniform(0.15, 0.85)
            turn, rise = random.uniform(-1.2, 1.2), random.uniform(-60, 70)
            x = side * (25 + 70 * away * np.cos(turn))
            center = (float(x), float(55 * away * np.sin(turn)), float(rise))
            width = 4.2 - 3 * away
            radii = (width * random.uniform(1, 4), width, width * random.uniform(1, 5))
            yield Ellipsoid(35, center, radii, float(side * turn))


def _vertebrae() -> Iterator[Ellipsoid]:
    for number in range(9):
        z = -110.0 + 27.5 * number
        yield Ellipsoid(420, (0, 62, z), (19, 15, 11))
        yield Ellipsoid(180, (0, 62, z), (16, 12, 9))
        yield Ellipsoid(480, (0, 96, z - 6), (4, 17, 9))
        yield Ellipsoid(450, (-20, 80, z), (18, 5, 6), 0.4)
        yield Ellipsoid(450, (20, 80, z), (18, 5, 6), -0.4)


CHEST = (
    Ellipsoid(-95, (0, 0, 0), (165, 115, 900)),
    Ellipsoid(45, (0, 0, 0), (150, 102, 900)),
    Ellipsoid(-80, (0, 4, 0), (139, 94, 900)),
    *_ribs(),
    Ellipsoid(40, (0, 6, 0), (126, 84, 900)),
    Ellipsoid(-860, (-66, 4, 25), (54, 74, 130), 0.12),
    Ellipsoid(-860, (68, 4, 25), (50, 74, 130), -0.12),
    *_vessels(11),
    Ellipsoid(40, (0, -8, 40), (28, 44, 140)),
    Ellipsoid(45, (18, -28, -22), (58, 46, 52), 0.5),
    Ellipsoid(150, (30, -30, -26), (27, 22, 30), 0.5),
    Ellipsoid(140, (-8, -22, -16), (24, 20, 26)),
    Ellipsoid(62, (-55, -8, -110), (80, 72, 62)),
    Ellipsoid(52, (72, 26, -112), (38, 44, 48)),
    Ellipsoid(170, (24, 44, -20), (11, 11, 400)),
    Ellipsoid(165, (6, -24, 62), (15, 15, 42)),
    Ellipsoid(160, (-22, -14, 70), (9, 9, 60)),
    Ellipsoid(-990, (0, 16, 90), (9, 8, 68)),
    Ellipsoid(-990, (-20, 14, 18), (16, 6, 9)),
    Ellipsoid(-990, (20, 14, 18), (16, 6, 9)),
    Ellipsoid(500, (0, -84, 40), (16, 6, 90)),
    *_vertebrae(),
    Ellipsoid(12, (0, 79, 0), (8, 7, 900)),
    Ellipsoid(30, NODULE_MM, (7, 7, 7)),
)


def ct_height_mm(index: int) -> float:
    """z of a CT slice."""
    return (index - (CT_SLICES - 1) / 2) * CT_STEP_MM


def ct_slices() -> Iterator[NDArray[np.int16]]:
    """A chest in Hounsfield units, from the feet up: (rows, columns) each."""
    axis = _axis(CT_SIDE, CT_SPACING_MM)
    noises = _noise((CT_SIDE, CT_SIDE), 5, 6)
    circle = axis**2 + axis[:, None] ** 2 > (CT_SIDE / 2 * CT_SPACING_MM) ** 2
    table = np.abs(axis[:, None] - 128 + axis**2 / 900) < 2.2
    for index in range(CT_SLICES):
        plane = np.full((CT_SIDE, CT_SIDE), -1000, np.float32)
        plane[table & (np.abs(axis) < 150)] = -150
        for part in CHEST:
            _draw(plane, axis, axis, ct_height_mm(index), part)
        plane = _blurred(plane)
        shift = 37 * index
        plane += np.roll(noises[index % 6], (shift, shift * 3), (0, 1)) * np.float32(22)
        plane[circle] = -1024
        yield np.asarray(plane.clip(-1024, 3071), dtype=np.int16)


def _brain(values: Mapping[str, float]) -> list[Ellipsoid]:
    v = values
    folds = [
        Ellipsoid(
            v["csf"],
            (float(59 * away * np.sin(a)), float(77 * away * np.cos(a)), float(z)),
            (2.2, 11 + 4 * np.sin(3 * a), 13),
            float(-a),
        )
        for z, away in ((-20, 0.95), (8, 0.97), (36, 0.86))
        for a in np.linspace(0, 2 * np.pi, 26, endpoint=False) + z / 40
    ]
    return [
        Ellipsoid(v["fat"], (0, 0, 0), (80, 99, 96)),
        Ellipsoid(v["bone"], (0, 0, 0), (75, 94, 91)),
        Ellipsoid(v["csf"], (0, 0, 0), (69, 88, 85)),
        Ellipsoid(v["grey"], (0, 0, 0), (66, 85, 82)),
        *folds,
        Ellipsoid(v["white"], (-29, 0, 4), (28, 66, 62), 0.06),
        Ellipsoid(v["white"], (29, 0, 4), (28, 66, 62), -0.06),
        Ellipsoid(v["csf"], (0, -10, 20), (1.6, 80, 60)),
        Ellipsoid(v["csf"], (-13, -18, 10), (7, 28, 20), 0.25),
        Ellipsoid(v["csf"], (13, -18, 10), (7, 28, 20), -0.25),
        Ellipsoid(v["csf"], (-22, 26, 6), (6, 22, 13), -0.35),
        Ellipsoid(v["csf"], (22, 26, 6), (6, 22, 13), 0.35),
        Ellipsoid(v["grey"], (-14, 0, -6), (9, 14, 12), 0.3),
        Ellipsoid(v["grey"], (14, 0, -6), (9, 14, 12), -0.3),
        Ellipsoid(v["csf"], (0, 2, -8), (2.2, 14, 14)),
        Ellipsoid(v["white"], (0, 18, -48), (14, 13, 28)),
        Ellipsoid(v["grey"], (-25, 48, -50), (27, 22, 20)),
        Ellipsoid(v["grey"], (25, 48, -50), (27, 22, 20)),
        Ellipsoid(v["csf"], (-30, -82, -45), (13, 14, 13)),
        Ellipsoid(v["csf"], (30, -82, -45), (13, 14, 13)),
        Ellipsoid(v["lesion"], (34, 12, 22), (6, 5, 6)),
    ]


T1 = {"fat": 900, "bone": 60, "csf": 150, "grey": 420, "white": 620, "lesion": 330}
T2 = {"fat": 520, "bone": 50, "csf": 1150, "grey": 560, "white": 400, "lesion": 900}


def mr_height_mm(index: int) -> float:
    """z of an MR slice."""
    return (index - (MR_SLICES - 1) / 2) * MR_STEP_MM


def mr_slices(values: Mapping[str, float], seed: int) -> Iterator[NDArray[np.uint16]]:
    """A head under one weighting (T1 or T2), from the feet up."""
    axis = _axis(MR_SIDE, MR_SPACING_MM)
    noises = _noise((MR_SIDE, MR_SIDE), seed, 4)
    coil = 1 + 0.12 * np.cos(axis / 70) * np.cos(axis[:, None] / 90)
    parts = _brain(values)
    for index in range(MR_SLICES):
        plane = np.zeros((MR_SIDE, MR_SIDE), np.float32)
        for part in parts:
            _draw(plane, axis, axis, mr_height_mm(index), part)
        real = _blurred(plane) * coil.astype(np.float32) + noises[index % 4] * np.float32(26)
        imaginary = np.roll(noises[(index + 1) % 4], 31 * index, 0) * np.float32(26)
        yield np.asarray(np.hypot(real, imaginary).clip(0, 4095), dtype=np.uint16)


def _thickness(xs: Plane, ys: Plane, part: Ellipsoid) -> tuple[Any, Plane]:
    """How deep an X-ray goes through `part`, in mm: (where, depth)."""
    (cx, cy, _), (rx, ry, rz) = part.center, part.radii
    reach = max(rx, ry)
    x0, x1 = np.searchsorted(xs, (cx - reach, cx + reach))
    y0, y1 = np.searchsorted(ys, (cy - reach, cy + reach))
    dx, dy = xs[x0:x1] - np.float32(cx), (ys[y0:y1] - np.float32(cy))[:, None]
    c, s = np.float32(np.cos(part.angle)), np.float32(np.sin(part.angle))
    left = 1 - ((dx * c + dy * s) / rx) ** 2 - ((dy * c - dx * s) / ry) ** 2
    return np.s_[y0:y1, x0:x1], np.sqrt(left.clip(0, None)) * np.float32(2 * rz)


def cr_chest() -> NDArray[np.uint16]:
    """A chest radiograph as exposure, 12 bits: air is high, bone is low (MONOCHROME1)."""
    xs, ys = _axis(CR_COLUMNS, CR_SPACING_MM), _axis(CR_ROWS, CR_SPACING_MM)
    depth = np.zeros((CR_ROWS, CR_COLUMNS), np.float32)
    parts = [
        Ellipsoid(0.019, (0, 60, 0), (150, 290, 105)),
        Ellipsoid(0.019, (-125, -140, 0), (75, 60, 60)),
        Ellipsoid(0.019, (125, -140, 0), (75, 60, 60)),
        Ellipsoid(0.019, (0, -215, 0), (48, 90, 55)),
        Ellipsoid(-0.0165, (-64, -20, 0), (54, 128, 72), 0.08),
        Ellipsoid(-0.0165, (66, -20, 0), (50, 124, 72), -0.08),
        Ellipsoid(0.013, (26, 52, 0), (62, 54, 42), 0.5),
        Ellipsoid(0.017, (0, -30, 0), (22, 130, 36)),
        Ellipsoid(0.017, (-52, 150, 0), (78, 66, 60)),
        Ellipsoid(0.014, (70, 140, 0), (56, 52, 50)),
        Ellipsoid(-0.015, (0, -150, 0), (8, 75, 8)),
        Ellipsoid(0.05, (-70, -142, 0), (68, 6, 6), -0.16),
        Ellipsoid(0.05, (70, -142, 0), (68, 6, 6), 0.16),
        *(Ellipsoid(0.034, (0, -180 + 24 * n, 0), (17, 10, 14)) for n in range(17)),
        *(Ellipsoid(v.value * 4e-4, (v.center[0], -v.center[2], 0), v.radii) for v in _vessels(3)),
    ]
    for part in parts:
        where, mm = _thickness(xs, ys, part)
        depth[where] += mm * np.float32(part.value)
    for number in range(10):
        ring = np.hypot(xs / 128, (ys[:, None] + 118 - 25 * number) / (52 + 3 * number))
        lower = ys[:, None] > -118 + 25 * number - 8
        wall = np.exp(-(((ring - 1) / 0.045) ** 2)) * lower * np.float32(0.34)
        depth += wall.astype(np.float32)
    noise = _noise((CR_ROWS, CR_COLUMNS), 9, 1)[0]
    exposure = 4000 * np.exp(-0.33 * np.maximum(depth, 0)) + noise * 14
    return np.asarray(exposure.clip(0, 4095), dtype=np.uint16)


def us_frames() -> Iterator[NDArray[np.uint8]]:
    """A beating heart in a sector, with a jet in colour: (rows, columns, 3) each."""
    x = np.asarray(np.arange(US_COLUMNS) - US_COLUMNS / 2, np.float32)
    y = np.asarray(np.arange(US_ROWS) - 24.0, np.float32)[:, None]
    radius, angle = np.hypot(x, y), np.arctan2(x, y)
    sector = (radius < 440) & (np.abs(angle) < 0.66) & (radius > 12)
    random = np.random.default_rng(21)
    speckles = [
        _blurred(random.rayleigh(0.62, (US_ROWS, US_COLUMNS)).astype(np.float32)) for _ in range(3)
    ]
    fade = np.asarray(1.05 - radius / 900, np.float32)
    for index in range(US_FRAMES):
        phase = 2 * np.pi * index / (US_FRAMES / 2)
        squeeze = 1 - 0.13 * (1 - np.cos(phase)) / 2
        echo = _heart(x, y, float(squeeze))
        picture = echo * fade * speckles[index % 3] * sector
        grey = (picture.clip(0, 1) ** 0.7 * 235).astype(np.uint8)
        frame = np.repeat(grey[..., None], 3, axis=2)
        _jet(frame, x, y, float(max(np.sin(phase), 0)), speckles[(index + 1) % 3])
        _scale(frame, index)
        yield frame


def _heart(x: Plane, y: Plane, squeeze: float) -> Plane:
    """Echo strength 0..1 of four chambers and their walls."""
    echo = np.full(np.broadcast_shapes(x.shape, y.shape), 0.34, np.float32)
    echo[np.hypot((x + 8) / 165, (y - 235) / 200) < 1] = 0.62
    chambers = ((-62, 195, 52, 112, 0.12), (52, 190, 40, 100, -0.16))
    for cx, cy, rx, ry, turn in chambers:
        dx, dy = x - cx, y - cy
        u, v = dx + dy * turn, dy - dx * turn
        echo[np.hypot(u / (rx * squeeze), v / (ry * (0.5 + squeeze / 2))) < 1] = 0.06
    for cx in (-64, 58):
        open_wide = 2 - squeeze
        echo[np.hypot((x - cx) / (46 * open_wide), (y - 358) / (44 * open_wide)) < 1] = 0.06
    valve = np.abs(y - 308 + 14 * squeeze + np.abs(np.abs(x) - 60) * 0.25) < 2.6
    echo[valve & (np.abs(x) < 112)] = 0.85
    return echo


def _jet(frame: NDArray[np.uint8], x: Plane, y: Plane, strength: float, speckle: Plane) -> None:
    where = np.hypot((x + 62) / 20, (y - 330) / (40 * strength + 1)) < strength
    tint = (speckle[where].clip(0.3, 1) * 255).astype(np.uint8)
    frame[where] = np.stack([tint // 8, tint // 2, tint], axis=-1)


def _scale(frame: NDArray[np.uint8], index: int) -> None:
    """A depth scale at the right, an ECG-like trace at the bottom, moving with the frames."""
    for depth in range(0, 440, 26):
        frame[24 + depth, US_COLUMNS - (14 if depth % 130 else 22) : US_COLUMNS - 8] = 190
    columns = np.arange(40, US_COLUMNS - 40)
    beat = (columns - 40) % 260 / 260
    spike = np.exp(-(((beat - 0.3) / 0.012) ** 2)) * 26 - np.exp(-(((beat - 0.33) / 0.02) ** 2)) * 8
    wave = np.exp(-(((beat - 0.55) / 0.05) ** 2)) * 7 + np.exp(-(((beat - 0.2) / 0.03) ** 2)) * 4
    shown = columns < 40 + (US_COLUMNS - 80) * (index + 1) / US_FRAMES
    rows = (470 - spike - wave).astype(int)
    frame[rows[shown].clip(0, US_ROWS - 1), columns[shown]] = (70, 230, 90)
