"""What the golden images in tests/golden are of: packaged files, and what is asked for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from filmroom.pixel.icc import profile_of
from filmroom.pixel.lut import Window
from filmroom.pixel.notes import notes_of
from filmroom.pixel.options import PNG, RenderOptions, Viewport
from filmroom.pixel.picture import Picture, picture_of
from filmroom.pixel.render import Stored, render_stored
from filmroom.pixel.state import presented
from states import (
    COLOUR,
    HOUNSFIELD,
    PSEUDO_COLOUR,
    a_bitmap,
    a_lut,
    a_palette,
    a_state,
    annotation,
    area,
    graphic,
    layer,
    text_at,
    text_in,
    window,
)

FOLDER = Path(__file__).parent / "golden"
SMALL = RenderOptions(PNG, viewport=Viewport(192, 192))
WHOLE = RenderOptions(PNG)


def packaged(name: str) -> Dataset:
    """A file of pydicom or pydicom-data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = get_testdata_file(name, download=False)
        assert path is not None, name
        return pydicom.dcmread(path)


def attributes_of(data_set: Dataset) -> dict[str, Any]:
    """A header as DICOM JSON, everything in line."""
    pixels = (0x7FE00008, 0x7FE00009, 0x7FE00010)
    header = Dataset({each.tag: each for each in data_set if each.tag not in pixels})
    header.set_original_encoding(data_set.is_implicit_VR, data_set.is_little_endian)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributes = header.to_json_dict(bulk_data_threshold=1 << 30)
    if "PixelData" in data_set:
        attributes["7FE00010"] = {"vr": data_set["PixelData"].VR}
    return attributes


def as_json(state: Dataset) -> dict[str, Any]:
    """A data set made here as DICOM JSON."""
    state.set_original_encoding(False, True)
    return state.to_json_dict(bulk_data_threshold=1 << 30)


def coded_of(data_set: Dataset, frame: int) -> bytes:
    """One frame as it is stored."""
    count = int(data_set.get("NumberOfFrames", 1) or 1)
    data = next(
        data_set[tag].value for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009) if tag in data_set
    )
    if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
        found = list(pydicom.encaps.generate_frames(data, number_of_frames=count))
        return found[frame]
    size = len(data) // count
    return data[frame * size : (frame + 1) * size]


def show(
    data_set: Dataset,
    options: RenderOptions = SMALL,
    state: Dataset | None = None,
    frame: int = 0,
) -> bytes:
    """A picture, made as the server and its workers make it."""
    picture = picture_for(data_set, options, state, frame)
    syntax = str(data_set.file_meta.TransferSyntaxUID)
    return render_stored([Stored(coded_of(data_set, frame), picture)], syntax, options)


def picture_for(
    data_set: Dataset, options: RenderOptions, state: Dataset | None = None, frame: int = 0
) -> Picture:
    """What a worker is told of a frame."""
    attributes = attributes_of(data_set)
    picture = replace(picture_of(attributes, frame), profile=profile_of(attributes))
    if state is not None:
        uid = data_set.SOPInstanceUID
        picture = presented(picture, as_json(state), attributes, uid, frame)
    if options.annotation:
        picture = replace(picture, notes=notes_of(attributes, picture, options, frame))
    return picture


def _ct(**more: Any) -> Dataset:
    image = packaged("CT_small.dcm")
    for name, value in more.items():
        setattr(image, name, value)
    return image


BRAIN = replace(SMALL, window=Window(40, 400))


