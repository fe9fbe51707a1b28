"""In which colours recoded frames come, so that what is said of them is true.

A recoded data set says it in its own header. A frame that is sent alone is read with the
stored header, as Retrieve Metadata gives it (PS3.18 10.4.1.1.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from filmroom.pixel import derived
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import Decoded
from filmroom.pixel.color import PARTIAL, to_rgb
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array

Triple = tuple[float, float, float]

RGB, YBR_FULL = "RGB", "YBR_FULL"
# 4:2:2 undone, which leaves colours that no Defined Term is for (PS3.3 C.7.6.3.1.2).
NAMELESS = "YBR_PARTIAL"

# PS3.3 C.7.6.3.1.2 YBR_FULL, with the digits of ITU-T T.871; a row makes one sample.
_TO_RGB = ((1, 0, 1.402), (1, -0.344136, -0.714136), (1, 1.772, 0))
_TO_YBR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def of_copy(from_syntax: str, to_syntax: str, shape: ImageShape) -> str:
    """The colours of all frames of a recoded data set; "" leaves them as they were decoded.

    Those of a JPEG are turned into RGB, which every IOD allows, as YBR_FULL they do not; a
    JPEG has lost more than that rounding.
    """
    if shape.samples != 3:
        return ""
    if to_syntax in derived.LOSSES:  # what is coded so is YBR_FULL in the end
        return RGB if shape.photometric.startswith(NAMELESS) else ""
    return RGB if from_syntax in ts.JPEG_DCT and shape.bits_allocated == 8 else ""


def of_frame(from_syntax: str, to_syntax: str, shape: ImageShape) -> str:
    """The colours of a frame alone, of which the stored Photometric Interpretation is true.

    YBR_FULL is what it says. All others of three samples are read as RGB: YBR_RCT and YBR_ICT,
    which a decoder undoes, and YBR_FULL_422, which uncompressed has but two samples per pixel.
    """
    if to_syntax in derived.LOSSES or shape.samples != 3:
        return of_copy(from_syntax, to_syntax, shape)
    return YBR_FULL if shape.photometric == YBR_FULL else RGB


def named(photometric: str, colours: str) -> str:
    """What decoded colours are called after `turned`. Raises NoCodec if they have no name."""
    whole = photometric.removesuffix("_422")  # decoded, no chroma is left out
    if colours == RGB and whole.startswith((YBR_FULL, NAMELESS)):
        return RGB
    if colours == YBR_FULL and whole == RGB:
        return YBR_FULL
    if whole == NAMELESS:
        raise NoCodec("YBR_PARTIAL_422 is not recoded without loss")
    return whole


def turned(decoded: Decoded, colours: str, shape: ImageShape) -> Decoded:
    """A decoded frame in RGB or YBR_FULL; as it is with "", and where its colours are neither.

    Raises NoCodec for colours that have no name.
    """
    array, photometric = decoded
    if array.ndim != 3:
        return decoded
    name = named(photometric, colours)
    if name in (photometric, photometric.removesuffix("_422")):
        return Decoded(array, name)
    cells = array.view(f"u{array.dtype.itemsize}")  # no colour has a sign, whatever is said
    if name == RGB and (shape.bits, shape.bits_allocated) == (8, 8):
        mixed = to_rgb(cells, photometric, shape)
    elif photometric.startswith(NAMELESS):
        mixed = _mixed(cells, shape.bits, PARTIAL, (16, 128, 128), (0, 0, 0))
    elif name == RGB:
        mixed = _mixed(cells, shape.bits, _TO_RGB, (0, 128, 128), (0, 0, 0))
    else:
        mixed = _mixed(cells, shape.bits, _TO_YBR, (0, 0, 0), (0, 128, 128))
    return Decoded(mixed.view(array.dtype), name)


def _mixed(cells: Array, bits: int, rows: Sequence[Triple], before: Triple, after: Triple) -> Array:
    """Samples of any depth in other colours. before, after: where zero lies, of 8 bits."""
    top, scale = (1 << bits) - 1, 2.0 ** (bits - 8)
    zero, middle = (np.array(each, np.float32) * scale for each in (before, after))
    samples = (cells & cells.dtype.type(top)).astype(np.float32) - zero
    mixed = samples @ np.array(rows, np.float32).T + middle
    return np.asarray(np.rint(mixed).clip(0, top), dtype=cells.dtype)
