"""What is told at a commit is heard by all who listen, on either engine."""

from __future__ import annotations

import queue
import threading
import time

import psycopg
import pytest

from filmroom.archive.news import News
from filmroom.index.queries import open_index

SOON = 10.0


class Heard:
    """A listener that keeps what it was told."""

    def __init__(self, index) -> None:
        self._said = queue.SimpleQueue()
        index._engine.listen(self)

    def __call__(self, topic, payload):
        self._said.put((topic, payload))

    def next(self, seconds=SOON):
        return self._said.get(timeout=seconds)

    def nothing_more(self):
        time.sleep(0.2)
        return self._said.empty()


def tell(index, *messages):
    with index._engine.write() as tx:
        for topic, payload in messages:
            tx.notify(topic, payload)


def test_what_is_told_is_heard_in_order_by_all_who_listen(index):
    heard = [Heard(index), Heard(index)]
    said = [("instance-replaced", f"1.2.{n}:with:colons") for n in range(5)]
    tell(index, *said)
    tell(index, ("jobs", ""))
    for each in heard:
        assert [each.next() for _ in range(6)] == [*said, ("jobs", "")]


def test_what_is_said_twice_in_one_transaction_is_heard_once(index):
    heard = Heard(index)
    tell(index, ("a", "1"), ("a", "1"), ("b", "2"))
    assert [heard.next(), heard.next()] == [("a", "1"), ("b", "2")]
    assert heard.nothing_more()


def test_nothing_is_heard_before_the_commit(index):
    heard = Heard(index)
    with index._engine.write() as tx:
        tx.notify("a", "1")
        assert heard.nothing_more()
    assert heard.next() == ("a", "1")


def test_what_was_rolled_back_is_never_heard(index):
    heard = Heard(index)

    def fail():
        with index._engine.write() as tx:
            tx.notify("a", "never")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    tell(index, ("a", "1"))
    assert heard.next() == ("a", "1")
    assert heard.nothing_more()


def test_a_listener_that_fails_silences_nobody(index):
    def fails(topic, payload):
        raise ValueError(topic)

    index._engine.listen(fails)
    heard = Heard(index)
    tell(index, ("a", "1"), ("b", "2"))
    assert [heard.next(), heard.next()] == [("a", "1"), ("b", "2")]


def test_a_listener_may_use_the_index(index):
    done = queue.SimpleQueue()

    def uses_it(topic, payload):
        tell(index, ("answer", payload)) if topic == "question" else done.put(payload)

    index._engine.listen(uses_it)
    tell(index, ("question", "42"))
    assert done.get(timeout=SOON) == "42"


@pytest.mark.parametrize(
    ("topic", "payload"), [("a", "x" * 8000), ("a", "ü" * 4000), ("a:b", ""), ("", "x")]
)
def test_what_cannot_be_told_is_refused_on_the_spot(index, topic, payload):
    with pytest.raises(ValueError, match=r"topic|bytes"):
        tell(index, (topic, payload))


def test_the_longest_message_arrives(index):
    heard = Heard(index)
    tell(index, ("a", "x" * 7997))
    assert heard.next() == ("a", "x" * 7997)


def test_the_thread_ends_with_the_index(index_url):
    before = set(threading.enumerate())
    opened = open_index(index_url)
    Heard(opened)
    assert [each for each in set(threading.enumerate()) - before if each.name.startswith("index")]
    started = time.monotonic()
    opened.close()
    opened.close()
    assert time.monotonic() - started < 2
    assert not [each for each in set(threading.enumerate()) - before if each.is_alive()]


# -- many nodes ----------------------------------------------------------------------------------
@pytest.fixture
def shared(postgres):
    """(A URL, a connection to that database)"""
    url = postgres.database("template_filmroom")
    with psycopg.connect(url, autocommit=True) as connection:
        yield url, connection


def end_listening(connection):
    """As a server that restarts, or an administrator, would."""
    ended = connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'filmroom listening'"
    ).fetchall()
    assert ended


def test_one_node_hears_another(shared):
    first, second = (open_index(shared[0]) for _ in range(2))
    heard = [Heard(first), Heard(second)]
    assert first._engine.in_touch
    started = time.monotonic()
    tell(first, ("a", "1"))
    assert [each.next() for each in heard] == [("a", "1"), ("a", "1")]
    assert time.monotonic() - started < 1
    first.close()
    second.close()


def test_a_lost_connection_is_made_anew_and_said(shared):
    url, connection = shared
    index = open_index(url)
    heard = Heard(index)
    for n in range(2):
        end_listening(connection)
        assert heard.next() == (News.LOST_TOUCH, "")
        assert index._engine.in_touch
        tell(index, ("a", str(n)))
        assert heard.next() == ("a", str(n))
    index.close()
    assert not index._engine.in_touch


def test_while_the_server_is_away_it_is_out_of_touch_and_comes_back(shared, postgres):
    index = open_index(shared[0])
    heard = Heard(index)
    postgres.stop()
    try:
        ends = time.monotonic() + SOON
        while index._engine.in_touch and time.monotonic() < ends:
            time.sleep(0.01)
        assert not index._engine.in_touch
    finally:
        postgres.start()
    assert heard.next() == (News.LOST_TOUCH, "")
    index.close()
