"""pixel.codecs: what was wished for is what was lost, and nothing else ever is."""

from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from filmroom.pixel import native
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import (
    ImageShape,
    Loss,
    can_encode,
    decode,
    decode_frame,
    encode_frame,
    encoded_photometric,
    rewrap,
)
from filmroom.pixel.errors import NoCodec, Undecodable


def a_scan(shape: ImageShape, noise: float = 0.01) -> np.ndarray:
    """Something like a slice: soft bodies, hard edges, noise; not near the ends of the range."""
    rows, columns = np.mgrid[: shape.rows, : shape.columns]
    body = ((rows - shape.rows / 2) ** 2 + (columns - shape.columns / 2) ** 2) < 40**2
    wave = 0.3 + 0.3 * body + 0.1 * np.sin(rows / 11) * np.cos(columns / 13)
    wave = wave + np.random.default_rng(2).normal(0, noise, wave.shape)
    values = np.rint(wave * ((1 << shape.bits) - 1))
    values -= (1 << (shape.bits - 1)) if shape.signed else 0
    if shape.samples > 1:
        values = np.stack([values, values[::-1], values[:, ::-1]], axis=-1)
    return values.astype(native.sample_type(shape, "="))


def psnr(back: np.ndarray, frame: np.ndarray, bits: int) -> float:
    error = back.astype(np.float64) - frame.astype(np.float64)
    return float(20 * np.log10(((1 << bits) - 1) / max((error**2).mean() ** 0.5, 1e-9)))


@pytest.mark.parametrize("depth", [(8, 8, 0), (16, 10, 0), (16, 12, 1), (16, 16, 1)], ids=str)
@pytest.mark.parametrize("near", [1, 2, 7])
def test_near_lossless_keeps_every_sample_within_its_error(near, depth):
    shape = ImageShape(120, 130, 1, *depth)
    frame = a_scan(shape)
    coded = encode_frame(frame, ts.JPEG_LS_NEAR, shape, loss=Loss(near=near))
    error = np.abs(decode_frame(coded, ts.JPEG_LS_NEAR, shape).astype(int) - frame)
    assert error.max() == near
    assert len(coded) < len(encode_frame(frame, ts.JPEG_LS_NEAR, shape))


def test_near_lossless_never_turns_the_greatest_value_into_the_least():
    shape = ImageShape(32, 32, 1, 16, 12, 1)
    frame = a_scan(shape)
    frame[3, 3] = 2047
    with pytest.raises(NoCodec, match="change sign"):
        encode_frame(frame, ts.JPEG_LS_NEAR, shape, loss=Loss(near=2))
    assert np.array_equal(
        decode_frame(encode_frame(frame, ts.JPEG_LS_NEAR, shape), ts.JPEG_LS_NEAR, shape), frame
    )


@pytest.mark.parametrize("depth", [(8, 8, 0), (16, 12, 0), (16, 12, 1), (16, 16, 1)], ids=str)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("syntax", [ts.J2K, ts.HTJ2K])
def test_wavelets_keep_the_ratio_of_signal_to_noise_that_was_wished_for(syntax, samples, depth):
    shape = ImageShape(120, 130, samples, *depth, "RGB" if samples == 3 else "MONOCHROME2")
    frame = a_scan(shape)
    sizes = []
    for wish in (30, 40, 50):
        loss = Loss(psnr=wish)
        coded = encode_frame(frame, syntax, shape, loss=loss)
        said = encoded_photometric(syntax, shape.photometric, loss)
        assert said == ("YBR_ICT" if samples == 3 else "MONOCHROME2")
        back = decode(coded, syntax, replace(shape, photometric=said))
        assert back.photometric == shape.photometric
        assert wish - 3 < psnr(back.array, frame, shape.bits)
        sizes.append(len(coded))
    assert sizes == sorted(sizes)
    assert sizes[-1] < len(encode_frame(frame, syntax, shape))


