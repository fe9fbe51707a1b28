"""Where each frame starts and ends: native, basic and extended offset tables (PS3.5 8, A.4).

The table is made once, at ingest, and kept with the index row, so that a frame is later
read with one ranged read and nothing parsed.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from filmroom.dicom.errors import Malformed
from filmroom.dicom.notation import FORGET_BYTES, UNDEFINED, Buffer, forget
from filmroom.dicom.scan import Scan
from filmroom.dicom.tags import PIXEL_ATTRIBUTES
from filmroom.dicom.uids import TRANSFER_SYNTAXES

MAX_FRAMES = 1 << 24
MAX_FRAGMENTS = 1 << 22  # 16 MiB of table

_NATIVE, _ENCAPSULATED = b"N", b"E"
_NATIVE_FORM = struct.Struct("<IQQQ")  # frames, offset, length, bits of one frame
_ENCAPSULATED_FORM = struct.Struct("<IQI")  # frames, offset, fragments
_FRAGMENT_HEADER = struct.Struct("<HHI")
_FRAGMENT_HEADER_BYTES = 8
_STRIDE = 64  # fragments whose lengths are added up to find a frame; the rest is remembered
_STARTS = (  # how the first fragment of a frame begins
    b"\xff\xd8\xff",  # JPEG, JPEG-LS: SOI and the next marker
    b"\xff\x4f\xff\x51",  # JPEG 2000, HTJ2K: SOC, SIZ
    b"\xff\x0a",  # JPEG XL codestream
    b"\0\0\0\x0cJXL ",  # JPEG XL container
    b"\0\0\0\x0cjP  ",  # JPEG 2000 in a JP2 box, as some write it
)


def _no_numbers() -> array[int]:
    return array("I")


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Where the frames of one instance lie; offsets count from the data set's start.

    frame_bits: of a native frame; frames are packed without gaps, so with one bit a pixel
        a frame may begin inside a byte (PS3.5 8.1.1). 0 when encapsulated.
    lengths: of the fragments, which follow each other with 8 bytes of header between.
    firsts: index of the first fragment of each frame; empty when each has just one.
    Reading one is cheap however many frames there are: the numbers of a stored table are
    looked at where they lie, and after the first frame no frame costs more than another.
    """

    frames: int
    encapsulated: bool
    offset: int
    length: int
    frame_bits: int = 0
    lengths: Sequence[int] = field(default_factory=_no_numbers)
    firsts: Sequence[int] = field(default_factory=_no_numbers)
    _marks: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def memory_bytes(self) -> int:
        """About what this holds beyond itself."""
        return 4 * (len(self.lengths) + len(self.firsts)) + len(self.lengths) // _STRIDE * 40

    def ranges(self, frame_index: int) -> Iterator[tuple[int, int]]:
        """The pieces (offset, length) that make up a frame, usually one; 0-based.

        Raises IndexError. Of a frame that begins inside a byte all bytes it touches.
        """
        at, length = self.span(frame_index)
        return self._pieces(frame_index, at) if self.encapsulated else iter(((at, length),))

    def _pieces(self, frame_index: int, at: int) -> Iterator[tuple[int, int]]:
        for size in self._fragments(frame_index):
            yield at, size
            at += size + _FRAGMENT_HEADER_BYTES

    def span(self, frame_index: int) -> tuple[int, int]:
        """(offset, length) from a frame's first byte to its last, whatever lies between."""
        if not 0 <= frame_index < self.frames:
            raise IndexError(frame_index)
        if not self.encapsulated:
            first = frame_index * self.frame_bits // 8
            end = ((frame_index + 1) * self.frame_bits + 7) // 8
            return self.offset + first, end - first
        first, end = self._bounds(frame_index)
        at = self._start(first)
        last = at if end - first == 1 else self._start(end - 1)
        return at, last + self.lengths[end - 1] - at

    def joined(self, frame_index: int, span: bytes) -> bytes:
        """A frame's own bytes, given those of its `span`."""
        if not self.encapsulated or self._is_whole(frame_index):
            return span
        frame, at, view = bytearray(), 0, memoryview(span)
        for size in self._fragments(frame_index):
            frame += view[at : at + size]
            at += size + _FRAGMENT_HEADER_BYTES
        return bytes(frame)

    def _is_whole(self, frame_index: int) -> bool:
        first, end = self._bounds(frame_index)
        return end - first == 1

    def _fragments(self, frame_index: int) -> Sequence[int]:
        first, end = self._bounds(frame_index)
        return self.lengths[first:end]

    def _bounds(self, frame_index: int) -> tuple[int, int]:
        """Index of a frame's first fragment, and of the one after its last."""
        if not self.firsts:
            return frame_index, frame_index + 1
        if frame_index + 1 == self.frames:
            return self.firsts[frame_index], len(self.lengths)
        return self.firsts[frame_index], self.firsts[frame_index + 1]

    def _start(self, fragment: int) -> int:
        """Where a fragment's bytes begin: the nearest mark before it, and some lengths."""
        if not self._marks:
            self._marks.extend(_marks(self.lengths))
        mark = fragment // _STRIDE
        behind = sum(self.lengths[mark * _STRIDE : fragment])
        return self.offset + self._marks[mark] + behind + fragment * _FRAGMENT_HEADER_BYTES

    def bit_offset(self, frame_index: int) -> int:
        """At which bit of its first byte a native frame begins, 0 being the lowest."""
        return frame_index * self.frame_bits % 8

    def to_bytes(self) -> bytes:
        """For the index."""
        if not self.encapsulated:
            form = _NATIVE_FORM.pack(self.frames, self.offset, self.length, self.frame_bits)
            return _NATIVE + form
        form = _ENCAPSULATED_FORM.pack(self.frames, self.offset, len(self.lengths))
        return _ENCAPSULATED + form + _little(self.lengths) + _little(self.firsts)

    @classmethod
    def from_bytes(cls, stored: bytes) -> FrameTable:
        """From the index. Raises Malformed."""
        try:
            if stored[:1] == _NATIVE:
                frames, offset, length, bits = _NATIVE_FORM.unpack(stored[1:])
                return cls(frames, False, offset, length, bits)
            frames, offset, fragments = _ENCAPSULATED_FORM.unpack_from(stored, 1)
        except struct.error:
            raise Malformed("this is not a frame table") from None
        numbers = memoryview(stored)[1 + _ENCAPSULATED_FORM.size :]
        if stored[:1] != _ENCAPSULATED or len(numbers) not in (
            4 * fragments,
            4 * (fragments + frames),
        ):
            raise Malformed("this is not a frame table")
        lengths = _numbers(numbers[: 4 * fragments])
        firsts = _numbers(numbers[4 * fragments :])
        length = _total(lengths) + 8 * max(0, fragments - 1)
        return cls(frames, True, offset, length, 0, lengths, firsts)


