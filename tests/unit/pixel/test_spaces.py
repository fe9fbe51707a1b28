"""pixel.spaces: the colours of recoded frames, of any depth."""

import numpy as np
import pytest
from PIL import Image

from filmroom.pixel import spaces
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import Decoded
from filmroom.pixel.color import to_rgb
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.shape import ImageShape


def colours(bits: int) -> np.ndarray:
    cells = np.random.default_rng(5).integers(0, 1 << bits, (40, 50, 3))
    return cells.astype(np.uint8 if bits <= 8 else np.uint16)


def a_shape(bits: int, photometric: str = "RGB", *, signed: bool = False) -> ImageShape:
    return ImageShape(40, 50, 3, 8 if bits <= 8 else 16, bits, int(signed), photometric)


@pytest.mark.parametrize("bits", [7, 8, 12, 16])
def test_rgb_goes_to_ybr_and_comes_back_whatever_its_depth(bits):
    rgb, shape = colours(bits), a_shape(bits)
    there = spaces.turned(Decoded(rgb, "RGB"), "YBR_FULL", shape)
    assert there.photometric == "YBR_FULL"
    assert there.array.dtype == rgb.dtype
    back = spaces.turned(there, "RGB", shape)
    assert back.photometric == "RGB"
    assert np.abs(back.array.astype(int) - rgb.astype(int)).max() <= 2
    assert np.abs(there.array.astype(int) - rgb.astype(int)).max() > 1 << (bits - 2)


def test_of_eight_bits_it_is_what_pillow_makes():
    rgb = colours(8)
    ours = spaces.turned(Decoded(rgb, "RGB"), "YBR_FULL", a_shape(8)).array
    theirs = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_headroom_is_taken_away_whatever_the_depth():
    eight, shape = colours(8), a_shape(12, "YBR_PARTIAL_422")
    deep = spaces.turned(Decoded(eight.astype(np.uint16) << 4, "YBR_PARTIAL"), "RGB", shape)
    plain = to_rgb(eight, "YBR_PARTIAL_422", a_shape(8))
    assert deep.photometric == "RGB"
    assert np.abs((deep.array / 16 - plain)[(plain > 0) & (plain < 255)]).max() <= 1


def test_colours_that_are_said_to_have_a_sign_have_none():
    ybr = np.asarray(Image.fromarray(colours(8)).convert("YCbCr"))
    plain = spaces.turned(Decoded(ybr, "YBR_FULL"), "RGB", a_shape(8)).array
    signed = spaces.turned(
        Decoded(ybr.view(np.int8), "YBR_FULL"), "RGB", a_shape(8, signed=True)
    ).array
    assert signed.dtype == np.int8
    assert (signed.view(np.uint8) == plain).all()


@pytest.mark.parametrize("photometric", ["YBR_RCT", "ARGB", "MONOCHROME2"])
def test_what_is_neither_is_left_alone(photometric):
    given = Decoded(colours(8), photometric)
    assert spaces.turned(given, "RGB", a_shape(8)) is not None
    assert (spaces.turned(given, "RGB", a_shape(8)).array == given.array).all()
    assert spaces.named(photometric, "RGB") == photometric


def test_no_header_ever_says_ybr_partial():
    assert spaces.named("YBR_PARTIAL", "RGB") == "RGB"
    with pytest.raises(NoCodec, match="without loss"):
        spaces.named("YBR_PARTIAL", "")


def test_a_frame_alone_is_in_the_colours_that_its_header_can_mean():
    for said, meant in (
        ("RGB", "RGB"), ("YBR_FULL", "YBR_FULL"), ("YBR_FULL_422", "RGB"), ("YBR_RCT", "RGB"),
        ("YBR_ICT", "RGB"), ("XYB", "RGB"), ("YBR_PARTIAL_420", "RGB"),
    ):  # fmt: skip
        assert spaces.of_frame(ts.JPEG_BASELINE, ts.EXPLICIT_LE, a_shape(8, said)) == meant
    grey = ImageShape(4, 4, 1, 8, 8)
    assert spaces.of_frame(ts.JPEG_BASELINE, ts.EXPLICIT_LE, grey) == ""
