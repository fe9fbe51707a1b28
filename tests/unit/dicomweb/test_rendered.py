"""dicomweb.rendered: which picture, in which form, and what is said when there is none."""

import asyncio
import binascii
import contextlib
import io
import tempfile
import threading
from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from filmroom.archive.access import SYSTEM
from filmroom.archive.errors import NotHeld, Unsupported
from filmroom.archive.kept import Kept
from filmroom.archive.records import Handle, Location
from filmroom.archive.selected import Few
from filmroom.dicom import frames
from filmroom.dicom.frames import FrameTable
from filmroom.dicom.part10 import parse_meta
from filmroom.dicom.scan import scan
from filmroom.dicomweb import rendered, rendered_offers
from filmroom.dicomweb.rendered import render_response, representative
from filmroom.pixel import values
from filmroom.pixel.errors import BadParameter
from filmroom.pixel.picture import picture_of
from filmroom.pixel.pool import Pool
from instances import deep_size

EXPLICIT_LE = "1.2.840.10008.1.2.1"


def an_image(number=1, count=1, series="1.2.3", **more) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2", series
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = 8, 12
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    if count > 1:
        ds.NumberOfFrames = count
        ds.FrameTime = 50
    for name, value in more.items():
        setattr(ds, name, value)
    planes = [
        np.full((ds.Rows, ds.Columns), 10 * number + frame, np.uint8) for frame in range(count)
    ]
    ds.PixelData = b"".join(plane.tobytes() for plane in planes)
    ds["PixelData"].VR = "OB"
    return as_file(ds)


def a_report() -> bytes:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.9.1", "1.2", "1.2.9"
    return as_file(ds)


def as_file(ds) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT_LE
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return out.getvalue()


class FakeRetriever:
    """Holds files in memory; reads frames as the archive's retriever does."""

    trust = 0
    is_here = True

    def __init__(self, *files: bytes) -> None:
        self.files, self.whole = {}, {}
        self.reads = 0
        for file in files:
            meta = parse_meta(file)
            data_set = file[meta.data_set_offset :]
            found = scan(data_set, EXPLICIT_LE, complete=True)
            table = frames.build(found, data_set, EXPLICIT_LE)
            uids = [found.values[tag].rstrip(b"\0").decode() for tag in (0x0020000D, 0x0020000E)]
            location = Location(
                "key",
                len(file),
                meta.data_set_offset,
                found.header_bytes,
                meta.sop_instance_uid.encode(),
                EXPLICIT_LE,
            )
            handle = Handle(
                *uids,
                meta.sop_instance_uid,
                meta.sop_class_uid,
                location,
                table.to_bytes() if table else b"",
            )
            self.files[meta.sop_instance_uid] = handle, data_set
            self.whole[meta.sop_instance_uid] = file

    async def instance(self, principal, study, series, sop):
        if sop not in self.files:
            raise NotHeld("no such instance")
        return self.files[sop][0]

    async def select(self, principal, selection):
        series = selection.series_instance_uids
        chosen = [h for h, _ in self.files.values()]
        return Few([h for h in chosen if not series or h.series_instance_uid in series])

    def frame_table(self, handle):
        return FrameTable.from_bytes(handle.frames) if handle.frames else None

    async def read_frame(self, handle, index):
        self.reads += 1
        data_set = self.files[handle.sop_instance_uid][1]
        return b"".join(data_set[o : o + n] for o, n in self.frame_table(handle).ranges(index))

    @contextlib.contextmanager
    def open(self, handle):
        self.reads += 1
        with tempfile.TemporaryFile() as file:
            file.write(self.whole[handle.sop_instance_uid])
            file.flush()
            yield SimpleNamespace(fd=file.fileno())

    def header(self, handle):
        return self.files[handle.sop_instance_uid][1][: handle.location.header_bytes]


@pytest.fixture(scope="module")
def pool():
    made = Pool(1)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(rendered, "PICTURES", Kept(1 << 20))
    monkeypatch.setattr(rendered, "ATTRIBUTES", Kept(1 << 20))


async def ask(pool, retriever, instance=None, *, series=None, frame=None, accept=None,
              thumbnail=False, if_none_match=None, **params):  # fmt: skip
    return await render_response(
        SimpleNamespace(retriever=retriever), pool, SYSTEM, study="1.2", series=series,
        instance=instance, frame_index=frame, params=params, accept=accept,
        thumbnail=thumbnail, if_none_match=if_none_match,
    )  # fmt: skip


async def body_of(response) -> bytes:
    sent = []

    async def send(message):
        sent.append(message.get("body", b""))

    async def receive():
        await asyncio.sleep(60)

    await response({"type": "http", "method": "GET"}, receive, send)
    return b"".join(sent)


async def picture(response) -> Image.Image:
    return Image.open(io.BytesIO(await body_of(response)))


