"""One pass over a data set: captioned bytes, lies, nesting, padding."""

import mmap
import struct
import tempfile

import pytest

from filmroom.dicom import uids
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.scan import check_rest, scan

LE, BE, IMPLICIT = uids.EXPLICIT_VR_LE, uids.EXPLICIT_VR_BE, uids.IMPLICIT_VR_LE
JPEG = uids.JPEG_BASELINE
LONG = {"OB", "OW", "SQ", "UN", "UT", "OD", "OF", "OL", "OV", "SV", "UV", "UC", "UR", "ZZ"}
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
UNDEFINED = 0xFFFFFFFF


def element(tag, vr, value=b"", *, length=None, order="<"):
    """One element in explicit VR, or in implicit VR when vr is None."""
    length = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if vr is None:
        return head + struct.pack(order + "I", length) + value
    if vr in LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", length) + value
    return head + vr.encode() + struct.pack(order + "H", length) + value


def item(content=b"", *, length=None):
    length = len(content) if length is None else length
    return struct.pack("<HHI", 0xFFFE, 0xE000, length) + content


MODALITY = element(0x00080060, "CS", b"CT")
PATIENT_ID = element(0x00100020, "LO", b"4711")
ROWS = element(0x00280010, "US", b"\2\0")
PIXELS = element(0x7FE00010, "OW", b"\1\2\3\4")


def test_wanted_values_and_pixel_data_are_found():
    data = MODALITY + PATIENT_ID + element(0x00110010, "LO", b"PRIVATE ") + ROWS + PIXELS
    found = scan(data, LE, complete=True)
    assert found.values == {0x00080060: b"CT", 0x00100020: b"4711", 0x00280010: b"\2\0"}
    assert found.header_bytes == len(data) - len(PIXELS)
    assert (found.pixel_tag, found.pixel_vr) == (0x7FE00010, "OW")
    assert (found.pixel_offset, found.pixel_length) == (len(data) - 4, 4)
    assert (found.explicit_vr, found.little_endian) == (True, True)


def test_implicit_vr_and_big_endian_are_read_alike():
    implicit = element(0x00080060, None, b"CT") + element(0x7FE00010, None, b"\1\2")
    found = scan(implicit, IMPLICIT, complete=False)
    assert (found.values, found.pixel_vr) == ({0x00080060: b"CT"}, "OW")
    big = element(0x00080060, "CS", b"CT", order=">") + element(0x7FE00010, "OW", b"12", order=">")
    found = scan(big, BE, complete=False)
    assert (found.values, found.pixel_length) == ({0x00080060: b"CT"}, 2)
    assert not found.little_endian


@pytest.mark.parametrize("make", [bytes, memoryview, bytearray])
def test_any_buffer_will_do(make):
    assert scan(make(MODALITY + PIXELS), LE, complete=True).values == {0x00080060: b"CT"}


def test_a_mapped_file_will_do():
    with tempfile.TemporaryFile() as file:
        file.write(MODALITY + PIXELS)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            found = scan(mapped, LE, complete=True)
            check_rest(found, mapped)
    assert found.values == {0x00080060: b"CT"}


@pytest.mark.parametrize("cut", range(len(MODALITY + PATIENT_ID + PIXELS) - 4))
def test_a_beginning_asks_for_more_until_the_pixel_data(cut):
    data = (MODALITY + PATIENT_ID + PIXELS)[:cut]
    with pytest.raises(NeedMore) as more:
        scan(data, LE, complete=False)
    assert more.value.at_least > cut


def test_a_data_set_without_pixel_data_is_all_header():
    found = scan(MODALITY + PATIENT_ID, LE, complete=True)
    assert found.pixel_tag is None
    assert found.header_bytes == len(MODALITY + PATIENT_ID)
    check_rest(found, MODALITY + PATIENT_ID)


