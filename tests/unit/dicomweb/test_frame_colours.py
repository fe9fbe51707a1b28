"""A frame alone, read by the metadata as Cornerstone reads it, has the colours of the picture.

Whatever the header says of the stored frame, and whatever the stored frame is.
"""

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import decode_frame, encode_frame
from filmroom.pixel.shape import ImageShape
from instances import a_data_set, part10

ROWS, COLUMNS = 24, 32
STUDY = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1"}
PATH = "/studies/1.1/series/1.1.1/instances/1.1.1.1"
OCTETS = "application/octet-stream"


def a_picture() -> np.ndarray:
    """Of many colours, none of which is grey."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return np.stack([60 + 6 * x, 200 - 5 * y, 40 + 2 * (x + y)], axis=-1).astype(np.uint8)


def in_ybr(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("YCbCr"))


def in_partial(picture: np.ndarray) -> np.ndarray:
    """With footroom and headroom (PS3.3 C.7.6.3.1.2 YBR_PARTIAL_422)."""
    ybr = in_ybr(picture).astype(float)
    ybr[..., 0] = 16 + ybr[..., 0] * 219 / 255
    ybr[..., 1:] = 128 + (ybr[..., 1:] - 128) * 224 / 255
    return np.rint(ybr).astype(np.uint8)


def a_jpeg(samples: np.ndarray, space: str) -> bytes:
    return imagecodecs.jpeg8_encode(
        samples, level=98, colorspace=space, outcolorspace=space, subsampling="444"
    )


def coded_as(syntax: str, samples: np.ndarray, photometric: str) -> bytes:
    return encode_frame(samples, syntax, ImageShape(ROWS, COLUMNS, 3, 8, 8, 0, photometric))


def by_plane(picture: np.ndarray) -> bytes:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)).tobytes()


RGB, YBR, SHARED = "RGB", "YBR_FULL", "YBR_FULL_422"
# name -> (transfer syntax, Photometric Interpretation, Planar Configuration, frame, near enough)
CASES = {
    "a JPEG, said to be RGB": lambda p: (ts.JPEG_BASELINE, RGB, 0, a_jpeg(in_ybr(p), "YCBCR"), 6),
    "a JPEG of shared chroma": lambda p: (
        *(ts.JPEG_BASELINE, SHARED, 0, a_jpeg(in_ybr(p), "YCBCR"), 6),
    ),
    "a JPEG in YBR_FULL": lambda p: (ts.JPEG_BASELINE, YBR, 0, a_jpeg(in_ybr(p), "YCBCR"), 6),
    "a JPEG by plane": lambda p: (ts.JPEG_BASELINE, SHARED, 1, a_jpeg(in_ybr(p), "YCBCR"), 6),
    "a JPEG in RGB": lambda p: (ts.JPEG_BASELINE, RGB, 0, a_jpeg(p, "RGB"), 6),
    "a JPEG in RGB, said to be YBR": lambda p: (ts.JPEG_BASELINE, YBR, 0, a_jpeg(p, "RGB"), 6),
    "a JPEG in RGB, said to share": lambda p: (ts.JPEG_BASELINE, SHARED, 0, a_jpeg(p, "RGB"), 6),
    "a JPEG with headroom": lambda p: (
        *(ts.JPEG_BASELINE, "YBR_PARTIAL_422", 0, a_jpeg(in_partial(p), "YCBCR"), 6),
    ),
    "JPEG 2000": lambda p: (ts.J2K_LOSSLESS, "YBR_RCT", 0, coded_as(ts.J2K_LOSSLESS, p, RGB), 0),
    "HTJ2K, said to be RGB": lambda p: (
        *(ts.HTJ2K_LOSSLESS, RGB, 0, coded_as(ts.HTJ2K_LOSSLESS, p, RGB), 0),
    ),
    "JPEG-LS in YBR_FULL": lambda p: (
        *(ts.JPEG_LS_LOSSLESS, YBR, 0, coded_as(ts.JPEG_LS_LOSSLESS, in_ybr(p), YBR), 3),
    ),
    "JPEG-LS, said to share": lambda p: (
        *(ts.JPEG_LS_LOSSLESS, SHARED, 0, coded_as(ts.JPEG_LS_LOSSLESS, in_ybr(p), YBR), 3),
    ),
    "RLE": lambda p: (ts.RLE, RGB, 0, coded_as(ts.RLE, p, RGB), 0),
    "RLE by plane": lambda p: (ts.RLE, RGB, 1, coded_as(ts.RLE, p, RGB), 0),
    "big endian by plane": lambda p: (ts.EXPLICIT_BE, RGB, 1, by_plane(p), 0),
    "as it lies, by plane": lambda p: (ts.EXPLICIT_LE, RGB, 1, by_plane(p), 0),
}


@pytest.fixture(params=CASES)
async def stored(request, room):
    """(room, picture, transfer syntax, how far the stored frame is from the picture)."""
    picture = a_picture()
    syntax, photometric, planar, frame, near = CASES[request.param](picture)
    ds = a_data_set(
        rows=ROWS, columns=COLUMNS, SamplesPerPixel=3, PhotometricInterpretation=photometric,
        PlanarConfiguration=planar, BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelData=frame, **STUDY,
    )  # fmt: skip
    if syntax not in ts.NATIVE:
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    answer = await room.store(part10(ds, syntax))
    assert answer.status_code == 200, answer.text
    return room, picture, syntax, near


async def metadata(room) -> tuple[str, int]:
    (found,) = (await room.get(f"{PATH}/metadata")).json()
    return found["00280004"]["Value"][0], found["00280006"]["Value"][0]


def shown(body: bytes, photometric: str, planar: int) -> np.ndarray:
    """As Cornerstone shows octets: three samples that can be no 4:2:2 are RGB."""
    assert len(body) == ROWS * COLUMNS * 3
    samples = np.frombuffer(body, np.uint8)
    if planar:
        samples = samples.reshape(3, ROWS, COLUMNS).transpose(1, 2, 0)
    return in_colours(samples.reshape(ROWS, COLUMNS, 3), photometric)


def in_colours(samples: np.ndarray, photometric: str) -> np.ndarray:
    if photometric != "YBR_FULL":
        return samples
    return np.asarray(Image.fromarray(samples.copy(), "YCbCr").convert("RGB"))


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("what", ["frames/1", "bulkdata/7FE00010"])
async def test_the_metadata_are_true_of_uncompressed_samples(stored, what):
    room, picture, _, near = stored
    answer = await room.get(f"{PATH}/{what}", headers={"Accept": OCTETS})
    assert answer.status_code == 200, answer.text
    assert apart(shown(answer.content, *await metadata(room)), picture) <= near


@pytest.mark.parametrize("syntax", [ts.JPEG_LS_LOSSLESS, ts.J2K_LOSSLESS, ts.RLE])
async def test_the_metadata_are_true_of_a_frame_that_is_coded_anew(stored, syntax):
    room, picture, from_syntax, near = stored
    accept = f'multipart/related; type="{OCTETS}"; transfer-syntax={syntax}'
    answer = await room.get(f"{PATH}/frames/1", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    if from_syntax == syntax:
        return  # it goes as it is stored
    begin, end = answer.content.index(b"\r\n\r\n") + 4, answer.content.rindex(b"\r\n--")
    said, _ = await metadata(room)
    samples = decode_frame(
        answer.content[begin:end], syntax, ImageShape(ROWS, COLUMNS, 3, 8, 8, 0, said)
    )
    assert apart(in_colours(samples, said), picture) <= near
