"""pixel.transcode: frames and whole data sets in other syntaxes, read back by pydicom."""

import asyncio
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import Decoded, decode, encode_frame, rewrap
from filmroom.pixel.color import to_rgb
from filmroom.pixel.errors import NoCodec, Undecodable
from filmroom.pixel.pool import Pool
from filmroom.pixel.shape import ImageShape
from filmroom.pixel.transcode import (
    bit_offset,
    plan,
    rewrite,
    shape_of,
    stream_data_set,
    transcode_frame,
)
from recoded import read, taken_apart, written

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"


def reading(frames):
    """As an archive gives frames: not at once."""

    async def frame_at(index):
        return frames[index]

    return frame_at


class Here:
    """A pool without processes."""

    async def run(self, function, /, *args, **kwargs):
        return function(*args, **kwargs)


def transcoded(header: bytes, frames: list[bytes], syntax: str, target: str) -> bytes:
    """A whole data set in another transfer syntax."""
    planned = plan(header, syntax, target, frames=len(frames), first_frame=frames[0])
    if planned.as_it_lies:
        value = b"".join(frames)
        return planned.head + value + b"\0" * (len(value) % 2) + planned.tail

    async def pieces():
        return [piece async for piece in stream_data_set(Here(), planned, reading(frames))]

    return b"".join(asyncio.run(pieces()))


