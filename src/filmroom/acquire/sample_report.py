"""The content of the sample measurement report: TID 1500 (PS3.16) in a Comprehensive SR."""

from __future__ import annotations

from collections.abc import Sequence as Listed

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

Code = tuple[str, str, str]

IMAGING_MEASUREMENT_REPORT = ("126000", "DCM", "Imaging Measurement Report")
LANGUAGE = ("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = ("en", "RFC5646", "English")
OBSERVER_TYPE = ("121005", "DCM", "Observer Type")
PERSON = ("121006", "DCM", "Person")
OBSERVER_NAME = ("121008", "DCM", "Person Observer Name")
PROCEDURE_REPORTED = ("121058", "DCM", "Procedure reported")
CT_OF_CHEST = ("169069000", "SCT", "CT of chest")
IMAGE_LIBRARY = ("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = ("126200", "DCM", "Image Library Group")
IMAGING_MEASUREMENTS = ("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP = ("125007", "DCM", "Measurement Group")
TRACKING_IDENTIFIER = ("112039", "DCM", "Tracking Identifier")
TRACKING_UID = ("112040", "DCM", "Tracking Unique Identifier")
FINDING = ("121071", "DCM", "Finding")
NODULE = ("27925004", "SCT", "Nodule")
FINDING_SITE = ("363698007", "SCT", "Finding Site")
RIGHT_LUNG = ("3341006", "SCT", "Right lung")
LENGTH = ("410668003", "SCT", "Length")
MILLIMETER = ("mm", "UCUM", "mm")


def fill_report(
    ds: Dataset,
    image: Dataset,
    slices: Listed[Dataset],
    *,
    series_uid: str,
    tracking_uid: str,
    line: Listed[float],
    length_mm: float,
) -> None:
    """Add SR Document General and Content to `ds` (PS3.3 C.17).

    line: x1, y1, x2, y2 of the measured diameter on `image`, in image coordinates where the
    centre of the first pixel is 0.5, 0.5 (C.18.6.1.1).
    """
    ds.ReferencedPerformedProcedureStepSequence = Sequence()
    ds.PerformedProcedureCodeSequence = Sequence()
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"
    ds.PreliminaryFlag = "FINAL"
    ds.CurrentRequestedProcedureEvidenceSequence = Sequence([_evidence(ds, slices, series_uid)])
    measured = _item("INFERRED FROM", "SCOORD", None)
    measured.GraphicType = "POLYLINE"
    measured.GraphicData = [round(at, 2) for at in line]
    measured.ContentSequence = Sequence([_image("SELECTED FROM", image)])
    group = _container(
        MEASUREMENT_GROUP,
        _text("HAS OBS CONTEXT", TRACKING_IDENTIFIER, "Nodule 1"),
        _uid("HAS OBS CONTEXT", TRACKING_UID, tracking_uid),
        _code("CONTAINS", FINDING, NODULE),
        _code("HAS CONCEPT MOD", FINDING_SITE, RIGHT_LUNG),
        _number(LENGTH, length_mm, measured),
    )
    root = _container(
        IMAGING_MEASUREMENT_REPORT,
        _code("HAS CONCEPT MOD", LANGUAGE, ENGLISH),
        _code("HAS OBS CONTEXT", OBSERVER_TYPE, PERSON),
        _observer("Villaverde^Ines"),
        _code("HAS CONCEPT MOD", PROCEDURE_REPORTED, CT_OF_CHEST),
        _container(IMAGE_LIBRARY, _container(IMAGE_LIBRARY_GROUP, _image("CONTAINS", image))),
        _container(IMAGING_MEASUREMENTS, group),
    )
    del root.RelationshipType
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "1500"
    root.ContentTemplateSequence = Sequence([template])
    ds.update(root)


def _evidence(ds: Dataset, slices: Listed[Dataset], series_uid: str) -> Dataset:
    """Every image of the series, as evidence (C.17.2)."""
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    series.ReferencedSOPSequence = Sequence([_reference(each) for each in slices])
    study = Dataset()
    study.StudyInstanceUID = ds.StudyInstanceUID
    study.ReferencedSeriesSequence = Sequence([series])
    return study


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _coded(code: Code) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return Sequence([item])


def _item(relationship: str, value_type: str, name: Code | None) -> Dataset:
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    if name is not None:
        item.ConceptNameCodeSequence = _coded(name)
    return item


def _container(name: Code, *content: Dataset) -> Dataset:
    item = _item("CONTAINS", "CONTAINER", name)
    item.ContinuityOfContent = "SEPARATE"
    item.ContentSequence = Sequence(content)
    return item


def _code(relationship: str, name: Code, value: Code) -> Dataset:
    item = _item(relationship, "CODE", name)
    item.ConceptCodeSequence = _coded(value)
    return item


def _text(relationship: str, name: Code, value: str) -> Dataset:
    item = _item(relationship, "TEXT", name)
    item.TextValue = value
    return item


def _uid(relationship: str, name: Code, value: str) -> Dataset:
    item = _item(relationship, "UIDREF", name)
    item.UID = value
    return item


def _observer(name: str) -> Dataset:
    item = _item("HAS OBS CONTEXT", "PNAME", OBSERVER_NAME)
    item.PersonName = name
    return item


def _number(name: Code, value: float, measured: Dataset) -> Dataset:
    item = _item("CONTAINS", "NUM", name)
    quantity = Dataset()
    quantity.MeasurementUnitsCodeSequence = _coded(MILLIMETER)
    quantity.NumericValue = f"{value:g}"
    item.MeasuredValueSequence = Sequence([quantity])
    item.ContentSequence = Sequence([measured])
    return item


def _image(relationship: str, image: Dataset) -> Dataset:
    item = _item(relationship, "IMAGE", None)
    item.ReferencedSOPSequence = Sequence([_reference(image)])
    return item
