"""Where frames lie: native, bit-packed, encapsulated with good, bad and no offset tables."""

import mmap
import re
import struct
import time
import tracemalloc
from array import array
from pathlib import Path

import pytest

from filmroom.dicom import frames, uids
from filmroom.dicom.errors import Malformed
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.scan import check_rest, scan

LE, JPEG = uids.EXPLICIT_VR_LE, uids.JPEG_BASELINE
A, B, C = b"\xff\xd8\xff\xa1AA", b"\xff\xd8\xff\xb1BBBB", b"\xff\xd8\xff\xc1"


def us(element, value):
    return struct.pack("<HH2sHH", 0x28, element, b"US", 2, value)


def head(*, rows=2, columns=3, bits=8, samples=1, number="", photometric=b"MONOCHROME2 "):
    text = number.encode() + b" " * (len(number) % 2)
    return (
        us(2, samples)
        + struct.pack("<HH2sH", 0x28, 4, b"CS", len(photometric))
        + photometric
        + struct.pack("<HH2sH", 0x28, 8, b"IS", len(text))
        + text
        + us(0x10, rows)
        + us(0x11, columns)
        + us(0x100, bits)
    )


def native(value, **attributes):
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, len(value)) + value
    return head(**attributes) + pixels


def fragment(value):
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def encapsulated(*fragments, table=b"", extended=None, **attributes):
    tables = b""
    if extended is not None:
        raw = struct.pack(f"<{len(extended)}Q", *extended)
        tables = struct.pack("<HH2sHI", 0x7FE0, 1, b"OV", 0, len(raw)) + raw
    return (
        head(**attributes)
        + tables
        + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
        + fragment(table)
        + b"".join(map(fragment, fragments))
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )


def table_of(data, syntax=LE):
    return frames.build(scan(data, syntax, complete=True), data, syntax)


def frames_of(data, syntax=LE):
    table = table_of(data, syntax)
    assert table is not None
    assert FrameTable.from_bytes(table.to_bytes()) == table
    return [
        b"".join(data[at : at + length] for at, length in table.ranges(index))
        for index in range(table.frames)
    ]


def test_native_frames_follow_each_other():
    assert frames_of(native(b"abcdef")) == [b"abcdef"]
    assert frames_of(native(b"abcdefghijkl", number="2")) == [b"abcdef", b"ghijkl"]
    assert frames_of(native(b"a" * 36, bits=16, samples=3)) == [b"a" * 36]


def test_one_bit_frames_may_begin_inside_a_byte():
    data = native(b"\x01\x02\x03\x04", bits=1, number="3")  # 6 bits a frame
    table = table_of(data)
    assert [table.bit_offset(index) for index in range(3)] == [0, 6, 4]
    assert frames_of(data) == [b"\x01", b"\x01\x02", b"\x02\x03"]


@pytest.mark.parametrize("number", ["2147483648", "999999999999", "5"])
def test_an_absurd_number_of_frames_is_cut_to_what_is_there(number):
    assert frames_of(native(b"abcdefghijkl", number=number)) == [b"abcdef", b"ghijkl"]
    assert frames_of(encapsulated(A, B, number=number), JPEG) == [A, B]


@pytest.mark.parametrize("number", ["", "0", "-3", "many", "1\\2", "1A"])
def test_a_number_of_frames_that_says_nothing_means_one(number):
    assert frames_of(native(b"abcdefghijkl", number=number)) == [b"abcdef"]
    assert frames_of(encapsulated(A, B, number=number), JPEG) == [A + B]


