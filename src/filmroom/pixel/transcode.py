"""One transfer syntax to another: a frame, or a whole data set frame by frame.

A data set is taken as its header (everything before the pixel data) and its frames, so
that it can be written out while it is read: only one frame is ever held. What the new
coding makes untrue in the header is put right; nothing else changes (PS3.5 8.2, PS3.3 C.7.6.3).
A lossy copy says so, see `derived`; how far it was compressed must be known beforehand.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from filmroom.dicom.elements import (
    DataSet,
    Element,
    get_numbers,
    get_text,
    put_numbers,
    put_text,
    read_data_set,
    write_data_set,
)
from filmroom.dicom.errors import Malformed
from filmroom.pixel import derived, native, spaces
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import (
    can_decode,
    can_encode,
    decode,
    encode_frame,
    encoded_photometric,
    rewrap,
)
from filmroom.pixel.derived import keeps_samples_coded, serves_as
from filmroom.pixel.errors import NoCodec, PixelError, Undecodable
from filmroom.pixel.numeric import np
from filmroom.pixel.shape import FLOAT_BITS, ImageShape
from filmroom.pixel.workers import Workers, in_order

SAMPLES, PHOTOMETRIC, PLANAR = 0x00280002, 0x00280004, 0x00280006
FRAMES, ROWS, COLUMNS = 0x00280008, 0x00280010, 0x00280011
ALLOCATED, STORED, HIGH_BIT, REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103
FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS = 0x7FE00008, 0x7FE00009, 0x7FE00010
OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
ICON = 0x00880200
ITEM_HEADER = 8  # bytes
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
UNDEFINED = 0xFFFFFFFF
LONGEST_VALUE = 0xFFFFFFFE
IN_FLIGHT = 4  # frames being transcoded ahead of the reader

LITTLE_ENDIAN = frozenset({ts.IMPLICIT_LE, ts.EXPLICIT_LE, ts.DEFLATED_LE})


@dataclass(frozen=True, slots=True)
class Plan:
    """How one data set becomes another: write `head`, every frame wrapped, `tail`.

    as_it_lies: both ends are native little endian, and the new one is not deflated; the pixel
    data value is to be copied in pieces of any size instead of being transcoded by frame.
    value_bytes: of native pixel data. colours: what frames are turned into, see `spaces`.
    """

    head: bytes
    tail: bytes
    from_syntax: str
    to_syntax: str
    shape: ImageShape
    frames: int
    as_it_lies: bool
    value_bytes: int
    colours: str

    @property
    def size_bytes(self) -> int | None:
        """Length of the new data set; None when it is known only at the end."""
        if self.to_syntax not in (ts.IMPLICIT_LE, ts.EXPLICIT_LE):
            return None
        value = self.value_bytes
        return len(self.head) + value + value % 2 + len(self.tail)

    @property
    def joined(self) -> bool:
        """Frames of the new data set begin inside a byte: see `Joiner` (PS3.5 8.1.1)."""
        return self.to_syntax in ts.NATIVE and self.shape.native_bits % 8 != 0

    def wrap(self, frame: bytes) -> bytes:
        """A transcoded frame as it stands in the pixel data: an item, or just its bytes."""
        if self.to_syntax in ts.NATIVE:
            return frame
        padded = frame + b"\0" * (len(frame) % 2)
        return ITEM + struct.pack("<I", len(padded)) + padded


class Joiner:
    """1-bit frames, each made with its bits in place, to one value without gaps."""

    def __init__(self, planned: Plan) -> None:
        self._shape, self._syntax = planned.shape, planned.to_syntax
        self._begun = 0  # the last byte, not yet full
        self._frames = 0

    def join(self, frame: bytes) -> bytes:
        """The bytes that the next frame makes complete."""
        lead = bit_offset(self._shape, self._syntax, self._frames)
        self._frames += 1
        made = bytearray(frame)
        if lead:
            made[0] |= self._begun
        if (lead + self._shape.native_bits) % 8:
            self._begun = made.pop()
        return bytes(made)

    def rest(self) -> bytes:
        """The last byte, if it never became full."""
        return bytes([self._begun]) if self._frames * self._shape.native_bits % 8 else b""


def shape_of(header: DataSet, *, floating: bool = False, pixel_vr: str = "OW") -> ImageShape:
    """The Image Pixel attributes of a data set (PS3.3 C.7.6.3). Raises Undecodable."""

    def number(tag: int, default: int | None = None) -> int:
        values = get_numbers(header, tag)
        if values:
            return int(values[0])
        if default is None:
            raise Undecodable("the data set describes no image")
        return default

    allocated = number(ALLOCATED)
    stored = number(STORED, allocated)
    # Float pixels have no Bits Stored (C.7.6.24): what has none and is wide must be that.
    floating = floating or (STORED not in header and allocated in FLOAT_BITS)
    return ImageShape(
        rows=number(ROWS),
        columns=number(COLUMNS),
        samples=number(SAMPLES, 1),
        bits_allocated=allocated,
        bits_stored=stored,
        pixel_representation=number(REPRESENTATION, 0),
        photometric=get_text(header, PHOTOMETRIC).strip() or "MONOCHROME2",
        planar=number(PLANAR, 0),
        high_bit=number(HIGH_BIT, stored - 1),
        floating=floating,
        pixel_vr=pixel_vr,
    )


def bit_offset(shape: ImageShape, transfer_syntax_uid: str, frame_index: int) -> int:
    """Where in its first byte a native 1-bit frame starts (PS3.5 8.1.1)."""
    if shape.bits_allocated != 1 or transfer_syntax_uid not in ts.NATIVE:
        return 0
    return frame_index * shape.native_bits % 8


def transcode_frame(
    coded: bytes,
    from_syntax: str,
    to_syntax: str,
    shape: ImageShape,
    *,
    bit_offset: int = 0,
    lead_bits: int = 0,
    colours: str = "",
    by_plane: bool = False,
) -> bytes:
    """One frame in another transfer syntax, not padded. `shape` is as the data set says it.

    Lossless, unless `derived.loses`. lead_bits: put so many zero bits before native 1-bit
    pixels, to be joined to others. colours: RGB or YBR_FULL, see `spaces`; "" leaves them.
    by_plane: native colour comes as Planar Configuration 1. Raises the PixelError family.
    """
    if serves_as(from_syntax, to_syntax):
        return coded
    if keeps_samples_coded(from_syntax, to_syntax):
        return rewrap(coded, from_syntax, to_syntax)
    decoded = decode(coded, from_syntax, shape, bit_offset=bit_offset)
    array, photometric = spaces.turned(decoded, colours, shape)
    if by_plane and to_syntax in ts.NATIVE and array.ndim == 3:
        array = array.transpose(2, 0, 1)
    if lead_bits:
        return native.pack_bits([np.zeros(lead_bits, np.uint8), array])
    now = replace(shape, photometric=photometric, planar=0, high_bit=None)
    return encode_frame(array, to_syntax, now, loss=derived.LOSSES.get(to_syntax))


def can_transcode(from_syntax: str, to_syntax: str) -> bool:
    """Whether frames of one syntax can be written in the other at all."""
    if keeps_samples_coded(from_syntax, to_syntax):
        return True
    return can_decode(from_syntax) and (can_encode(to_syntax) or to_syntax in derived.LOSSES)


def rewrite(data_set: bytes, from_syntax: str, to_syntax: str) -> bytes:
    """A data set without pixel data in another encoding (PS3.5 A.1, A.2, A.5).

    `data_set` is inflated already when it was deflated. Raises Undecodable.
    """
    deflate = deflater(to_syntax)
    return deflate(_write(_read(data_set, from_syntax), to_syntax)) + deflate(None)


def plan(
    header: bytes,
    from_syntax: str,
    to_syntax: str,
    *,
    frames: int,
    first_frame: bytes | None = None,
    trailer: bytes = b"",
    pixel_vr: str = "OW",
    floating: bool = False,
    value_bytes: int | None = None,
    stored_bytes: int | None = None,
    coded: Sequence[int] | None = None,
) -> Plan:
    """Prepare to write a data set with pixel data in another transfer syntax.

    header: the data set before its pixel data, inflated. frames: how many there are.
    first_frame: decides what colours the decoded frames have, where the header may lie
    (JPEG, JPEG 2000). trailer: what follows the pixel data. value_bytes: how long the stored
    pixel data value is, to copy it `as_it_lies`. stored_bytes: of all frames as stored and
    compressed. coded: bytes of each frame in the new syntax, where those are known: they must
    be for a lossy copy. Raises NoCodec or Undecodable.
    """
    if not can_transcode(from_syntax, to_syntax):
        raise NoCodec(f"transfer syntax {from_syntax} cannot become {to_syntax}")
    data_set = _read(header, from_syntax)
    shape = shape_of(data_set, floating=floating, pixel_vr=pixel_vr)
    as_it_lies = from_syntax in LITTLE_ENDIAN and to_syntax in (ts.IMPLICIT_LE, ts.EXPLICIT_LE)
    if shape.bits_allocated == 1 and from_syntax == ts.EXPLICIT_BE and pixel_vr == "OW":
        raise NoCodec("1-bit pixels in big endian words are not turned")
    kept = as_it_lies or keeps_samples_coded(from_syntax, to_syntax)
    colours = "" if kept else spaces.of_copy(from_syntax, to_syntax, shape)
    if not kept:
        _put_right(data_set, from_syntax, to_syntax, shape, first_frame, colours)
        _put_losses(data_set, from_syntax, to_syntax, shape, frames, stored_bytes, coded)
    if from_syntax not in ts.NATIVE and not serves_as(from_syntax, to_syntax):
        _open_icons(data_set, from_syntax)
    for tag in OFFSET_TABLES:
        data_set.pop(tag, None)
    after = _read(trailer, from_syntax) if trailer else {}
    tail = _write({tag: e for tag, e in after.items() if tag != 0xFFFCFFFC}, to_syntax)
    if to_syntax not in ts.NATIVE:
        tail = SEQUENCE_END + tail
    if value_bytes is None or not as_it_lies:
        value_bytes = _native_bytes(shape, frames, as_it_lies)
    head = _write(data_set, to_syntax) + _pixel_header(shape, value_bytes, to_syntax)
    if to_syntax not in ts.NATIVE:
        # The place of the only frame is known; of several only with their lengths.
        head += _offset_table([0] if frames == 1 else coded or ())
    return Plan(head, tail, from_syntax, to_syntax, shape, frames, as_it_lies, value_bytes, colours)


async def stream_data_set(
    pool: Workers, planned: Plan, frame_at: Callable[[int], Awaitable[bytes]]
) -> AsyncIterator[bytes]:
    """A planned data set, its frames transcoded in the pool a few ahead of the reader.

    frame_at: reads a frame as stored by its index. Not for plans `as_it_lies`.
    """
    deflate = deflater(planned.to_syntax)
    yield deflate(planned.head)
    joiner = Joiner(planned) if planned.joined else None
    make = partial(_in_pool, pool, planned, frame_at)
    written = 0
    async with aclosing(in_order(make, planned.frames, IN_FLIGHT)) as frames:
        async for frame in frames:
            piece = joiner.join(frame) if joiner is not None else planned.wrap(frame)
            written += len(piece)
            yield deflate(piece)
    rest = joiner.rest() if joiner is not None else b""
    padding = b"\0" * ((written + len(rest)) % 2)
    yield deflate(rest + padding) + deflate(planned.tail) + deflate(None)


async def _in_pool(
    pool: Workers, planned: Plan, frame_at: Callable[[int], Awaitable[bytes]], index: int
) -> bytes:
    return await pool.run(
        transcode_frame,
        await frame_at(index),
        planned.from_syntax,
        planned.to_syntax,
        planned.shape,
        bit_offset=bit_offset(planned.shape, planned.from_syntax, index),
        lead_bits=bit_offset(planned.shape, planned.to_syntax, index),
        colours=planned.colours,
    )


def _read(data_set: bytes, syntax: str) -> DataSet:
    try:
        return read_data_set(
            data_set,
            explicit_vr=syntax != ts.IMPLICIT_LE,
            little_endian=syntax != ts.EXPLICIT_BE,
        )
    except Malformed as error:
        raise Undecodable(str(error)) from error


def _write(data_set: DataSet, syntax: str) -> bytes:
    return write_data_set(data_set, explicit_vr=syntax != ts.IMPLICIT_LE)


def deflater(syntax: str) -> Callable[[bytes | None], bytes]:
    """A function that deflates pieces (None: finish), or lets them through (PS3.5 A.5)."""
    if syntax != ts.DEFLATED_LE:
        return lambda piece: piece or b""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    written = 0

    def deflate(piece: bytes | None) -> bytes:
        nonlocal written
        deflated = stream.flush() if piece is None else stream.compress(piece)
        written += len(deflated)
        return deflated + b"\0" if piece is None and written % 2 else deflated  # PS3.5 A.5

    return deflate


def _put_right(
    data_set: DataSet,
    from_syntax: str,
    to_syntax: str,
    shape: ImageShape,
    first: bytes | None,
    colours: str = "",
) -> None:
    """Change what the new coding makes untrue."""
    decoded = shape.photometric
    if first is not None and shape.samples > 1:
        decoded = decode(first, from_syntax, shape).photometric
    if shape.samples > 1:
        decoded = spaces.named(decoded, colours)
    coded = encoded_photometric(to_syntax, decoded, derived.LOSSES.get(to_syntax))
    if to_syntax in ts.JPEG_DCT and coded == "YBR_FULL":
        coded = "YBR_FULL_422"  # so called whatever the sampling is: the codestream tells
    put_text(data_set, PHOTOMETRIC, coded, "CS")
    if shape.samples > 1:
        put_numbers(data_set, PLANAR, 0, vr="US")
    if not shape.floating and shape.bits_allocated > 1:
        put_numbers(data_set, STORED, shape.bits, vr="US")
        put_numbers(data_set, HIGH_BIT, shape.bits - 1, vr="US")


def _put_losses(
    data_set: DataSet,
    from_syntax: str,
    to_syntax: str,
    shape: ImageShape,
    frames: int,
    stored_bytes: int | None,
    coded: Sequence[int] | None,
) -> None:
    """Say what the stored coding has lost, and what the new one loses."""
    whole = shape.native_bits * frames / 8
    derived.put_earlier_loss(data_set, from_syntax, whole / stored_bytes if stored_bytes else None)
    if not derived.loses(from_syntax, to_syntax):
        return
    if not coded or not sum(coded):
        raise NoCodec("how far a lossy copy is compressed must be known beforehand")
    derived.put_loss(data_set, from_syntax, to_syntax, whole / sum(coded))


def _open_icons(data_set: DataSet, syntax: str) -> None:
    """Icons that are coded as the frames are: uncompressed, or else left behind."""
    icons = data_set.get(ICON)
    for icon in icons.items if icons is not None else ():
        pixels = icon.get(PIXELS)
        if pixels is None or not pixels.encapsulated:
            continue
        try:
            shape = shape_of(icon)
            coded, colours = _fragments(pixels.raw), spaces.of_copy(syntax, ts.EXPLICIT_LE, shape)
            opened = transcode_frame(coded, syntax, ts.EXPLICIT_LE, shape, colours=colours)
            _put_right(icon, syntax, ts.EXPLICIT_LE, shape, coded, colours)
            icon[PIXELS] = Element(PIXELS, "OB" if shape.bits_allocated <= 8 else "OW", opened)
        except PixelError:  # the image is worth more than its icon
            data_set.pop(ICON, None)
            return


def _fragments(value: bytes) -> bytes:
    """All fragments of an encapsulated value but the first item, which is the offset table."""
    found, at = [], 0
    while at + ITEM_HEADER <= len(value):
        (length,) = struct.unpack_from("<I", value, at + 4)
        found.append(value[at + ITEM_HEADER : at + ITEM_HEADER + length])
        at += ITEM_HEADER + length
    return b"".join(found[1:])


def _native_bytes(shape: ImageShape, frames: int, as_it_lies: bool) -> int:
    if as_it_lies:
        return (shape.native_bits * frames + 7) // 8
    if shape.bits_allocated == 1:
        return (shape.native_bits * frames + 7) // 8
    return shape.decoded_bytes * frames


def _offset_table(lengths: Sequence[int]) -> bytes:
    """The Basic Offset Table of frames of these lengths; empty when they are not known (A.4)."""
    offsets, at = [], 0
    for length in lengths:
        offsets.append(at)
        at += ITEM_HEADER + length + length % 2
    if at > UNDEFINED:
        offsets = []
    return ITEM + struct.pack(f"<I{len(offsets)}I", 4 * len(offsets), *offsets)


def _pixel_header(shape: ImageShape, value_bytes: int, syntax: str) -> bytes:
    """The pixel data element up to its value."""
    tag, vr = PIXELS, "OB" if shape.bits_allocated <= 8 or syntax not in ts.NATIVE else "OW"
    if shape.floating:
        tag, vr = (FLOAT_PIXELS, "OF") if shape.bits_allocated == 32 else (DOUBLE_PIXELS, "OD")
    length = value_bytes + value_bytes % 2 if syntax in ts.NATIVE else UNDEFINED
    if syntax in ts.NATIVE and length > LONGEST_VALUE:
        raise NoCodec("uncompressed, the pixel data is too long for one data element")
    if syntax == ts.IMPLICIT_LE:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
    return struct.pack("<HH2s2xI", tag >> 16, tag & 0xFFFF, vr.encode(), length)
