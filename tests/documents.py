"""Reports, encapsulated documents and waveforms for tests, made by pydicom."""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from instances import a_data_set

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
ENCAPSULATED_CDA = "1.2.840.10008.5.1.4.1.1.104.2"
TWELVE_LEAD = "1.2.840.10008.5.1.4.1.1.9.1.1"
AMBULATORY = "1.2.840.10008.5.1.4.1.1.9.1.3"
HEMODYNAMIC = "1.2.840.10008.5.1.4.1.1.9.2.1"
VOICE = "1.2.840.10008.5.1.4.1.1.9.4.1"

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]" \
      b"/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\n" \
      b"trailer<</Root 1 0 R>>\n%%EOF"  # fmt: skip
CDA = (
    b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><title>Note</title>'
    b"</ClinicalDocument>"
)


def without_pixels(sop_class_uid: str, modality: str, **attributes: Any) -> Dataset:
    """A data set with the patient and study of an image, and nothing of an image."""
    ds = a_data_set()
    for keyword in [
        "PixelData",
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "RescaleIntercept",
        "RescaleSlope",
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
    ]:
        delattr(ds, keyword)
    ds.SOPClassUID, ds.Modality = sop_class_uid, modality
    ds.ContentDate, ds.ContentTime = "20260103", "081500"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


# -- reports ----------------------------------------------------------------------------------
def code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def item(value_type: str, name: str = "", how: str = "CONTAINS", **attributes: Any) -> Dataset:
    """A content item; `children` are its own content."""
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = how, value_type
    if name:
        ds.ConceptNameCodeSequence = code("1", "99TEST", name)
    children: Listed[Dataset] = attributes.pop("children", ())
    if children:
        ds.ContentSequence = Sequence(children)
    if value_type == "CONTAINER":
        ds.ContinuityOfContent = attributes.pop("continuity", "SEPARATE")
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def text(name: str, value: str, how: str = "CONTAINS", **more: Any) -> Dataset:
    return item("TEXT", name, how, TextValue=value, **more)


def number(name: str, value: str, unit: tuple[str, str, str], **more: Any) -> Dataset:
    measured = Dataset()
    measured.MeasurementUnitsCodeSequence = code(*unit)
    measured.NumericValue = value
    return item("NUM", name, MeasuredValueSequence=Sequence([measured]), **more)


def reference(sop_class_uid: str, sop_instance_uid: str, frames: Listed[int] = ()) -> Sequence:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if frames:
        ds.ReferencedFrameNumber = list(frames)
    return Sequence([ds])


def a_report(*content: Dataset, title: str = "Chest CT", **attributes: Any) -> Dataset:
    """A Comprehensive SR with this content."""
    sop_class = attributes.pop("sop_class_uid", COMPREHENSIVE_SR)
    ds = without_pixels(sop_class, "SR")
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = code("18747-6", "LN", title)
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.PerformedProcedureCodeSequence = Sequence()
    ds.ContentSequence = Sequence(content)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


# -- encapsulated documents -------------------------------------------------------------------
def encapsulated(
    document: bytes = PDF,
    sop_class_uid: str = ENCAPSULATED_PDF,
    mime_type: str = "application/pdf",
    length: int | None = None,
    **attributes: Any,
) -> Dataset:
    """length: what the data set says; None for the truth."""
    ds = without_pixels(sop_class_uid, "DOC", DocumentTitle="Discharge letter", **attributes)
    ds.MIMETypeOfEncapsulatedDocument = mime_type
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    ds.EncapsulatedDocumentLength = len(document) if length is None else length
    return ds


# -- waveforms --------------------------------------------------------------------------------
def channel(label: str, unit: str = "uV", **attributes: Any) -> Dataset:
    ds = Dataset()
    ds.ChannelSourceSequence = code("1", "99TEST", label)
    ds.ChannelSensitivity, ds.ChannelSensitivityCorrectionFactor = 1, 1
    ds.ChannelBaseline, ds.ChannelSampleSkew = 0, "0"
    ds.ChannelSensitivityUnitsSequence = code(unit, "UCUM", unit)
    ds.WaveformBitsStored = 16
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def group(
    samples: np.ndarray, channels: Listed[Dataset], rate_hz: float, kind: str = "SS", **more: Any
) -> Dataset:
    """samples: (samples, channels) as they are encoded."""
    ds = Dataset()
    ds.WaveformOriginality = "ORIGINAL"
    ds.NumberOfWaveformSamples, ds.NumberOfWaveformChannels = samples.shape
    ds.SamplingFrequency = rate_hz
    ds.ChannelDefinitionSequence = Sequence(channels)
    ds.WaveformBitsAllocated = samples.dtype.itemsize * 8
    ds.WaveformSampleInterpretation = kind
    ds.WaveformData = samples.tobytes()
    ds["WaveformData"].VR = "OB" if samples.dtype.itemsize == 1 else "OW"
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def a_waveform(*groups: Dataset, sop_class_uid: str = TWELVE_LEAD, **attributes: Any) -> Dataset:
    ds = without_pixels(sop_class_uid, "ECG", **attributes)
    ds.AcquisitionDateTime = "20260103081500"
    ds.WaveformSequence = Sequence(groups)
    return ds


def heartbeats(seconds: float, rate_hz: int, channels: int) -> np.ndarray:
    """(samples, channels) of something like an ECG, in microvolts."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz % 0.8
    beat = 1100 * np.exp(-(((t - 0.3) / 0.012) ** 2)) + 250 * np.exp(-(((t - 0.5) / 0.04) ** 2))
    beat += 120 * np.exp(-(((t - 0.15) / 0.03) ** 2))
    gains = np.linspace(0.4, 1.3, channels)
    return np.rint(beat[:, None] * gains).astype("<i2")


def an_ecg(seconds: float = 10, rate_hz: int = 500) -> Dataset:
    """A 12-lead ECG."""
    channels = [channel(f"Lead {lead}") for lead in LEADS]
    return a_waveform(group(heartbeats(seconds, rate_hz, 12), channels, rate_hz))


def new_uid() -> str:
    return str(generate_uid())
