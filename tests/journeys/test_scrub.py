"""One flipped bit among many files is found, kept from everybody, and healed.

With FILMROOM_SCRUB_FILES=10000 for the long form.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from filmroom.index.queries import open_index
from instances import a_data_set, data_set_bytes, part10
from nodes import FilmroomProcess, about_files, free_port
from peers import filmroom, run, storescp

FILES = int(os.environ.get("FILMROOM_SCRUB_FILES", "300"))
STUDY, SERIES = "1.2.826.0.1.3680043.10.77.1", "1.2.826.0.1.3680043.10.77.1.1"
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
MANY = 600 + FILES // 5  # seconds


def uid(number):
    return f"{SERIES}.{100_000 + number}"


@pytest.fixture
def files(tmp_path):
    """UID -> a small file; all of one series, each with pixels of its own."""
    folder = tmp_path / "sent"
    folder.mkdir()
    template = part10(
        a_data_set(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=uid(0))
    )
    found = {}
    for number in range(FILES):
        content = template.replace(uid(0).encode(), uid(number).encode())
        content = content[:-4] + number.to_bytes(4, "little")
        found[uid(number)] = folder / f"{uid(number)}.dcm"
        found[uid(number)].write_bytes(content)
    return found


@pytest.fixture
def receiver():
    return free_port()


@pytest.fixture
def copy(tmp_path):
    """Where a second copy may be made of files; of objects it is the store's to have one."""
    about_files()
    return tmp_path / "copy"


@pytest.fixture
def node(engine, tmp_path, files, receiver):
    """A running filmroom that holds the files."""
    peers = ("--peer", "*=127.0.0.1:0:all", "--peer", f"STORESCP=127.0.0.1:{receiver}:all")
    process = FilmroomProcess(tmp_path / "node", peers)
    imported = filmroom("import", "--data", process.data, tmp_path / "sent", timeout=MANY)
    assert imported.returncode == 0, imported.stderr
    process.start()
    yield process
    process.kill()


def scrub(node, *options, status=0):
    done = filmroom("scrub", "--data", node.data, "--rate", 0, "--json", *options, timeout=MANY)
    assert done.returncode == status, done.stderr + done.stdout
    return json.loads(done.stdout)


def flip_a_bit(blob):
    """In the middle of the pixels; the size stays as it was, and a file's time."""
    content = bytearray(blob.read_bytes())
    content[-200] ^= 0x04
    blob.write_bytes(bytes(content))


def address(which):
    return f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{which}"


def refused(node, files):
    """The UIDs that HTTP does not give; of all others what was sent comes back."""
    found = []
    with node.client() as client:
        for which, path in files.items():
            answer = client.get(address(which), headers=AS_STORED)
            if answer.status_code == 500 and "damaged" in answer.json()["detail"]:
                found.append(which)
            else:
                assert answer.status_code == 200, answer.text
                assert data_set_bytes(answer.content) == data_set_bytes(path.read_bytes())
    return found


def wait_until_refused(node, which):
    """The server takes notice of what another process has marked within a second or two."""
    deadline = time.monotonic() + 20
    with node.client() as client:
        while client.get(address(which), headers=AS_STORED).status_code != 500:
            assert time.monotonic() < deadline, "still served"
            time.sleep(0.1)


def metric(node, name):
    with node.client() as client:
        for line in client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


