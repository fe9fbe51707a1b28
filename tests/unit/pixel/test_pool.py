"""pixel.pool: workers die alone, loops do not matter, limits hold."""

import asyncio
import io
import os
import pickle
import threading
import time

import pytest

from filmroom.pixel import calling
from filmroom.pixel import pool as pools
from filmroom.pixel.codecs import decode_frame
from filmroom.pixel.errors import Busy, PixelError, TooLarge, Undecodable, WorkerLost
from filmroom.pixel.pool import Limits, Pool
from filmroom.pixel.shape import ImageShape
from filmroom.pixel.worker import ANSWER, PICKLED, PLAIN_BYTES

ODD = pickle.dumps((True, 1))[:-1] + b"\x94h\xff."  # a memo that was never written


@pytest.fixture(scope="module")
def pool():
    made = Pool(1, Limits(memory_bytes=1 << 30, cpu_seconds=2, wall_seconds=8, waiting=32))
    yield made
    made.close()


async def test_a_worker_is_another_process_and_lives_on(pool):
    first, second = await pool.run(os.getpid), await pool.run(os.getpid)
    assert first == second != os.getpid()


async def test_a_killed_worker_loses_its_task_only(pool):
    before = await pool.run(os.getpid)
    with pytest.raises(WorkerLost):
        await pool.run(os.abort)
    after = await pool.run(os.getpid)
    assert after != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


async def test_a_task_that_sleeps_too_long_is_killed():
    pool = Pool(1, Limits(wall_seconds=1.0))
    await pool.run(os.getpid)
    began = time.monotonic()
    with pytest.raises(WorkerLost, match="longer than 1 s"):
        await pool.run(time.sleep, 60)
    assert time.monotonic() - began < 10
    assert await pool.run(len, b"abc") == 3
    pool.close()


async def test_a_task_that_burns_too_much_cpu_is_killed(pool):
    with pytest.raises(WorkerLost):
        await pool.run(pow, 3, 3**22)
    assert await pool.run(len, b"abc") == 3


async def test_what_a_decoder_prints_comes_into_nobodys_log(capfd):
    pool = Pool(1)
    await pool.run(os.write, 2, b"libjpeg: a warning\n" * 1000)
    await pool.run(os.write, 1, b"\x1b[31m")
    await pool.run(print, "or Python itself")
    pool.close()
    assert capfd.readouterr() == ("", "")


async def test_a_task_that_wants_too_much_memory_is_refused(pool):
    with pytest.raises(TooLarge):
        await pool.run(bytes, 1 << 33)
    assert await pool.run(len, b"abc") == 3


async def test_pixel_errors_come_back_as_themselves(pool):
    with pytest.raises(Undecodable, match="are needed"):
        await pool.run(decode_frame, b"", "1.2.840.10008.1.2.1", ImageShape(8, 8))


async def test_other_errors_come_back_without_their_secrets(pool):
    with pytest.raises(PixelError) as caught:
        await pool.run(open, "/no/such/path")
    assert "/no" not in caught.value.message


def test_one_pool_serves_several_loops(pool):
    async def work():
        return await asyncio.gather(*(pool.run(len, b"x" * n) for n in range(5)))

    results = []
    threads = [
        threading.Thread(target=lambda: results.append(asyncio.run(work()))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0, 1, 2, 3, 4]] * 3


async def test_a_full_queue_says_so():
    pool = Pool(1, Limits(waiting=4))
    await pool.run(os.getpid)
    running = [asyncio.ensure_future(pool.run(time.sleep, 0.3)) for _ in range(5)]
    await asyncio.sleep(0)  # the first is in the worker's hands now
    with pytest.raises(Busy):
        await pool.run(time.sleep, 0.01)
    for future in running[1:]:
        future.cancel()
    await asyncio.wait(running)
    pool.close()


