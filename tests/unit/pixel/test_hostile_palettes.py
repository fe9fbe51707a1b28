"""Palettes that lie: a picture or a plain refusal, soon, and nothing read beside the table."""

import base64
import io
import itertools
import time

import numpy as np
import pytest
from PIL import Image

from filmroom.pixel.errors import PixelError
from filmroom.pixel.options import PNG, RenderOptions
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
