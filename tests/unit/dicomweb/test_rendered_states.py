"""Presentation states over DICOMweb and WADO-URI, and stored videos, from a real archive."""

import io
import tracemalloc
from pathlib import Path
from urllib.parse import urlencode

import av
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from filmroom.dicomweb.video import container
from filmroom.pixel import lettering
from filmroom.pixel.movie import mp4
from instances import a_data_set, part10
from states import a_state, annotation, area, graphic, layer, reference, text_in, window

ROWS, COLUMNS = 40, 60
MIDDLE = {"SoftcopyVOILUTSequence": window(100.5, 201)}


def an_image(number=1, frames=1, study=None, **more) -> Dataset:
    ds = a_data_set(rows=ROWS, columns=COLUMNS, frames=frames, RescaleIntercept=None,
                    RescaleSlope=None, **more)  # fmt: skip
    if study is not None:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study
    ds.InstanceNumber = number
    ds.PixelData = np.full((frames, ROWS, COLUMNS), 40 * number, "<u2").tobytes()
    return ds


class Shelf:
    """What was stored, and how to ask for it."""

    def __init__(self, room):
        self.room = room

    async def keep(self, *data_sets):
        answer = await self.room.store(*(part10(each) for each in data_sets))
        assert answer.status_code == 200, answer.text

    def path(self, ds, suffix="rendered"):
        return (f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
                f"/instances/{ds.SOPInstanceUID}/{suffix}")  # fmt: skip

    async def get(self, ds, suffix="rendered", accept="image/png", **params):
        query = f"?{urlencode(params)}" if params else ""
        return await self.room.get(self.path(ds, suffix) + query, headers={"Accept": accept})

    async def shown(self, ds, suffix="rendered", **params) -> np.ndarray:
        response = await self.get(ds, suffix, **params)
        assert response.status_code == 200, response.text
        return np.asarray(Image.open(io.BytesIO(response.content))).astype(int)

    def by(self, state):
        return {
            "presentationSeriesUID": state.SeriesInstanceUID,
            "presentationUID": state.SOPInstanceUID,
        }

    async def wado(self, ds, accept="image/png", **params):
        query = {
            "requestType": "WADO", "studyUID": ds.StudyInstanceUID,
            "seriesUID": ds.SeriesInstanceUID, "objectUID": ds.SOPInstanceUID,
            "contentType": accept, **params,
        }  # fmt: skip
        return await self.room.get(f"http://test/wado?{urlencode(query)}")


@pytest.fixture
def shelf(room):
    return Shelf(room)


async def test_an_image_is_shown_by_the_state_that_is_named(shelf):
    image = an_image()
    state = a_state(
        image,
        **MIDDLE,
        ImageRotation=90,
        PresentationLUTShape="INVERSE",
        GraphicAnnotationSequence=[annotation("L", graphic("POLYLINE", 5, 5, 50, 5))],
        GraphicLayerSequence=[layer("L", 1, 0)],
    )
    await shelf.keep(image, state)
    plain = await shelf.shown(image, window="100.5,201")
    shown = await shelf.shown(image, **shelf.by(state))
    assert plain.shape == (ROWS, COLUMNS)
    assert shown.shape == (COLUMNS, ROWS)
    assert abs(int(np.median(shown)) + int(np.median(plain)) - 255) <= 1
    assert (shown == 0).any()
    assert (await shelf.shown(image, "frames/1/rendered", **shelf.by(state)) == shown).all()
    by_uri = await shelf.wado(image, **shelf.by(state))
    assert (np.asarray(Image.open(io.BytesIO(by_uri.content))) == shown).all()


@pytest.mark.parametrize("pixels", ["none", "deflated"])
async def test_a_number_of_frames_that_nothing_bears_out_takes_no_memory(shelf, pixels):
    image = an_image(NumberOfFrames=3_000_000)
    deflated = pixels == "deflated"
    if not deflated:
        del image.PixelData
    syntax = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    state = a_state(image, **MIDDLE)
    answer = await shelf.room.store(part10(image, syntax), part10(state))
    assert answer.status_code == 200, answer.text
    tracemalloc.start()
    try:
        for by in (shelf.by(state), {}):
            response = await shelf.get(image, **by)
            assert response.status_code == (200 if deflated else 404), response.text
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


async def test_pictures_by_different_states_are_not_mixed_up(shelf):
    image = an_image()
    dark, bright = (
        a_state(image, SoftcopyVOILUTSequence=window(center, 10)) for center in (900, 1)
    )
    await shelf.keep(image, dark, bright)
    first, second = [await shelf.get(image, **shelf.by(each)) for each in (dark, bright)]
    assert first.headers["etag"] != second.headers["etag"]
    assert (await shelf.shown(image, **shelf.by(dark))).max() == 0
    assert (await shelf.shown(image, **shelf.by(bright))).min() == 255
    assert (await shelf.shown(image, **shelf.by(dark))).max() == 0


