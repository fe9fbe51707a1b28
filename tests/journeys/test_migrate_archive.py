"""From one box to PostgreSQL and an object store: nothing missing, and nobody turned away."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from instances import a_data_set, data_set_bytes, part10
from nodes import FilmroomProcess, about_files
from object_store import ACCESS_KEY, SECRET_KEY
from senders import Senders, contents, stow, templates


@pytest.fixture(autouse=True)
def _from_one_machine():
    about_files()


@pytest.fixture
def new(tmp_path, database, server):
    """Settings of the new archive."""
    file = tmp_path / "new.toml"
    file.write_text(
        f"""
data = "{tmp_path}/new/data"
[index]
url = "{database.database()}"
[blobs]
url = "{server.place()}"
access_key = "{ACCESS_KEY}"
secret_key = "{SECRET_KEY}"
"""
    )
    return file


def command(old, new):
    program = [sys.executable, "-m", "filmroom.cli.main", "migrate-archive"]
    return [*program, "--data", str(old.data), "--to", str(new), "--json"]


def migrated(old, new, code=0):
    done = subprocess.run(command(old, new), capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def started(start_node, new):
    """A node on the new settings."""
    return start_node("--config", str(new), folder=new.parent / "new")


def as_found(client):
    """What QIDO-RS says of every study; equal dates may come in another order."""
    found = client.get("/dicom-web/studies?includefield=all").json()
    return {study["0020000D"]["Value"][0]: without_addresses(study) for study in found}


def without_addresses(study):
    return {tag: value for tag, value in study.items() if tag != "00081190"}  # Retrieve URL


@pytest.mark.timeout(400)
def test_a_box_that_goes_on_receiving_is_brought_over_whole(
    start_node, new, peer_program, tmp_path
):
    old = start_node()
    one, other = a_data_set(seed=1), a_data_set(seed=2)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(other, keyword, getattr(one, keyword))
    large = a_data_set(rows=512, columns=512, frames=24)  # goes up in parts
    with old.client() as client:
        assert stow(client, one, large).status_code == 200
        stow(client, other)
        made = client.post("/api/tokens", json={"name": "robot", "role": "viewer"})
    senders = Senders(peer_program("storescu"), tmp_path, templates(), 0).start(old.dimse_port)
    senders.wait_for_an_answer()
    first = migrated(old, new)
    assert first["moved"] >= 2
    assert first["quarantined"] == 1
    acknowledged = senders.acknowledged()
    second = migrated(old, new)
    assert second["there"] >= first["moved"]
    assert second["moved"] + second["there"] == len(acknowledged) + 2
    assert second["quarantined"] == second["users"] == second["tokens"] == 0
    with old.client() as client:
        expected = contents(client)
        studies = as_found(client)
    assert old.stop() == 0
    assert migrated(old, new)["moved"] == 0
    now = started(start_node, new)
    with now.client() as client:  # the old password
        assert contents(client) == expected
        assert as_found(client) == studies
        (entry,) = client.get("/api/quarantine").json()
        kept = client.get(f"/api/quarantine/{entry['id']}/file").content
        assert data_set_bytes(kept) == data_set_bytes(part10(other))
    token = {"Authorization": f"Bearer {made.json()['token']}"}
    with now.client(auth=None, headers=token) as client:
        assert client.get("/dicom-web/studies?limit=1").status_code == 200
    assert not (now.data / "store").exists()


@pytest.mark.timeout(240)
def test_a_run_that_was_killed_goes_on_and_doubles_nothing(start_node, new):
    old = start_node()
    with old.client() as client:
        stow(client, *(a_data_set(rows=128, columns=128, seed=n) for n in range(40)))
        expected = contents(client)
    running = subprocess.Popen([*command(old, new), "--rate", "0.2"])
    time.sleep(4)
    assert running.poll() is None, "it was over before it was killed: no teeth"
    running.kill()
    running.wait()
    report = migrated(old, new)
    assert report["moved"] + report["there"] == 40
    now = started(start_node, new)
    with now.client() as client:
        assert contents(client) == expected


def test_what_is_damaged_is_told_and_not_brought_over(start_node, new):
    old: FilmroomProcess = start_node()
    with old.client() as client:
        stow(client, *(a_data_set(seed=n) for n in range(4)))
    hurt, gone, *_ = old.stored()
    content = bytearray(hurt.read_bytes())
    content[-50] ^= 1
    hurt.write_bytes(content)
    gone.unlink()
    report = migrated(old, new, code=1)
    assert (report["moved"], report["bad"]) == (2, 2)
    assert set(report["listed"]) == {hurt.key, gone.key}


def test_the_same_settings_are_refused(start_node, tmp_path):
    about_files()
    old = start_node()
    same = tmp_path / "same.toml"
    same.write_text(f'data = "{old.data}"\n')
    done = subprocess.run(command(old, same), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the old one" in done.stderr
