"""Data sets taken apart for pixel.transcode, and what it made of them read by pydicom."""

from __future__ import annotations

import io
import struct
import zlib

import pydicom
from pydicom.encaps import generate_frames

from filmroom.pixel import syntaxes as ts


def taken_apart(data_set: pydicom.FileDataset) -> tuple[bytes, list[bytes], str]:
    """Header bytes, frames as stored, transfer syntax."""
    syntax = data_set.file_meta.TransferSyntaxUID
    frames = int(data_set.get("NumberOfFrames", 1) or 1)
    coded = data_set.PixelData
    if syntax.is_encapsulated:
        parts = list(generate_frames(coded, number_of_frames=frames))
    else:
        size = len(coded) // frames
        parts = [coded[at : at + size] for at in range(0, size * frames, size)]
    header = pydicom.Dataset({e.tag: e for e in data_set if e.tag < 0x7FE00000})
    return written(header, syntax), parts, str(syntax)


def written(data_set: pydicom.Dataset, syntax: str) -> bytes:
    out = pydicom.filebase.DicomBytesIO()
    out.is_implicit_VR = syntax == ts.IMPLICIT_LE
    out.is_little_endian = syntax != ts.EXPLICIT_BE
    pydicom.filewriter.write_dataset(out, data_set)
    return out.getvalue()


def read(data_set: bytes, syntax: str) -> pydicom.Dataset:
    if syntax == ts.DEFLATED_LE:
        data_set = zlib.decompress(data_set, -15)
    got = pydicom.dcmread(
        io.BytesIO(
            b"\0" * 128
            + b"DICM"
            + struct.pack("<HH2sHI", 2, 0, b"UL", 4, 8 + len(syntax) + len(syntax) % 2)
            + struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax) + len(syntax) % 2)
            + syntax.encode()
            + b"\0" * (len(syntax) % 2)
            + data_set
        )
    ) if syntax != ts.DEFLATED_LE else pydicom.filereader.read_dataset(
        io.BytesIO(data_set), False, True
    )  # fmt: skip
    return got
