"""What the committer does when things go wrong: duplicates, lost files, a full quarantine."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from filmroom.archive import ingest
from filmroom.archive.access import SYSTEM
from filmroom.archive.committer import Duplicates
from filmroom.archive.errors import ArchiveError, Conflict, Unavailable, Unintelligible
from filmroom.archive.records import Origin, Outcome
from filmroom.blobs.spool import StagedFile
from instances import a_data_set, data_set_bytes, part10

MODALITY = Origin("dimse", "MODALITY", "127.0.0.1", "FILMROOM")
PROGRAM = Origin("stow", "research")


async def put(room, ds, origin=MODALITY):
    """Store the way DIMSE does, with announced UIDs."""
    intake = room.archive.ingest.open(
        origin,
        ExplicitVRLittleEndian,
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
    )
    intake.write(data_set_bytes(part10(ds)))
    return await intake.commit()


async def send_rubbish(room, size=600_000):
    intake = room.archive.ingest.open_file(MODALITY)
    intake.write(bytes(size))
    with pytest.raises(Unintelligible):
        await intake.commit()


async def served(room, ds):
    """The pixel data as somebody would get them."""
    handle = await room.retriever.instance(SYSTEM, None, None, ds.SOPInstanceUID)
    room.retriever.open(handle).close()
    return room.retriever.frame(handle, 0)


async def test_a_lost_file_that_comes_back_from_elsewhere_is_served_rightly(room):
    ds = a_data_set()
    await put(room, ds, MODALITY)
    await served(room, ds)
    room.files()[0].unlink()
    # The meta header names the sender, so the new file is not as long as the old one.
    assert (await put(room, ds, PROGRAM)).outcome is Outcome.SAME
    assert await served(room, ds) == ds.PixelData


async def test_bytes_stay_when_a_commit_was_done_but_not_confirmed(room, monkeypatch):
    add = room.index.add

    def confirmation_lost(batch):
        add(batch)
        raise Unavailable("the connection was lost")

    ds = a_data_set()
    with monkeypatch.context() as patched:
        patched.setattr(room.index, "add", confirmation_lost)
        with pytest.raises(Unavailable):
            await put(room, ds)
    assert await served(room, ds) == ds.PixelData
    assert (await put(room, ds)).outcome is Outcome.SAME


async def test_bytes_stay_while_the_index_cannot_say_whether_it_has_them(room, monkeypatch):
    def gone(*_):
        raise Unavailable("the index does not answer")

    ds = a_data_set()
    with monkeypatch.context() as patched:
        patched.setattr(room.index, "add", gone)
        patched.setattr(room.index, "settled_keys", gone)
        with pytest.raises(Unavailable):
            await put(room, ds)
    assert len(room.files()) == 1
    assert not room.committer.is_tidy
    assert (await put(room, a_data_set())).outcome is Outcome.NEW
    assert len(room.files()) == 1  # the index could say: that of the first is gone
    assert room.committer.is_tidy


async def test_no_file_stays_when_one_of_a_batch_conflicts_and_then_the_index_fails(
    room, monkeypatch
):
    held, other = a_data_set(), a_data_set()
    await put(room, held)
    other.SeriesInstanceUID = held.SeriesInstanceUID
    add = room.index.add

    def failing(batch):
        if len(batch) == 1 and batch[0].instance.uid != other.SOPInstanceUID:
            raise Unavailable("database is gone")
        return add(batch)

    hold, started = threading.Event(), threading.Event()
    asked = room.index.held

    def slowly(uids):
        started.set()
        hold.wait(5)
        return asked(uids)

    monkeypatch.setattr(room.index, "add", failing)
    monkeypatch.setattr(room.index, "held", slowly)
    first = asyncio.ensure_future(put(room, held))  # keeps the committer busy meanwhile
    await asyncio.to_thread(started.wait, 5)
    rest = [asyncio.ensure_future(put(room, ds)) for ds in (other, a_data_set(), a_data_set())]
    await asyncio.sleep(0.05)
    hold.set()
    answers = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [type(a).__name__ for a in answers] == ["Stored", "Conflict"] + ["Unavailable"] * 2
    assert len(room.files()) == 1


async def test_trouble_with_one_duplicate_is_nobody_elses(room, monkeypatch):
    ds, other = a_data_set(), a_data_set()
    await put(room, ds)
    ds.PatientComments = "changed"

    def full(staged):
        raise Unavailable("out of space")

    monkeypatch.setattr(room.blobs, "quarantine", full)
    answers = await asyncio.gather(put(room, ds), put(room, other), return_exceptions=True)
    assert isinstance(answers[0], Unavailable)
    assert answers[1].outcome is Outcome.NEW


async def test_replacing_succeeds_though_the_old_file_is_lost(make_archive):
    room = make_archive(duplicates=Duplicates.REPLACE)
    ds = a_data_set()
    await put(room, ds)
    await served(room, ds)
    room.files()[0].unlink()
    ds.PixelData = bytes(512)
    assert (await put(room, ds)).outcome is Outcome.REPLACED
    assert await served(room, ds) == bytes(512)


async def test_a_failed_replacement_leaves_the_first_and_no_file(make_archive, monkeypatch):
    room = make_archive(duplicates=Duplicates.REPLACE)
    ds = a_data_set()
    await put(room, ds)
    first = ds.PixelData

    def failing(instance):
        raise Unavailable("database is gone")

    ds.PixelData = bytes(512)
    with monkeypatch.context() as patched:
        patched.setattr(room.index, "replace", failing)
        with pytest.raises(Unavailable):
            await put(room, ds)
    assert await served(room, ds) == first
    assert len(room.files()) == 1


async def test_an_instance_of_another_study_replaces_nothing(make_archive):
    room = make_archive(duplicates=Duplicates.REPLACE)
    held, other = a_data_set(), a_data_set(seed=1)
    await put(room, held)
    other.SOPInstanceUID = held.SOPInstanceUID
    assert (await put(room, other)).outcome is Outcome.KEPT_FIRST
    assert await served(room, held) == held.PixelData
    assert len(room.quarantined()) == 1


async def test_a_series_of_another_study_is_kept_for_the_operator(room):
    held, other = a_data_set(), a_data_set()
    await put(room, held)
    other.SeriesInstanceUID = held.SeriesInstanceUID
    with pytest.raises(Conflict):
        await put(room, other)
    assert [q.sop_instance_uid for q in room.index.quarantined()] == [other.SOPInstanceUID]
    assert len(room.files()) == len(room.quarantined()) == 1


async def test_a_refusal_is_answered_when_the_file_is_in_quarantine(room):
    await send_rubbish(room)
    assert len(room.index.quarantined()) == len(room.quarantined()) == 1


async def test_an_emptied_quarantine_has_room_again(room):
    await send_rubbish(room)
    [kept] = room.index.quarantined()
    room.blobs.remove_quarantined(kept.key)
    room.index.forget_quarantined(kept.id)
    await send_rubbish(room)
    assert len(room.index.quarantined()) == 1


async def test_other_content_under_a_held_uid_does_not_fill_the_disk(room):
    ds = a_data_set(rows=400, columns=400)
    await put(room, ds)
    outcomes = []
    for number in range(5):
        ds.PatientComments = str(number)
        try:
            outcomes.append((await put(room, ds)).outcome)
        except Conflict as error:
            outcomes.append(error.message)
    full = "other content is held under this UID, and quarantine is full"
    assert outcomes == [Outcome.KEPT_FIRST] * 3 + [full] * 2
    assert sum(path.stat().st_size for path in room.quarantined()) <= 1 << 20


async def test_a_full_disk_costs_no_descriptors(room, monkeypatch):
    def full(self, data):
        raise Unavailable("out of space")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(StagedFile, "write", full)
        for _ in range(5):
            with pytest.raises(Unavailable):
                await put(room, a_data_set())
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_sop_class_that_is_no_uid_is_refused(room):
    ds = a_data_set()
    named = str(ds.SOPClassUID).encode()
    file = part10(ds)
    at = file.rindex(named)
    intake = room.archive.ingest.open_file(PROGRAM)
    intake.write(file[:at] + b"\xff" * len(named) + file[at + len(named) :])
    with pytest.raises(ArchiveError, match="SOP Class UID"):
        await intake.commit()


async def test_a_header_in_tiny_pieces_is_not_read_over_and_over(room, monkeypatch):
    looks = 0
    scan = ingest.scan

    def counted(*arguments, **options):
        nonlocal looks
        looks += 1
        return scan(*arguments, **options)

    monkeypatch.setattr(ingest, "scan", counted)
    ds = a_data_set(ImageComments="x" * 8000)
    file = part10(ds)
    intake = room.archive.ingest.open_file(PROGRAM)
    for at in range(len(file)):
        intake.write(file[at : at + 1])
    assert (await intake.commit()).outcome is Outcome.NEW
    assert looks < 30


async def test_a_deflated_data_set_is_not_inflated_on_the_event_loop(room, monkeypatch):
    threads = []
    examine = ingest.examine

    def noted(*arguments):
        threads.append(threading.current_thread())
        return examine(*arguments)

    monkeypatch.setattr(ingest, "examine", noted)
    intake = room.archive.ingest.open_file(PROGRAM)
    intake.write(part10(a_data_set(), DeflatedExplicitVRLittleEndian))
    assert (await intake.commit()).outcome is Outcome.NEW
    assert threads != [threading.current_thread()]


async def test_a_stored_instance_is_answered_though_another_waits_for_quarantine(room):
    answers = await asyncio.gather(
        send_rubbish(room, 1000), *(put(room, a_data_set()) for _ in range(5)), send_rubbish(room)
    )
    assert [a.outcome for a in answers if a is not None] == [Outcome.NEW] * 5
    assert len(room.quarantined()) == 2


async def test_what_came_out_of_quarantine_is_not_put_there_twice(room):
    intake = room.archive.ingest.open_file(MODALITY, is_kept_already=True)
    intake.write(bytes(1000))
    with pytest.raises(Unintelligible):
        await intake.commit()
    assert room.quarantined() == room.index.quarantined() == []