def _marked(kind: str) -> bytes:
    image = _ct()
    marks = [
        graphic("POLYLINE", 20, 20, 60, 24, 50, 60, filled="N"),
        graphic("CIRCLE", 90, 40, 100, 40),
        graphic("ELLIPSE", 70, 90, 120, 90, 95, 80, 95, 100),
        graphic("INTERPOLATED", 10, 90, 20, 110, 40, 90, 50, 110),
        graphic("POINT", 64, 64),
        text_in((10, 4, 90, 16), "Nodule 5 mm"),
        text_at(100, 70, "anchor"),
        text_in((0.55, 0.85, 0.98, 0.98), "right", "DISPLAY",
                BoundingBoxTextHorizontalJustification="RIGHT"),
    ]  # fmt: skip
    turns = {"rotated": {"ImageRotation": 90, "ImageHorizontalFlip": "Y"}}.get(kind, {})
    state = a_state(
        image,
        **HOUNSFIELD,
        **turns,
        SoftcopyVOILUTSequence=window(40, 400),
        GraphicAnnotationSequence=[
            annotation("MARKS", *marks[:-2]),
            annotation("WORDS", *marks[-2:]),
            annotation("BACK", graphic("POLYLINE", 66, 12, 118, 12, 118, 60, 66, 60, 66, 12,
                                       filled="Y")),
        ],
        GraphicLayerSequence=[
            layer("BACK", 1, 0x5000),
            layer("MARKS", 2, 0xFFFF),
            layer("WORDS", 3, GraphicLayerRecommendedDisplayCIELabValue=[50000, 40000, 60000]),
        ],
    )  # fmt: skip
    return show(image, replace(WHOLE, viewport=Viewport(256, 256)), state)


def _shutters() -> bytes:
    image = _ct(
        ShutterShape=["RECTANGULAR", "CIRCULAR"],
        ShutterLeftVerticalEdge=11,
        ShutterRightVerticalEdge=120,
        ShutterUpperHorizontalEdge=21,
        ShutterLowerHorizontalEdge=110,
        CenterOfCircularShutter=[64, 64],
        RadiusOfCircularShutter=55,
        ShutterPresentationValue=0x4000,
    )
    return show(image, BRAIN)


def _bitmap_shutter() -> bytes:
    image = _ct()
    row, column = np.mgrid[0:128, 0:128]
    state = a_state(
        image,
        **HOUNSFIELD,
        SoftcopyVOILUTSequence=window(40, 400),
        ShutterShape="BITMAP",
        ShutterOverlayGroup=0x6000,
        ShutterPresentationValue=0,
        PresentationLUTShape="INVERSE",
    )
    mask = np.abs(row - 64) + np.abs(column - 64) > 60
    for tag, vr, value in (
        (0x60000010, "US", 128), (0x60000011, "US", 128), (0x60000040, "CS", "R"),
        (0x60000050, "SS", [1, 1]), (0x60000100, "US", 1), (0x60000102, "US", 0),
        (0x60003000, "OW", a_bitmap(mask)),
    ):  # fmt: skip
        state.add_new(tag, vr, value)
    return show(image, SMALL, state)


def _magnified() -> bytes:
    image = _ct()
    more = {"PresentationSizeMode": "MAGNIFY", "PresentationPixelMagnificationRatio": 2.0}
    lut = a_lut((np.linspace(0, 1, 256) ** 2 * 255).round())
    state = a_state(
        image,
        **HOUNSFIELD,
        SoftcopyVOILUTSequence=window(40, 400),
        DisplayedAreaSelectionSequence=area(31, -9, 110, 90, **more),
        PresentationLUTShape=None,
        PresentationLUTSequence=[lut],
    )
    return show(image, WHOLE, state)


def _pseudo_colour() -> bytes:
    image = packaged("MR_small.dcm")
    ramp = np.arange(256)
    palette = a_palette(ramp, np.clip(ramp * 2 - 255, 0, 255), 255 - ramp)
    state = a_state(image, kind=PSEUDO_COLOUR, SoftcopyVOILUTSequence=window(600, 1600), **palette)
    return show(image, SMALL, state)


def _coloured_state() -> bytes:
    image = packaged("examples_rgb_color.dcm")
    state = a_state(
        image,
        kind=COLOUR,
        ImageRotation=270,
        ImageHorizontalFlip="N",
        GraphicAnnotationSequence=[annotation("L", text_in((20, 20, 300, 60), "turned left"))],
        GraphicLayerSequence=[
            layer("L", 1, GraphicLayerRecommendedDisplayRGBValue=[65535, 65535, 0])
        ],
    )
    return show(image, SMALL, state)


