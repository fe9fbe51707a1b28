"""The sample studies: what a new archive shows before anybody has sent it anything.

Four invented patients: a chest CT with a measurement report, a head MR in two weightings, a
chest radiograph and a heart ultrasound in motion. UIDs are derived from names, so the same
objects come out every time; only the dates follow the day.
"""

from __future__ import annotations

import datetime
import io
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

from filmroom.acquire import phantoms
from filmroom.acquire.sample_report import fill_report
from filmroom.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import encode_frame
from filmroom.pixel.shape import ImageShape

NAMESPACE = uuid.UUID("6b7b3f0a-31f8-5a0e-9c53-1f6d0a7c2e11")
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
FRAME_TIME_MS = 33.3
AXIAL = [1, 0, 0, 0, 1, 0]


def sample_uid(name: str) -> str:
    """The UID of a sample thing: a UUID of its name under 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, name).int}"


@dataclass(frozen=True, slots=True)
class Patient:
    """An invented person; the name's components are alphabetic, ideographic, phonetic."""

    charset: str | list[str]
    name: str
    id: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class Study:
    """One examination of an invented person, some days before today."""

    key: str
    patient: Patient
    days_ago: int
    time: str
    description: str
    accession: str
    referring: str


CT_STUDY = Study(
    "ct",
    Patient(
        ["", "ISO 2022 IR 87"],
        "Sato^Haruka=佐藤^遥=さとう^はるか",
        "FR-100231",
        "19610417",
        "F",
    ),
    1,
    "091530",
    "CT Chest with contrast",
    "A2400118",
    "Ekwueme^Chidi^^Dr.",
)
MR_STUDY = Study(
    "mr",
    Patient("ISO_IR 100", "Lindqvist^Åsa Märta", "FR-100478", "19740902", "F"),
    2,
    "140212",
    "MR Head",
    "A2400125",
    "Brøgger^Søren^^Dr.",
)
CR_STUDY = Study(
    "cr",
    Patient("ISO_IR 192", "Kim^Seoyeon=김^서연", "FR-100502", "19880123", "F"),
    0,
    "073845",
    "Chest PA",
    "A2400131",
    "Νικολάου^Ελένη^^Dr.",
)
US_STUDY = Study(
    "us",
    Patient("ISO_IR 144", "Морозов^Павел^Ильич", "FR-100517", "19550630", "M"),
    0,
    "102004",
    "Echocardiography",
    "A2400133",
    "Гайдар^Нина^^Dr.",
)


def sample_files(today: datetime.date | None = None) -> Iterator[bytes]:
    """Every sample object as a Part 10 file, about 60 MB in all.

    today: the day that study dates count back from; the present day by default.
    """
    day = today or datetime.date.today()
    slices: list[Dataset] = []
    for data_set in _ct(day):
        slices.append(_without_pixels(data_set))
        yield _part10(data_set, ts.EXPLICIT_LE)
    yield _part10(_report(day, slices), ts.EXPLICIT_LE)
    for data_set in _mr(day, 1, "T1 SE axial", phantoms.T1):
        yield _part10(data_set, ts.EXPLICIT_LE)
    for data_set in _mr(day, 2, "T2 TSE axial", phantoms.T2):
        yield _part10(_compressed(data_set), ts.JPEG_LS_LOSSLESS)
    yield _part10(_cr(day), ts.EXPLICIT_LE)
    yield _part10(_us(day), ts.JPEG_BASELINE)


