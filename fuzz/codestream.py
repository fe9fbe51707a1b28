"""A compressed frame: refused, or decoded to the pixels that were promised, every time the same.

First byte: the transfer syntax. Second: what the data set says of the frame, and whether it is
wanted at half its size. Then the frame.
"""

from __future__ import annotations

from filmroom.pixel import native
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import ImageShape, decode, reduction
from filmroom.pixel.errors import PixelError

SYNTAXES = (
    ts.DEFLATED_FRAME, ts.RLE, ts.JPEG_BASELINE, ts.JPEG_EXTENDED, ts.JPEG_LOSSLESS_SV1,
    ts.JPEG_LS_LOSSLESS, ts.J2K, ts.HTJ2K, ts.JPEG_XL_LOSSLESS, ts.JPEG_XL_RECOMPRESSION,
    ts.J2K_COMPONENTS,
)  # fmt: skip
SHAPES = (
    ImageShape(16, 15, 1, 16, 12),
    ImageShape(16, 15, 1, 16, 12, 1),
    ImageShape(16, 15, 1, 8, 8),
    ImageShape(16, 15, 3, 8, 8, 0, "RGB"),
)


def check(data: bytes) -> None:
    """Decode it twice, from memory that held other things in between."""
    if len(data) < 3:
        return
    syntax, coded = SYNTAXES[data[0] % len(SYNTAXES)], data[2:]
    shape, wanted = SHAPES[data[1] % len(SHAPES)], data[1] // len(SHAPES) % 2
    fewer = reduction(coded, syntax, shape, wanted)
    assert 0 <= fewer <= wanted
    try:
        first = decode(coded, syntax, shape, reduce=wanted)
    except PixelError as error:
        assert error.message.isprintable()
        return
    size = first.array.shape[:2]
    assert size in ((16, 15), (8, 8) if fewer else (16, 15))
    assert first.array.dtype == native.sample_type(shape, "=")
    low = -(1 << (shape.bits - 1)) if shape.signed else 0
    assert low <= first.array.min() <= first.array.max() < low + (1 << shape.bits)
    kept = first.array.copy()
    assert (decode(coded, syntax, shape, reduce=wanted).array == kept).all()
