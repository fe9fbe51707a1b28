"""Whole data sets to values and back."""

import struct

import pytest

from filmroom.dicom import elements
from filmroom.dicom.elements import Element, read_data_set, write_data_set
from filmroom.dicom.errors import Malformed

CHARSET, NAME, ROWS, SMALLEST = 0x00080005, 0x00100010, 0x00280010, 0x00280106
PIXEL_REPRESENTATION, CODES = 0x00280103, 0x00081032
NOTATIONS = [(True, True), (True, False), (False, True)]


def a_data_set():
    ds: elements.DataSet = {}
    elements.put_text(ds, CHARSET, "ISO_IR 192")
    elements.put_text(ds, NAME, "Müller^Jörg")
    elements.put_numbers(ds, ROWS, 512)
    elements.put_numbers(ds, PIXEL_REPRESENTATION, 1)
    elements.put_numbers(ds, SMALLEST, -5, vr="SS")
    code: elements.DataSet = {}
    elements.put_text(code, 0x00080100, "CODE")
    elements.put_items(ds, CODES, code, {})
    ds[0x7FE00010] = Element(0x7FE00010, "OW", b"\1\2\3\4")
    return dict(sorted(ds.items()))


@pytest.mark.parametrize(("explicit", "little"), NOTATIONS)
def test_what_is_written_is_read_back(explicit, little):
    raw = write_data_set(a_data_set(), explicit_vr=explicit, little_endian=little)
    back = read_data_set(raw, explicit_vr=explicit, little_endian=little)
    assert write_data_set(back, explicit_vr=True) == write_data_set(a_data_set(), explicit_vr=True)
    assert back[SMALLEST].vr == "SS"
    assert elements.get_text(back, NAME) == "Müller^Jörg"
    assert elements.get_numbers(back, SMALLEST) == [-5]
    assert elements.get_text(back, ROWS) == "512"
    assert [elements.get_text(item, 0x00080100) for item in elements.get_items(back, CODES)] == [
        "CODE",
        "",
    ]


def test_pixel_representation_decides_us_or_ss_in_implicit_vr():
    def implicit(signed):
        return struct.pack("<HHIHHHIH", 0x28, 0x103, 2, signed, 0x28, 0x106, 2, 0xFFFF)

    for signed, vr in ((0, "US"), (1, "SS")):
        ds = read_data_set(implicit(signed), explicit_vr=False, little_endian=True)
        assert ds[SMALLEST].vr == vr


def test_implicit_private_elements_are_un_and_their_creators_lo():
    raw = struct.pack("<HHI4sHHI2s", 9, 0x10, 4, b"ACME", 9, 0x1001, 2, b"ab")
    ds = read_data_set(raw, explicit_vr=False, little_endian=True)
    assert [(e.vr, e.raw) for e in ds.values()] == [("LO", b"ACME"), ("UN", b"ab")]


def test_un_of_a_known_tag_gets_its_vr_back():
    raw = struct.pack("<HH2sHI4s", 0x10, 0x20, b"UN", 0, 4, b"4711")
    assert read_data_set(raw, explicit_vr=True, little_endian=True)[0x00100020].vr == "LO"
    item = struct.pack("<HHIHHI4s", 0xFFFE, 0xE000, 12, 8, 0x100, 4, b"CODE")
    raw = struct.pack("<HH2sHI", 8, 0x1032, b"UN", 0, len(item)) + item
    ds = read_data_set(raw, explicit_vr=True, little_endian=True)
    assert elements.get_text(ds[CODES].items[0], 0x00080100) == "CODE"
    raw = struct.pack("<HH2sHI4s", 8, 0x1032, b"UN", 0, 4, b"junk")
    assert read_data_set(raw, explicit_vr=True, little_endian=True)[CODES].raw == b"junk"


def test_undefined_lengths_are_read():
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    code = struct.pack("<HH2sH4s", 8, 0x100, b"SH", 4, b"CODE")
    raw = struct.pack("<HH2sHI", 8, 0x1032, b"SQ", 0, 0xFFFFFFFF) + item + code + ends
    ds = read_data_set(raw + code, explicit_vr=True, little_endian=True)
    assert elements.get_text(ds[CODES].items[0], 0x00080100) == "CODE"
    assert elements.get_text(ds, 0x00080100) == "CODE"


def test_encapsulated_pixel_data_is_kept_as_fragments():
    fragments = struct.pack("<HHIHHI4s", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, 4, b"\xff\xd8\xff\xd9")
    ds = {0x7FE00010: Element(0x7FE00010, "OB", fragments, encapsulated=True)}
    raw = write_data_set(ds, explicit_vr=True)
    assert raw == (
        struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
        + fragments
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    assert read_data_set(raw, explicit_vr=True, little_endian=True) == ds


def test_values_are_padded_and_a_long_one_becomes_un():
    ds: elements.DataSet = {}
    elements.put_text(ds, 0x00080018, "1.2.3")
    elements.put_text(ds, 0x00100020, "odd")
    elements.put_text(ds, 0x00104000, "x" * 70_000)
    raw = write_data_set(ds, explicit_vr=True)
    assert b"1.2.3\0" in raw
    assert b"odd " in raw
    assert b"\x10\x00\x00\x40UN\0\0" in raw
    assert (
        len(elements.get_text(read_data_set(raw, explicit_vr=True, little_endian=True), 0x00104000))
        == 70_000
    )


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [65, 1000, 30_000])
def test_deep_nesting_is_refused_without_recursion(depth, undefined):
    if undefined:
        raw = struct.pack(
            "<HH2sHIHHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF
        ) * (depth + 1)
    else:
        raw = b"".join(
            struct.pack("<HH2sHIHHI", 8, 0x1140, b"SQ", 0, 20 * n + 8, 0xFFFE, 0xE000, 20 * n)
            for n in range(depth, -1, -1)
        )
    with pytest.raises(Malformed, match="deeper"):
        read_data_set(raw, explicit_vr=True, little_endian=True)


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_cut_data_set_is_malformed_or_shorter(cut):
    raw = write_data_set(a_data_set(), explicit_vr=True)
    try:
        ds = read_data_set(raw[:-cut], explicit_vr=True, little_endian=True)
    except Malformed:
        return
    assert len(ds) < len(a_data_set())


def test_absent_and_empty_elements_read_as_nothing():
    ds = {NAME: Element(NAME, "PN", b"")}
    assert elements.get_text(ds, NAME) == elements.get_text(ds, CODES) == ""
    assert elements.get_texts(ds, NAME) == []
    assert elements.get_numbers(ds, ROWS) == elements.get_items(ds, CODES) == []


@pytest.mark.parametrize(
    ("tag", "vr", "keyword"),
    [
        (0x00100010, "PN", "PatientName"),
        (0x7FE00010, "OW", "PixelData"),
        (0x60023000, "OW", "OverlayData"),
        (0x60020010, "US", "OverlayRows"),
        (0x00090010, "LO", ""),
        (0x00091010, "UN", ""),
        (0x00080000, "UL", "GenericGroupLength"),
        (0x12345678, "UN", ""),
    ],
)
def test_the_dictionary_knows_standard_repeating_and_private_tags(tag, vr, keyword):
    assert elements.VR_OF(tag) == vr
    assert elements.KEYWORD_OF(tag) in (keyword, "")
    if keyword and tag in (0x00100010, 0x7FE00010):
        assert elements.TAG_OF(keyword) == tag
    assert elements.TAG_OF("NoSuchKeyword") is None