@pytest.mark.parametrize("attributes", [{"rows": 0}, {"bits": 0}, {"rows": 65535}])
def test_without_a_whole_frame_there_is_no_table(attributes):
    assert table_of(native(b"abcdef", **attributes)) is None
    assert table_of(struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT") is None


def test_subsampled_native_colour_is_a_third_smaller():
    data = native(b"abcdefgh", rows=2, columns=2, samples=3, photometric=b"YBR_FULL_422")
    assert frames_of(data) == [b"abcdefgh"]
    data = native(b"a" * 12, rows=2, columns=2, samples=3, photometric=b"YBR_FULL_422")
    assert frames_of(data) == [b"a" * 12]


def test_a_fragment_a_frame_needs_no_table():
    assert frames_of(encapsulated(A, B, C, number="3"), JPEG) == [A, B, C]


def test_a_single_frame_may_have_many_fragments():
    assert frames_of(encapsulated(A, b"more", b"still"), JPEG) == [A + b"morestill"]


@pytest.mark.parametrize("base", [0, 8, 1000])
def test_the_basic_offset_table_is_used(base):
    second = len(A) + 8 + 4 + 8
    table = struct.pack("<2I", base, base + second)
    data = encapsulated(A, b"more", B, b"tail", table=table, number="2")
    assert frames_of(data, JPEG) == [A + b"more", B + b"tail"]


def test_the_extended_offset_table_is_used():
    second = len(A) + 8 + 4 + 8
    data = encapsulated(A, b"more", B, extended=[0, second], number="2")
    assert frames_of(data, JPEG) == [A + b"more", B]


@pytest.mark.parametrize("table", [(0, 3), (0, 0), (20, 0), (0, 0xFFFFFFFF), (0,), (0, 26, 40), ()])
def test_a_wrong_offset_table_is_not_believed(table):
    raw = struct.pack(f"<{len(table)}I", *table)
    data = encapsulated(A, b"more", B, b"tail", table=raw, number="2")
    assert frames_of(data, JPEG) == [A + b"more", B + b"tail"]  # told apart by their SOI


def test_frames_that_cannot_be_told_apart_are_no_frames():
    assert table_of(encapsulated(b"ab", b"cd", b"ef", number="2"), uids.RLE_LOSSLESS) is None
    assert table_of(encapsulated(), JPEG) is None


def test_a_video_is_one_stream():
    data = encapsulated(b"ab", b"cd", number="200")
    assert frames_of(data, "1.2.840.10008.1.2.4.102.1") == [b"abcd"]


def test_fragments_that_are_none_are_malformed():
    data = encapsulated(A, B, number="2")
    found = scan(data, JPEG, complete=True)
    for cut in (1, 9, 20):
        with pytest.raises(Malformed):
            frames.build(found, data[:-cut], JPEG)
    broken = data.replace(fragment(B), b"\1\2\3\4" + fragment(B)[4:])
    with pytest.raises(Malformed):
        frames.build(found, broken, JPEG)


def test_there_is_no_frame_beyond_the_last():
    table = table_of(native(b"abcdefghijkl", number="2"))
    for index in (-1, 2):
        with pytest.raises(IndexError):
            table.ranges(index)


def test_offsets_beyond_4_gib_fit():
    table = FrameTable(2, False, 5 << 32, 12, 48)
    assert list(FrameTable.from_bytes(table.to_bytes()).ranges(1)) == [((5 << 32) + 6, 6)]


@pytest.mark.parametrize("raw", [b"", b"N", b"E", b"X" * 29, b"E" + bytes(17), b"N" + bytes(99)])
def test_what_is_no_table_is_malformed(raw):
    with pytest.raises(Malformed):
        FrameTable.from_bytes(raw)


def test_a_deflated_data_set_has_frames_once_inflated():
    data = native(b"abcdef")
    syntax = uids.DEFLATED_EXPLICIT_VR_LE
    found = scan(data, syntax, complete=True)
    assert frames.build(found, data, syntax) is None
    table = frames.build_native(found, data)
    assert [data[at : at + length] for at, length in table.ranges(0)] == [b"abcdef"]


def test_the_table_of_many_frames_is_small():
    data = encapsulated(*[A] * 1000, number="1000")
    assert len(table_of(data, JPEG).to_bytes()) < 4100


def test_endless_fragments_are_refused(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAGMENTS", 3)
    assert frames_of(encapsulated(A, B, C, number="3"), JPEG) == [A, B, C]
    with pytest.raises(Malformed, match="more than 3"):
        table_of(encapsulated(A, B, C, A, number="4"), JPEG)


def test_what_is_in_a_fragment_is_not_looked_at():
    """As elements, zeros would be two hundred thousand a frame."""
    data = encapsulated(*[bytes(1 << 21)] * 16, number="16")
    found = scan(data[:4096], JPEG, complete=False)
    began = time.perf_counter()
    check_rest(found, data)
    assert frames.build(found, data, JPEG).frames == 16
    assert time.perf_counter() - began < 0.2


def test_an_item_of_undefined_length_is_no_fragment():
    data = encapsulated(A, B, number="2")
    broken = data.replace(fragment(B), struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF))
    with pytest.raises(Malformed):
        check_rest(scan(data, JPEG, complete=True), broken)


def mapped_bytes():
    """How much of mapped files counts as our memory, at most so far."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def test_a_walk_through_a_mapped_file_does_not_end_up_with_all_of_it_in_memory(tmp_path):
    path = tmp_path / "many"
    start = encapsulated(number="4096")[:-8]
    with path.open("wb") as file:
        file.write(start)
        for _ in range(4096):
            file.write(fragment(bytes(65536)))
        file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    with path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    found = scan(start + fragment(b""), JPEG, complete=False)
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    before = mapped_bytes()
    check_rest(found, whole)
    assert frames.build(found, whole, JPEG).frames == 4096
    assert mapped_bytes() - before < 100 << 20  # of 256


def a_long_cine(frames_, fragments_each=1):
    lengths = array("I", (10 + n % 7 for n in range(frames_ * fragments_each)))
    firsts = array("I", range(0, len(lengths), fragments_each) if fragments_each > 1 else ())
    length = sum(lengths) + 8 * (len(lengths) - 1)
    return FrameTable(frames_, True, 1000, length, 0, lengths, firsts)


@pytest.mark.parametrize("fragments_each", [1, 3])
def test_every_frame_of_a_long_table_is_where_adding_up_says(fragments_each):
    table = a_long_cine(400, fragments_each)
    stored = FrameTable.from_bytes(table.to_bytes())
    assert stored == table
    at = 1000
    for index in range(400):
        pieces = []
        for n in range(index * fragments_each, (index + 1) * fragments_each):
            pieces.append((at, table.lengths[n]))
            at += table.lengths[n] + 8
        assert list(stored.ranges(index)) == pieces
        offset, length = stored.span(index)
        assert (offset, offset + length) == (pieces[0][0], sum(pieces[-1]))


def test_a_frame_of_several_fragments_is_cut_out_of_its_span():
    data = encapsulated(A, B, C, number="1")
    table = table_of(data, JPEG)
    offset, length = table.span(0)
    assert table.joined(0, data[offset : offset + length]) == A + B + C


def test_the_last_frame_of_a_million_costs_what_the_first_costs():
    table = FrameTable.from_bytes(a_long_cine(1_000_000).to_bytes())
    table.span(0)

    def worked(index):
        """Lengths that were looked at."""
        looked = Counted(table.lengths)
        object.__setattr__(table, "lengths", looked)
        table.span(index)
        object.__setattr__(table, "lengths", looked.numbers)
        return looked.seen

    assert worked(999_999) <= 70


class Counted:
    """A sequence that counts how much of it is read."""

    def __init__(self, numbers):
        self.numbers, self.seen = numbers, 0

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, at):
        found = self.numbers[at]
        self.seen += len(found) if isinstance(at, slice) else 1
        return found


def test_a_stored_table_is_looked_at_where_it_lies():
    stored = a_long_cine(1_000_000).to_bytes()
    tracemalloc.start()
    try:
        table = FrameTable.from_bytes(stored)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        assert table.span(999_999)
        assert tracemalloc.get_traced_memory()[0] < 2 << 20  # of 4 MB of table
    finally:
        tracemalloc.stop()
