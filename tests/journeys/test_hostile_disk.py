"""Disks that are full and disks that fail: what was acknowledged is held, nothing else is said."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest

import hostile_wire as wire
from hostile_disk import Fault, enlarge, small_disk
from hostile_files import data_set, new_uid, part10
from hostile_http import DICOM
from hostile_watch import discreet
from hostile_wire import Peer
from nodes import ELSEWHERE, FilmroomProcess, about_files

pytestmark = pytest.mark.hostile

STUDIES = "/dicom-web/studies"
PIXELS = 300_000
AS_STORED = {"Accept": f"{DICOM}; transfer-syntax=*"}


REMARKS = (0x00104000, 0x001021B0, 0x00081080, 0x00321060)  # the index keeps these as well


def an_object(pixels=PIXELS, remarks=0):
    uid = new_uid()
    more = {tag: ("UT", os.urandom(remarks // 2).hex().encode()) for tag in REMARKS if remarks}
    return uid, data_set(uid, {0x7FE00010: ("OW", os.urandom(pixels)), **more})


class Sender:
    """Stores by both doors, and remembers what was acknowledged."""

    def __init__(self, node, files=None):
        self.node = node
        self.files = files or node.data
        self.acknowledged = {}
        self.sizes = {}

    def store(self, peer):
        uid, body = an_object(**self.sizes)
        status = peer.store(body, uid)
        if status == 0:
            self.acknowledged[uid] = body
        return status

    @contextlib.contextmanager
    def peer(self):
        with Peer(self.node.dimse_port, timeout=20) as peer:
            peer.associate()
            yield peer

    def store_until_refused(self):
        """The statuses of five refusals in a row."""
        refused = []
        with self.peer() as peer:
            for _ in range(400):
                status = self.store(peer)
                refused = [*refused, status] if status else []
                if len(refused) == 5:
                    return set(refused)
        raise AssertionError("it never came to that")

    def stow(self):
        uid, body = an_object(**self.sizes)
        with self.node.client() as client:
            answer = client.post(
                STUDIES, content=part10(body, uid), headers={"Content-Type": DICOM}
            )
        discreet(answer.text)
        if answer.status_code == 200:
            self.acknowledged[uid] = body
        return answer.status_code

    def check_all_is_held(self, *, in_doubt=False):
        """Everything acknowledged is found and read back; nothing held is empty.

        in_doubt: a file may lie there whose row comes back, or not, with the next start.
        """
        with self.node.client() as client:
            found = client.get("/dicom-web/instances?limit=5000").json()
            held = {each["00080018"]["Value"][0] for each in found}
            assert set(self.acknowledged) <= held
            stored = self.node.stored()
            names = {blob.stem for blob in stored}
            assert held <= names if in_doubt else held == names
            assert all(len(blob.read_bytes()) > 1000 for blob in stored)
            for uid in held:
                url = f"{STUDIES}/{uid}.1/series/{uid}.2/instances/{uid}"
                answer = client.get(url, headers=AS_STORED)
                assert answer.status_code == 200
                if uid in self.acknowledged:
                    assert answer.content.endswith(self.acknowledged[uid])

    def check_is_alive(self):
        assert self.node.process.poll() is None
        assert wire.echo_seconds(self.node.dimse_port) < 2
        assert httpx.get(f"{self.node.url}/livez", timeout=2).status_code == 200
        assert list((self.files / "tmp").iterdir()) == []


@pytest.fixture
def place(tmp_path):
    """A folder that needs no disk, if there is one: these tests sync thousands of times."""
    if not os.access("/dev/shm", os.W_OK) or shutil.disk_usage("/dev/shm").free < 100 << 20:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def starting(place):
    """starting(environment) starts a filmroom in place/room; its data may be a small disk."""
    running = []

    def start(**environment):
        node = FilmroomProcess(place / "room", environment=environment)
        running.append(node)
        return node.start()

    yield start
    for node in running:
        node.kill()


@pytest.mark.parametrize("full", ["all", "index", "files"])
def test_a_full_disk_refuses_what_does_not_fit_and_resumes(starting, place, full):
    if full == "index":
        about_files()  # on PostgreSQL its disk is not ours
    files = place / "files"
    disk = files if full == "files" else place / "room" / "data"
    environment = {"FILMROOM__PIXEL__WORKERS": "1"}
    if full != "all":
        environment["FILMROOM__BLOBS__URL"] = f"file://{files}"
    with small_disk(disk, 24):
        node = starting(**environment)
        sender = Sender(node, files if full != "all" else None)
        with sender.peer() as peer:
            assert sender.store(peer) == 0
        if full == "index":
            fill(disk)
            sender.sizes = {"pixels": 1000, "remarks": 15_000}
        elif full == "all" and ELSEWHERE:  # what comes waits here until it is put up
            fill(disk)
            sender.sizes = {"pixels": 2 * PIXELS}  # more than can be made room for
        assert sender.store_until_refused() == {0xA700}
        assert sender.stow() in (503, 507)
        sender.check_is_alive()
        sender.check_all_is_held()
        enlarge(disk, 96)
        with sender.peer() as peer:
            assert [sender.store(peer) for _ in range(5)] == [0] * 5
        assert sender.stow() == 200
        sender.check_all_is_held()
        assert node.stop() == 0
        node.start()
        sender.check_all_is_held()
        assert "Traceback" not in node.log.read_text()
        node.kill()


def fill(disk):
    """Leave no room."""
    with (disk / "filling").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))
            file.flush()


@pytest.mark.parametrize("what", ["/tmp/", "/store", "index.sqlite"])
def test_a_sync_that_fails_is_never_a_success(starting, tmp_path, place, what):
    about_files()
    fault = Fault(tmp_path)
    node = starting(**fault.environment, FILMROOM__PIXEL__WORKERS="1")
    sender = Sender(node)
    with sender.peer() as peer:
        assert [sender.store(peer) for _ in range(3)] == [0] * 3
        fault.fail(f"room/data{what}" if what.startswith("/") else what)
        assert {sender.store(peer) for _ in range(5)} == {0xA700}
        assert sender.stow() in (503, 507)
        sender.check_is_alive()
        in_doubt = what == "index.sqlite"
        sender.check_all_is_held(in_doubt=in_doubt)
        fault.heal()
        assert {sender.store(peer) for _ in range(5)} == {0xA700}, "it must be looked at first"
        sender.check_all_is_held(in_doubt=in_doubt)
    assert "restart after the disk was checked" in node.log.read_text()
    node.kill()
    node.start()
    sender.check_all_is_held()
    with sender.peer() as peer:
        assert [sender.store(peer) for _ in range(3)] == [0] * 3
    sender.check_all_is_held()
    assert "Traceback" not in node.log.read_text()
