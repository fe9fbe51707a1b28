"""The thread that looks after the files while the server runs."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager

import pytest

from filmroom import observe
from filmroom.archive import scrubber as scrubber_module
from filmroom.archive.access import SYSTEM
from filmroom.archive.errors import Damaged, Unavailable
from filmroom.archive.news import News
from filmroom.archive.records import Damage, Origin
from filmroom.archive.scrub import Scrub
from filmroom.archive.scrubber import DAY_SECONDS, Scrubber
from filmroom.archive.soundness import Pace
from filmroom.index.queries import open_index
from instances import a_data_set, part10


async def put(room, file):
    intake = room.archive.ingest.open_file(Origin("import"))
    intake.write(file)
    return (await intake.commit()).sop_instance_uid


def path_of(room, uid):
    return room.folder / "store" / room.index.instance(uid).location.key


def spoil(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@contextmanager
def free():
    yield True


@pytest.fixture
def make(room, monkeypatch):
    monkeypatch.setattr(scrubber_module, "TICK_SECONDS", 0.01)
    made = []

    def make(*, every_days=0.0, rate=0.0, turn=free):
        def scrub_of(scrubber):
            pace = Pace(rate, sleep=scrubber.sleep)
            return Scrub(
                room.index,
                room.blobs,
                room.clock,
                pace,
                quarantine_max_bytes=1 << 20,
                events=scrubber,
            )

        made.append(
            Scrubber(
                room.index,
                room.clock,
                scrub_of,
                turn,
                room.retriever.distrust,
                every_days=every_days,
            )
        )
        room.retriever.suspect = made[-1].suspect
        return made[-1]

    yield make
    for scrubber in made:
        scrubber.stop()


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def ask(room, uid):
    handle = await room.retriever.instance(SYSTEM, None, None, uid)
    return room.retriever.frame(handle, 0)


@pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, 300)])
async def test_a_file_that_cannot_be_read_is_said_once_and_marked(room, make, caplog, harm):
    uid = await put(room, part10(a_data_set()))
    make().start()
    await ask(room, uid)
    harm(path_of(room, uid))
    before = observe.SCRUB_SUSPECTED._value.get()
    with caplog.at_level(logging.ERROR):
        for _ in range(20):
            with pytest.raises(Damaged):
                await ask(room, uid)
    until(lambda: room.index.statistics().damaged)
    with pytest.raises(Damaged):
        await ask(room, uid)
    assert observe.SCRUB_SUSPECTED._value.get() == before + 1
    assert [r.message for r in caplog.records].count("a stored file could not be read") == 1


async def test_a_healed_file_that_is_lost_again_is_news(room, make):
    file = part10(a_data_set())
    uid = await put(room, file)
    make().start()
    before = observe.SCRUB_SUSPECTED._value.get()
    for times in (1, 2):
        path_of(room, uid).unlink()
        with pytest.raises(Damaged):
            await ask(room, uid)
        until(lambda: room.index.statistics().damaged)
        await put(room, file)
        await ask(room, uid)
        assert observe.SCRUB_SUSPECTED._value.get() == before + times


async def test_a_suspicion_that_proves_wrong_marks_nothing(room, make):
    uid = await put(room, part10(a_data_set()))
    scrubber = make()
    scrubber.start()
    scrubber.suspect(room.index.instance(uid), "hearsay")
    until(lambda: not scrubber._suspected)
    assert room.index.statistics().damaged == 0
    await ask(room, uid)


async def test_what_another_process_has_marked_is_not_served_any_more(room, make):
    uid = await put(room, part10(a_data_set()))
    make().start()
    await ask(room, uid)  # its handle is remembered from here on
    spoil(path_of(room, uid))
    await ask(room, uid)  # nobody knows yet
    other = open_index(f"sqlite:///{room.folder}/index.sqlite")
    other.integrity.mark(other.instance(uid), Damage.CONTENT, 1.0)
    other.close()

    async def refused():
        try:
            await ask(room, uid)
        except Damaged:
            return True
        return False

    deadline = time.monotonic() + 10
    while not await refused():
        assert time.monotonic() < deadline
    assert room.retriever.trust


def a_while_later(scrubber):
    scrubber._watched_at -= scrubber_module.NET_SECONDS


def something_was_missed(scrubber):
    scrubber.heard(News.LOST_TOUCH)


@pytest.mark.parametrize("happens", [a_while_later, something_was_missed])
async def test_where_others_tell_the_marks_are_a_net_below_it(room, make, happens):
    room.index._engine.in_touch = True
    scrubber = make()
    scrubber._watch()
    uid = await put(room, part10(a_data_set()))
    await ask(room, uid)
    room.index.integrity.mark(room.index.instance(uid), Damage.CONTENT, 1.0)
    scrubber._watch()
    await ask(room, uid)  # what was told did not arrive
    happens(scrubber)
    scrubber._watch()
    with pytest.raises(Damaged):
        await ask(room, uid)


async def test_what_is_told_of_an_instance_is_forgotten_by_the_retriever(room):
    uid = await put(room, part10(a_data_set()))
    handle = room.index.instance(uid)
    room.index.listen(room.retriever.heard)
    await ask(room, uid)
    assert room.retriever._handles.get(uid)
    room.index.integrity.mark(handle, Damage.CONTENT, 1.0)
    until(lambda: not room.retriever._handles.get(uid))
    assert room.retriever.trust == 1
    with pytest.raises(Damaged):
        await ask(room, uid)
    room.index.integrity.unmark(uid)
    await ask(room, uid)
    room.retriever.heard(News.LOST_TOUCH, "")
    assert not room.retriever._handles.get(uid)


async def test_a_new_archive_is_read_when_its_time_has_come_and_not_before(room, make):
    uid = await put(room, part10(a_data_set()))
    spoil(path_of(room, uid))
    scrubber = make(every_days=30)
    scrubber._go_on()
    assert room.index.statistics().damaged == 0
    room.clock.time += 29 * DAY_SECONDS
    scrubber._due_at = 0
    scrubber._go_on()
    assert room.index.statistics().damaged == 0
    room.clock.time += DAY_SECONDS
    scrubber._due_at = 0
    scrubber._go_on()
    assert room.index.statistics().damaged == 1
    assert observe.SCRUB_FINISHED._value.get() == room.clock.time
    room.clock.time += 29 * DAY_SECONDS
    scrubber._due_at = 0
    done = observe.SCRUB_FILES._value.get()
    scrubber._look_again_at = float("inf")
    scrubber._go_on()
    assert observe.SCRUB_FILES._value.get() == done


async def test_a_server_told_not_to_read_does_not(room, make):
    await put(room, part10(a_data_set()))
    scrubber = make(every_days=0)
    scrubber._go_on()
    room.clock.time += 1000 * DAY_SECONDS
    scrubber._due_at = 0
    done = observe.SCRUB_FILES._value.get()
    scrubber._go_on()
    assert observe.SCRUB_FILES._value.get() == done


async def test_while_somebody_else_reads_the_server_does_not(room, make):
    @contextmanager
    def taken():
        yield False

    await put(room, part10(a_data_set()))
    scrubber = make(every_days=30, turn=taken)
    scrubber._go_on()
    room.clock.time += 60 * DAY_SECONDS
    scrubber._due_at = 0
    done = observe.SCRUB_FILES._value.get()
    scrubber._go_on()
    assert observe.SCRUB_FILES._value.get() == done


async def test_a_pass_is_done_in_slices(room, make, monkeypatch):
    for _ in range(5):
        await put(room, part10(a_data_set()))
    monkeypatch.setattr(scrubber_module, "SLICE_SECONDS", 0)
    scrubber = make(every_days=1)
    scrubber._go_on()
    room.clock.time += 2 * DAY_SECONDS
    scrubber._due_at = 0
    scrubber._go_on()  # no time for even one: nothing is lost by that
    assert scrubber._scrub.progress().is_under_way
    monkeypatch.setattr(scrubber_module, "SLICE_SECONDS", 60)
    scrubber._go_on()
    assert scrubber._scrub.progress().instances == 5
    assert not scrubber._scrub.progress().is_under_way


async def test_a_server_that_stops_does_not_wait_for_a_slow_file(room, make):
    await put(room, part10(a_data_set(rows=400, columns=400)))
    scrubber = make(every_days=1, rate=1000)  # five minutes
    scrubber._go_on()
    room.clock.time += 2 * DAY_SECONDS
    scrubber._due_at = 0
    scrubber.start()
    until(lambda: scrubber._scrub.progress().is_under_way)
    began = time.monotonic()
    scrubber.stop()
    assert time.monotonic() - began < 5


async def test_an_index_that_is_away_is_said_and_borne(room, make, monkeypatch, caplog):
    def gone(*_):
        raise Unavailable("the index does not answer")

    scrubber = make()
    with monkeypatch.context() as patched:
        patched.setattr(room.index.integrity, "marked", gone)
        scrubber.start()
        until(lambda: "looking after the files failed" in caplog.text)
    uid = await put(room, part10(a_data_set()))
    path_of(room, uid).unlink()
    with pytest.raises(Damaged):
        await ask(room, uid)
    until(lambda: room.index.statistics().damaged)
