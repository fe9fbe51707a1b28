"""Rendered pictures beside dcmtk: dcmj2pnm for images, dcmp2pgm for presentation states."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import peers
from filmroom.pixel.lut import Window
from golden_cases import WHOLE, packaged, show
from instances import part10
from states import HOUNSFIELD, a_lut, a_state, area, item, window

IMAGES = [
    *("CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "693_UNCR.dcm", "MR2_UNCR.dcm"),
    *("RG1_UNCR.dcm", "RG3_UNCR.dcm", "JPGExtended.dcm", "JPEG-LL.dcm", "emri_small.dcm"),
    *("mlut_18.dcm", "vlut_04.dcm", "rtdose.dcm", "liver_1frame.dcm", "image_dfl.dcm"),
    *("examples_palette.dcm", "OBXXXX1A_rle.dcm", "US1_UNCR.dcm", "color-pl.dcm"),
    *("ExplVR_BigEnd.dcm", "SC_rgb_16bit.dcm", "SC_ybr_full_uncompressed.dcm"),
    *("SC_ybr_full_422_uncompressed.dcm", "examples_ybr_color.dcm", "examples_overlay.dcm"),
    "MR-SIEMENS-DICOM-WithOverlays.dcm",
]


def pixels_of(picture) -> np.ndarray:
    return np.asarray(Image.open(picture)).astype(int)


def ours(image, options=WHOLE, state=None, frame=0) -> np.ndarray:
    return pixels_of(io.BytesIO(show(image, options, state, frame)))


@pytest.fixture(autouse=True)
def installed(peer_program):
    return peer_program("dcmj2pnm"), peer_program("dcmp2pgm")


def theirs(image, folder, *flags) -> np.ndarray:
    image.save_as(folder / "image.dcm")
    done = peers.run("dcmj2pnm", "+on", *flags, folder / "image.dcm", folder / "picture.png")
    assert done.returncode == 0, done.stdout
    return pixels_of(folder / "picture.png")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_looks_as_dcmtk_shows_it(name, tmp_path):
    image = packaged(name)
    flags = ["+Wm"]  # without a window: the range of the pixels
    if "WindowCenter" in image:
        flags = ["+Wi", "1"]
    elif "VOILUTSequence" in image:
        flags = ["+Wl", "1"]
    difference = np.abs(ours(image) - theirs(image, tmp_path, *flags))
    assert difference.max() <= 2


@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (300, 1)])
def test_a_window_is_the_window_of_dcmtk(center, width, tmp_path):
    image = packaged("CT_small.dcm")
    wish = replace(WHOLE, window=Window(center, width))
    difference = np.abs(ours(image, wish) - theirs(image, tmp_path, "+Ww", center, width))
    assert difference.max() <= 1


def test_an_inverse_presentation_lut_shape_is_that_of_dcmtk(tmp_path):
    image = packaged("MR_small.dcm")
    expected = theirs(image, tmp_path, "+Wi", "1", "+Piv")
    image.PresentationLUTShape = "INVERSE"
    assert np.abs(ours(image) - expected).max() <= 1


SOFT = {**HOUNSFIELD, "SoftcopyVOILUTSequence": window(40, 400)}
SQUARE = np.clip(np.linspace(0, 1, 256) ** 2 * 255, 0, 255).round()
SIGMOID = (4095 / (1 + np.exp(-np.linspace(-6, 6, 4096)))).round()
STATES = {
    "its window": SOFT,
    "no window at all": HOUNSFIELD,
    "no rescale: the image's does not count": {"SoftcopyVOILUTSequence": window(1064, 400)},
    "a rescale of its own": {
        "RescaleSlope": "2", "RescaleIntercept": "-50", "RescaleType": "US",
        "SoftcopyVOILUTSequence": window(2000, 1500),
    },
    "inverse": {**SOFT, "PresentationLUTShape": "INVERSE"},
    "a Presentation LUT": {
        **SOFT, "PresentationLUTShape": None, "PresentationLUTSequence": [a_lut(SQUARE)],
    },
    "a VOI LUT": {
        **HOUNSFIELD,
        "SoftcopyVOILUTSequence": [item(VOILUTSequence=[a_lut(SIGMOID, first=0, bits=12)])],
    },
    "turned by 90": {
        **SOFT, "ImageRotation": 90, "ImageHorizontalFlip": "N",
        "DisplayedAreaSelectionSequence": area(1, 128, 128, 1),
    },
    "turned by 180 and flipped": {**SOFT, "ImageRotation": 180, "ImageHorizontalFlip": "Y"},
    "turned by 270 and flipped": {**SOFT, "ImageRotation": 270, "ImageHorizontalFlip": "Y"},
    "flipped": {**SOFT, "ImageRotation": 0, "ImageHorizontalFlip": "Y"},
}  # fmt: skip


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("said", STATES.values(), ids=STATES)
def test_a_presentation_state_is_applied_as_dcmtk_applies_it(said, photometric, tmp_path):
    image = packaged("CT_small.dcm")
    image.PhotometricInterpretation = photometric
    state = a_state(image, **said)
    image.save_as(tmp_path / "image.dcm")
    (tmp_path / "state.dcm").write_bytes(part10(state))
    done = peers.run(
        "dcmp2pgm", "-p", tmp_path / "state.dcm", tmp_path / "image.dcm", tmp_path / "picture.pgm"
    )
    assert done.returncode == 0, done.stdout
    difference = np.abs(ours(image, state=state) - pixels_of(tmp_path / "picture.pgm"))
    assert difference.max() <= 2
