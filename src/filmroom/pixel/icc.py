"""ICC profiles of rendered pictures: the image's own, or a conversion (PS3.18 8.3.5.1.5).

Named profiles are computed from their published primaries (IEC 61966-2-1, Adobe RGB (1998),
ISO 22028-2, SMPTE EG 432-1), as matrix and curve of an ICC version 2 profile (ICC.1:2001-04).
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from filmroom.pixel.errors import NoCodec, Undecodable
from filmroom.pixel.numeric import np
from filmroom.pixel.values import Attributes, items_of, raw_of

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Bytes

LARGEST_PROFILE = 8 << 20
_D50 = (0.9642, 1.0, 0.8249)
_CURVE_POINTS = 1024


class _Space(NamedTuple):
    name: str
    red: tuple[float, float, float]  # XYZ adapted to D50
    green: tuple[float, float, float]
    blue: tuple[float, float, float]
    gamma: float  # 0 for sRGB's curve, 1.8 for ROMM's with its straight beginning


_SPACES = {
    "srgb": _Space(
        "sRGB", (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708),
        (0.14307, 0.06061, 0.71410), 0.0,
    ),
    "adobergb": _Space(
        "Adobe RGB (1998)", (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457), 563 / 256,
    ),
    "displayp3": _Space(
        "Display P3", (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189),
        (0.15710, 0.06657, 0.78407), 0.0,
    ),
    "rommrgb": _Space(
        "ROMM RGB", (0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82521),
        1.8,
    ),
}  # fmt: skip


@lru_cache(maxsize=8)
def named_profile(name: str) -> bytes:
    """The profile of a colour space by its name in PS3.18: srgb, adobergb, rommrgb, displayp3."""
    space = _SPACES[name]
    text = f"{space.name} by its primaries".encode("ascii") + b"\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
    curve = _curve(space.gamma)
    tags = {
        b"desc": described,
        b"cprt": b"text" + bytes(4) + b"no rights reserved\0",
        b"wtpt": _xyz(_D50),
        b"rXYZ": _xyz(space.red),
        b"gXYZ": _xyz(space.green),
        b"bXYZ": _xyz(space.blue),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = at + len(body)
    head = struct.pack(">I4xI", size, 0x02400000) + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    head = head.ljust(68, b"\0") + _xyz(_D50)[8:]
    whole: bytes = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
    return whole


def profile_of(attributes: Attributes) -> bytes:
    """The profile of an image: its own, or that of its first optical path (PS3.3 C.11.15)."""
    own: bytes = raw_of(attributes, "00282000")
    for path in items_of(attributes, "00480105"):
        own = own or raw_of(path, "00282000")
    return own[:LARGEST_PROFILE]


def _xyz(numbers: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(each * 65536) for each in numbers))


def _curve(gamma: float) -> bytes:
    if gamma not in (0.0, 1.8):
        return b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(gamma * 256))
    shares = np.linspace(0.0, 1.0, _CURVE_POINTS)
    if gamma:
        linear = np.where(shares < 1 / 32, shares / 16, shares**gamma)
    else:
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    points: bytes = np.rint(linear * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", _CURVE_POINTS) + points


def manage(pixels: Bytes, own: bytes, wanted: str) -> tuple[Bytes, bytes]:
    """The picture in the colours that were asked for, and the profile to put with it.

    own: the image's profile, empty when it has none: then it is taken to be sRGB. wanted:
    one of options.ICC_PROFILES. Grey pictures are left alone: they are P-values, not
    colours. Raises Undecodable for a profile that cannot be used, NoCodec for one that is
    not of RGB.
    """
    if wanted == "no" or pixels.ndim != 3:
        return pixels, b""
    if wanted == "yes":
        return pixels, own or named_profile("srgb")
    target = named_profile(wanted)
    source = own or named_profile("srgb")
    return (pixels if source == target else _converted(pixels, source, target)), target


def _converted(pixels: Bytes, source: bytes, target: bytes) -> Bytes:
    from PIL import Image, ImageCms

    if source[16:20] != b"RGB " or len(source) > LARGEST_PROFILE:
        raise NoCodec("the image's ICC profile is not one of RGB")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    try:
        before, after = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (source, target))
        shown = ImageCms.profileToProfile(image, before, after, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise Undecodable("the image's ICC profile cannot be used") from error
    return pixels if shown is None else np.asarray(shown)
