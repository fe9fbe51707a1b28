"""Transfer syntax -> decoder and encoder, one table each.

What a codestream says of itself is compared with the data set before a decoder may
allocate. Colour is never guessed: decoders give the components as coded, and `decode` says
which Photometric Interpretation they now have. Signs are extended here, not by the codecs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from filmroom.pixel import native, unraisable
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codestream import Codestream, read_j2k, read_jpeg, read_jxl_size
from filmroom.pixel.errors import NoCodec, PixelError, Undecodable
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape, check

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array

JPEG_QUALITY = 90
RLE_HEADER = 64
END_OF_IMAGE = b"\xff\xd9"


class Decoded(NamedTuple):
    """One frame: (rows, columns) or (rows, columns, samples), and what its samples mean."""

    array: Array
    photometric: str


def can_decode(transfer_syntax_uid: str) -> bool:
    """Whether frames of this transfer syntax can be decoded."""
    return transfer_syntax_uid in DECODERS


def can_encode(transfer_syntax_uid: str) -> bool:
    """Whether frames can be encoded to this transfer syntax (always lossless but Baseline)."""
    return transfer_syntax_uid in ENCODERS


def decode_frame(
    coded: bytes, transfer_syntax_uid: str, shape: ImageShape, *, bit_offset: int = 0
) -> Array:
    """Decode one frame to sample values: (rows, columns) or (rows, columns, samples).

    Raises Undecodable, TooLarge or NoCodec; whatever the bytes are, nothing else.
    """
    return decode(coded, transfer_syntax_uid, shape, bit_offset=bit_offset).array


def decode(
    coded: bytes, transfer_syntax_uid: str, shape: ImageShape, *, bit_offset: int = 0
) -> Decoded:
    """Decode one frame; see `decode_frame`. The array may be a read-only view of `coded`."""
    decoder = DECODERS.get(transfer_syntax_uid)
    if decoder is None:
        raise NoCodec(f"transfer syntax {transfer_syntax_uid} cannot be decoded")
    check(shape, len(coded))
    if transfer_syntax_uid in ts.NATIVE:
        array = native.unpack(
            coded,
            shape,
            big_endian=transfer_syntax_uid == ts.EXPLICIT_BE,
            bit_offset=bit_offset,
        )
        photometric = shape.photometric.replace("_422", "")
        return Decoded(native.settle(array, shape), photometric)
    return decoder(coded, shape)


def encode_frame(array: Array, transfer_syntax_uid: str, shape: ImageShape) -> bytes:
    """Encode sample values as `decode_frame` gives them; `shape` describes the array.

    The result is not padded to an even length. Raises NoCodec.
    """
    encoder = ENCODERS.get(transfer_syntax_uid)
    if encoder is None:
        raise NoCodec(f"transfer syntax {transfer_syntax_uid} cannot be written")
    if transfer_syntax_uid not in ts.NATIVE | {ts.DEFLATED_FRAME, ts.RLE} and (
        shape.floating or shape.bits_allocated not in (8, 16) or shape.samples not in (1, 3)
    ):
        raise NoCodec(
            f"{shape.bits_allocated}-bit pixels of {shape.samples} samples cannot be written "
            f"in transfer syntax {transfer_syntax_uid}"
        )
    try:
        return encoder(array, shape)
    except (ValueError, RuntimeError) as error:
        raise NoCodec(f"the encoder refused this frame: {type(error).__name__}") from error


def encoded_photometric(transfer_syntax_uid: str, photometric: str) -> str:
    """Photometric Interpretation after encoding (PS3.5 8.2.1, 8.2.4)."""
    if photometric != "RGB":
        return photometric
    if transfer_syntax_uid in ts.WAVELET:
        return "YBR_RCT"
    return "YBR_FULL" if transfer_syntax_uid in ts.JPEG_DCT else photometric


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


def _sized(array: Array, shape: ImageShape) -> Array:
    wanted = (shape.rows, shape.columns) + ((shape.samples,) if shape.samples > 1 else ())
    if array.shape != wanted:
        raise Undecodable(f"decoded to {array.shape}, {wanted} expected")
    return array


def _decode_native(coded: bytes, shape: ImageShape) -> Decoded:
    array = native.settle(native.unpack(coded, shape), shape)
    return Decoded(array, shape.photometric.replace("_422", ""))


def _decode_deflated_frame(coded: bytes, shape: ImageShape) -> Decoded:
    """Deflated Image Frame Compression: one raw deflate stream per frame (PS3.5 8.2.16)."""
    needed = (shape.native_bits + 7) // 8
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(coded, needed)
    except zlib.error as error:
        raise Undecodable("the frame does not inflate") from error
    return _decode_native(inflated, shape)


def _decode_rle(coded: bytes, shape: ImageShape) -> Decoded:
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


def _decode_jpeg(coded: bytes, shape: ImageShape) -> Decoded:
    """JPEG baseline, extended and lossless, without colour conversion (PS3.5 8.2.1)."""
    import imagecodecs

    said = read_jpeg(coded)
    _agree(said, shape)
    space = {1: "GRAYSCALE", 3: "YCBCR"}.get(shape.samples)
    array = _run(imagecodecs.jpeg8_decode, coded, colorspace=space, outcolorspace=space)
    photometric = shape.photometric.replace("_422", "")
    if photometric == "RGB" and said.is_rgb is False:
        photometric = "YBR_FULL"  # a common lie: lossy colour is hardly ever coded as RGB
    return Decoded(native.settle(_sized(array, shape), shape), photometric)


def _decode_jpeg_lossless(coded: bytes, shape: ImageShape) -> Decoded:
    return Decoded(_decode_jpeg(coded, shape).array, shape.photometric.replace("_422", ""))


def _decode_jpeg_ls(coded: bytes, shape: ImageShape) -> Decoded:
    import imagecodecs

    _agree(read_jpeg(coded), shape)
    if END_OF_IMAGE not in coded[-4:]:
        coded = bytes(coded) + END_OF_IMAGE  # CharLS spins for seconds past a missing end
    array = _run(imagecodecs.jpegls_decode, coded)
    if array.ndim == 3 and array.shape[0] == shape.samples != array.shape[2]:
        array = np.ascontiguousarray(array.transpose(1, 2, 0))
    return Decoded(native.settle(_sized(array, shape), shape), shape.photometric)


def _wavelet(decoder: Callable[[bytes], Array]) -> Callable[[bytes, ImageShape], Decoded]:
    def decode_wavelet(coded: bytes, shape: ImageShape) -> Decoded:
        said = read_j2k(coded)
        _agree(said, shape)
        array = _sized(decoder(coded), shape)
        rct = said.transformed or shape.photometric in ("YBR_RCT", "YBR_ICT")
        photometric = "RGB" if shape.samples == 3 and rct else shape.photometric
        return Decoded(native.settle(array, shape, said.precision), photometric)

    return decode_wavelet


def _j2k(coded: bytes) -> Array:
    import imagecodecs

    return _run(imagecodecs.jpeg2k_decode, coded, planar=False, numthreads=1)


def _htj2k(coded: bytes) -> Array:
    import imagecodecs

    if END_OF_IMAGE not in coded[-4:]:  # OpenJPH would show the part that is there
        raise Undecodable("the frame is cut short")
    with unraisable.watched() as swallowed:
        array = _run(imagecodecs.htj2k_decode, coded, planar=False)
    if swallowed:
        raise Undecodable("the decoder stopped in the middle of this frame")
    return array


def _decode_jpeg_xl(coded: bytes, shape: ImageShape) -> Decoded:
    import imagecodecs

    rows, columns = read_jxl_size(coded)
    if (rows, columns) != (shape.rows, shape.columns):
        raise Undecodable(
            f"the frame is {rows} x {columns}, the data set says {shape.rows} x {shape.columns}"
        )
    array = _run(imagecodecs.jpegxl_decode, coded, numthreads=1)
    photometric = "RGB" if shape.samples == 3 else shape.photometric
    return Decoded(native.settle(_sized(array, shape), shape), photometric)


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


Decoder = Callable[[bytes, ImageShape], Decoded]
Encoder = Callable[["Array", ImageShape], bytes]

DECODERS: dict[str, Decoder] = {
    **dict.fromkeys(ts.NATIVE, _decode_native),
    ts.DEFLATED_FRAME: _decode_deflated_frame,
    ts.RLE: _decode_rle,
    **dict.fromkeys(ts.JPEG_DCT, _decode_jpeg),
    **dict.fromkeys(ts.JPEG_PREDICTIVE, _decode_jpeg_lossless),
    **dict.fromkeys(ts.JPEG_LS, _decode_jpeg_ls),
    **dict.fromkeys(ts.JPEG_2000, _wavelet(_j2k)),
    **dict.fromkeys(ts.HIGH_THROUGHPUT, _wavelet(_htj2k)),
    **dict.fromkeys(ts.JXL, _decode_jpeg_xl),
}

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

__all__ = [
    "Decoded",
    "ImageShape",
    "PixelError",
    "can_decode",
    "can_encode",
    "decode",
    "decode_frame",
    "encode_frame",
    "encoded_photometric",
]