@pytest.mark.parametrize(
    ("syntax", "depth", "samples"),
    [
        (ts.JPEG_BASELINE, (8, 8), 1),
        (ts.JPEG_BASELINE, (8, 8), 3),
        (ts.JPEG_EXTENDED, (16, 12), 1),
        (ts.JPEG_EXTENDED, (16, 12), 3),
        (ts.JPEG_XL, (8, 8), 1),
        (ts.JPEG_XL, (8, 8), 3),
        (ts.JPEG_XL, (16, 12), 1),
    ],
)
def test_a_higher_quality_is_nearer_and_longer(syntax, depth, samples):
    shape = ImageShape(120, 130, samples, *depth, 0, "RGB" if samples == 3 else "MONOCHROME2")
    frame = a_scan(shape)
    found = []
    for quality in (40, 80, 98):
        loss = Loss(quality=quality)
        coded = encode_frame(frame, syntax, shape, loss=loss)
        said = encoded_photometric(syntax, shape.photometric, loss)
        back = decode(coded, syntax, replace(shape, photometric=said))
        array = back.array.astype(float)
        if back.photometric == "YBR_FULL":
            half = 1 << (shape.bits - 1)
            y, cb, cr = array[..., 0], array[..., 1] - half, array[..., 2] - half
            array = np.stack([y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb], -1)
        found.append((psnr(array, frame, shape.bits), len(coded)))
    assert found == sorted(found)
    assert found[0][0] > 25
    assert found[2][0] > 38


@pytest.mark.parametrize(
    ("syntax", "loss", "why"),
    [
        (ts.JPEG_LS_NEAR, Loss(quality=90), "near"),
        (ts.J2K, Loss(near=1), "psnr"),
        (ts.J2K_LOSSLESS, Loss(psnr=40), "no loss"),
        (ts.RLE, Loss(near=1), "no loss"),
        (ts.JPEG_BASELINE, Loss(quality=101), "from 1 to 100"),
        (ts.JPEG_EXTENDED, None, "must be given"),
    ],
)
def test_a_wish_that_a_codec_does_not_know_is_refused(syntax, loss, why):
    shape = ImageShape(16, 16, 1, 16, 12)
    with pytest.raises(NoCodec, match=why):
        encode_frame(a_scan(shape), syntax, shape, loss=loss)


def test_what_is_always_lossy_is_not_written_unasked():
    assert not can_encode(ts.JPEG_EXTENDED)
    assert all(can_encode(syntax) for syntax in (ts.JPEG_XL, ts.J2K, ts.JPEG_LS_NEAR))
    assert can_encode(ts.HTJ2K)


def test_lossy_values_beyond_bits_stored_stay_at_the_end_of_the_range():
    # The codestream says 16 bits, as this encoder does; Bits Stored says 12.
    shape = ImageShape(64, 64, 1, 16, 12)
    frame = np.where(np.indices((64, 64)).sum(0) % 7 < 3, 4095, 0).astype(np.uint16)
    coded = imagecodecs.htj2k_encode(frame, 0.002, reversible=False)
    assert imagecodecs.htj2k_decode(coded).max() > 4095
    back = decode_frame(coded, ts.HTJ2K, shape)
    assert np.abs(back.astype(int) - frame).max() < 400
    signed = replace(shape, pixel_representation=1)
    shifted = frame.astype(np.int16) - 2048
    coded = imagecodecs.htj2k_encode(shifted, 0.002, reversible=False)
    assert np.abs(decode_frame(coded, ts.HTJ2K, signed).astype(int) - shifted).max() < 400


