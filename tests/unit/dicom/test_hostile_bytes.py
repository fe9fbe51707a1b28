"""Whatever the bytes are: only Malformed or NeedMore, no recursion, no memory of their asking."""

import contextlib
import json
import struct
import tracemalloc

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filmroom.dicom import dicomjson, elements, frames, part10, text, uids
from filmroom.dicom.deflated import inflate
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.scan import check_rest, scan

SYNTAXES = st.sampled_from(
    [
        uids.IMPLICIT_VR_LE,
        uids.EXPLICIT_VR_LE,
        uids.EXPLICIT_VR_BE,
        uids.JPEG_BASELINE,
        uids.RLE_LOSSLESS,
        "1.2.840.10008.1.2.4.102",
    ]
)
LENGTHS = [0, 1, 2, 4, 8, 0xFFFE, 0xFFFFFFFE, 0xFFFFFFFF]
TAGS = [0x00080005, 0x00080018, 0x00081032, 0x00100010, 0x00280008, 0x00280010, 0x00280011]
TAGS += [0x00280100, 0x00280103, 0x7FE00001, 0x7FE00010, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD]
VRS = [b"SQ", b"UN", b"OB", b"OW", b"CS", b"PN", b"US", b"FD", b"IS", b"DS", b"AT", b"ZZ", b"\0\0"]


@st.composite
def pieces(draw):
    """Something near a data element, in any order and with any length."""
    tag = draw(st.sampled_from(TAGS) | st.integers(0, 0xFFFFFFFF))
    length = draw(st.sampled_from(LENGTHS) | st.integers(0, 40))
    value = draw(st.binary(max_size=40))
    vr = draw(st.sampled_from(VRS))
    order = draw(st.sampled_from("<<<>"))
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    shape = draw(st.integers(0, 3))
    if shape == 0:
        return head + struct.pack(order + "I", length) + value
    if shape == 1:
        return head + vr + struct.pack(order + "H", length & 0xFFFF) + value
    if shape == 2:
        return head + vr + b"\0\0" + struct.pack(order + "I", len(value)) + value
    return head + vr + b"\0\0" + struct.pack(order + "I", length) + value


ARBITRARY = st.binary(max_size=200) | st.lists(pieces(), max_size=12).map(b"".join)


def sound_data_set():
    ds = {}
    elements.put_text(ds, 0x00080005, "\\ISO 2022 IR 87")
    elements.put_text(ds, 0x00080018, "1.2.3")
    item = {}
    elements.put_text(item, 0x00080100, "CODE")
    elements.put_items(ds, 0x00081032, item, {})
    elements.put_text(ds, 0x00100010, "山田^太郎")
    elements.put_text(ds, 0x00280008, "2")
    for tag, value in ((0x00280010, 2), (0x00280011, 2), (0x00280100, 8), (0x00280002, 1)):
        elements.put_numbers(ds, tag, value)
    elements.put_text(ds, 0x00280030, "0.5\\0.5")
    return ds


SOUND = elements.write_data_set(sound_data_set(), explicit_vr=True)
NATIVE = SOUND + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 8) + bytes(8)
FRAGMENTS = b"".join(
    struct.pack("<HHI", 0xFFFE, 0xE000, len(f)) + f for f in (b"", b"\xff\xd8\xff\xd9", b"abcd")
)
JPEG = (
    SOUND
    + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    + FRAGMENTS
    + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
)
IMPLICIT = elements.write_data_set(sound_data_set(), explicit_vr=False)
BIG = elements.write_data_set(sound_data_set(), explicit_vr=True, little_endian=False)


@st.composite
def mutated(draw):
    """A sound data set with a few bytes changed, removed or put in."""
    data = bytearray(draw(st.sampled_from([NATIVE, JPEG, IMPLICIT, BIG])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 20))]
            case 2:
                data[at:at] = draw(st.binary(max_size=12))
            case _:
                data[at : at + 4] = b"\xff\xff\xff\xff"
        if not data:
            break
    return bytes(data)