async def test_an_instance_is_a_jpeg_by_default(pool):
    response = await ask(pool, FakeRetriever(an_image()), "1.2.3.1")
    assert response.headers["content-type"] == "image/jpeg"
    assert (await picture(response)).size == (12, 8)


@pytest.mark.parametrize(
    ("accept", "got"),
    [
        ("image/png", "image/png"),
        ("image/gif;q=0.5, image/png;q=0.4", "image/gif"),
        ("image/avif,image/webp,image/*,*/*;q=0.8", "image/jpeg"),
        ("image/webp", "image/webp"),
        ("image/webp, image/jpeg;q=0.9", "image/webp"),
        ("image/jpeg, image/webp", "image/jpeg"),
        ("", "image/jpeg"),
    ],
)
async def test_the_client_chooses_the_media_type(pool, accept, got):
    response = await ask(pool, FakeRetriever(an_image()), "1.2.3.1", accept=accept)
    assert response.headers["content-type"] == got


@pytest.mark.parametrize("accept", ["video/mp4", "text/html", "image/avif"])
async def test_other_media_types_are_not_acceptable(pool, accept):
    with pytest.raises(Unsupported):
        await ask(pool, FakeRetriever(an_image()), "1.2.3.1", accept=accept)


async def test_what_is_asked_of_a_picture_is_done(pool):
    retriever = FakeRetriever(an_image(1, PatientName="Hopper^Grace", Rows=128, Columns=192))
    plain = np.asarray(await picture(await ask(pool, retriever, "1.2.3.1", accept="image/png")))
    noted = await ask(pool, retriever, "1.2.3.1", accept="image/png", annotation="patient")
    assert "warning" not in noted.headers
    assert (np.asarray(await picture(noted)) != plain).any()


async def test_a_thumbnail_is_not_written_on(pool):
    with pytest.raises(BadParameter, match="thumbnail"):
        await ask(pool, FakeRetriever(an_image()), "1.2.3.1", thumbnail=True, annotation="patient")


async def test_a_multi_frame_image_is_a_movie_when_it_is_asked_for(pool):
    retriever = FakeRetriever(an_image(count=5))
    response = await ask(pool, retriever, "1.2.3.1", accept="video/mp4")
    assert response.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(await body_of(response))) as movie:
        stream = movie.streams.video[0]
        levels = [frame.to_ndarray(format="gray").mean() for frame in movie.decode(stream)]
        assert float(stream.duration * stream.time_base) == pytest.approx(0.25)
    assert levels == pytest.approx([10, 11, 12, 13, 14], abs=2)


async def test_a_movie_of_more_than_can_be_made_leaves_frames_out_and_is_as_long(pool, monkeypatch):
    monkeypatch.setitem(rendered.LIMITS, "video/mp4", (4096, 1 << 20, 3 * 8 * 12))
    retriever = FakeRetriever(an_image(count=6))
    response = await ask(pool, retriever, "1.2.3.1", accept="video/mp4")
    with av.open(io.BytesIO(await body_of(response))) as movie:
        stream = movie.streams.video[0]
        levels = [frame.to_ndarray(format="gray").mean() for frame in movie.decode(stream)]
        assert float(stream.duration * stream.time_base) == pytest.approx(0.3)
    assert levels == pytest.approx([10, 12, 14], abs=2)


@pytest.mark.parametrize(
    "asked", [{"frame": 1}, {"thumbnail": True}, {"instance": None, "series": "1.2.3"}], ids=str
)
async def test_only_a_whole_instance_is_a_movie(pool, asked):
    asked = {"instance": "1.2.3.1"} | asked
    with pytest.raises(Unsupported):
        await ask(pool, FakeRetriever(an_image(count=5)), accept="video/mp4", **asked)


async def test_a_picture_is_liked_better_than_a_movie_unless_the_client_says_otherwise(pool):
    retriever = FakeRetriever(an_image(count=5))
    for accept in ("*/*", "video/mp4, image/jpeg", ""):
        response = await ask(pool, retriever, "1.2.3.1", accept=accept)
        wanted = "video/mp4" if accept.startswith("video") else "image/jpeg"
        assert response.headers["content-type"] == wanted


async def test_without_pyav_the_answer_says_what_is_missing(pool, monkeypatch):
    monkeypatch.setattr(rendered_offers, "can_make_movies", lambda: False)
    with pytest.raises(Unsupported, match="extra `video`"):
        await ask(pool, FakeRetriever(an_image(count=5)), "1.2.3.1", accept="video/mp4")
    response = await ask(pool, FakeRetriever(an_image(count=5)), "1.2.3.1", accept="*/*")
    assert response.headers["content-type"] == "image/jpeg"