FILES = [
    "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "examples_rgb_color.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "examples_palette.dcm", "SC_rgb_jpeg_dcmtk.dcm", "emri_small.dcm", "color3d_jpeg_baseline.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "MR_small_implicit.dcm",
]  # fmt: skip
TARGETS = [
    ts.EXPLICIT_LE, ts.IMPLICIT_LE, ts.RLE, ts.J2K_LOSSLESS, ts.HTJ2K_LOSSLESS,
    ts.JPEG_LS_LOSSLESS, ts.JPEG_LOSSLESS_SV1,
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [name for name in FILES if (PACKAGED / name).exists()])
def test_a_data_set_in_another_syntax_has_the_same_pixels(name, target):
    source = pydicom.dcmread(PACKAGED / name)
    header, frames, syntax = taken_apart(source)
    got = read(transcoded(header, frames, syntax, target), target)
    assert got.SOPInstanceUID == source.SOPInstanceUID
    assert got.PatientName == source.PatientName
    before = decode(frames[0], syntax, shape_of(_elements(header, syntax)))
    if target in (ts.EXPLICIT_LE, ts.IMPLICIT_LE) and syntax in (ts.EXPLICIT_LE, ts.IMPLICIT_LE):
        assert got.PixelData == source.PixelData
        return
    after_shape = shape_of(_elements(written(_header(got), target), target))
    if target in ts.NATIVE:
        count = int(got.get("NumberOfFrames", 1) or 1)
        first = got.PixelData[: len(got.PixelData) // count]
    else:
        first = next(generate_frames(got.PixelData, number_of_frames=len(frames)))
        assert got["PixelData"].VR == "OB"
    after = decode(first, target, after_shape)
    if before.photometric == "YBR_FULL" and syntax in ts.JPEG_DCT:  # as every IOD allows it
        shape = shape_of(_elements(header, syntax))
        before = Decoded(to_rgb(before.array, "YBR_FULL", shape), "RGB")
    assert np.array_equal(after.array, before.array)
    assert after.photometric == before.photometric


def _header(data_set):
    return pydicom.Dataset({e.tag: e for e in data_set if e.tag < 0x7FE00000 and e.tag >> 16 != 2})


def _elements(header, syntax):
    from filmroom.dicom.elements import read_data_set

    return read_data_set(
        header, explicit_vr=syntax != ts.IMPLICIT_LE, little_endian=syntax != ts.EXPLICIT_BE
    )


def test_pydicom_reads_what_we_write():
    source = pydicom.dcmread(PACKAGED / "CT_small.dcm")
    header, frames, syntax = taken_apart(source)
    for target in (ts.J2K_LOSSLESS, ts.RLE, ts.JPEG_LS_LOSSLESS, ts.HTJ2K_LOSSLESS):
        got = read(transcoded(header, frames, syntax, target), target)
        assert np.array_equal(got.pixel_array, source.pixel_array)


def test_decompressed_lossy_pixels_are_said_to_be_lossy():
    source = pydicom.dcmread(PACKAGED / "SC_rgb_jpeg_dcmtk.dcm")
    header, frames, syntax = taken_apart(source)
    got = read(transcoded(header, frames, syntax, ts.EXPLICIT_LE), ts.EXPLICIT_LE)
    assert got.LossyImageCompression == "01"
    assert got.PlanarConfiguration == 0
    assert got.PhotometricInterpretation in ("RGB", "YBR_FULL")


def test_deflated_output_inflates():
    source = pydicom.dcmread(PACKAGED / "CT_small.dcm")
    header, frames, syntax = taken_apart(source)
    deflated = transcoded(header, frames, syntax, ts.DEFLATED_LE)
    assert len(deflated) % 2 == 0
    assert read(deflated, ts.DEFLATED_LE).PixelData == source.PixelData


@pytest.mark.parametrize("target", [ts.EXPLICIT_LE, ts.IMPLICIT_LE])
def test_the_size_is_known_beforehand(target):
    source = pydicom.dcmread(PACKAGED / "SC_rgb_rle_16bit_2frame.dcm")
    header, frames, syntax = taken_apart(source)
    planned = plan(header, syntax, target, frames=2, first_frame=frames[0])
    assert planned.size_bytes == len(transcoded(header, frames, syntax, target))


def test_a_data_set_without_pixels_is_rewritten():
    source = pydicom.dcmread(PACKAGED / "test-SR.dcm")
    header = written(_header(source), ts.EXPLICIT_LE)
    implicit = rewrite(header, ts.EXPLICIT_LE, ts.IMPLICIT_LE)
    assert read(implicit, ts.IMPLICIT_LE).SOPInstanceUID == source.SOPInstanceUID
    assert rewrite(implicit, ts.IMPLICIT_LE, ts.EXPLICIT_LE) == rewrite(
        header, ts.EXPLICIT_LE, ts.EXPLICIT_LE
    )


def test_what_cannot_be_written_is_refused():
    source = pydicom.dcmread(PACKAGED / "CT_small.dcm")
    header, frames, syntax = taken_apart(source)
    with pytest.raises(NoCodec):
        transcoded(header, frames, syntax, "1.2.840.10008.1.2.4.100")
    with pytest.raises(NoCodec):
        transcoded(header, frames, syntax, ts.JPEG_BASELINE)
    with pytest.raises(Undecodable):
        plan(b"garbage", syntax, ts.RLE, frames=1)
    with pytest.raises(Undecodable):
        plan(b"", syntax, ts.RLE, frames=1)


def test_one_bit_frames_know_their_bit():
    shape = ImageShape(3, 3, 1, 1, 1)
    assert [bit_offset(shape, ts.EXPLICIT_LE, i) for i in range(3)] == [0, 1, 2]
    assert bit_offset(ImageShape(3, 3), ts.EXPLICIT_LE, 1) == 0


def test_a_frame_in_its_own_syntax_is_left_alone():
    assert transcode_frame(b"anything", ts.RLE, ts.RLE, ImageShape(1, 1)) == b"anything"


async def test_a_stream_is_the_same_as_the_whole():
    source = pydicom.dcmread(PACKAGED / "SC_rgb_rle_16bit_2frame.dcm")
    header, frames, syntax = taken_apart(source)
    frames = frames * 4
    pool = Pool(1)
    for target in (ts.EXPLICIT_LE, ts.HTJ2K_LOSSLESS):
        planned = plan(header, syntax, target, frames=8, first_frame=frames[0])
        pieces = [p async for p in stream_data_set(pool, planned, reading(frames))]
        whole = await asyncio.to_thread(transcoded, header, frames, syntax, target)
        assert b"".join(pieces) == whole
    pool.close()


# -- one bit, offsets, icons ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "columns", "count"), [(5, 5, 7), (1, 3, 3), (4, 4, 3), (3, 1, 17)]
)
async def test_one_bit_frames_are_joined_without_gaps(rows, columns, count):
    bits = np.random.default_rng(3).integers(0, 2, (count, rows * columns), dtype=np.uint8)
    packed = [np.packbits(each, bitorder="little").tobytes() for each in bits]
    shape = ImageShape(rows, columns, 1, 1, 1)
    coded = [transcode_frame(frame, ts.EXPLICIT_LE, ts.DEFLATED_FRAME, shape) for frame in packed]
    ds = pydicom.Dataset()
    ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, columns, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    ds.NumberOfFrames, ds.PhotometricInterpretation = count, "MONOCHROME2"
    made = transcoded_async(written(ds, ts.EXPLICIT_LE), coded, ts.DEFLATED_FRAME, ts.EXPLICIT_LE)
    got = read(await made, ts.EXPLICIT_LE)
    assert len(got.PixelData) % 2 == 0
    flat = np.unpackbits(np.frombuffer(got.PixelData, np.uint8), bitorder="little")
    assert (flat[: bits.size] == bits.ravel()).all()
    assert not flat[bits.size :].any()


