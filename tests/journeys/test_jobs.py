"""Jobs: what the archive was asked to send arrives, whoever dies on the way, and once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt

from instances import a_data_set, data_set_bytes, part10
from nodes import free_port
from senders import contents, stow
from several import Several

ROUNDS = 4  # of being killed; each is some seconds


class Receiver:
    """A peer that nobody here wrote: pynetdicom, as slow as we like."""

    def __init__(self, port: int, seconds: float = 0.0) -> None:
        self.port, self.seconds = port, seconds
        self.came: Counter[str] = Counter()
        self.bytes: dict[str, bytes] = {}
        self.status = 0x0000
        self._lock = threading.Lock()

    def store(self, event):
        time.sleep(self.seconds)
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._lock:
            if self.status == 0:
                self.came[uid] += 1
                self.bytes[uid] = event.request.DataSet.getvalue()
        return self.status

    @contextmanager
    def listening(self):
        ae = AE("ELSEWHERE")
        ae.supported_contexts = AllStoragePresentationContexts
        handlers = [(evt.EVT_C_STORE, self.store)]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            server.shutdown()


def peers(*ports, **more):
    """The environment of a node with peers PEER0, PEER1, … at these ports."""
    rows = [
        {"ae_title": f"PEER{n}", "host": "127.0.0.1", "port": port, **more}
        for n, port in enumerate(ports)
    ]
    return {"FILMROOM__PEERS": json.dumps(rows)}


def a_study(count, study="1.2.3", rows=16):
    return [
        a_data_set(
            seed=n, rows=rows, columns=rows, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1",
            InstanceNumber=n,
        )
        for n in range(count)
    ]  # fmt: skip


def send(client, peer="PEER0", study="1.2.3", **more):
    answer = client.post("/api/jobs", json={"peer": peer, "study": study, **more})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def job(client, id_):
    return client.get(f"/api/jobs/{id_}").json()


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def filmroom(node, *arguments):
    command = [sys.executable, "-m", "filmroom.cli.main", *arguments, "--data", str(node.data)]
    environment = os.environ | node.settings
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def test_a_study_is_sent_as_it_is_stored(start_node):
    destination = start_node("--ae-title", "PEER0")
    node = start_node(environment=peers(destination.dimse_port))
    with node.client() as client, destination.client() as there:
        assert stow(client, *a_study(30)).status_code == 200
        id_ = send(client)
        done = wait_for(lambda: (j := job(client, id_))["state"] == "done" and j)
        assert (done["progress"]["sent"], done["progress"]["total"]) == (30, 30)
        assert contents(there) == contents(client)
        assert client.get("/api/jobs/counts").json()["states"]["done"] == 1
        assert 'filmroom_jobs{state="done"}' in client.get("/metrics").text


def test_what_cannot_be_sent_says_why_and_to_whom(start_node):
    node = start_node(environment=peers(free_port()))
    with node.client() as client:
        refused = [
            ({"peer": "NOBODY", "study": "1.2.3"}, "no peer"),
            ({"peer": "PEER0", "study": "../.."}, "UID"),
            ({"peer": "PEER0", "study": "1.2", "instance": "1.3"}, "series"),
            ({"peer": "PEER0"}, "missing: study"),
        ]
        for body, why in refused:
            answer = client.post("/api/jobs", json=body)
            assert answer.status_code == 400
            assert why in answer.text
        id_ = send(client, study="1.9.9")
        failed = wait_for(lambda: (j := job(client, id_))["state"] == "failed" and j)
        assert "not held" in failed["reason"]
        assert client.post(f"/api/jobs/{id_}/cancel").json()["state"] == "cancelled"
        assert client.post(f"/api/jobs/{id_}/cancel").status_code == 409
        for nothing in ("999", "x", "1e3"):
            assert client.get(f"/api/jobs/{nothing}").status_code == 404
        assert client.get("/api/jobs?state=odd").status_code == 400


def test_a_dead_destination_delays_no_other_and_gets_all_when_it_is_back(start_node):
    dead, alive = free_port(), free_port()
    node = start_node(environment=peers(dead, alive))
    with node.client() as client, Receiver(alive).listening() as receiver:
        for n in range(12):
            assert stow(client, *a_study(2, study=f"1.2.{n}")).status_code == 200
        waiting = [send(client, "PEER0", f"1.2.{n}") for n in range(12)]
        begun = time.monotonic()
        id_ = send(client, "PEER1", "1.2.0")
        wait_for(lambda: job(client, id_)["state"] == "done")
        assert time.monotonic() - begun < 10
        assert len(receiver.came) == 2
        first = wait_for(lambda: (j := job(client, waiting[0]))["reason"] and j)
        assert (first["state"], first["attempts"]) == ("waiting", 1)
        assert "PEER0" in first["reason"]
        lanes = {each["name"]: each for each in client.get("/api/jobs/counts").json()["lanes"]}
        assert lanes["send to PEER0"]["rests_until"] > time.time()
        with Receiver(dead).listening() as late:
            assert client.post(f"/api/jobs/{waiting[0]}/retry").status_code == 200
            wait_for(lambda: all(job(client, each)["state"] == "done" for each in waiting))
            assert len(late.came) == 24


def test_instances_that_are_not_taken_are_tried_again_alone_and_told(start_node):
    port = free_port()
    node = start_node(environment=peers(port))
    receiver = Receiver(port)
    studies = a_study(6)
    odd = str(studies[3].SOPInstanceUID)
    taken = receiver.store

    def store(event):
        uid = str(event.request.AffectedSOPInstanceUID)
        return 0xC123 if uid == odd and not receiver.seconds else taken(event)

    receiver.store = store
    with node.client() as client, receiver.listening():
        assert stow(client, *studies).status_code == 200
        id_ = send(client)
        failed = wait_for(lambda: (j := job(client, id_))["attempts"] == 1 and j)
        assert failed["reason"] == f"1 of 6 were not taken, first {odd} with status C123"
        assert len(receiver.came) == 5
        receiver.seconds = 0.001
        assert client.post(f"/api/jobs/{id_}/retry").status_code == 200
        wait_for(lambda: job(client, id_)["state"] == "done")
    assert set(receiver.came.values()) == {1}, "what was taken is not sent again"
    assert len(receiver.came) == 6


def test_a_receiver_that_is_full_rests_the_lane(start_node):
    port = free_port()
    node = start_node(environment=peers(port))
    receiver = Receiver(port)
    receiver.status = 0xA700
    with node.client() as client, receiver.listening():
        assert stow(client, *a_study(3)).status_code == 200
        id_ = send(client)
        full = wait_for(lambda: (j := job(client, id_))["reason"] and j)
        assert full["state"] == "waiting"
        assert full["reason"] == "PEER0 is out of resources"
        receiver.status = 0
        wait_for(lambda: job(client, id_)["state"] == "done")
    assert set(receiver.came.values()) == {1}


def test_a_job_is_seen_cancelled_and_tried_again_from_the_command_line(start_node):
    port = free_port()
    node = start_node(environment=peers(port))
    with node.client() as client, Receiver(port, seconds=0.2).listening() as receiver:
        assert stow(client, *a_study(50)).status_code == 200
        id_ = send(client)
        wait_for(lambda: receiver.came)
        listed = filmroom(node, "jobs", "list", "--state", "running")
        assert listed.stdout.startswith(f"{id_}\trunning")
        assert filmroom(node, "jobs", "cancel", str(id_)).returncode == 0
        wait_for(lambda: job(client, id_)["state"] == "cancelled")
        time.sleep(3)
        sent = len(receiver.came)
        time.sleep(1)
        assert len(receiver.came) == sent < 50
        receiver.seconds = 0
        assert filmroom(node, "jobs", "retry", str(id_)).returncode == 0
        wait_for(lambda: job(client, id_)["state"] == "done")
        assert len(receiver.came) == 50
        shown = json.loads(filmroom(node, "jobs", "show", str(id_)).stdout)
        assert shown["state"] == "done"
        assert filmroom(node, "jobs", "retry", str(id_)).returncode == 1
        assert filmroom(node, "jobs", "show", "999").returncode == 1


@pytest.mark.crash
@pytest.mark.elsewhere
@pytest.mark.timeout(300)
def test_a_node_killed_again_and_again_sends_all_and_hardly_anything_twice(start_node, tmp_path):
    port = free_port()
    folder = tmp_path / "node"
    node = start_node(environment=peers(port), folder=folder)
    data_sets = a_study(150)
    with Receiver(port, seconds=0.03).listening() as receiver:
        with node.client() as client:
            assert stow(client, *data_sets).status_code == 200
            id_ = send(client)
        wait_for(lambda: receiver.came)
        for n in range(ROUNDS):
            time.sleep(random.Random(n).uniform(0.1, 1.5))
            node.kill()
            node.start()
        assert len(receiver.came) < len(data_sets), "it was done before: the test has no teeth"
        with node.client() as client:
            wait_for(lambda: job(client, id_)["state"] == "done")
    assert receiver.bytes == {
        str(ds.SOPInstanceUID): data_set_bytes(part10(ds)) for ds in data_sets
    }


@pytest.mark.crash
@pytest.mark.timeout(300)
def test_a_job_whose_node_died_finishes_on_another_and_its_effect_is_there_once(
    tmp_path, database, server, start_node
):
    destination = start_node("--ae-title", "PEER1")
    slow = free_port()
    several = Several(
        tmp_path,
        database.database(),
        server.place(),
        environment=peers(slow, destination.dimse_port),
    )
    try:
        several.start()
        first, _ = several.nodes
        data_sets = a_study(120)
        with Receiver(slow, seconds=0.05).listening() as receiver:
            with first.client() as client:
                assert stow(client, *data_sets).status_code == 200
                id_ = send(client)
                running = wait_for(lambda: (j := job(client, id_))["state"] == "running" and j)
                nodes = {each["name"] for each in client.get("/api/nodes").json()}
                assert len(nodes) == 2
                assert running["node"] in nodes
            wait_for(lambda: len(receiver.came) > 20)
            names = {(each.data / "node").read_text().strip(): each for each in several.nodes}
            victim = names[running["node"].rpartition("-")[2]]
            (other,) = [each for each in several.nodes if each is not victim]
            victim.kill()
            with other.client() as client:
                done = wait_for(lambda: (j := job(client, id_))["state"] == "done" and j, 90)
                assert done["losses"] == 1, "the other one has taken it over"
                id_ = send(client, "PEER1")  # and to an archive: there it is held once
                wait_for(lambda: job(client, id_)["state"] == "done")
                with destination.client() as there:
                    assert contents(there) == contents(client)
                gone = [n for n in client.get("/api/nodes").json() if not n["is_here"]]
                assert [each["name"] for each in gone] == [running["node"]]
        expected = {str(ds.SOPInstanceUID): data_set_bytes(part10(ds)) for ds in data_sets}
        assert receiver.bytes == expected
        twice = sum(count - 1 for count in receiver.came.values())
        assert twice < 60, "what was noted as sent was sent again"
    finally:
        several.kill()


def test_a_peer_that_wants_everything_gets_each_series_once_it_is_quiet(start_node):
    destination = start_node("--ae-title", "PEER0")
    node = start_node(environment=peers(destination.dimse_port, forward=True))
    with node.client() as client, destination.client() as there:
        assert stow(client, *a_study(5)).status_code == 200
        wait_for(lambda: contents(there) == contents(client))
        assert stow(client, *a_study(5, study="1.2.4")).status_code == 200
        wait_for(lambda: contents(there) == contents(client))
        assert len(client.get("/api/jobs").json()) == 2


@pytest.mark.crash
@pytest.mark.elsewhere
@pytest.mark.timeout(300)
def test_whatever_was_acknowledged_is_forwarded_though_the_node_is_killed(start_node, tmp_path):
    destination = start_node("--ae-title", "PEER0")
    node = start_node(
        environment=peers(destination.dimse_port, forward=True), folder=tmp_path / "node"
    )
    for n in range(ROUNDS):
        with node.client() as client:
            assert stow(client, *a_study(5, study=f"1.2.{n}")).status_code == 200
        time.sleep(random.Random(n).uniform(0, 1.5))
        node.kill()
        node.start()
    with node.client() as client, destination.client() as there:
        wait_for(lambda: contents(there) == contents(client))
        assert len(contents(there)) == 5 * ROUNDS


def test_an_index_that_is_made_anew_sends_nothing_again(start_node, tmp_path):
    destination = start_node("--ae-title", "PEER0")
    node = start_node(
        environment=peers(destination.dimse_port, forward=True), folder=tmp_path / "node"
    )
    with node.client() as client, destination.client() as there:
        assert stow(client, *a_study(3)).status_code == 200
        wait_for(lambda: contents(there) == contents(client))
    node.stop()
    made_anew = filmroom(node, "reindex")
    assert made_anew.returncode == 0, made_anew.stderr
    node.start()
    with node.client() as client:
        assert stow(client, *a_study(1, study="1.2.9")).status_code == 200
        wait_for(lambda: len(client.get("/api/jobs").json()) == 2)
        time.sleep(3)
        assert len(client.get("/api/jobs").json()) == 2
