"""pixel.pool: what nobody waits for any more takes no place and no memory."""

import asyncio
import os
import threading
import time

from filmroom.pixel import pool as pools
from filmroom.pixel.errors import WorkerLost
from filmroom.pixel.pool import Limits, Pool


async def test_a_cancelled_task_leaves_its_place_to_others():
    pool = Pool(1, Limits(waiting=2, waiting_bytes=3_000_000))
    await pool.run(os.getpid)
    busy = asyncio.ensure_future(pool.run(time.sleep, 0.5))
    await asyncio.sleep(0)
    for _ in range(20):
        left = [asyncio.ensure_future(pool.run(len, b"x" * 1_000_000)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        assert all(task.cancelled() for task in left)
    assert await pool.run(len, b"abc") == 3
    assert busy.done()
    pool.close()


async def test_what_waits_when_the_pool_is_closed_is_told():
    pool = Pool(1)
    await pool.run(os.getpid)
    tasks = [asyncio.ensure_future(pool.run(time.sleep, 0.3)) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.sleep(0)
    pool.close()
    await asyncio.wait(tasks, timeout=5)
    assert isinstance(tasks[1].exception(), WorkerLost)
    assert tasks[2].cancelled()
    assert isinstance(tasks[3].exception(), WorkerLost)


async def test_a_task_nobody_waits_for_any_more_gives_its_worker_back_when_it_is_done():
    pool = Pool(1)
    before = await pool.run(os.getpid)
    left = asyncio.ensure_future(pool.run(time.sleep, 0.2))
    await asyncio.sleep(0)
    left.cancel()
    assert await pool.run(os.getpid) == before
    pool.close()


async def test_who_waits_for_a_worker_whose_loop_is_gone_gets_another(monkeypatch):
    monkeypatch.setattr(pools, "LOOK_SECONDS", 0.2)
    pool = Pool(1, Limits(wall_seconds=60))
    await pool.run(os.getpid)
    begun, end = threading.Event(), threading.Event()

    async def leave():
        task = asyncio.ensure_future(pool.run(time.sleep, 60))
        await asyncio.sleep(0)
        begun.set()
        while not end.is_set():
            await asyncio.sleep(0.01)
        task.cancel()

    leaving = threading.Thread(target=asyncio.run, args=(leave(),))
    leaving.start()
    await asyncio.to_thread(begun.wait, 10)
    waiting = asyncio.ensure_future(pool.run(len, b"abc"))  # and nobody asks after it
    await asyncio.sleep(0.1)
    end.set()
    assert await asyncio.wait_for(waiting, 20) == 3
    leaving.join(10)
    pool.close()


async def test_looking_for_workers_ends_with_the_wait(monkeypatch):
    monkeypatch.setattr(pools, "LOOK_SECONDS", 0.05)
    pool = Pool(1)
    looks = []
    look = Pool._look
    monkeypatch.setattr(Pool, "_look", lambda *args: (looks.append(args), look(*args)))
    await asyncio.gather(pool.run(time.sleep, 0.3), pool.run(time.sleep, 0.1))
    assert looks
    looks.clear()
    await asyncio.sleep(0.3)
    assert not looks
    pool.close()
