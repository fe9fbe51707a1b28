"""pixel.codecs: every depth there and back, real files against pydicom, lies refused."""

import threading
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from filmroom.pixel import codecs, unraisable
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import ImageShape, decode, decode_frame, encode_frame
from filmroom.pixel.errors import NoCodec, PixelError, TooLarge, Undecodable

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"
LOSSLESS = [
    ts.EXPLICIT_LE,
    ts.RLE,
    ts.DEFLATED_FRAME,
    ts.JPEG_LOSSLESS,
    ts.JPEG_LOSSLESS_SV1,
    ts.JPEG_LS_LOSSLESS,
    ts.J2K_LOSSLESS,
    ts.J2K,
    ts.JPEG_XL_LOSSLESS,
    ts.HTJ2K_LOSSLESS,
    ts.HTJ2K_LOSSLESS_RPCL,
    ts.HTJ2K,
]
DEPTHS = [
    (8, 8, 0), (8, 8, 1), (8, 4, 0), (16, 8, 0), (16, 10, 0), (16, 12, 0), (16, 12, 1),
    (16, 14, 1), (16, 16, 0), (16, 16, 1),
]  # fmt: skip


def a_frame(shape: ImageShape) -> np.ndarray:
    """A ramp with noise, both ends of the range included."""
    low = -(1 << (shape.bits - 1)) if shape.signed else 0
    high = low + (1 << shape.bits) - 1
    size = (shape.rows, shape.columns) + ((shape.samples,) if shape.samples > 1 else ())
    random = np.random.default_rng(7)
    ramp = np.linspace(low, high, int(np.prod(size))).reshape(size)
    noisy = np.clip(ramp + random.normal(0, (high - low) / 50 + 0.1, size), low, high)
    noisy.reshape(-1)[:2] = low, high
    kind = "i" if shape.signed else "u"
    return np.rint(noisy).astype(f"{kind}{shape.bits_allocated // 8}")


@pytest.mark.parametrize("depth", DEPTHS, ids=str)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_grey_comes_back_as_it_went_in(syntax, depth):
    shape = ImageShape(33, 47, 1, *depth)
    frame = a_frame(shape)
    back = decode_frame(encode_frame(frame, syntax, shape), syntax, shape)
    assert back.dtype == frame.dtype
    assert np.array_equal(back, frame)


@pytest.mark.parametrize("allocated", [8, 16])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_colour_comes_back_as_it_went_in(syntax, photometric, allocated):
    shape = ImageShape(33, 46, 3, allocated, allocated, 0, photometric)
    frame = a_frame(shape)
    if syntax == ts.JPEG_XL_LOSSLESS and photometric != "RGB":
        with pytest.raises(NoCodec):
            encode_frame(frame, syntax, shape)
        return
    coded = encode_frame(frame, syntax, shape)
    stored = ImageShape(
        33, 46, 3, allocated, allocated, 0, codecs.encoded_photometric(syntax, photometric)
    )
    back = decode(coded, syntax, stored)
    assert np.array_equal(back.array, frame)
    assert back.photometric == photometric


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("syntax", [ts.EXPLICIT_LE, ts.RLE, ts.DEFLATED_FRAME])
def test_32_bits_come_back(syntax, samples, signed):
    shape = ImageShape(9, 11, samples, 32, 32, signed, "RGB" if samples == 3 else "MONOCHROME2")
    frame = a_frame(shape)
    assert np.array_equal(decode_frame(encode_frame(frame, syntax, shape), syntax, shape), frame)


@pytest.mark.parametrize("bits_allocated", [1, 32])
def test_depths_a_codec_cannot_hold_are_refused(bits_allocated):
    shape = ImageShape(8, 8, 1, bits_allocated, bits_allocated)
    with pytest.raises(NoCodec):
        encode_frame(np.zeros((8, 8), np.uint32), ts.JPEG_LS_LOSSLESS, shape)


def test_one_bit_frames_may_start_in_the_middle_of_a_byte():
    shape = ImageShape(3, 3, 1, 1, 1)
    bits = np.array([1, 0, 1, 1, 1, 0, 0, 0, 1], np.uint8)
    packed = np.packbits(np.concatenate([np.zeros(9, np.uint8), bits]), bitorder="little")
    frame = decode_frame(packed[1:].tobytes(), ts.EXPLICIT_LE, shape, bit_offset=1)
    assert np.array_equal(frame.reshape(-1), bits)


