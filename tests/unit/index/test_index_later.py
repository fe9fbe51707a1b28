"""What a transaction puts off runs before it ends, all in one round trip to a server."""

from __future__ import annotations

import pytest

from filmroom.archive.errors import Unavailable
from filmroom.archive.records import Query
from filmroom.dicom.models import Level
from filmroom.index.engine import TryAgain
from filmroom.index.queries import open_index
from index_rows import an_instance
from slow_line import slow_line

PUT = "INSERT INTO scrub (id, state) VALUES (:id, :state) RETURNING id, state"
MANY = 300


def held(index):
    return index._engine.rows("SELECT id, state FROM scrub ORDER BY id")


def rows(count, state="a"):
    return [{"id": n, "state": state} for n in range(count)]


def test_what_was_put_off_is_done_in_order_and_answered(index):
    said = []
    with index._engine.write() as tx:
        tx.later(PUT, rows(MANY), said.extend)
        tx.later("UPDATE scrub SET state = :state WHERE id = :id", rows(2, "b"))
        tx.later("SELECT count(*) FROM scrub WHERE state = :state", [{"state": "b"}], said.extend)
    assert said == [*((n, "a") for n in range(MANY)), (2,)]
    assert held(index) == [(0, "b"), (1, "b"), *((n, "a") for n in range(2, MANY))]


def test_what_follows_from_it_may_write_and_put_off_no_more(index):
    with index._engine.write() as tx:
        tx.later(PUT, rows(1), lambda found: tx.rows(PUT, {"id": 7, "state": str(found)}) and None)
    assert held(index) == [(0, "a"), (7, "[(0, 'a')]")]


def test_what_follows_from_it_may_undo_everything(index):
    def refuse(found):
        raise TryAgain

    def run():
        with index._engine.write() as tx:
            tx.rows(PUT, {"id": 9, "state": "at once"})
            tx.later(PUT, rows(3), refuse)

    with pytest.raises(TryAgain):
        run()
    assert held(index) == []


@pytest.mark.parametrize("bad", [1, MANY // 2, MANY - 1])
def test_one_that_fails_undoes_everything(index, bad):
    def run():
        with index._engine.write() as tx:
            tx.later(PUT, [*rows(MANY)[:bad], {"id": 0, "state": "b"}, *rows(MANY)[bad:]])

    with pytest.raises(Unavailable if index.embedded else TryAgain):  # it met another of its id
        run()
    assert held(index) == []
    with index._engine.write() as tx:
        tx.later(PUT, rows(1))
    assert held(index) == [(0, "a")]


# -- round trips -----------------------------------------------------------------------------------
COSTS = {
    "known series": 4,  # BEGIN, what is held, all else, COMMIT
    "new series": 7,
    "new study": 9,
    "new patient": 10,
}


def batch(what, turn, size):
    """`size` instances below what is new."""
    new = list(COSTS).index(what)
    names = {
        "SeriesInstanceUID": f"1.3.{new}.{turn if new > 0 else 0}",
        "StudyInstanceUID": f"1.2.{new}.{turn if new > 1 else 0}",
        "PatientID": f"P{turn if new > 2 else 0}",
    }
    return [an_instance(SOPInstanceUID=f"1.4.{new}.{turn}.{n}", **names) for n in range(size)]


@pytest.mark.parametrize("size", [1, 3, 40])
@pytest.mark.parametrize("what", COSTS)
def test_a_batch_costs_few_round_trips_whatever_its_size(postgres, what, size):
    url = postgres.database("template_filmroom")
    with slow_line(url) as line:
        index = open_index(line.through(url))
        turns = 8  # the first ones find the memory empty
        costs = []
        for turn in range(turns):
            before = line.round_trips
            assert all(index.add(batch(what, turn, size)))
            costs.append(line.round_trips - before)
        assert costs[-1] == min(costs) <= COSTS[what], costs
        assert index.statistics().instances == turns * size
        assert sum(p.patient_instances for p in index.search(Query(Level.PATIENT, {}))) == (
            turns * size
        )
        index.close()
