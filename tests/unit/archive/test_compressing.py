"""workflow/compressing.py: rules, their age, hours and sources; cut off and gone on with."""

from __future__ import annotations

import asyncio
import errno
import time
from datetime import time as day_time

import pytest

from filmroom.archive.access import SYSTEM
from filmroom.archive.errors import Unavailable
from filmroom.archive.jobs import State
from filmroom.archive.records import Origin
from filmroom.archive.reindex import reindex
from filmroom.archive.shrinking import COMPRESS, Hours, Rule, Terms, compress_job
from filmroom.blobs.filesystem import LocalFile
from filmroom.workflow import compressing
from filmroom.workflow.compressing import Compressing
from filmroom.workflow.worker import Hopeless, Task
from instances import a_smooth_image, part10

HTJ2K = "1.2.840.10008.1.2.4.202"
DAY = 86_400.0
RULE = Rule(HTJ2K)


class InlinePool:
    """In the place of worker processes."""

    def __init__(self, workers, limits):
        self.workers = workers

    async def run(self, function, /, *args, **kwargs):
        return function(*args, **kwargs)

    def close(self):
        pass


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    monkeypatch.setattr(compressing, "Pool", InlinePool)
    monkeypatch.setattr("filmroom.pixel.lowly.LOWEST", -100)  # not this process


async def stored(room, *, source="SCANNER", **more):
    intake = room.archive.ingest.open_file(Origin("dimse", source))
    intake.write(part10(a_smooth_image(**more)))
    return (await intake.commit()).sop_instance_uid


def compressor(room, *rules, **more):
    terms = Terms(RULE, rules, **more)
    return Compressing(room.index, room.blobs, room.retriever, room.clock, terms)


def feed(work):
    """As if the last look was long ago."""
    work._look_at = 0.0
    work.feed()


def taken(room, work):
    """The job that is waiting, in our hands; None when there is none."""
    job = room.index.jobs.take("us", [COMPRESS], 60)
    return None if job is None else Task(job, dict(job.progress))


async def worked(room, work):
    """Feed, and do what there is to do; what came of it."""
    await asyncio.to_thread(feed, work)
    task = taken(room, work)
    if task is None:
        return None
    await work(task)
    room.index.jobs.finish(task.job, task.progress)
    return task.progress


async def syntax_of(room, uid):
    room.retriever.forget(uid)
    handle = await room.retriever.instance(SYSTEM, None, None, uid)
    return handle.location.transfer_syntax_uid


async def is_smaller(room, uid):
    return await syntax_of(room, uid) == HTJ2K


async def test_without_rules_nothing_is_touched(room):
    uid = await stored(room)
    assert await worked(room, compressor(room)) is None
    assert not await is_smaller(room, uid)


async def test_a_rule_does_what_fits_and_is_asked_again_only_when_something_came(room):
    work = compressor(room, Rule(HTJ2K, modalities=("CT",), sources=("SCANNER",)), at_once=2)
    uids = [await stored(room) for _ in range(5)]
    others = [await stored(room, Modality="MR"), await stored(room, source="OTHER")]
    progress = await worked(room, work)
    assert (progress["looked_at"], progress["done"], progress["left_alone"]) == (7, 5, {})
    assert progress["bytes_after"] < progress["bytes_before"]
    assert all([await is_smaller(room, uid) for uid in uids])
    assert not any([await is_smaller(room, uid) for uid in others])
    assert await worked(room, work) is None
    uids.append(await stored(room))
    assert (await worked(room, work))["looked_at"] == 1
    assert await is_smaller(room, uids[-1])
    fresh = compressor(room, Rule(HTJ2K, modalities=("MR",)))
    assert (await worked(room, fresh))["done"] == 1, "another rule begins at the beginning"


async def test_a_rule_waits_until_what_came_is_old_enough(room):
    work = compressor(room, Rule(HTJ2K, older_than_seconds=DAY))
    first = await stored(room)
    assert await worked(room, work) is None
    room.clock.time += DAY + 1
    second = await stored(room)
    assert (await worked(room, work))["done"] == 1
    assert (await is_smaller(room, first), await is_smaller(room, second)) == (True, False)
    room.clock.time += DAY + 1
    assert (await worked(room, work))["done"] == 1
    assert await is_smaller(room, second)


async def test_one_job_is_asked_for_and_no_more(room):
    await stored(room)
    work = compressor(room, RULE)
    for _ in range(3):
        await asyncio.to_thread(feed, work)
    assert room.index.jobs.counts()[State.WAITING] == 1
    taken(room, work)
    await asyncio.to_thread(feed, work)
    assert room.index.jobs.counts()[State.WAITING] == 0, "it is running"


async def test_a_job_that_was_cut_off_goes_on_behind_what_was_done(room):
    uids = [await stored(room) for _ in range(6)]
    work = compressor(room, RULE)
    await asyncio.to_thread(feed, work)
    task = taken(room, work)
    swap = work.swapper.swap

    def third_is_the_last(handle, received_at, made):
        task.is_over = task.progress["done"] >= 2
        return swap(handle, received_at, made)

    work.swapper.swap = third_is_the_last
    await work(task)
    assert sum([await is_smaller(room, uid) for uid in uids]) == 3
    work.swapper.swap = swap
    again = Task(task.job, dict(task.progress))
    await work(again)
    assert again.progress["done"] == 6
    assert all([await is_smaller(room, uid) for uid in uids])
    assert room.index.smaller.savings().instances == 6