def test_planes_are_turned_into_pixels():
    shape = ImageShape(2, 2, 3, 8, 8, 0, "RGB", planar=1)
    frame = decode_frame(bytes(range(12)), ts.EXPLICIT_LE, shape)
    assert frame[0, 1].tolist() == [1, 5, 9]


def test_native_422_shares_chroma_between_two_pixels():
    shape = ImageShape(1, 2, 3, 8, 8, 0, "YBR_FULL_422")
    back = decode(bytes([10, 20, 30, 40]), ts.EXPLICIT_LE, shape)
    assert back.array.tolist() == [[[10, 30, 40], [20, 30, 40]]]
    assert back.photometric == "YBR_FULL"


def test_big_endian_words_of_bytes_are_swapped():
    wide = ImageShape(1, 2, 1, 16, 16)
    assert decode_frame(b"\x01\x02\x03\x04", ts.EXPLICIT_BE, wide).tolist() == [[258, 772]]
    narrow = ImageShape(1, 4, 1, 8, 8)
    assert decode_frame(b"\x01\x02\x03\x04", ts.EXPLICIT_BE, narrow).tolist() == [[2, 1, 4, 3]]


def test_foreign_bits_are_dropped_and_the_sign_is_extended():
    shape = ImageShape(1, 2, 1, 16, 12, 1)
    assert decode_frame(b"\xff\x7f\x00\xf8", ts.EXPLICIT_LE, shape).tolist() == [[-1, -2048]]
    high = ImageShape(1, 1, 1, 16, 12, 0, high_bit=15)
    assert decode_frame(b"\xf0\xab", ts.EXPLICIT_LE, high).tolist() == [[0xABF]]


# Broken on purpose, or beyond pydicom without GPL plugins.
DIFFERENT = {
    *("MR_truncated", "JPEG2000-embedded-sequence-delimiter", "SC_rgb_jpeg", "badVR"),
    *("JPEG-lossy", "JPGExtended", "SC_rgb_jpeg_gdcm"),
}


def compressed_files():
    for path in sorted(PACKAGED.glob("*.dcm")):
        data_set = pydicom.dcmread(path, force=True)
        meta = getattr(data_set, "file_meta", None)
        uid = meta.get("TransferSyntaxUID") if meta else None
        if "PixelData" in data_set and "Rows" in data_set and uid and path.stem not in DIFFERENT:
            yield pytest.param(path, id=path.stem)


def shape_of(ds: pydicom.Dataset) -> ImageShape:
    return ImageShape(
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored,
        ds.PixelRepresentation, ds.PhotometricInterpretation, ds.get("PlanarConfiguration", 0),
        pixel_vr=ds["PixelData"].VR,
    )  # fmt: skip


@pytest.mark.parametrize("path", compressed_files())
def test_a_packaged_file_decodes_as_pydicom_decodes_it(path):
    data_set = pydicom.dcmread(path, force=True)
    uid = data_set.file_meta.TransferSyntaxUID
    frames = int(data_set.get("NumberOfFrames", 1) or 1)
    shape = shape_of(data_set)
    if uid.is_encapsulated:
        coded = next(generate_frames(data_set.PixelData, number_of_frames=frames))
    else:
        coded = data_set.PixelData[: (shape.native_bits + 15) // 16 * 2]
    expected = pydicom.pixels.pixel_array(pydicom.dcmread(path), index=0, raw=True)
    got = decode_frame(coded, uid, shape)
    assert got.shape == expected.shape
    tolerance = 2 if uid in ts.JPEG_DCT else 0
    assert np.abs(got.astype(np.int64) - expected.astype(np.int64)).max() <= tolerance


HOSTILE = [
    ImageShape(65535, 65535, 1, 16, 16),
    ImageShape(65535, 65535, 3, 32, 32),
    ImageShape(0, 512, 1, 16, 16),
    ImageShape(70000, 2, 1, 16, 16),
    ImageShape(4, 4, 1, 0, 0),
    ImageShape(4, 4, 1, 12, 12),
    ImageShape(4, 4, 0, 8, 8),
    ImageShape(4, 4, 2, 8, 8),
    ImageShape(4, 4, 3, 1, 1),
    ImageShape(20000, 20000, 1, 16, 16),
]


@pytest.mark.parametrize("shape", HOSTILE, ids=str)
@pytest.mark.parametrize("syntax", [ts.EXPLICIT_LE, ts.RLE, ts.JPEG_LS_LOSSLESS, ts.J2K, ts.HTJ2K])
def test_a_hostile_shape_is_refused_before_anything_is_allocated(shape, syntax):
    with pytest.raises((Undecodable, TooLarge)):
        decode_frame(b"\0" * 64, syntax, shape)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != ts.DEFLATED_FRAME])
