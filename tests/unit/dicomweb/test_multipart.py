"""RFC 2046 5.1: any cut of the same bytes gives the same parts; nothing grows."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmroom.dicomweb.multipart import (
    PART_TAIL,
    MalformedMultipart,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    closing,
    content_type,
    new_boundary,
    part_head,
)
from filmroom.dicomweb.negotiate import parse_media_type

BODY = (
    b"a preamble\r\n--cut\r\nContent-Type: application/dicom\r\nX: a;\r\n b\r\n\r\n"
    b"DICM\r\n--cu not yet\r\r\n--cut \t\r\n\r\nsecond\r\n--cut\r\nA: b\r\n\r\n\r\n--cut--\r\nrest"
)
PARTS = [
    ({"content-type": "application/dicom", "x": "a; b"}, b"DICM\r\n--cu not yet\r"),
    ({}, b"second"),
    ({"a": "b"}, b""),
]


def read(pieces, boundary="cut", **limits):
    reader = MultipartReader(boundary, **limits)
    parts, ended = [], 0
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, PartBegin):
                parts.append((dict(event.headers), bytearray()))
            elif isinstance(event, PartData):
                assert len(event.data)
                parts[-1][1].extend(event.data)
            else:
                assert isinstance(event, PartEnd)
                ended += 1
    reader.finish()
    assert ended == len(parts)
    return [(headers, bytes(data)) for headers, data in parts]


@pytest.mark.parametrize("cut", range(len(BODY) + 1))
def test_a_body_may_arrive_in_any_two_pieces(cut):
    assert read([BODY[:cut], BODY[cut:]]) == PARTS


def test_a_body_may_arrive_byte_by_byte():
    assert read([bytes([byte]) for byte in BODY]) == PARTS


@given(
    st.lists(st.binary(max_size=80) | st.text("\r\n-cut ", max_size=30).map(str.encode)),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_what_the_writer_writes_the_reader_reads_however_it_is_cut(contents, cuts):
    contents = [each for each in contents if b"\r\n--cut" not in b"\r\n" + each]
    body = b"".join(
        part_head("cut", {"Content-Type": f"a/{n}"}) + each + PART_TAIL
        for n, each in enumerate(contents)
    ) + closing("cut")
    pieces, at = [], 0
    while at < len(body):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(body[at : at + size])
        at += size
    assert [data for _, data in read(pieces)] == contents


@given(st.binary(max_size=300), st.integers(1, 50))
def test_noise_is_read_or_refused_and_nothing_else(noise, size):
    pieces = [noise[at : at + size] for at in range(0, len(noise), size)]
    with contextlib.suppress(MalformedMultipart):
        read([b"--cut\r\n", *pieces])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing here",
        b"--cut\r\n\r\nunterminated",
        b"--cut\r\n\r\ndata\r\n--cut\r\n\r\nmore",
        b"--cut\r\nA: " + b"x" * 300_000,
        b"--cut\r\nno colon\r\n\r\n",
        b"--cutter\r\n\r\n",
        b"--cut" + b" " * 1000,
        b"--cut\r\n\r\n\r\n" * 101,
    ],
)
def test_a_broken_body_is_refused(body):
    with pytest.raises(MalformedMultipart):
        read([body[at : at + 1000] for at in range(0, len(body), 1000)], max_parts=100)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "a\r\nb", "a ", "é"])
def test_a_boundary_is_short_and_plain(boundary):
    with pytest.raises(MalformedMultipart):
        MultipartReader(boundary)


def test_a_large_part_is_handed_on_without_being_kept():
    reader = MultipartReader("cut")
    chunk = bytes(1 << 20)
    reader.feed(b"--cut\r\n\r\nbegin")
    started = time.process_time()
    for _ in range(64):
        (event,) = reader.feed(chunk)
        assert event.data.nbytes == len(chunk)
        assert event.data.obj is chunk  # no copy
    assert 64 / (time.process_time() - started) > 200  # MiB/s, with room for a busy machine


def test_the_content_type_names_the_boundary_again():
    boundary = new_boundary()
    media_type = parse_media_type(content_type(boundary, "application/dicom"))
    assert media_type.parameter("boundary") == boundary
    assert media_type.content == "application/dicom"