def _little(numbers: Sequence[int]) -> bytes:
    swapped = array("I", numbers)
    if sys.byteorder != "little":
        swapped.byteswap()
    return swapped.tobytes()


def _from_little(raw: bytes | memoryview, code: str = "I") -> array[int]:
    numbers: array[int] = array(code)
    numbers.frombytes(raw)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers


def _numbers(raw: memoryview) -> Sequence[int]:
    """Little endian numbers, looked at where they lie if this machine writes them so."""
    return raw.cast("I") if sys.byteorder == "little" else _from_little(raw)


def _total(lengths: Sequence[int]) -> int:
    """The sum of up to millions of lengths, without making a number of each."""
    if len(lengths) <= _STRIDE:
        return sum(lengths)
    import numpy as np  # the tools that never see a frame start without it

    return int(np.frombuffer(_buffer(lengths), np.uint32).sum(dtype=np.uint64))


def _marks(lengths: Sequence[int]) -> list[int]:
    """The sum of all lengths before every _STRIDE-th fragment."""
    if len(lengths) <= _STRIDE:
        return [0]
    import numpy as np

    numbers = np.frombuffer(_buffer(lengths), np.uint32)
    sums = np.add.reduceat(numbers, np.arange(0, len(numbers), _STRIDE), dtype=np.uint64)
    return [0, *np.cumsum(sums).tolist()]


def _buffer(lengths: Sequence[int]) -> Buffer:
    return lengths if isinstance(lengths, memoryview) else memoryview(array("I", lengths))


def build(found: Scan, whole: Buffer, transfer_syntax_uid: str) -> FrameTable | None:
    """The frame table of a complete data set.

    None when there are no frames to be told apart: no pixel data, a deflated data set,
    rows or columns missing, less data than one frame. Such an object is stored all the
    same, it just has no frames to ask for. A Number of Frames larger than what is there
    is cut down to it. Raises Malformed when the fragments are not well formed.
    """
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if found.pixel_tag is None or (syntax is not None and syntax.deflated):
        return None
    if found.pixel_length is None:
        offset, lengths, basic = _fragments(whole, found.pixel_offset)
        if not lengths:
            return None
        video = syntax is not None and syntax.video
        wanted = 1 if video else _number_of_frames(found)
        firsts = _firsts(found, whole, wanted, offset, lengths, basic)
        return _encapsulated(offset, lengths, firsts) if firsts else None
    return build_native(found, whole)