@pytest.mark.parametrize("cut", [1, 5, 7, 9, 11])
def test_a_cut_element_is_malformed_when_nothing_follows(cut):
    with pytest.raises(Malformed):
        scan((MODALITY + PATIENT_ID)[: len(MODALITY) + cut], LE, complete=True)


@pytest.mark.parametrize(
    ("data", "declared"),
    [
        (element(0x00080016, None, b"1.2.3\0"), LE),
        (MODALITY, IMPLICIT),
        (MODALITY, BE),
        (element(0x00080060, "CS", b"CT", order=">"), LE),
        (b"<html><body>no data set</body></html>", LE),
        (bytes(range(256)), LE),
    ],
)
def test_a_lying_transfer_syntax_is_malformed(data, declared):
    with pytest.raises(Malformed):
        scan(data, declared, complete=True)
    with pytest.raises((Malformed, NeedMore)):
        scan(data, declared, complete=False)


def test_pixel_data_must_be_native_or_encapsulated_as_declared():
    fragments = element(0x7FE00010, "OB", item() + SEQUENCE_END, length=UNDEFINED)
    with pytest.raises(Malformed, match="encapsulated"):
        scan(MODALITY + fragments, LE, complete=True)
    with pytest.raises(Malformed, match="native"):
        scan(MODALITY + PIXELS, JPEG, complete=True)
    assert scan(MODALITY + fragments, JPEG, complete=True).pixel_length is None


def test_pixel_data_in_a_sequence_is_not_the_images():
    icon = element(0x00880200, "SQ", item(ROWS + PIXELS))
    found = scan(MODALITY + icon + PIXELS, LE, complete=True)
    assert found.header_bytes == len(MODALITY + icon)
    open_icon = element(
        0x00880200,
        "SQ",
        item(ROWS + PIXELS + ITEM_END, length=UNDEFINED) + SEQUENCE_END,
        length=UNDEFINED,
    )
    found = scan(MODALITY + open_icon + PIXELS, LE, complete=True)
    assert found.header_bytes == len(MODALITY + open_icon)
    assert 0x00280010 not in found.values
    jpeg_icon = element(
        0x00880200,
        "SQ",
        item(
            element(0x7FE00010, "OB", item() + item(b"\xff\xd8") + SEQUENCE_END, length=UNDEFINED)
            + ITEM_END,
            length=UNDEFINED,
        )
        + SEQUENCE_END,
        length=UNDEFINED,
    )
    found = scan(MODALITY + jpeg_icon + PIXELS, LE, complete=True)
    assert found.header_bytes == len(MODALITY + jpeg_icon)


def test_a_sequence_is_kept_with_its_items():
    items = item(element(0x00080100, "SH", b"CODE"))
    for sequence in (
        element(0x00081032, "SQ", items),
        element(0x00081032, "SQ", items + SEQUENCE_END, length=UNDEFINED),
    ):
        assert scan(sequence + PIXELS, LE, complete=True).values[0x00081032] == items


def nested(depth, *, undefined):
    content = b""
    if undefined:
        opening = element(0x00081140, "SQ", length=UNDEFINED) + item(length=UNDEFINED)
        return opening * depth + (ITEM_END + SEQUENCE_END) * depth
    for _ in range(depth):
        content = element(0x00081140, "SQ", item(content))
    return content


def test_nesting_to_256_is_stored_and_deeper_refused():
    scan(MODALITY + nested(50, undefined=True) + PIXELS, LE, complete=True)
    scan(MODALITY + nested(250, undefined=True) + PIXELS, LE, complete=True)
    for depth in (1000, 30_000):
        with pytest.raises(Malformed, match="deeper"):
            scan(MODALITY + nested(depth, undefined=True) + PIXELS, LE, complete=True)