async def transcoded_async(header, frames, syntax, target):
    planned = plan(header, syntax, target, frames=len(frames), first_frame=frames[0])
    return b"".join([p async for p in stream_data_set(Here(), planned, reading(frames))])


def test_the_only_frame_has_its_place_in_the_offset_table():
    header, frames, syntax = taken_apart(pydicom.dcmread(PACKAGED / "CT_small.dcm"))
    got = read(transcoded(header, frames, syntax, ts.JPEG_LS_LOSSLESS), ts.JPEG_LS_LOSSLESS)
    assert pydicom.encaps.parse_basic_offsets(got.PixelData) == [0]
    header, frames, syntax = taken_apart(pydicom.dcmread(PACKAGED / "SC_rgb_rle_2frame.dcm"))
    got = read(transcoded(header, frames, syntax, ts.J2K_LOSSLESS), ts.J2K_LOSSLESS)
    assert pydicom.encaps.parse_basic_offsets(got.PixelData) == []


@pytest.mark.parametrize("target", [ts.EXPLICIT_LE, ts.IMPLICIT_LE, ts.J2K_LOSSLESS])
def test_a_compressed_icon_is_opened(target):
    source = pydicom.dcmread(PACKAGED / "MR_small_RLE.dcm")
    _, frames, syntax = taken_apart(source)
    pixels = np.arange(48, dtype=np.uint8)
    shape = ImageShape(6, 8, 1, 8, 8)
    icon = pydicom.Dataset()
    icon.Rows, icon.Columns, icon.SamplesPerPixel = 6, 8, 1
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PhotometricInterpretation = "MONOCHROME2"
    coded = transcode_frame(pixels.tobytes(), ts.EXPLICIT_LE, ts.RLE, shape)
    icon.PixelData = pydicom.encaps.encapsulate([coded])
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    whole = pydicom.Dataset({e.tag: e for e in source if e.tag < 0x7FE00000})
    whole.IconImageSequence = [icon]
    got = read(transcoded(written(whole, syntax), frames, syntax, target), target)
    opened = got.IconImageSequence[0]
    assert opened.PixelData == pixels.tobytes()
    icon.PixelData = pydicom.encaps.encapsulate([b"no RLE at all"])
    icon["PixelData"].is_undefined_length = True
    whole.IconImageSequence = [icon]
    got = read(transcoded(written(whole, syntax), frames, syntax, target), target)
    assert "IconImageSequence" not in got


def test_one_bit_pixels_in_big_endian_words_are_not_guessed_at():
    ds = pydicom.dcmread(PACKAGED / "CT_small.dcm")
    ds.BitsAllocated = ds.BitsStored = 1
    header = written(_header(ds), ts.EXPLICIT_BE)
    with pytest.raises(NoCodec, match="big endian"):
        plan(header, ts.EXPLICIT_BE, ts.EXPLICIT_LE, frames=1, pixel_vr="OW")
    assert plan(header, ts.EXPLICIT_BE, ts.EXPLICIT_LE, frames=1, pixel_vr="OB").head


@pytest.mark.parametrize("colour", ["RGB", "YBR_RCT"])
def test_a_codestream_that_serves_as_another_syntax_is_not_touched(colour):
    source = pydicom.dcmread(PACKAGED / "examples_rgb_color.dcm")
    header, frames, syntax = taken_apart(source)
    coded = transcode_frame(
        frames[0], syntax, ts.HTJ2K_LOSSLESS_RPCL, shape_of(_elements(header, syntax))
    )
    whole = _header(source)
    whole.PhotometricInterpretation = colour
    made = transcoded(written(whole, ts.EXPLICIT_LE), [coded], ts.HTJ2K_LOSSLESS_RPCL, ts.HTJ2K)
    got = read(made, ts.HTJ2K)
    assert next(generate_frames(got.PixelData, number_of_frames=1)).startswith(coded)
    assert got.PhotometricInterpretation == colour
    assert "LossyImageCompression" not in got


