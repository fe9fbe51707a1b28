"""Frames to sample values and back, whatever their transfer syntax (PS3.5 8 and A).

The tables are in `decoders` and `encoders`; here is what is the same for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from filmroom.pixel import native
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.decoders import DECODERS, Decoded, levels
from filmroom.pixel.encoders import ENCODERS
from filmroom.pixel.errors import NoCodec, PixelError, Undecodable
from filmroom.pixel.shape import ImageShape, check

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array


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


__all__ = [
    "DECODERS",
    "ENCODERS",
    "Decoded",
    "ImageShape",
    "PixelError",
    "can_decode",
    "can_encode",
    "decode",
    "decode_frame",
    "encode_frame",
    "encoded_photometric",
    "reduction",
]
