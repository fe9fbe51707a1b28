"""Frames to sample values and back, whatever their transfer syntax (PS3.5 8 and A).

The tables are in `decoders` and `encoders`; here is what is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from filmroom.pixel import native
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codestream import END_OF_IMAGE, has_end, read_jpeg, read_jxl
from filmroom.pixel.decoders import DECODERS, Decoded, capacity, levels, unreadable
from filmroom.pixel.encoders import ALWAYS_LOSSY, ENCODERS, Loss, refusal
from filmroom.pixel.errors import NoCodec, PixelError, Undecodable
from filmroom.pixel.shape import ImageShape, check

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array


def can_decode(transfer_syntax_uid: str) -> bool:
    """Whether frames of this transfer syntax can be decoded."""
    return transfer_syntax_uid in DECODERS


def can_encode(transfer_syntax_uid: str) -> bool:
    """Whether `encode_frame` writes this syntax without being told how much may be lost.

    It is lossless then, but for JPEG Baseline.
    """
    return transfer_syntax_uid in ENCODERS and transfer_syntax_uid not in ALWAYS_LOSSY


def decode_frame(
    coded: bytes, transfer_syntax_uid: str, shape: ImageShape, *, bit_offset: int = 0
) -> Array:
    """Decode one frame to sample values: (rows, columns) or (rows, columns, samples).

    Raises Undecodable, TooLarge or NoCodec; whatever the bytes are, nothing else.
    """
    return decode(coded, transfer_syntax_uid, shape, bit_offset=bit_offset).array


def decode(
    coded: bytes,
    transfer_syntax_uid: str,
    shape: ImageShape,
    *,
    bit_offset: int = 0,
    reduce: int = 0,
) -> Decoded:
    """Decode one frame; see `decode_frame`. The array may be a read-only view of `coded`.

    reduce: how many times the size may be halved while decoding, which saves most of the
    work: the frame is then of ceil(rows / 2**n) x ceil(columns / 2**n). n is `reduction`'s
    answer, never more than asked for and often less; the array's size says what was done.
    """
    if transfer_syntax_uid not in DECODERS:
        raise NoCodec(f"transfer syntax {transfer_syntax_uid} cannot be decoded")
    check(shape, len(coded))
    reason = unreadable(transfer_syntax_uid, shape)
    if reason is not None:
        raise NoCodec(f"transfer syntax {transfer_syntax_uid} is not decoded: {reason}")
    if transfer_syntax_uid in ts.NATIVE:
        array = native.unpack(
            coded,
            shape,
            big_endian=transfer_syntax_uid == ts.EXPLICIT_BE,
            bit_offset=bit_offset,
        )
        photometric = shape.photometric.replace("_422", "")
        return Decoded(native.settle(array, shape), photometric)
    decoder = DECODERS[transfer_syntax_uid]
    fewer = levels(coded, transfer_syntax_uid, shape, reduce)
    if fewer:
        try:
            return decoder(coded, shape, fewer)
        except Undecodable:  # a tile may hold fewer levels than the main header says
            pass
    return decoder(coded, shape, 0)


def reduction(coded: bytes, transfer_syntax_uid: str, shape: ImageShape, wanted: int) -> int:
    """How many times `decode` will halve the size of this frame when asked for `wanted`.

    0 where the codec cannot, or the codestream is not what it should be; never more than
    the codestream holds. Reads its header only, never raises. (A frame whose tiles hold
    fewer levels than its header says is decoded whole all the same.)
    """
    return levels(coded, transfer_syntax_uid, shape, wanted)


def encode_frame(
    array: Array, transfer_syntax_uid: str, shape: ImageShape, *, loss: Loss | None = None
) -> bytes:
    """Encode sample values as `decode_frame` gives them; `shape` describes the array.

    loss: how much may be lost; without it the frame is coded without loss wherever the
    syntax can be. The result is not padded to an even length. Raises NoCodec with the reason.
    """
    reason = refusal(transfer_syntax_uid, shape, loss)
    if reason is not None:
        raise NoCodec(f"not written in transfer syntax {transfer_syntax_uid}: {reason}")
    try:
        return ENCODERS[transfer_syntax_uid](array, shape, loss)
    except (ValueError, RuntimeError) as error:
        raise NoCodec(f"the encoder refused this frame: {type(error).__name__}") from error


def encoded_photometric(
    transfer_syntax_uid: str, photometric: str, loss: Loss | None = None
) -> str:
    """Photometric Interpretation after encoding (PS3.5 8.2.1, 8.2.4, 8.2.17)."""
    if photometric != "RGB":
        return photometric
    if transfer_syntax_uid in ts.WAVELET:
        return "YBR_RCT" if loss is None else "YBR_ICT"
    if transfer_syntax_uid == ts.JPEG_XL and loss is not None:
        return "XYB"
    return "YBR_FULL" if transfer_syntax_uid in ts.JPEG_DCT else photometric


def rewrap(coded: bytes, from_syntax: str, to_syntax: str) -> bytes:
    """A baseline JPEG packed into JPEG XL (…4.111), or the very same JPEG taken out again.

    No pixel is decoded; both ways are exact to the byte. Raises Undecodable, or NoCodec for
    all other syntaxes and for a JPEG XL that was never a JPEG.
    """
    import imagecodecs

    try:
        if (from_syntax, to_syntax) == (ts.JPEG_BASELINE, ts.JPEG_XL_RECOMPRESSION):
            read_jpeg(coded)
            end = coded.rfind(END_OF_IMAGE) + 2 if has_end(coded) else len(coded)
            return bytes(imagecodecs.jpegxl_encode_jpeg(coded[:end]))
        if (from_syntax, to_syntax) == (ts.JPEG_XL_RECOMPRESSION, ts.JPEG_BASELINE):
            read_jxl(coded)
            unpack: Callable[..., Any] = imagecodecs.jpegxl_decode_jpeg
            return bytes(unpack(coded))
    except (ValueError, RuntimeError) as error:
        raise NoCodec(f"the frame cannot be packed: {type(error).__name__}") from error
    raise NoCodec(f"transfer syntax {from_syntax} is not packed into {to_syntax}")


__all__ = [
    "DECODERS",
    "ENCODERS",
    "Decoded",
    "ImageShape",
    "Loss",
    "PixelError",
    "can_decode",
    "can_encode",
    "capacity",
    "decode",
    "decode_frame",
    "encode_frame",
    "encoded_photometric",
    "reduction",
    "refusal",
    "rewrap",
    "unreadable",
]
