"""pixel.pool: where no worker can be had, who waits is told so, and nothing worse."""

import asyncio
import errno
import os
import threading
import time

import pytest

from filmroom.pixel import pool as pools
from filmroom.pixel.errors import NoWorker, WorkerLost
from filmroom.pixel.pool import Limits, Pool


@pytest.fixture
def make_pool():
    made = []

    def make(*arguments):
        made.append(Pool(*arguments))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


class Starts:
    """In the place of Worker: so many of them start, the next do not, as where memory ends."""

    def __init__(self, monkeypatch, left):
        self.left = left
        self.failed = 0
        self._worker = pools.Worker
        monkeypatch.setattr(pools, "Worker", self)

    def __call__(self, limits):
        if not self.left:
            self.failed += 1
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.left -= 1
        return self._worker(limits)


async def test_where_no_worker_starts_all_who_wait_are_told(make_pool, monkeypatch):
    pool = make_pool(2)
    with monkeypatch.context() as patched:
        Starts(patched, 0)
        tasks = [asyncio.ensure_future(pool.run(len, b"abc")) for _ in range(6)]
        await asyncio.wait(tasks, timeout=10)
        assert all(isinstance(task.exception(), NoWorker) for task in tasks)
    assert await pool.run(len, b"abc") == 3  # and later is another day


async def test_while_one_worker_lives_nobody_is_sent_away(make_pool, monkeypatch):
    pool = make_pool(3)
    starts = Starts(monkeypatch, 1)
    tasks = [asyncio.ensure_future(pool.run(len, b"abc")) for _ in range(9)]
    assert await asyncio.wait_for(asyncio.gather(*tasks), 30) == [3] * 9
    assert starts.failed


async def test_what_a_closed_pool_drops_is_not_said_of_the_image(make_pool):
    pool = make_pool(1, Limits(wall_seconds=60))
    await pool.run(os.getpid)
    tasks = [asyncio.ensure_future(pool.run(time.sleep, 60)) for _ in range(2)]
    await asyncio.sleep(0.1)
    pool.close()
    await asyncio.wait(tasks, timeout=10)
    assert all(isinstance(task.exception(), NoWorker) for task in tasks)
    with pytest.raises(NoWorker):
        await pool.run(len, b"abc")


def _without_threads(patched):
    """As where the system has no more threads; for those of pools only."""
    start = threading.Thread.start

    def refused(thread):
        if thread.name == "pixel-start":
            raise RuntimeError("can't start new thread")
        start(thread)

    patched.setattr(threading.Thread, "start", refused)


async def test_where_no_thread_starts_who_asks_is_told_and_keeps_no_file(
    make_pool, monkeypatch, tmp_path
):
    (tmp_path / "file").write_bytes(b"0123456789")
    pool = make_pool(2)
    with (tmp_path / "file").open("rb") as file:
        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patched:
            _without_threads(patched)
            with pytest.raises(NoWorker):
                await asyncio.wait_for(pool.run_on(file.fileno(), os.pread, 4, 3), 10)
        assert pool.hired == 0
        assert len(os.listdir("/proc/self/fd")) == before
        read = pool.run_on(file.fileno(), os.pread, 4, 3)
        assert await asyncio.wait_for(read, 30) == b"3456"


async def test_a_worker_that_dies_where_no_thread_starts_is_replaced_later(make_pool, monkeypatch):
    pool = make_pool(1)
    await pool.run(os.getpid)
    with monkeypatch.context() as patched:
        _without_threads(patched)
        with pytest.raises(WorkerLost):
            await pool.run(os.abort)
        await asyncio.sleep(0.1)
        assert pool.hired == 0
    assert await asyncio.wait_for(pool.run(len, b"abc"), 30) == 3
