"""The one door out: what is held comes back as it was, and nothing else does."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading

import pydicom
import pytest

from filmroom.archive import metadata, retrieve
from filmroom.archive.access import SYSTEM, Action, Principal
from filmroom.archive.errors import Damaged, NotHeld, Refused, Unsupported
from filmroom.archive.metadata import Settler
from filmroom.archive.records import Origin, Selection
from filmroom.dicom.errors import Malformed
from instances import a_data_set, an_instance, data_set_bytes, part10

ORIGIN = Origin("import")


async def put(room, file):
    intake = room.archive.ingest.open_file(ORIGIN)
    intake.write(file)
    return await intake.commit()


async def test_a_frame_is_exactly_its_bytes(room):
    ds = a_data_set(frames=3)
    stored = await put(room, part10(ds))
    handle = await room.retriever.instance(SYSTEM, None, None, stored.sop_instance_uid)
    size = 16 * 16 * 2
    for index in range(3):
        pixels = ds.PixelData[index * size : (index + 1) * size]
        assert room.retriever.frame(handle, index) == pixels
    with pytest.raises(NotHeld, match="has 3"):
        room.retriever.frame(handle, 3)


async def test_an_instance_is_not_found_under_another_study_or_series(room):
    stored = await put(room, an_instance())
    uid = stored.sop_instance_uid
    for study, series in (("1.2", None), (None, "1.2"), (stored.study_instance_uid, "9.9")):
        with pytest.raises(NotHeld):
            await room.retriever.instance(SYSTEM, study, series, uid)
    held = await room.retriever.instance(
        SYSTEM, stored.study_instance_uid, stored.series_instance_uid, uid
    )
    assert held.sop_instance_uid == uid


async def test_nothing_is_given_to_whom_may_not_retrieve(room):
    stored = await put(room, an_instance())
    stranger = Principal("STRANGER", frozenset({Action.STORE}))
    with pytest.raises(Refused):
        await room.retriever.instance(stranger, None, None, stored.sop_instance_uid)
    with pytest.raises(Refused):
        await room.retriever.select(stranger, Selection(patient_id="GH-1906"))


async def test_a_damaged_file_is_not_served(room):
    stored = await put(room, an_instance())
    path = room.files()[0]
    path.write_bytes(path.read_bytes()[:-10])
    handle = room.index.instance(stored.sop_instance_uid)
    with pytest.raises(Damaged):
        room.retriever.open(handle)


async def test_series_metadata_is_made_once_and_served_as_it_lies(room):
    study, series = "1.2.3", "1.2.3.4"
    for number in (2, 1):
        ds = a_data_set(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number)
        await put(room, part10(ds))
    first = await room.retriever.metadata(SYSTEM, study, series, None)
    assert [o["00200013"]["Value"] for o in json.loads(first.body)] == [[1], [2]]
    again = await room.retriever.metadata(SYSTEM, study, series, None)
    assert (again.gzipped, again.etag) == (first.gzipped, first.etag)


async def test_a_late_instance_reopens_the_metadata(room):
    ds = a_data_set(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    await put(room, part10(ds))
    assert len(json.loads((await room.retriever.metadata(SYSTEM, "1.2.3", None, None)).body)) == 1
    late = a_data_set(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", InstanceNumber=2)
    await put(room, part10(late))
    for series in (None, "1.2.3.4"):
        body = (await room.retriever.metadata(SYSTEM, "1.2.3", series, None)).body
        assert len(json.loads(body)) == 2


async def test_a_study_of_several_series_has_the_metadata_of_all(room):
    for series in ("1.1", "1.2", "1.3"):
        await put(room, part10(a_data_set(StudyInstanceUID="1", SeriesInstanceUID=series)))
    body = (await room.retriever.metadata(SYSTEM, "1", None, None)).body
    assert {o["0020000E"]["Value"][0] for o in json.loads(body)} == {"1.1", "1.2", "1.3"}


async def test_metadata_of_what_is_not_held_is_not_found(room):
    for series, sop in ((None, None), ("1.3", None), ("1.3", "1.4")):
        with pytest.raises(NotHeld):
            await room.retriever.metadata(SYSTEM, "1.2", series, sop)


async def test_a_quiet_series_gets_its_metadata_and_a_busy_one_waits(room):
    await put(room, part10(a_data_set(StudyInstanceUID="1", SeriesInstanceUID="1.1")))
    settler = Settler(room.index, room.retriever.shelf, room.clock, quiet_seconds=5)
    room.clock.time += 4
    assert settler.settle() == 0
    room.clock.time += 2
    assert settler.settle() == 1
    shelved = room.index.series_metadata("1", "1.1")
    assert len(json.loads(gzip.decompress(shelved.gzipped))) == 1
    assert settler.settle() == 0


async def test_pixel_bulk_data_lies_where_the_uri_says(room):
    file = an_instance()
    stored = await put(room, file)
    [metadata] = json.loads(
        (
            await room.retriever.metadata(
                SYSTEM, stored.study_instance_uid, None, stored.sop_instance_uid
            )
        ).body
    )
    uri = metadata["7FE00010"]["BulkDataURI"]
    bulk = await room.retriever.bulk(
        SYSTEM,
        stored.study_instance_uid,
        stored.series_instance_uid,
        stored.sop_instance_uid,
        uri.rpartition("/bulkdata/")[2],
    )
    data = room.blobs.read(bulk.handle.location.key, bulk.offset, bulk.length)
    assert data == data_set_bytes(file)[-512:]


@pytest.mark.parametrize("path", ["00100010", "7FE00008", "../..", "54000100/9/54001010", "zz"])
async def test_bulk_data_that_are_not_there_are_not_found(room, path):
    stored = await put(room, an_instance())
    with pytest.raises(NotHeld):
        await room.retriever.bulk(
            SYSTEM,
            stored.study_instance_uid,
            stored.series_instance_uid,
            stored.sop_instance_uid,
            path,
        )


async def test_a_handle_that_was_replaced_while_it_was_looked_up_is_not_remembered(
    room, monkeypatch
):
    ds = a_data_set()
    await put(room, part10(ds))
    looked_up = room.index.instance

    def slowly(uid):
        handle = looked_up(uid)
        room.retriever.forget(uid)  # by the committer, before the handle gets back to us
        return handle

    monkeypatch.setattr(room.index, "instance", slowly)
    await room.retriever.instance(SYSTEM, None, None, ds.SOPInstanceUID)
    monkeypatch.setattr(room.index, "instance", lambda uid: None)
    with pytest.raises(NotHeld):
        await room.retriever.instance(SYSTEM, None, None, ds.SOPInstanceUID)


@pytest.mark.parametrize(("size", "inline"), [(1000, True), (300_000, False)])
async def test_only_a_short_header_is_parsed_on_the_event_loop(room, monkeypatch, size, inline):
    ds = a_data_set()
    ds.private_block(0x0009, "LONG", create=True).add_new(1, "OB", bytes(size))
    await put(room, part10(ds))
    threads = []
    header = room.retriever.header

    def noted(handle):
        threads.append(threading.current_thread())
        return header(handle)

    monkeypatch.setattr(room.retriever, "header", noted)
    uids = ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID
    await room.retriever.metadata(SYSTEM, *uids)
    with contextlib.suppress(NotHeld):
        await room.retriever.bulk(SYSTEM, *uids, "00091001")
    here = threading.current_thread()
    assert [thread is here for thread in threads] == [inline] * 2


async def test_a_long_header_is_a_view_of_its_file(room):
    ds = a_data_set()
    ds.private_block(0x0009, "LONG", create=True).add_new(1, "OB", bytes(300_000))
    file = part10(ds)
    await put(room, file)
    handle = await room.retriever.instance(SYSTEM, None, None, ds.SOPInstanceUID)
    header = room.retriever.header(handle)
    assert isinstance(header, memoryview)
    assert bytes(header) == data_set_bytes(file)[: handle.location.header_bytes]


async def test_series_without_metadata_do_not_hold_up_the_others(room, monkeypatch):
    for number in range(3):
        await put(room, part10(a_data_set(StudyInstanceUID="1", SeriesInstanceUID=f"1.{number}")))
    for path in room.files()[:2]:
        path.unlink()
    monkeypatch.setattr(metadata, "AT_ONCE", 2)
    settler = Settler(room.index, room.retriever.shelf, room.clock, quiet_seconds=0)
    room.clock.time += 1
    assert settler.settle() + settler.settle() == 1
    assert room.index.series_metadata("1", "1.2") is not None


async def test_a_header_that_cannot_be_json_is_said_to_be_so(room, monkeypatch):
    ds = a_data_set()
    await put(room, part10(ds))

    def broken(*arguments, **options):
        raise Malformed("no")

    monkeypatch.setattr(metadata.dicomjson, "encode", broken)
    with pytest.raises(Unsupported):
        await room.retriever.metadata(SYSTEM, ds.StudyInstanceUID, ds.SeriesInstanceUID, None)


async def test_what_is_remembered_is_bounded_in_bytes_not_in_number(room, monkeypatch):
    monkeypatch.setattr(retrieve, "REMEMBERED_BYTES", 100_000)
    retriever = retrieve.Retriever(room.index, room.blobs)
    many = 2000  # tiny frames: a crafted frame table
    for number in range(30):
        ds = a_data_set(SOPInstanceUID=f"1.2.{number}")
        ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xe0"] * many)
        ds["PixelData"].is_undefined_length = True
        ds.NumberOfFrames = many
        await put(room, part10(ds, "1.2.840.10008.1.2.4.50"))
        handle = await retriever.instance(SYSTEM, None, None, f"1.2.{number}")
        assert retriever.frame_table(handle).frames == many
    assert 0 < retriever._handles.size_bytes <= 100_000
    held = [kept for n in range(30) if (kept := retriever._handles.get(f"1.2.{n}"))]
    assert sum(len(kept.handle.frames) for kept in held) <= 100_000
    assert len(held) < 30


async def test_a_long_frame_table_is_parsed_once_while_it_is_remembered(room, monkeypatch):
    stored = await put(room, part10(a_data_set(frames=20)))
    handle = await room.retriever.instance(SYSTEM, None, None, stored.sop_instance_uid)
    parsed = []
    table_of = retrieve._table_of
    monkeypatch.setattr(retrieve, "_table_of", lambda h: parsed.append(h) or table_of(h))
    for index in range(20):
        same = await room.retriever.instance(SYSTEM, None, None, stored.sop_instance_uid)
        room.retriever.frame(same, index)
    assert same is handle
    assert parsed == []
