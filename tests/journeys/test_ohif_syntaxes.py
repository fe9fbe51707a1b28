"""One image in every compression, looked at in OHIF: what is drawn is the same picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import data_store
import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from browser import Visit, chromium, screenshots
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import encode_frame, encoded_photometric
from filmroom.pixel.shape import ImageShape
from nodes import FilmroomProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PACKAGED = (
    Path(data_store.__file__).parent / "data",
    Path(pydicom.data.__file__).parent / "test_files",
)
GREY = {
    "HTJ2K": ts.HTJ2K_LOSSLESS,
    "HTJ2K-RPCL": ts.HTJ2K_LOSSLESS_RPCL,
    "HTJ2K-either": ts.HTJ2K,
    "JPEG-LS": ts.JPEG_LS_LOSSLESS,
    "J2K": ts.J2K_LOSSLESS,
    "RLE": ts.RLE,
    "JPEG-lossless": ts.JPEG_LOSSLESS_SV1,
    "deflated": ts.DEFLATED_LE,
}
COLOUR = {
    "HTJ2K": ts.HTJ2K_LOSSLESS,
    "JPEG-LS": ts.JPEG_LS_LOSSLESS,
    "J2K": ts.J2K_LOSSLESS,
    "RLE": ts.RLE,
    "JPEG-baseline": ts.JPEG_BASELINE,
}
# As the packages bring them, each by the encoder of somebody else. Segmented palettes are not here:
# OHIF draws them black (ours are tested where pictures are rendered).
FOUND = {
    "palette": "examples_palette.dcm",
    "palette-RLE": "OBXXXX1A_rle.dcm",
    "JPEG-frames": "color3d_jpeg_baseline.dcm",
    "JPEG-12-bit": "JPGExtended.dcm",
    "JPEG-lossless": "JPGLosslessP14SV1_1s_1f_8b.dcm",
    "J2K-lossy": "RG3_J2KI.dcm",
    "J2K-colour": "US1_J2KR.dcm",
    "JPEG-LS-frames": "emri_small_jpeg_ls_lossless.dcm",
    "RLE-frames": "emri_small_RLE.dcm",
}


def packaged(name: str) -> Dataset:
    (path,) = (folder / name for folder in PACKAGED if (folder / name).exists())
    return pydicom.dcmread(path)


def written(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def in_syntax(name: str, transfer_syntax_uid: str, said: str | None = None) -> tuple[str, bytes]:
    """A packaged uncompressed image, coded as that syntax says: (study, file).

    said: the Photometric Interpretation, where it is not to be the usual one.
    """
    ds = packaged(name)
    ds.SOPInstanceUID = generate_uid()
    pixels = ds.pixel_array
    if transfer_syntax_uid not in ts.NATIVE:
        shape = ImageShape(
            rows=ds.Rows,
            columns=ds.Columns,
            samples=ds.SamplesPerPixel,
            bits_allocated=ds.BitsAllocated,
            bits_stored=ds.BitsStored,
            pixel_representation=ds.PixelRepresentation,
            photometric=ds.PhotometricInterpretation,
        )
        coded = encode_frame(pixels, transfer_syntax_uid, shape)
        colours = ds.PhotometricInterpretation
        ds.PhotometricInterpretation = said or encoded_photometric(transfer_syntax_uid, colours)
        ds.PixelData = encapsulate([coded])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        if ds.SamplesPerPixel > 1:
            ds.PlanarConfiguration = 0
    file = written(ds, transfer_syntax_uid)
    return ds.StudyInstanceUID, file


@pytest.fixture(scope="module")
def filmroom(tmp_path_factory) -> Iterator[FilmroomProcess]:
    process = FilmroomProcess(tmp_path_factory.mktemp("filmroom"))
    yield process.start(ready_seconds=60)
    process.kill()


@pytest.fixture(scope="module")
def visit(filmroom, peer_program, tmp_path_factory) -> Iterator[Visit]:
    with chromium(peer_program("chromium")) as browser:
        visit = Visit(browser, filmroom.url, screenshots(tmp_path_factory.mktemp("pictures")))
        visit.sign_in()
        yield visit
        visit.close()


@pytest.fixture(scope="module")
def look(visit, filmroom) -> Callable[[str, str, bytes], tuple[np.ndarray, set[str]]]:
    def looked(name: str, study: str, file: bytes) -> tuple[np.ndarray, set[str]]:
        """Store it and open it: what is drawn, and the media types its frames came in."""
        with filmroom.client() as client:
            body = b"--B\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--B--\r\n" % file
            kind = 'multipart/related; type="application/dicom"; boundary=B'
            answer = client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text
        kinds: set[str] = set()

        def received(response) -> None:
            if "/frames/" in response.url:
                kinds.add(response.headers["content-type"] + response.text()[:200])

        visit.page.on("response", received)
        visit.page.goto(f"{visit.url}/ohif/viewer?StudyInstanceUIDs={study}")
        pixels = settled(visit)
        visit.page.remove_listener("response", received)
        visit.picture(f"ohif-{name}")
        return pixels, kinds

    return looked


def settled(visit: Visit) -> np.ndarray:
    """What is drawn once it stays the same."""
    before = visit.wait_for_image()
    for _ in range(60):
        visit.page.wait_for_timeout(500)
        now = visit.drawn()
        if now.shape == before.shape and (now == before).all():
            return now
        before = now
    raise AssertionError("the picture never stayed the same")


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """(mean, nearly largest) difference of two pictures in grey levels."""
    assert one.shape == other.shape
    apart = np.abs(one.astype(int) - other.astype(int))
    return float(apart.mean()), float(np.percentile(apart, 99.9))


@pytest.fixture(scope="module")
def plain_grey(look) -> np.ndarray:
    return look("grey-native", *in_syntax("693_UNCR.dcm", ExplicitVRLittleEndian))[0]


@pytest.fixture(scope="module")
def plain_colour(look) -> np.ndarray:
    return look("colour-native", *in_syntax("US1_UNCR.dcm", ExplicitVRLittleEndian))[0]


@pytest.mark.parametrize("name", GREY)
def test_a_signed_ct_looks_the_same_in_every_lossless_compression(name, look, plain_grey):
    drawn, kinds = look(f"grey-{name}", *in_syntax("693_UNCR.dcm", GREY[name]))
    assert difference(drawn, plain_grey) == (0.0, 0.0)
    if GREY[name] not in ts.NATIVE:
        assert kinds, "no frame was asked for"
        assert all(f"transfer-syntax={GREY[name]}" in kind for kind in kinds), "not as stored"


@pytest.mark.parametrize("name", COLOUR)
def test_a_colour_image_looks_the_same_in_every_compression(name, look, plain_colour):
    drawn, kinds = look(f"colour-{name}", *in_syntax("US1_UNCR.dcm", COLOUR[name]))
    mean, largest = difference(drawn, plain_colour)
    lossy = COLOUR[name] == ts.JPEG_BASELINE
    assert mean <= (2.0 if lossy else 0.01), mean
    assert largest <= (40.0 if lossy else 1.0), largest
    assert all(f"transfer-syntax={COLOUR[name]}" in kind for kind in kinds), "not as stored"


# Who asks for uncompressed frames gets samples to which the stored metadata apply.
UNCOMPRESSED = {
    "J2K": (ts.J2K_LOSSLESS, "YBR_RCT"),
    "RLE": (ts.RLE, "RGB"),
    "JPEG-shared": (ts.JPEG_BASELINE, "YBR_FULL_422"),
    "JPEG-full": (ts.JPEG_BASELINE, "YBR_FULL"),
    "JPEG-said-RGB": (ts.JPEG_BASELINE, "RGB"),
}


@pytest.fixture
def asks_for_octets(visit) -> Iterator[None]:
    """OHIF as it is where its data source demands uncompressed frames."""

    def asked(route) -> None:
        accept = 'multipart/related; type="application/octet-stream"'
        route.continue_(headers={**route.request.headers, "accept": accept})

    visit.page.route("**/frames/**", asked)
    yield
    visit.page.unroute("**/frames/**", asked)


@pytest.mark.parametrize("name", UNCOMPRESSED)
def test_frames_decoded_by_us_have_the_same_colours(name, look, plain_colour, asks_for_octets):
    syntax, said = UNCOMPRESSED[name]
    drawn, kinds = look(f"octets-{name}", *in_syntax("US1_UNCR.dcm", syntax, said))
    assert kinds
    assert all("application/octet-stream" in kind for kind in kinds), kinds
    mean, largest = difference(drawn, plain_colour)
    lossy = syntax == ts.JPEG_BASELINE
    assert mean <= (2.0 if lossy else 0.01), mean
    assert largest <= (40.0 if lossy else 1.0), largest


@pytest.mark.parametrize("name", FOUND)
def test_images_of_other_makers_are_shown(name, look):
    ds = packaged(FOUND[name])
    ds.SOPInstanceUID = generate_uid()  # the package has some images in several forms
    file = written(ds, ds.file_meta.TransferSyntaxUID)
    drawn, _ = look(f"found-{name}", ds.StudyInstanceUID, file)
    assert len(np.unique(drawn[:, :, 0])) > 8, "an image has more than a few shades"
