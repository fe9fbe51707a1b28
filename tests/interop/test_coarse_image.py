"""The first bytes of an HTJ2K frame in RPCL order are a coarse image, over real HTTP."""

from __future__ import annotations

import time

import httpx
import imagecodecs
import numpy as np
import pytest
from pydicom.uid import generate_uid

from filmroom.pixel import syntaxes as ts
from instances import a_data_set, part10
from nodes import PASSWORD

ROWS, COLUMNS = 1500, 2000
MULTIPART = "multipart/related; type=application/octet-stream; transfer-syntax="
SINGLE = "image/jphc; transfer-syntax="
CHUNK = 65536  # what Cornerstone3D asks for at first


@pytest.fixture(scope="module")
def pixels():
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    rings = 1500 + 1000 * np.sin(np.hypot(y - ROWS / 2, x - COLUMNS / 2) / 150)
    noise = np.random.default_rng(2).integers(0, 200, (ROWS, COLUMNS))
    return (rings + noise).astype(np.uint16)


@pytest.fixture(scope="module")
def url(node, pixels):
    """The frames of one radiograph, stored uncompressed."""
    ds = a_data_set(rows=1, columns=2, Modality="DX", SOPInstanceUID=generate_uid())
    ds.Rows, ds.Columns, ds.PixelData = ROWS, COLUMNS, pixels.tobytes()
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + part10(ds) + b"\r\n--B--\r\n"
    with node.client() as client:
        kind = 'multipart/related; type="application/dicom"; boundary=B'
        answer = client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text
    return (
        f"{node.dicomweb}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}/frames/1"
    )


def ask(url, accept, wanted):
    headers = {"Accept": accept, "Range": wanted}
    return httpx.get(url, headers=headers, auth=("admin", PASSWORD), timeout=60)


def frame_of(body, content_type):
    """What a viewer takes for the frame: of a multipart all after the part's header."""
    return body if "multipart" not in content_type else body[body.index(b"\r\n\r\n") + 4 :]


@pytest.mark.parametrize("accept", [MULTIPART, SINGLE])
def test_what_cornerstone_asks_for_is_a_coarse_image_then_the_whole(url, pixels, accept):
    accept = accept + ts.HTJ2K_LOSSLESS_RPCL
    first = ask(url, accept, f"bytes=0-{CHUNK - 1}")
    kind = first.headers["content-type"]
    assert (first.status_code, len(first.content)) == (206, CHUNK)
    total = int(first.headers["content-range"].rpartition("/")[2])
    assert total > 20 * CHUNK
    rest = ask(url, accept, f"bytes={CHUNK}-")
    assert rest.status_code == 206
    assert rest.headers["content-range"] == f"bytes {CHUNK}-{total - 1}/{total}"
    whole = frame_of(first.content + rest.content, kind)
    if "multipart" in kind:
        whole = whole[: whole.index(b"\r\n--filmroom-")]
    assert np.array_equal(imagecodecs.htj2k_decode(whole), pixels)
    begin = frame_of(first.content, kind)
    coarse = imagecodecs.htj2k_decode(begin, skipres=4, resilient=True)
    assert coarse.shape == (94, 125)
    assert np.array_equal(coarse, imagecodecs.htj2k_decode(whole, skipres=4))


@pytest.mark.parametrize(("levels", "share"), [(5, 0.004), (4, 0.012), (3, 0.04), (2, 0.12)])
def test_so_much_of_the_frame_is_enough_for_so_many_pixels(url, levels, share):
    whole = httpx.get(
        url, headers={"Accept": SINGLE + ts.HTJ2K_LOSSLESS_RPCL}, auth=("admin", PASSWORD)
    ).content
    begin = whole[: int(share * len(whole))]
    coarse = imagecodecs.htj2k_decode(begin, skipres=levels, resilient=True)
    assert coarse.shape == (-(-ROWS >> levels), -(-COLUMNS >> levels))
    assert np.array_equal(coarse, imagecodecs.htj2k_decode(whole, skipres=levels))
    fewer = imagecodecs.htj2k_decode(whole[: len(begin) // 6], skipres=levels, resilient=True)
    assert not np.array_equal(fewer, coarse), "the test would pass with any bytes"


def test_the_second_range_is_not_coded_again(url):
    accept = SINGLE + ts.HTJ2K_LOSSLESS  # not asked for before
    began = time.monotonic()
    ask(url, accept, "bytes=0-99")
    first = time.monotonic() - began
    laps = []
    for at in range(100, 600, 100):
        began = time.monotonic()
        assert ask(url, accept, f"bytes={at}-{at + 99}").status_code == 206
        laps.append(time.monotonic() - began)
    assert min(laps) < first