@pytest.mark.elsewhere
@pytest.mark.timeout(3 * MANY)
def test_one_flipped_bit_is_found_kept_from_everybody_and_healed_by_a_resend(
    node, files, receiver, peer_program, tmp_path
):
    bad = uid(FILES // 3)
    with node.client() as client:  # its handle is remembered, the series' metadata made
        assert client.get(address(bad), headers=AS_STORED).status_code == 200
        assert len(client.get(f"/dicom-web/studies/{STUDY}/metadata").json()) == FILES
    flip_a_bit(node.blob(bad))
    began = time.perf_counter()
    report = scrub(node, status=1)
    print(f"{FILES} files read in {time.perf_counter() - began:.1f} s")
    assert [mark["sop_instance_uid"] for mark in report["damaged"]] == [bad]
    assert report["damaged"][0]["reason"] == "content"
    assert report["progress"]["instances"] == FILES
    wait_until_refused(node, bad)

    assert refused(node, files) == [bad]
    assert metric(node, "filmroom_archive_damaged") == 1
    with node.client() as client:
        for path in ("/frames/1", "/rendered", "/thumbnail", "/metadata", "/bulkdata/7FE00010"):
            answer = client.get(address(bad) + path, headers={"Accept": "*/*"})
            assert answer.status_code == 500, path
        answer = client.get(f"/dicom-web/studies/{STUDY}/metadata")
        assert len(answer.json()) == FILES - 1
        assert "1 of the instances left out" in answer.headers["warning"]
        assert len(client.get(f"/dicom-web/studies/{STUDY}/instances?limit=20000").json()) == FILES
    at = ("127.0.0.1", node.dimse_port)
    got = filmroom(
        "get", *at, "-c", "FILMROOM", "--to", tmp_path / "got",
        "-k", f"StudyInstanceUID={STUDY}", timeout=MANY,
    )  # fmt: skip
    assert got.returncode == 1
    assert "failed 1 " in got.stdout
    assert {path.stem for path in (tmp_path / "got").glob("*.dcm")} == set(files) - {bad}
    with storescp(peer_program("storescp"), tmp_path / "moved", receiver):
        moved = run(
            peer_program("movescu"), "-S", "-v", "-aec", "FILMROOM", "-aem", "STORESCP", *at,
            "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}", timeout=MANY,
        )  # fmt: skip
        assert "SubOperationsCompleteOneOrMoreFailures" in moved.stdout, moved.stdout[-2000:]
        assert len(list((tmp_path / "moved").iterdir())) == FILES - 1

    sent = filmroom("send", *at, files[bad], "-c", "FILMROOM")
    assert sent.returncode == 0, sent.stderr
    assert refused(node, files) == []
    assert scrub(node)["is_sound"]
    assert metric(node, "filmroom_archive_damaged") == 0
    with node.client() as client:
        assert len(client.get(f"/dicom-web/studies/{STUDY}/metadata").json()) == FILES
        [kept] = client.get("/api/quarantine").json()
    assert (kept["sop_instance_uid"], "damaged" in kept["reason"]) == (bad, True)

    with node.client() as client:
        searched = f"/dicom-web/studies/{STUDY}/instances?limit=20000&includefield=all"
        before = client.get(searched).json()
    assert node.stop() == 0
    again = filmroom("reindex", "--data", node.data, "--json", timeout=MANY)
    assert json.loads(again.stdout)["added"] == FILES
    node.start()
    with node.client() as client:
        assert client.get(searched).json() == before
    assert scrub(node)["is_sound"]


@pytest.mark.timeout(2 * MANY)
def test_a_flipped_bit_and_a_lost_file_are_healed_from_the_second_copy(
    copy, node, files, monkeypatch
):
    (copy / "store").mkdir(parents=True)
    monkeypatch.setenv("FILMROOM__BLOBS__COPY_URL", f"file://{copy}")
    assert scrub(node)["progress"]["copy_lacks"] == FILES
    assert scrub(node, "--copy")["progress"]["copied"] == FILES
    bad, lost = uid(1), uid(FILES - 1)
    flip_a_bit(node.blob(bad))
    node.blob(lost).unlink()
    report = scrub(node)
    assert (report["progress"]["damaged"], report["progress"]["repaired"]) == (2, 2)
    assert report["is_sound"]
    assert refused(node, files) == []


@pytest.mark.timeout(2 * MANY)
def test_a_server_with_a_second_copy_mends_what_it_stumbles_over(copy, node, files, monkeypatch):
    shutil.copytree(node.data / "store", copy / "store")
    node.stop()
    monkeypatch.setenv("FILMROOM__BLOBS__COPY_URL", f"file://{copy}")
    node.start()
    node.blob(uid(5)).unlink()
    deadline = time.monotonic() + 20
    with node.client() as client:
        assert client.get(address(uid(5)), headers=AS_STORED).status_code == 500
        while client.get(address(uid(5)), headers=AS_STORED).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert metric(node, "filmroom_scrub_suspected_total") == 1
    assert metric(node, "filmroom_scrub_repaired_total") == 1
    assert node.log.read_text().count("a stored file could not be read") == 1
    assert refused(node, files) == []


@pytest.mark.elsewhere
@pytest.mark.timeout(2 * MANY)
def test_what_a_server_finds_gone_is_marked_and_healed_by_a_resend(node, files):
    """Nobody scrubs: somebody asks for it."""
    lost = uid(6)
    node.blob(lost).unlink()
    with node.client() as client:
        assert client.get(address(lost), headers=AS_STORED).status_code == 500
    deadline = time.monotonic() + 20
    while metric(node, "filmroom_archive_damaged") != 1:
        assert time.monotonic() < deadline, "nobody has looked at it"
        time.sleep(0.1)
    assert refused(node, files) == [lost]
    sent = filmroom("send", "127.0.0.1", node.dimse_port, files[lost], "-c", "FILMROOM")
    assert sent.returncode == 0, sent.stderr
    assert refused(node, files) == []
    assert scrub(node)["is_sound"]


@pytest.mark.elsewhere
@pytest.mark.timeout(2 * MANY)
def test_files_and_rows_without_partner_are_found(node, files):
    node.blob(uid(2)).unlink()
    stray = node.blob(uid(3)).beside("1.2.3.4.5.dcm")
    stray.write_bytes(part10(a_data_set(SOPInstanceUID="1.2.3.4.5")))
    if stray.path is not None:
        os.utime(stray.path, (time.time() - 60,) * 2)
    report = scrub(node, status=1)
    assert report["strays"]["files"] == [stray.key]
    assert [mark["reason"] for mark in report["damaged"]] == ["gone"]
    report = scrub(node, "--adopt", status=1)  # the lost one stays lost
    assert (report["strays"]["file_count"], report["strays"]["adopted"]) == (0, 1)
    with node.client() as client:
        assert len(client.get("/dicom-web/instances?SOPInstanceUID=1.2.3.4.5").json()) == 1


@pytest.mark.timeout(2 * MANY)
def test_a_scrub_that_was_killed_is_gone_on_with(node, files):
    size = sum(path.stat().st_size for path in files.values())
    rate = size / 2**20 / 30  # for half a minute
    command = [sys.executable, "-m", "filmroom.cli.main", "scrub", "--data", str(node.data)]
    told = os.environ | node.settings
    index = open_index(told.get("FILMROOM__INDEX__URL", f"sqlite://{node.data}/index.sqlite"))
    first = subprocess.Popen([*command, "--rate", str(rate)], env=told, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while '"instances":0' in (index.integrity.scrub_state() or '"instances":0'):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.kill()
    first.wait()
    index.close()
    done = filmroom("scrub", "--data", node.data, "--rate", 0, timeout=MANY)
    assert done.returncode == 0, done.stderr
    went_on = int(
        done.stderr.partition("going on after ")[2].partition(" files")[0].replace(",", "")
    )
    assert 0 < went_on < FILES
    assert f"{FILES:,} files read" in done.stdout


@pytest.mark.timeout(2 * MANY)
def test_a_scrub_works_without_a_server_and_marks_what_the_next_one_will_not_serve(node, files):
    assert node.stop() == 0
    bad = uid(7)
    flip_a_bit(node.blob(bad))
    scrub(node, status=1)
    node.start()
    assert refused(node, files) == [bad]
