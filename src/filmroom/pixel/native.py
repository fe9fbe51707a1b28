"""Uncompressed frames to arrays and back (PS3.5 8.1.1, 8.2, D; PS3.3 C.7.6.3.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from filmroom.pixel.errors import NoCodec, Undecodable
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import ImageShape

if TYPE_CHECKING:
    from filmroom.pixel.numeric import Array


def sample_type(shape: ImageShape, order: str = "<") -> np.dtype[Any]:
    """The type of one decoded sample: signed, unsigned or floating, in that byte order."""
    kind = "f" if shape.floating else "i" if shape.signed else "u"
    return np.dtype(f"{order}{kind}{shape.sample_bytes}")


def unpack(
    coded: bytes | memoryview, shape: ImageShape, *, big_endian: bool = False, bit_offset: int = 0
) -> Array:
    """One native frame as (rows, columns) or (rows, columns, samples), as stored.

    bit_offset: where the first pixel lies in the first byte, for 1-bit frames that do not
    start on a byte. Raises Undecodable when there are fewer bytes than pixels.
    """
    if shape.subsampled and len(coded) >= shape.decoded_bytes:
        shape = replace(shape, photometric="YBR_FULL")  # the name lies: nothing was left out
    needed = (bit_offset + shape.native_bits + 7) // 8
    if len(coded) < needed:
        raise Undecodable(f"the frame has {len(coded)} bytes, {needed} are needed")
    if shape.bits_allocated == 1:
        return _bits(coded, shape, bit_offset)
    if big_endian and shape.bits_allocated == 8 and shape.pixel_vr == "OW":
        coded = _swap_words(coded, needed)
    stored = sample_type(shape, ">" if big_endian else "<")
    flat = np.frombuffer(coded, stored, count=shape.native_bits // shape.bits_allocated)
    return _arrange(flat.astype(stored.newbyteorder("="), copy=False), shape)


def _bits(coded: bytes | memoryview, shape: ImageShape, bit_offset: int) -> Array:
    pixels = shape.rows * shape.columns
    packed = np.frombuffer(coded, np.uint8, count=(bit_offset + pixels + 7) // 8)
    bits = np.unpackbits(packed, bitorder="little")
    return bits[bit_offset : bit_offset + pixels].reshape(shape.rows, shape.columns)


def _swap_words(coded: bytes | memoryview, needed: int) -> bytes:
    even = min(needed + needed % 2, len(coded) // 2 * 2)
    swapped = np.frombuffer(coded, np.uint16, count=even // 2).byteswap().tobytes()
    return swapped + bytes(coded[even:needed])


def _arrange(flat: Array, shape: ImageShape) -> Array:
    rows, columns, samples = shape.rows, shape.columns, shape.samples
    if shape.subsampled:
        if columns % 2:
            raise Undecodable("4:2:2 chroma needs an even number of columns")
        pairs = flat.reshape(rows, columns // 2, 4)
        full = np.empty((rows, columns, 3), flat.dtype)
        full[:, 0::2, 0], full[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
        full[:, :, 1:] = np.repeat(pairs[..., 2:], 2, axis=1)
        return full
    if samples == 1:
        return flat.reshape(rows, columns)
    if shape.planar == 1:
        return np.ascontiguousarray(flat.reshape(samples, rows, columns).transpose(1, 2, 0))
    return flat.reshape(rows, columns, samples)


def pack(array: Array, shape: ImageShape) -> bytes:
    """A frame as Explicit VR Little Endian stores it: colour by pixel, not padded.

    1-bit frames start on a byte; a data set of several such frames whose pixel count is no
    multiple of 8 must join their bits itself (`pack_bits`).
    """
    if shape.bits_allocated == 1:
        return pack_bits([array])
    if shape.subsampled:
        raise NoCodec("4:2:2 chroma is written as YBR_FULL")
    return np.ascontiguousarray(array, dtype=sample_type(shape)).tobytes()


def pack_bits(frames: list[Array]) -> bytes:
    """1-bit frames, one after the other without gaps (PS3.5 8.1.1)."""
    flat = np.concatenate([frame.reshape(-1) != 0 for frame in frames])
    return np.packbits(flat, bitorder="little").tobytes()


def settle(
    array: Array, shape: ImageShape, precision: int | None = None, *, clip: bool = False
) -> Array:
    """Make stored cells into sample values: drop foreign bits, extend the sign.

    precision: the bits a codestream says it holds, where that may be fewer than Bits Stored
    (JPEG 2000 written without regard to the header). Signed results are signed arrays.
    clip: what is out of range got there by lossy coding, and belongs to the end of it.

    What is lost, of native frames: the bits of each cell beyond Bits Stored (foreign bits,
    such as overlays of old), and the place of the sample in its cell where High Bit is not
    Bits Stored - 1. `is_clean` knows whether a frame has either.
    """
    if shape.floating:
        return array
    bits = min(shape.bits, precision or shape.bits)
    width = shape.bits_allocated
    if width == 1:
        return array
    wanted = sample_type(shape, "=")
    high = shape.high_bit
    if clip and (shape.signed or array.dtype.kind == "u"):
        return _clipped(array, shape, bits)
    if precision is None and high is not None and bits - 1 < high < width:
        array = array >> (high + 1 - bits)
    if array.dtype.itemsize != wanted.itemsize:
        array = array.astype(wanted)
    cells = array.view(wanted)
    if bits == width:
        return cells
    if not shape.signed:
        return np.asarray(cells & np.asarray((1 << bits) - 1, dtype=wanted))
    gap = width - bits
    return np.asarray((cells << gap) >> gap)


def _clipped(array: Array, shape: ImageShape, bits: int) -> Array:
    """Lossy values within the range of their bits. Codecs without a sign wrap it round."""
    wanted = sample_type(shape, "=")
    if shape.signed and array.dtype.kind == "u":
        array = np.minimum(array, (1 << bits) - 1).astype(f"i{max(wanted.itemsize, 2) * 2}")
        array = np.where(array >> (bits - 1), array - (1 << bits), array)
    low = -(1 << (bits - 1)) if shape.signed else 0
    return np.clip(array, low, low + (1 << bits) - 1).astype(wanted)


def is_clean(coded: bytes | memoryview, shape: ImageShape, *, big_endian: bool = False) -> bool:
    """Whether a native frame comes back bit for bit when its sample values are packed again.

    So it is when every cell is what its sample value makes of it: the bits beyond Bits
    Stored zero, or copies of the sign, and the sample at the low end of the cell. Then
    `pack(settle(unpack(coded)))` is the frame, but for padding after it, for colour by plane
    (which becomes colour by pixel) and for 4:2:2 (which becomes YBR_FULL); for the last two
    this is False. 1-bit and floating-point cells are always clean.
    """
    if (shape.planar == 1 and shape.samples > 1) or shape.subsampled:
        return False
    if shape.floating or shape.bits_allocated == 1:
        return True
    cells = unpack(coded, shape, big_endian=big_endian)
    return bool(np.array_equal(cells, settle(cells, shape)))
