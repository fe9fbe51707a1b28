"""The power fails at any instant: what was acknowledged is on the disk, rows and bytes.

The disk loses what it was not told to flush (powercut_disk.py). Each test of the promise has
its control: the same with syncs that lie, which must show losses, or the test proves nothing.
On PostgreSQL and an object store what is cut off is a node with what is on its way.
A quick form runs wherever root has /dev/fuse and loop devices; FILMROOM_POWER_CUT_ROUNDS asks
for more rounds and demands the disk.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

import peers
from hostile_disk import Fault
from hostile_wire import Peer
from instances import data_set_bytes
from nodes import AE_TITLE, ELSEWHERE, FilmroomProcess, about_files
from powercut_disk import PowercutDisk, powercut_disk
from senders import (
    AS_STORED,
    ASSOCIATIONS,
    Senders,
    held_instances,
    instance_file,
    study_uid,
    templates,
)

ROUNDS = int(os.environ.get("FILMROOM_POWER_CUT_ROUNDS", "3"))
DEMANDED = "FILMROOM_POWER_CUT_ROUNDS" in os.environ
ROUNDS_A_DISK = 8  # then a new one, so that both new and used ones are cut off
CONTROL_ROUNDS = 6  # in which lying syncs have to be found out
ROWS = "SELECT sop_instance_uid FROM instance"
READY_SECONDS = 180  # a hundred rounds will meet a busy moment

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240 + 60 * ROUNDS)]


@dataclass
class Losses:
    """What a round found, by UID."""

    acknowledged: int = 0
    without_row: list[str] = field(default_factory=list)  # in the index as the cut left it
    not_found: list[str] = field(default_factory=list)  # once filmroom has recovered
    unreadable: list[str] = field(default_factory=list)  # found, and not the bytes that were sent

    def __iadd__(self, other: Losses) -> Losses:
        self.acknowledged += other.acknowledged
        self.without_row += other.without_row
        self.not_found += other.not_found
        self.unreadable += other.unreadable
        return self

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {len(self.without_row)} of them without a row, "
            f"{len(self.not_found)} lost, {len(self.unreadable)} bad"
        )


class Hospital:
    """A filmroom whose data folder is a disk that can lose power, and its senders."""

    def __init__(self, folder: Path, disk: PowercutDisk, programs: dict[str, str], **environment):
        self._folder = folder
        self._disk = disk
        self._programs = programs
        self._templates = templates()
        self.sent: dict[str, bytes] = {}
        self._cut = ""
        rights = {"FILMROOM__DIMSE__UNKNOWN_PEERS": '["echo", "store", "query", "retrieve"]'}
        self.node = FilmroomProcess(folder, environment=rights | environment)

    def round(self, number: int, *, at_an_answer: bool) -> Losses:
        """Cut the power amid a crowd of senders, or when one of them hears an answer."""
        store = self._until_an_answer if at_an_answer else self._amid_a_crowd
        acknowledged = store(number, random.Random(number))
        self._disk.restore()
        losses = Losses(len(acknowledged))
        rows = self._rows()
        losses.without_row = [uid for uid in acknowledged if uid not in rows]
        started = time.monotonic()
        self.node.start(ready_seconds=READY_SECONDS)
        seconds = time.monotonic() - started
        assert self.node.temporary_files() == []
        self._compare(acknowledged, number, losses)
        print(f"round {number}: {losses}; {self._cut}; started in {seconds:.1f} s")
        return losses

    def _amid_a_crowd(self, number: int, chance: random.Random) -> list[str]:
        folder = Path(tempfile.mkdtemp(dir=self._folder.parent))
        senders = Senders(self._programs["storescu"], folder, self._templates, number)
        self.sent |= senders.sent
        senders.start(self.node.dimse_port)
        senders.wait_for_an_answer()
        time.sleep(chance.uniform(0, 1.2))
        self._cut_the_power(number)
        return senders.acknowledged()

    def _until_an_answer(self, number: int, chance: random.Random) -> list[str]:
        acknowledged = []
        with Peer(self.node.dimse_port) as peer:
            peer.associate()
            for n in range(chance.randrange(1, 12)):
                uid, file = instance_file(self._templates, number, 0, n)
                self.sent[uid] = data_set_bytes(file)
                assert peer.store(self.sent[uid], uid) == 0
                acknowledged.append(uid)
            self._cut_the_power(number)
        return acknowledged

    def _cut_the_power(self, number: int) -> None:
        """Stopped first, so that nobody is answered between the cut and the end."""
        assert self.node.process is not None
        self.node.process.send_signal(signal.SIGSTOP)
        sectors, kept = self._disk.cut(number)
        self.node.kill()
        self._cut = f"{kept} of {sectors} pending sectors reached the disk"

    def _rows(self) -> set[str]:
        """The UIDs in the index as it lies on the disk; we look at a copy."""
        if ELSEWHERE:  # it has a disk of its own
            with psycopg.connect(self.node.settings["FILMROOM__INDEX__URL"]) as index:
                return {uid for (uid,) in index.execute(ROWS)}
        with tempfile.TemporaryDirectory() as copy:
            for name in ("index.sqlite", "index.sqlite-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(self.node.data / name, copy)
            with contextlib.closing(sqlite3.connect(f"{copy}/index.sqlite")) as index:
                return {uid for (uid,) in index.execute(ROWS)}

    def _compare(self, acknowledged: list[str], number: int, losses: Losses) -> None:
        with self.node.client() as client:
            held = held_instances(client)
            losses.not_found = [uid for uid in acknowledged if uid not in held]
            for uid, url in held.items():
                answer = client.get(url, headers=AS_STORED)
                if answer.status_code != 200 or data_set_bytes(answer.content) != self.sent[uid]:
                    losses.unreadable.append(uid)
        if ELSEWHERE:  # files that are not whole have no row; objects are whole
            assert {blob.stem for blob in self.node.stored()} == held.keys()
        for sender in range(ASSOCIATIONS):
            study = study_uid(number, sender)
            of_study = [uid for uid, url in held.items() if f"/{study}/" in url]
            assert self._counted(study) == len(of_study)

    def _counted(self, study: str) -> int:
        """NumberOfStudyRelatedInstances by C-FIND; 0 when the study is not found."""
        keys = ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}"]
        keys.append("NumberOfStudyRelatedInstances=")
        arguments = [part for key in keys for part in ("-k", key)]
        where = ["-aec", AE_TITLE, "127.0.0.1", self.node.dimse_port]
        done = peers.run(self._programs["findscu"], "-S", *arguments, *where)
        assert done.returncode == 0, done.stdout
        found = re.findall(r"\(0020,1208\) IS \[(\d+)", done.stdout)
        return int(found[-1]) if found else 0


@pytest.fixture
def programs(peer_program):
    return {name: peer_program(name) for name in ("storescu", "findscu")}


@contextlib.contextmanager
def hospital(folder: Path, programs: dict[str, str], **environment) -> Iterator[Hospital]:
    """With a new disk; a started filmroom is on it."""
    with powercut_disk(folder / "data", demanded=DEMANDED) as disk:
        made = Hospital(folder, disk, programs, **environment)
        try:
            made.node.start(ready_seconds=READY_SECONDS)
            yield made
        finally:
            made.node.kill()


def test_a_power_cut_loses_nothing_acknowledged(programs, tmp_path):
    losses = Losses()
    for first in range(0, ROUNDS, ROUNDS_A_DISK):
        folder = tmp_path / f"from-{first}"
        with hospital(folder, programs) as place:
            for number in range(first, min(first + ROUNDS_A_DISK, ROUNDS)):
                losses += place.round(number, at_an_answer=number % 4 == 1)
            assert "Traceback" not in place.node.log.read_text()
    assert losses.acknowledged > 5 * ROUNDS, "hardly anything was stored: the test has no teeth"
    print(f"{ROUNDS} power cuts: {losses}")
    assert (losses.without_row, losses.not_found, losses.unreadable) == ([], [], [])


# What lies, when the power is cut, and where it shows: each is a sync that could be left out by
# mistake. A folder's is the hardest to miss, for the next sync of a file brings it along.
LIES = {
    "files": ("/data/tmp/", False, "unreadable"),
    "folders": ("/data/store", True, "unreadable"),
    "index": ("index.sqlite", False, "without_row"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sync_left_out_is_found_out(programs, tmp_path, lie):
    about_files()
    path, at_an_answer, shows_as = LIES[lie]
    losses = Losses()
    for number in range(CONTROL_ROUNDS):
        folder = tmp_path / f"lie-{number}"
        folder.mkdir()
        fault = Fault(folder)
        with hospital(folder, programs, **fault.environment) as place:
            fault.skip(path)
            losses += place.round(number, at_an_answer=at_an_answer)
        if getattr(losses, shows_as):
            break
    print(f"control, no sync of {lie}: {losses}")
    assert getattr(losses, shows_as), "losses were to be expected: the test has no teeth"
