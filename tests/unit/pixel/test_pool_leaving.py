"""pixel.pool: what nobody waits for any more takes no place and no memory."""

import asyncio
import os
import time

from filmroom.pixel.errors import WorkerLost
from filmroom.pixel.pool import Limits, Pool


async def test_a_cancelled_task_leaves_its_place_to_others():
    pool = Pool(1, Limits(waiting=2, waiting_bytes=3_000_000))
    await pool.run(os.getpid)
    busy = pool.submit(time.sleep, 0.5)
    await asyncio.sleep(0.1)
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


def test_what_waits_when_the_pool_is_closed_is_told():
    pool = Pool(1)
    pool.submit(os.getpid).result(60)
    pool.submit(time.sleep, 0.3)
    time.sleep(0.1)
    waiting = [pool.submit(len, b"abc") for _ in range(3)]
    waiting[1].cancel()
    pool.close()
    assert isinstance(waiting[0].exception(1), WorkerLost)
    assert waiting[1].cancelled()
    assert isinstance(waiting[2].exception(1), WorkerLost)
