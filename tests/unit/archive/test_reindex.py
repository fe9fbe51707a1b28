"""The files are the truth: from them the same index is made again."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from filmroom.archive.access import SYSTEM
from filmroom.archive.committer import Duplicates
from filmroom.archive.errors import Unavailable
from filmroom.archive.records import Origin, Query
from filmroom.archive.reindex import reindex
from filmroom.config import Settings
from filmroom.dicom.models import Level
from filmroom.storeroom import Storeroom
from instances import a_data_set, an_instance, part10


async def put(room, file):
    intake = room.archive.ingest.open_file(Origin("import"))
    intake.write(file)
    return await intake.commit()


async def answers(room):
    """All answers at all levels; studies of the same second have no order among themselves."""
    found = []
    for level in list(Level):
        at_level = await room.archive.finder.search(SYSTEM, Query(level, {}), None)
        found.append(sorted(at_level, key=json.dumps))
    return found


async def test_the_index_made_from_the_files_answers_as_before(room):
    first = a_data_set(StudyDescription="said first")
    await put(room, part10(first))
    await asyncio.sleep(0.02)  # file systems tell times apart by a few milliseconds only
    second = a_data_set(
        StudyInstanceUID=first.StudyInstanceUID, StudyDescription="said second", frames=2
    )
    await put(room, part10(second))
    for _ in range(5):
        await put(room, an_instance())
    before = await answers(room)
    report = reindex(room.index, room.blobs)
    assert (report.files, report.added, report.unreadable) == (7, 7, 0)
    after = await answers(room)
    for level in Level:
        assert after[level] == before[level], level


async def test_a_damaged_file_is_reported_and_the_rest_is_indexed(room):
    await put(room, an_instance())
    await put(room, an_instance())
    room.files()[0].write_bytes(b"rubbish")
    report = reindex(room.index, room.blobs)
    assert (report.added, report.unreadable) == (1, 1)


class Interrupted(BaseException):
    """Ctrl-C."""


def test_what_was_cut_short_is_begun_again_at_the_next_start(tmp_path):
    settings = Settings.model_validate(
        {"data": str(tmp_path / "data"), "archive": {"min_free_bytes": 0}}
    )

    async def fill(room):
        for _ in range(3):
            await put(room, an_instance())

    def interrupted(report):
        raise Interrupted

    room = Storeroom(settings)
    room.open()
    asyncio.run(fill(room))
    with pytest.raises(Interrupted):
        room.reindex(interrupted)
    room.index.clear()  # as much as there was time for
    room.close()
    room = Storeroom(settings)
    room.open()
    assert room.index.statistics().instances == 3
    room.close()
    assert not (tmp_path / "data" / "running").exists()


def test_what_could_not_be_tidied_is_looked_for_at_the_next_start(tmp_path, monkeypatch):
    settings = Settings.model_validate(
        {"data": str(tmp_path / "data"), "archive": {"min_free_bytes": 0}}
    )

    def gone(*_):
        raise Unavailable("the index does not answer")

    room = Storeroom(settings)
    room.open()
    monkeypatch.setattr(room.index, "add", gone)
    monkeypatch.setattr(room.index, "settled_keys", gone)
    with pytest.raises(Unavailable):
        asyncio.run(put(room, an_instance()))
    room.close()
    room = Storeroom(settings)
    room.open()
    assert room.index.statistics().instances == 1
    room.close()


async def test_what_was_replaced_stays_replaced_though_a_crash_left_the_old_file(make_archive):
    room = make_archive(duplicates=Duplicates.REPLACE)
    ds = a_data_set()
    await put(room, part10(ds))
    [old] = room.files()
    old_bytes, old_time = old.read_bytes(), old.stat().st_mtime
    ds.PixelData = bytes(512)
    await put(room, part10(ds))
    old.write_bytes(old_bytes)
    os.utime(old, (old_time, old_time))
    assert reindex(room.index, room.blobs).added == 1
    handle = room.index.instance(ds.SOPInstanceUID)
    assert room.retriever.frame(handle, 0) == bytes(512)


def test_after_a_crash_only_the_last_days_are_looked_at(tmp_path):
    settings = Settings.model_validate(
        {"data": str(tmp_path / "data"), "archive": {"min_free_bytes": 0}}
    )
    room = Storeroom(settings)
    room.open()
    started = room.clock.now()
    for day in (0, 3, 30):
        room.clock.now = lambda day=day: started + day * 86_400
        asyncio.run(put(room, an_instance()))
    since = (tmp_path / "data" / "running").read_text().strip()
    assert since == time.strftime("%Y/%m/%d", time.gmtime(started + 29.75 * 86_400))
    room.close()
