"""Transfer syntax -> decoder. Every one takes a frame and gives sample values.

What a codestream says of itself is compared with the data set before a library may
allocate. Colour is never guessed: decoders give the components as coded, and which
Photometric Interpretation they now have. Signs are extended here, not by the libraries.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from filmroom.pixel import native, unraisable
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codestream import Codestream, read_j2k, read_jpeg, read_jxl_size
from filmroom.pixel.errors import Undecodable
from filmroom.pixel.numeric import np
from filmroom.pixel.reduced import DCT_LEVELS, part, read_reduced_j2k, read_scaled_jpeg
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array

RLE_HEADER = 64
END_OF_IMAGE = b"\xff\xd9"


class Decoded(NamedTuple):
    """One frame: (rows, columns) or (rows, columns, samples), and what its samples mean."""

    array: Array
    photometric: str


def _agree(said: Codestream, shape: ImageShape) -> None:
    """Raise Undecodable unless the codestream is of the size that the data set says."""
    if (said.rows, said.columns, said.samples) != (shape.rows, shape.columns, shape.samples):
        raise Undecodable(
            f"the frame is {said.rows} x {said.columns} x {said.samples}, "
            f"the data set says {shape.rows} x {shape.columns} x {shape.samples}"
        )
    if said.precision > shape.bits_allocated:
        raise Undecodable(f"{said.precision}-bit samples in {shape.bits_allocated} bits")


def _run(codec: Callable[..., Any], *args: Any, **kwargs: Any) -> Array:
    """Call a foreign decoder; every way it can fail is Undecodable."""
    try:
        return np.asarray(codec(*args, **kwargs))
    except (ValueError, RuntimeError, TypeError, IndexError, OverflowError) as error:
        raise Undecodable(f"the decoder refused this frame: {type(error).__name__}") from error


def _sized(array: Array, shape: ImageShape, fewer: int = 0) -> Array:
    size = part(shape.rows, fewer), part(shape.columns, fewer)
    wanted = size + ((shape.samples,) if shape.samples > 1 else ())
    if array.shape != wanted:
        raise Undecodable(f"decoded to {array.shape}, {wanted} expected")
    return array


def _decode_native(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    array = native.settle(native.unpack(coded, shape), shape)
    return Decoded(array, shape.photometric.replace("_422", ""))


def _decode_deflated_frame(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    """Deflated Image Frame Compression: one raw deflate stream per frame (PS3.5 8.2.16)."""
    needed = (shape.native_bits + 7) // 8
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(coded, needed)
    except zlib.error as error:
        raise Undecodable("the frame does not inflate") from error
    return _decode_native(inflated, shape)


def _decode_rle(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    """RLE: one segment per byte plane (PS3.5 G.2)."""
    import imagecodecs

    planes = shape.samples * shape.sample_bytes
    offsets = np.frombuffer(coded[:RLE_HEADER].ljust(RLE_HEADER, b"\0"), "<u4")
    used = offsets[1 : 1 + planes].astype(np.int64)
    if planes > 15 or offsets[0] != planes:
        raise Undecodable(f"{offsets[0]} RLE segments, {planes} expected")
    if used[0] < RLE_HEADER or used[-1] >= len(coded) or (np.diff(used) <= 0).any():
        raise Undecodable("RLE segments lie outside their frame")
    stored = np.dtype(f"<u{shape.sample_bytes}")
    try:
        flat = np.frombuffer(imagecodecs.dicomrle_decode(coded, stored), stored)
    except (ValueError, RuntimeError) as error:
        raise Undecodable("the RLE frame cannot be decoded") from error
    pixels = shape.rows * shape.columns
    if flat.size < pixels * shape.samples:
        raise Undecodable(f"{flat.size} samples in the RLE frame, too few")
    if shape.samples > 1:
        separate = flat.reshape(shape.samples, -1)[:, :pixels]
        flat = np.ascontiguousarray(separate.transpose()).reshape(-1)
    wanted = (shape.rows, shape.columns) + ((shape.samples,) if shape.samples > 1 else ())
    array = flat[: pixels * shape.samples].reshape(wanted)
    return Decoded(native.settle(array, shape), shape.photometric)


def _decode_jpeg(coded: bytes, shape: ImageShape, fewer: int = 0) -> Decoded:
    """JPEG baseline, extended and lossless, without colour conversion (PS3.5 8.2.1)."""
    import imagecodecs

    said = read_jpeg(coded)
    _agree(said, shape)
    space = {1: "GRAYSCALE", 3: "YCBCR"}.get(shape.samples)
    if fewer:
        array = read_scaled_jpeg(coded, said, fewer)
    else:
        array = _run(imagecodecs.jpeg8_decode, coded, colorspace=space, outcolorspace=space)
    photometric = shape.photometric.replace("_422", "")
    if photometric == "RGB" and said.is_rgb is False:
        photometric = "YBR_FULL"  # a common lie: lossy colour is hardly ever coded as RGB
    return Decoded(native.settle(_sized(array, shape, fewer), shape), photometric)


def _decode_jpeg_lossless(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    return Decoded(_decode_jpeg(coded, shape).array, shape.photometric.replace("_422", ""))


def _decode_jpeg_ls(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    import imagecodecs

    _agree(read_jpeg(coded), shape)
    if END_OF_IMAGE not in coded[-4:]:
        coded = bytes(coded) + END_OF_IMAGE  # CharLS spins for seconds past a missing end
    array = _run(imagecodecs.jpegls_decode, coded)
    if array.ndim == 3 and array.shape[0] == shape.samples != array.shape[2]:
        array = np.ascontiguousarray(array.transpose(1, 2, 0))
    return Decoded(native.settle(_sized(array, shape), shape), shape.photometric)


def _decode_j2k(coded: bytes, shape: ImageShape, fewer: int = 0) -> Decoded:
    import imagecodecs

    said = read_j2k(coded)
    _agree(said, shape)
    if fewer:
        array = read_reduced_j2k(coded, said, fewer)
    else:
        array = _run(imagecodecs.jpeg2k_decode, coded, planar=False, numthreads=1)
    return _settled(array, said, shape, fewer)


def _decode_htj2k(coded: bytes, shape: ImageShape, fewer: int = 0) -> Decoded:
    import imagecodecs

    said = read_j2k(coded)
    _agree(said, shape)
    if END_OF_IMAGE not in coded[-4:]:  # OpenJPH would show the part that is there
        raise Undecodable("the frame is cut short")
    if fewer:  # OpenJPH's small pictures wrap around where they overshoot: white dots in black
        return _settled(read_reduced_j2k(coded, said, fewer), said, shape, fewer)
    with unraisable.watched() as swallowed:
        array = _run(imagecodecs.htj2k_decode, coded, planar=False)
    if swallowed:
        raise Undecodable("the decoder stopped in the middle of this frame")
    return _settled(array, said, shape, fewer)


def _settled(array: Array, said: Codestream, shape: ImageShape, fewer: int) -> Decoded:
    """What a wavelet decoder gave, checked, and its colours named: it has undone RCT and ICT."""
    rct = said.transformed or shape.photometric in ("YBR_RCT", "YBR_ICT")
    photometric = "RGB" if shape.samples == 3 and rct else shape.photometric
    values = native.settle(_sized(array, shape, fewer), shape, said.precision)
    return Decoded(values, photometric)


def levels(coded: bytes, transfer_syntax_uid: str, shape: ImageShape, wanted: int) -> int:
    """How many times the decoder can halve this frame, `wanted` at most; 0 when in doubt."""
    if wanted <= 0 or shape.bits_allocated not in (8, 16) or shape.samples not in (1, 3):
        return 0
    try:
        if transfer_syntax_uid in ts.WAVELET:
            said = read_j2k(coded)
            if said.samples == 3 and (said.precision != 8 or said.signed):
                return 0  # Pillow has no deeper colours
            return min(wanted, said.levels)
        if transfer_syntax_uid in ts.JPEG_DCT and read_jpeg(coded).precision == 8:
            return min(wanted, DCT_LEVELS)
    except Undecodable:
        pass
    return 0


def _decode_jpeg_xl(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    import imagecodecs

    rows, columns = read_jxl_size(coded)
    if (rows, columns) != (shape.rows, shape.columns):
        raise Undecodable(
            f"the frame is {rows} x {columns}, the data set says {shape.rows} x {shape.columns}"
        )
    array = _run(imagecodecs.jpegxl_decode, coded, numthreads=1)
    photometric = "RGB" if shape.samples == 3 else shape.photometric
    return Decoded(native.settle(_sized(array, shape), shape), photometric)


# (frame, what the data set says of it, how many times to halve it) -> sample values
Decoder = Callable[[bytes, ImageShape, int], Decoded]

DECODERS: dict[str, Decoder] = {
    **dict.fromkeys(ts.NATIVE, _decode_native),
    ts.DEFLATED_FRAME: _decode_deflated_frame,
    ts.RLE: _decode_rle,
    **dict.fromkeys(ts.JPEG_DCT, _decode_jpeg),
    **dict.fromkeys(ts.JPEG_PREDICTIVE, _decode_jpeg_lossless),
    **dict.fromkeys(ts.JPEG_LS, _decode_jpeg_ls),
    **dict.fromkeys(ts.JPEG_2000, _decode_j2k),
    **dict.fromkeys(ts.HIGH_THROUGHPUT, _decode_htj2k),
    **dict.fromkeys(ts.JXL, _decode_jpeg_xl),
}
