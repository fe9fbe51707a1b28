"""pixel.options, picture, color and render: from attributes and a query to a picture file."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels.processing import apply_color_lut, apply_voi_lut

from filmroom.pixel.codecs import decode, decode_frame
from filmroom.pixel.color import expand_segments
from filmroom.pixel.errors import BadParameter, NoCodec, Undecodable
from filmroom.pixel.lut import Window
from filmroom.pixel.options import GIF, JPEG, PNG, RenderOptions, Viewport, parse_options
from filmroom.pixel.picture import matters, picture_of, shape_of
from filmroom.pixel.render import (
    Lying,
    Stored,
    paint,
    place,
    render,
    render_from,
    render_stored,
)

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"
ROWS, COLUMNS, SAMPLES = "00280010", "00280011", "00280002"


def attributes_of(data_set: pydicom.Dataset) -> dict:
    header = pydicom.Dataset({e.tag: e for e in data_set if e.tag != 0x7FE00010})
    header.set_original_encoding(False, True)
    return header.to_json_dict(bulk_data_threshold=1 << 30)


def packaged(name: str) -> tuple[dict, np.ndarray]:
    data_set = pydicom.dcmread(PACKAGED / name)
    attributes = attributes_of(data_set)
    shape = shape_of(attributes)
    coded = data_set.PixelData
    if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
        coded = next(pydicom.encaps.generate_frames(coded, number_of_frames=1))
    return attributes, decode_frame(coded, data_set.file_meta.TransferSyntaxUID, shape)


def grey(rows=4, columns=6, **more) -> dict:
    numbers = {ROWS: rows, COLUMNS: columns, SAMPLES: 1, "00280100": 8, "00280101": 8} | more
    return {tag: {"vr": "US", "Value": [value]} for tag, value in numbers.items()}


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_a_ct_is_shown_as_pydicom_shows_it():
    attributes, frame = packaged("CT_small.dcm")
    data_set = pydicom.dcmread(PACKAGED / "CT_small.dcm")
    data_set.WindowCenter, data_set.WindowWidth = 40, 400
    hounsfield = frame * float(data_set.RescaleSlope) + float(data_set.RescaleIntercept)
    expected = apply_voi_lut(hounsfield, data_set)
    expected = (expected - expected.min()) / (expected.max() - expected.min()) * 255
    options = RenderOptions(PNG, window=Window(40, 400))
    got = pixels(render(frame, attributes, options)).astype(float)
    assert np.abs(got - expected).max() < 2


def test_a_palette_is_applied_as_pydicom_applies_it():
    attributes, frame = packaged("examples_palette.dcm")
    expected = apply_color_lut(frame, pydicom.dcmread(PACKAGED / "examples_palette.dcm"))
    expected = (expected >> 8).astype(np.uint8) if expected.dtype == np.uint16 else expected
    got = pixels(render(frame, attributes, RenderOptions(PNG)))
    assert np.array_equal(got, expected)


def test_ybr_is_turned_into_rgb():
    attributes, frame = packaged("examples_ybr_color.dcm")
    data_set = pydicom.dcmread(PACKAGED / "examples_ybr_color.dcm")
    shape = shape_of(attributes)
    got = paint(frame, "YBR_FULL", picture_of(attributes), RenderOptions())
    expected = pydicom.pixels.pixel_array(data_set, index=0)
    assert shape.photometric == "YBR_FULL_422"
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 3


def test_overlays_are_burnt_in():
    attributes, frame = packaged("examples_overlay.dcm")
    picture = picture_of(attributes)
    assert len(picture.overlays) == 1
    bare = paint(frame, "MONOCHROME2", replace(picture, overlays=()), RenderOptions())
    drawn = paint(frame, "MONOCHROME2", picture, RenderOptions())
    changed = drawn != bare
    assert changed.any()
    assert (drawn[changed] == 255).all()


def test_monochrome1_is_white_where_values_are_low():
    attributes = grey(1, 2) | {"00280004": {"vr": "CS", "Value": ["MONOCHROME1"]}}
    frame = np.array([[0, 255]], np.uint8)
    assert pixels(render(frame, attributes, RenderOptions(PNG))).tolist() == [[255, 0]]


def a_window(center, width):
    return {
        "00281050": {"vr": "DS", "Value": [center]},
        "00281051": {"vr": "DS", "Value": [width]},
    }


def group(tag, item):
    return {tag: {"vr": "SQ", "Value": [item]}}


def test_an_enhanced_image_has_a_window_per_frame():
    attributes = grey() | {
        "52009229": {"vr": "SQ", "Value": [group("00289132", a_window(1, 2))]},
        "52009230": {"vr": "SQ", "Value": [group("00289132", a_window(3, 4)), {}]},
    }
    attributes |= {"52009229": {"vr": "SQ", "Value": [group("00289132", a_window(1, 2))]}}
    assert picture_of(attributes, 0).grey.window == Window(3, 4)
    assert picture_of(attributes, 1).grey.window == Window(1, 2)
    assert picture_of(attributes, 900).grey.window == Window(1, 2)


@pytest.mark.parametrize("bad", ["NaN", "abc", None, {}, [], "inf"])
def test_a_window_that_is_no_number_is_left_out(bad):
    attributes = grey() | a_window(bad, 100)
    assert picture_of(attributes).grey.window is None


def test_a_voi_lut_may_be_in_line_or_a_list():
    table = {
        "00283002": {"vr": "US", "Value": [2, 0, 16]},
        "00283006": {"vr": "OW", "InlineBinary": "AAD//w=="},
    }
    listed = table | {"00283006": {"vr": "US", "Value": [0, 65535]}}
    for item in (table, listed):
        voi = picture_of(grey() | group("00283010", item)).grey.voi
        assert voi is not None
        assert voi.array.tolist() == [0, 65535]


SIXTEEN = {"00280100": 16, "00280101": 16}
MODALITY_LUT = {
    "00283002": {"vr": "US", "Value": [2, 0, 16]},
    "00283006": {"vr": "US", "Value": [0, 65535]},
}


def rescale(intercept, slope=1.0):
    return {"00281052": {"vr": "DS", "Value": [intercept]},
            "00281053": {"vr": "DS", "Value": [slope]}}  # fmt: skip


@pytest.mark.parametrize(
    ("signed", "modality", "told", "first"),
    [
        (1, {}, 65036, -500),
        (0, {}, 65036, 65036),
        (0, rescale(-1024), 64512, -1024),
        (0, rescale(-1024), -1024, -1024),
        (0, rescale(65535, -1.0), 40000, 40000),
        (0, rescale(0, -1.0), 64512, -1024),
        (1, rescale(32768), 40000, 40000),
        (1, rescale(32767), 65535, -1),
        (1, group("00283000", MODALITY_LUT), 40000, 40000),
    ],
)
def test_a_voi_lut_begins_at_a_value_of_the_modality_output(signed, modality, told, first):
    item = {
        "00283002": {"vr": "US", "Value": [2, told, 16]},
        "00283006": {"vr": "US", "Value": [0, 65535]},
    }
    attributes = grey(**SIXTEEN, **{"00280103": signed}) | modality | group("00283010", item)
    assert picture_of(attributes).grey.voi.first == first


def test_a_voi_lut_of_an_image_of_a_billion_bits_costs_nothing():
    item = {
        "00283002": {"vr": "US", "Value": [2, 0, 16]},
        "00283006": {"vr": "US", "Value": [0, 65535]},
    }
    attributes = grey(**{"00280100": 1 << 40, "00280101": 1 << 40}) | group("00283010", item)
    assert picture_of(attributes).grey.voi.first == 0


@pytest.mark.parametrize(
    ("segmented", "bits", "expected"),
    [
        ([0, 3, 1, 2, 3], 16, [1, 2, 3]),
        ([0, 1, 0, 1, 4, 400], 16, [0, 100, 200, 300, 400]),
        ([0, 2, 7, 9, 2, 1, 0, 0], 16, [7, 9, 7, 9]),
        ([0, 2, 7, 9, 0, 1, 5, 2, 1, 8, 0], 16, [7, 9, 5, 5]),
        ([0, 2, 7, 9, 2, 1, 0, 0, 0, 0], 8, [7, 9, 7, 9]),
    ],
)
def test_segmented_palettes_expand(segmented, bits, expected):
    coded = np.array(segmented, "<u2" if bits == 16 else "u1").tobytes()
    got = np.frombuffer(expand_segments(coded, bits, len(expected)), "<u2")
    assert got.tolist() == expected


@pytest.mark.parametrize(
    "segmented", [[], [2, 1, 0, 0], [9, 1, 1], [0, 1, 1, 2, 65535, 4, 0], [2, 9, 9, 9]]
)
def test_segments_that_make_no_sense_are_undecodable(segmented):
    with pytest.raises(Undecodable):
        expand_segments(np.array(segmented, "<u2").tobytes(), 16, 256)


def test_a_palette_image_without_palette_is_no_codec():
    attributes = grey() | {"00280004": {"vr": "CS", "Value": ["PALETTE COLOR"]}}
    with pytest.raises(NoCodec):
        render(np.zeros((4, 6), np.uint8), attributes, RenderOptions())


RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6)


def placed(viewport):
    return place(RAMP, RenderOptions(viewport=viewport))


def test_a_viewport_keeps_the_aspect_ratio():
    assert placed(Viewport(12, 12)).shape == (8, 12)
    assert placed(Viewport(600, 4)).shape == (4, 6)
    assert placed(Viewport(1, 1)).shape == (1, 1)


def test_a_source_region_is_cut_out():
    assert placed(Viewport(2, 2, 4, 1, 2, 2)).tolist() == [[10, 11], [16, 17]]
    assert placed(Viewport(2, 2, 4, 2)).tolist() == [[16, 17], [22, 23]]


def test_negative_sizes_flip():
    assert placed(Viewport(6, 4, None, None, -6, None)).tolist() == RAMP[:, ::-1].tolist()
    assert placed(Viewport(6, 4, None, None, 6, -4)).tolist() == RAMP[::-1].tolist()


def test_a_region_outside_the_image_is_a_bad_parameter():
    with pytest.raises(BadParameter):
        placed(Viewport(6, 4, 100, 100, 5, 5))


def test_a_fractional_region_is_cut_out():
    got = place(RAMP, RenderOptions(region=(0.5, 0.5, 1.0, 1.0)))
    assert got.tolist() == [[15, 16, 17], [21, 22, 23]]


def test_a_viewport_beyond_all_numbers_shows_what_there_is():
    assert (
        placed(Viewport(6, 4, 0, 0, 1.7e308, 1.7e308)).tolist() == placed(Viewport(6, 4)).tolist()
    )
    with pytest.raises(BadParameter):
        placed(Viewport(6, 4, 1.7e308, 1.7e308, 1.7e308, 1.7e308))


def test_a_thumbnail_of_a_huge_image_keeps_its_shape():
    large = np.zeros((4000, 3000), np.uint8)
    assert place(large, RenderOptions(viewport=Viewport(128, 128))).shape == (128, 96)


@pytest.mark.parametrize(
    "params",
    [
        {"window": "40"},
        {"window": "40,400,cubic"},
        {"window": "NaN,400,linear"},
        {"window": "40,inf,linear"},
        {"window": "40,0,linear"},
        {"window": "40,0.5,linear"},
        {"window": "40,0,sigmoid"},
        {"window": "40,1e999,linear"},
        {"windowCenter": "40"},
        {"windowWidth": "40"},
        {"viewport": "100000,100000"},
        {"viewport": "10000,10000"},
        {"viewport": "0,10"},
        {"viewport": "-5,10"},
        {"viewport": "10"},
        {"viewport": "10,10,1,1,1,1,1"},
        {"viewport": "10,10,,,0,5"},
        {"viewport": "1.5,10"},
        {"viewport": "a,b"},
        {"viewport": ""},
        {"rows": "0"},
        {"rows": "10000", "columns": "10000"},
        {"columns": "99999"},
        {"region": "0,0,1"},
        {"region": "0.5,0,0.5,1"},
        {"region": "0,0,2,1"},
        {"quality": "0"},
        {"quality": "101"},
        {"quality": "high"},
        {"imageQuality": "1.5"},
        {"iccprofile": "cmyk"},
        {"annotation": "everything"},
    ],
    ids=str,
)
def test_a_parameter_that_cannot_be_obeyed_is_refused(params):
    with pytest.raises(BadParameter):
        parse_options(params, JPEG)


def test_parameters_are_read():
    options = parse_options(
        {
            "window": "-600,1500,linear-exact",
            "viewport": "512,256,,10.5,-100,",
            "quality": "75",
            "iccprofile": "srgb",
            "annotation": "patient,technique",
            "unknown": "x",
        },
        PNG,
    )
    assert options.window == Window(-600, 1500, "LINEAR_EXACT")
    assert options.viewport == Viewport(512, 256, None, 10.5, -100, None)
    assert (options.quality, options.media_type) == (75, PNG)


def test_wado_uri_parameters_are_read():
    options = parse_options(
        {"windowCenter": "1", "windowWidth": "2", "rows": "10", "region": "0,0,.5,1"}, JPEG
    )
    assert options.window == Window(1, 2)
    assert options.viewport is not None
    assert options.viewport.height == 10
    assert options.region == (0, 0, 0.5, 1)


def test_a_thumbnail_is_small_by_default():
    assert parse_options({}, JPEG, thumbnail=True).viewport == Viewport(128, 128)
    assert parse_options({"viewport": "64,32"}, JPEG, thumbnail=True).viewport == Viewport(64, 32)


@pytest.mark.parametrize(("media_type", "kind"), [(JPEG, "JPEG"), (PNG, "PNG"), (GIF, "GIF")])
def test_every_media_type_is_what_it_says(media_type, kind):
    for samples in (1, 3):
        attributes = grey(4, 6, **{SAMPLES: samples})
        attributes["00280004"] = {"vr": "CS", "Value": ["RGB" if samples == 3 else "MONOCHROME2"]}
        frame = np.zeros((4, 6, 3) if samples == 3 else (4, 6), np.uint8)
        image = Image.open(io.BytesIO(render(frame, attributes, RenderOptions(media_type))))
        assert (image.format, image.size) == (kind, (6, 4))


def test_a_gif_of_several_frames_moves():
    picture = picture_of(grey())
    frames = [Stored(bytes([shade] * 24), picture) for shade in (0, 90, 180)]
    image = Image.open(
        io.BytesIO(render_stored(frames, "1.2.840.10008.1.2.1", RenderOptions(GIF), 40.0))
    )
    assert (image.n_frames, image.info["duration"]) == (3, 40)


COLOURED = [
    *("SC_rgb_dcmtk_+eb+cy+n1", "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_dcmtk_+eb+cy+s4"),
    *("SC_rgb_dcmtk_+eb+cr", "SC_rgb_jpeg_dcmtk", "SC_rgb_jpeg_app14_dcmd"),
    *("SC_rgb_jpeg_lossy_gdcm", "SC_rgb_small_odd_jpeg", "SC_ybr_full_422_uncompressed"),
    *("SC_jpeg_no_color_transform", "SC_jpeg_no_color_transform_2", "SC_rgb_jls_lossy_line"),
    *("examples_jpeg2k", "GDCMJ2K_TextGBR", "SC_rgb_gdcm_KY", "SC_rgb_rle", "SC_rgb_jpeg_dcmd"),
]


@pytest.mark.parametrize("name", COLOURED)
def test_colours_are_those_that_pydicom_shows(name):
    data_set = pydicom.dcmread(PACKAGED / f"{name}.dcm")
    coded = data_set.PixelData
    syntax = data_set.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        coded = next(pydicom.encaps.generate_frames(coded, number_of_frames=1))
    picture = picture_of(attributes_of(data_set))
    array, photometric = decode(coded, syntax, picture.shape)
    got = paint(array, photometric, picture, RenderOptions())
    expected = pydicom.pixels.pixel_array(data_set, index=0)
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 4


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm", "SC_rgb.dcm"]
)
def test_the_attributes_that_matter_are_all_that_a_picture_is_made_of(name):
    data_set = pydicom.dcmread(pydicom.data.get_testdata_file(name, download=False))
    attributes = attributes_of(data_set)
    fewer = {tag: value for tag, value in attributes.items() if matters(int(tag, 16))}
    assert len(fewer) < len(attributes)
    assert picture_of(fewer) == picture_of(attributes)


def test_the_attributes_of_enhanced_images_matter_too():
    for tag in (0x52009229, 0x52009230, 0x60020010, 0x20500020, 0x00281050, 0x00181063):
        assert matters(tag)
    assert not matters(0x00100010)


def test_a_small_picture_of_a_grey_image_looks_like_the_large_one_made_small():
    rows, columns = np.mgrid[0:512, 0:384]
    frame = (rows * 4 + columns * 2).astype(np.uint16)
    attributes = grey(512, 384) | {
        "00280100": {"vr": "US", "Value": [16]},
        "00280101": {"vr": "US", "Value": [12]},
        "00281050": {"vr": "DS", "Value": [1400]},
        "00281051": {"vr": "DS", "Value": [2800]},
    }
    small = RenderOptions(PNG, viewport=Viewport(128, 128))
    shown = pixels(render(frame, attributes, small))
    whole = Image.fromarray(pixels(render(frame, attributes, RenderOptions(PNG))))
    expected = np.asarray(whole.resize((96, 128), Image.Resampling.BOX))
    assert shown.shape == expected.shape == (128, 96)
    assert np.abs(shown.astype(int) - expected).max() <= 6


def test_a_small_picture_without_a_window_keeps_the_range_of_all_pixels():
    frame = np.full((512, 512), 1000, np.uint16)
    frame[1, 1], frame[3, 3] = 0, 4000  # on none of the pixels that would be looked at
    attributes = grey(512, 512) | {
        "00280100": {"vr": "US", "Value": [16]},
        "00280101": {"vr": "US", "Value": [12]},
    }
    small = RenderOptions(PNG, viewport=Viewport(64, 64))
    assert abs(int(pixels(render(frame, attributes, small))[32, 32]) - 64) <= 1


def test_a_frame_read_from_a_file_is_shown_as_one_that_was_handed_over(tmp_path):
    picture = picture_of(grey())
    coded = bytes(range(24))
    (tmp_path / "file").write_bytes(b"head" + coded[:10] + b"between" + coded[10:])
    options = RenderOptions(PNG)
    with (tmp_path / "file").open("rb") as file:
        lying = [Lying(((4, 10), (21, 14)), picture)]
        shown = render_from(file.fileno(), lying, "1.2.840.10008.1.2.1", options)
    stored = [Stored(coded, picture)]
    assert shown == render_stored(stored, "1.2.840.10008.1.2.1", options)
