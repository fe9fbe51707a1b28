"""pixel.lut: the formulas of PS3.3 C.11, and what is done with nonsense."""

import math

import numpy as np
import pytest

from filmroom.pixel.lut import (
    Grey,
    Table,
    Window,
    apply_modality,
    apply_window,
    look_up,
    show_grey,
)
from filmroom.pixel.shape import ImageShape

CT = ImageShape(1, 1, 1, 16, 16, 1)


def shades(window, *values):
    return apply_window(np.array(values, np.float32), window)


def linear(x, c, w):
    """C.11.2.1.2.1, as the standard writes it."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 1.0
    return (x - (c - 0.5)) / (w - 1) + 0.5


@pytest.mark.parametrize(("c", "w"), [(2048, 4096), (2048, 1), (0, 100), (0, 1), (40, 400.5)])
def test_linear_follows_the_standard(c, w):
    xs = np.array([c - w, c - 0.6 - w / 2, c - 0.5, c, c + 0.25, c + w / 2, c + w], np.float32)
    expected = [linear(float(x), c, w) for x in xs]
    got = apply_window(xs, Window(c, w))
    if w == 1:
        got[2], expected[2] = 0, 0  # the step itself
    assert got == pytest.approx(expected, abs=1e-3)


def test_linear_exact_has_no_half_units():
    assert shades(Window(0, 100, "LINEAR_EXACT"), -50, 0, 25, 50).tolist() == [0, 0.5, 0.75, 1]


def test_sigmoid_follows_the_standard():
    got = shades(Window(10, 40, "SIGMOID"), -30, 10, 50)
    expected = [1 / (1 + math.exp(-4 * (x - 10) / 40)) for x in (-30, 10, 50)]
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("width", [0, -5, 1e-300, 1e300, 0.5])
@pytest.mark.parametrize("center", [0, 1e300, -1e300])
def test_an_absurd_window_still_gives_shades(function, width, center):
    got = shades(Window(center, width, function), -1e9, 0, 1e9)
    assert np.isfinite(got).all()
    assert ((got >= 0) & (got <= 1)).all()


@pytest.mark.parametrize("window", [Window(math.nan, 10), Window(5, math.inf), None])
def test_without_a_usable_window_the_frame_fills_the_greys(window):
    frame = np.array([[-100, 0, 100]], np.int16)
    assert show_grey(frame, Grey(window=window), CT).tolist() == [[0, 128, 255]]


def test_padding_does_not_stretch_the_greys():
    frame = np.array([[-2000, 0, 100]], np.int16)
    grey = Grey(padding=(-2000, -2000))
    assert show_grey(frame, grey, CT).tolist() == [[0, 0, 255]]


def test_an_8_bit_image_without_a_window_is_shown_as_it_is():
    frame = np.array([[10, 20]], np.uint8)
    assert show_grey(frame, Grey(), ImageShape(1, 2, 1, 8, 8)).tolist() == [[10, 20]]


def test_rescale_comes_before_the_window():
    frame = np.array([[0, 1024, 1064]], np.uint16)
    grey = Grey(slope=1, intercept=-1024, window=Window(0.5, 81))
    assert show_grey(frame, grey, ImageShape(1, 3)).tolist() == [[0, 128, 255]]


def test_inverse_turns_white_to_black():
    frame = np.array([[0, 255]], np.uint8)
    assert show_grey(frame, Grey(inverse=True), ImageShape(1, 2, 1, 8, 8)).tolist() == [[255, 0]]


def test_values_outside_a_table_take_its_ends():
    table = Table(10, 8, np.array([5, 6, 7], "<u2").tobytes())
    assert look_up(np.array([-9, 10, 11, 12, 900]), table).tolist() == [5, 5, 6, 7, 7]


def test_a_modality_table_replaces_the_slope():
    grey = Grey(slope=9, modality=Table(0, 16, np.array([100, 200], "<u2").tobytes()))
    assert apply_modality(np.array([0, 1, 2]), grey).tolist() == [100, 200, 200]


def test_a_voi_table_is_scaled_by_its_depth():
    grey = Grey(voi=Table(0, 10, np.array([0, 1023], "<u2").tobytes()))
    assert show_grey(np.array([[0, 1]], np.uint16), grey, ImageShape(1, 2)).tolist() == [[0, 255]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_the_table_and_the_formula_agree(dtype):
    info = np.iinfo(dtype)
    frame = np.linspace(info.min, info.max, 77).astype(dtype).reshape(7, 11)
    grey = Grey(slope=0.5, intercept=3, window=Window(10, info.max))
    narrow = show_grey(frame, grey, CT)
    wide = show_grey(frame.astype(np.int32), grey, CT)
    assert np.array_equal(narrow, wide)


def test_floats_that_are_no_numbers_are_shown_black_or_white():
    frame = np.array([[np.nan, -np.inf, 0.0, 1.0, np.inf]], np.float32)
    shape = ImageShape(1, 5, 1, 32, 32, floating=True)
    assert show_grey(frame, Grey(), shape).tolist() == [[0, 0, 0, 255, 255]]
