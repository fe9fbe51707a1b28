"""Palettes that lie: a picture or a plain refusal, soon, and nothing read beside the table."""

import base64
import io
import itertools
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from filmroom.pixel import color
from filmroom.pixel.color import LONGEST_SEGMENTS, Segments, expand_segments
from filmroom.pixel.errors import PixelError, Undecodable
from filmroom.pixel.options import PNG, RenderOptions
from filmroom.pixel.picture import palette_of, picture_of
from filmroom.pixel.render import render

ENTRIES = (0, 1, 2, 255, 256, 65535, 65536, -1)
FIRSTS = (0, 1, 255, 32768, 65535, -1, -32768)
BITS = (0, 1, 8, 9, 16, 17, 255)
LENGTHS = (0, 1, 2, 256, 512)


def attributes(descriptor, data, *, segmented=False):
    """An 8-bit palette image of 4 x 64, as DICOM JSON."""
    image = {
        "00280002": {"vr": "US", "Value": [1]},
        "00280004": {"vr": "CS", "Value": ["PALETTE COLOR"]},
        "00280010": {"vr": "US", "Value": [4]},
        "00280011": {"vr": "US", "Value": [64]},
        "00280100": {"vr": "US", "Value": [8]},
        "00280101": {"vr": "US", "Value": [8]},
        "00280102": {"vr": "US", "Value": [7]},
        "00280103": {"vr": "US", "Value": [0]},
    }
    for channel in (1, 2, 3):
        image[f"0028110{channel}"] = {"vr": "US", "Value": list(descriptor)}
        tag = f"0028122{channel}" if segmented else f"0028120{channel}"
        image[tag] = {"vr": "OW", "InlineBinary": base64.b64encode(data).decode()}
    return image


FRAME = np.arange(256, dtype=np.uint8).reshape(4, 64)


def outcome(image):
    """The picture's first bytes, or the refusal's class."""
    try:
        return render(FRAME, image, RenderOptions(PNG))[:4]
    except PixelError as error:
        return type(error).__name__


@pytest.mark.parametrize("length", LENGTHS)
def test_a_lying_descriptor_gives_a_picture_or_a_refusal(length):
    began = time.process_time()
    seen = {
        outcome(attributes(descriptor, bytes(range(256)) * 2 if length == 512 else bytes(length)))
        for descriptor in itertools.product(ENTRIES, FIRSTS, BITS)
    }
    assert seen <= {b"\x89PNG", "NoCodec", "Undecodable"}
    assert time.process_time() - began < 30


@pytest.mark.parametrize(
    "words",
    [
        (1, 65535, 0),  # a ramp longer than the table
        (0, 65535, 1, 2),  # more values than there are
        (2, 65535, 0, 0),  # itself, again and again
        (2, 1, 65535, 65535),  # beyond the end
        (3, 1, 1, 1),  # of no kind
        (1, 65535, 65535) * 500,
        (0, 2, 1, 2) + (2, 65535, 0, 0) * 200,
    ],
)
def test_hostile_segments_expand_to_the_table_or_are_refused(words):
    began = time.process_time()
    image = attributes((256, 0, 16), np.array(words, "<u2").tobytes(), segmented=True)
    assert outcome(image) in {b"\x89PNG", "NoCodec", "Undecodable"}
    assert time.process_time() - began < 5


def as_words(*words):
    return np.array(words, "<u2").tobytes()


@pytest.mark.parametrize("count", [20, 15_000])
def test_empty_segments_repeated_without_end_are_refused(count):
    bomb = as_words(*(0, 0) * 4000, *(2, 3999, 0, 0) * count)
    began = time.process_time()
    with pytest.raises(Undecodable, match="too long"):
        expand_segments(bomb, 16, 65536)
    assert time.process_time() - began < 2  # or a second for each thousand


def test_segments_are_counted_however_often_they_are_repeated(monkeypatch):
    monkeypatch.setattr(color, "MOST_SEGMENTS", 10)
    start = as_words(0, 1, 7, 0, 1, 8)
    assert expand_segments(start + as_words(*(2, 2, 0, 0) * 4), 16, 10) == as_words(*(7, 8) * 5)
    with pytest.raises(Undecodable, match="too long"):
        expand_segments(start + as_words(*(2, 2, 0, 0) * 5), 16, 12)


def test_an_empty_segment_does_no_harm():
    assert expand_segments(as_words(0, 0, 0, 2, 7, 9, 1, 0, 5), 16, 2) == as_words(7, 9)


def test_a_palette_of_the_smallest_segments_is_whole():
    steps = [(1, 1, value) for value in range(65535, -1, -1)]
    whole = expand_segments(as_words(*itertools.chain(*steps)), 16, 65536)
    assert whole == np.arange(65535, -1, -1).astype("<u2").tobytes()


def test_the_server_expands_no_segments_and_hands_on_no_more_than_can_be_used(monkeypatch):
    def never(*args):
        raise AssertionError("expanded by the server")

    monkeypatch.setattr(color, "expand_segments", never)
    image = attributes((256, 0, 16), as_words(0, 0) * 1_000_000, segmented=True)
    red = picture_of(image).palette.red
    assert isinstance(red, Segments)
    assert len(red.data) == LONGEST_SEGMENTS


@pytest.mark.parametrize("segmented", [False, True])
def test_a_descriptor_of_large_numbers_takes_no_more_memory_than_a_table(segmented):
    image = attributes((30_000_000, 0, 16), as_words(0, 2, 1, 2), segmented=segmented)
    tracemalloc.start()
    try:
        assert outcome(image) in {b"\x89PNG", "NoCodec"}
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert len(expand_segments(as_words(0, 2, 1, 2), 16, 30_000_000)) == 2 * 65536


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize(
    "descriptor", [(256, 1e300, 16), (256, -32769, 16), (256, 0, 17), (256, 0, 1e300), (256, 0)]
)
def test_a_descriptor_beyond_16_bits_describes_no_palette(descriptor, segmented):
    image = attributes(descriptor, as_words(0, 2, 1, 2), segmented=segmented)
    assert palette_of(image) is None


def reds_of(image):
    shown = np.asarray(Image.open(io.BytesIO(render(FRAME, image, RenderOptions(PNG)))))
    return shown[..., 0].reshape(-1)


def test_entries_of_8_bits_are_read_packed_and_in_words_and_in_high_bytes():
    ramp = np.arange(256, dtype=np.uint8)[::-1]
    for data in (ramp.tobytes(), ramp.astype("<u2").tobytes(), ramp.astype(">u2").tobytes()):
        assert (reds_of(attributes((256, 0, 8), data)) == ramp).all()


def test_indices_beyond_the_table_take_its_first_or_last_entry():
    ramp = np.arange(16, dtype="<u2") * 4096
    reds = reds_of(attributes((16, 100, 16), ramp.tobytes()))
    assert (reds[:100] == 0).all()
    assert reds[108] == (8 * 4096) >> 8
    assert (reds[115:] == (15 * 4096) >> 8).all()