async def test_what_is_left_alone_is_told_and_not_tried_again_by_rules(room):
    await stored(room, HighBit=15)
    work = compressor(room, RULE)
    why = "it would not come back the same"
    assert (await worked(room, work))["left_alone"] == {why: 1}
    assert room.index.smaller.savings().left_alone == {why: 1}
    other = compressor(room, Rule(HTJ2K, larger_than_bytes=1))
    assert (await worked(room, other))["left_alone"] == {}


async def test_a_damaged_file_is_told_to_who_looks_after_them_and_stays(room):
    await stored(room)
    [path] = room.files()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    suspects = []
    room.retriever.suspect = lambda handle, detail: suspects.append(handle.sop_instance_uid)
    assert (await worked(room, compressor(room, RULE)))["done"] == 0
    assert len(suspects) == 1
    assert room.files() == [path]


def unreadable(monkeypatch, number):
    def read(self, offset, length):
        raise Unavailable("it cannot be read") from OSError(number, "no")

    monkeypatch.setattr(LocalFile, "read", read)


def suspects_of(room):
    suspects = []
    room.retriever.suspect = lambda handle, detail: suspects.append(handle.sop_instance_uid)
    return suspects


@pytest.mark.parametrize("rule", [RULE, Rule(HTJ2K, sources=("SCANNER",))])
async def test_a_file_that_the_disk_does_not_give_is_told_and_the_job_goes_on(
    room, monkeypatch, rule
):
    uids = [await stored(room) for _ in range(2)]
    suspects = suspects_of(room)
    unreadable(monkeypatch, errno.EIO)
    assert (await worked(room, compressor(room, rule)))["looked_at"] == 2
    assert suspects == uids


@pytest.mark.parametrize("rule", [RULE, Rule(HTJ2K, sources=("SCANNER",))])
async def test_what_keeps_the_disk_from_giving_a_file_for_now_is_said_of_no_file(
    room, monkeypatch, rule
):
    await stored(room)
    suspects = suspects_of(room)
    unreadable(monkeypatch, errno.ESTALE)
    with pytest.raises(Unavailable):
        await worked(room, compressor(room, rule))
    assert suspects == []


@pytest.mark.parametrize("rule", [RULE, Rule(HTJ2K, sources=("SCANNER",))])
async def test_a_rotten_file_meta_information_is_told_and_the_job_goes_on(room, rule):
    uid = await stored(room)
    [path] = room.files()
    content = bytearray(path.read_bytes())
    content[128:132] = b"XXXX"
    path.write_bytes(content)
    other = await stored(room)
    suspects = suspects_of(room)
    assert (await worked(room, compressor(room, rule)))["done"] == 1
    assert suspects == [uid]
    assert await is_smaller(room, other)


async def test_a_job_that_waits_for_its_rate_ends_when_it_is_over(room, monkeypatch):
    monkeypatch.setattr(compressing, "REST_SECONDS", 0.01)
    uid = await stored(room)
    slow = compressor(room, RULE, rate_bytes=1.0)
    await asyncio.to_thread(feed, slow)
    task = taken(room, slow)
    doing = asyncio.ensure_future(slow(task))
    await asyncio.sleep(0.2)
    assert not doing.done()
    task.is_over = True
    await asyncio.wait_for(doing, 10)
    assert not await is_smaller(room, uid)
    again = Task(task.job, dict(task.progress))
    await compressor(room, RULE)(again)
    assert await is_smaller(room, uid), "it was not passed over"


async def test_an_index_made_anew_knows_when_it_came(room):
    room.clock.time += 123.5
    came_at = room.clock.time
    uid = await stored(room)
    [old] = room.files()
    room.clock.time += 5 * DAY
    assert (await worked(room, compressor(room, RULE)))["done"] == 1
    old.unlink()
    reindex(room.index, room.blobs)
    [candidate] = room.index.smaller.candidates(0, 10)
    assert (candidate.handle.sop_instance_uid, candidate.received_at) == (uid, came_at)


async def test_by_hand_a_study_is_done_whatever_the_rules_and_undone_for_good(room):
    uid = await stored(room, StudyInstanceUID="1.2.3")
    work = compressor(room, hours=Hours(day_time(0, 0), day_time(0, 1)))
    room.index.jobs.put([compress_job("1.2.3")])
    assert (await worked(room, work))["done"] == 1
    room.index.jobs.put([compress_job("1.2.3", undo=True)])
    assert (await worked(room, work))["undone"] == 1
    assert not await is_smaller(room, uid)
    assert (await worked(room, compressor(room, RULE)))["done"] == 0
    room.index.jobs.put([compress_job("1.2.3")])
    assert (await worked(room, work))["done"] == 1
    assert room.index.smaller.savings().left_alone == {}
    room.index.jobs.put([compress_job("1.2.4")])
    with pytest.raises(Hopeless, match="no such study"):
        await worked(room, work)


@pytest.mark.parametrize(
    ("hours", "at", "holds"),
    [
        ((22, 6), 23, True),
        ((22, 6), 5, True),
        ((22, 6), 6, False),
        ((22, 6), 21, False),
        ((1, 5), 1, True),
        ((1, 5), 5, False),
    ],
)
def test_hours_may_go_over_midnight(hours, at, holds):
    begin, end = (day_time(hour) for hour in hours)
    instant = time.mktime((2026, 1, 2, at, 0, 0, 0, 0, -1))
    assert Hours(begin, end).hold(instant) is holds


async def test_rules_are_not_followed_outside_their_hours(room):
    await stored(room)
    now = time.localtime(room.clock.time).tm_hour
    begin = day_time((now + 1) % 24)
    work = compressor(room, RULE, hours=Hours(begin, day_time((now + 2) % 24)))
    assert await worked(room, work) is None
    room.clock.time += 3600
    assert (await worked(room, work))["done"] == 1
