"""What one node changes, the others do not go on with: they are told, or look for themselves."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from filmroom.archive.records import Damage
from filmroom.archive.retrieve import TRUSTED_SECONDS
from filmroom.index.queries import open_index
from instances import a_data_set, data_set_bytes, part10
from senders import AS_STORED
from several import Several

AT_ONCE = 1.0  # seconds; nobody who was not told is so quick
assert AT_ONCE < TRUSTED_SECONDS / 2


@pytest.fixture(scope="module")
def several(tmp_path_factory, database, server):
    made = Several(
        tmp_path_factory.mktemp("several"),
        database.database(),
        server.place(),
        environment={"FILMROOM__ARCHIVE__DUPLICATES": "replace"},
    )
    yield made.start()
    made.kill()


def stow(client, ds):
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part10(ds) + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    return client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind})


def path_of(ds):
    return (
        f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def another(ds, seed):
    other = a_data_set(seed=seed)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(other, keyword, getattr(ds, keyword))
    return other


def gives(client, ds):
    answer = client.get(path_of(ds), headers=AS_STORED)
    if answer.status_code != 200:
        return answer.status_code
    return data_set_bytes(answer.content) == data_set_bytes(part10(ds))


def seconds_until(true, patience=4 * TRUSTED_SECONDS):
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < patience
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def held(several):
    """(an instance that both nodes hold and remember, a client of each)"""
    ds = a_data_set(seed=1)
    with several.nodes[0].client() as first, several.nodes[1].client() as second:
        assert stow(first, ds).status_code == 200
        assert gives(first, ds) is True
        assert gives(second, ds) is True
        yield ds, first, second


def test_what_one_node_replaced_the_other_gives_at_once(held):
    ds, first, second = held
    for seed in range(2, 7):
        ds = another(ds, seed)
        assert stow(first, ds).status_code in (200, 202)
        took = seconds_until(lambda ds=ds: gives(second, ds) is True)
        assert took < AT_ONCE
        print(f"the other node had it after {took * 1000:.0f} ms")


def test_a_connection_that_was_cut_is_made_anew_and_nothing_stays_old(held, several, database):
    ds, first, second = held
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'filmroom listening'"
    )
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        for seed in range(2, 5):
            ds = another(ds, seed)
            assert len(connection.execute(cut).fetchall()) == len(several.nodes)
            assert stow(first, ds).status_code in (200, 202)  # perhaps nobody hears of it
            took = seconds_until(lambda ds=ds: gives(second, ds) is True)
            assert took < AT_ONCE
            time.sleep(1)
        ds = another(ds, 9)  # and from now on all is as it was
        assert stow(first, ds).status_code in (200, 202)
        assert seconds_until(lambda: gives(second, ds) is True) < AT_ONCE


def test_what_was_marked_as_damaged_no_node_gives_any_more(held, several):
    ds, first, second = held
    index = open_index(several.index_url)
    handle = index.instance(ds.SOPInstanceUID)
    index.integrity.mark(handle, Damage.CONTENT, time.time())
    for client in (first, second):
        assert seconds_until(lambda client=client: gives(client, ds) not in (True, False)) < AT_ONCE
    index.integrity.unmark(ds.SOPInstanceUID)
    for client in (first, second):
        assert gives(client, ds) is True
    index.close()


def test_an_account_that_was_disabled_on_one_node_is_disabled_on_the_other(several):
    person = {"name": "radiographer", "password": "a good long passphrase", "role": "viewer"}
    with several.nodes[0].client() as first:
        made = first.post("/api/users", json=person)
        assert made.status_code == 201, made.text
        auth = (person["name"], person["password"])
        with several.nodes[1].client(auth=auth) as second:
            assert second.get("/dicom-web/studies").status_code == 200
            changed = first.patch("/api/users/radiographer", json={"disabled": True})
            assert changed.status_code == 200, changed.text
            refused = seconds_until(lambda: second.get("/dicom-web/studies").status_code == 401)
            assert refused < AT_ONCE


def test_many_replacements_at_once_are_all_told(several):
    sets = [a_data_set(seed=n) for n in range(12)]
    one, other = several.nodes
    with one.client() as first, other.client() as second, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda ds: stow(first, ds), sets))
        assert {answer.status_code for answer in answers} == {200}
        assert all(pool.map(lambda ds: gives(second, ds), sets))
        sets = [another(ds, 100 + n) for n, ds in enumerate(sets)]
        list(pool.map(lambda ds: stow(first, ds), sets))
        assert seconds_until(lambda: all(gives(second, ds) is True for ds in sets)) < AT_ONCE