@pytest.mark.parametrize("syntax", [ts.HTJ2K_LOSSLESS_RPCL, ts.HTJ2K_LOSSLESS])
@pytest.mark.parametrize("samples", [1, 3])
def test_htj2k_is_truly_rpcl_with_the_lengths_of_its_tile_parts(syntax, samples):
    shape = ImageShape(300, 200, samples, 8, 8, 0, "RGB" if samples == 3 else "MONOCHROME2")
    coded = encode_frame(a_scan(shape), syntax, shape)
    markers = main_header(coded)
    assert next(iter(markers)) == 0x51  # SIZ
    assert int.from_bytes(markers[0x51][:2], "big") & 0x4000  # Rsiz: there is a CAP
    assert markers[0x50][:4] == bytes.fromhex("00020000")  # CAP: Part 15
    cod = markers[0x52]
    assert cod[1] == 2  # progression RPCL
    assert cod[5] == 5  # decompositions
    assert cod[8] & 0x40  # code blocks are high throughput
    assert cod[9] == 1  # the reversible wavelet
    # TLM holds the length of every tile-part, and nothing lies between them (A.7.1).
    tlm = markers[0x55]
    wide = 4 if tlm[1] & 0x40 else 2
    step = (tlm[1] >> 4 & 3) + wide
    lengths = [
        int.from_bytes(tlm[at + step - wide : at + step], "big") for at in range(2, len(tlm), step)
    ]
    at = coded.index(b"\xff\x90")
    for length in lengths:
        assert coded[at : at + 2] == b"\xff\x90"
        at += length
    assert coded[at:] == b"\xff\xd9"


def main_header(coded: bytes) -> dict[int, bytes]:
    """Marker -> segment, up to the first tile-part."""
    found, at = {}, 2
    while coded[at + 1] != 0x90:
        length = int.from_bytes(coded[at + 2 : at + 4], "big")
        found[coded[at + 1]] = coded[at + 4 : at + 2 + length]
        at += 2 + length
    return found