async def test_a_task_cancelled_while_it_waits_is_never_begun(pool, tmp_path):
    await pool.run(os.getpid)
    first = asyncio.ensure_future(pool.run(time.sleep, 0.3))
    second = asyncio.ensure_future(pool.run(os.mkdir, str(tmp_path / "made")))
    await asyncio.sleep(0.05)
    second.cancel()
    await first
    assert await pool.run(len, b"") == 0
    assert not (tmp_path / "made").exists()


async def test_a_closed_pool_takes_nothing():
    pool = Pool(1)
    pool.close()
    with pytest.raises(WorkerLost):
        await pool.run(len, b"")


def test_an_answer_is_only_plain_values():
    for hostile in (os.system, pools.Pool):
        with pytest.raises(pickle.UnpicklingError):
            calling.Plain(io.BytesIO(pickle.dumps(hostile))).load()
    error = calling.Plain(io.BytesIO(pickle.dumps(TooLarge("x")))).load()
    assert isinstance(error, TooLarge)


async def test_many_workers_share_the_work():
    pool = Pool(2)
    pool.warm()
    pids = await asyncio.gather(*(pool.run(os.getpid) for _ in range(20)))
    await asyncio.gather(*(pool.run(time.sleep, 0.05) for _ in range(4)))
    assert 1 <= len(set(pids)) <= 2
    pool.close()


async def test_one_worker_is_kept_warm_and_the_first_picture_brings_the_others():
    pool = Pool(3)
    pool.warm()
    assert pool.hired == 1
    await pool.run(os.getpid)
    assert pool.hired == 3
    pool.close()


async def test_there_are_never_more_workers_than_may_be():
    pool = Pool(2)
    for _ in range(3):
        pids = await asyncio.gather(*(pool.run(os.getpid) for _ in range(40)))
        assert len(set(pids)) <= 2
        assert pool.hired <= 2
    pool.close()


async def test_closing_does_not_wait_for_a_long_task():
    pool = Pool(1)
    assert await pool.run(len, b"") == 0
    tasks = [asyncio.ensure_future(pool.run(*work)) for work in ((time.sleep, 60), (len, b""))]
    await asyncio.sleep(0)
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 10
    for task in tasks:
        with pytest.raises(WorkerLost):
            await asyncio.wait_for(task, 5)


async def test_large_requests_and_answers_come_whole_and_the_loop_goes_on(pool):
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turn())
    content = os.urandom(1 << 20) * 24
    assert await pool.run(bytes, content) == content  # as it is
    assert await pool.run(tuple, [content, 7]) == (content, 7)  # in something
    assert await pool.run(bytes) == b""
    turning.cancel()
    assert turns > 20


async def test_a_worker_whose_loop_is_gone_is_replaced():
    pool = Pool(1, Limits(wall_seconds=60))
    await pool.run(os.getpid)

    async def leave():
        task = asyncio.ensure_future(pool.run(time.sleep, 60))
        await asyncio.sleep(0)
        task.cancel()

    await asyncio.to_thread(asyncio.run, leave())
    assert await asyncio.wait_for(pool.run(len, b"abc"), 10) == 3
    pool.close()


async def test_what_waits_is_bounded_in_bytes_too():
    pool = Pool(1, Limits(waiting_bytes=1000))
    await pool.run(os.getpid)
    busy = asyncio.ensure_future(pool.run(time.sleep, 0.5))
    await asyncio.sleep(0.1)
    first = asyncio.ensure_future(pool.run(len, bytes(5000)))  # alone, any size may wait
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await pool.run(len, bytes(900))
    assert await first == 5000
    await busy
    assert await pool.run(len, bytes(900)) == 900
    pool.close()


async def test_a_worker_that_stops_in_the_middle_of_its_answer_is_replaced():
    pool = Pool(1, Limits(wall_seconds=1.0))
    with pytest.raises(WorkerLost, match="longer than 1 s"):
        await pool.run(
            exec, _that_writes(ANSWER.pack(100, PLAIN_BYTES) + b"abc") + "time.sleep(60)"
        )
    assert await pool.run(len, b"abc") == 3
    pool.close()