def _parametric_map() -> bytes:
    image = _ct()
    row, column = np.mgrid[-1:1:96j, -1:1:128j]
    image.Rows, image.Columns = row.shape
    image.BitsAllocated = 32
    for name in ("BitsStored", "HighBit", "PixelRepresentation", "PixelData", "RescaleSlope",
                 "RescaleIntercept", "PixelPaddingValue"):  # fmt: skip
        if name in image:
            delattr(image, name)
    values = np.exp(-4 * (row**2 + column**2)) * np.cos(9 * column)
    values[:8, :8] = np.nan
    image.FloatPixelData = values.astype("<f4").tobytes()
    return show(image, SMALL)


def _annotated() -> bytes:
    image = _ct(PatientName="Hopper^Grace", PatientID="GH-1906", PatientBirthDate="19061209",
                PatientSex="F", KVP="120", XRayTubeCurrent="170", SliceThickness="5")  # fmt: skip
    both = ("patient", "technique")
    wish = replace(BRAIN, viewport=Viewport(256, 256), annotation=both)
    return show(image, wish)


def _own_range() -> bytes:
    image = packaged("693_UNCR.dcm")
    del image.WindowCenter, image.WindowWidth
    return show(image)


CASES: dict[str, Callable[[], bytes]] = {
    "ct-window": lambda: show(_ct(), BRAIN),
    "ct-own-range-padding": _own_range,
    "ct-14-bit-signed": lambda: show(packaged("693_J2KR.dcm")),
    "mr-window": lambda: show(packaged("MR_small.dcm")),
    "mr-jpeg2000": lambda: show(packaged("MR2_J2KR.dcm")),
    "mr-enhanced": lambda: show(packaged("emri_small.dcm"), frame=5),
    "cr-monochrome1": lambda: show(packaged("RG1_UNCR.dcm")),
    "cr-monochrome1-lossy": lambda: show(packaged("RG3_J2KI.dcm")),
    "nm-12-bit-jpeg": lambda: show(packaged("JPGExtended.dcm")),
    "nm-signed-lossless": lambda: show(packaged("JPEG-LL.dcm")),
    "us-palette": lambda: show(packaged("examples_palette.dcm")),
    "us-palette-16-bit": lambda: show(packaged("gdcm-US-ALOKA-16.dcm")),
    "us-rle-palette": lambda: show(packaged("OBXXXX1A_rle.dcm")),
    "us-rgb": lambda: show(packaged("US1_UNCR.dcm")),
    "us-ybr-rct": lambda: show(packaged("US1_J2KR.dcm")),
    "us-ybr-full-422-frame": lambda: show(packaged("examples_ybr_color.dcm"), frame=20),
    "us-ybr-full-422-native": lambda: show(packaged("SC_ybr_full_422_uncompressed.dcm")),
    "us-multi-frame": lambda: show(packaged("color3d_jpeg_baseline.dcm"), frame=60),
    "sc-rgb-16-bit": lambda: show(packaged("SC_rgb_16bit.dcm")),
    "sc-planar": lambda: show(packaged("color-pl.dcm")),
    "big-endian-colour": lambda: show(packaged("ExplVR_BigEnd.dcm")),
    "overlay": lambda: show(packaged("examples_overlay.dcm")),
    "overlays-two": lambda: show(packaged("MR-SIEMENS-DICOM-WithOverlays.dcm")),
    "modality-lut": lambda: show(packaged("mlut_18.dcm")),
    "voi-lut": lambda: show(packaged("vlut_04.dcm")),
    "segmentation": lambda: show(packaged("liver_1frame.dcm")),
    "rt-dose": lambda: show(packaged("rtdose.dcm"), frame=7),
    "parametric-map": _parametric_map,
    "shutters": _shutters,
    "shutter-bitmap-inverse": _bitmap_shutter,
    "state-marks": lambda: _marked("upright"),
    "state-marks-rotated": lambda: _marked("rotated"),
    "state-magnified-lut": _magnified,
    "state-pseudo-colour": _pseudo_colour,
    "state-colour-rotated": _coloured_state,
    "annotation": _annotated,
    "region-flipped": lambda: show(
        _ct(), replace(BRAIN, viewport=Viewport(120, 120, 20, 20, -80, 80))
    ),
}
