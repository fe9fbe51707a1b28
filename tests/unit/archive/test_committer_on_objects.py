"""The committer before a remote store: bytes travel at once, rows one after the other."""

from __future__ import annotations

import asyncio
import threading

import obstore
import pytest
from obstore.exceptions import GenericError
from obstore.store import MemoryStore
from pydicom.uid import ExplicitVRLittleEndian

from filmroom.archive.access import SYSTEM
from filmroom.archive.committer import Duplicates
from filmroom.archive.errors import Conflict, Damaged, Unavailable
from filmroom.archive.records import Damage, Origin, Outcome
from filmroom.archive.reindex import adopt
from filmroom.blobs.objects import ObjectBlobs
from instances import a_data_set, data_set_bytes, part10

MODALITY = Origin("dimse", "MODALITY", "127.0.0.1", "FILMROOM")


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def make_room(make_archive, store):
    def make(**options):
        return make_archive(
            blobs=lambda folder: ObjectBlobs(store, folder, cache_bytes=1 << 24), **options
        )

    return make


@pytest.fixture
def room(make_room):
    return make_room()


async def put(room, ds):
    intake = room.archive.ingest.open(
        MODALITY,
        ExplicitVRLittleEndian,
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
    )
    intake.write(data_set_bytes(part10(ds)))
    return await intake.commit()


async def served(room, ds):
    handle = await room.retriever.instance(SYSTEM, None, None, ds.SOPInstanceUID)
    return await room.retriever.read_frame(handle, 0)


def keys(room):
    return list(room.blobs.keys())


def refused(room):
    return list(room.blobs.quarantine_keys())


def twins():
    """Two data sets of one SOP Instance UID and different pixels."""
    one, other = a_data_set(seed=1), a_data_set(seed=2)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(other, keyword, getattr(one, keyword))
    return one, other


def unaware(room, monkeypatch):
    """The index does not know yet what another node is just storing, when it is first asked."""
    asked = room.index.held
    blind = iter([True])
    monkeypatch.setattr(room.index, "held", lambda uids: {} if next(blind, False) else asked(uids))


async def test_what_comes_twice_is_one_object(room):
    ds = a_data_set()
    assert (await put(room, ds)).outcome is Outcome.NEW
    assert (await put(room, ds)).outcome is Outcome.SAME
    assert len(keys(room)) == 1
    assert await served(room, ds) == ds.PixelData


@pytest.mark.parametrize(
    ("policy", "outcome", "given", "aside"),
    [
        (Duplicates.KEEP_FIRST, Outcome.KEPT_FIRST, 0, 1),
        (Duplicates.REPLACE, Outcome.REPLACED, 1, 1),
        (Duplicates.REFUSE, None, 0, 0),
    ],
)
async def test_other_bytes_under_a_held_uid(make_room, policy, outcome, given, aside):
    room = make_room(duplicates=policy)
    pair = twins()
    await put(room, pair[0])
    if outcome is None:
        with pytest.raises(Conflict):
            await put(room, pair[1])
    else:
        assert (await put(room, pair[1])).outcome is outcome
    assert await served(room, pair[0]) == pair[given].PixelData
    assert len(keys(room)) == 1
    assert len(refused(room)) == aside


async def test_no_object_stays_when_the_index_refuses(room, monkeypatch):
    def gone(batch):
        raise Unavailable("database is gone")

    with monkeypatch.context() as patched:
        patched.setattr(room.index, "add", gone)
        with pytest.raises(Unavailable):
            await put(room, a_data_set())
    assert keys(room) == []
    assert room.committer.is_tidy


async def test_the_slower_of_two_with_the_same_bytes_leaves_one_object(room, monkeypatch):
    ds = a_data_set()
    await put(room, ds)
    unaware(room, monkeypatch)
    assert (await put(room, ds)).outcome is Outcome.SAME
    assert len(keys(room)) == 1
    assert await served(room, ds) == ds.PixelData


async def test_the_slower_of_two_with_other_bytes_is_kept_for_the_operator(room, monkeypatch):
    one, other = twins()
    await put(room, one)
    unaware(room, monkeypatch)
    assert (await put(room, other)).outcome is Outcome.KEPT_FIRST
    assert len(keys(room)) == len(refused(room)) == 1
    assert await served(room, one) == one.PixelData


async def test_one_that_travels_for_long_keeps_nobody_waiting(room, monkeypatch):
    slow, quick = a_data_set(), a_data_set()
    gate, begun = threading.Event(), threading.Event()
    real = obstore.put

    def put_slowly(store, path, content, **options):
        if slow.SOPInstanceUID in path:
            begun.set()
            gate.wait(10)
        return real(store, path, content, **options)

    monkeypatch.setattr(obstore, "put", put_slowly)
    waiting = asyncio.ensure_future(put(room, slow))
    await asyncio.to_thread(begun.wait, 10)
    assert room.committer.waiting == 1
    assert (await put(room, quick)).outcome is Outcome.NEW
    assert not waiting.done()
    gate.set()
    assert (await waiting).outcome is Outcome.NEW


