"""DICOM objects for tests, made by pydicom: a peer's idea of the format, not ours."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def a_data_set(
    *, rows: int = 16, columns: int = 16, frames: int = 1, seed: int = 0, **attributes: Any
) -> Dataset:
    """A small CT image; any attribute by keyword, None removes it."""
    ds = Dataset()
    ds.SOPClassUID = CT_IMAGE_STORAGE
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.PatientName = "Hopper^Grace"
    ds.PatientID = "GH-1906"
    ds.PatientBirthDate = "19061209"
    ds.PatientSex = "F"
    ds.StudyDate, ds.StudyTime = "20260102", "101112"
    ds.StudyDescription = "Thorax"
    ds.AccessionNumber = "A1"
    ds.StudyID = "S1"
    ds.Modality = "CT"
    ds.SeriesNumber = 3
    ds.SeriesDescription = "axial"
    ds.InstanceNumber = 1
    ds.ImagePositionPatient = [0, 0, 0]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [0.5, 0.5]
    ds.Rows, ds.Columns = rows, columns
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    if frames > 1:
        ds.NumberOfFrames = frames
    pixels = np.random.default_rng(seed).integers(0, 4096, frames * rows * columns)
    ds.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def _smooth(rows, columns, frames=1, samples=1, bits=12, signed=False):
    """Something that can be compressed: a ramp and some noise, all bits used."""
    rng = np.random.default_rng(1)
    wave = np.add.outer(np.arange(rows), np.arange(columns)) * (1 << bits) // (rows + columns)
    noise = rng.integers(0, 3, (frames, rows, columns, samples))
    values = (wave[None, :, :, None] + noise) % (1 << bits)
    if signed:
        values = values - (1 << (bits - 1))
    return values


def a_smooth_image(*, bits=12, allocated=16, signed=False, samples=1, rows=64, columns=48, frames=1,
             photometric=None, **more):  # fmt: skip
    values = _smooth(rows, columns, frames, samples, bits, signed)
    kind = f"<{'i' if signed else 'u'}{allocated // 8}"
    pixels = values.astype(kind).tobytes()
    attributes = {
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
        "PixelData": pixels + b"\0" * (len(pixels) % 2),
    }
    if samples == 3:
        attributes["PlanarConfiguration"] = 0
    return a_data_set(rows=rows, columns=columns, frames=frames, **(attributes | more))


def part10(ds: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a Part 10 file; native pixels only."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "")
    meta.TransferSyntaxUID = transfer_syntax_uid
    buffer = io.BytesIO()
    syntax = UID(transfer_syntax_uid)
    file = FileDataset(
        buffer,
        ds,
        preamble=bytes(128),
        file_meta=meta,
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
    )
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def an_instance(**attributes: Any) -> bytes:
    """A small CT image as a Part 10 file."""
    return part10(a_data_set(**attributes))


def data_set_bytes(file: bytes) -> bytes:
    """What follows the File Meta Information."""
    assert file[128:132] == b"DICM"
    group_length = int.from_bytes(file[140:144], "little")
    return file[144 + group_length :]


def deep_size(value: Any, seen: set[int] | None = None) -> int:
    """Bytes in memory of a DICOM JSON object with all that it holds, each thing once."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        parts = value
    return sys.getsizeof(value) + sum(deep_size(part, seen) for part in parts)
