"""Rendered documents over the archive's routes: forms, headers, links, ranges, refusals."""

import io

import pydicom
import pytest
from obstore.store import MemoryStore
from PIL import Image

from documents import (
    CDA,
    ENCAPSULATED_CDA,
    PDF,
    VOICE,
    a_report,
    a_waveform,
    an_ecg,
    channel,
    encapsulated,
    group,
    heartbeats,
    item,
    new_uid,
    reference,
    text,
)
from filmroom.blobs.objects import ObjectBlobs
from filmroom.dicomweb import documents
from filmroom.dicomweb.answers import INLINE_BYTES
from filmroom.pixel.pool import Pool
from instances import a_data_set, part10

DEFLATED = "1.2.840.10008.1.2.1.99"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def path_of(ds, tail="/rendered") -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}{tail}"
    )


def deflated(ds) -> bytes:
    file = pydicom.dcmread(io.BytesIO(part10(ds)))
    file.file_meta.TransferSyntaxUID = DEFLATED
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


async def put(room, *data_sets):
    response = await room.store(*map(part10, data_sets))
    assert response.status_code == 200, response.text


def report():
    return a_report(text("Finding", "Nothing <b>bold</b>"))


@pytest.mark.parametrize(
    ("make", "accept", "media_type"),
    [
        (report, "*/*", "text/html; charset=utf-8"),
        (report, BROWSER, "text/html; charset=utf-8"),
        (report, "text/plain", "text/plain; charset=utf-8"),
        (report, "text/*", "text/html; charset=utf-8"),
        (encapsulated, "*/*", "application/pdf"),
        (encapsulated, "application/pdf", "application/pdf"),
        (an_ecg, "*/*", "image/svg+xml"),
        (an_ecg, "image/svg+xml", "image/svg+xml"),
        (an_ecg, "image/png", "image/png"),
        (an_ecg, "image/jpeg", "image/jpeg"),
    ],
)
async def test_a_document_comes_in_the_form_that_is_liked_best(room, make, accept, media_type):
    ds = make()
    await put(room, ds)
    answer = await room.get(path_of(ds), headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = await room.head(path_of(ds), headers={"Accept": accept})
    assert (head.status_code, head.content) == (200, b"")
    again = {"Accept": accept, "If-None-Match": answer.headers["etag"]}
    assert (await room.get(path_of(ds), headers=again)).status_code == 304


@pytest.mark.parametrize("make", [report, encapsulated, an_ecg])
@pytest.mark.parametrize("accept", ["video/mp4", "application/dicom+json", "text/rtf"])
async def test_a_form_that_cannot_be_had_is_refused_with_those_that_can(room, make, accept):
    ds = make()
    await put(room, ds)
    answer = await room.get(path_of(ds), headers={"Accept": accept})
    assert answer.status_code == 406
    assert "What can be had here" in answer.json()["detail"]


async def test_a_query_may_ask_for_svg_with_a_plus(room):
    ds = an_ecg()
    await put(room, ds)
    answer = await room.get(path_of(ds, "/rendered?accept=image/svg+xml"))
    assert answer.headers["content-type"] == "image/svg+xml"


async def test_a_page_can_run_and_fetch_nothing(room):
    ds = report()
    await put(room, ds)
    answer = await room.get(path_of(ds))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "script-src" not in policy
    assert "<b>" not in answer.text
    assert "Nothing &lt;b&gt;bold" in answer.text


async def test_a_report_links_to_what_is_held_and_changes_when_more_is(room):
    image = a_data_set()
    ds = a_report(
        item("IMAGE", ReferencedSOPSequence=reference(image.SOPClassUID, image.SOPInstanceUID))
    )
    await put(room, ds)
    before = await room.get(path_of(ds))
    assert f"not here: {image.SOPInstanceUID}" in before.text
    assert before.headers["cache-control"] == "private, no-cache"
    await put(room, image)
    after = await room.get(path_of(ds), headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert f'href="/dicom-web{path_of(image)}"' in after.text
    shown = await room.get(path_of(image))
    assert shown.headers["content-type"] == "image/jpeg"


async def test_what_cannot_be_shown_is_no_link(room):
    state = a_data_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", PixelData=None, Rows=None)
    ds = a_report(
        item("COMPOSITE", ReferencedSOPSequence=reference(state.SOPClassUID, state.SOPInstanceUID))
    )
    await put(room, ds, state)
    assert f"not here: {state.SOPInstanceUID}" in (await room.get(path_of(ds))).text


@pytest.mark.parametrize("document", [PDF, PDF + b"\n"])
async def test_a_pdf_is_the_document_itself_to_the_last_byte(room, document):
    ds = encapsulated(document)
    await put(room, ds)
    answer = await room.get(path_of(ds))
    assert answer.content == document
    assert answer.headers["content-disposition"] == f'inline; filename="{ds.SOPInstanceUID}.pdf"'
    assert "immutable" in answer.headers["cache-control"]
    part = await room.get(path_of(ds), headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, document[5:10])
    assert part.headers["content-range"] == f"bytes 5-9/{len(document)}"


async def test_a_long_pdf_is_streamed_and_can_be_had_in_ranges(room):
    document = PDF + bytes(range(256)) * (INLINE_BYTES // 256) + b"x"
    ds = encapsulated(document)
    await put(room, ds)
    whole = await room.get(path_of(ds))
    assert whole.content == document
    assert int(whole.headers["content-length"]) == len(document)
    part = await room.get(path_of(ds), headers={"Range": "bytes=-100"})
    assert (part.status_code, part.content) == (206, document[-100:])
    far = await room.get(path_of(ds), headers={"Range": f"bytes={len(document)}-"})
    assert far.status_code == 416


async def test_a_clinical_document_comes_as_xml_that_can_do_nothing(room):
    ds = encapsulated(CDA, ENCAPSULATED_CDA, "text/XML")
    await put(room, ds)
    answer = await room.get(path_of(ds), headers={"Accept": BROWSER})
    assert answer.content == CDA
    assert answer.headers["content-type"] in ("text/xml", "application/xml")
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "ds",
    [
        encapsulated(b"<html><script>alert(1)</script>"),
        encapsulated(PDF, mime_type="text/html"),
        encapsulated(b""),
        encapsulated(b"<!DOCTYPE html><p>", ENCAPSULATED_CDA, "text/xml"),
        a_waveform(),
    ],
)
async def test_a_document_that_is_not_what_it_says_is_not_shown(room, ds):
    await put(room, ds)
    answer = await room.get(path_of(ds))
    assert answer.status_code == 406
    assert "cannot be shown" in answer.json()["detail"]
    assert (await room.get(path_of(ds, ""))).status_code == 200  # it can still be retrieved


async def test_a_spoken_recording_can_be_played(room):
    made = group(heartbeats(1, 8000, 1), [channel("Voice", "1")], 8000)
    ds = a_waveform(made, sop_class_uid=VOICE)
    await put(room, ds)
    answer = await room.get(path_of(ds))
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content[:4] == b"RIFF"
    part = await room.get(path_of(ds), headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")


@pytest.mark.parametrize("make", [report, encapsulated, an_ecg])
async def test_a_deflated_data_set_is_shown_like_any_other(room, make):
    ds = make()
    assert (await room.store(deflated(ds))).status_code == 200
    answer = await room.get(path_of(ds))
    assert answer.status_code == 200, answer.text
    assert answer.content


@pytest.mark.parametrize("make", [report, encapsulated, an_ecg])
@pytest.mark.parametrize("level", ["instances", "series", "studies"])
async def test_a_document_has_a_small_picture_at_every_level(room, make, level):
    ds = make()
    await put(room, ds)
    paths = {
        "instances": path_of(ds, "/thumbnail"),
        "series": f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/thumbnail",
        "studies": f"/studies/{ds.StudyInstanceUID}/thumbnail",
    }
    answer = await room.get(paths[level], headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)
    larger = await room.get(paths[level] + "?viewport=300,200", headers={"Accept": "image/jpeg"})
    assert Image.open(io.BytesIO(larger.content)).format == "JPEG"


async def test_an_image_stands_for_a_study_before_a_report(room):
    image, ds = a_data_set(), report()
    ds.StudyInstanceUID = image.StudyInstanceUID
    await put(room, ds, image)
    picture = await room.get(f"/studies/{image.StudyInstanceUID}/thumbnail")
    of_image = await room.get(path_of(image, "/thumbnail"))
    assert picture.content == of_image.content


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        (None, "text/html; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("application/dicom", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
    ],
)
async def test_a_report_by_wado_uri(room, content_type, media_type):
    ds = report()
    await put(room, ds)
    params = {
        "requestType": "WADO",
        "studyUID": ds.StudyInstanceUID,
        "seriesUID": ds.SeriesInstanceUID,
        "objectUID": ds.SOPInstanceUID,
    }
    if content_type:
        params["contentType"] = content_type
    answer = await room.get("http://test/wado", params=params)
    assert answer.headers["content-type"] == media_type


async def test_who_may_not_retrieve_sees_no_document(make_room):
    room = make_room()
    ds = report()
    await put(room, ds)
    room.door.principal = type(room.door.principal)("mallory", frozenset(), "nobody")
    assert (await room.get(path_of(ds))).status_code == 403
    assert (await room.get(path_of(ds, "/thumbnail"))).status_code == 403


async def test_a_document_has_no_frames(room):
    ds = report()
    await put(room, ds)
    assert (await room.get(path_of(ds, "/frames/1/rendered"))).status_code in (404, 406)


async def test_a_document_in_an_object_store_is_fetched_first(make_room):
    pool, store = Pool(1), MemoryStore()
    try:
        room = make_room(pool=pool, blobs=lambda folder: ObjectBlobs(store, folder))
        long = encapsulated(PDF + bytes(range(256)) * (INLINE_BYTES // 256))
        for ds in (report(), an_ecg(), encapsulated(), long):
            await put(room, ds)
            elsewhere = ObjectBlobs(store, room.folder / new_uid(), cache_bytes=64 << 20)
            room.retriever._blobs = elsewhere  # of a node that has not received it
            answer = await room.get(path_of(ds))
            assert answer.status_code == 200, answer.text
            small = await room.get(path_of(ds, "/thumbnail"))
            assert small.status_code == 200, small.text
        assert answer.content == PDF + bytes(range(256)) * (INLINE_BYTES // 256)
    finally:
        pool.close()


async def test_a_page_is_made_once_for_the_same_wish(room, monkeypatch):
    made = []
    monkeypatch.setattr(documents, "MADE", documents.Kept(1 << 20))
    work = documents.work.report
    monkeypatch.setattr(documents.work, "report", lambda *a: made.append(1) or work(*a))
    ds = report()
    await put(room, ds)
    first, second = [await room.get(path_of(ds)) for _ in range(2)]
    assert first.content == second.content
    assert made == [1]


async def test_the_workers_of_pixels_make_pages_and_drawings_too(make_room):
    pool = Pool(1)
    try:
        room = make_room(pool=pool)
        for make, begin in ((report, b"<!DOCTYPE html>"), (an_ecg, b"<?xml")):
            ds = make()
            await put(room, ds)
            answer = await room.get(path_of(ds))
            assert answer.status_code == 200, answer.text
            assert answer.content.startswith(begin)
        broken = a_waveform()
        await put(room, broken)
        assert (await room.get(path_of(broken))).status_code == 406
    finally:
        pool.close()
