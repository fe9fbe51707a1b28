"""PS3.18 F: headers to JSON, and JSON to data sets."""

import base64
import json
import struct

import pytest

from filmroom.dicom import dicomjson, elements, uids
from filmroom.dicom.elements import Element, write_data_set
from filmroom.dicom.errors import Malformed

LE, BE, IMPLICIT = uids.EXPLICIT_VR_LE, uids.EXPLICIT_VR_BE, uids.IMPLICIT_VR_LE
ISO_100 = Element(0x00080005, "CS", b"ISO_IR 100")


def header(*parts, syntax=LE):
    known = uids.TRANSFER_SYNTAXES[syntax]
    return write_data_set(
        {part.tag: part for part in parts},
        explicit_vr=known.explicit_vr,
        little_endian=known.little_endian,
    )


def encoded(*parts, syntax=LE, **options):
    raw = header(*parts, syntax=syntax)
    body = dicomjson.encode(raw, syntax, lambda path: f"/bulk/{path}", **options)
    return json.loads(body, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("LO", b"a\\b ", ["a", "b"]),
        ("LO", b"a\\\\b", ["a", None, "b"]),
        ("LT", b" a\\b \r\n ", [" a\\b \r\n"]),
        ("UI", b"1.2.3\0", ["1.2.3"]),
        ("IS", b" 12 ", [12]),
        ("IS", b"+5\\-3", [5, -3]),
        ("IS", b"1\\abc\\\\1_0", [1, "abc", None, "1_0"]),
        ("IS", b"1e5", ["1e5"]),
        ("IS", b"99999999999999999999", ["99999999999999999999"]),
        ("DS", b"1e5", [1e5]),
        ("DS", b"12", [12]),
        ("DS", b"-0.50 ", [-0.5]),
        ("DS", b"1\\abc", [1, "abc"]),
        ("DS", b"1,5", ["1,5"]),
        ("DS", b"nan\\inf\\1e400", ["nan", "inf", "1e400"]),
        ("DS", b"9" * 400, ["9" * 400]),
        ("US", b"\1\0\xff\xff", [1, 65535]),
        ("US", b"\1\0\2", [1]),
        ("SS", b"\xff\xff", [-1]),
        ("UV", b"\xff" * 8, ["18446744073709551615"]),
        ("SV", b"\xff" * 8, [-1]),
        ("FD", struct.pack("<3d", 1.5, float("nan"), float("inf")), [1.5, None, None]),
        ("FL", struct.pack("<f", 0.5), [0.5]),
        ("AT", b"\x10\x00\x20\x00\x28\x00\x10\x00", ["00100020", "00280010"]),
        ("PN", b"Doe^John", [{"Alphabetic": "Doe^John"}]),
        (
            "PN",
            b"A=B=C\\\\D",
            [{"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C"}, None, {"Alphabetic": "D"}],
        ),
        ("PN", b"=B", [{"Ideographic": "B"}]),
        ("PN", b"==", [None]),
        ("CS", b"    ", None),
        ("DA", b"", None),
        ("DA", b"99999999", ["99999999"]),
        ("UR", b"http://a/b\\c ", ["http://a/b\\c"]),
    ],
)
def test_values_are_written_as_the_model_says(vr, raw, values):
    attribute = {"vr": vr} if values is None else {"vr": vr, "Value": values}
    tag = 0x00091001
    one = dicomjson.element_json(tag, vr, raw, (), explicit_vr=True, little_endian=True)
    assert json.loads(json.dumps(one)) == attribute
    code = vr.encode()
    if len(raw) % 2 == 0:
        assert encoded(Element(tag, vr, raw)) == {"00091001": attribute}, code


def test_tags_ascend_and_group_lengths_and_group_2_are_left_out():
    raw = (
        struct.pack("<HH2sH4s", 8, 0, b"UL", 4, b"1234")
        + struct.pack("<HH2sH2s", 2, 0x16, b"AE", 2, b"AE")
        + struct.pack("<HH2sH4s", 0x10, 0x20, b"LO", 4, b"4711")
        + struct.pack("<HH2sH2s", 8, 0x60, b"CS", 2, b"CT")
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        + struct.pack("<HH2sH2s", 8, 0x50, b"SH", 2, b"A ")
    )
    assert list(json.loads(dicomjson.encode(raw, LE, str))) == ["00080050", "00080060", "00100020"]


def test_text_is_utf_8_and_says_so():
    name = Element(0x00100010, "PN", b"M\xfcller^J\xf6rg")
    obj = encoded(ISO_100, name)
    assert obj["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert obj["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]


