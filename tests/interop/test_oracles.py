"""Pixels as independent decoders see them: of real files, and of what we write.

More real files: `FILMROOM_MORE_IMAGES=FOLDER`, each compared as the packaged ones are.
"""

import asyncio
import os
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian

import oracles
from filmroom.dicom import frames, part10
from filmroom.dicom.deflated import inflate
from filmroom.dicom.elements import read_data_set
from filmroom.dicom.errors import Malformed
from filmroom.dicom.scan import scan
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.calling import Limits
from filmroom.pixel.codecs import (
    ImageShape,
    Loss,
    decode,
    encode_frame,
    encoded_photometric,
    refusal,
)
from filmroom.pixel.errors import PixelError
from filmroom.pixel.pool import Pool
from filmroom.pixel.transcode import bit_offset, shape_of, transcode_frame
from packaged import FOLDERS

MORE = os.environ.get("FILMROOM_MORE_IMAGES")
MOST_FRAMES = 4  # of one file


def packaged() -> list[Path]:
    """Every file that has pixels of a kind that filmroom says it decodes, or not."""
    found = []
    folders = [FOLDERS[0], FOLDERS[2], *([Path(MORE)] if MORE else [])]
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.is_file()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data_set = pydicom.dcmread(path, force=True)
            except Exception:  # noqa: BLE001  files that are none
                continue
        has_pixels = any(
            k in data_set for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        )
        if has_pixels and "Rows" in data_set:
            found.append(path)
    return found


