"""How many studies there are is known without counting, and is what a count would say."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from filmroom.archive.records import Query
from filmroom.dicom.match import Single, Wildcard
from filmroom.dicom.models import Level
from filmroom.index import migrate as migrations
from filmroom.index.engine import Place
from filmroom.index.migrate import migrate, steps
from filmroom.index.queries import open_engine, open_index
from index_rows import an_instance

ALL = Query(Level.STUDY, {})


def some(*studies):
    return [
        an_instance(
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.1",
            SOPInstanceUID=f"{study}.1.{n}",
        )
        for study in studies
        for n in range(2)
    ]


def counted(index):
    return index._engine.rows("SELECT count(*) FROM study")[0][0]


def test_it_is_what_is_there_after_storing_storing_again_and_forgetting(index):
    assert index.count(ALL) == 0
    index.add(some("1", "2", "3"))
    index.add(some("3", "4"))
    index.add(some("1"))
    assert index.count(ALL) == counted(index) == index.statistics().studies == 4
    with index._engine.write() as tx:
        tx.rows("DELETE FROM study WHERE study_instance_uid IN ('1', '2')")
    assert index.count(ALL) == counted(index) == 2
    index.clear()
    assert index.count(ALL) == counted(index) == 0
    index.add(some("5"))
    assert index.count(ALL) == counted(index) == 1


def test_what_was_not_committed_does_not_count(index):
    index.add(some("1"))

    def begin_and_fail():
        with index._engine.write() as tx:
            tx.rows("DELETE FROM study")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        begin_and_fail()
    assert index.count(ALL) == counted(index) == 1


def test_who_stores_at_once_is_counted_once(index, index_url):
    others = [open_index(index_url) for _ in range(4)]

    def run(which):
        dice = random.Random(which)
        for _ in range(25):
            others[which].add(some(*(str(dice.randrange(60)) for _ in range(3))))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert index.count(ALL) == counted(index) > 40
    for other in others:
        other.close()


def test_nothing_is_counted_where_all_are_asked_for(index):
    index.add(some("1", "2"))
    with index._engine.write() as tx:
        tx.rows("UPDATE study_total SET studies = studies + 40")
    known = index._engine.rows("SELECT sum(studies) FROM study_total")[0][0]
    assert known > 40
    assert index.count(ALL) == known
    assert index.count(Query(Level.STUDY, {"PatientName": Wildcard("*")})) == known
    assert index.count(Query(Level.STUDY, {"PatientID": Single("P1")})) == 2
    assert index.count(Query(Level.PATIENT, {})) == 1


def test_an_index_from_before_is_counted_when_it_is_brought_up_to_date(
    index_url, request, tmp_path, monkeypatch
):
    is_sqlite = index_url.url.startswith("sqlite")
    url = (
        f"sqlite://{tmp_path}/old.sqlite"
        if is_sqlite
        else request.getfixturevalue("postgres").database()
    )
    engine = open_engine(Place(url))
    old = [step for step in steps(engine.dialect.name) if step.number < 7]
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "steps", lambda dialect: old)
        migrate(engine)
    engine.close()
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "steps", lambda dialect: old)
        before = open_index(url)
        before.add(some("1", "2", "3"))
        before.close()
    index = open_index(url)
    index.add(some("4"))
    assert index.count(ALL) == counted(index) == 4
    index.close()
