"""A large HTJ2K image over a slow line: OHIF shows a coarse picture long before it is all there."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID, generate_uid

from browser import Visit, chromium, screenshots
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import encode_frame
from filmroom.pixel.shape import ImageShape
from instances import a_data_set
from nodes import FilmroomProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

ROWS, COLUMNS = 3000, 4000
LINE = 12_000_000 / 8  # bytes a second: the whole image takes ten seconds


def a_large_radiograph() -> bytes:
    """A Part 10 file of one frame, HTJ2K in RPCL order: rings, and noise that does not compress."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    rings = 1500 + 1000 * np.sin(np.hypot(y - ROWS / 2, x - COLUMNS / 2) / 150)
    noise = np.random.default_rng(1).integers(0, 400, (ROWS, COLUMNS))
    pixels = (rings + noise).astype(np.uint16)
    shape = ImageShape(ROWS, COLUMNS, 1, 16, 12)
    frame = encode_frame(pixels, ts.HTJ2K_LOSSLESS_RPCL, shape)
    ds = a_data_set(rows=1, columns=2, Modality="DX", SOPClassUID="1.2.840.10008.5.1.4.1.1.1")
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.SOPInstanceUID = generate_uid()
    ds.WindowCenter, ds.WindowWidth = 1700, 3000
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(ts.HTJ2K_LOSSLESS_RPCL)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def filmroom(tmp_path_factory) -> Iterator[FilmroomProcess]:
    process = FilmroomProcess(tmp_path_factory.mktemp("filmroom")).start()
    yield process
    process.kill()


def test_ohif_draws_a_coarse_image_while_the_rest_is_on_its_way(filmroom, peer_program, tmp_path):
    file = a_large_radiograph()
    study = str(pydicom.dcmread(io.BytesIO(file)).StudyInstanceUID)
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--B--\r\n"
    with filmroom.client() as client:
        kind = 'multipart/related; type="application/dicom"; boundary=B'
        answer = client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text
    with chromium(peer_program("chromium")) as browser:
        visit = Visit(browser, filmroom.url, screenshots(tmp_path))
        page = visit.sign_in()
        page.goto(f"{visit.url}/ohif/")  # its scripts are in the cache from here on
        page.wait_for_timeout(3000)
        line = page.context.new_cdp_session(page)
        line.send("Network.enable")
        line.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 10, "downloadThroughput": LINE, "uploadThroughput": LINE},
        )
        came: list[str] = []
        page.on("requestfinished", lambda r: came.append(r.url) if "/frames/" in r.url else None)
        page.goto(f"{visit.url}/ohif/viewer?StudyInstanceUIDs={study}")
        coarse = visit.wait_for_image()
        while_on_its_way = not came
        visit.picture("ohif-coarse")
        deadline = time.monotonic() + 60
        while not came and time.monotonic() < deadline:
            page.wait_for_timeout(100)
        whole = visit.drawn()
        while graininess(whole) < 1.2 * graininess(coarse) and time.monotonic() < deadline:
            page.wait_for_timeout(250)
            whole = visit.drawn()
        visit.picture("ohif-whole")
        visit.close()
    assert while_on_its_way, "nothing was drawn before the whole image was there"
    assert len(came) == 1, "the image was fetched once, and not for a thumbnail too"
    assert graininess(whole) >= 1.2 * graininess(coarse), "the fine detail never came"


def graininess(picture: np.ndarray) -> float:
    """The mean step from one pixel to the next."""
    return float(np.abs(np.diff(picture[..., 0].astype(int), axis=1)).mean())
