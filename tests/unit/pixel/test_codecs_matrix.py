"""Every cell of docs/reference/codecs.md, in both directions."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from filmroom.pixel import native
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import (
    ImageShape,
    Loss,
    decode,
    encode_frame,
    encoded_photometric,
    rewrap,
)
from filmroom.pixel.errors import NoCodec, PixelError

ROOT = Path(__file__).parents[3]


def _tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        spec = importlib.util.spec_from_file_location("codecs_page", ROOT / "tools/make_codecs.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["codecs_page"] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


TOOL = _tool()


def a_frame(shape: ImageShape, *, soft: bool) -> np.ndarray:
    """A ramp; with noise and both ends of the range unless it is to be `soft`.

    Soft frames stay on one side of zero: codecs without a sign could not hold them else.
    """
    size = (shape.rows, shape.columns, *((shape.samples,) if shape.samples > 1 else ()))
    rows, columns = np.mgrid[: shape.rows, : shape.columns]
    wave = (2 + np.sin(rows / 6) + np.cos(columns / 5)) / 4
    wave = np.stack([wave, wave[::-1], wave[:, ::-1]], -1) if shape.samples > 1 else wave
    if shape.floating:
        return (wave * 1e6).astype(f"f{shape.sample_bytes}")
    low, top = 0, (1 << (shape.bits - shape.pixel_representation)) - 1
    values = np.rint((0.1 + 0.8 * wave) * top).astype(np.int64)
    if not soft:
        low = -top - 1 if shape.signed else 0
        noise = np.random.default_rng(5).integers(low, top + 1, size)
        values = np.where(wave < 0.6, values, noise)
        values.reshape(-1)[:4] = low, top, top, low
    return values.astype(native.sample_type(shape, "="))


def stored_shape(shape: ImageShape, syntax: str, loss: Loss | None) -> ImageShape:
    """What the data set would say of the encoded frame."""
    return replace(
        shape, photometric=encoded_photometric(syntax, shape.photometric, loss), planar=0
    )


def coded_elsewhere(frame: np.ndarray, syntax: str, shape: ImageShape) -> bytes:
    """A frame that others may send, and that we do not write."""
    if syntax in ts.NATIVE | {ts.DEFLATED_FRAME}:
        return _uncompressed(frame, syntax, shape)
    if syntax in ts.JPEG_2000_COMPONENTS:
        return _by_openjpeg(frame, shape)
    if syntax in ts.JPEG_2000 and shape.bits_allocated in (1, 32):
        return _by_openjpeg(frame, shape)
    if syntax == ts.JPEG_XL_RECOMPRESSION:
        shape = replace(shape, bits_allocated=8, pixel_representation=0)
        jpeg = encode_frame(frame.astype(np.uint8), ts.JPEG_BASELINE, shape)
        return rewrap(jpeg, ts.JPEG_BASELINE, syntax)
    # What has fewer bits than Bits Allocated, or a sign that the codec does not know.
    narrow = replace(
        shape,
        bits_allocated=next(bits for bits in (8, 16, 32) if shape.bits <= bits),
        pixel_representation=0,
    )
    cells = frame.astype(native.sample_type(narrow, "="))
    if syntax == ts.JPEG_EXTENDED and shape.bits == 8:
        syntax = ts.JPEG_BASELINE
    if shape.samples == 3 and syntax in ts.JXL:
        narrow = replace(narrow, photometric="RGB")
    return encode_frame(cells, syntax, narrow, loss=_least_loss(syntax))


def _least_loss(syntax: str) -> Loss | None:
    return Loss(quality=95) if syntax == ts.JPEG_EXTENDED else None


def _by_openjpeg(frame: np.ndarray, shape: ImageShape) -> bytes:
    if shape.bits <= 16 and shape.bits_allocated == 32:
        frame = frame.astype(f"{frame.dtype.kind}2")
    return imagecodecs.jpeg2k_encode(
        frame, reversible=True, codecformat="j2k", bitspersample=shape.bits, mct=False
    )


def _uncompressed(frame: np.ndarray, syntax: str, shape: ImageShape) -> bytes:
    order = ">" if syntax == ts.EXPLICIT_BE else "<"
    if shape.bits_allocated == 1:
        return native.pack_bits([frame])
    if shape.subsampled:
        luma, chroma = frame[..., 0].reshape(shape.rows, -1, 2), frame[:, ::2, 1:]
        frame = np.concatenate([luma, chroma], axis=-1)
    elif shape.planar:
        frame = np.moveaxis(frame, -1, 0)
    raw = np.ascontiguousarray(frame).astype(native.sample_type(shape, order)).tobytes()
    if order == ">" and shape.bits_allocated == 8:  # OW: bytes in words
        raw += b"\0" * (len(raw) % 2)
        raw = np.frombuffer(raw, "<u2").byteswap().tobytes()
    return raw if syntax != ts.DEFLATED_FRAME else _deflated(raw)


def _deflated(raw: bytes) -> bytes:
    import zlib

    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(raw) + deflater.flush()


def close_enough(back: np.ndarray, frame: np.ndarray, shape: ImageShape, near: int | None) -> bool:
    """Lossy: no error above `near`, or above 30 dB."""
    error = back.astype(np.float64) - frame.astype(np.float64)
    if near is not None:
        return np.abs(error).max() <= near
    return 20 * np.log10(((1 << shape.bits) - 1) / max((error**2).mean() ** 0.5, 1e-9)) > 30


def trouble(cell, syntax: str, loss: Loss | None) -> str | None:
    """What is wrong with one cell of the table."""
    shape = cell.shape
    lossy = loss is not None or syntax in ts.JPEG_DCT | {ts.JPEG_XL_RECOMPRESSION}
    frame = a_frame(shape, soft=lossy)
    expected = frame
    if syntax == ts.JPEG_XL_RECOMPRESSION and shape.photometric == "YBR_FULL":
        frame = np.rint(_ybr(frame, shape)).astype(frame.dtype)  # libjxl makes RGB of it
    if shape.subsampled:
        frame[:, 1::2, 1:] = frame[:, ::2, 1:]
    written, coded, said = None, b"", shape
    try:
        coded = encode_frame(frame, syntax, replace(shape, planar=0), loss=loss)
        written, said = True, stored_shape(shape, syntax, loss)
    except NoCodec:
        written = False
    if written == bool(cell.no_encoding):
        return f"encoded: {written}"
    too_fine = cell.impossible and syntax in ts.JPEG_2000 and not shape.floating
    if cell.impossible and not too_fine:
        return None  # no codestream of this kind has so many bits
    if not written or (shape.planar and syntax in ts.NATIVE | {ts.DEFLATED_FRAME}):
        said = shape
        if cell.no_decoding and not too_fine:
            coded = bytes(4000)
        else:
            coded = coded_elsewhere(frame, syntax, shape)
    try:
        back = decode(coded, syntax, said)
    except PixelError as error:
        return None if cell.no_decoding else f"not decoded: {error.message}"
    if cell.no_decoding:
        return "decoded"
    near = None if lossy else 0
    near = loss.near if loss and loss.near else near
    if back.photometric == "YBR_FULL" and frame.ndim == 3 and shape.photometric == "RGB":
        expected = np.rint(_ybr(frame, shape)).astype(frame.dtype)
    if back.array.dtype != frame.dtype or back.array.shape != frame.shape:
        return f"decoded to {back.array.dtype} {back.array.shape}"
    return None if close_enough(back.array, expected, shape, near) else "decoded to other pixels"


def _ybr(frame: np.ndarray, shape: ImageShape) -> np.ndarray:
    """RGB to YBR_FULL (PS3.3 C.7.6.3.1.2)."""
    weights = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    ybr = frame.astype(np.float64) @ weights.T
    ybr[..., 1:] += 1 << (shape.bits - 1)
    return ybr


@pytest.mark.parametrize(
    ("syntax", "loss"), [s[1:] for s in TOOL.SECTIONS], ids=[s[0] for s in TOOL.SECTIONS]
)
def test_every_cell_of_the_table_is_as_it_says(syntax, loss):
    tried = list(TOOL.cells(syntax, loss))
    wrong = [
        f"{cell.depth}, {cell.kind}, {cell.text}: {what}"
        for cell in tried
        if (what := trouble(cell, syntax, loss))
    ]
    assert not wrong, "\n".join(wrong)
    assert len(tried) >= 37


def test_the_page_is_what_the_codecs_say():
    assert TOOL.PAGE.read_text("utf-8") == TOOL.page(), "run python tools/make_codecs.py"