@pytest.mark.parametrize(
    "written",
    [
        b"\1",  # not even a head
        ANSWER.pack(1 << 62, PLAIN_BYTES) + b"abc",  # a length that cannot be
        ANSWER.pack(1, PLAIN_BYTES) + b"abc",  # more than was said
        ANSWER.pack(len(ODD), PICKLED) + ODD,
        ANSWER.pack(3, 77) + b"abc",
    ],
    ids=["short", "endless", "more", "odd", "unknown"],
)
async def test_whatever_a_worker_answers_others_take_its_place(written):
    pool = Pool(1)
    with pytest.raises(WorkerLost):
        await pool.run(exec, _that_writes(written))
    assert await pool.run(len, b"abc") == 3
    pool.close()


def _that_writes(answer):
    return f"import os, sys, time; os.write(int(sys.argv[1]), {answer!r}); time.sleep(0.1);"


async def test_workers_do_not_know_our_settings(monkeypatch):
    monkeypatch.setenv("FILMROOM__SECURITY__ADMIN_PASSWORD", "open sesame, please")
    pool = Pool(1)
    assert await pool.run(os.getenv, "FILMROOM__SECURITY__ADMIN_PASSWORD") is None
    pool.close()


def test_an_answer_cannot_reach_what_our_errors_are_made_with():
    for name in (b"__builtins__", b"__loader__", b"__spec__"):
        with pytest.raises(pickle.UnpicklingError):
            calling.Plain(io.BytesIO(b"cfilmroom.pixel.errors\n" + name + b"\n.")).load()


async def test_a_task_may_read_from_a_file_that_never_comes_this_way(pool, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        read = asyncio.ensure_future(pool.run_on(file.fileno(), os.pread, 4, 3))
        await asyncio.sleep(0)
    assert await read == b"3456"  # though it is closed here by now


async def test_files_given_to_workers_are_closed_on_both_sides(pool, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")

    def ours():
        return len(os.listdir("/proc/self/fd"))

    with (tmp_path / "file").open("rb") as file:
        await pool.run_on(file.fileno(), os.pread, 1, 0)
        before, theirs = ours(), len(await pool.run(os.listdir, "/proc/self/fd"))
        for _ in range(20):
            await pool.run_on(file.fileno(), os.pread, 1, 0)
        with pytest.raises(PixelError):
            await pool.run_on(file.fileno(), os.pread, 1, -1)
    assert ours() <= before
    assert len(await pool.run(os.listdir, "/proc/self/fd")) == theirs


async def test_a_worker_cannot_write_to_a_file_it_was_given(pool, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file, pytest.raises(PixelError):
        await pool.run_on(file.fileno(), os.write, b"changed")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


async def test_a_file_is_let_go_when_nobody_wants_the_picture_any_more(pool, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    busy = asyncio.ensure_future(pool.run(time.sleep, 0.3))
    await asyncio.sleep(0.05)
    with (tmp_path / "file").open("rb") as file:
        before = len(os.listdir("/proc/self/fd"))
        waiting = asyncio.ensure_future(pool.run_on(file.fileno(), os.pread, 1, 0))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) == before
    await busy


async def test_a_full_queue_keeps_no_file(tmp_path):
    pool = Pool(1, Limits(waiting=1))
    await pool.run(len, b"")
    (tmp_path / "file").write_bytes(b"0123456789")
    tasks = [asyncio.ensure_future(pool.run(time.sleep, 0.3)) for _ in range(1)]
    await asyncio.sleep(0.1)
    tasks.append(asyncio.ensure_future(pool.run(len, b"")))
    await asyncio.sleep(0)
    with (tmp_path / "file").open("rb") as file:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(Busy):
            await pool.run_on(file.fileno(), os.pread, 1, 0)
        assert len(os.listdir("/proc/self/fd")) == before
    await asyncio.gather(*tasks)
    pool.close()
