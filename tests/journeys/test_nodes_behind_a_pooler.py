"""Nodes behind PgBouncer in transaction mode, two archives in one database."""

from __future__ import annotations

import subprocess
import time

import psycopg
import pytest

from instances import a_data_set, data_set_bytes, part10
from nodes import AE_TITLE
from object_store import object_server
from pooler import pooler
from postgres_cluster import cluster
from senders import AS_STORED
from several import Several

FILES = 40
UID = "1.2.826.0.1.3680043.10.9999.7"
HELD = "NumberOfStudyRelatedInstances"


@pytest.fixture(scope="module")
def database():
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def direct(database):
    return database.database()


@pytest.fixture(scope="module")
def make(tmp_path_factory, database, direct):
    """make(namespace, count): that many nodes on one archive, through the pooler."""
    made = []
    with object_server() as server, pooler(database) as running:

        def several(namespace, count):
            environment = {
                "FILMROOM__INDEX__POOLER": "true",
                "FILMROOM__INDEX__NAMESPACE": namespace,
                "FILMROOM__INDEX__LISTEN_URL": direct,
                "FILMROOM__ARCHIVE__DUPLICATES": "replace",
            }
            folder, url = tmp_path_factory.mktemp(namespace), running.url(direct)
            made.append(Several(folder, url, server.place(), count, environment))
            return made[-1].start()

        yield several
        for each in made:
            each.kill()


@pytest.fixture(scope="module")
def north(make):
    return make("north", 2)


@pytest.fixture(scope="module")
def south(make, north):
    return make("south", 1)


def run(peer_program, name, several, *arguments):
    port = str(several.dimse_port)
    command = [peer_program(name), "-v", "-aec", AE_TITLE, "127.0.0.1", port]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def succeeded(sent):
    return sent.stderr.count("Received Store Response (Success)")


@pytest.fixture(scope="module")
def sent(north, peer_program, tmp_path_factory):
    """The data sets of one study, stored by several senders at once on whichever node."""
    study = {"StudyInstanceUID": UID, "PatientID": "N-1"}
    sets = [a_data_set(seed=n, InstanceNumber=n + 1, **study) for n in range(FILES)]
    folder = tmp_path_factory.mktemp("sent")
    for n, ds in enumerate(sets):
        (folder / f"{n}.dcm").write_bytes(part10(ds))
    port = str(north.dimse_port)
    command = [peer_program("storescu"), "-v", "-aec", AE_TITLE, "127.0.0.1", port]
    senders = [
        subprocess.Popen(
            [*command, *(str(folder / f"{n}.dcm") for n in range(first, FILES, 4))],
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in range(4)
    ]
    said = [sender.communicate(timeout=120)[1] for sender in senders]
    assert sum(text.count("Received Store Response (Success)") for text in said) == FILES, said
    return sets


def path_of(ds):
    return (
        f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def test_all_tables_are_in_the_namespaces_and_none_elsewhere(north, south, direct):
    with psycopg.connect(direct) as connection:
        rows = connection.execute(
            "SELECT schemaname, count(*) FROM pg_tables WHERE schemaname NOT IN"
            " ('pg_catalog', 'information_schema') GROUP BY 1"
        ).fetchall()
    assert {name for name, _ in rows} == {"north", "south"}
    assert len({number for _, number in rows}) == 1


def test_what_was_stored_is_found_and_retrieved_from_every_node(
    north, sent, peer_program, tmp_path
):
    study = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={UID}")
    for _ in range(4):  # the system deals the connections out to the nodes
        found = run(peer_program, "findscu", north, "-S", *study, "-k", HELD)
        assert f"[{FILES}" in found.stderr, found.stderr
    kept = tmp_path / "got"
    kept.mkdir()
    run(peer_program, "getscu", north, "-S", "-od", kept, *study)
    got = [data_set_bytes(path.read_bytes()) for path in kept.iterdir()]
    assert sorted(got) == sorted(data_set_bytes(part10(ds)) for ds in sent)
    for node in north.nodes:
        with node.client() as client:
            for ds in sent[:5]:
                stored = client.get(path_of(ds), headers=AS_STORED)
                assert data_set_bytes(stored.content) == data_set_bytes(part10(ds))
            series = f"/dicom-web/studies/{sent[0].StudyInstanceUID}/metadata"
            assert len(client.get(series).json()) == FILES


def test_the_other_archive_in_the_database_holds_nothing_of_it(south, sent):
    with south.nodes[0].client() as client:
        assert client.get("/dicom-web/studies").status_code in (200, 204)
        assert client.get(path_of(sent[0]), headers=AS_STORED).status_code == 404


def test_past_the_pooler_a_replacement_is_told_at_once(north, sent, peer_program, tmp_path):
    ds = sent[0]
    other = a_data_set(seed=1000, StudyInstanceUID=ds.StudyInstanceUID, PatientID=ds.PatientID)
    other.SeriesInstanceUID, other.SOPInstanceUID = ds.SeriesInstanceUID, ds.SOPInstanceUID
    file = tmp_path / "other.dcm"
    file.write_bytes(part10(other))
    clients = [node.client() for node in north.nodes]
    for client in clients:
        assert client.get(path_of(ds), headers=AS_STORED).status_code == 200
    assert succeeded(run(peer_program, "storescu", north, file)) == 1
    time.sleep(1)
    for client in clients:
        stored = client.get(path_of(ds), headers=AS_STORED)
        assert data_set_bytes(stored.content) == data_set_bytes(part10(other))
        client.close()


@pytest.mark.timeout(300)
def test_a_database_that_is_away_behind_the_pooler_is_a_refusal_and_no_restart(
    north, sent, database, peer_program, tmp_path
):
    file = tmp_path / "late.dcm"
    file.write_bytes(part10(a_data_set(seed=7)))
    database.stop()
    started = time.monotonic()
    try:
        refused = run(peer_program, "storescu", north, file)
        assert "Refused: OutOfResources" in refused.stderr, refused.stderr
        print(f"refused after {time.monotonic() - started:.1f} s")
    finally:
        database.start()
    ends = time.monotonic() + 60
    while not succeeded(run(peer_program, "storescu", north, file)):
        assert time.monotonic() < ends
        time.sleep(1)
    for node in north.nodes:
        with node.client() as client:
            assert client.get(path_of(sent[1]), headers=AS_STORED).status_code == 200