def test_a_codestream_larger_than_its_header_is_refused(syntax):
    large = ImageShape(64, 64, 1, 16, 12)
    coded = encode_frame(a_frame(large), syntax, large)
    small = ImageShape(128, 16 if syntax != ts.EXPLICIT_LE else 128, 1, 16, 12)
    if syntax == ts.RLE:
        small = ImageShape(65, 64, 1, 16, 12)
    with pytest.raises(PixelError):
        decode_frame(coded, syntax, small)


@pytest.mark.parametrize("syntax", sorted(codecs.DECODERS))
@pytest.mark.parametrize("garbage", [b"", b"\xff\xd8", b"\xff\x4f\xff\x51" * 9, bytes(300)])
def test_garbage_is_a_pixel_error(syntax, garbage):
    with pytest.raises(PixelError):
        decode_frame(garbage, syntax, ImageShape(32, 32, 1, 16, 12))


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != ts.EXPLICIT_LE])
def test_a_frame_cut_short_or_with_flipped_bytes_never_escapes_the_family(syntax):
    shape = ImageShape(40, 40, 1, 16, 12)
    coded = encode_frame(a_frame(shape), syntax, shape)
    random = np.random.default_rng(3)
    for _ in range(30):
        bad = bytearray(coded[: random.integers(1, len(coded))])
        for at in random.integers(0, len(bad), 3):
            bad[at] ^= 1 << random.integers(0, 8)
        try:
            decode_frame(bytes(bad), syntax, shape)
        except PixelError:
            continue


def test_an_unknown_syntax_is_no_codec():
    assert not codecs.can_decode("1.2.840.10008.1.2.4.100")
    assert not codecs.can_encode("1.2.840.10008.1.2.4.51")
    with pytest.raises(NoCodec):
        decode_frame(b"", "1.2.840.10008.1.2.4.100", ImageShape(1, 1))


def test_twelve_bit_lossy_jpeg_is_decoded_to_twelve_bits():
    data_set = pydicom.dcmread(PACKAGED / "JPGExtended.dcm")
    coded = next(generate_frames(data_set.PixelData, number_of_frames=1))
    frame = decode_frame(coded, ts.JPEG_EXTENDED, shape_of(data_set))
    assert frame.shape == (data_set.Rows, data_set.Columns)
    assert 255 < frame.max() < 4096


def test_lossless_jpeg_rgb_is_not_taken_for_ybr():
    data_set = pydicom.dcmread(PACKAGED / "SC_rgb_jpeg_gdcm.dcm")
    coded = next(generate_frames(data_set.PixelData, number_of_frames=1))
    decoded = decode(coded, data_set.file_meta.TransferSyntaxUID, shape_of(data_set))
    assert decoded.photometric == "RGB"
    assert decoded.array[5, 50].tolist() == [255, 0, 0]


def test_a_damaged_htj2k_frame_is_refused_not_half_shown():
    shape = ImageShape(64, 64, 1, 16, 12)
    coded = encode_frame(a_frame(shape), ts.HTJ2K_LOSSLESS, shape)
    with pytest.raises(Undecodable):
        decode_frame(coded[: len(coded) // 3], ts.HTJ2K_LOSSLESS, shape)


def test_jpeg_ls_without_its_end_is_refused_at_once():
    shape = ImageShape(40, 40, 1, 16, 12)
    coded = encode_frame(a_frame(shape), ts.JPEG_LS_LOSSLESS, shape)
    began = time.monotonic()
    with pytest.raises(Undecodable):
        decode_frame(coded[:-300], ts.JPEG_LS_LOSSLESS, shape)
    assert time.monotonic() - began < 1


def test_errors_that_compiled_code_swallows_are_seen_by_their_own_thread_only():
    class Dropped:
        def __del__(self):
            raise RuntimeError("swallowed")

    with unraisable.watched() as swallowed:
        other = threading.Thread(target=lambda: None)
        other.start()
        other.join()
        assert swallowed == []
        Dropped()
    assert [str(error) for error in swallowed] == ["swallowed"]
