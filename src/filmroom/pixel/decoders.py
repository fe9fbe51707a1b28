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
from filmroom.pixel.codestream import (
    END_OF_IMAGE,
    PREDICTIVE,
    Codestream,
    has_end,
    read_jpeg,
    read_jpeg_ls,
    read_jxl,
)
from filmroom.pixel.errors import NoCodec, Undecodable
from filmroom.pixel.numeric import np
from filmroom.pixel.reduced import DCT_LEVELS, part, read_reduced_j2k, read_scaled_jpeg
from filmroom.pixel.shape import ImageShape
from filmroom.pixel.wavelets import is_part_2, read_j2k

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array

RLE_HEADER = 64
RLE_OVERRUN = 256  # bytes that a segment may have too many: a run and its padding
EXACT_J2K_BITS = 24  # OpenJPEG's arithmetic has 32, and loses the ends of longer samples


class Decoded(NamedTuple):
    """One frame: (rows, columns) or (rows, columns, samples), and what its samples mean."""

    array: Array
    photometric: str


def unreadable(transfer_syntax_uid: str, shape: ImageShape) -> str | None:
    """Why frames of this shape are not decoded, whatever is in them; None when they may be."""
    if transfer_syntax_uid not in DECODERS:
        return "there is no decoder"
    if transfer_syntax_uid in ts.NATIVE:
        return None
    if shape.floating:
        return "floating-point pixels are never encapsulated (PS3.5 A.4)"
    if transfer_syntax_uid == ts.DEFLATED_FRAME:
        return None
    if shape.bits_allocated == 1 and transfer_syntax_uid not in ts.WAVELET - ts.HIGH_THROUGHPUT:
        return "it holds no 1-bit pixels"
    if transfer_syntax_uid == ts.JPEG_EXTENDED and shape.samples == 3 and 8 < shape.bits < 12:
        return "its colour has 8 or 12 bits: chroma lies about the middle of the coded range"
    return None


def capacity(transfer_syntax_uid: str) -> int:
    """The most bits of a sample that frames of this syntax hold, or that we decode exactly."""
    if transfer_syntax_uid in (ts.JPEG_BASELINE, ts.JPEG_XL_RECOMPRESSION):
        return 8
    if transfer_syntax_uid in ts.JPEG_DCT:
        return 12
    if transfer_syntax_uid in ts.JPEG_PREDICTIVE | ts.JPEG_LS | ts.JXL:
        return 16
    j2k = transfer_syntax_uid in ts.JPEG_2000 | ts.JPEG_2000_COMPONENTS
    return EXACT_J2K_BITS if j2k else 64


def _agree(said: Codestream, shape: ImageShape) -> None:
    """Raise Undecodable unless the codestream is of the size that the data set says."""
    if (said.rows, said.columns, said.samples) != (shape.rows, shape.columns, shape.samples):
        raise Undecodable(
            f"the frame is {said.rows} x {said.columns} x {said.samples}, "
            f"the data set says {shape.rows} x {shape.columns} x {shape.samples}"
        )
    if said.precision > shape.bits_allocated:
        raise Undecodable(f"{said.precision}-bit samples in {shape.bits_allocated} bits")