@pytest.mark.parametrize("uid", [LE, uids.IMPLICIT_VR_LE])
def test_nesting_of_defined_length_is_bounded_just_so(uid):
    def data(depth):
        content = b""
        for _ in range(depth):
            if uid == LE:
                content = element(0x00081140, "SQ", item(content))
            else:
                inner = item(content)
                content = struct.pack("<HHI", 0x0008, 0x1140, len(inner)) + inner
        return content

    for depth in (1, 50, 250, 256):
        assert scan(data(depth), uid, complete=True).header_bytes == len(data(depth))
    for depth in (257, 300, 2000):
        with pytest.raises(Malformed, match="deeper"):
            scan(data(depth), uid, complete=True)


@pytest.mark.parametrize("inner", [True, False])
def test_nesting_is_counted_through_both_kinds_of_length(inner):
    """Undefined length inside defined, or the other way round, a hundred and more of each."""
    content = nested(150, undefined=inner)
    if inner:
        for _ in range(150):
            content = element(0x00081140, "SQ", item(content))
    else:
        content = nested(150, undefined=True).replace(ITEM_END, content + ITEM_END, 1)
    with pytest.raises(Malformed, match="deeper"):
        scan(content + PIXELS, LE, complete=True)


@pytest.mark.parametrize(
    "content",
    [
        item(b"\xff" * 6000),
        item(element(0x00081140, "SQ", b"\xff" * 5000)),
        item(MODALITY * 300 + b"\0\0"),
        item(ITEM_END * 700),
        item(SEQUENCE_END * 700),
        item(item(length=UNDEFINED) * 700),
        item(element(0x00081140, "SQ", length=UNDEFINED) + bytes(5000)),
        item(element(0x00081140, "OB", length=UNDEFINED) + item(bytes(5000)) + SEQUENCE_END),
    ],
)
def test_what_is_odd_deep_inside_is_left_as_it_is(content):
    scan(element(0x00081140, "SQ", content) + PIXELS, LE, complete=True)


@pytest.mark.parametrize(
    "content",
    [
        b"",  # unclosed
        item(b"abc", length=5000),
        item(item(), length=UNDEFINED),  # an item inside an item
        MODALITY,
        item(MODALITY, length=UNDEFINED) + SEQUENCE_END[:4],
    ],
)
def test_a_sequence_that_does_not_close_is_malformed(content):
    data = MODALITY + element(0x00081140, "SQ", content, length=UNDEFINED)
    with pytest.raises(Malformed):
        scan(data, LE, complete=True)


def test_un_of_undefined_length_is_an_implicit_sequence():
    inside = item(element(0x00080100, None, b"CODE") + ITEM_END, length=UNDEFINED)
    unknown = element(0x00091001, "UN", inside + SEQUENCE_END, length=UNDEFINED)
    found = scan(MODALITY + unknown + PATIENT_ID + PIXELS, LE, complete=True)
    assert found.values[0x00100020] == b"4711"


def test_an_item_in_implicit_vr_inside_explicit_is_tolerated():
    inside = item(element(0x00080100, None, b"CODE") + ITEM_END, length=UNDEFINED)
    sequence = element(0x00081140, "SQ", inside + SEQUENCE_END, length=UNDEFINED)
    assert scan(MODALITY + sequence + PIXELS, LE, complete=True).pixel_tag


def test_oddities_are_tolerated():
    data = (
        element(0x00080000, "UL", b"\xff\xff\xff\x7f")  # absurd group length
        + MODALITY
        + element(0x00090010, "LO", b"ODD")  # odd length
        + element(0x00091010, "ZZ", b"what is ZZ?!")  # unknown VR, 32-bit length
        + struct.pack("<HH2sH", 9, 0x1011, b"ZY", 2)
        + b"ab"
        + SEQUENCE_END  # a stray delimiter
        + PATIENT_ID
        + element(0x00080020, "DA", b"20200101")  # out of order
        + PIXELS
    )
    found = scan(data, LE, complete=True)
    assert found.values == {
        0x00080060: b"CT",
        0x00100020: b"4711",
        0x00080020: b"20200101",
    }


def test_empty_values_are_no_values():
    data = element(0x00080060, "CS") + PATIENT_ID
    assert scan(data, LE, complete=True).values == {0x00100020: b"4711"}


