"""Objects to measure with: as large and as full of attributes as those of real scanners."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SMITHS = 75  # of a thousand small studies: those that SMI* finds
_SMITHS = ("Smith^John", "Smirnova^Anna", "Smit^Jan")
_OTHERS = ("Garcia^Luis", "Lee^Min", "Novak^Petra", "Okafor^Ada", "Snow^Jon")


def slices(
    folder: Path,
    count: int,
    *,
    modality: str = "CT",
    size: int = 512,
    studies: int = 1,
    patient: str = "BENCH",
) -> list[Path]:
    """Write `count` single-frame images of `size` x `size` x 16 bit, spread over `studies`."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(7).normal(0, 20, (size, size))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = np.where(x * x + y * y < 0.7, 1064, 0)
    pixels = (body + noise).clip(0, 4095).astype("<u2")
    uids = [(generate_uid(), generate_uid(), generate_uid()) for _ in range(studies)]
    paths = []
    for number in range(count):
        of = number % studies
        ds = _header(modality, uids[of], number // studies, f"{patient}{of:05d}", size)
        ds.PixelData = np.roll(pixels, number, 0).tobytes()
        path = folder / f"{number:05d}.dcm"
        path.write_bytes(_part10(ds))
        paths.append(path)
    return paths


def small_studies(folder: Path, count: int, first: int = 0) -> list[Path]:
    """One 4 KB object each, from number `first` on: for queries over many studies."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        uids = (generate_uid(), generate_uid(), generate_uid())
        ds = _header("CT", uids, 0, patient_id(number), 16)
        is_smith = number * 7919 % 1000 < SMITHS  # spread over all of them
        names = _SMITHS if is_smith else _OTHERS
        ds.PatientName = f"{names[number % len(names)]}^{number}"
        ds.StudyDate = f"2026{1 + number % 12:02d}{1 + number % 28:02d}"
        ds.AccessionNumber = f"ACC{number:06d}"
        ds.PixelData = bytes(16 * 16 * 2)
        path = folder / f"{number:06d}.dcm"
        path.write_bytes(_part10(ds))
        paths.append(path)
    return paths


def patient_id(number: int) -> str:
    """The PatientID of small study `number`."""
    return f"Q{number:06d}"


def multi_frame(folder: Path, frames: int = 300, size: int = 512) -> list[Path]:
    """One object of many frames; 300 of 512 x 512 x 16 bit are 157 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    ds = _header("CT", (generate_uid(), generate_uid(), generate_uid()), 0, "LARGE", size)
    ds.SOPClassUID, ds.NumberOfFrames = ENHANCED_CT, frames
    noise = np.random.default_rng(7).integers(0, 4096, (size, size)).astype("<u2")
    ds.PixelData = b"".join(np.roll(noise, n, 0).tobytes() for n in range(frames))
    path = folder / "large.dcm"
    path.write_bytes(_part10(ds))
    return [path]


def _header(
    modality: str, uids: tuple[str, str, str], number: int, patient_id: str, size: int
) -> Dataset:
    """About ninety elements, private ones and sequences among them."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CT if modality == "CT" else MR
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112.000"
    ds.AccessionNumber, ds.StudyID = f"A{patient_id}"[:16], "1"
    ds.Modality, ds.Manufacturer = modality, "Bench"
    ds.InstitutionName, ds.StationName = "Bench Hospital", "CT01"
    ds.ReferringPhysicianName, ds.OperatorsName = "Ref^Erring", "Oper^Ator"
    ds.StudyDescription, ds.SeriesDescription = "Chest", "axial 1.0"
    ds.ManufacturerModelName, ds.SoftwareVersions = "Model X", "1.2.3"
    ds.PatientName, ds.PatientID = "Bench^Patient", patient_id
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19700101", "O", "056Y"
    ds.PatientWeight, ds.PatientPosition = "70", "HFS"
    ds.BodyPartExamined, ds.ProtocolName = "CHEST", "Chest routine"
    ds.SliceThickness, ds.SpacingBetweenSlices = "1", "1"
    ds.KVP, ds.ExposureTime, ds.XRayTubeCurrent, ds.Exposure = "120", "500", "200", "100"
    ds.DataCollectionDiameter, ds.ReconstructionDiameter = "500", "360"
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = "1000", "500"
    ds.GantryDetectorTilt, ds.TableHeight, ds.RotationDirection = "0", "150", "CW"
    ds.FilterType, ds.GeneratorPower, ds.FocalSpots = "BODY", "50", ["0.7", "1.2"]
    ds.ConvolutionKernel, ds.DeviceSerialNumber = "B30f", "12345"
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, number + 1
    ds.ImagePositionPatient = ["-180", "-180", str(number)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PositionReferenceIndicator, ds.SliceLocation = "", str(number)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = size
    ds.PixelSpacing = ["0.703125", "0.703125"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = ["40", "-600"], ["400", "1200"]
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    step = Dataset()
    step.ScheduledProcedureStepID, step.RequestedProcedureID = "SPS1", "RP1"
    step.ScheduledProcedureStepDescription = "Chest"
    ds.RequestAttributesSequence = Sequence([step])
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTCHEST", "L", "CT chest"
    ds.ProcedureCodeSequence = Sequence([code])
    block = ds.private_block(0x0029, "BENCH HEADER", create=True)
    for element in range(20):
        block.add_new(element, "LO", f"private value {element}")
    block.add_new(0x20, "OB", bytes(2048))
    return ds


def _part10(ds: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    FileDataset(buffer, ds, preamble=bytes(128), file_meta=meta).save_as(
        buffer, enforce_file_format=True
    )
    return buffer.getvalue()
