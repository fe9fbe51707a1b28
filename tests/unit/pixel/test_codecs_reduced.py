"""pixel.codecs, decoding to half the size: as the wavelets say, never more than there is."""

import imagecodecs
import numpy as np
import pytest

from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import ImageShape, decode, encode_frame, reduction

SIZES = [(64, 64), (67, 45), (1, 200), (129, 2), (77, 256)]


def low_pass(values: np.ndarray, axis: int) -> np.ndarray:
    """The low band of the reversible 5/3 transform along one axis (ITU T.800 F.4.8.1)."""
    line = np.moveaxis(values.astype(np.int64), axis, 0)
    count = len(line)
    if count == 1:
        return values

    def at(index: int) -> np.ndarray:
        folded = abs(index) % (2 * count - 2)
        return line[min(folded, 2 * count - 2 - folded)]

    def high(index: int) -> np.ndarray:  # Y(2n+1)
        return at(index) - ((at(index - 1) + at(index + 1)) >> 1)

    low = [at(n) + ((high(n - 1) + high(n + 1) + 2) >> 2) for n in range(0, count, 2)]
    return np.moveaxis(np.stack(low), 0, axis)


def halved(values: np.ndarray, levels: int, offset: int = 0) -> np.ndarray:
    values = values.astype(np.int64) - offset
    for _ in range(levels):
        values = low_pass(low_pass(values, 0), 1)
    return values + offset


def a_picture(shape: ImageShape) -> np.ndarray:
    """Soft waves well inside the range, so that no band runs over its ends."""
    rows, columns = np.mgrid[: shape.rows, : shape.columns]
    waves = np.sin(rows / 9.0) + np.cos(columns / 7.0) + np.sin((rows + columns) / 3.0) / 4
    middle = 0 if shape.signed else 1 << (shape.bits - 1)
    values = np.rint(waves / 4.5 * (1 << (shape.bits - 1)) * 0.8 + middle)
    if shape.samples > 1:
        values = np.stack([values, values[::-1], values[:, ::-1]], axis=-1)
    return values.astype(f"{'i' if shape.signed else 'u'}{shape.sample_bytes}")


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("depth", [(8, 8), (16, 10), (16, 12), (16, 16)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("syntax", [ts.J2K_LOSSLESS, ts.HTJ2K_LOSSLESS, ts.HTJ2K_LOSSLESS_RPCL])
def test_a_reduced_frame_is_the_low_band_of_its_wavelets(syntax, size, depth, signed):
    shape = ImageShape(*size, 1, *depth, signed)
    frame = a_picture(shape)
    coded = encode_frame(frame, syntax, shape)
    offset = 0 if signed else 1 << (shape.bits - 1)
    if syntax in ts.HIGH_THROUGHPUT and not signed:
        offset = 1 << (shape.bits_allocated - 1)
    for wanted in (1, 2, 3):
        levels = reduction(coded, syntax, shape, wanted)
        reduced = decode(coded, syntax, shape, reduce=wanted).array
        assert reduced.dtype == frame.dtype
        assert reduced.shape == tuple(-(-length // 2**levels) for length in size)
        assert np.array_equal(reduced, halved(frame, levels, offset))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("syntax", [ts.J2K_LOSSLESS, ts.HTJ2K_LOSSLESS])
def test_colour_is_reduced_too(syntax, photometric):
    shape = ImageShape(67, 45, 3, 8, 8, 0, photometric)
    frame = a_picture(shape)
    coded = encode_frame(frame, syntax, shape)
    assert reduction(coded, syntax, shape, 2) == 2
    reduced = decode(coded, syntax, shape, reduce=2)
    assert reduced.array.shape == (17, 12, 3)
    assert reduced.photometric == photometric
    planes = np.stack([halved(frame[..., n], 2, 128) for n in range(3)], axis=-1)
    worst = np.abs(reduced.array - planes).max()
    assert worst <= (4 if photometric == "RGB" else 0)  # RCT rounds before the wavelets do


def test_never_more_levels_are_left_out_than_the_codestream_holds():
    shape = ImageShape(67, 45, 1, 16, 12)
    for resolutions in (1, 2, 3):
        coded = imagecodecs.htj2k_encode(a_picture(shape), resolutions=resolutions, reversible=True)
        assert reduction(coded, ts.HTJ2K, shape, 9) == resolutions
        size = decode(coded, ts.HTJ2K, shape, reduce=9).array.shape
        assert size == (-(-67 // 2**resolutions), -(-45 // 2**resolutions))


@pytest.mark.parametrize("samples", [1, 3])
def test_baseline_jpeg_is_scaled_to_an_eighth_at_most(samples):
    shape = ImageShape(67, 45, samples, 8, 8, 0, "RGB" if samples == 3 else "MONOCHROME2")
    frame = a_picture(shape)
    coded = encode_frame(frame, ts.JPEG_BASELINE, shape)
    whole = decode(coded, ts.JPEG_BASELINE, shape)
    assert reduction(coded, ts.JPEG_BASELINE, shape, 9) == 3
    for wanted, size in ((1, (34, 23)), (2, (17, 12)), (3, (9, 6)), (5, (9, 6))):
        reduced = decode(coded, ts.JPEG_BASELINE, shape, reduce=wanted)
        assert reduced.array.shape[:2] == size
        assert reduced.photometric == whole.photometric
        # 8 x 8 pixels of a block, at whatever scale, have the same mean
        step = 8 >> min(wanted, 3)
        mean = whole.array[:64, :40].reshape(8, 8, 5, 8, -1).mean(axis=(1, 3))
        scaled = reduced.array[: 8 * step, : 5 * step].reshape(8, step, 5, step, -1)
        assert np.abs(scaled.mean(axis=(1, 3)) - mean).max() < 2


@pytest.mark.parametrize("space", ["RGB", "YCBCR"])
def test_a_scaled_jpeg_keeps_the_components_it_was_coded_with(space):
    shape = ImageShape(64, 64, 3, 8, 8, 0, "RGB" if space == "RGB" else "YBR_FULL_422")
    frame = np.zeros((64, 64, 3), np.uint8) + np.array([200, 90, 30], np.uint8)
    coded = imagecodecs.jpeg8_encode(frame, colorspace=space, outcolorspace=space, level=95)
    for reduce in (0, 1):
        middle = decode(coded, ts.JPEG_BASELINE, shape, reduce=reduce).array[10, 10]
        assert np.abs(middle.astype(int) - [200, 90, 30]).max() <= 2


@pytest.mark.parametrize(
    "syntax", [ts.EXPLICIT_LE, ts.RLE, ts.JPEG_LS_LOSSLESS, ts.JPEG_XL_LOSSLESS]
)
def test_codecs_without_levels_ignore_the_wish(syntax):
    shape = ImageShape(33, 47, 1, 16, 12)
    frame = a_picture(shape)
    coded = encode_frame(frame, syntax, shape)
    assert reduction(coded, syntax, shape, 2) == 0
    assert np.array_equal(decode(coded, syntax, shape, reduce=2).array, frame)


@pytest.mark.parametrize("garbage", [b"", b"\xff\xd8", b"\xff\x4f\xff\x51" * 30])
@pytest.mark.parametrize("syntax", [ts.J2K, ts.HTJ2K, ts.JPEG_BASELINE])
def test_how_far_garbage_can_be_reduced_is_not_at_all(syntax, garbage):
    assert reduction(garbage, syntax, ImageShape(8, 8, 1, 8, 8), 3) == 0