def _run(codec: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a foreign decoder; every way it can fail is Undecodable."""
    try:
        return codec(*args, **kwargs)
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
    pixels = shape.rows * shape.columns
    frame = np.empty((pixels, shape.samples, shape.sample_bytes), np.uint8)
    ends = [*used[1:], len(coded)]
    for plane, (start, end) in enumerate(zip(used, ends, strict=True)):
        room = bytearray(pixels + RLE_OVERRUN)
        unpacked = _run(imagecodecs.packbits_decode, coded[start:end], out=room)
        run = np.frombuffer(unpacked, np.uint8)
        if run.size < pixels:
            raise Undecodable(f"{run.size} bytes in an RLE segment, too few")
        sample, byte = divmod(plane, shape.sample_bytes)  # the most significant comes first
        frame[:, sample, shape.sample_bytes - 1 - byte] = run[:pixels]
    wanted = (shape.rows, shape.columns) + ((shape.samples,) if shape.samples > 1 else ())
    array = frame.view(f"<u{shape.sample_bytes}").reshape(wanted)
    return Decoded(native.settle(array, shape), shape.photometric)


def _decode_jpeg(coded: bytes, shape: ImageShape, fewer: int = 0) -> Decoded:
    """JPEG baseline, extended and lossless, without colour conversion (PS3.5 8.2.1)."""
    said = read_jpeg(coded)
    _agree(said, shape)
    if fewer:
        array = read_scaled_jpeg(coded, said, fewer)
    elif has_end(coded):
        array = _jpeg(coded, shape)
    else:
        array = _jpeg_without_end(coded, shape)
    photometric = shape.photometric.replace("_422", "")
    if photometric == "RGB" and said.is_rgb is False and said.process not in PREDICTIVE:
        photometric = "YBR_FULL"  # a common lie: lossy colour is hardly ever coded as RGB
    elif said.is_rgb and said.process not in PREDICTIVE:
        photometric = "RGB"  # as every browser takes it, whatever the header says
    array = native.settle(_sized(array, shape, fewer), shape, clip=said.inexact)
    return Decoded(array, photometric)


def _jpeg(coded: bytes, shape: ImageShape) -> Array:
    import imagecodecs

    space = {1: "GRAYSCALE", 3: "YCBCR"}.get(shape.samples)
    array: Array = _run(imagecodecs.jpeg8_decode, coded, colorspace=space, outcolorspace=space)
    return array


def _jpeg_without_end(coded: bytes, shape: ImageShape) -> Array:
    """libjpeg makes up what is missing. Whole is what needs nothing that we put after it."""
    whole = _jpeg(coded + END_OF_IMAGE, shape)
    if not np.array_equal(whole, _jpeg(coded + b"\x5a\xc3" * 64 + END_OF_IMAGE, shape)):
        raise Undecodable("the frame is cut short")
    return whole


def _decode_jpeg_ls(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    import imagecodecs

    said = read_jpeg_ls(coded)
    _agree(said, shape)
    if not has_end(coded):  # CharLS spins for seconds past a missing end
        raise Undecodable("the frame is cut short")
    array = _run(imagecodecs.jpegls_decode, coded)
    if array.ndim == 3 and array.shape[0] == shape.samples != array.shape[2]:
        array = np.ascontiguousarray(array.transpose(1, 2, 0))
    array = native.settle(_sized(array, shape), shape, clip=said.inexact)
    return Decoded(array, shape.photometric)


def _decode_j2k(coded: bytes, shape: ImageShape, fewer: int = 0) -> Decoded:
    import imagecodecs

    said = read_j2k(coded)
    _agree(said, shape)
    if said.precision > EXACT_J2K_BITS - (said.transformed and not said.inexact):
        raise Undecodable(f"{said.precision}-bit JPEG 2000 is more than the decoder keeps")
    if fewer:
        array = read_reduced_j2k(coded, said, fewer)
    else:
        array = _run(imagecodecs.jpeg2k_decode, coded, planar=False, numthreads=1)
    return _settled(array, said, shape, fewer)


def _decode_j2k_components(coded: bytes, shape: ImageShape, fewer: int = 0) -> Decoded:
    """JPEG 2000 Part 2 (PS3.5 A.4.4): frames as they are in Part 1 only."""
    said = read_j2k(coded)
    if said.samples > shape.samples:
        raise NoCodec(f"{said.samples} components, the frames of a volume, in one codestream")
    if is_part_2(coded):
        raise NoCodec("the extensions of JPEG 2000 Part 2 cannot be decoded")
    return _decode_j2k(coded, shape, fewer)


def _decode_htj2k(coded: bytes, shape: ImageShape, fewer: int = 0) -> Decoded:
    import imagecodecs

    said = read_j2k(coded)
    _agree(said, shape)
    if not has_end(coded):  # OpenJPH would show the part that is there
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
    undone = said.transformed or shape.photometric in ("YBR_RCT", "YBR_ICT")
    photometric = "RGB" if shape.samples == 3 and undone else shape.photometric
    clip = said.inexact or fewer > 0
    values = native.settle(_sized(array, shape, fewer), shape, said.precision, clip=clip)
    return Decoded(values, photometric)


def _decode_jpeg_xl(coded: bytes, shape: ImageShape, _fewer: int = 0) -> Decoded:
    import imagecodecs

    said = read_jxl(coded)
    _agree(said, shape)
    array = _run(imagecodecs.jpegxl_decode, coded, 0, numthreads=1)
    photometric = "RGB" if shape.samples == 3 else shape.photometric
    array = native.settle(_sized(array, shape), shape, clip=said.inexact)
    return Decoded(array, photometric)


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


# (frame, what the data set says of it, how many times to halve it) -> sample values
Decoder = Callable[[bytes, ImageShape, int], Decoded]

DECODERS: dict[str, Decoder] = {
    **dict.fromkeys(ts.NATIVE, _decode_native),
    ts.DEFLATED_FRAME: _decode_deflated_frame,
    ts.RLE: _decode_rle,
    **dict.fromkeys(ts.JPEG_DCT | ts.JPEG_PREDICTIVE, _decode_jpeg),
    **dict.fromkeys(ts.JPEG_LS, _decode_jpeg_ls),
    **dict.fromkeys(ts.JPEG_2000, _decode_j2k),
    **dict.fromkeys(ts.JPEG_2000_COMPONENTS, _decode_j2k_components),
    **dict.fromkeys(ts.HIGH_THROUGHPUT, _decode_htj2k),
    **dict.fromkeys(ts.JXL, _decode_jpeg_xl),
}
