"""What may be removed is asked once nobody is in the middle of committing it."""

from __future__ import annotations

import threading

import pytest

from filmroom.archive.errors import Unavailable
from filmroom.index import sqlite
from filmroom.index.adding import Adding
from filmroom.index.queries import open_index
from index_rows import an_instance

NEW = an_instance()


@pytest.fixture
def busy(index_url, monkeypatch):
    """Somebody has run all statements of NEW and commits when the event is set."""
    begun, let_go = threading.Event(), threading.Event()
    run = Adding.run

    def slowly(adding, batch):
        answers = run(adding, batch)
        begun.set()
        let_go.wait(40)
        return answers

    monkeypatch.setattr(Adding, "run", slowly)
    other = open_index(index_url)
    thread = threading.Thread(target=other.add, args=([NEW],))
    thread.start()
    assert begun.wait(20)
    yield let_go
    let_go.set()
    thread.join(20)
    other.close()


@pytest.mark.timeout(60)
def test_a_commit_under_way_is_waited_for(index, busy):
    answers = []

    def ask():
        answers.append(index.settled_keys([NEW.location.key]))

    assert index.known_keys([NEW.location.key]) == set()
    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(0.5)
    assert answers == []
    busy.set()
    asking.join(20)
    assert answers == [{NEW.location.key}]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_MS", 500)


@pytest.mark.timeout(60)
def test_one_that_takes_too_long_is_told_and_not_guessed(impatient, index, busy):
    with pytest.raises(Unavailable):
        index.settled_keys([NEW.location.key])


def test_the_others_are_known_at_once(index):
    index.add([NEW])
    assert index.settled_keys([NEW.location.key, "2026/01/02/9/9.1/9.1.1.dcm"]) == {
        NEW.location.key
    }
