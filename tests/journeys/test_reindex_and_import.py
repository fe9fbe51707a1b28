"""Files come in without the network, the index goes and comes again: on SQLite and PostgreSQL."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pydicom.data
import pytest

from instances import a_data_set, an_instance, data_set_bytes, part10
from nodes import FilmroomProcess, about_files
from packaged import packaged_files
from peers import filmroom, run
from stored import Bucket, place_of

OURS, OTHERS = "0a1b", "2c3d"  # digits of nodes on one object store
DISC = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
# A mixture: documents, waveforms, several frames, other letters, odd values.
SAMPLES = {
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "waveform_ecg.dcm",
    "reportsi.dcm",
    "rtplan.dcm",
    "rtdose.dcm",
    "chrH32.dcm",
    "chrX1.dcm",
    "emri_small.dcm",
    "image_dfl.dcm",
    "examples_palette.dcm",
}


@pytest.fixture
def sqlite_node(tmp_path):
    """A filmroom with an empty data folder, not started yet."""
    process = FilmroomProcess(tmp_path / "node", ("--peer", "*=127.0.0.1:0:all"))
    yield process
    process.kill()


@pytest.fixture
def node(engine, sqlite_node):
    """The same, with its index on the one engine or the other."""
    return sqlite_node


@pytest.fixture
def media(tmp_path) -> Path:
    """A folder with files of several kinds, in folders, and in a ZIP."""
    folder = tmp_path / "media"
    (folder / "deep" / "deeper").mkdir(parents=True)
    files = [f for f in packaged_files() if f.name in SAMPLES]
    for number, file in enumerate(files):
        (folder / ("deep", "deep/deeper")[number % 2] / file.name).write_bytes(file.content)
    (folder / "notes.txt").write_text("not an image")
    with zipfile.ZipFile(folder / "more.zip", "w") as zipped:
        for number in range(3):
            zipped.writestr(f"more/{number}.dcm", an_instance(PatientID="ZIP"))
    return folder


def import_into(node, *paths, status=0) -> dict:
    done = filmroom("import", "--data", node.data, "--json", *paths)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def reindex(node) -> dict:
    done = filmroom("reindex", "--data", node.data, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(node) -> dict[str, list]:
    """Everything that searches say, at all six paths; metadata of all studies."""
    with node.client() as client:

        def get(path):
            response = client.get(f"/dicom-web{path}")
            assert response.status_code == 200, response.text
            return sorted(response.json(), key=lambda each: json.dumps(each, sort_keys=True))

        found = {level: get(f"/{level}?includefield=all") for level in LEVELS}
        for study in {answer["0020000D"]["Value"][0] for answer in found["studies"]}:
            for path in ("series", "instances"):
                path = f"/studies/{study}/{path}"
                found[path] = get(f"{path}?includefield=all")
            for series in found[f"/studies/{study}/series"]:
                path = f"/studies/{study}/series/{series['0020000E']['Value'][0]}/instances"
                found[path] = get(f"{path}?includefield=all")
            found[f"{study} metadata"] = get(f"/studies/{study}/metadata")
    return found


LEVELS = ("studies", "series", "instances")


def instances(node) -> dict[str, str]:
    """SOP Instance UID -> its path below /dicom-web, of all that is found."""
    with node.client() as client:
        found = client.get("/dicom-web/instances").json()
    tags = ("0020000D", "0020000E", "00080018")
    uids = [[each[tag]["Value"][0] for tag in tags] for each in found]
    return {
        instance: f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        for study, series, instance in uids
    }


def retrieved(node, path) -> bytes:
    with node.client() as client:
        response = client.get(path, headers=AS_STORED)
        assert response.status_code == 200, response.text
        return data_set_bytes(response.content)


# -- import ------------------------------------------------------------------------------------
def test_files_folders_a_zip_and_a_disc_are_imported(node, media, tmp_path):
    lone = tmp_path / "lone.dcm"
    lone.write_bytes(an_instance(PatientID="LONE"))
    score = import_into(node, lone, media, DISC / "DICOMDIR")
    on_disc = {
        pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
        for path in DISC.glob("[79]*/*/*")
    }
    assert score["new"] == 1 + len(SAMPLES) + 3 + len(on_disc)
    assert score["failed"] == 0
    again = import_into(node, lone, media, DISC / "DICOMDIR")
    assert (again["new"], again["same"]) == (0, score["new"])
    node.start()
    held = instances(node)
    assert len(held) == score["new"]
    assert on_disc <= set(held)
    sent = {f.sop_instance_uid: f.content for f in packaged_files() if f.name in SAMPLES}
    for uid, content in sent.items():
        assert retrieved(node, held[uid]) == data_set_bytes(content)


def test_import_beside_a_running_server_is_refused_and_says_what_to_do(sqlite_node, media):
    node = sqlite_node.start()
    done = filmroom("import", "--data", node.data, media)
    assert done.returncode == 1
    assert "filmroom send" in done.stderr or "in use" in done.stderr
    assert instances(node) == {}


# -- reindex ---------------------------------------------------------------------------------
def test_an_index_made_from_the_files_gives_the_same_answers(node, media, peer_program):
    import_into(node, media)
    node.start()
    sent = a_data_set(PatientID="DIMSE", frames=3)
    path = media / "sent.dcm"
    path.write_bytes(part10(sent))
    to = ("-aec", "FILMROOM", "127.0.0.1", node.dimse_port)
    assert run(peer_program("storescu"), *to, path).returncode == 0
    before = answers(node)
    assert node.stop() == 0
    report = reindex(node)
    assert (report["unreadable"], report["duplicates"]) == (0, 0)
    assert report["added"] == report["files"] == len(before["instances"])
    node.start()
    assert answers(node) == before
    node.stop()


@pytest.mark.elsewhere
def test_a_lost_index_is_made_anew(sqlite_node, media):
    node = sqlite_node
    import_into(node, media)
    node.start()
    before = answers(node)
    node.stop()
    node.lose_index()
    reindex(node)
    node.start()
    assert answers(node) == before


# -- a crash in the worst instant --------------------------------------------------------------
def as_left_by_a_crash(node, file: bytes, *, of_another: bool = False) -> None:
    """Seal a file as the committer does, give it no row, and leave the mark of a run.

    of_another: by a node that is at work on the same objects.
    """
    ds = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
    place = place_of(node.settings, node.data)
    name = ds.SOPInstanceUID
    if isinstance(place, Bucket):
        name += f"_{OTHERS if of_another else OURS}beef"
    day = f"store/{datetime.now(UTC):%Y/%m/%d}"
    place.write(f"{day}/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{name}.dcm", file)
    node.data.mkdir(parents=True, exist_ok=True)
    (node.data / "node").write_text(f"{OURS}\n")
    (node.data / "running").write_text(f"{datetime.now(UTC):%Y/%m/%d}\n")


@pytest.mark.elsewhere
def test_a_file_that_a_crash_left_without_a_row_gets_one_at_the_next_start(node):
    """And one that is not whole gets none, and hinders nobody."""
    whole, half = an_instance(PatientID="ORPHAN"), an_instance()
    as_left_by_a_crash(node, whole)
    as_left_by_a_crash(node, half[:-100])
    node.start()
    ((uid, path),) = instances(node).items()
    assert retrieved(node, path) == data_set_bytes(whole)
    assert "did not end cleanly" in node.log.read_text()
    assert node.stop() == 0
    assert not (node.data / "running").exists()
    node.start()
    assert list(instances(node)) == [uid]


@pytest.mark.elsewhere
def test_an_object_that_another_node_is_just_storing_is_left_to_it(sqlite_node):
    node = sqlite_node
    if not isinstance(place_of(node.settings, node.data), Bucket):
        pytest.skip("files are of one node only")
    ours, theirs = an_instance(PatientID="OURS"), an_instance(PatientID="THEIRS")
    as_left_by_a_crash(node, ours)
    as_left_by_a_crash(node, theirs, of_another=True)
    node.start()
    ((_, path),) = instances(node).items()
    assert retrieved(node, path) == data_set_bytes(ours)
    assert len(node.stored()) == 2


def test_without_the_mark_of_a_crash_the_store_is_not_searched(sqlite_node):
    as_left_by_a_crash(sqlite_node, an_instance())
    (sqlite_node.data / "running").unlink()
    sqlite_node.start()
    assert instances(sqlite_node) == {}


# -- the same on both engines ---------------------------------------------------------------
def test_stored_found_and_retrieved_before_and_after_a_restart(node, media, peer_program, tmp_path):
    node.start()
    files = {
        f.sop_instance_uid: f.content
        for f in packaged_files()
        if f.name in SAMPLES and f.name != "image_dfl.dcm"
    }
    sent = filmroom("send", "127.0.0.1", node.dimse_port, media, "-c", "FILMROOM", "--json")
    assert sent.returncode == 0, sent.stderr
    held = instances(node)
    assert len(held) == len(SAMPLES) + 3
    for uid, content in files.items():
        assert retrieved(node, held[uid]) == data_set_bytes(content)
    at = ("127.0.0.1", node.dimse_port, "-c", "FILMROOM")
    found = json.loads(filmroom("find", *at, "-k", "PatientID=ZIP", "--json").stdout)
    assert len(found) == 3
    study = f"StudyInstanceUID={found[0]['0020000D']['Value'][0]}"
    got = filmroom("get", *at, "--to", tmp_path / "got", "-k", study)
    assert got.returncode == 0, got.stderr
    assert len(list((tmp_path / "got").rglob("*.dcm"))) == 1
    before = answers(node)
    assert node.stop() == 0
    node.start()
    assert answers(node) == before


def test_a_killed_server_comes_back_with_all_it_has(node, media):
    node.start()
    assert filmroom("send", "127.0.0.1", node.dimse_port, media, "-c", "FILMROOM").returncode == 0
    before = answers(node)
    node.kill()
    assert (node.data / "running").exists()
    node.start()
    assert answers(node) == before
    assert node.temporary_files() == []


def test_a_data_folder_can_be_copied_and_served_elsewhere(sqlite_node, media, tmp_path):
    """What docs/disk.md says of a backup: the files, and the index by a new run over them."""
    about_files()
    node = sqlite_node
    import_into(node, media)
    node.start()
    before = answers(node)
    copy = FilmroomProcess(tmp_path / "copy")
    shutil.copytree(node.data / "store", copy.data / "store")  # while the server runs
    node.stop()
    reindex(copy)
    copy.start()
    try:
        assert answers(copy) == before
    finally:
        copy.kill()
    assert os.listdir(node.data / "tmp") == []