def test_an_item_may_have_its_own_character_set():
    inner = {
        0x00080005: Element(0x00080005, "CS", b"ISO_IR 144"),
        0x00080104: Element(0x00080104, "LO", b"\xbb"),
    }
    outer = {0x00080104: Element(0x00080104, "LO", b"\xe9")}
    obj = encoded(ISO_100, Element(0x00081032, "SQ", [inner, outer]))
    items = obj["00081032"]["Value"]
    assert [item["00080104"]["Value"] for item in items] == [["Л"], ["é"]]


def test_bad_text_is_shown_with_replacement():
    obj = encoded(Element(0x00080005, "CS", b"ISO_IR 192"), Element(0x00100010, "PN", b"a\xff"))
    assert obj["00100010"]["Value"] == [{"Alphabetic": "a\ufffd"}]


HOSTILE = "<script>\"\\\r\n\x1b[31m\u202e=cmd|' '!A0${jndi:x}"


def test_hostile_text_stays_inert_inside_valid_json():
    raw = HOSTILE.encode() + b" " * (len(HOSTILE.encode()) % 2)
    obj = encoded(Element(0x00080005, "CS", b"ISO_IR 192"), Element(0x00104000, "LT", raw))
    assert obj["00104000"]["Value"] == [HOSTILE.rstrip(" ")]


@pytest.mark.parametrize("vr", ["OB", "OW", "OD", "OF", "OL", "OV", "UN"])
def test_long_binary_becomes_bulk_data_and_short_stays_inline(vr):
    obj = encoded(Element(0x00091001, vr, b"x" * 16), Element(0x00091002, vr, b"y" * 1040))
    assert base64.b64decode(obj["00091001"]["InlineBinary"]) == b"x" * 16
    assert obj["00091002"] == {"vr": vr, "BulkDataURI": "/bulk/00091002"}


def test_palettes_are_always_inline():
    obj = encoded(Element(0x00281201, "OW", b"x" * 4096))
    assert len(base64.b64decode(obj["00281201"]["InlineBinary"])) == 4096


def test_big_endian_words_are_turned_round():
    words = Element(0x00281201, "OW", b"\1\0\2\0")
    obj = encoded(words, Element(0x00280010, "US", b"\0\2"), syntax=BE)
    assert base64.b64decode(obj["00281201"]["InlineBinary"]) == b"\1\0\2\0"
    assert obj["00280010"]["Value"] == [512]
    long_words = Element(0x00091001, "OW", b"\1\0" * 1000)
    obj = encoded(long_words, syntax=BE)  # what lies in the file is not what bulk data must be
    assert base64.b64decode(obj["00091001"]["InlineBinary"]) == b"\1\0" * 1000


def test_pixel_data_is_named_where_there_is_any():
    assert "7FE00010" not in encoded(ISO_100)
    obj = encoded(ISO_100, pixel_tag=0x7FE00010)
    assert obj["7FE00010"] == {"vr": "OW", "BulkDataURI": "/bulk/7FE00010"}


def waveform(syntax):
    channel = {0x003A0200: Element(0x003A0200, "SQ", [])}
    group = {
        0x003A0005: Element(0x003A0005, "US", b"\2\0"),
        0x003A0200: Element(0x003A0200, "SQ", [channel]),
        0x54001010: Element(0x54001010, "OW", bytes(range(256)) * 8),
    }
    return header(
        Element(0x00080060, "CS", b"ECG "),
        Element(0x54000100, "SQ", [{}, group]),
        syntax=syntax,
    )


@pytest.mark.parametrize("syntax", [LE, IMPLICIT])
def test_waveform_data_is_located_by_its_path(syntax):
    raw = waveform(syntax)
    paths = []
    dicomjson.encode(raw, syntax, lambda path: paths.append(path) or path)
    assert paths == ["54000100/2/54001010"]
    offset, length, vr = dicomjson.locate(raw, syntax, paths[0])
    assert (raw[offset : offset + length], vr) == (bytes(range(256)) * 8, "OW")


def test_bulk_data_behind_undefined_lengths_is_located():
    begin = struct.pack(
        "<HH2sHIHHI", 0x5400, 0x100, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    item_end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    wave = struct.pack("<HH2sHI", 0x5400, 0x1010, b"OW", 0, 2000) + b"ab" * 1000
    raw = begin + begin + item_end + end + item_end + item + wave + item_end + end
    paths = []
    dicomjson.encode(raw, LE, lambda path: paths.append(path) or path)
    assert paths == ["54000100/2/54001010"]
    offset, length, _ = dicomjson.locate(raw, LE, paths[0])
    assert raw[offset : offset + length] == b"ab" * 1000


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("54000100/1/54001010", KeyError),
        ("54000100/3/54001010", KeyError),
        ("00080018", KeyError),
        ("54000100", None),
        ("54000100/2", Malformed),
        ("", Malformed),
        ("../../etc/passwd", Malformed),
        ("zz", Malformed),
        ("/".join(["54000100", "1"] * 500 + ["54001010"]), Malformed),
    ],
)
def test_a_path_to_nowhere_is_told(path, error):
    if error is None:
        assert dicomjson.locate(waveform(LE), LE, path)[2] == "SQ"
        return
    with pytest.raises(error):
        dicomjson.locate(waveform(LE), LE, path)


