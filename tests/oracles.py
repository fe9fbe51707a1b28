"""What independent decoders make of a file: dcmtk, gdcm, OpenJPEG, CharLS, pylibjpeg-rle.

gdcm runs in a process of its own: it is C++ that reads strangers' bytes, and importing it
here would not hurt, but its crash would. Each gives all frames as one array of numbers, or
None where it cannot; signs are not to be relied upon.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import generate_frames

from filmroom.pixel import syntaxes as ts

PROGRAMS = {
    **dict.fromkeys(ts.JPEG_DCT | ts.JPEG_PREDICTIVE, ("dcmdjpeg", "+cn", "+px")),
    **dict.fromkeys(ts.JPEG_LS, ("dcmdjpls",)),
    ts.RLE: ("dcmdrle",),
}


def of_file(path: Path, scratch: Path) -> dict[str, np.ndarray]:
    """Oracle -> frames, of all oracles in this process and dcmtk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(path, force=True)
        syntax = str(data_set.file_meta.TransferSyntaxUID)
        found = {"dcmtk": dcmtk(path, syntax, scratch)}
        found |= {name: _by_frame(data_set, read) for name, read in _readers(syntax).items()}
    return {name: frames for name, frames in found.items() if frames is not None}


def dcmtk(path: Path, syntax: str, scratch: Path) -> np.ndarray | None:
    """All frames as dcmtk decompresses them."""
    if syntax not in PROGRAMS:
        return None
    out = scratch / f"{path.stem}.dcmtk"
    program, *options = PROGRAMS[syntax]
    done = subprocess.run([program, *options, path, out], capture_output=True, timeout=60)
    if done.returncode:
        return None
    data_set = pydicom.dcmread(out, force=True)
    return pydicom.pixels.pixel_array(data_set, raw=True)


_GDCM = """
import sys
import gdcm
import numpy as np

for path, out in zip(sys.argv[1::2], sys.argv[2::2]):
    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    if not reader.Read():
        continue
    image = reader.GetImage()
    kind = image.GetPixelFormat()
    size = [image.GetDimension(n) for n in range(image.GetNumberOfDimensions())][::-1]
    width = kind.GetBitsAllocated() // 8
    samples = kind.GetSamplesPerPixel()
    try:
        raw = image.GetBuffer().encode("utf-8", errors="surrogateescape")
    except Exception:
        continue
    frames = np.frombuffer(raw, f"<u{width}")
    if frames.size != samples * int(np.prod(size)):
        continue
    if samples > 1 and image.GetPlanarConfiguration() == 1:
        frames = np.moveaxis(frames.reshape(-1, samples, *size[-2:]), 1, -1)
    np.save(out, frames.reshape(*size, *([samples] if samples > 1 else [])))
"""


def gdcm(paths: Iterable[Path], scratch: Path) -> dict[Path, np.ndarray]:
    """Path -> all frames, of those that gdcm reads; one process for each fifty files."""
    wanted = [(path, scratch / f"{number}.npy") for number, path in enumerate(paths)]
    for at in range(0, len(wanted), 50):
        words = [str(word) for pair in wanted[at : at + 50] for word in pair]
        subprocess.run([sys.executable, "-c", _GDCM, *words], capture_output=True, timeout=120)
    return {path: np.load(out) for path, out in wanted if out.exists()}


def _readers(syntax: str):
    if syntax in ts.JPEG_2000 | ts.HIGH_THROUGHPUT:
        return {"OpenJPEG": _openjpeg}
    if syntax in ts.JPEG_LS:
        return {"CharLS": _charls}
    return {"pylibjpeg-rle": _rle} if syntax == ts.RLE else {}


def _by_frame(data_set: pydicom.Dataset, read) -> np.ndarray | None:
    count = int(data_set.get("NumberOfFrames", 1) or 1)
    try:
        frames = [
            read(f, data_set) for f in generate_frames(data_set.PixelData, number_of_frames=count)
        ]
    except Exception:  # noqa: BLE001  whatever a foreign decoder says of what it cannot read
        return None
    return np.stack(frames) if count > 1 else frames[0]


def _openjpeg(frame: bytes, _: pydicom.Dataset) -> np.ndarray:
    import openjpeg

    return openjpeg.decode(frame)


def _charls(frame: bytes, _: pydicom.Dataset) -> np.ndarray:
    import jpeg_ls

    return jpeg_ls.decode(np.frombuffer(frame, np.uint8))


def _rle(frame: bytes, data_set: pydicom.Dataset) -> np.ndarray:
    from rle.utils import decode_frame

    size = data_set.Rows, data_set.Columns
    raw = decode_frame(frame, size[0] * size[1], data_set.BitsAllocated, "<")
    planes = np.frombuffer(raw, f"<u{data_set.BitsAllocated // 8}")
    planes = planes.reshape(data_set.SamplesPerPixel, *size)
    return planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, -1)