def look_at(data, syntax):
    """Everything that ingest and retrieval do with bytes from outside."""
    known = uids.TRANSFER_SYNTAXES[syntax]
    for complete in (False, True):
        try:
            found = scan(data, syntax, complete=complete)
            check_rest(found, data)
            table = frames.build(found, data, syntax)
            if table is not None:
                assert frames.FrameTable.from_bytes(table.to_bytes()) == table
                for index in range(min(table.frames, 20)):
                    for offset, length in table.ranges(index):
                        assert 0 <= offset <= offset + length <= len(data)
            charsets = text.charsets(found.values.get(0x00080005, b""))
            for tag, raw in found.values.items():
                vr = elements.VR_OF(tag)
                one = dicomjson.element_json(
                    tag,
                    vr,
                    raw,
                    charsets,
                    explicit_vr=known.explicit_vr,
                    little_endian=known.little_endian,
                )
                json.dumps(one)
            paths = []
            header = data[: found.header_bytes]
            body = dicomjson.encode(
                header, syntax, lambda path, paths=paths: paths.append(path) or path, inline_limit=4
            )
            json.loads(body)
            for path in paths:
                offset, length, _ = dicomjson.locate(header, syntax, path)
                assert 0 <= offset <= offset + length <= len(header)
        except (Malformed, NeedMore):
            pass
    try:
        ds = elements.read_data_set(
            data, explicit_vr=known.explicit_vr, little_endian=known.little_endian
        )
        json.dumps(dicomjson.from_elements(ds))
        elements.write_data_set(ds, explicit_vr=True)
    except Malformed:
        pass


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARBITRARY, SYNTAXES)
def test_arbitrary_bytes_are_read_or_malformed(data, syntax):
    look_at(data, syntax)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated(), SYNTAXES)
def test_damaged_data_sets_are_read_or_malformed(data, syntax):
    look_at(data, syntax)


@settings(max_examples=200, deadline=None)
@given(ARBITRARY | mutated(), st.booleans(), st.booleans())
def test_arbitrary_files_are_read_or_malformed(data, preamble, complete):
    head = bytes(128) + b"DICM" if preamble else b""
    try:
        part10.parse_meta(head + data, complete=complete)
    except Malformed:
        pass
    except NeedMore:
        assert not complete


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60) | st.text(max_size=20).map(str.encode),
    st.sampled_from(["PN", "LO", "LT", "CS", "UI", "UT"]),
    st.lists(
        st.sampled_from(["", "ISO_IR 192", "ISO 2022 IR 87", "ISO 2022 IR 149", "GBK", "NONE"]),
        max_size=3,
    ).map(tuple),
)
def test_any_text_is_decoded_and_any_encoded(raw, vr, charsets):
    decoded = text.decode(raw, vr, charsets)
    decoded.encode("utf-8")
    text.encode(decoded, vr, charsets)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_deflate_is_inflated_or_malformed(data):
    with contextlib.suppress(Malformed):
        assert len(inflate(data, 1000)) <= 1000


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["00100010", "00081032", "vr", "Value", "InlineBinary", "x"]),
                inner | st.sampled_from(["SQ", "PN", "US", "OW", "AT", "DS"]),
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_arbitrary_json_becomes_a_data_set_or_is_malformed(obj):
    with contextlib.suppress(Malformed):
        ds = dicomjson.to_elements(obj, lambda uri: uri.encode())
        elements.write_data_set(ds, explicit_vr=True)


def test_claims_of_4_gib_allocate_nothing():
    claims = [
        struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, 0xFFFFFFF0)
        for tag, vr in ((0x00081032, b"SQ"), (0x7FE00001, b"OV"), (0x00100010, b"UN"))
    ]
    frames_claim = struct.pack("<HH2sH10s", 0x28, 8, b"IS", 10, b"2147483647")
    tracemalloc.start()
    for claim in claims:
        look_at(SOUND[:40] + claim, uids.EXPLICIT_VR_LE)
    look_at(SOUND + frames_claim + NATIVE[len(SOUND) :], uids.EXPLICIT_VR_LE)
    look_at(SOUND + frames_claim + JPEG[len(SOUND) :], uids.JPEG_BASELINE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