def test_a_jpeg_packed_into_jpeg_xl_comes_out_as_it_was():
    source = pydicom.dcmread(PACKAGED / "SC_rgb_jpeg_dcmtk.dcm")
    header, frames, syntax = taken_apart(source)
    packed = transcoded(header, frames, syntax, ts.JPEG_XL_RECOMPRESSION)
    assert len(packed) < len(header) + len(frames[0])
    inside = read(packed, ts.JPEG_XL_RECOMPRESSION)
    assert inside.PhotometricInterpretation == source.PhotometricInterpretation
    ((*_, coded),) = [list(generate_frames(inside.PixelData, number_of_frames=1))]
    header = written(_header(inside), ts.JPEG_XL_RECOMPRESSION)
    out = read(transcoded(header, [coded], ts.JPEG_XL_RECOMPRESSION, syntax), syntax)
    assert out.SOPInstanceUID == source.SOPInstanceUID
    back = next(generate_frames(out.PixelData, number_of_frames=1))
    assert frames[0].startswith(back.rstrip(b"\0"))


# -- colours --------------------------------------------------------------------------------------
COLOUR = ImageShape(24, 32, 3, 8, 8, 0, "RGB")


def a_picture() -> np.ndarray:
    y, x = np.mgrid[:24, :32]
    return np.stack([60 + 6 * x, 200 - 5 * y, 40 + 2 * (x + y)], axis=-1).astype(np.uint8)


def described(shape: ImageShape) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.Rows, ds.Columns, ds.SamplesPerPixel = shape.rows, shape.columns, shape.samples
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = shape.bits_allocated, shape.bits, shape.bits - 1
    ds.PixelRepresentation, ds.PhotometricInterpretation = 0, shape.photometric
    if shape.samples > 1:
        ds.PlanarConfiguration = 0
    return ds


def encapsulated(ds: pydicom.Dataset, coded: bytes) -> pydicom.Dataset:
    ds.PixelData = pydicom.encaps.encapsulate([coded])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def a_jpeg(samples: np.ndarray, space: str) -> bytes:
    return imagecodecs.jpeg8_encode(
        samples, level=98, colorspace=space, outcolorspace=space, subsampling="444"
    )


def off(pixels: bytes) -> int:
    """How far native RGB is from the picture."""
    got = np.frombuffer(pixels, np.uint8).reshape(24, 32, 3)
    return int(np.abs(got.astype(int) - a_picture()).max())


@pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_a_jpeg_that_is_coded_as_rgb_is_rgb_whatever_the_header_says(said):
    ds = described(COLOUR)
    ds.PhotometricInterpretation = said
    coded = a_jpeg(a_picture(), "RGB")
    made = transcoded(written(ds, ts.EXPLICIT_LE), [coded], ts.JPEG_BASELINE, ts.EXPLICIT_LE)
    got = read(made, ts.EXPLICIT_LE)
    assert got.PhotometricInterpretation == "RGB"
    assert off(got.PixelData) <= 6


def test_a_jpeg_with_headroom_becomes_rgb():
    partial = a_picture().astype(float) @ np.array(
        [[0.2568, 0.5041, 0.0979], [-0.1482, -0.2910, 0.4392], [0.4392, -0.3678, -0.0714]]
    ).T + [16, 128, 128]  # PS3.3 C.7.6.3.1.2 YBR_PARTIAL_422
    coded = a_jpeg(np.rint(partial).astype(np.uint8), "YCBCR")
    ds = described(COLOUR)
    ds.PhotometricInterpretation = "YBR_PARTIAL_422"
    header = written(ds, ts.EXPLICIT_LE)
    got = read(transcoded(header, [coded], ts.JPEG_BASELINE, ts.EXPLICIT_LE), ts.EXPLICIT_LE)
    assert got.PhotometricInterpretation == "RGB"
    assert off(got.PixelData) <= 6


