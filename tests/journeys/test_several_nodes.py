"""Nodes that hold no state: on PostgreSQL and an object store, any of them may die."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from instances import a_data_set, data_set_bytes, part10
from nodes import AE_TITLE
from senders import AS_STORED, held_instances

OCTETS = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


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