def build_native(found: Scan, whole: Buffer) -> FrameTable | None:
    """The frame table of native pixel data, also of a deflated data set once inflated.

    Offsets then count in the inflated bytes. Raises Malformed when `whole` is cut off.
    """
    if found.pixel_tag is None or found.pixel_length is None:
        return None
    if found.pixel_offset + found.pixel_length > len(whole):
        raise Malformed("the pixel data is cut off")
    bits, length = frame_bits(found), found.pixel_length
    frames = min(_number_of_frames(found), length * 8 // bits) if bits else 0
    if frames < 1:
        return None
    return FrameTable(frames, False, found.pixel_offset, length, bits)


def frame_bits(found: Scan) -> int:
    """How many bits a native frame has; 0 when the attributes do not say (PS3.3 C.7.6.3)."""
    allocated = {0x7FE00008: 32, 0x7FE00009: 64}.get(
        found.pixel_tag or 0, _number(found, "BitsAllocated")
    )
    samples = 1 if found.pixel_tag != 0x7FE00010 else _number(found, "SamplesPerPixel") or 1
    pixels = _number(found, "Rows") * _number(found, "Columns")
    bits = pixels * samples * allocated
    photometric = found.values.get(PIXEL_ATTRIBUTES["PhotometricInterpretation"], b"").strip(b" \0")
    if samples == 3 and photometric in (b"YBR_FULL_422", b"YBR_PARTIAL_422"):
        # Chrominance at half the columns, unless the writer took the name but not the layout.
        wanted = _number_of_frames(found)
        if (found.pixel_length or 0) * 8 < bits * wanted:
            return bits * 2 // 3
    return bits


def _number(found: Scan, keyword: str) -> int:
    """The first value of a US attribute; 0 when it is missing or not two bytes."""
    raw = found.values.get(PIXEL_ATTRIBUTES[keyword], b"")
    if len(raw) < 2:
        return 0
    return int.from_bytes(raw[:2], "little" if found.little_endian else "big")


def _number_of_frames(found: Scan) -> int:
    """NumberOfFrames, at least 1, at most MAX_FRAMES; 1 when it is missing or no number."""
    raw = found.values.get(PIXEL_ATTRIBUTES["NumberOfFrames"], b"1")
    try:
        return min(max(int(raw.split(b"\\")[0].strip(b" \0")[:16]), 1), MAX_FRAMES)
    except ValueError:
        return 1


def _fragments(whole: Buffer, at: int) -> tuple[int, array[int], bytes]:
    """(offset of the first fragment's bytes, fragment lengths, basic offset table)."""
    size = len(whole)
    lengths = array("I")
    basic: bytes | None = None
    offset, remembered = 0, at
    while True:
        if at + 8 > size:
            raise Malformed("the encapsulated pixel data is cut off")
        group, element, length = _FRAGMENT_HEADER.unpack_from(whole, at)
        at += 8
        if group == 0xFFFE and element == 0xE0DD:
            return offset, lengths, basic or b""
        if group != 0xFFFE or element != 0xE000 or length == UNDEFINED or at + length > size:
            raise Malformed("the encapsulated pixel data is not made of fragments")
        if basic is None:
            basic = bytes(whole[at : at + length]) if length <= 4 * MAX_FRAGMENTS else b""
            offset = at + length + 8
        else:
            lengths.append(length)
            if len(lengths) > MAX_FRAGMENTS:
                raise Malformed(f"more than {MAX_FRAGMENTS} fragments")
        at += length
        if at - remembered >= FORGET_BYTES:
            forget(whole)
            remembered = at


def _firsts(
    found: Scan, whole: Buffer, frames: int, offset: int, lengths: array[int], basic: bytes
) -> array[int]:
    """Index of the first fragment of each frame; empty when it cannot be told.

    In this order: one frame; an offset table that fits; a fragment a frame; fragments that
    begin like a codestream. A table is believed only if each entry is a fragment's start.
    """
    if frames == 1:
        return array("I", [0])
    extended = found.values.get(PIXEL_ATTRIBUTES["ExtendedOffsetTable"], b"")
    for table, code, width in ((extended, "Q", 8), (basic, "I", 4)):
        if len(table) == frames * width:
            firsts = _by_table(_from_little(table, code), lengths)
            if firsts:
                return firsts
    if len(lengths) <= frames:
        return array("I", range(len(lengths)))
    starts = _by_start(whole, offset, lengths)
    if len(starts) == frames and starts[0] == 0:
        return starts
    return array("I")


def _by_table(entries: array[int], lengths: array[int]) -> array[int]:
    """Fragment indices for table entries; empty unless all fit.

    Entries count from the first fragment's header (PS3.5 A.4); some writers count from
    elsewhere, so the first entry is taken as zero.
    """
    firsts = array("I")
    index = at = 0
    for entry in entries:
        wanted = entry - entries[0]
        while at < wanted and index < len(lengths):
            at += lengths[index] + _FRAGMENT_HEADER_BYTES
            index += 1
        if at != wanted or index == len(lengths) or (firsts and firsts[-1] == index):
            return array("I")
        firsts.append(index)
    return firsts


def _by_start(whole: Buffer, offset: int, lengths: array[int]) -> array[int]:
    starts = array("I")
    at = remembered = offset
    for index, length in enumerate(lengths):
        if bytes(whole[at : at + min(length, 8)]).startswith(_STARTS):
            starts.append(index)
        at += length + _FRAGMENT_HEADER_BYTES
        if at - remembered >= FORGET_BYTES:
            forget(whole)
            remembered = at
    return starts


def _encapsulated(offset: int, lengths: array[int], firsts: array[int]) -> FrameTable:
    one_each = len(firsts) == len(lengths)
    return FrameTable(
        frames=len(firsts),
        encapsulated=True,
        offset=offset,
        length=sum(lengths) + _FRAGMENT_HEADER_BYTES * (len(lengths) - 1),
        lengths=lengths,
        firsts=array("I") if one_each else firsts,
    )