def test_headroom_is_not_lost_where_nothing_may_be_and_not_taken_for_full_range():
    ds = described(COLOUR)
    ds.PhotometricInterpretation = "YBR_PARTIAL_422"
    header, frame = written(ds, ts.EXPLICIT_LE), bytes([150, 150, 90, 170]) * (24 * 16)
    with pytest.raises(NoCodec, match="YBR_PARTIAL_422"):
        transcoded(header, [frame], ts.EXPLICIT_LE, ts.J2K_LOSSLESS)
    shape = shape_of(_elements(header, ts.EXPLICIT_LE))
    with pytest.raises(NoCodec, match="YBR_PARTIAL_422"):
        transcode_frame(frame, ts.EXPLICIT_LE, ts.J2K_LOSSLESS, shape)
    planned = plan(header, ts.EXPLICIT_LE, ts.JPEG_BASELINE, frames=1, coded=[1000])
    jpeg = transcode_frame(frame, ts.EXPLICIT_LE, ts.JPEG_BASELINE, shape, colours=planned.colours)
    said = read(planned.head + planned.wrap(jpeg) + planned.tail, ts.JPEG_BASELINE)
    assert said.PhotometricInterpretation == "YBR_FULL_422"
    rgb = to_rgb(decode(frame, ts.EXPLICIT_LE, shape).array, "YBR_PARTIAL", shape)
    shown = imagecodecs.jpeg8_decode(jpeg)  # as any browser shows it
    assert np.abs(shown.astype(int) - rgb).max() <= 6
    plain = transcoded(header, [frame], ts.EXPLICIT_LE, ts.IMPLICIT_LE)
    assert read(plain, ts.IMPLICIT_LE).PixelData == frame


def test_whole_chroma_is_not_called_shared():
    shape = ImageShape(24, 32, 3, 8, 8, 0, "YBR_FULL")
    coded = encode_frame(a_picture(), ts.JPEG_LS_LOSSLESS, shape)
    ds = described(shape)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    header = written(ds, ts.EXPLICIT_LE)
    got = read(transcoded(header, [coded], ts.JPEG_LS_LOSSLESS, ts.EXPLICIT_LE), ts.EXPLICIT_LE)
    assert got.PhotometricInterpretation == "YBR_FULL"
    assert got.PixelData == a_picture().tobytes()


ICONS = {
    "RCT": (ts.J2K_LOSSLESS, "YBR_RCT", lambda: encode_frame(a_picture(), ts.J2K_LOSSLESS, COLOUR)),
    "JPEG": (ts.JPEG_BASELINE, "YBR_FULL_422", lambda: encode_frame(
        a_picture(), ts.JPEG_BASELINE, COLOUR)),
    "lying JPEG": (ts.JPEG_BASELINE, "YBR_FULL", lambda: a_jpeg(a_picture(), "RGB")),
}  # fmt: skip


@pytest.mark.parametrize("name", ICONS)
def test_an_icon_in_colour_is_called_what_it_becomes(name):
    syntax, said, coded = ICONS[name]
    icon = described(COLOUR)
    icon.PhotometricInterpretation = said
    whole = described(COLOUR)
    whole.PhotometricInterpretation = said
    whole.IconImageSequence = [encapsulated(icon, coded())]
    made = transcoded(written(whole, ts.EXPLICIT_LE), [coded()], syntax, ts.EXPLICIT_LE)
    (opened,) = read(made, ts.EXPLICIT_LE).IconImageSequence
    assert opened.PhotometricInterpretation == "RGB"
    assert off(opened.PixelData) <= (0 if name == "RCT" else 8)


@pytest.mark.parametrize("from_syntax", [ts.JPEG_BASELINE, ts.JPEG_XL_RECOMPRESSION])
def test_an_icon_is_opened_where_frames_are_only_wrapped_anew(from_syntax):
    to_syntax = {
        ts.JPEG_BASELINE: ts.JPEG_XL_RECOMPRESSION, ts.JPEG_XL_RECOMPRESSION: ts.JPEG_BASELINE
    }[from_syntax]  # fmt: skip
    shape = ImageShape(24, 32, 1, 8, 8)
    coded = encode_frame(np.ascontiguousarray(a_picture()[..., 0]), ts.JPEG_BASELINE, shape)
    if from_syntax == ts.JPEG_XL_RECOMPRESSION:
        coded = rewrap(coded, ts.JPEG_BASELINE, from_syntax)
    whole = described(shape)
    whole.IconImageSequence = [encapsulated(described(shape), coded)]
    got = read(
        transcoded(written(whole, ts.EXPLICIT_LE), [coded], from_syntax, to_syntax), to_syntax
    )
    (icon,) = got.IconImageSequence
    assert not icon["PixelData"].is_undefined_length
    assert icon.PixelData == decode(coded, from_syntax, shape).array.tobytes()
    assert next(generate_frames(got.PixelData, number_of_frames=1)).startswith(
        rewrap(coded, from_syntax, to_syntax)
    )