def test_very_long_text_becomes_bulk_data():
    obj = encoded(Element(0x00420012, "LO", b"short "), Element(0x0040A160, "UT", b"x" * 300_000))
    assert obj["0040A160"] == {"vr": "UT", "BulkDataURI": "/bulk/0040A160"}


def nested(depth):
    opening = struct.pack("<HH2sHIHHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return opening * depth + closing * depth


def test_nesting_beyond_64_is_left_out_and_the_rest_stays():
    raw = nested(100) + header(Element(0x00100020, "LO", b"4711"))
    obj = json.loads(dicomjson.encode(raw, LE, str))
    assert obj["00100020"]["Value"] == ["4711"]
    depth, item = 0, obj
    while item.get("00081140", {}).get("Value"):
        item, depth = item["00081140"]["Value"][0], depth + 1
    assert depth == 64
    with pytest.raises(Malformed):
        dicomjson.encode(nested(30_000), LE, str)


def test_nesting_of_defined_length_does_not_recurse():
    raw = b"".join(
        struct.pack("<HH2sHIHHI", 8, 0x1140, b"SQ", 0, 20 * n + 8, 0xFFFE, 0xE000, 20 * n)
        for n in range(30_000, -1, -1)
    )
    assert b'"00081140"' in dicomjson.encode(raw, LE, str)


def test_a_sequence_that_cannot_be_read_is_shown_without_items():
    broken = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 16)
    broken += struct.pack("<HHI", 0xFFFE, 0xE000, 8) + b"12345678"
    raw = broken + header(Element(0x00100020, "LO", b"4711"))
    obj = json.loads(dicomjson.encode(raw, LE, str))
    assert obj == {"00081140": {"vr": "SQ"}, "00100020": {"vr": "LO", "Value": ["4711"]}}
    one = dicomjson.element_json(
        0x00081140, "SQ", b"junk!", (), explicit_vr=True, little_endian=True
    )
    assert one == {"vr": "SQ"}


def test_un_of_a_known_tag_is_shown_as_what_it_is():
    raw = struct.pack("<HH2sHI4s", 0x10, 0x20, b"UN", 0, 4, b"4711")
    assert json.loads(dicomjson.encode(raw, LE, str))["00100020"] == {"vr": "LO", "Value": ["4711"]}
    charset = struct.pack("<HH2sHI10s", 8, 5, b"UN", 0, 10, b"ISO_IR 100")
    raw = charset + struct.pack("<HH2sHI2s", 0x10, 0x20, b"UN", 0, 2, b"\xe9 ")
    assert json.loads(dicomjson.encode(raw, LE, str))["00100020"]["Value"] == ["é"]


def test_pixel_representation_decides_in_implicit_vr():
    signed = [Element(0x00280103, "US", b"\1\0"), Element(0x00280106, "SS", b"\xff\xff")]
    assert encoded(*signed, syntax=IMPLICIT)["00280106"] == {"vr": "SS", "Value": [-1]}
    assert encoded(signed[1], syntax=IMPLICIT)["00280106"] == {"vr": "US", "Value": [65535]}


def test_an_unknown_vr_is_shown_as_un():
    raw = struct.pack("<HH2sHI4s", 9, 0x1001, b"ZZ", 0, 4, b"abcd")
    obj = json.loads(dicomjson.encode(raw, LE, str))
    assert obj == {"00091001": {"vr": "UN", "InlineBinary": "YWJjZA=="}}


def test_a_header_that_is_cut_is_malformed():
    raw = header(Element(0x00100020, "LO", b"4711"))
    with pytest.raises(Malformed):
        dicomjson.encode(raw[:-1], LE, str)


OBJECT = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080016": {"vr": "UI", "Value": ["1.2.3"]},
    "00081032": {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": ["é"]}}]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
    "00100020": {"vr": "LO"},
    "00200013": {"vr": "IS", "Value": [5]},
    "00280010": {"vr": "US", "Value": [512]},
    "00280030": {"vr": "DS", "Value": [0.5, 0.25]},
    "00281201": {"vr": "OW", "InlineBinary": "AQACAA=="},
    "00720026": {"vr": "AT", "Value": ["00100020"]},
    "00189087": {"vr": "FD", "Value": [1.5]},
}


def test_an_object_becomes_a_data_set_and_an_object_again():
    ds = dicomjson.to_elements(OBJECT, bytes)
    assert list(ds) == sorted(ds)
    assert dicomjson.from_elements(ds) == dict(sorted(OBJECT.items()))
    written = write_data_set(ds, explicit_vr=True)
    assert json.loads(dicomjson.encode(written, LE, str)) == OBJECT