async def test_what_is_no_image_is_unsupported_and_says_what_to_do(pool):
    with pytest.raises(Unsupported, match="application/dicom"):
        await ask(pool, FakeRetriever(a_report()), "1.2.9.1")
    with pytest.raises(Unsupported):
        await ask(pool, FakeRetriever(a_report()), series="1.2.9", thumbnail=True)


async def test_what_is_not_there_is_not_held(pool):
    retriever = FakeRetriever(an_image(count=3))
    for wish in ({"instance": "1.9"}, {"instance": "1.2.3.1", "frame": 3}, {"series": "1.7"}):
        with pytest.raises(NotHeld):
            await ask(pool, retriever, **wish)


async def test_a_bad_parameter_is_refused(pool):
    with pytest.raises(BadParameter):
        await ask(pool, FakeRetriever(an_image()), "1.2.3.1", window="NaN,2,linear")


async def test_an_image_that_lies_about_its_size_is_unsupported(pool):
    retriever = FakeRetriever(an_image())

    retriever.whole["1.2.3.1"] = retriever.whole["1.2.3.1"][:-95]
    with pytest.raises(Unsupported, match="cannot be rendered"):
        await ask(pool, retriever, "1.2.3.1")


def a_segmented_palette(*words) -> dict:
    said = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        said[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        data = np.array(words, "<u2").tobytes()
        said[f"Segmented{colour}PaletteColorLookupTableData"] = data
    return said


async def test_a_segmented_palette_is_expanded_by_the_worker_or_the_image_unsupported(pool):
    ramp = a_segmented_palette(0, 1, 0, 1, 255, 255 << 8)
    retriever = FakeRetriever(an_image(**ramp))
    response = await ask(pool, retriever, "1.2.3.1", accept="image/png")
    assert (np.asarray(await picture(response)) == 10).all()
    endless = a_segmented_palette(*(0, 0) * 4000, *(2, 3999, 0, 0) * 20)
    with pytest.raises(Unsupported, match="palette is too long"):
        await ask(pool, FakeRetriever(an_image(2, **endless)), "1.2.3.2")


async def test_a_picture_is_made_once(pool):
    retriever = FakeRetriever(an_image())
    first = await ask(pool, retriever, "1.2.3.1")
    second = await ask(pool, retriever, "1.2.3.1")
    assert first.headers["etag"] == second.headers["etag"]
    assert retriever.reads == 1
    other = await ask(pool, retriever, "1.2.3.1", window="1,2,linear")
    assert other.headers["etag"] != first.headers["etag"]


def a_lut_per_image() -> dict:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 16], np.arange(256, dtype="<u2").tobytes()
    item["LUTData"].VR = "OW"
    return {"VOILUTSequence": [item]}


async def test_a_table_is_read_once_for_all_frames(pool, monkeypatch):
    read = []

    def counted(coded, validate):
        read.append(coded)
        return binascii.a2b_base64(coded)

    monkeypatch.setattr(values.base64, "b64decode", counted)
    retriever = FakeRetriever(an_image(count=20, **a_lut_per_image()))
    await ask(pool, retriever, "1.2.3.1", accept="image/gif")
    assert len(read) == 1


async def test_a_header_longer_than_any_picture_needs_is_not_parsed(pool, monkeypatch):
    retriever = FakeRetriever(an_image())
    monkeypatch.setattr(rendered, "LONGEST_HEADER_BYTES", 100)
    monkeypatch.setattr(retriever, "header", None)
    with pytest.raises(Unsupported, match="too long"):
        await ask(pool, retriever, "1.2.3.1")


@pytest.mark.parametrize(("long", "in_thread"), [(10, True), (1 << 20, False)])
async def test_what_a_long_header_says_is_read_beside_the_event_loop(
    pool, monkeypatch, long, in_thread
):
    seen = []

    def noted(*args):
        seen.append(threading.current_thread() is not threading.main_thread())
        return picture_of(*args)

    monkeypatch.setattr(rendered, "LONG_HEADER_BYTES", long)
    monkeypatch.setattr(rendered, "picture_of", noted)
    await ask(pool, FakeRetriever(an_image()), "1.2.3.1")
    assert seen == [in_thread]


async def test_what_is_kept_of_headers_is_counted_by_its_size_in_memory(pool):
    spacing = Dataset()
    spacing.SliceThickness = 1
    more = {"PerFrameFunctionalGroupsSequence": [spacing] * 50}
    retriever = FakeRetriever(an_image(**more))
    await ask(pool, retriever, "1.2.3.1")
    ((attributes, size),) = rendered.ATTRIBUTES._values.values()
    assert size >= deep_size(attributes) > retriever.files["1.2.3.1"][0].location.header_bytes


async def test_a_known_picture_is_not_sent_again(pool):
    retriever = FakeRetriever(an_image())
    etag = (await ask(pool, retriever, "1.2.3.1")).headers["etag"]
    response = await ask(pool, retriever, "1.2.3.1", if_none_match=f'"x", {etag}')
    assert response.status_code == 304


