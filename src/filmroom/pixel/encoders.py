"""Transfer syntax -> encoder. Every one takes sample values and gives a frame, not padded.

`refusal` says what cannot be written and why; the encoders rely on it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filmroom.pixel import native
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array

JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Loss:
    """How much may be lost. Each codec takes one of the three, and does without the others.

    near: JPEG-LS, the greatest error of any sample. quality: 1 to 100, of JPEG and JPEG XL.
    psnr: JPEG 2000 and HTJ2K, the peak signal-to-noise ratio in dB over the range of Bits
    Stored; both come to within 3 dB of it or above.
    """

    near: int | None = None
    quality: int | None = None
    psnr: float | None = None


# Which wish a syntax understands, and its least and greatest value.
WISHES: dict[str, tuple[str, float, float]] = {
    **dict.fromkeys(ts.JPEG_DCT, ("quality", 1, 100)),
    ts.JPEG_LS_NEAR: ("near", 1, 255),
    ts.J2K: ("psnr", 10, 120),
    ts.HTJ2K: ("psnr", 10, 120),
    ts.JPEG_XL: ("quality", 1, 100),
}
ALWAYS_LOSSY = frozenset({ts.JPEG_EXTENDED})


def refusal(transfer_syntax_uid: str, shape: ImageShape, loss: Loss | None = None) -> str | None:
    """Why frames of this shape cannot be written so; None when they can.

    (A frame may still be refused for its values: near-lossless JPEG-LS of signed pixels at
    the ends of their range.)
    """
    if transfer_syntax_uid not in ENCODERS:
        return "there is no encoder"
    wish, least, most = WISHES.get(transfer_syntax_uid, ("", 0, 0))
    value = getattr(loss, wish) if loss and wish else None
    if loss and value is None:
        return f"the loss must be given as {wish}" if wish else "it knows no loss"
    if value is not None and not least <= value <= most:
        return f"{wish} must be from {least:g} to {most:g}"
    if value is None and transfer_syntax_uid in ALWAYS_LOSSY:
        return f"it always loses something: {wish} must be given"
    if transfer_syntax_uid in ts.NATIVE | {ts.DEFLATED_FRAME} and shape.subsampled:
        return "4:2:2 chroma is written as YBR_FULL"
    if transfer_syntax_uid in ts.NATIVE:
        return None
    if shape.floating:
        return "floating-point pixels are never encapsulated (PS3.5 A.4)"
    if transfer_syntax_uid == ts.DEFLATED_FRAME:
        return None
    if shape.bits_allocated == 1:
        return "it holds no 1-bit pixels"
    if transfer_syntax_uid == ts.RLE:
        return None if shape.samples in (1, 3) else "it holds one or three samples"
    return _unfit(transfer_syntax_uid, shape, lossy=value is not None)


def _unfit(syntax: str, shape: ImageShape, *, lossy: bool) -> str | None:
    """What a codec of pictures cannot hold."""
    if shape.samples not in (1, 3):
        return "it holds one or three samples"
    if syntax in ts.JPEG_2000 and shape.bits_allocated == 32:
        if shape.bits > 24 or shape.samples > 1:
            return "of 32-bit pixels it keeps 24 bits, and grey only"
        return "lossy coding is for up to 16 bits" if lossy else None
    if syntax in ts.HIGH_THROUGHPUT and shape.bits_allocated == 32:
        return "lossy coding is for up to 16 bits" if lossy else None
    if shape.bits_allocated not in (8, 16):
        return "it holds up to 16 bits"
    if shape.signed and (syntax in ts.JPEG_DCT or (lossy and syntax == ts.JPEG_XL)):
        return "it has no sign, and a small error would turn -1 into the greatest value"
    if syntax == ts.JPEG_BASELINE and shape.bits > 8:
        return "it holds 8 bits"
    if syntax == ts.JPEG_EXTENDED and not 8 < shape.bits <= 12:
        return "it is written for 9 to 12 bits"
    if syntax == ts.JPEG_EXTENDED and shape.samples == 3 and shape.bits != 12:
        return "its colour has 8 or 12 bits: chroma lies about the middle of the coded range"
    if syntax in ts.JXL and shape.samples == 3 and shape.photometric != "RGB":
        return "its colour is RGB"
    return None


def _unsigned(array: Array, shape: ImageShape) -> Array:
    """Sample values as codecs without a sign want them: the low Bits Stored bits, narrowest."""
    cells = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    if shape.bits < shape.bits_allocated:
        cells = cells & np.asarray((1 << shape.bits) - 1, dtype=cells.dtype)
    return cells.astype(np.uint8) if shape.bits <= 8 else cells


def _encode_native(array: Array, shape: ImageShape, _loss: Loss | None) -> bytes:
    return native.pack(array, shape)


def _encode_deflated_frame(array: Array, shape: ImageShape, _loss: Loss | None) -> bytes:
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(native.pack(array, shape)) + deflater.flush()


def _encode_rle(array: Array, shape: ImageShape, _loss: Loss | None) -> bytes:
    from rle.utils import encode_pixel_data

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


def _encode_jpeg_ls(array: Array, shape: ImageShape, loss: Loss | None) -> bytes:
    from jpeg_ls import encode_buffer

    near = (loss and loss.near) or 0
    if near and shape.signed:
        half = 1 << (shape.bits - 1)
        if array.min() < near - half or array.max() >= half - near:
            raise NoCodec("near-lossless, values at the ends of their range would change sign")
    cells = _unsigned(array, shape)
    return bytes(
        encode_buffer(
            cells.astype("<u2" if cells.dtype.itemsize == 2 else "u1").tobytes(),
            shape.rows,
            shape.columns,
            shape.samples,
            max(shape.bits, 2),  # T.87 knows no 1-bit samples
            lossy_error=near,
            interleave_mode=0 if shape.samples == 1 else 2,
        )
    )


def _encode_jpeg_lossless(array: Array, shape: ImageShape, _loss: Loss | None) -> bytes:
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


def _encode_jpeg(array: Array, shape: ImageShape, loss: Loss | None) -> bytes:
    """Baseline, or extended with samples of 12 bits. libjpeg crashes on longer ones."""
    import imagecodecs

    quality = (loss and loss.quality) or JPEG_QUALITY
    space = "GRAYSCALE" if shape.samples == 1 else "RGB"
    if shape.samples == 3 and shape.photometric != "RGB":
        space = "YCBCR"
    return bytes(
        imagecodecs.jpeg8_encode(
            _unsigned(array, shape),
            level=quality,
            bitspersample=8 if shape.bits <= 8 else 12,
            colorspace=space,
            outcolorspace="GRAYSCALE" if shape.samples == 1 else "YCBCR",
            subsampling="444",
        )
    )


def _narrow(array: Array, shape: ImageShape) -> Array:
    """In cells of 16 bits where they suffice: OpenJPEG would code 26 bits of 32-bit cells."""
    if array.dtype.itemsize == 4 and shape.bits <= 16:
        array = array.astype(f"{array.dtype.kind}2")
    return np.ascontiguousarray(array)


def _encode_j2k(array: Array, shape: ImageShape, loss: Loss | None) -> bytes:
    import imagecodecs

    return bytes(
        imagecodecs.jpeg2k_encode(
            _narrow(array, shape),
            round(loss.psnr) if loss and loss.psnr else None,
            reversible=loss is None,
            codecformat="j2k",
            bitspersample=shape.bits,
            mct=shape.samples == 3 and shape.photometric == "RGB",
            numthreads=1,
        )
    )


def _encode_htj2k(array: Array, shape: ImageShape, loss: Loss | None) -> bytes:
    """RPCL, with the lengths of tile-parts (TLM), as HTJ2K_LOSSLESS_RPCL wants it."""
    import imagecodecs

    step = None
    if loss and loss.psnr is not None:
        # A step d makes an error of d / sqrt(12), and more through the gains of the wavelet and
        # of ICT (measured on noise). It is given as a part of the cell's range.
        gain = 1.7 if shape.samples == 1 else 2.7
        step = (
            12**0.5 / gain * 10 ** (-loss.psnr / 20) / 2 ** (8 * array.dtype.itemsize - shape.bits)
        )
        step = min(max(step, 1e-5), 1.0)  # below which the library would take its default
    return bytes(
        imagecodecs.htj2k_encode(
            np.ascontiguousarray(array),
            step,
            reversible=step is None,
            tlm=True,
            rgb=shape.samples == 3 and shape.photometric == "RGB",
            planar=False,
        )
    )


def _encode_jpeg_xl(array: Array, shape: ImageShape, loss: Loss | None) -> bytes:
    import imagecodecs

    lossy = loss is not None
    return bytes(
        imagecodecs.jpegxl_encode(
            _unsigned(array, shape),
            loss.quality if loss else None,
            lossless=not lossy,
            effort=3 if lossy else 1,
            bitspersample=shape.bits,
            usecontainer=False,
            numthreads=1,
        )
    )


Encoder = Callable[["Array", ImageShape, Loss | None], bytes]

# The lossy-or-lossless syntaxes are written lossless unless a loss is wished for: a peer that
# takes only them loses nothing.
ENCODERS: dict[str, Encoder] = {
    **dict.fromkeys(ts.NATIVE - {ts.EXPLICIT_BE}, _encode_native),
    ts.DEFLATED_FRAME: _encode_deflated_frame,
    ts.RLE: _encode_rle,
    **dict.fromkeys(ts.JPEG_DCT, _encode_jpeg),
    **dict.fromkeys(ts.JPEG_PREDICTIVE, _encode_jpeg_lossless),
    **dict.fromkeys(ts.JPEG_LS, _encode_jpeg_ls),
    **dict.fromkeys(ts.JPEG_2000, _encode_j2k),
    **dict.fromkeys(ts.HIGH_THROUGHPUT, _encode_htj2k),
    **dict.fromkeys((ts.JPEG_XL_LOSSLESS, ts.JPEG_XL), _encode_jpeg_xl),
}