def test_bulk_data_is_fetched():
    obj = {"7FE00010": {"vr": "OW", "BulkDataURI": "cid:1"}}
    ds = dicomjson.to_elements(obj, {"cid:1": b"\1\2"}.__getitem__)
    assert ds[0x7FE00010] == Element(0x7FE00010, "OW", b"\1\2")
    with pytest.raises(KeyError):
        dicomjson.to_elements({"7FE00010": {"vr": "OW", "BulkDataURI": "x"}}, {}.__getitem__)


def test_text_beyond_ascii_makes_the_data_set_utf_8():
    ds = dicomjson.to_elements({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "é"}]}}, bytes)
    assert elements.get_text(ds, 0x00080005) == "ISO_IR 192"
    assert elements.get_text(ds, 0x00100010) == "é"
    assert 0x00080005 not in dicomjson.to_elements(
        {"00100020": {"vr": "LO", "Value": ["x"]}}, bytes
    )


@pytest.mark.parametrize(
    "number", [1 / 3, -1 / 3, 1e-300, -1.7976931348623157e308, 123456789.123456789]
)
def test_a_ds_has_at_most_16_characters(number):
    ds = dicomjson.to_elements({"00280030": {"vr": "DS", "Value": [number]}}, bytes)
    raw = ds[0x00280030].raw
    assert len(raw) <= 16
    assert float(raw) == pytest.approx(number)


@pytest.mark.parametrize(
    "obj",
    [
        [],
        {"PatientID": {"vr": "LO"}},
        {"00100020": []},
        {"0010002": {"vr": "LO"}},
        {"00100020": {"vr": "ZZ"}},
        {"00100020": {"vr": ["LO"]}},
        {"00100020": {"vr": "LO", "Value": "x"}},
        {"00100020": {"vr": "LO", "Value": [5]}},
        {"00100020": {"vr": "LO", "Value": [{}]}},
        {"00280010": {"vr": "US", "Value": [70000]}},
        {"00280010": {"vr": "US", "Value": ["x"]}},
        {"00280010": {"vr": "US", "Value": [True]}},
        {"00280010": {"vr": "OW", "Value": [1]}},
        {"00281201": {"vr": "OW", "InlineBinary": "***"}},
        {"00281201": {"vr": "OW", "InlineBinary": 5}},
        {"00720026": {"vr": "AT", "Value": ["xyz"]}},
        {"00720026": {"vr": "AT", "Value": [5]}},
        {"00081032": {"vr": "SQ", "Value": [5]}},
        {"00200013": {"vr": "IS", "Value": [True]}},
        {"00100010": {"vr": "PN", "Value": [5]}},
    ],
)
def test_what_is_not_of_the_model_is_malformed(obj):
    with pytest.raises(Malformed):
        dicomjson.to_elements(obj, bytes)


def test_json_nested_too_deep_is_malformed():
    obj = {}
    for _ in range(100):
        obj = {"00081140": {"vr": "SQ", "Value": [obj]}}
    with pytest.raises(Malformed, match="deeper"):
        dicomjson.to_elements(obj, bytes)


def test_a_sequence_of_endless_elements_is_shown_without_items(monkeypatch):
    monkeypatch.setattr(dicomjson, "MAX_ELEMENTS", 100)
    item = {tag: Element(tag, "LO", b"x ") for tag in range(0x00091001, 0x00091050)}
    ident = Element(0x00100020, "LO", b"4711")
    obj = encoded(Element(0x00081140, "SQ", [item]), ident)
    assert len(obj["00081140"]["Value"][0]) == 79
    obj = encoded(Element(0x00081140, "SQ", [item, item]), ident)
    assert obj == {"00081140": {"vr": "SQ"}, "00100020": {"vr": "LO", "Value": ["4711"]}}
    obj = encoded(Element(0x00081140, "SQ", [{}] * 101), ident)
    assert obj["00081140"] == {"vr": "SQ"}
    with pytest.raises(Malformed, match="more than"):
        encoded(*(Element(tag, "LO", b"") for tag in range(0x00091001, 0x00091100)))


@pytest.mark.parametrize("length", [0xFFFFFFFF, 18])
def test_a_sequence_that_cannot_be_read_hides_nothing_but_itself(length):
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 10) + b"\x08\x00\x50\x00SH\xff\x00ab"
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if length == 0xFFFFFFFF else b""
    sequence = struct.pack("<HH2sxxI", 0x0040, 0x0275, b"SQ", length) + item + end
    after = header(Element(0x00401001, "SH", b"RP1 "))
    obj = json.loads(dicomjson.encode(sequence + after, LE, str))
    assert obj == {"00400275": {"vr": "SQ"}, "00401001": {"vr": "SH", "Value": ["RP1"]}}