@pytest.mark.parametrize("zeros", [1, 2, 7, 8, 100, 70_000])
def test_zero_padding_at_the_end_is_tolerated(zeros):
    data = MODALITY + PATIENT_ID + bytes(zeros)
    assert scan(data, LE, complete=True).values[0x00100020] == b"4711"
    data = MODALITY + PIXELS + bytes(zeros)
    check_rest(scan(data, LE, complete=True), data)
    implicit = element(0x00080060, None, b"CT") + bytes(zeros)
    assert scan(implicit, IMPLICIT, complete=True).values


def test_a_value_too_long_to_index_is_left_out():
    data = MODALITY + element(0x00321064, "SQ", item(bytes(2 << 20))) + PIXELS
    assert scan(data, LE, complete=True).values == {0x00080060: b"CT"}


def test_a_length_of_4_gib_allocates_nothing():
    data = MODALITY + element(0x00081032, "SQ", length=0xFFFFFFFE)
    with pytest.raises(Malformed):
        scan(data, LE, complete=True)


@pytest.mark.parametrize("tag", [0x7FE00008, 0x7FE00009])
def test_float_pixel_data_is_pixel_data(tag):
    vr = "OF" if tag == 0x7FE00008 else "OD"
    found = scan(MODALITY + element(tag, vr, bytes(8)), LE, complete=True)
    assert (found.pixel_tag, found.pixel_vr) == (tag, vr)
    implicit = element(0x00080060, None, b"CT") + element(tag, None, bytes(8))
    assert scan(implicit, IMPLICIT, complete=True).pixel_vr == vr


def test_what_follows_the_pixel_data_is_checked():
    padding = element(0xFFFCFFFC, "OB", bytes(6))
    signature = element(0xFFFAFFFA, "SQ", item(MODALITY) + SEQUENCE_END, length=UNDEFINED)
    data = MODALITY + PIXELS + signature + padding
    found = scan(data, LE, complete=True)
    check_rest(found, data)
    for cut in (1, 5, len(padding) + 3, len(padding) + len(signature) + 2):
        with pytest.raises(Malformed):
            check_rest(found, data[:-cut])


def test_fragments_are_checked():
    data = MODALITY + element(
        0x7FE00010, "OB", item() + item(b"\xff\xd8\xff\xd9") + SEQUENCE_END, length=UNDEFINED
    )
    found = scan(data, JPEG, complete=True)
    check_rest(found, data)
    for cut in (1, 8, 10, 20):
        with pytest.raises(Malformed):
            check_rest(found, data[:-cut])


@pytest.mark.parametrize("syntax", [LE, IMPLICIT])
def test_items_must_fill_their_sequence(syntax):
    vr = "SQ" if syntax == LE else None
    modality = MODALITY if syntax == LE else element(0x00080060, None, b"CT")
    code = element(0x00080100, "SH" if vr else None, b"CODE")
    for items in (
        item(),
        item(code) + item(code),
        item(code + ITEM_END, length=UNDEFINED) + item(),
        item(code) + SEQUENCE_END,
    ):
        data = modality + element(0x00081140, vr, items)
        assert scan(data, syntax, complete=True).values == {0x00080060: b"CT"}
    for items in (b"12345678", item(code, length=100), item(code)[:-2], item(code) + b"x"):
        with pytest.raises(Malformed):
            scan(modality + element(0x00081140, vr, items), syntax, complete=True)


@pytest.mark.parametrize("syntax", [LE, IMPLICIT])
def test_zeros_between_elements_are_refused_in_linear_time(syntax):
    modality = MODALITY if syntax == LE else element(0x00080060, None, b"CT")
    data = modality + bytes(4 << 20) + b"\1"
    with pytest.raises(Malformed, match="zero bytes"):
        scan(data, syntax, complete=True)
    data = MODALITY + PIXELS + bytes(4 << 20) + b"\1"
    with pytest.raises(Malformed):
        check_rest(scan(data, LE, complete=True), data)
