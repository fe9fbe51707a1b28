"""The schema: columns for all INDEXED attributes, numbered steps, and plans that use indexes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from filmroom import __version__
from filmroom.archive.errors import Unavailable
from filmroom.archive.records import Query
from filmroom.dicom.match import AnyOf, Range, Single, Wildcard
from filmroom.dicom.models import Level
from filmroom.dicom.tags import INDEXED
from filmroom.index import migrate as migrations
from filmroom.index.migrate import OldNodes, SchemaTooNew, Step, migrate, steps, survey
from filmroom.index.queries import open_index
from filmroom.index.where import COLUMNS, MATCHED_SEQUENCES, TABLES
from index_rows import an_instance


@pytest.mark.parametrize("level", Level)
def test_every_indexed_attribute_has_its_column(index, level):
    for attribute in INDEXED[level]:
        column = COLUMNS[attribute.keyword]
        index._engine.rows(f"SELECT {column.name} FROM {TABLES[level]}")
        if attribute.vr == "PN":
            index._engine.rows(f"SELECT {column.words} FROM {TABLES[level]}")


def test_both_dialects_have_the_same_steps():
    assert [(s.number, s.name) for s in steps("sqlite")] == [
        (s.number, s.name) for s in steps("postgres")
    ]
    numbers = [s.number for s in steps("sqlite")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_matched_sequences_are_attributes_we_know():
    from filmroom.dicom.tags import BY_KEYWORD

    for keyword, sequence in MATCHED_SEQUENCES.items():
        assert BY_KEYWORD[keyword].hex == sequence.hex
        assert BY_KEYWORD[keyword].level is sequence.level


def test_a_schema_is_made_once(index):
    assert migrate(index._engine) == []


def test_two_processes_may_start_at_once(request, tmp_path):
    def start(url):
        opened = open_index(url)
        opened.ping()
        opened.close()

    postgres = request.getfixturevalue("postgres")
    for url in (f"sqlite://{tmp_path}/new.sqlite", postgres.database()):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(start, [url] * 4))


def test_an_index_of_a_later_filmroom_is_refused(index, index_url):
    with index._engine.write() as tx:
        tx.rows("INSERT INTO schema_version VALUES (999, 'from_the_future')")
    with pytest.raises(SchemaTooNew, match="step 999"):
        open_index(index_url)


def test_post_steps_of_a_shared_index_wait_until_told(index, monkeypatch):
    more = (
        *steps(index._engine.dialect.name),
        Step(901, "pre_add_column", "ALTER TABLE app_user ADD COLUMN note text"),
        Step(902, "post_drop_column", "ALTER TABLE app_user DROP COLUMN note"),
    )
    monkeypatch.setattr(migrations, "steps", lambda dialect: more)
    pre, post = "901_pre_add_column", "902_post_drop_column"
    found = survey(index._engine)
    assert (found.pending, found.waiting) == (
        ([pre, post], []) if index.embedded else ([pre], [post])
    )
    assert migrate(index._engine) == ([pre, post] if index.embedded else [pre])
    assert migrate(index._engine, post=True) == ([] if index.embedded else [post])
    found = survey(index._engine)
    assert found.applied[-2:] == [pre, post]
    assert found.pending == found.waiting == found.newer == []


def later(index, *names):
    """Steps of a filmroom that is not written yet."""
    with index._engine.write() as tx:
        for number, name in enumerate(names, 901):
            tx.rows("INSERT INTO schema_version VALUES (?, ?)", (number, name))


def test_an_index_that_is_only_prepared_for_a_later_filmroom_is_ours(index, index_url, caplog):
    later(index, "pre_one", "pre_other")
    with caplog.at_level("INFO", "filmroom.index"):
        open_index(index_url).close()
    (said,) = [record for record in caplog.records if "prepared its upgrade" in record.message]
    assert said.detail == "901_pre_one, 902_pre_other"
    assert survey(index._engine).newer == ["901_pre_one", "902_pre_other"]


@pytest.mark.parametrize("name", ["post_end", "plain", "prepare", "later_pre_x"])
def test_what_is_more_than_prepared_is_refused(index, index_url, name):
    later(index, "pre_one", name, "pre_other")
    with pytest.raises(SchemaTooNew, match="step 902"):
        open_index(index_url)
    with pytest.raises(SchemaTooNew, match="step 902"):
        survey(index._engine)


def test_the_end_of_an_upgrade_waits_for_other_versions_to_leave(request, monkeypatch):
    url = request.getfixturevalue("postgres").database()
    ours = open_index(url)
    more = (*steps("postgres"), Step(901, "post_end", "SELECT 1"))
    monkeypatch.setattr(migrations, "steps", lambda dialect: more)
    ours.cluster.here("another", "0.0.9")
    ours.cluster.here("one like us", __version__)
    with pytest.raises(OldNodes, match=r"another \(0\.0\.9\); upgrade"):
        migrate(ours._engine, post=True)
    assert survey(ours._engine).waiting == ["901_post_end"]
    assert migrate(ours._engine) == []
    ours.cluster.left("another")
    assert migrate(ours._engine, post=True) == ["901_post_end"]
    ours.close()


def test_a_failed_step_leaves_nothing_behind(index, monkeypatch):
    broken = (*steps(index._engine.dialect.name), Step(903, "x", "CREATE TABLE a (b text); oops;"))
    monkeypatch.setattr(migrations, "steps", lambda dialect: broken)
    with pytest.raises(Unavailable):
        migrate(index._engine)
    with pytest.raises(Unavailable):
        index._engine.rows("SELECT * FROM a")


@pytest.mark.parametrize(
    "url", ["sqlite:relative", "sqlite://host/x", "mysql://x/y", "/var/lib/index.sqlite"]
)
def test_another_kind_of_url_is_refused(url):
    with pytest.raises(ValueError, match="sqlite:///absolute/path"):
        open_index(url)


def test_what_cannot_be_opened_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr("filmroom.index.postgres.PATIENCE_SECONDS", 0.5)
    for url in (f"sqlite://{tmp_path}/no/folder", "postgresql://filmroom@127.0.0.1:1/none"):
        with pytest.raises(Unavailable):
            open_index(url)


def test_the_file_is_for_our_eyes_only(tmp_path):
    open_index(f"sqlite://{tmp_path}/i.sqlite").close()
    assert os.stat(tmp_path / "i.sqlite").st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("level", "matches", "led_by"),
    [
        (Level.STUDY, {}, "study_by_date"),
        (Level.STUDY, {"StudyDate": Range("20260101", "20260107")}, "study_by_date"),
        (Level.STUDY, {"ModalitiesInStudy": Single("MR")}, "study_by_modality_and_date"),
        (Level.STUDY, {"PatientID": Single("P1")}, "study_by_patient"),
        (Level.STUDY, {"PatientName": Wildcard("*opp*")}, "study_by_patient"),
        (Level.STUDY, {"StudyInstanceUID": AnyOf(("1.2.3", "1"))}, "study_instance_uid=?"),
        (Level.SERIES, {"StudyInstanceUID": Single("1.2.3")}, "series_by_study"),
        (
            Level.IMAGE,
            {"StudyInstanceUID": Single("1.2.3"), "SeriesInstanceUID": Single("1.2.3.4")},
            "instance_in_order",
        ),
        (Level.PATIENT, {"AccessionNumber": Single("A1")}, "PRIMARY KEY"),
    ],
)
def test_the_common_queries_are_led_by_an_index(tmp_path, level, matches, led_by):
    index = open_index(f"sqlite://{tmp_path}/i.sqlite")
    index.add([an_instance(AccessionNumber="A1")])
    select = index._planner.plan(Query(level, matches)).select(50)
    plan = index._engine.rows("EXPLAIN QUERY PLAN " + select.sql, select.parameters)
    lines = "\n".join(row[3] for row in plan)
    assert led_by in lines
    assert not [row[3] for row in plan if row[3].startswith("SCAN") and "INDEX" not in row[3]]
    index.close()
