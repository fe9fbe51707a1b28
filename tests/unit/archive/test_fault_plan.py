"""One ingest, and every single call it makes to the disk failing once, or from then on.

Whichever it is: what was acknowledged is there, what the index names can be read, nothing
else is left, and a restart heals. FILMROOM_FAULTS=all fails each call in more ways.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from fault_plan import FILE_CALLS, INDEX_CALLS, Fault, FaultyDisk, faulty_disk
from filmroom import storeroom
from filmroom.archive.errors import ArchiveError, Unavailable
from filmroom.archive.records import Origin, Outcome, Stored
from filmroom.blobs import spool
from filmroom.config import Settings
from instances import a_data_set, data_set_bytes, part10

ALL = os.environ.get("FILMROOM_FAULTS") == "all"
KINDS = [(errno.EIO, False), (errno.ENOSPC, False), (errno.EIO, True), (errno.ENOSPC, True)]
NAMED = (False, True) if ALL else (False,)  # staged files have a name, as on some file systems
PATIENCE_SECONDS = 30
SENDER = Origin("dimse", "MODALITY", "127.0.0.1", "FILMROOM")
DOORS = {"min_free_bytes": 0}


@pytest.fixture(scope="module")
def content():
    """Data sets by name; a2 has the UID of a1, b1 and b2 are of one series."""
    series = {"StudyInstanceUID": "1.2.840.1", "SeriesInstanceUID": "1.2.840.1.1"}
    data_sets = {
        "a1": a_data_set(SOPInstanceUID="1.2.840.9", **series),
        "a2": a_data_set(SOPInstanceUID="1.2.840.9", PatientComments="other", **series),
        "b1": a_data_set(rows=200, columns=200, **series),
        "b2": a_data_set(**series),
        "c": a_data_set(),
        "later": a_data_set(),
        "at last": a_data_set(),
    }
    return {name: data_set_bytes(part10(ds)) for name, ds in data_sets.items()}


@pytest.fixture(scope="module")
def fresh():
    """A folder that needs no disk, with an index made, to copy from."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        room = open_room(Path(name) / "fresh")
        room.close()
        yield Path(name) / "fresh"


def open_room(data):
    room = storeroom.Storeroom(Settings.model_validate({"data": str(data), "archive": DOORS}))
    room.open()
    return room


async def store(room, data_set):
    """The answer: Stored, or the error we were told. Anything else is a failure of the test."""
    intake = None
    try:
        intake = room.archive.ingest.open(SENDER, "1.2.840.10008.1.2.1")
        for at in range(0, len(data_set), 30_000):
            intake.write(data_set[at : at + 30_000])
        return await asyncio.wait_for(intake.commit(), PATIENCE_SECONDS)
    except ArchiveError as error:
        if intake is not None:
            intake.abandon()
        return error


async def one_ingest(room, content):
    """name -> answer: a new one, several at once, the same again, other bytes, another study."""
    answers = {"a1": await store(room, content["a1"])}
    at_once = ("b1", "b2", "b1")
    for name, answer in zip(
        at_once, await asyncio.gather(*(store(room, content[n]) for n in at_once)), strict=True
    ):
        if not isinstance(answers.get(name), Stored):
            answers[name] = answer
    again = await store(room, content["a1"])
    if isinstance(again, Stored):
        answers["a1"] = again
    answers["a2"] = await store(room, content["a2"])
    answers["c"] = await store(room, content["c"])
    return answers


class Check:
    """Compares what was answered with what is there."""

    def __init__(self, content):
        self.content = content
        self.acknowledged = set()

    def answered(self, answers):
        for name, answer in answers.items():
            assert isinstance(answer, Stored | Unavailable), (name, answer)
            if isinstance(answer, Stored) and answer.outcome is not Outcome.KEPT_FIRST:
                self.acknowledged.add(name)

    def all_is_held(self, room):
        """All acknowledged is there, and every row has its bytes, whole."""
        found = set()
        for key in room.index.keys():  # noqa: SIM118 - it is no dict
            with closing(room.blobs.open(key)) as file:
                found.add(data_set_bytes(file.read(0, file.size)))
        assert found <= set(self.content.values())
        assert {self.content[name] for name in self.acknowledged} <= found

    def nothing_else_is_left(self, room):
        data = room.settings.data
        assert sorted(room.blobs.keys()) == sorted(room.index.keys())
        assert os.listdir(data / "tmp") == []


def run(fresh, content, monkeypatch, fault=None, *, named=False) -> FaultyDisk:
    """One ingest on a new folder with this fault, everything checked."""
    data = fresh.with_name("room")
    shutil.copytree(fresh, data)
    try:
        with monkeypatch.context() as patched:
            if named:
                patched.setattr(spool, "_has_unnamed_files", lambda folder: False)
            return run_in(data, content, monkeypatch, fault)
    finally:
        for each in ("room", "crashed"):
            shutil.rmtree(fresh.with_name(each), ignore_errors=True)


def run_in(data, content, monkeypatch, fault) -> FaultyDisk:
    check = Check(content)
    with faulty_disk(monkeypatch) as disk:
        room = open_room(data)
        disk.fault, disk.counting = fault, True
        check.answered(asyncio.run(one_ingest(room, content)))
        assert list((data / "tmp").iterdir()) == [] or "unlink" in str(fault)
        disk.counting = disk.fault is not None and disk.fault.lasting
        later = asyncio.run(store(room, content["later"]))
        check.answered({"later": later})
        if disk.has_failed and fault.is_a_failed_sync:
            assert isinstance(later, Unavailable), "after a sync that failed it must not go on"
        elif not disk.counting and not (fault and fault.call == "open"):  # perhaps for a sync
            assert isinstance(later, Stored), f"it should have gone on: {later.detail}"
        disk.counting = False
        check.all_is_held(room)
        disk.counting = disk.fault is not None and disk.fault.lasting
        crashed = shutil.copytree(data, data.with_name("crashed"))
        room.close()
    for each in (crashed, data):
        restart(each, check)
    return disk


def restart(data, check):
    """On a disk that works."""
    room = open_room(data)
    check.all_is_held(room)
    assert isinstance(asyncio.run(store(room, check.content["at last"])), Stored)
    check.all_is_held(room)
    check.nothing_else_is_left(room)
    room.close()
    assert not (data / "running").exists()
    shutil.rmtree(data)


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("call", FILE_CALLS + INDEX_CALLS)
@pytest.mark.crash
@pytest.mark.timeout(1800)
def test_whichever_call_fails_what_was_acknowledged_is_held(
    fresh, content, monkeypatch, call, named
):
    calls = run(fresh, content, monkeypatch, named=named).calls[call]
    assert calls or (call == "unlink" and not named), "it is never called: that is no fault plan"
    failed = 0
    for number in range(1, calls + 1):
        for error, lasting in KINDS if ALL else [KINDS[number % 3]]:
            fault = Fault(call, number, error, lasting)
            try:
                disk = run(fresh, content, monkeypatch, fault, named=named)
            except BaseException as reason:
                reason.add_note(f"when {fault} of {calls} failed")
                raise
            failed += disk.has_failed
    assert failed >= calls // 2, "hardly any fault was met"  # files are opened ahead when idle
    print(f"{call}: {calls} calls, {failed} faults")