class Ours:
    """A file as filmroom takes it apart: its frames as stored, and what is said of them."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        meta = part10.parse_meta(raw, complete=True)
        self.syntax = meta.transfer_syntax_uid
        body = raw[meta.data_set_offset :]
        if self.syntax == ts.DEFLATED_LE:
            body = inflate(body, 1 << 28)
        found = scan(body, self.syntax, complete=True)
        header = read_data_set(
            body[: found.header_bytes],
            explicit_vr=self.syntax != ts.IMPLICIT_LE,
            little_endian=self.syntax != ts.EXPLICIT_BE,
        )
        self.shape = shape_of(
            header, floating=found.pixel_tag != 0x7FE00010, pixel_vr=found.pixel_vr
        )
        native = frames.build_native(found, body) if self.syntax in ts.NATIVE else None
        self.table = native or frames.build(found, body, self.syntax)
        self._body = body

    def frame(self, index: int) -> bytes:
        at, length = self.table.span(index)
        return bytes(self.table.joined(index, self._body[at : at + length]))


def _is_encapsulated(path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meta = pydicom.dcmread(path, force=True, stop_before_pixels=True).file_meta
    return meta.get("TransferSyntaxUID", ExplicitVRLittleEndian).is_encapsulated


REAL = packaged()
ENCAPSULATED = [path for path in REAL if _is_encapsulated(path)]
# Files that are broken on purpose, and what filmroom says of them.
REFUSED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "tiles are too many",  # its SIZ is overwritten
    "SC_rgb_jpeg.dcm": "not in explicit VR",
}
CUT_OFF = {"MR_truncated.dcm": "the pixel data is cut off"}
# gdcm mixes up the bytes of RLE colour with more than 8 bits; dcmtk and pylibjpeg-rle do not.
WRONG = {
    (f"SC_rgb_rle_{kind}.dcm", "gdcm")
    for kind in ("16bit", "16bit_2frame", "32bit", "32bit_2frame")
}


@pytest.fixture(scope="module")
def by_gdcm(tmp_path_factory) -> dict[Path, np.ndarray]:
    return oracles.gdcm(ENCAPSULATED, tmp_path_factory.mktemp("gdcm"))


def numbers(array: np.ndarray, shape: ImageShape) -> np.ndarray:
    """Sample values as whole numbers, whatever an oracle thinks of the sign."""
    bits = shape.bits
    values = array.astype(np.int64) & ((1 << bits) - 1)
    return np.where(values >> (bits - 1), values - (1 << bits), values) if shape.signed else values


@pytest.mark.parametrize("path", ENCAPSULATED, ids=lambda p: p.name)
def test_a_real_file_is_decoded_as_others_decode_it(path, by_gdcm, tmp_path):
    if path.name in REFUSED:
        with pytest.raises((PixelError, Malformed), match=REFUSED[path.name]):
            decode((ours := Ours(path)).frame(0), ours.syntax, ours.shape)
        return
    ours = Ours(path)
    told = oracles.of_file(path, tmp_path)
    if path in by_gdcm:
        told["gdcm"] = by_gdcm[path]
    agreeing = []
    for index in range(min(ours.table.frames, MOST_FRAMES)):
        decoded = decode(ours.frame(index), ours.syntax, ours.shape)
        for name, theirs in told.items():
            frame = theirs[index] if ours.table.frames > 1 else theirs
            if frame.shape != decoded.array.shape and frame.ndim == decoded.array.ndim + 1:
                frame = frame[0]
            if (path.name, name) in WRONG:
                continue
            error = np.abs(numbers(frame, ours.shape) - decoded.array)
            lossy = ours.syntax in ts.JPEG_DCT
            assert error.mean() < 1 if lossy else error.max() == 0, (
                name,
                error.max(),
                error.mean(),
            )
            agreeing.append(name)
    assert agreeing, "nobody else can read it"


def test_every_packaged_picture_is_decoded_or_refused_and_kills_no_worker():
    pool = Pool(1, Limits(memory_bytes=1 << 30, cpu_seconds=20, wall_seconds=60))
    refused = {}
    try:
        worker = asyncio.run(pool.run(os.getpid))
        for path in REAL:
            try:
                ours = Ours(path)
                assert ours.table is not None, path.name
                for index in range(min(ours.table.frames, MOST_FRAMES)):
                    bits = bit_offset(ours.shape, ours.syntax, index)
                    native = asyncio.run(
                        pool.run(
                            transcode_frame, ours.frame(index), ours.syntax, ts.IMPLICIT_LE,
                            ours.shape, bit_offset=bits,
                        )
                    )  # fmt: skip
                    assert len(native) >= ours.shape.native_bits // 8
            except (PixelError, Malformed, AssertionError) as error:
                refused[path.name] = str(error)
        assert asyncio.run(pool.run(os.getpid)) == worker
    finally:
        pool.close()
    expected = REFUSED | CUT_OFF
    assert [
        (name, why) for name, why in refused.items() if expected.get(name, "nothing") not in why
    ] == []
    assert set(expected) <= set(refused)
    assert len(REAL) - len(refused) > 110


DEPTHS = [
    (8, 8, 0), (8, 8, 1), (16, 10, 0), (16, 12, 0), (16, 12, 1), (16, 14, 1), (16, 16, 0),
    (16, 16, 1), (32, 32, 0),
]  # fmt: skip
WRITTEN = [
    (ts.RLE, None), (ts.JPEG_BASELINE, Loss(quality=90)), (ts.JPEG_EXTENDED, Loss(quality=90)),
    (ts.JPEG_LOSSLESS, None), (ts.JPEG_LOSSLESS_SV1, None), (ts.JPEG_LS_LOSSLESS, None),
    (ts.JPEG_LS_NEAR, Loss(near=3)), (ts.J2K_LOSSLESS, None), (ts.J2K, Loss(psnr=50)),
    (ts.HTJ2K_LOSSLESS, None), (ts.HTJ2K_LOSSLESS_RPCL, None), (ts.HTJ2K, Loss(psnr=50)),
]  # fmt: skip


def a_picture(shape: ImageShape) -> np.ndarray:
    rows, columns = np.mgrid[: shape.rows, : shape.columns]
    wave = (2.2 + np.sin(rows / 6) + np.cos(columns / 5)) / 4.4
    wave = np.stack([wave, wave[::-1], wave[:, ::-1]], -1) if shape.samples > 1 else wave
    low = -(1 << (shape.bits - 1)) if shape.signed else 0
    noise = np.random.default_rng(8).random(wave.shape) * 0.1
    values = low + (0.05 + 0.85 * (wave * 0.9 + noise)) * ((1 << shape.bits) - 1)
    return np.rint(values).astype(f"{'i' if shape.signed else 'u'}{shape.sample_bytes}")


def as_file(path: Path, coded: bytes, syntax: str, shape: ImageShape) -> None:
    """A Secondary Capture around one frame."""
    data_set = pydicom.Dataset()
    data_set.file_meta = pydicom.dataset.FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.SOPClassUID = data_set.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data_set.Rows, data_set.Columns = shape.rows, shape.columns
    data_set.SamplesPerPixel = shape.samples
    data_set.PhotometricInterpretation = shape.photometric
    if shape.samples > 1:
        data_set.PlanarConfiguration = 0
    data_set.BitsAllocated, data_set.BitsStored = shape.bits_allocated, shape.bits_stored
    data_set.HighBit = shape.bits_stored - 1
    data_set.PixelRepresentation = shape.pixel_representation
    data_set.PixelData = encapsulate([coded])
    data_set["PixelData"].VR = "OB"
    data_set.save_as(path, enforce_file_format=True)


def cases():
    for syntax, loss in WRITTEN:
        for samples, photometric in ((1, "MONOCHROME2"), (3, "RGB")):
            for depth in DEPTHS:
                shape = ImageShape(45, 64, samples, *depth, photometric)
                if refusal(syntax, shape, loss) is None and (samples == 1 or not shape.signed):
                    yield syntax, loss, shape


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(syntax, loss, shape) -> (file, what gdcm makes of it)."""
    folder = tmp_path_factory.mktemp("written")
    files = {}
    for number, (syntax, loss, shape) in enumerate(cases()):
        coded = encode_frame(a_picture(shape), syntax, shape, loss=loss)
        said = replace(shape, photometric=encoded_photometric(syntax, shape.photometric, loss))
        path = folder / f"{number}.dcm"
        as_file(path, coded, syntax, said)
        files[syntax, loss, shape] = path
    told = oracles.gdcm(files.values(), folder)
    return {case: (path, told.get(path)) for case, path in files.items()}


