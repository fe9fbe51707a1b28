"""Hostile frames through a real pool of workers: each has its outcome, and no worker is lost.

Figures are printed (`pytest -s`).
"""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from filmroom.pixel import syntaxes as ts
from filmroom.pixel.calling import Limits
from filmroom.pixel.errors import PixelError, WorkerLost
from filmroom.pixel.pool import Pool
from filmroom.pixel.transcode import transcode_frame
from hostile_codestreams import REFUSED, Hostile, hostile, sound

MIB = 1 << 20
MOST_MEMORY = 1024 * MIB  # address space of a worker beyond its libraries
MOST_RESIDENT = 450 * MIB  # the largest frames here take 64 MB decoded
MOST_SECONDS = 10.0  # of processor time, on whatever machine this is


@dataclass
class Told:
    """What became of one frame."""

    case: Hostile
    answer: str
    seconds: float
    resident: int


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024


def _worked(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.fixture(scope="module")
def told() -> list[Told]:
    pool = Pool(1, Limits(memory_bytes=MOST_MEMORY, cpu_seconds=20, wall_seconds=120))
    asyncio.run(pool.run(len, b""))
    found = []
    began = time.monotonic()
    try:
        for case in hostile():
            found.append(_try(pool, case))
    finally:
        pool.close()
    _print(found, time.monotonic() - began)
    return found


def _try(pool: Pool, case: Hostile) -> Told:
    (worker,) = pool._workers
    pid = worker._process.pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = _worked(pid)
    try:
        asyncio.run(pool.run(transcode_frame, case.coded, case.syntax, ts.EXPLICIT_LE, case.shape))
        answer = "decoded"
    except WorkerLost as error:
        asyncio.run(pool.run(len, b""))
        return Told(case, f"lost: {error.message}", 0.0, 0)
    except PixelError as error:
        answer = f"refused: {error.message}"
    return Told(case, answer, _worked(pid) - before, _status(pid, "VmHWM"))


def _print(found: list[Told], seconds: float) -> None:
    counted = Counter(one.answer.partition(":")[0] for one in found)
    longest = max(found, key=lambda one: one.seconds)
    fattest = max(found, key=lambda one: one.resident)
    print(f"\n{len(found)} frames in {seconds:.0f} s: {dict(counted)}")
    print(f"longest {longest.seconds:.2f} s of processor time: {longest.case.name}")
    print(f"most resident {fattest.resident / MIB:.0f} MiB: {fattest.case.name}")


def test_no_frame_kills_a_worker(told):
    assert [one.case.name for one in told if one.answer.startswith("lost")] == []


def test_what_must_be_refused_is_refused(told):
    wrong = [one for one in told if one.case.outcome == REFUSED and one.answer == "decoded"]
    assert [one.case.name for one in wrong] == []
    assert sum(one.answer.startswith("refused") for one in told) > 1000


def test_errors_name_no_path_and_no_code(told):
    leaks = re.compile(r"/|\.py|Traceback|0x|cannot be processed", re.IGNORECASE)
    assert [one.answer for one in told if leaks.search(one.answer)] == []


def test_no_frame_takes_more_time_or_memory_than_an_honest_one_of_its_size(told):
    slow = [(one.case.name, one.seconds) for one in told if one.seconds > MOST_SECONDS]
    fat = [(one.case.name, one.resident) for one in told if one.resident > MOST_RESIDENT]
    assert (slow, fat) == ([], [])


def test_the_frames_are_sound_before_they_are_damaged():
    for syntax, coded, shape in sound():
        assert len(transcode_frame(coded, syntax, ts.EXPLICIT_LE, shape)) == shape.decoded_bytes
