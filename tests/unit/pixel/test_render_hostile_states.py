"""Presentation states with any value replaced by nonsense: an answer or a PixelError, no crash."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest

from filmroom.pixel.errors import PixelError
from filmroom.pixel.picture import picture_of
from filmroom.pixel.render import Stored, render_stored
from filmroom.pixel.state import frames_meant, presented, subjects_of
from golden_cases import WHOLE, as_json, attributes_of, coded_of, packaged
from states import (
    HOUNSFIELD,
    a_bitmap,
    a_lut,
    a_state,
    annotation,
    area,
    graphic,
    item,
    layer,
    text_in,
    window,
)

NONSENSE = [
    None, "", "x" * 5000, "1e308", "-1e308", 1e39, -1, 0, 2**63, "NaN", {}, {"Alphabetic": "^"},
    [], "\x00", 65536, -32769, 0.5,
]  # fmt: skip
EVERY = 3  # value is tried; with the next nonsense others are


def a_full_state(image):
    mask = np.zeros((128, 128), bool)
    mask[10:20] = True
    state = a_state(
        image,
        1,
        **HOUNSFIELD,
        SoftcopyVOILUTSequence=[
            item(VOILUTSequence=[a_lut(np.arange(16), first=-8)]), *window(40, 400)
        ],
        PresentationLUTShape="INVERSE",
        PresentationLUTSequence=[a_lut(np.arange(256))],
        ImageRotation=90,
        ImageHorizontalFlip="Y",
        ShutterShape=["RECTANGULAR", "CIRCULAR", "POLYGONAL", "BITMAP"],
        ShutterLeftVerticalEdge=2, ShutterRightVerticalEdge=120,
        ShutterUpperHorizontalEdge=2, ShutterLowerHorizontalEdge=120,
        CenterOfCircularShutter=[64, 64], RadiusOfCircularShutter=60,
        VerticesOfThePolygonalShutter=[1, 1, 1, 128, 128, 128],
        ShutterOverlayGroup=0x6000, ShutterPresentationValue=1,
        ShutterPresentationColorCIELabValue=[1, 2, 3],
        DisplayedAreaSelectionSequence=area(
            1, 1, 64, 64, PresentationSizeMode="MAGNIFY", PresentationPixelMagnificationRatio=2.0
        ),
        GraphicAnnotationSequence=[
            annotation(
                "L",
                graphic("ELLIPSE", 10, 20, 50, 20, 30, 10, 30, 30),
                graphic("INTERPOLATED", 10, 20, 50, 20, 30, 10, filled="Y"),
                text_in((2, 2, 58, 38), "words", AnchorPoint=[5.0, 5.0], AnchorPointVisibility="Y",
                        AnchorPointAnnotationUnits="DISPLAY"),
            )
        ],
        GraphicLayerSequence=[
            layer("L", 1, 5, GraphicLayerRecommendedDisplayCIELabValue=[1, 2, 3])
        ],
    )  # fmt: skip
    for element, vr, value in ((0x10, "US", 128), (0x11, "US", 128), (0x40, "CS", "G"),
                               (0x50, "SS", [1, 1]), (0x100, "US", 1), (0x102, "US", 0),
                               (0x1001, "CS", "L"), (0x3000, "OW", a_bitmap(mask))):  # fmt: skip
        state.add_new(0x60000000 | element, vr, value)
    return as_json(state)


def leaves(attributes, path=()) -> Iterator[tuple]:
    """The way to every value."""
    for tag, attribute in attributes.items():
        values = attribute.get("Value", [])
        for number, value in enumerate(values[:2]):
            here = (*path, (tag, number))
            yield here
            if attribute["vr"] == "SQ":
                yield from leaves(value, here)


def replaced(attributes, path, value):
    changed = copy.deepcopy(attributes)
    at = changed
    for tag, number in path[:-1]:
        at = at[tag]["Value"][number]
    tag, number = path[-1]
    at[tag]["Value"][number] = value
    return changed


@pytest.fixture(scope="module")
def subject():
    image = packaged("CT_small.dcm")
    attributes = attributes_of(image)
    return image, attributes, coded_of(image, 0), a_full_state(image)


def test_the_state_itself_is_drawn(subject):
    image, attributes, coded, state = subject
    assert len(set(leaves(state))) > 100
    picture = presented(picture_of(attributes), state, attributes, image.SOPInstanceUID, 0)
    assert picture.shutter.bitmap is not None
    assert len(picture.presentation.marks) == 3
    assert len(picture.overlays) == 1
    assert render_stored([Stored(coded, picture)], "1.2.840.10008.1.2.1", WHOLE)


@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: repr(value)[:12])
def test_no_nonsense_in_a_state_is_more_than_an_error(subject, value):
    image, attributes, coded, state = subject
    drawn = 0
    for path in list(leaves(state))[NONSENSE.index(value) % EVERY :: EVERY]:
        bad = replaced(state, path, value)
        subjects_of(bad)
        frames_meant(bad, image.SOPInstanceUID, 1)
        try:
            picture = presented(picture_of(attributes), bad, attributes, image.SOPInstanceUID, 0)
            render_stored([Stored(coded, picture)], "1.2.840.10008.1.2.1", WHOLE)
            drawn += 1
        except PixelError:
            continue
    assert drawn
