"""The restore drill: a backup taken beside a busy server is an archive, whatever happened to it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from instances import a_data_set
from nodes import about_files
from senders import Senders, contents, stow, templates


def filmroom(*arguments, code=0):
    """Run a command; what it printed. code: the exit status it must have."""
    command = [sys.executable, "-m", "filmroom.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def report(*arguments, code=0):
    command = [sys.executable, "-m", "filmroom.cli.main", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def archive(start_node):
    """A node with a few instances and one refused file."""
    about_files()
    node = start_node()
    one, other = a_data_set(seed=1), a_data_set(seed=2)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(other, keyword, getattr(one, keyword))
    with node.client() as client:
        stow(client, one, *(a_data_set(seed=n, frames=2) for n in range(3, 9)))
        stow(client, other)
    return node


def restored(start_node, backup, folder):
    """A node on what `filmroom restore` makes of a backup."""
    folder.mkdir()
    filmroom("restore", backup, "--data", folder / "data")
    return start_node(folder=folder)


def test_a_backup_beside_a_running_server_can_be_restored(archive, start_node, tmp_path):
    backup = tmp_path / "backup"
    assert "7 of 7 files were new" in filmroom("backup", backup, "--data", archive.data)
    assert report("verify", backup)["is_sound"]
    with archive.client() as client:
        expected = contents(client)
        quarantined = client.get("/api/quarantine").json()
    archive.kill()
    shutil.rmtree(archive.data)
    again = restored(start_node, backup, tmp_path / "again")
    with again.client() as client:  # the accounts came along: it is the same password
        assert contents(client) == expected
        assert client.get("/api/quarantine").json() == quarantined
        kept = client.get(f"/api/quarantine/{quarantined[0]['id']}/file")
        assert kept.status_code == 200
        assert stow(client, a_data_set()).status_code == 200
    assert not (again.data / "restoring").exists()


def test_a_second_backup_copies_only_what_is_new(archive, tmp_path):
    backup = tmp_path / "backup"
    filmroom("backup", backup, "--data", archive.data)
    before = {p: p.stat().st_mtime_ns for p in (backup / "store").rglob("*.dcm")}
    with archive.client() as client:
        stow(client, a_data_set(), a_data_set())
    assert report("backup", backup, "--data", archive.data)["copied"] == 2
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert report("verify", backup)["instances"] == 9
    note = json.loads((backup / "backup.json").read_text())
    assert (note["instances"], note["left_out"]) == (9, 0)


@pytest.mark.timeout(240)
def test_a_backup_while_four_associations_store_is_whole(start_node, peer_program, tmp_path):
    about_files()
    node, backup = start_node(), tmp_path / "backup"
    senders = Senders(peer_program("storescu"), tmp_path, templates(), 0).start(node.dimse_port)
    senders.wait_for_an_answer()
    counts = [report("backup", backup, "--data", node.data)["instances"] for _ in range(3)]
    acknowledged = senders.acknowledged()
    assert counts == sorted(counts)
    assert 0 < counts[0] < len(acknowledged), "it was over before the backup: no teeth"
    assert report("verify", backup)["instances"] == counts[-1]
    assert report("backup", backup, "--data", node.data)["instances"] == len(acknowledged)
    node.kill()
    again = restored(start_node, backup, tmp_path / "again")
    with again.client() as client:
        found = contents(client)
    assert found == {uid: senders.sent[uid] for uid in acknowledged}


def test_a_backup_that_was_cut_short_leaves_the_one_before(archive, tmp_path):
    backup = tmp_path / "backup"
    filmroom("backup", backup, "--data", archive.data)
    with archive.client() as client:
        stow(client, *(a_data_set(rows=256, columns=256, seed=n) for n in range(30)))
    command = [sys.executable, "-m", "filmroom.cli.main", "backup", backup, "--data", archive.data]
    running = subprocess.Popen([*command, "--rate", "1"])
    while not (backup / "index.sqlite.new").exists() or len(files(backup)) < 10:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert report("verify", backup)["instances"] == 7
    assert report("backup", backup, "--data", archive.data)["instances"] == 37
    assert report("verify", backup)["is_sound"]
    assert list((backup / "tmp").iterdir()) == []


def files(folder):
    return list((folder / "store").rglob("*.dcm"))


def test_a_restore_that_was_cut_short_goes_on(archive, start_node, tmp_path):
    backup, data = tmp_path / "backup", tmp_path / "again" / "data"
    filmroom("backup", backup, "--data", archive.data)
    command = [sys.executable, "-m", "filmroom.cli.main", "restore", backup, "--data", data]
    running = subprocess.Popen([*command, "--rate", "0.001"])
    while not files(data):
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.wait()
    assert not (data / "index.sqlite").exists()
    assert report("restore", backup, "--data", data)["instances"] == 7
    again = start_node(folder=data.parent)
    with again.client() as client, archive.client() as original:
        assert contents(client) == contents(original)


def test_a_damaged_file_is_told_and_left_out(archive, tmp_path):
    backup = tmp_path / "backup"
    hurt, gone = sorted(archive.stored(), key=lambda blob: len(blob.read_bytes()))[:2]
    flip(hurt)
    gone.unlink()
    told = report("backup", backup, "--data", archive.data, code=1)
    assert told["bad"] == 2
    assert set(told["listed"]) == {hurt.key, gone.key}
    assert len(files(backup)) == 5
    assert "2 damaged or gone" in filmroom("verify", backup, code=1)


def test_verify_finds_one_flipped_bit(archive, tmp_path):
    backup = tmp_path / "backup"
    filmroom("backup", backup, "--data", archive.data)
    flip(files(backup)[3])
    told = report("verify", backup, code=1)
    assert told["listed"] == [files(backup)[3].relative_to(backup / "store").as_posix()]


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def test_what_would_destroy_something_is_refused(archive, start_node, tmp_path):
    backup = tmp_path / "backup"
    filmroom("backup", backup, "--data", archive.data)
    full = start_node()
    with full.client() as client:
        stow(client, a_data_set())
    assert "in use" in filmroom("restore", backup, "--data", full.data, code=1)
    full.kill()
    assert "holds an archive" in filmroom("restore", backup, "--data", full.data, code=1)
    assert len(full.stored()) == 1
    inside = archive.data / "backup"
    assert "lie in each other" in filmroom("backup", inside, "--data", archive.data, code=1)
    assert "is no backup" in filmroom("restore", tmp_path, "--data", tmp_path / "x", code=1)
    assert "is no backup" in filmroom("verify", tmp_path, code=1)
    assert "no index" in filmroom("backup", tmp_path / "b", "--data", tmp_path / "x", code=1)


def test_other_engines_are_sent_to_their_own_tools(tmp_path):
    config = tmp_path / "filmroom.toml"
    config.write_text('[index]\nurl = "postgresql://nobody@127.0.0.1:1/none"\n')
    said = filmroom("backup", tmp_path / "b", "--config", config, code=1)
    assert "their own tools" in said
    assert not (tmp_path / "b").exists()
