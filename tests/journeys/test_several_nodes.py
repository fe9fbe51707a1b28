"""Nodes that hold no state: on PostgreSQL and an object store, any of them may die."""

from __future__ import annotations

import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from instances import a_data_set, data_set_bytes, part10
from nodes import AE_TITLE
from object_store import object_server
from postgres_cluster import cluster
from senders import AS_STORED, Senders, held_instances, templates
from several import Several

ROUNDS = int(os.environ.get("FILMROOM_NODES_ROUNDS", "3"))
OCTETS = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


@pytest.fixture(scope="module")
def database():
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def server():
    with object_server() as running:
        yield running


@pytest.fixture
def several(tmp_path, database, server):
    made = Several(tmp_path, database.database(), server.place())
    yield made.start()
    made.kill()


def storescu(peer_program, port, *paths):
    command = [peer_program("storescu"), "-v", "-aec", AE_TITLE, "127.0.0.1", str(port)]
    return subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, timeout=120)


def succeeded(sent):
    return sent.stderr.count("Received Store Response (Success)")


def stow(client, files):
    parts = b"".join(
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files
    )
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    body = parts + b"--b--\r\n"
    return client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind})


def path_of(ds):
    return (
        f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def test_what_one_node_received_every_node_gives_back(several, peer_program, tmp_path):
    first, second = several.nodes
    ds = a_data_set(rows=64, columns=64, frames=20)
    file = tmp_path / "sent.dcm"
    file.write_bytes(part10(ds))
    assert succeeded(storescu(peer_program, several.dimse_port, file)) == 1
    for node in (first, second):
        with node.client() as client:
            found = client.get(f"/dicom-web/instances?SOPInstanceUID={ds.SOPInstanceUID}")
            assert len(found.json()) == 1
            stored = client.get(path_of(ds), headers=AS_STORED)
            assert data_set_bytes(stored.content) == data_set_bytes(file.read_bytes())
            frame = client.get(f"{path_of(ds)}/frames/7", headers=OCTETS).content
            assert ds.PixelData[6 * 8192 : 7 * 8192] in frame
            assert client.get(f"{path_of(ds)}/metadata").json()[0]["00100010"]
            assert client.get(f"{path_of(ds)}/frames/3/rendered").status_code == 200
        assert not (node.data / "store").exists()
        assert node.temporary_files() == []
    assert len(several.objects()) == 1


def test_a_frame_of_a_large_object_brings_only_its_part(several, tmp_path):
    first, second = several.nodes
    ds = a_data_set(rows=512, columns=512, frames=40)  # 20 MiB, put up in parts
    with first.client() as client:
        assert stow(client, [part10(ds)]).status_code == 200
    before = second.written_bytes()
    with second.client() as client:
        frame = client.get(f"{path_of(ds)}/frames/33", headers=OCTETS)
    assert ds.PixelData[32 * 524288 : 33 * 524288] in frame.content
    assert second.written_bytes() - before < 8 << 20


def test_the_same_instance_sent_to_all_at_once_is_held_once(several):
    files = [part10(a_data_set(rows=128, columns=128, seed=n)) for n in range(4)]
    clients = [node.client() for node in several.nodes]

    def send(turn):
        return stow(clients[turn % len(clients)], files).status_code

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(send, range(10))) == {200}
    with several.nodes[0].client() as client:
        assert len(held_instances(client)) == len(files)
    assert len(several.objects()) == len(files)
    assert several.objects("quarantine") == []
    for client in clients:
        client.close()


def test_other_bytes_under_a_held_uid_are_kept_for_the_operator(several):
    first, second = several.nodes
    one, other = a_data_set(seed=1), a_data_set(seed=2)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(other, keyword, getattr(one, keyword))
    with first.client() as client:
        assert stow(client, [part10(one)]).status_code == 200
    with second.client() as client:
        assert stow(client, [part10(other)]).status_code in (200, 202)
        stored = client.get(path_of(one), headers=AS_STORED)
        assert data_set_bytes(stored.content) == data_set_bytes(part10(one))
        (entry,) = client.get("/api/quarantine").json()
    with first.client() as client:
        kept = client.get(f"/api/quarantine/{entry['id']}/file")
        assert data_set_bytes(kept.content) == data_set_bytes(part10(other))
        assert client.delete(f"/api/quarantine/{entry['id']}").status_code == 204
    assert several.objects("quarantine") == []


@pytest.mark.crash
@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_kill_9_of_any_node_loses_nothing_acknowledged(several, peer_program, tmp_path):
    program, made_from = peer_program("storescu"), templates()
    total = cut = 0
    for round_number in range(ROUNDS):
        victim = several.nodes[round_number % len(several.nodes)]
        (other,) = [node for node in several.nodes if node is not victim]
        senders = Senders(program, tmp_path, made_from, round_number).start(several.dimse_port)
        senders.wait_for_an_answer()
        time.sleep(random.Random(round_number).uniform(0, 0.9))
        victim.kill()
        time.sleep(0.5)
        with other.client() as client:
            answered = client.get("/dicom-web/studies?limit=1").status_code
        assert answered == 200
        acknowledged = senders.acknowledged()
        cut += senders.interrupted
        with other.client() as client:
            held = held_instances(client)
            assert [name for name in acknowledged if name not in held] == []
            for name in held.keys() & senders.sent.keys():
                answer = client.get(held[name], headers=AS_STORED)
                assert answer.status_code == 200, answer.text
                assert data_set_bytes(answer.content) == senders.sent[name]
        victim.start()
        total += len(acknowledged)
    with several.nodes[0].client() as client:
        held = held_instances(client)
    names = [path.rpartition("/")[2].partition("_")[0] for path in several.objects()]
    assert sorted(names) == sorted(held), "an object without a row, or twice"
    assert total > ROUNDS
    assert cut > 0, "nobody was interrupted: the test has no teeth"
    print(f"{ROUNDS} rounds, {total} acknowledged, 0 lost, {cut} senders cut off")


@pytest.mark.timeout(300)
def test_a_store_that_is_away_is_a_refusal_and_no_restart(several, server, peer_program, tmp_path):
    files = [tmp_path / f"{n}.dcm" for n in range(3)]
    sets = [a_data_set(seed=n) for n in range(3)]
    for path, ds in zip(files, sets, strict=True):
        path.write_bytes(part10(ds))
    assert succeeded(storescu(peer_program, several.dimse_port, files[0])) == 1
    server.stop()
    try:
        sent = storescu(peer_program, several.dimse_port, files[1])
        assert "Refused: OutOfResources" in sent.stderr, sent.stderr
        echo = [peer_program("echoscu"), "-aec", AE_TITLE, "127.0.0.1", str(several.dimse_port)]
        assert subprocess.run(echo, timeout=10).returncode == 0
        for node in several.nodes:
            with node.client() as client:
                assert len(client.get("/dicom-web/studies").json()) == 1
    finally:
        server.start()
    assert succeeded(storescu(peer_program, several.dimse_port, *files[1:])) == 2
    with several.nodes[1].client() as client:
        assert len(held_instances(client)) == 3
        for ds, path in zip(sets, files, strict=True):
            answer = client.get(path_of(ds), headers=AS_STORED)
            assert data_set_bytes(answer.content) == data_set_bytes(path.read_bytes())
        assert client.get("/dicom-web/studies").headers.get("Warning") is None
    assert len(several.objects()) == 3