async def test_what_travels_when_we_are_asked_to_stop_arrives(room, monkeypatch):
    gate, begun = threading.Event(), threading.Event()
    real = obstore.put

    def put_slowly(*arguments, **options):
        begun.set()
        gate.wait(10)
        return real(*arguments, **options)

    monkeypatch.setattr(obstore, "put", put_slowly)
    waiting = asyncio.ensure_future(put(room, a_data_set()))
    await asyncio.to_thread(begun.wait, 10)
    stopping = asyncio.ensure_future(asyncio.to_thread(room.committer.stop))
    gate.set()
    assert (await waiting).outcome is Outcome.NEW
    await stopping


async def test_a_store_that_is_away_is_a_refusal_until_it_is_back(room, monkeypatch):
    def away(*arguments, **options):
        raise GenericError("connection refused")

    ds = a_data_set()
    with monkeypatch.context() as patched:
        patched.setattr(obstore, "put", away)
        with pytest.raises(Unavailable):
            await put(room, ds)
    assert (await put(room, ds)).outcome is Outcome.NEW
    assert await served(room, ds) == ds.PixelData


async def test_a_lost_object_that_comes_again_gets_a_key_of_its_own(room, store):
    ds = a_data_set()
    await put(room, ds)
    (lost,) = keys(room)
    room.blobs.remove(lost)
    with pytest.raises(Damaged):
        await served(room, ds)
    assert (await put(room, ds)).outcome is Outcome.SAME
    assert keys(room) != [lost]
    assert await served(room, ds) == ds.PixelData


async def test_a_marked_object_that_comes_again_is_sound_and_the_old_one_aside(room):
    ds = a_data_set()
    await put(room, ds)
    handle = await room.retriever.instance(SYSTEM, None, None, ds.SOPInstanceUID)
    room.index.integrity.mark(handle, Damage.CONTENT, 0.0)
    room.retriever.distrust(ds.SOPInstanceUID)
    assert (await put(room, ds)).outcome is Outcome.SAME
    assert await served(room, ds) == ds.PixelData
    assert len(keys(room)) == len(refused(room)) == 1


async def test_an_object_that_nobody_was_thanked_for_goes_when_the_index_can_say(room, monkeypatch):
    real = obstore.put

    def done_but_not_said(store, path, content, **options):
        real(store, path, content, **options)
        raise GenericError("connection reset")

    with monkeypatch.context() as patched:
        patched.setattr(obstore, "put", done_but_not_said)
        with pytest.raises(Unavailable):
            await put(room, a_data_set())
    assert len(keys(room)) <= 1
    ds = a_data_set()
    assert (await put(room, ds)).outcome is Outcome.NEW
    assert [key.rpartition("/")[2].partition("_")[0] for key in keys(room)] == [ds.SOPInstanceUID]
    assert room.committer.is_tidy


async def test_what_got_a_row_in_the_meantime_is_left_where_it_is(room, monkeypatch):
    ds = a_data_set()
    await put(room, ds)
    (key,) = keys(room)
    room.committer._doubtful.add(key)
    await put(room, a_data_set())
    assert key in keys(room)
    assert room.committer.is_tidy


async def test_who_could_not_be_stored_is_told_before_the_rest_is_tidied_up(room, monkeypatch):
    """Which may take long: the same store is asked again, and it is away."""

    def away(*_, **__):
        raise GenericError("no route")

    goes_on = threading.Event()
    settled = room.index.settled_keys
    monkeypatch.setattr(room.index, "settled_keys", lambda keys: goes_on.wait(30) and settled(keys))
    with monkeypatch.context() as patched:
        patched.setattr(obstore, "put", away)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await asyncio.wait_for(put(room, a_data_set()), 5)
    goes_on.set()
    assert (await put(room, a_data_set())).outcome is Outcome.NEW
    assert room.committer.is_tidy


def left_by_a_crash(room, ds):
    """Bytes of this instance that a node has put up before it died; their key."""
    key = room.blobs.key_for(1.0, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    staged = room.blobs.stage()
    staged.write(part10(ds))
    assert room.blobs.seal([(staged, key)]) == [None]
    return key


async def test_after_a_crash_what_was_sent_again_meanwhile_is_held_once(room):
    ds, new = a_data_set(), a_data_set()
    await put(room, ds)
    (held,) = keys(room)
    orphans = [left_by_a_crash(room, each) for each in (ds, new)]
    report = adopt(room.index, room.blobs, orphans, removing=True)
    assert (report.added, report.duplicates, report.removed) == (1, 1, 1)
    assert sorted(keys(room)) == sorted([held, orphans[1]])
    assert await served(room, ds) == ds.PixelData


async def test_after_a_crash_nothing_is_removed_that_is_not_held_elsewhere(room):
    one, other = twins()
    lost, away = a_data_set(), a_data_set()
    for ds in (one, lost, away):
        await put(room, ds)
    marked = room.index.instance(lost.SOPInstanceUID)
    assert room.index.integrity.mark(marked, Damage.CONTENT, 1.0)
    room.blobs.remove(room.index.instance(away.SOPInstanceUID).location.key)
    orphans = [left_by_a_crash(room, ds) for ds in (other, lost, away)]
    report = adopt(room.index, room.blobs, orphans, removing=True)
    assert (report.duplicates, report.removed) == (3, 0)
    assert set(orphans) <= set(keys(room))
