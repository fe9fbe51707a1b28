"""Several filmrooms in one database, and one behind a pooler: nothing is shared, nothing left."""

from __future__ import annotations

import queue
import re
import time
from urllib.parse import urlsplit

import psycopg
import pytest

from filmroom.archive.errors import Refused
from filmroom.archive.records import Query
from filmroom.dicom.models import Level
from filmroom.index.engine import Place, load_statements
from filmroom.index.migrate import tables
from filmroom.index.namespace import Namespace
from filmroom.index.queries import open_index
from index_rows import an_instance
from pooler import pooler

LONGEST = "n" * 63


@pytest.fixture
def url(postgres):
    """Of an empty database."""
    return postgres.database()


@pytest.fixture
def neighbours(url):
    """Three filmrooms in one database."""
    opened = [open_index(Place(url, name)) for name in ("", "films", LONGEST)]
    yield opened
    for each in opened:
        each.close()


def as_somebody(url, *statements):
    """The URL for a role of no rights but those given by `statements`, run by the owner."""
    parts = urlsplit(url)
    with psycopg.connect(url, autocommit=True) as owner:
        for statement in ("DROP ROLE IF EXISTS somebody", "CREATE ROLE somebody LOGIN"):
            owner.execute(statement)
        for statement in statements:
            owner.execute(statement.encode())
    return parts._replace(netloc=f"somebody@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
def somebody(url, postgres):
    yield lambda *statements: as_somebody(url, *statements)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("DROP OWNED BY somebody CASCADE")
        owner.execute("DROP ROLE somebody")


def test_each_holds_its_own_and_clears_its_own(neighbours):
    for n, index in enumerate(neighbours):
        assert index.add([an_instance(SOPInstanceUID=f"1.{i}") for i in range(n + 1)])
        index.quarantine(f"key{n}", "reason", "1.2", an_instance().origin, 1, 1.0)
    for n, index in enumerate(neighbours):
        assert index.statistics().instances == n + 1
        assert len(index.search(Query(Level.IMAGE, {}))) == n + 1
        assert [each.key for each in index.quarantined()] == [f"key{n}"]
    neighbours[1].clear()
    assert [index.statistics().instances for index in neighbours] == [1, 0, 3]


def test_none_hears_what_the_others_tell(neighbours):
    heard = [queue.SimpleQueue() for _ in neighbours]
    for index, said in zip(neighbours, heard, strict=True):
        index.listen(lambda topic, payload, said=said: said.put(payload))
    for n, index in enumerate(neighbours):
        with index._engine.write() as tx:
            tx.notify("told", str(n))
    assert [said.get(timeout=10) for said in heard] == ["0", "1", "2"]
    time.sleep(0.2)
    assert all(said.empty() for said in heard)


def test_none_waits_for_the_locks_of_the_others(neighbours):
    one, *others = neighbours
    with one._engine.write() as tx:
        tx.rows(one._engine.statements["lock_schema"])
        tx.rows(one._engine.statements["events_settle"])
        for other in others:
            with other._engine.write() as theirs:
                theirs.rows(other._engine.statements["patience"])
                theirs.rows(other._engine.statements["lock_schema"])
                theirs.rows(other._engine.statements["events_settle"])


def test_names_are_found_through_their_trigrams_in_each(neighbours, url):
    with psycopg.connect(url) as connection:
        made = connection.execute(
            "SELECT schemaname FROM pg_indexes WHERE indexname = 'patient_by_words'"
        ).fetchall()
        assert sorted(made) == sorted([("public",), ("films",), (LONGEST,)])
        (where,) = connection.execute(
            "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace"
            " WHERE extname = 'pg_trgm'"
        ).fetchall()
    assert where == ("public",)


def test_a_namespace_may_go_without_the_others(neighbours, url):
    neighbours[0].add([an_instance()])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA films CASCADE")
    assert neighbours[0].statistics().instances == 1
    assert neighbours[2].search(Query(Level.PATIENT, {})) == []


def test_every_table_in_every_statement_gets_the_namespace():
    names = tables("postgres")
    assert {"patient", "study_modality", "schema_version", "damage"} <= names
    namespace = Namespace("films", names)
    statements = load_statements("postgres", {"ids": "unnest(:ids) WITH ORDINALITY AS k (id, n)"})
    placed = {name: namespace.placed(sql) for name, sql in statements.items()}
    alone = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|TRUNCATE|,)\s+({'|'.join(names)})\s+\w")
    assert {name: found for name, sql in placed.items() if (found := alone.findall(sql))} == {}
    assert 'INSERT INTO "films".series_metadata (series, instances' in placed["put_metadata"]
    assert placed["events_begin"] != statements["events_begin"]
    assert Namespace("", names).placed(statements["held"]) == statements["held"]


@pytest.mark.parametrize(
    "name", ["Films", "1a", "pg_films", "n" * 64, 'a"b', "a b", "a.b", "ü", "a;", "a\n"]
)
def test_what_is_no_name_is_refused(name, url):
    with pytest.raises(ValueError, match="a namespace has"):
        open_index(Place(url, name))


def test_a_namespace_that_may_not_be_made_is_asked_for_in_plain_words(somebody):
    with pytest.raises(Refused, match="CREATE SCHEMA films AUTHORIZATION"):
        open_index(Place(somebody(), "films"))


def test_a_namespace_that_is_there_is_enough(somebody):
    opened = open_index(Place(somebody("CREATE SCHEMA films AUTHORIZATION somebody"), "films"))
    assert opened.add([an_instance()]) == [True]
    opened.close()


def test_behind_a_pooler_a_server_that_does_not_wait_for_its_disk_is_refused(postgres, url):
    name = urlsplit(url).path[1:]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    with pooler(postgres) as running, pytest.raises(Refused, match="synchronous_commit"):
        open_index(Place(running.url(url), pooler=True))
    direct = open_index(Place(url))  # there we say so ourselves
    assert direct._engine.rows("SHOW synchronous_commit") == [("on",)]
    direct.close()


def test_past_no_pooler_a_node_hears_itself_and_is_out_of_touch(pooled):
    place = pooled()
    deaf, other = (open_index(Place(place.url, place.namespace, pooler=True)) for _ in range(2))
    said = queue.SimpleQueue()
    deaf.listen(lambda topic, payload: said.put(payload))
    assert not deaf.in_touch
    for n, index in enumerate((other, deaf)):
        with index._engine.write() as tx:
            tx.notify("told", str(n))
    assert said.get(timeout=10) == "1"
    assert said.empty()
    deaf.close()
    other.close()


def test_nothing_is_left_in_the_sessions_of_a_pooler(pooled):
    opened = open_index(pooled())
    for n in range(40):
        opened.add([an_instance(SOPInstanceUID=f"1.2.{n}")])
        opened.held([f"1.2.{n}"])
    left = opened._engine.rows(
        "SELECT current_setting('search_path'), current_setting('lock_timeout'),"
        " (SELECT count(*) FROM pg_prepared_statements)"
    )
    assert left == [('"$user", public', "0", 0)]
    opened.close()