async def test_a_state_is_shown_as_the_images_it_refers_to(shelf):
    first = an_image(1)
    second = an_image(2, study=(first.StudyInstanceUID, first.SeriesInstanceUID))
    state = a_state(first, **MIDDLE)
    images = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    images.append(reference(second))
    state.DisplayedAreaSelectionSequence = area(1, 1, 30, 20)
    await shelf.keep(first, second, state)
    assert (await shelf.shown(state)).shape == (20, 30)
    assert (await shelf.shown(state) == await shelf.shown(first, **shelf.by(state))).all()
    several = await shelf.get(state, accept='multipart/related; type="image/png"')
    assert several.content.count(b"Content-Type: image/png") == 2
    assert max((await shelf.shown(state, "thumbnail")).shape) == 128


async def test_a_state_of_some_frames_shows_these(shelf):
    image = an_image(frames=4)
    state = a_state(image, 2, 3, **MIDDLE)
    await shelf.keep(image, state)
    several = await shelf.get(state, accept='multipart/related; type="image/png"')
    assert several.content.count(b"Content-Type: image/png") == 2
    moving = await shelf.get(image, accept="image/gif", **shelf.by(state))
    assert Image.open(io.BytesIO(moving.content)).n_frames in (1, 2)  # equal frames become one
    refused = await shelf.get(image, "frames/1/rendered", **shelf.by(state))
    assert refused.status_code == 400
    assert "does not refer" in refused.json()["detail"]
    assert (await shelf.get(image, "frames/2/rendered", **shelf.by(state))).status_code == 200


async def test_images_that_are_not_held_are_left_out_and_none_is_not_found(shelf):
    held, missing = an_image(1), an_image(2)
    state = a_state(missing, **MIDDLE)
    state.StudyInstanceUID = held.StudyInstanceUID
    await shelf.keep(held, state)
    assert (await shelf.get(state)).status_code == 404
    other = a_state(missing, **MIDDLE)
    other.StudyInstanceUID = held.StudyInstanceUID
    other.ReferencedSeriesSequence += a_state(held).ReferencedSeriesSequence
    await shelf.keep(other)
    assert (await shelf.shown(other)).shape == (ROWS, COLUMNS)


async def test_a_state_has_no_frames(shelf):
    image = an_image()
    state = a_state(image, **MIDDLE)
    await shelf.keep(image, state)
    assert (await shelf.get(state, "frames/1/rendered")).status_code == 404


async def test_what_cannot_be_presented_is_refused_and_says_why(shelf):
    image = an_image()
    stranger = an_image(study=(image.StudyInstanceUID, image.SeriesInstanceUID))
    state, other = a_state(image, **MIDDLE), a_state(stranger, **MIDDLE)
    blending = a_state(image, kind="1.2.840.10008.5.1.4.1.1.11.4")
    await shelf.keep(image, stranger, state, other, blending)
    by = shelf.by(state)
    cases = [
        (by | {"window": "1,2,linear"}, 400, "window"),
        ({"presentationUID": state.SOPInstanceUID}, 400, "go together"),
        ({"presentationSeriesUID": state.SeriesInstanceUID}, 400, "go together"),
        (by | {"presentationUID": "abc"}, 400, "valid UID"),
        (by | {"presentationUID": generate_uid()}, 404, ""),
        (shelf.by(image), 400, "not that of a presentation state"),
        (shelf.by(other), 400, "does not refer"),
        (shelf.by(blending), 406, "cannot be applied"),
    ]
    for params, status, said in cases:
        response = await shelf.get(image, **params)
        assert (response.status_code, params) == (status, params), response.text
        assert said in response.text
        assert (await shelf.wado(image, **params)).status_code in (status, 400)
    assert (await shelf.get(state, window="1,2,linear")).status_code == 400
    series = f"/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}/rendered"
    refused = await shelf.room.get(f"{series}?{urlencode(by)}")
    assert refused.status_code == 400


async def test_text_of_a_state_is_read_in_its_character_set(shelf, monkeypatch):
    monkeypatch.setattr(lettering, "machine_fonts", lambda: ())  # so accents are left out
    image = an_image()
    await shelf.keep(image)
    drawn = []
    for text in ("Äpfel", "Apfel"):
        state = a_state(
            image, **MIDDLE,
            SpecificCharacterSet="ISO_IR 100",
            GraphicAnnotationSequence=[annotation("L", text_in((2, 2, 58, 38), text))],
            GraphicLayerSequence=[layer("L", 1, 0xFFFF)],
        )  # fmt: skip
        await shelf.keep(state)
        drawn.append(await shelf.shown(image, **shelf.by(state)))
    assert (drawn[0] > 200).any()
    assert (drawn[0] == drawn[1]).all()