@pytest.mark.parametrize(
    "syntax", [ts.JPEG_BASELINE, ts.JPEG_LOSSLESS_SV1, ts.JPEG_LS_LOSSLESS, ts.J2K, ts.HTJ2K,
               ts.JPEG_XL_LOSSLESS, ts.RLE, ts.DEFLATED_FRAME]
)  # fmt: skip
def test_half_a_frame_is_never_shown_as_a_whole_one(syntax):
    shape = ImageShape(64, 64, 1, 8, 8)
    frame = a_scan(shape, noise=0.03)
    coded = encode_frame(frame, syntax, shape)
    whole = decode_frame(coded, syntax, shape)
    taken = 0
    for end in range(len(coded) - 1, 1, -max(len(coded) // 150, 1)):
        try:
            back = decode_frame(coded[:end], syntax, shape)
        except Undecodable:
            continue
        taken += 1
        assert np.array_equal(back, whole), end
    assert taken < 4


def test_a_jpeg_that_lacks_its_end_alone_is_whole():
    shape = ImageShape(64, 64, 1, 8, 8)
    coded = encode_frame(a_scan(shape), ts.JPEG_BASELINE, shape)
    whole = decode_frame(coded, ts.JPEG_BASELINE, shape)
    assert np.array_equal(decode_frame(coded[:-2], ts.JPEG_BASELINE, shape), whole)
    assert np.array_equal(decode_frame(coded + b"\0" * 9, ts.JPEG_BASELINE, shape), whole)
    with pytest.raises(Undecodable, match="cut short"):
        decode_frame(coded[:-12], ts.JPEG_BASELINE, shape)


@pytest.mark.parametrize("samples", [1, 3])
def test_a_jpeg_goes_into_jpeg_xl_and_comes_out_the_same_to_the_byte(samples):
    shape = ImageShape(64, 80, samples, 8, 8, 0, "RGB" if samples == 3 else "MONOCHROME2")
    jpeg = encode_frame(a_scan(shape), ts.JPEG_BASELINE, shape)
    packed = rewrap(jpeg, ts.JPEG_BASELINE, ts.JPEG_XL_RECOMPRESSION)
    assert rewrap(packed, ts.JPEG_XL_RECOMPRESSION, ts.JPEG_BASELINE) == jpeg
    back = decode(packed, ts.JPEG_XL_RECOMPRESSION, shape)
    assert psnr(back.array, a_scan(shape), 8) > 30
    never = encode_frame(a_scan(shape), ts.JPEG_XL_LOSSLESS, shape)
    with pytest.raises(NoCodec):
        rewrap(never, ts.JPEG_XL_RECOMPRESSION, ts.JPEG_BASELINE)
    with pytest.raises(NoCodec):
        rewrap(jpeg, ts.JPEG_BASELINE, ts.J2K)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    ("cells", "stored", "signed", "high_bit", "clean"),
    [
        ([0, 1, 4095], 12, 0, 11, True),
        ([0, 1, 0x8FFF], 12, 0, 11, False),  # an overlay in the high bits
        ([0, 1, 0x0FFF], 12, 1, 11, False),  # -1 whose sign was not extended
        ([0, 1, 0xFFFF], 12, 1, 11, True),
        ([0, 0x10, 0xFFF0], 12, 0, 15, False),  # at the high end of its cell
        ([0, 1, 0xFFFF], 16, 0, 15, True),
    ],
)
def test_a_clean_frame_comes_back_bit_for_bit(cells, stored, signed, high_bit, clean, big_endian):
    shape = ImageShape(1, 3, 1, 16, stored, signed, high_bit=high_bit)
    raw = np.array(cells, ">u2" if big_endian else "<u2").tobytes()
    assert native.is_clean(raw, shape, big_endian=big_endian) is clean
    syntax = ts.EXPLICIT_BE if big_endian else ts.EXPLICIT_LE
    back = native.pack(decode_frame(raw, syntax, shape), replace(shape, high_bit=None))
    assert (back == np.array(cells, "<u2").tobytes()) is clean


def test_every_clean_frame_comes_back_from_every_lossless_codec_bit_for_bit():
    random = np.random.default_rng(4)
    for allocated, stored, signed in ((8, 8, 0), (8, 7, 1), (16, 12, 0), (16, 12, 1), (16, 16, 1)):
        shape = ImageShape(24, 25, 1, allocated, stored, signed)
        low = -(1 << (stored - 1)) if signed else 0
        values = random.integers(low, low + (1 << stored), (24, 25))
        raw = values.astype(native.sample_type(shape)).tobytes()
        assert native.is_clean(raw, shape)
        frame = decode_frame(raw, ts.EXPLICIT_LE, shape)
        for syntax in (ts.RLE, ts.JPEG_LOSSLESS_SV1, ts.JPEG_LS_LOSSLESS, ts.J2K_LOSSLESS,
                       ts.HTJ2K_LOSSLESS_RPCL, ts.JPEG_XL_LOSSLESS, ts.DEFLATED_FRAME):  # fmt: skip
            back = decode_frame(encode_frame(frame, syntax, shape), syntax, shape)
            assert native.pack(back, shape) == raw


def test_colour_by_plane_and_shared_chroma_are_not_called_clean():
    planes = ImageShape(2, 2, 3, 8, 8, 0, "RGB", planar=1)
    assert not native.is_clean(bytes(12), planes)
    shared = ImageShape(2, 2, 3, 8, 8, 0, "YBR_FULL_422")
    assert not native.is_clean(bytes(8), shared)
    floating = ImageShape(1, 1, 1, 32, 32, floating=True)
    assert native.is_clean(b"\xff" * 4, floating)  # not a number, and equal to nothing


def test_part_2_frames_are_decoded_when_they_are_as_in_part_1():
    shape = ImageShape(40, 50, 1, 16, 12)
    frame = a_scan(shape)
    coded = encode_frame(frame, ts.J2K_LOSSLESS, shape)
    assert np.array_equal(decode_frame(coded, ts.J2K_COMPONENTS_LOSSLESS, shape), frame)
    volume = np.stack([frame] * 3, axis=-1)
    many = imagecodecs.jpeg2k_encode(volume, reversible=True, codecformat="j2k", mct=False)
    with pytest.raises(NoCodec, match="3 components"):
        decode_frame(many, ts.J2K_COMPONENTS, shape)
    extended = coded[:6] + b"\x80\x00" + coded[8:]
    with pytest.raises(NoCodec, match="Part 2"):
        decode_frame(extended, ts.J2K_COMPONENTS, shape)