async def test_another_version_may_make_another_picture(pool, monkeypatch):
    retriever = FakeRetriever(an_image())
    etag = (await ask(pool, retriever, "1.2.3.1")).headers["etag"]
    monkeypatch.setattr(rendered, "__version__", "999")
    response = await ask(pool, retriever, "1.2.3.1", if_none_match=etag)
    assert response.status_code == 200
    assert response.headers["etag"] != etag


async def test_pictures_of_one_etag_are_the_same_bytes_to_the_last_boundary(pool):
    retriever = FakeRetriever(an_image(1), an_image(2, count=3))
    first, second = [await ask(pool, retriever, series="1.2.3") for _ in range(2)]
    assert not first.headers["etag"].startswith("W/")
    assert first.headers["etag"] == second.headers["etag"]
    assert first.headers["content-type"] == second.headers["content-type"]
    assert await body_of(first) == await body_of(second)


async def test_a_frame_is_the_frame(pool):
    retriever = FakeRetriever(an_image(count=5))
    response = await ask(pool, retriever, "1.2.3.1", frame=4, accept="image/png")
    assert np.asarray(await picture(response)).max() == 14


async def test_a_multi_frame_gif_moves(pool):
    retriever = FakeRetriever(an_image(count=5))
    image = await picture(await ask(pool, retriever, "1.2.3.1", accept="image/gif"))
    assert (image.n_frames, image.info["duration"]) == (5, 50)


async def test_a_representative_frame_is_obeyed(pool):
    retriever = FakeRetriever(an_image(count=5, RepresentativeFrameNumber=2))
    response = await ask(pool, retriever, "1.2.3.1", accept="image/png")
    assert np.asarray(await picture(response)).max() == 11


async def test_a_thumbnail_is_small_and_from_the_middle(pool):
    retriever = FakeRetriever(*(an_image(n) for n in range(1, 6)), a_report())
    image = await picture(await ask(pool, retriever, thumbnail=True, accept="image/png"))
    assert image.size == (128, 85)
    assert np.asarray(image).max() == 30


async def test_a_series_is_all_its_pictures(pool):
    retriever = FakeRetriever(an_image(1), an_image(2, count=3))
    response = await ask(pool, retriever, series="1.2.3")
    assert response.headers["content-type"].startswith('multipart/related; type="image/jpeg"')
    assert (await body_of(response)).count(b"Content-Type: image/jpeg") == 4
    assert "no-cache" in response.headers["cache-control"]


class Paged:
    """What was selected, two at a time; counts how often it is read."""

    whole, damaged = None, ()

    def __init__(self, handles):
        self.handles, self.kinds, self.readings = handles, Few(handles).kinds, 0

    async def pages(self):
        self.readings += 1
        for at in range(0, len(self.handles), 2):
            yield self.handles[at : at + 2]


async def test_a_series_of_many_pages_is_shown_whole_and_by_its_middle(pool, monkeypatch):
    retriever = FakeRetriever(*(an_image(n) for n in range(1, 6)), a_report())
    pages = Paged([handle for handle, _ in retriever.files.values()])

    async def select(principal, selection):
        return pages

    monkeypatch.setattr(retriever, "select", select)
    response = await ask(pool, retriever, series="1.2.3")
    assert (await body_of(response)).count(b"Content-Type: image/jpeg") == 5
    one = await ask(pool, retriever, series="1.2.3", accept="image/png")
    assert np.asarray(await picture(one)).max() == 30


async def test_a_series_asked_for_as_one_image_is_its_middle_one(pool):
    retriever = FakeRetriever(*(an_image(n) for n in range(1, 4)))
    response = await ask(pool, retriever, series="1.2.3", accept="image/png")
    assert np.asarray(await picture(response)).max() == 20


async def test_the_largest_image_series_stands_for_a_study():
    location = Location("k", 1, 1, 1, b"", EXPLICIT_LE)
    ct = Handle("1", "1.1", "1.1.1", "1.2.840.10008.5.1.4.1.1.2", location, b"x")
    other = replace(ct, series_instance_uid="1.2", sop_instance_uid="1.2.1")
    segmentation = replace(
        ct, series_instance_uid="1.3", sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4"
    )
    chosen = await representative(Few([ct, other, other, *[segmentation] * 3]))
    assert chosen is other
    assert await representative(Few([segmentation])) is segmentation


def test_what_is_kept_fits_its_budget():
    kept = Kept(100)
    for number in range(10):
        kept.put(number, number, 20)
    assert (kept.size_bytes, kept.get(0), kept.get(9)) == (100, None, 9)
    kept.put("large", 1, 90)
    assert kept.get("large") is None
