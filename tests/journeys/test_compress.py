"""Stored smaller: rules, who asks for what came, kills, the index made anew, and back again."""

from __future__ import annotations

import hashlib
import io
import json
import random
import time

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from instances import a_data_set, data_set_bytes, part10
from nodes import about_files, free_port
from peers import filmroom, run, storescp
from senders import contents, stow
from several import Several

HTJ2K = "1.2.840.10008.1.2.4.202"
STUDY = "1.2.826.0.1.3680043.10.9999.7"
ROUNDS = 4  # of being killed
ANYBODY = '["echo", "store", "query", "retrieve"]'
DICOM = "application/dicom; transfer-syntax="


def rules(*rows, **more):
    """The environment of a node that follows these rules."""
    told = {f"FILMROOM__COMPRESS__{name.upper()}": str(value) for name, value in more.items()}
    return {
        "FILMROOM__COMPRESS__RULES": json.dumps(rows),
        "FILMROOM__DIMSE__UNKNOWN_PEERS": ANYBODY,
        **told,
    }


def an_image(n=0, syntax=ExplicitVRLittleEndian, size=256, study=STUDY, **more):
    """A file with pixels that can be compressed."""
    rng = np.random.default_rng(n)
    wave = np.add.outer(np.arange(size), np.arange(size)) * 2000 // size
    values = wave + rng.integers(0, 4, (size, size))
    return part10(
        a_data_set(
            rows=size, columns=size, PixelData=values.astype("<u2").tobytes(), InstanceNumber=n,
            StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.{n}",
            **more,
        ),
        syntax,
    )  # fmt: skip


def uid_of(file):
    return str(pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True).SOPInstanceUID)


def sha256(data_set):
    return hashlib.sha256(data_set).hexdigest()


def digests(files):
    return {uid_of(file): sha256(data_set_bytes(file)) for file in files}