async def test_a_big_endian_image_of_bytes_is_not_swapped(shelf):
    path = pydicom.data.get_testdata_file("ExplVR_BigEnd.dcm", download=False)
    image = pydicom.dcmread(path)
    answer = await shelf.room.store(Path(path).read_bytes())
    assert answer.status_code == 200
    assert (await shelf.shown(image) == image.pixel_array).all()


# -- stored videos --------------------------------------------------------------------------------
H264 = "1.2.840.10008.1.2.4.102"
MPEG2 = "1.2.840.10008.1.2.4.100"


def a_video(stream: bytes, syntax=H264, fragments=1) -> tuple[Dataset, bytes]:
    ds = an_image(frames=5, SamplesPerPixel=3, PhotometricInterpretation="YBR_PARTIAL_420")
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PlanarConfiguration = 7, 0
    stream += bytes(len(stream) % 2)
    ds.PixelData = encapsulate([stream], fragments_per_frame=fragments, has_bot=False)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds, stream


@pytest.fixture(scope="module")
def movie():
    frames = [np.full((48, 64), 50 * number, np.uint8) for number in range(5)]
    return mp4(frames, 40.0, 90)


async def stored_video(shelf, stream, syntax=H264, fragments=1):
    ds, padded = a_video(stream, syntax, fragments)
    answer = await shelf.room.store(part10(ds, syntax))
    assert answer.status_code == 200, answer.text
    return ds, padded


@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_stored_video_is_given_as_it_is_and_plays(shelf, movie, fragments):
    ds, stream = await stored_video(shelf, movie, fragments=fragments)
    for accept in ("video/mp4", "*/*", "video/*", "image/jpeg;q=0.5, video/mp4"):
        response = await shelf.get(ds, accept=accept)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "video/mp4"
        assert response.content == stream
    with av.open(io.BytesIO(response.content)) as played:
        assert len(list(played.decode(video=0))) == 5
    by_uri = await shelf.wado(ds, accept="video/mp4")
    assert by_uri.content == stream


async def test_a_stored_video_can_be_sought_in(shelf, movie):
    ds, stream = await stored_video(shelf, movie, fragments=3)
    path = shelf.path(ds)
    middle = len(stream) // 2
    for text, (first, stop) in {
        "bytes=0-99": (0, 100),
        f"bytes={middle - 50}-{middle + 49}": (middle - 50, middle + 50),
        "bytes=-10": (len(stream) - 10, len(stream)),
        f"bytes={middle}-": (middle, len(stream)),
    }.items():
        response = await shelf.room.get(path, headers={"Accept": "video/mp4", "Range": text})
        assert response.status_code == 206
        assert response.content == stream[first:stop]
        assert response.headers["content-range"] == f"bytes {first}-{stop - 1}/{len(stream)}"
    beyond = {"Accept": "video/mp4", "Range": f"bytes={len(stream)}-"}
    assert (await shelf.room.get(path, headers=beyond)).status_code == 416
    etag = (await shelf.get(ds, accept="video/mp4")).headers["etag"]
    again = {"Accept": "video/mp4", "If-None-Match": etag}
    assert (await shelf.room.get(path, headers=again)).status_code == 304


async def test_a_video_is_no_still_picture_and_says_what_it_is(shelf, movie):
    ds, _ = await stored_video(shelf, movie)
    for suffix in ("rendered", "thumbnail", "frames/1/rendered"):
        response = await shelf.get(ds, suffix, accept="image/jpeg")
        assert response.status_code == 406
    assert "video/mp4" in (await shelf.get(ds, accept="image/jpeg")).json()["detail"]


@pytest.mark.parametrize(
    ("head", "syntax", "media_type"),
    [
        (b"\0\0\0\x20ftypisom", H264, "video/mp4"),
        (b"\x47\x40\x00\x10", H264, "video/mp2t"),
        (b"\0\0\0\x01\x67", H264, "video/H264"),
        (b"\0\0\0\x01\x40", "1.2.840.10008.1.2.4.107", "video/H265"),
        (b"\0\0\x01\xb3", MPEG2, "video/mpeg"),
        (b"\x47\x40\x00\x10", MPEG2, "video/mp2t"),
    ],
)
async def test_a_video_is_named_by_the_container_it_lies_in(shelf, head, syntax, media_type):
    assert container(head, syntax) == media_type
    ds, stream = await stored_video(shelf, head + bytes(100), syntax)
    response = await shelf.get(ds, accept=media_type)
    assert (response.headers["content-type"], response.content) == (media_type, stream)
