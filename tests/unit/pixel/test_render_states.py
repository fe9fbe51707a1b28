"""Presentation states and shutters: what is covered, cut out, turned and drawn, and where."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from filmroom.pixel.cielab import colour_of, grey_colour
from filmroom.pixel.errors import BadParameter, NoCodec, Undecodable
from filmroom.pixel.lut import Grey, Table, Window, to_grey
from filmroom.pixel.marks import Area, Presentation
from filmroom.pixel.options import Viewport
from filmroom.pixel.overlay import overlays_of
from filmroom.pixel.picture import picture_of
from filmroom.pixel.present import lay_out
from filmroom.pixel.shutter import cover, shutter_of
from filmroom.pixel.state import frames_meant, matters, presented, subjects_of
from golden_cases import WHOLE, as_json, attributes_of, packaged, picture_for, show
from instances import a_data_set
from states import (
    COLOUR,
    GRAYSCALE,
    HOUNSFIELD,
    PSEUDO_COLOUR,
    a_bitmap,
    a_lut,
    a_palette,
    a_state,
    annotation,
    area,
    graphic,
    item,
    layer,
    reference,
    text_at,
    text_in,
    window,
)

SOFT = {**HOUNSFIELD, "SoftcopyVOILUTSequence": window(40, 400)}


def an_image(rows=40, columns=60, **more):
    """All pixels mid-grey under a window of 100, 200."""
    ds = a_data_set(rows=rows, columns=columns, RescaleIntercept=None, RescaleSlope=None)
    ds.PixelData = np.full((rows, columns), 100, "<u2").tobytes()
    ds.WindowCenter, ds.WindowWidth = "100.5", "201"
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.set_original_encoding(False, True)
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def seen(image, state=None, options=WHOLE, frame=0) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(show(image, options, state, frame)))).astype(int)


MIDDLE = {"SoftcopyVOILUTSequence": window(100.5, 201)}


# -- shutters -------------------------------------------------------------------------------------
def test_a_rectangular_shutter_leaves_its_edges_to_be_seen():
    shown = seen(
        an_image(
            ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=11, ShutterRightVerticalEdge=50,
            ShutterUpperHorizontalEdge=6, ShutterLowerHorizontalEdge=35,
        )
    )  # fmt: skip
    expected = np.zeros((40, 60), bool)
    expected[5:35, 10:50] = True
    assert ((shown != 0) == expected).all()
    assert set(np.unique(shown)) == {0, 128} or set(np.unique(shown)) == {0, 127}


def test_a_circular_shutter_is_round_its_centre_row_first():
    shown = seen(
        an_image(
            ShutterShape="CIRCULAR", CenterOfCircularShutter=[20, 40], RadiusOfCircularShutter=10
        )
    )
    rows, columns = np.nonzero(shown)
    assert (rows.min(), rows.max()) == (9, 29)
    assert (columns.min(), columns.max()) == (29, 49)
    assert abs(rows.size - np.pi * 100) < 20


def test_a_polygonal_shutter_covers_what_is_outside_its_corners():
    corners = [1, 1, 1, 60, 40, 1]
    shown = seen(an_image(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=corners))
    assert shown[1, 1] > 0
    assert shown[38, 58] == 0
    assert abs((shown > 0).sum() - 40 * 60 / 2) < 60


def test_several_shutters_leave_what_all_of_them_leave():
    both = an_image(
        ShutterShape=["RECTANGULAR", "CIRCULAR"], ShutterLeftVerticalEdge=1,
        ShutterRightVerticalEdge=60, ShutterUpperHorizontalEdge=20, ShutterLowerHorizontalEdge=40,
        CenterOfCircularShutter=[20, 30], RadiusOfCircularShutter=10,
    )  # fmt: skip
    rows, _ = np.nonzero(seen(both))
    assert (rows.min(), rows.max()) == (19, 29)


def test_a_shutter_has_the_grey_or_colour_it_asks_for():
    shut = {
        "ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 2,
        "ShutterRightVerticalEdge": 59, "ShutterUpperHorizontalEdge": 2,
        "ShutterLowerHorizontalEdge": 39,
    }  # fmt: skip
    assert seen(an_image(**shut, ShutterPresentationValue=0x8000))[0, 0] == 128
    lab = [0, 0x8080, 0x8080]
    assert seen(an_image(**shut, ShutterPresentationColorCIELabValue=lab))[0, 0] == 0
    red = seen(an_image(**shut, ShutterPresentationColorCIELabValue=[34900, 53400, 50100]))
    assert red.shape == (40, 60, 3)
    assert red[0, 0, 0] > 200
    assert red[0, 0, 1:].max() < 60
    assert len(set(red[20, 30])) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [1, 1]},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [1, 1],
         "RadiusOfCircularShutter": 0},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 2, 2]},
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": "HEXAGONAL"},
    ],
    ids=str,
)  # fmt: skip
def test_a_shutter_without_sense_covers_nothing(said):
    assert (seen(an_image(**said)) > 0).all()


def test_corners_beyond_all_numbers_do_no_harm():
    far = [2**31 - 1, -(2**31), 1, 1, 40, 1]
    shown = seen(an_image(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=far))
    assert shown.shape == (40, 60)


def test_shutters_of_any_numbers_do_no_harm():
    numbers = {"vr": "IS", "Value": ["9" * 200, "-" + "9" * 200]}
    attributes = (
        {
            "00181600": {"vr": "CS", "Value": ["RECTANGULAR", "CIRCULAR", "POLYGONAL"]},
            "00181620": {"vr": "IS", "Value": [*numbers["Value"], "1e300", "0", "5", "5"]},
            "00181622": numbers,
            "00181624": {"vr": "US", "Value": ["1e300"] * 3},
        }
        | {f"0018160{n}": numbers for n in (2, 4, 6, 8)}
        | {"00181610": numbers, "00181612": numbers}
    )
    covered = cover(np.full((8, 8), 9, np.uint8), shutter_of(attributes))
    assert covered.shape[:2] == (8, 8)


def test_the_images_own_shutter_does_not_count_under_a_state():
    image = an_image(
        ShutterShape="CIRCULAR", CenterOfCircularShutter=[20, 40], RadiusOfCircularShutter=10
    )
    assert (seen(image, a_state(image, **MIDDLE)) > 0).all()


# -- greys ----------------------------------------------------------------------------------------
def test_a_presentation_lut_spans_the_whole_output_of_the_window():
    table = Table(0, 8, np.array([0, 0, 255, 255], "<u2").tobytes())
    grey = Grey(window=Window(50, 100, "LINEAR_EXACT"), presentation=table)
    assert to_grey(np.array([0, 20, 60, 100], np.float32), grey).tolist() == [0, 0, 255, 255]


def test_an_image_with_a_presentation_lut_is_shown_by_it():
    inverted = a_lut(np.arange(255, -1, -1))
    image = packaged("CT_small.dcm")
    plain = seen(image, options=replace(WHOLE, window=Window(40, 400)))
    image.PresentationLUTSequence = [inverted]
    shown = seen(image, options=replace(WHOLE, window=Window(40, 400)))
    assert np.abs(255 - plain - shown).max() <= 1


def test_a_window_for_another_image_is_passed_over():
    image, other = an_image(), an_image()
    first, second = item(WindowCenter=0, WindowWidth=1), item(WindowCenter=100.5, WindowWidth=201)
    first.ReferencedImageSequence = [reference(other)]
    second.ReferencedImageSequence = [reference(image)]
    state = a_state(image, SoftcopyVOILUTSequence=[first, second])
    assert seen(image, state).max() in (127, 128)


def test_a_window_for_some_frames_is_for_them_only():
    image = an_image(NumberOfFrames=2)
    image.PixelData = image.PixelData * 2
    bright = item(WindowCenter=0, WindowWidth=2, ReferencedImageSequence=[reference(image, 2)])
    soft = item(WindowCenter=100.5, WindowWidth=201)
    soft.ReferencedImageSequence = [reference(image, 1)]
    state = a_state(image, SoftcopyVOILUTSequence=[bright, soft])
    assert seen(image, state, frame=0).max() in (127, 128)
    assert seen(image, state, frame=1).min() == 255


# -- area, rotation -------------------------------------------------------------------------------
def numbered(rows=4, columns=6):
    return np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)


def test_a_picture_is_turned_clockwise_before_it_is_flipped():
    plain = numbered()
    assert lay_out(plain, Presentation(rotation=90), None).tolist() == np.rot90(plain, -1).tolist()
    both = lay_out(plain, Presentation(rotation=90, flipped=True), None)
    assert both.tolist() == np.rot90(plain, -1)[:, ::-1].tolist()


def test_an_area_is_cut_out_and_black_outside_the_image():
    shown = lay_out(numbered(), Presentation(Area(-1, 1, 3, 5)), None)
    assert shown.tolist() == [[0, 6, 7, 8], [0, 12, 13, 14], [0, 18, 19, 20], [0, 0, 0, 0]]


def test_corners_named_after_a_rotation_mean_the_same_pixels():
    image = an_image()
    turned = area(1, 40, 30, 11)  # bottom left comes to the top
    state = a_state(image, **MIDDLE, ImageRotation=90, DisplayedAreaSelectionSequence=turned)
    presentation = picture_for(image, WHOLE, state).presentation
    assert presentation.area == Area(0, 10, 30, 40)
    assert seen(image, state).shape == (30, 30)


def test_an_area_fills_a_viewport_and_keeps_the_shape_of_its_pixels():
    image = an_image()
    flat = area(1, 1, 60, 40, PresentationPixelAspectRatio=[2, 1])
    state = a_state(image, **MIDDLE, DisplayedAreaSelectionSequence=flat)
    assert seen(image, state).shape == (80, 60)
    small = replace(WHOLE, viewport=Viewport(30, 30))
    assert seen(image, state, small).shape == (30, 22)


def test_an_area_is_magnified():
    image = an_image()
    twice = area(11, 11, 30, 20, PresentationSizeMode="MAGNIFY",
                 PresentationPixelMagnificationRatio=2.5)  # fmt: skip
    state = a_state(image, **MIDDLE, DisplayedAreaSelectionSequence=twice)
    assert seen(image, state).shape == (25, 50)


def test_a_part_of_what_is_presented_can_be_asked_for():
    image = an_image()
    state = a_state(image, **MIDDLE, DisplayedAreaSelectionSequence=area(-9, 1, 50, 40))
    right = seen(image, state, replace(WHOLE, region=(0.5, 0.0, 1.0, 1.0)))
    assert right.shape == (40, 30)
    assert (right > 0).all()


def test_an_area_of_a_million_pixels_a_side_is_made_small_enough():
    shown = lay_out(numbered(), Presentation(Area(-500_000, -500_000, 500_000, 500_000)), None)
    assert max(shown.shape) <= 10_000
    with pytest.raises(Undecodable):
        lay_out(numbered(), Presentation(Area(0, 0, 2**31, 5)), None)


def test_a_picture_larger_than_any_may_be_is_refused_under_a_state_too():
    with pytest.raises(BadParameter, match="64000000 pixels"):
        lay_out(numbered(), Presentation(), (10_000, 10_000))
    assert lay_out(numbered(), Presentation(), (10_000, 10)).shape == (10, 15)


# -- marks ----------------------------------------------------------------------------------------
def marked(*objects, layers=None, images=None, **more):
    image = an_image()
    state = a_state(
        image, **MIDDLE, **more,
        GraphicAnnotationSequence=[annotation("L", *objects, images=images)],
        GraphicLayerSequence=layers or [layer("L", 1, 0xFFFF)],
    )  # fmt: skip
    return image, state


def changed(*objects, **more) -> np.ndarray:
    image, state = marked(*objects, **more)
    shown = seen(image, state)
    grey = shown if shown.ndim == 2 else shown.max(axis=-1)
    return np.argwhere((grey != 127) & (grey != 128))


def test_a_line_is_where_its_points_are_column_first():
    at = changed(graphic("POLYLINE", 10.5, 5.5, 40.5, 5.5))
    assert set(at[:, 0]) == {5}
    assert (at[:, 1].min(), at[:, 1].max()) == (10, 40)


def test_a_circle_goes_through_the_point_on_it():
    at = changed(graphic("CIRCLE", 30, 20, 30, 8))
    distance = np.hypot(at[:, 1] + 0.5 - 30, at[:, 0] + 0.5 - 20)
    assert abs(distance - 12).max() < 1.5
    assert len(at) > 50


def test_an_ellipse_has_both_its_axes():
    at = changed(graphic("ELLIPSE", 10, 20, 50, 20, 30, 10, 30, 30))
    assert abs(at[:, 1].min() - 10) <= 1
    assert abs(at[:, 1].max() - 50) <= 1
    assert abs(at[:, 0].min() - 10) <= 1
    assert abs(at[:, 0].max() - 30) <= 1


def test_a_curve_goes_through_all_its_points():
    points = [(10, 30), (20, 10), (35, 30), (50, 12)]
    at = changed(graphic("INTERPOLATED", *(number for point in points for number in point)))
    for x, y in points:
        assert np.hypot(at[:, 1] - x, at[:, 0] - y).min() <= 1.5


def test_a_filled_polygon_is_filled():
    square = (10, 10, 20, 10, 20, 20, 10, 20, 10, 10)
    assert 100 <= len(changed(graphic("POLYLINE", *square, filled="Y"))) <= 125
    assert len(changed(graphic("POLYLINE", *square))) <= 44


def test_marks_in_shares_of_the_displayed_area_do_not_turn_with_the_image():
    line = graphic("POLYLINE", 0.0, 0.25, 0.5, 0.25, units="DISPLAY")
    image, state = marked(line, ImageRotation=90)
    at = np.argwhere(seen(image, state) == 255)
    assert seen(image, state).shape == (60, 40)
    assert set(at[:, 0]) == {15}
    assert at[:, 1].max() in (19, 20)


def test_marks_in_pixels_turn_with_the_image():
    image, state = marked(graphic("POLYLINE", 0.5, 0.5, 30.5, 0.5), ImageRotation=90)
    at = np.argwhere(seen(image, state) == 255)
    assert set(at[:, 1]) == {39}
    assert (at[:, 0].min(), at[:, 0].max()) == (0, 30)


def test_a_higher_layer_covers_a_lower_one():
    square = (10, 10, 20, 10, 20, 20, 10, 20, 10, 10)
    image = an_image()
    below, above = (
        annotation(name, graphic("POLYLINE", *square, filled="Y")) for name in ("B", "A")
    )
    for orders, grey in (((1, 2), 255), ((2, 1), 0)):
        state = a_state(
            image,
            **MIDDLE,
            GraphicAnnotationSequence=[above, below],
            GraphicLayerSequence=[layer("B", orders[0], 0), layer("A", orders[1], 0xFFFF)],
        )
        assert seen(image, state)[15, 15] == grey


def test_a_layer_has_its_colour_and_the_image_stays_grey():
    legacy = layer("L", 1, GraphicLayerRecommendedDisplayRGBValue=[65535, 0, 0])
    image, state = marked(graphic("POLYLINE", 10.5, 5.5, 40.5, 5.5), layers=[legacy])
    shown = seen(image, state)
    assert shown[5, 20].tolist() == [255, 0, 0]
    assert len(set(shown[30, 30])) == 1


def test_marks_for_other_images_are_not_drawn():
    other = an_image()
    assert not len(changed(graphic("CIRCLE", 30, 20, 30, 8), images=[reference(other)]))


def test_text_is_in_its_box_and_as_justified():
    left = changed(text_in((5, 5, 55, 20), "I"))
    assert left[:, 0].min() >= 4
    assert left[:, 0].max() <= 20
    right = changed(text_in((5, 5, 55, 20), "I", BoundingBoxTextHorizontalJustification="RIGHT"))
    assert left[:, 1].max() < 20 < 45 < right[:, 1].min()


def test_a_visible_anchor_is_joined_to_its_box():
    text = text_in((30, 5, 55, 18), "I", AnchorPoint=[5.0, 35.0], AnchorPointVisibility="Y",
                   AnchorPointAnnotationUnits="PIXEL")  # fmt: skip
    assert np.hypot(*(changed(text) - [35, 5]).T).min() <= 1.5
    text.AnchorPointVisibility = "N"
    assert np.hypot(*(changed(text) - [35, 5]).T).min() > 5


def test_text_without_a_box_is_at_its_anchor():
    at = changed(text_at(10, 10, "I", visible="N"))
    assert len(at)
    assert np.hypot(*(at - [10, 10]).T).min() < 8


@pytest.mark.parametrize(
    "mark",
    [
        graphic("POLYLINE", 1, 1), graphic("CIRCLE", 1, 1), graphic("ELLIPSE", 1, 1, 2, 2),
        graphic("SPIRAL", 1, 1, 2, 2), graphic("POLYLINE"),
        item(UnformattedTextValue="nowhere"), text_in((0, 0, 9, 9), ""),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_mark_without_sense_is_not_drawn(mark):
    assert not len(changed(mark))


def test_marks_far_outside_do_no_harm():
    far = graphic("POLYLINE", -1e30, -1e30, 1e30, 1e30, 30, 20)
    image, state = marked(far, graphic("CIRCLE", 1e9, 1e9, 2e9, 2e9))
    assert seen(image, state).shape == (40, 60)


def test_more_marks_than_anybody_draws_are_refused():
    image, state = marked(*[graphic("POINT", 1, 1)] * 2001)
    with pytest.raises(NoCodec, match="too many"):
        seen(image, state)


# -- overlays -------------------------------------------------------------------------------------
def with_overlay(image, group=0x6000):
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:40] = True
    for element, vr, value in ((0x10, "US", 40), (0x11, "US", 60), (0x40, "CS", "G"),
                               (0x50, "SS", [1, 1]), (0x100, "US", 1), (0x102, "US", 0),
                               (0x3000, "OW", a_bitmap(mask))):  # fmt: skip
        image.add_new(group << 16 | element, vr, value)
    return image


def test_an_overlay_is_drawn_by_a_state_only_when_it_is_activated():
    image = with_overlay(an_image())
    assert (seen(image) == 255).sum() == 100
    assert not (seen(image, a_state(image, **MIDDLE)) == 255).any()
    active = a_state(image, **MIDDLE, GraphicLayerSequence=[layer("O", 1, 0)])
    active.add_new(0x60001001, "CS", "O")
    assert (seen(image, active) == 0).sum() == 100


def test_an_overlay_of_the_state_itself_is_drawn():
    image = an_image()
    state = with_overlay(
        a_state(image, **MIDDLE, GraphicLayerSequence=[layer("O", 1, 0xFFFF)]), 0x6002
    )
    state.add_new(0x60021001, "CS", "O")
    assert (seen(image, state) == 255).sum() == 100


@pytest.mark.parametrize("size", [(7, 9), (511, 511), (8, 8), (1, 3)])
def test_each_frame_has_its_own_overlay_and_bitmap_shutter_whatever_their_size(size):
    planes = np.random.default_rng(2).integers(0, 2, (9, *size)).astype(bool)
    image = an_image(*size, ShutterShape="BITMAP", ShutterOverlayGroup=0x6000)
    for element, vr, value in ((0x10, "US", size[0]), (0x11, "US", size[1]), (0x15, "IS", 9),
                               (0x40, "CS", "G"), (0x50, "SS", [1, 1]), (0x51, "US", 1),
                               (0x100, "US", 1), (0x102, "US", 0),
                               (0x3000, "OW", a_bitmap(planes))):  # fmt: skip
        image.add_new(0x6000 << 16 | element, vr, value)
    attributes = attributes_of(image)
    for index, plane in enumerate(planes):
        (overlay,) = overlays_of(attributes, index)
        assert (overlay.mask(*size) == plane).all()
        assert (shutter_of(attributes, index).bitmap.mask(*size) == plane).all()
    assert overlays_of(attributes, 9) == ()


# -- kinds ----------------------------------------------------------------------------------------
def test_grey_is_shown_in_the_colours_of_a_pseudo_colour_state():
    ramp = np.arange(256)
    palette = a_palette(ramp, 0 * ramp, 255 - ramp)
    image = an_image()
    shown = seen(image, a_state(image, kind=PSEUDO_COLOUR, **MIDDLE, **palette))
    assert np.abs(shown[0, 0] - [127, 0, 128]).max() <= 1


@pytest.mark.parametrize("kind", [f"1.2.840.10008.5.1.4.1.1.11.{n}" for n in (4, 5, 6, 8)])
def test_other_kinds_of_states_are_refused(kind):
    image = an_image()
    with pytest.raises(NoCodec, match="cannot be applied"):
        seen(image, a_state(image, kind=kind))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("US1_UNCR.dcm", GRAYSCALE), ("examples_palette.dcm", GRAYSCALE), ("CT_small.dcm", COLOUR)],
)
def test_a_state_for_another_kind_of_image_is_refused(name, kind):
    image = packaged(name)
    with pytest.raises(NoCodec, match="another kind"):
        seen(image, a_state(image, kind=kind))


def test_a_pseudo_colour_state_without_a_palette_is_refused():
    image = an_image()
    with pytest.raises(NoCodec, match="palette"):
        seen(image, a_state(image, kind=PSEUDO_COLOUR))


def test_a_state_says_which_images_and_frames_it_is_for():
    image = an_image()
    state = as_json(a_state(image, 2, 3))
    assert frames_meant(state, image.SOPInstanceUID, 5) == [1, 2]
    assert frames_meant(state, image.SOPInstanceUID, 2) == [1]
    assert frames_meant(state, "1.2.3", 5) == []
    assert list(frames_meant(as_json(a_state(image)), image.SOPInstanceUID, 3)) == [0, 1, 2]
    assert [each.sop_instance_uid for each in subjects_of(state)] == [image.SOPInstanceUID]


def test_a_state_for_all_frames_takes_no_memory_however_many_there_are_said_to_be():
    image = an_image()
    meant = frames_meant(as_json(a_state(image)), image.SOPInstanceUID, 1 << 60)
    assert (len(meant), meant[-1], 77 in meant) == (1 << 60, (1 << 60) - 1, True)


def test_what_matters_of_a_state_is_all_that_is_read():
    image, state = marked(graphic("CIRCLE", 30, 20, 30, 8), text_in((5, 5, 55, 20), "x"))
    fewer = {tag: value for tag, value in as_json(state).items() if matters(int(tag, 16))}
    assert len(fewer) < len(as_json(state))
    attributes = attributes_of(image)
    got = presented(picture_of(attributes), fewer, attributes, image.SOPInstanceUID, 0)
    assert got == picture_for(image, WHOLE, state)


def test_cielab_becomes_the_colour_it_is():
    assert colour_of([65535, 0x8080, 0x8080]) == (255, 255, 255)
    assert colour_of([0, 0x8080, 0x8080]) == (0, 0, 0)
    assert colour_of([1, 2]) is None
    red, green, blue = colour_of([round(54.29 * 655.35), round((80.8 + 128) * 257),
                                  round((69.9 + 128) * 257)])  # fmt: skip
    assert red >= 253
    assert max(green, blue) <= 8
    assert grey_colour(65535) == (255, 255, 255)
    assert grey_colour(-5) == (0, 0, 0)
