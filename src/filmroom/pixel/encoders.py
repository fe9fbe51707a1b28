"""Transfer syntax -> encoder. Every one takes sample values and gives a frame, not padded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from filmroom.pixel import native
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array

JPEG_QUALITY = 90


def _unsigned(array: Array, shape: ImageShape) -> Array:
    """Sample values as codecs without a sign want them: the low Bits Stored bits, narrowest."""
    cells = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    if shape.bits < shape.bits_allocated:
        cells = cells & np.asarray((1 << shape.bits) - 1, dtype=cells.dtype)
    return cells.astype(np.uint8) if shape.bits <= 8 else cells


def _encode_deflated_frame(array: Array, shape: ImageShape) -> bytes:
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(native.pack(array, shape)) + deflater.flush()


def _encode_rle(array: Array, shape: ImageShape) -> bytes:
    from rle.utils import encode_pixel_data

    if shape.bits_allocated == 1:
        raise NoCodec("1-bit pixels cannot be written in RLE")
    return bytes(
        encode_pixel_data(
            native.pack(array, shape),
            rows=shape.rows,
            columns=shape.columns,
            samples_per_pixel=shape.samples,
            bits_allocated=shape.bits_allocated,
            number_of_frames=1,
            planar_configuration=0,
            byteorder="<",
        )
    )


def _encode_jpeg_ls(array: Array, shape: ImageShape) -> bytes:
    from jpeg_ls import encode_buffer

    cells = _unsigned(array, shape)
    return bytes(
        encode_buffer(
            cells.astype("<u2" if cells.dtype.itemsize == 2 else "u1").tobytes(),
            shape.rows,
            shape.columns,
            shape.samples,
            max(shape.bits, 2),  # T.87 knows no 1-bit samples
            interleave_mode=0 if shape.samples == 1 else 2,
        )
    )


def _encode_jpeg_lossless(array: Array, shape: ImageShape) -> bytes:
    """Process 14, selection value 1, the only one with a transfer syntax of its own."""
    import imagecodecs

    space = "GRAYSCALE" if shape.samples == 1 else "RGB"
    return bytes(
        imagecodecs.jpeg8_encode(
            _unsigned(array, shape),
            lossless=True,
            predictor=1,
            bitspersample=max(shape.bits, 2),
            colorspace=space,
            outcolorspace=space,
        )
    )


def _encode_jpeg_baseline(array: Array, shape: ImageShape) -> bytes:
    import imagecodecs

    if shape.bits_allocated != 8 or shape.signed:
        raise NoCodec("JPEG Baseline holds unsigned 8-bit pixels only")
    space = "GRAYSCALE" if shape.samples == 1 else "RGB"
    if shape.samples == 3 and shape.photometric != "RGB":
        space = "YCBCR"
    target = "GRAYSCALE" if shape.samples == 1 else "YCBCR"
    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(array),
            level=JPEG_QUALITY,
            colorspace=space,
            outcolorspace=target,
            subsampling="444",
        )
    )


def _encode_j2k(array: Array, shape: ImageShape) -> bytes:
    import imagecodecs

    return bytes(
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(array),
            reversible=True,
            codecformat="j2k",
            bitspersample=shape.bits,
            mct=shape.photometric == "RGB",
            numthreads=1,
        )
    )


def _encode_htj2k(array: Array, shape: ImageShape) -> bytes:
    import imagecodecs

    rgb = shape.samples == 3 and shape.photometric == "RGB"
    return bytes(
        imagecodecs.htj2k_encode(
            np.ascontiguousarray(array), reversible=True, tlm=True, rgb=rgb, planar=False
        )
    )


def _encode_jpeg_xl(array: Array, shape: ImageShape) -> bytes:
    import imagecodecs

    if shape.samples == 3 and shape.photometric != "RGB":
        raise NoCodec("JPEG XL is written for RGB and grey only")
    return bytes(
        imagecodecs.jpegxl_encode(
            _unsigned(array, shape),
            lossless=True,
            effort=1,
            bitspersample=shape.bits,
            usecontainer=False,
            numthreads=1,
        )
    )


Encoder = Callable[["Array", ImageShape], bytes]

# The lossy-or-lossless syntaxes are written lossless: a peer that takes only them loses nothing.
ENCODERS: dict[str, Encoder] = {
    **dict.fromkeys(ts.NATIVE - {ts.EXPLICIT_BE}, native.pack),
    ts.DEFLATED_FRAME: _encode_deflated_frame,
    ts.RLE: _encode_rle,
    ts.JPEG_BASELINE: _encode_jpeg_baseline,
    **dict.fromkeys(ts.JPEG_PREDICTIVE, _encode_jpeg_lossless),
    ts.JPEG_LS_LOSSLESS: _encode_jpeg_ls,
    **dict.fromkeys(ts.JPEG_2000, _encode_j2k),
    **dict.fromkeys(ts.HIGH_THROUGHPUT, _encode_htj2k),
    ts.JPEG_XL_LOSSLESS: _encode_jpeg_xl,
}