def send(program, node, folder, files, option="-xe"):
    folder.mkdir()
    for file in files:
        (folder / uid_of(file)).write_bytes(file)
    answer = run(
        program, option, "-aet", "SCANNER", "-aec", "FILMROOM", "+sd", "127.0.0.1",
        node.dimse_port, folder,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout


def wait_for(what, seconds=90):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def done_job(client, id_):
    """The job once it is done."""
    job = client.get(f"/api/jobs/{id_}").json()
    return job if job["state"] == "done" else None


def savings(client):
    return client.get("/api/compress").json()


def get(client, uid, syntax, study=STUDY):
    """One instance's file by WADO-RS in that transfer syntax."""
    path = f"/dicom-web/studies/{study}/series/{study}.1/instances/{uid}"
    answer = client.get(path, headers={"Accept": DICOM + syntax})
    assert answer.status_code == 200, answer.text
    return answer.content


def received(folder):
    """UID -> digest of what dcmtk has written, bit by bit as it came."""
    return digests(path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.mark.elsewhere
@pytest.mark.timeout(300)
def test_what_a_rule_wants_is_stored_smaller_and_given_to_everybody_as_it_came(
    start_node, peer_program, tmp_path
):
    receiver = free_port()
    peer = [{"ae_title": "STORESCP", "host": "127.0.0.1", "port": receiver}]
    node = start_node(
        environment=rules({"modality": "CT", "source": "SCANNER"}, keep_old_minutes=0)
        | {"FILMROOM__PEERS": json.dumps(peer)}
    )
    files = [an_image(n) for n in range(6)]
    implicit = [an_image(n, ImplicitVRLittleEndian, study=f"{STUDY}.9") for n in range(3)]
    with node.client() as client:
        send(peer_program("storescu"), node, tmp_path / "explicit", files)
        send(peer_program("storescu"), node, tmp_path / "implicit", implicit, "-xi")
        others = [an_image(20, study=f"{STUDY}.8"), an_image(21, study=f"{STUDY}.7", Modality="MR")]
        for other in others:
            stow(client, pydicom.dcmread(io.BytesIO(other)))
        wait_for(lambda: savings(client)["instances"] == 9)
        told = savings(client)
        assert told["bytes_after"] * 2 < told["bytes_before"]
        assert told["bytes_saved"] == told["bytes_before"] - told["bytes_after"]
        page = client.get("/metrics").text
        assert "filmroom_compressed_instances_total 9.0" in page
        assert f'filmroom_compressed_bytes_total{{when="after"}} {told["bytes_after"]:.1f}' in page
        [job, *_] = wait_for(lambda: client.get("/api/jobs?state=done").json())
        assert job["kind"] == "compress"
        wait_for(lambda: savings(client)["spare_files"] == 0, 60)
        assert len(node.stored()) == 11

        # DICOMweb: as it is stored, and as it came.
        for file in [*files, *implicit]:
            uid, study = uid_of(file), STUDY if file in files else f"{STUDY}.9"
            stored = pydicom.dcmread(io.BytesIO(get(client, uid, "*", study)))
            assert stored.file_meta.TransferSyntaxUID == HTJ2K
            assert (0x00020102 in stored.file_meta) is False, "the first header is for us alone"
            ours = pydicom.dcmread(io.BytesIO(file))
            assert (stored.pixel_array == ours.pixel_array).all()
            syntax = ours.file_meta.TransferSyntaxUID
            assert data_set_bytes(get(client, uid, syntax, study)) == data_set_bytes(file)
        described = client.get(f"/dicom-web/studies/{STUDY}/metadata").json()
        assert len(described) == 6

        # dcmtk, which knows no HTJ2K.
        where = ("127.0.0.1", node.dimse_port, "-k", "QueryRetrieveLevel=STUDY", "-k")
        answer = run(
            peer_program("getscu"), "-S", "-v", "+B", "-od", _made(tmp_path / "got"),
            "-aec", "FILMROOM", *where, f"StudyInstanceUID={STUDY}",
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout
        assert received(tmp_path / "got") == digests(files)
        with storescp(peer_program("storescp"), tmp_path / "moved", receiver, "+xi"):
            answer = run(
                peer_program("movescu"), "-S", "-v", "-aec", "FILMROOM", "-aem", "STORESCP",
                *where, f"StudyInstanceUID={STUDY}.9",
            )  # fmt: skip
            assert answer.returncode == 0, answer.stdout
            assert received(tmp_path / "moved") == digests(implicit)

        # Sent again: it is known, and nothing is put aside.
        send(peer_program("storescu"), node, tmp_path / "again", files)
        assert client.get("/api/quarantine").json() == []
        assert savings(client)["instances"] == 9
    scrubbed = filmroom("scrub", "--data", node.data, "--json")
    assert json.loads(scrubbed.stdout)["is_sound"], scrubbed.stdout


def _made(folder):
    folder.mkdir()
    return folder


@pytest.mark.elsewhere
@pytest.mark.timeout(300)
def test_a_study_is_stored_smaller_by_hand_and_put_back(start_node, tmp_path):
    node = start_node(environment=rules(keep_old_minutes=0), folder=tmp_path / "node")
    files = [an_image(n) for n in range(8)]
    at = ("--data", node.data)
    with node.client() as client:
        stow(client, *(pydicom.dcmread(io.BytesIO(file)) for file in files))
        before, described = contents(client), client.get(f"/dicom-web/studies/{STUDY}/metadata")
        tried = json.loads(filmroom("compress", STUDY, "--dry-run", "--json", *at).stdout)
        assert (tried["instances"], tried["tried"], tried["left_alone"]) == (8, 8, {})
        assert tried["estimated_bytes_saved"] > tried["size_bytes"] / 2
        assert contents(client) == before
        assert filmroom("compress", *at).returncode == 1, "there are no rules"
        assert filmroom("compress", "no uid", *at).returncode == 1
        assert filmroom("compress", "--undo", *at).returncode == 2
        done = filmroom("compress", STUDY, *at)
        assert done.returncode == 0, done.stderr
        id_ = int(done.stdout)
        job = wait_for(
            lambda: (j := client.get(f"/api/jobs/{id_}").json())["state"] == "done" and j
        )
        assert (job["progress"]["done"], job["progress"]["looked_at"]) == (8, 8)
        listed = filmroom("jobs", "list", *at).stdout
        assert f"compress\t{STUDY}\t8/8" in listed
        told = filmroom("compress", "--status", *at).stdout
        assert told.startswith("8 instances stored smaller: 1.0 MiB came")
        again = client.get(f"/dicom-web/studies/{STUDY}/metadata")
        assert again.json() == described.json()

        smaller = contents(client)
        assert smaller.keys() == before.keys()
        assert smaller != before
        wait_for(lambda: savings(client)["spare_files"] == 0)
        searched = f"/dicom-web/studies/{STUDY}/instances?includefield=all"
        found = client.get(searched).json()
    assert node.stop() == 0
    made = filmroom("reindex", *at, "--json")
    assert json.loads(made.stdout)["added"] == 8, made.stdout
    node.start()
    with node.client() as client:
        assert client.get(searched).json() == found
        assert contents(client) == smaller
        assert savings(client)["instances"] == 8
        for file in files:
            assert data_set_bytes(get(client, uid_of(file), ExplicitVRLittleEndian)) == (
                data_set_bytes(file)
            )
        answer = client.post("/api/compress", json={"study": STUDY, "undo": True})
        assert answer.status_code == 202, answer.text
        id_ = answer.json()["id"]
        job = wait_for(
            lambda: (j := client.get(f"/api/jobs/{id_}").json())["state"] == "done" and j
        )
        assert job["progress"]["undone"] == 8
        assert contents(client) == before
        assert savings(client)["instances"] == 0
        assert savings(client)["left_alone"] == {"undone by hand": 8}
        wait_for(lambda: savings(client)["spare_files"] == 0)
    assert json.loads(filmroom("scrub", *at, "--json").stdout)["is_sound"]


@pytest.mark.crash
@pytest.mark.elsewhere
@pytest.mark.timeout(300)
def test_a_node_killed_again_and_again_loses_nothing_and_ends_what_it_began(start_node, tmp_path):
    node = start_node(
        environment=rules({}, keep_old_minutes=0.02, at_once=2), folder=tmp_path / "node"
    )
    files = [an_image(n, size=512) for n in range(100)]
    expected = digests(files)
    with node.client() as client:
        for at in range(0, len(files), 20):
            stow(client, *(pydicom.dcmread(io.BytesIO(file)) for file in files[at : at + 20]))
        wait_for(lambda: savings(client)["instances"] > 0)
    so_far = []
    for n in range(ROUNDS):
        time.sleep(random.Random(n).uniform(0.1, 0.8))
        node.kill()
        node.start()
        with node.client() as client:
            so_far.append(savings(client)["instances"])
            for uid in random.Random(n).sample(sorted(expected), 10):
                data_set = data_set_bytes(get(client, uid, ExplicitVRLittleEndian))
                assert sha256(data_set) == expected[uid]
    assert so_far[0] < len(files), "it was done before: the test has no teeth"
    with node.client() as client:
        wait_for(lambda: savings(client)["instances"] == len(files), 120)
        for uid, digest in expected.items():
            assert sha256(data_set_bytes(get(client, uid, ExplicitVRLittleEndian))) == digest
        # What a kill has left is known until it goes; an hour is not waited for here.
        known = savings(client)["spare_files"]
        assert len(node.stored()) <= len(files) + known
    scrubbed = json.loads(filmroom("scrub", "--data", node.data, "--json").stdout)
    assert scrubbed["is_sound"], scrubbed


@pytest.mark.timeout(300)
def test_who_is_reading_while_it_is_swapped_reads_the_old_file_to_its_end(start_node):
    node = start_node(environment=rules())
    file = an_image(0, size=1024, frames=1)
    with node.client() as client:
        stow(client, pydicom.dcmread(io.BytesIO(file)))
        path = f"/dicom-web/studies/{STUDY}/series/{STUDY}.1/instances/{uid_of(file)}"
        with client.stream("GET", path, headers={"Accept": DICOM + "*"}) as answer:
            assert answer.status_code == 200
            pieces = answer.iter_bytes(4096)
            begin = next(pieces)
            with node.client() as other:
                id_ = other.post("/api/compress", json={"study": STUDY}).json()["id"]
                wait_for(lambda: other.get(f"/api/jobs/{id_}").json()["state"] == "done")
                etag = other.get(path, headers={"Accept": DICOM + "*"}).headers["etag"]
            content = begin + b"".join(pieces)
            assert data_set_bytes(content) == data_set_bytes(file)
            assert answer.headers["etag"] != etag


def test_a_part_of_a_file_is_a_part_of_what_is_given_whole(start_node):
    node = start_node(environment=rules())
    file = an_image(0)
    with node.client() as client:
        stow(client, pydicom.dcmread(io.BytesIO(file)))
        compressed(client)
        path = f"/dicom-web/studies/{STUDY}/series/{STUDY}.1/instances/{uid_of(file)}"
        whole = client.get(path, headers={"Accept": DICOM + "*"})
        assert len(whole.content) == int(whole.headers["content-length"])
        for first, last in ((0, 10), (100, 2000), (5, len(whole.content) - 1)):
            part = client.get(
                path, headers={"Accept": DICOM + "*", "Range": f"bytes={first}-{last}"}
            )
            assert part.status_code == 206
            assert part.content == whole.content[first : last + 1]
        study = client.get(
            f"/dicom-web/studies/{STUDY}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
        )
        assert whole.content in study.content
        assert len(study.content) == int(study.headers["content-length"])


def compressed(client):
    """Have the study stored smaller, and wait for it."""
    id_ = client.post("/api/compress", json={"study": STUDY}).json()["id"]
    wait_for(lambda: done_job(client, id_))


@pytest.mark.timeout(300)
def test_a_backup_a_restore_and_another_archive_have_what_came(start_node, tmp_path):
    about_files()
    node = start_node(environment=rules(keep_old_minutes=0), folder=tmp_path / "node")
    files = [an_image(n) for n in range(5)]
    backup, restored, moved = (tmp_path / name for name in ("backup", "restored", "moved"))
    (tmp_path / "moved.toml").write_text(f'data = "{moved / "data"}"')
    move = ("migrate-archive", "--to", tmp_path / "moved.toml", "--data", node.data, "--json")
    with node.client() as client:
        stow(client, *(pydicom.dcmread(io.BytesIO(file)) for file in files))
        assert json.loads(filmroom(*move).stdout)["moved"] == 5
        assert filmroom("backup", backup, "--data", node.data).returncode == 0
        compressed(client)
        again = json.loads(filmroom(*move).stdout)
        assert (again["there"], again["bad"]) == (5, 0), "it is the same, if smaller"
        done = filmroom("backup", backup, "--data", node.data)
        assert done.returncode == 0, done.stderr
        smaller = contents(client)
    assert filmroom("verify", backup).returncode == 0
    assert filmroom("restore", backup, "--data", restored / "data").returncode == 0
    (tmp_path / "anew.toml").write_text(f'data = "{tmp_path / "anew" / "data"}"')
    anew = filmroom(
        "migrate-archive", "--to", tmp_path / "anew.toml", "--data", restored / "data", "--json"
    )
    assert json.loads(anew.stdout)["moved"] == 5, anew.stdout + anew.stderr
    for folder in (restored, tmp_path / "anew"):
        other = start_node(environment=rules(), folder=folder)
        with other.client() as client:
            assert contents(client) == smaller
            assert savings(client)["instances"] == 5
            for file in files:
                came = get(client, uid_of(file), ExplicitVRLittleEndian)
                assert data_set_bytes(came) == data_set_bytes(file)


@pytest.mark.timeout(300)
def test_other_nodes_go_on_with_the_new_files(tmp_path, database, server):
    several = Several(
        tmp_path, database.database(), server.place(), environment=rules(keep_old_minutes=0)
    )
    files = [an_image(n) for n in range(5)]
    try:
        first, second = several.start().nodes
        with first.client() as one, second.client() as other:
            stow(one, *(pydicom.dcmread(io.BytesIO(file)) for file in files))
            before = contents(other)
            compressed(one)
            smaller = contents(one)
            wait_for(lambda: contents(other) == smaller)
            assert smaller != before
            wait_for(lambda: savings(one)["spare_files"] == 0)
            assert len(several.objects()) == 5
            for client in (one, other):
                for file in files:
                    came = get(client, uid_of(file), ExplicitVRLittleEndian)
                    assert data_set_bytes(came) == data_set_bytes(file)
    finally:
        several.kill()


def test_rules_wait_for_their_hours(start_node):
    now = time.time()
    hours = "-".join(time.strftime("%H:%M", time.localtime(now + s)) for s in (3600, 7200))
    node = start_node(environment=rules({}, hours=hours))
    with node.client() as client:
        stow(client, pydicom.dcmread(io.BytesIO(an_image(0))))
        time.sleep(8)
        assert savings(client)["instances"] == 0
        assert client.get("/api/jobs").json() == []
        id_ = client.post("/api/compress", json={"study": STUDY}).json()["id"]
        wait_for(lambda: client.get(f"/api/jobs/{id_}").json()["state"] == "done")
        assert savings(client)["instances"] == 1, "what somebody asks for does not wait"


def test_a_study_that_is_not_there_is_told(start_node):
    node = start_node(environment=rules())
    with node.client() as client:
        assert isinstance(client, httpx.Client)
        id_ = client.post("/api/compress", json={"study": "1.9.9"}).json()["id"]
        failed = wait_for(
            lambda: (j := client.get(f"/api/jobs/{id_}").json())["state"] == "failed" and j
        )
        assert "no such study" in failed["reason"]
        for wrong in ({"study": "../.."}, {"undo": True}, {"what": 1}):
            assert client.post("/api/compress", json=wrong).status_code == 400
