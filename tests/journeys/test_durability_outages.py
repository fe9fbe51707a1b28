"""Room, database or time run out: what was acknowledged stays, and the rest is refused clearly.

FILMROOM_OUTAGE_SECONDS says how long the database is away; a few seconds unless told.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from dataclasses import dataclass, field

import httpx
import pytest

import hostile_wire as wire
import peers
from hostile_disk import small_disk
from hostile_wire import Peer
from instances import a_data_set, data_set_bytes, part10
from nodes import AE_TITLE, FilmroomProcess
from senders import AS_STORED, Senders, held_instances, templates

OUTAGE_SECONDS = float(os.environ.get("FILMROOM_OUTAGE_SECONDS", "3"))
GRACE_SECONDS = 30
STUDIES = "/dicom-web/studies"
DICOM = {"Content-Type": "application/dicom"}
KEPT_BYTES = 256 << 10  # what a node keeps of objects gives way to what comes
OPEN = {"FILMROOM__DIMSE__UNKNOWN_PEERS": '["echo", "store", "query", "retrieve"]'}

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300 + 4 * OUTAGE_SECONDS)]


@dataclass
class Doors:
    """Stores by C-STORE and STOW-RS, and remembers what was acknowledged."""

    node: FilmroomProcess
    acknowledged: dict[str, bytes] = field(default_factory=dict)

    def store(self, **attributes) -> int:
        """The status of one C-STORE on an association of its own."""
        ds = a_data_set(**attributes)
        content = data_set_bytes(part10(ds))
        with Peer(self.node.dimse_port, timeout=60 + OUTAGE_SECONDS) as peer:
            peer.associate()
            status = peer.store(content, ds.SOPInstanceUID)
        if status == 0:
            self.acknowledged[ds.SOPInstanceUID] = content
        return status

    def stow(self, **attributes) -> httpx.Response:
        ds = a_data_set(**attributes)
        with self.node.client(timeout=60 + OUTAGE_SECONDS) as client:
            answer = client.post(STUDIES, content=part10(ds), headers=DICOM)
        if answer.status_code == 200:
            self.acknowledged[ds.SOPInstanceUID] = data_set_bytes(part10(ds))
        return answer

    def check(self) -> None:
        """All that was acknowledged, and nothing else, is found; its bytes are as sent."""
        with self.node.client() as client:
            held = held_instances(client)
            assert held.keys() == self.acknowledged.keys()
            for uid, url in held.items():
                answer = client.get(url, headers=AS_STORED)
                assert answer.status_code == 200, answer.text
                assert data_set_bytes(answer.content) == self.acknowledged[uid]
        assert {blob.stem for blob in self.node.stored()} == held.keys()
        assert self.node.temporary_files() == []


@pytest.fixture
def doors(tmp_path):
    """A filmroom that is not started yet; anybody may ask it."""
    made = Doors(FilmroomProcess(tmp_path / "room", environment=dict(OPEN)))
    yield made
    made.node.kill()


# -- space (V1-R6) --------------------------------------------------------------------------------
def test_below_the_mark_stores_are_refused_and_everything_else_goes_on(doors, peer_program):
    mark = 24 << 20
    doors.node.environment["FILMROOM__ARCHIVE__MIN_FREE_BYTES"] = str(mark)
    with small_disk(doors.node.data, 64) as disk:
        doors.node.start()
        assert doors.store(PatientID="FIRST") == 0
        filling = disk / "filling"
        with filling.open("wb") as file:
            file.write(bytes(_free(disk) - mark + KEPT_BYTES))
        assert doors.store() == 0xA700
        answer = doors.stow()
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert _free(disk) > mark // 2, "the mark is there so that the disk does not fill up"
        doors.check()  # by QIDO and WADO
        assert _found(doors.node, peer_program("findscu"), "FIRST") == 1
        assert _moved(doors.node, peer_program("getscu"), disk.parent / "got") == 1
        filling.unlink()
        assert doors.store() == 0
        assert doors.stow().status_code == 200
        doors.check()
        doors.node.kill()


def _free(disk) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def _asked(node, program, *arguments):
    done = peers.run(program, *arguments, "-aec", AE_TITLE, "127.0.0.1", node.dimse_port)
    assert done.returncode == 0, done.stdout
    return done.stdout


def _found(node, findscu, patient_id) -> int:
    keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", f"PatientID={patient_id}"]
    return _asked(node, findscu, "-P", *keys).count(f"[{patient_id}")


def _moved(node, getscu, folder) -> int:
    folder.mkdir()
    keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=FIRST"]
    _asked(node, getscu, "-P", "+B", "-od", folder, *keys)
    return len(list(folder.iterdir()))


# -- the database (V1-R23) ------------------------------------------------------------------------
@pytest.fixture
def on_postgres(doors, database):
    doors.node.environment["FILMROOM__INDEX__URL"] = database.database()
    doors.node.start()
    assert doors.store() == 0
    return doors


def test_while_the_database_is_gone_stores_are_refused_and_then_go_on(on_postgres, database):
    doors = on_postgres
    process = doors.node.process
    database.stop()
    try:
        until = time.monotonic() + OUTAGE_SECONDS
        while True:
            assert doors.store() == 0xA700
            answer = doors.stow()
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert wire.echo_seconds(doors.node.dimse_port) < 2
            if time.monotonic() > until:
                break
    finally:
        database.start()
    _until_stored(doors)
    assert doors.stow().status_code == 200
    assert doors.node.process is process
    assert process.poll() is None
    doors.check()
    assert "Traceback" not in doors.node.log.read_text()


def _until_stored(doors) -> None:
    """It notices by itself that the database is back."""
    deadline = time.monotonic() + 30
    while doors.store() != 0:
        assert time.monotonic() < deadline, "it never noticed that the database was back"
        time.sleep(0.2)


def test_while_the_database_hangs_nothing_is_acknowledged_and_then_it_goes_on(
    on_postgres, database
):
    doors = on_postgres
    ds = a_data_set()
    content = data_set_bytes(part10(ds))
    with Peer(doors.node.dimse_port, timeout=OUTAGE_SECONDS) as peer:
        peer.associate()
        database.hang()
        try:
            with contextlib.suppress(TimeoutError):  # it may be refused, or wait
                assert peer.store(content, ds.SOPInstanceUID) == 0xA700
            assert wire.echo_seconds(doors.node.dimse_port) < 2
        finally:
            database.go_on()
    _until_stored(doors)
    with doors.node.client() as client:
        if ds.SOPInstanceUID in held_instances(client):  # filed, though nobody waited to be told
            doors.acknowledged[ds.SOPInstanceUID] = content
    doors.check()
    doors.node.kill()
    doors.node.start()
    doors.check()


# -- time (V1-R24) --------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_a_graceful_stop_amid_a_crowd_loses_nothing_acknowledged(
    doors, peer_program, tmp_path, seed
):
    node = doors.node.start()
    senders = Senders(peer_program("storescu"), tmp_path, templates(), seed).start(node.dimse_port)
    senders.wait_for_an_answer()
    time.sleep(random.Random(seed).uniform(0, 0.5))
    began = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - began < GRACE_SECONDS
    acknowledged = senders.acknowledged()
    assert acknowledged
    assert senders.interrupted, "all was sent before the stop: the test has no teeth"
    assert not (node.data / "running").exists()
    node.start()
    assert "did not end cleanly" not in node.log.read_text()
    with node.client() as client:
        held = held_instances(client)
        assert set(acknowledged) <= held.keys()
        for uid, url in held.items():
            answer = client.get(url, headers=AS_STORED)
            assert data_set_bytes(answer.content) == senders.sent[uid]
    assert {blob.stem for blob in node.stored()} == held.keys()
    assert "Traceback" not in node.log.read_text()
