"""The golden images: every kind of file still looks as it did when somebody looked at it."""

import io

import numpy as np
import pytest
from PIL import Image

from golden_cases import CASES, FOLDER

LARGEST_BYTES = 1_000_000
TEXT = {"annotation", "state-marks", "state-marks-rotated", "state-colour-rotated"}


@pytest.mark.parametrize("name", CASES)
def test_a_picture_is_the_golden_one(name):
    got = Image.open(io.BytesIO(CASES[name]()))
    expected = Image.open(FOLDER / f"{name}.png")
    assert (got.mode, got.size) == (expected.mode, expected.size)
    difference = np.abs(np.asarray(got).astype(int) - np.asarray(expected))
    # Libraries of other versions round otherwise, and draw letters a little otherwise.
    assert (difference > 3).mean() <= (0.01 if name in TEXT else 0.0005)
    assert difference.mean() < 1.0


def test_the_golden_images_are_those_of_the_cases_and_few_bytes():
    files = list(FOLDER.glob("*.png"))
    assert {path.stem for path in files} == set(CASES)
    assert sum(path.stat().st_size for path in files) < LARGEST_BYTES
