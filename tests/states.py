"""Presentation states for tests, made by pydicom (PS3.3 A.33)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

GRAYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"
COLOUR = "1.2.840.10008.5.1.4.1.1.11.2"
PSEUDO_COLOUR = "1.2.840.10008.5.1.4.1.1.11.3"
EMPTY = (
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName"),
    *("StudyID", "AccessionNumber", "ContentDescription", "ContentCreatorName", "Manufacturer"),
)
HOUNSFIELD = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "RescaleType": "HU"}


def item(**attributes: Any) -> Dataset:
    """An item of a sequence."""
    ds = Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def reference(image: Dataset, *frames: int) -> Dataset:
    """An item of a Referenced Image Sequence."""
    ds = item(
        ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID
    )
    if frames:
        ds.ReferencedFrameNumber = list(frames)
    return ds


def area(left: int, top: int, right: int, bottom: int, **more: Any) -> list[Dataset]:
    """A Displayed Area Selection Sequence: both corners as the picture shows them."""
    return [
        item(
            DisplayedAreaTopLeftHandCorner=[left, top],
            DisplayedAreaBottomRightHandCorner=[right, bottom],
            **{"PresentationSizeMode": "SCALE TO FIT", "PresentationPixelAspectRatio": [1, 1]}
            | more,
        )
    ]


def window(center: float, width: float) -> list[Dataset]:
    """A Softcopy VOI LUT Sequence."""
    return [item(WindowCenter=center, WindowWidth=width)]


def a_lut(values: np.ndarray, first: int = 0, bits: int = 8) -> Dataset:
    """An item of a LUT sequence."""
    ds = item(LUTDescriptor=[len(values), first, bits], LUTData=values.astype("<u2").tobytes())
    ds["LUTData"].VR = "OW"
    return ds


def a_state(
    image: Dataset, *frames: int, kind: str = GRAYSCALE, identity: str = "", **attributes: Any
) -> Dataset:
    """A presentation state of one image, or of some of its frames; None removes an attribute."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = kind, identity or generate_uid()
    ds.StudyInstanceUID = image.StudyInstanceUID
    ds.SeriesInstanceUID = generate_uid()
    ds.PatientName, ds.PatientID = image.get("PatientName", ""), image.get("PatientID", "")
    for name in EMPTY:
        setattr(ds, name, "")
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.ContentLabel = "PR", 1, 1, "STATE"
    ds.PresentationCreationDate, ds.PresentationCreationTime = "20260102", "101112"
    ds.ReferencedSeriesSequence = [
        item(
            SeriesInstanceUID=image.SeriesInstanceUID,
            ReferencedImageSequence=[reference(image, *frames)],
        )
    ]
    ds.DisplayedAreaSelectionSequence = area(1, 1, image.Columns, image.Rows)
    if kind == GRAYSCALE:
        ds.PresentationLUTShape = "IDENTITY"
    for name, value in attributes.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    return ds


def graphic(kind: str, *numbers: float, units: str = "PIXEL", filled: str = "N") -> Dataset:
    """A graphic object: column and row of each point."""
    return item(
        GraphicAnnotationUnits=units,
        GraphicDimensions=2,
        NumberOfGraphicPoints=len(numbers) // 2,
        GraphicData=list(map(float, numbers)),
        GraphicType=kind,
        GraphicFilled=filled,
    )


def text_in(box: tuple[float, ...], text: str, units: str = "PIXEL", **more: Any) -> Dataset:
    """A text object in a box."""
    return item(
        BoundingBoxAnnotationUnits=units,
        UnformattedTextValue=text,
        BoundingBoxTopLeftHandCorner=list(map(float, box[:2])),
        BoundingBoxBottomRightHandCorner=list(map(float, box[2:])),
        **{"BoundingBoxTextHorizontalJustification": "LEFT"} | more,
    )


def text_at(x: float, y: float, text: str, units: str = "PIXEL", visible: str = "Y") -> Dataset:
    """A text object at an anchor point."""
    return item(
        AnchorPointAnnotationUnits=units,
        UnformattedTextValue=text,
        AnchorPoint=[float(x), float(y)],
        AnchorPointVisibility=visible,
    )


def layer(name: str, order: int, grey: int | None = None, **more: Any) -> Dataset:
    """A graphic layer."""
    ds = item(GraphicLayer=name, GraphicLayerOrder=order, **more)
    if grey is not None:
        ds.GraphicLayerRecommendedDisplayGrayscaleValue = grey
    return ds


def annotation(name: str, *objects: Dataset, images: list[Dataset] | None = None) -> Dataset:
    """An item of a Graphic Annotation Sequence."""
    ds = item(GraphicLayer=name)
    if images:
        ds.ReferencedImageSequence = images
    texts = [each for each in objects if "UnformattedTextValue" in each]
    shapes = [each for each in objects if "GraphicType" in each]
    if texts:
        ds.TextObjectSequence = texts
    if shapes:
        ds.GraphicObjectSequence = shapes
    return ds


def a_palette(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> dict[str, Any]:
    """Palette attributes of 8-bit values."""
    found: dict[str, Any] = {}
    for name, values in (("Red", red), ("Green", green), ("Blue", blue)):
        found[f"{name}PaletteColorLookupTableDescriptor"] = [len(values), 0, 16]
        entries = (values.astype("<u2") * 257).tobytes()
        found[f"{name}PaletteColorLookupTableData"] = entries
    return found


def a_bitmap(mask: np.ndarray) -> bytes:
    """Overlay Data of a mask."""
    packed = np.packbits(mask.reshape(-1), bitorder="little").tobytes()
    return packed + bytes(len(packed) % 2)