def _part10(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    data_set.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, data_set, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return out.getvalue()


def _without_pixels(data_set: Dataset) -> Dataset:
    kept = Dataset()
    for name in ("SOPClassUID", "SOPInstanceUID", "ImagePositionPatient", "InstanceNumber"):
        setattr(kept, name, getattr(data_set, name))
    return kept


def _common(study: Study, day: datetime.date, sop_class: str, series: int, number: int) -> Dataset:
    """Patient, General Study, General Series, General Equipment, SOP Common (PS3.3 C.7, C.12)."""
    patient = study.patient
    date = f"{day - datetime.timedelta(days=study.days_ago):%Y%m%d}"
    ds = Dataset()
    ds.SpecificCharacterSet = patient.charset
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = sample_uid(f"{study.key}/{series}/{number}")
    ds.StudyInstanceUID = sample_uid(study.key)
    ds.SeriesInstanceUID = sample_uid(f"{study.key}/{series}")
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = date
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = study.time
    ds.AccessionNumber = study.accession
    ds.ReferringPhysicianName = study.referring
    ds.StudyDescription = study.description
    ds.StudyID = study.accession[-4:]
    ds.PatientName = patient.name
    ds.PatientID = patient.id
    ds.IssuerOfPatientID = "FILMROOM-SAMPLES"
    ds.PatientBirthDate = patient.birth_date
    ds.PatientSex = patient.sex
    ds.PatientAge = f"{int(date[:4]) - int(patient.birth_date[:4]):03d}Y"
    ds.Manufacturer = "filmroom"
    ds.ManufacturerModelName = "Phantom"
    ds.InstitutionName = "Filmroom General"
    ds.StationName = f"{study.key.upper()}1"
    ds.DeviceSerialNumber = "1"
    ds.SoftwareVersions = "1"
    ds.SeriesNumber = series
    ds.InstanceNumber = number
    return ds


def _grey(ds: Dataset, pixels: NDArray[Any], stored: int, photometric: str = "MONOCHROME2") -> None:
    """Image Pixel of one unsigned grey-scale frame (C.7.6.3)."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = 16
    ds.BitsStored = stored
    ds.HighBit = stored - 1
    ds.PixelRepresentation = 0
    ds.add_new(0x7FE00010, "OW", pixels.astype("<u2").tobytes())


def _plane(ds: Dataset, side: int, spacing_mm: float, z_mm: float, thickness_mm: float) -> None:
    """Image Plane of an axial slice (C.7.6.2)."""
    corner = -(side - 1) / 2 * spacing_mm
    ds.PixelSpacing = [spacing_mm, spacing_mm]
    ds.ImageOrientationPatient = AXIAL
    ds.ImagePositionPatient = [round(corner, 3), round(corner, 3), round(z_mm, 3)]
    ds.SliceLocation = round(z_mm, 3)
    ds.SliceThickness = thickness_mm
    ds.PositionReferenceIndicator = ""
    ds.PatientPosition = "HFS"


def _ct(day: datetime.date) -> Iterator[Dataset]:
    for index, hounsfield in enumerate(phantoms.ct_slices()):
        ds = _common(CT_STUDY, day, CT_IMAGE, 1, index + 1)
        ds.Modality = "CT"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SeriesDescription = "Chest 2.5 mm soft"
        ds.ProtocolName = "Chest routine"
        ds.BodyPartExamined = "CHEST"
        ds.FrameOfReferenceUID = sample_uid("ct/frame")
        ds.AcquisitionNumber = 1
        ds.AcquisitionDate, ds.AcquisitionTime = ds.StudyDate, ds.StudyTime
        ds.KVP = 120
        ds.XRayTubeCurrent = 210
        ds.ExposureTime = 500
        ds.ConvolutionKernel = "B31f"
        ds.ReconstructionDiameter = round(phantoms.CT_SIDE * phantoms.CT_SPACING_MM, 1)
        ds.GantryDetectorTilt = 0
        _plane(
            ds,
            phantoms.CT_SIDE,
            phantoms.CT_SPACING_MM,
            phantoms.ct_height_mm(index),
            phantoms.CT_STEP_MM,
        )
        ds.RescaleIntercept = -1024
        ds.RescaleSlope = 1
        ds.RescaleType = "HU"
        ds.WindowCenter = [40, -500]
        ds.WindowWidth = [400, 1500]
        ds.WindowCenterWidthExplanation = ["MEDIASTINUM", "LUNG"]
        _grey(ds, (hounsfield + 1024).astype(np.uint16), 12)
        yield ds


def _mr(
    day: datetime.date, series: int, description: str, values: Mapping[str, float]
) -> Iterator[Dataset]:
    t2 = series == 2
    for index, pixels in enumerate(phantoms.mr_slices(values, series)):
        ds = _common(MR_STUDY, day, MR_IMAGE, series, index + 1)
        ds.Modality = "MR"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.SeriesDescription = description
        ds.ProtocolName = description
        ds.BodyPartExamined = "HEAD"
        ds.FrameOfReferenceUID = sample_uid("mr/frame")
        ds.AcquisitionNumber = 1
        ds.ScanningSequence = "SE"
        ds.SequenceVariant = "SK" if t2 else "NONE"
        ds.ScanOptions = ""
        ds.MRAcquisitionType = "2D"
        ds.SequenceName = "tse2d" if t2 else "se2d"
        ds.RepetitionTime = 4200 if t2 else 520
        ds.EchoTime = 98 if t2 else 12
        ds.EchoTrainLength = 11 if t2 else 1
        ds.FlipAngle = 90
        ds.NumberOfAverages = 1
        ds.MagneticFieldStrength = 1.5
        ds.ImagingFrequency = 63.8
        ds.ImagedNucleus = "1H"
        ds.SpacingBetweenSlices = phantoms.MR_STEP_MM
        _plane(ds, phantoms.MR_SIDE, phantoms.MR_SPACING_MM, phantoms.mr_height_mm(index), 5.0)
        ds.WindowCenter, ds.WindowWidth = (600, 1200) if t2 else (450, 900)
        _grey(ds, pixels, 12)
        yield ds


def _compressed(ds: Dataset) -> Dataset:
    """The same image, its one frame in JPEG-LS lossless."""
    shape = ImageShape(ds.Rows, ds.Columns, 1, 16, ds.BitsStored)
    pixels = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    _encapsulate(ds, [encode_frame(pixels, ts.JPEG_LS_LOSSLESS, shape)])
    return ds


def _encapsulate(ds: Dataset, frames: Iterable[bytes]) -> None:
    ds.add_new(0x7FE00010, "OB", encapsulate(list(frames), has_bot=True))
    ds["PixelData"].is_undefined_length = True


def _cr(day: datetime.date) -> Dataset:
    ds = _common(CR_STUDY, day, CR_IMAGE, 1, 1)
    ds.Modality = "CR"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SeriesDescription = "Chest PA"
    ds.ProtocolName = "Chest PA"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    ds.KVP = 117
    ds.PlateID = "P1"
    ds.CassetteOrientation = "PORTRAIT"
    ds.ImagerPixelSpacing = [phantoms.CR_SPACING_MM] * 2
    ds.PixelSpacing = [phantoms.CR_SPACING_MM] * 2
    ds.WindowCenter = 1750
    ds.WindowWidth = 3100
    ds.RescaleIntercept = 0
    ds.RescaleSlope = 1
    ds.RescaleType = "US"
    _grey(ds, phantoms.cr_chest(), 12, "MONOCHROME1")
    return ds


def _us(day: datetime.date) -> Dataset:
    shape = ImageShape(phantoms.US_ROWS, phantoms.US_COLUMNS, 3, 8, 8, 0, "RGB")
    frames = [encode_frame(f, ts.JPEG_BASELINE, shape) for f in phantoms.us_frames()]
    raw = shape.decoded_bytes * len(frames)
    ds = _common(US_STUDY, day, US_MULTIFRAME, 1, 1)
    ds.Modality = "US"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SeriesDescription = "Four chambers"
    ds.ProtocolName = "Transthoracic"
    ds.BodyPartExamined = "HEART"
    ds.PatientOrientation = ""
    ds.NumberOfFrames = len(frames)
    ds.FrameIncrementPointer = 0x00181063
    ds.FrameTime = FRAME_TIME_MS
    ds.CineRate = ds.RecommendedDisplayFrameRate = 30
    ds.StartTrim, ds.StopTrim = 1, len(frames)
    ds.HeartRate = 75
    ds.SequenceOfUltrasoundRegions = Sequence([_region()])
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = shape.rows, shape.columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelRepresentation = 0
    ds.UltrasoundColorDataPresent = 1
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = round(raw / sum(map(len, frames)), 1)
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    _encapsulate(ds, frames)
    return ds


def _region() -> Dataset:
    """US Region Calibration: the sector is tissue, measured in cm (C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.RegionDataType = 1
    region.RegionFlags = 2
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 40, 24
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 600, 464
    region.ReferencePixelX0, region.ReferencePixelY0 = 280, 0
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.ReferencePixelPhysicalValueX = region.ReferencePixelPhysicalValueY = 0.0
    region.PhysicalDeltaX = region.PhysicalDeltaY = phantoms.US_SPACING_MM / 10
    region.TransducerFrequency = 3200
    return region


def _report(day: datetime.date, slices: list[Dataset]) -> Dataset:
    """A measurement report on the CT's nodule (PS3.16 TID 1500)."""
    ds = _common(CT_STUDY, day, COMPREHENSIVE_SR, 2, 1)
    ds.Modality = "SR"
    ds.SeriesDescription = "Measurement report"
    z_mm = phantoms.NODULE_MM[2]
    image = min(slices, key=lambda each: abs(float(each.ImagePositionPatient[2]) - z_mm))
    x, y = (
        (at - float(corner)) / phantoms.CT_SPACING_MM + 0.5
        for at, corner in zip(phantoms.NODULE_MM[:2], image.ImagePositionPatient[:2], strict=True)
    )
    reach = phantoms.NODULE_DIAMETER_MM / 2 / phantoms.CT_SPACING_MM
    fill_report(
        ds,
        image,
        slices,
        series_uid=sample_uid("ct/1"),
        tracking_uid=sample_uid("ct/nodule"),
        line=[x - reach, y, x + reach, y],
        length_mm=phantoms.NODULE_DIAMETER_MM,
    )
    return ds