MISREAD = {("gdcm", ts.RLE, 16, 3), ("gdcm", ts.RLE, 32, 3)}  # as WRONG says
UNREAD = 32, ts.HIGH_THROUGHPUT  # HTJ2K of so many bits is beyond OpenJPEG; OpenJPH alone reads it


@pytest.mark.parametrize(("syntax", "loss"), WRITTEN, ids=str)
def test_what_we_write_is_read_by_others_as_we_read_it(syntax, loss, written, tmp_path):
    readers = Counter()
    for (its_syntax, its_loss, shape), (path, by_gdcm) in written.items():
        if (its_syntax, its_loss) != (syntax, loss):
            continue
        ours = Ours(path)
        decoded = decode(ours.frame(0), syntax, ours.shape).array
        told = oracles.of_file(path, tmp_path)
        if by_gdcm is not None:
            told["gdcm"] = by_gdcm
        agreeing = 0
        for name, theirs in told.items():
            theirs = theirs.reshape(decoded.shape)
            if (name, syntax, shape.bits_allocated, shape.samples) in MISREAD:
                continue
            error = np.abs(numbers(theirs, shape) - decoded.astype(np.int64))
            most = (2 if syntax in ts.JPEG_DCT else 1) if loss and not loss.near else 0
            assert error.max() <= most, (name, shape, error.max())
            agreeing += 1
            readers[name] += 1
        unread = shape.bits_allocated == UNREAD[0] and syntax in UNREAD[1]
        assert bool(agreeing) is not unread, ("who else reads it?", told.keys(), shape)
        if loss is None:
            assert np.array_equal(decoded, a_picture(shape))
    print(dict(readers))


def ways() -> list[tuple[str, int, str]]:
    """(syntax, fragments of a frame, kind of offset table), of those that can be told apart.

    An extended table wants one fragment for each frame (PS3.3 C.7.6.3.1.8), and RLE frames in
    several fragments say nowhere where they begin. (pydicom writes no JPEG XL.)
    """
    found = []
    for syntax in (ts.RLE, ts.JPEG_LOSSLESS_SV1, ts.JPEG_LS_LOSSLESS, ts.J2K_LOSSLESS, ts.HTJ2K):
        found += [(syntax, 1, "none"), (syntax, 1, "basic"), (syntax, 1, "extended")]
        found += [(syntax, 3, "basic")] + [(syntax, 3, "none")] * (syntax != ts.RLE)
    return found


@pytest.mark.parametrize(("syntax", "fragments", "table"), ways())
def test_frames_are_found_whatever_fragments_and_tables_they_come_in(
    syntax, fragments, table, tmp_path
):
    shape = ImageShape(45, 63, 1, 16, 12)
    pictures = [np.roll(a_picture(shape), 5 * n, axis=0) for n in range(3)]
    coded = [encode_frame(picture, syntax, shape) for picture in pictures]
    path = tmp_path / "several.dcm"
    as_file(path, coded[0], syntax, shape)
    data_set = pydicom.dcmread(path)
    data_set.NumberOfFrames = 3
    if table == "extended":
        value, offsets, lengths = pydicom.encaps.encapsulate_extended(coded)
        data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths = offsets, lengths
    else:
        value = encapsulate(coded, fragments_per_frame=fragments, has_bot=table == "basic")
    data_set.PixelData = value
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(path, enforce_file_format=True)
    ours = Ours(path)
    assert ours.table.frames == 3
    for index, picture in enumerate(pictures):
        assert np.array_equal(decode(ours.frame(index), syntax, ours.shape).array, picture)
