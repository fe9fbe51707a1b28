"""Small pictures of large images: decoded at a part of their size, and the same to look at."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image

from filmroom.pixel import render as rendering
from filmroom.pixel.codecs import decode, encode_frame
from filmroom.pixel.lut import Window
from filmroom.pixel.options import PNG, RenderOptions, Viewport
from filmroom.pixel.picture import Picture
from filmroom.pixel.render import Stored, render_stored
from filmroom.pixel.shape import ImageShape
from golden_cases import packaged, picture_for

HTJ2K = "1.2.840.10008.1.2.4.201"
J2K = "1.2.840.10008.1.2.4.90"
EXPLICIT = "1.2.840.10008.1.2.1"
SMALL = RenderOptions(PNG, viewport=Viewport(128, 128))


@pytest.fixture(scope="module")
def large():
    """A frame of 12 bits, 1024 x 1024, and what to make of it."""
    image = packaged("MR2_UNCR.dcm")
    picture = picture_for(image, SMALL)
    array, _ = decode(image.PixelData, EXPLICIT, picture.shape)
    return array, picture


def shown(coded: bytes, syntax: str, picture: Picture, options=SMALL) -> np.ndarray:
    content = render_stored([Stored(coded, picture)], syntax, options)
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


@pytest.fixture
def reductions(monkeypatch):
    """How many halvings each decoding was asked for."""
    asked = []

    def spy(*args, **kwargs):
        asked.append(kwargs["reduce"])
        return decode(*args, **kwargs)

    monkeypatch.setattr(rendering, "decode", spy)
    return asked


@pytest.mark.parametrize("syntax", [HTJ2K, J2K])
def test_a_thumbnail_of_a_wavelet_image_is_decoded_small(large, reductions, syntax):
    array, picture = large
    coded = encode_frame(array, syntax, picture.shape)
    small = shown(coded, syntax, picture)
    assert reductions == [2]
    assert small.shape == (128, 128)
    whole = Image.fromarray(shown(coded, syntax, picture, RenderOptions(PNG)).astype(np.uint8))
    expected = np.asarray(whole.resize((128, 128), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - expected).mean() < 8  # of noise: the smaller wavelet is sharper
    assert np.corrcoef(small.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [HTJ2K, J2K])
def test_what_overshoots_in_the_small_does_not_wrap_around(syntax, bits):
    top = (1 << bits) - 1
    frame = np.zeros((256, 256), np.uint8 if bits == 8 else np.uint16)
    frame[:, 100:150] = frame[70:80] = top  # hard edges, as at the rim of a collimator
    shape = ImageShape(256, 256, bits_allocated=8 if bits == 8 else 16, bits_stored=bits)
    coded = encode_frame(frame, syntax, shape)
    for halvings in (1, 2, 3):
        small = decode(coded, syntax, shape, reduce=halvings).array.astype(int)
        side = 256 >> halvings
        assert small.shape == (side, side)
        assert small[-side // 4 :, : side // 4].max() < top / 4
        assert small[-side // 4 :, side // 2 - side // 16 : side // 2].min() > top / 2


@pytest.mark.parametrize(
    ("viewport", "halvings"),
    [(Viewport(1024, 1024), 0), (Viewport(600, 600), 0), (Viewport(512, 512), 0),
     (Viewport(300, 300), 1), (Viewport(2000, 2000), 0), (Viewport(1024, 64), 3)],
)  # fmt: skip
def test_no_picture_is_made_of_fewer_pixels_than_it_has(large, reductions, viewport, halvings):
    array, picture = large
    coded = encode_frame(array, HTJ2K, picture.shape)
    shape = shown(coded, HTJ2K, picture, replace(SMALL, viewport=viewport)).shape
    assert reductions == [halvings]
    assert max(shape) in (viewport.width, viewport.height)


def test_what_is_drawn_in_pixels_of_the_image_needs_all_of_them(large, reductions):
    array, picture = large
    coded = encode_frame(array, HTJ2K, picture.shape)
    image = packaged("examples_overlay.dcm")
    overlays = picture_for(image, SMALL).overlays
    shown(coded, HTJ2K, replace(picture, overlays=overlays))
    shown(coded, HTJ2K, picture, replace(SMALL, region=(0, 0, 0.5, 0.5)))
    shown(coded, HTJ2K, picture, replace(SMALL, viewport=Viewport(64, 64, 0, 0, 500, 500)))
    assert reductions == [0, 0, 0]


def test_an_image_without_a_window_is_decoded_whole_for_its_range(large, reductions):
    array, picture = large
    coded = encode_frame(array, HTJ2K, picture.shape)
    bare = replace(picture, grey=replace(picture.grey, window=None))
    shown(coded, HTJ2K, bare)
    shown(coded, HTJ2K, bare, replace(SMALL, window=Window(1000, 2000)))
    assert reductions == [0, 2]


def test_a_small_colour_picture_is_decoded_small_and_looks_the_same(reductions):
    image = packaged("US1_J2KR.dcm")
    picture = picture_for(image, SMALL)
    coded = next(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=1))
    small = shown(coded, J2K, picture)
    assert reductions == [1]
    plain = packaged("US1_UNCR.dcm")
    expected = shown(plain.PixelData, EXPLICIT, picture_for(plain, SMALL))
    assert small.shape == expected.shape == (96, 128, 3)
    assert np.abs(small - expected).mean() < 8
