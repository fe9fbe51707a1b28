"""The shared engine on a network that fails: it gives up in time, and goes on by itself."""

from __future__ import annotations

import threading
import time

import pytest

from faulty_proxy import FaultyProxy
from filmroom.archive.errors import Unavailable
from filmroom.index import postgres as engine
from filmroom.index import postgres_connection
from filmroom.index.queries import open_index
from index_rows import an_instance


@pytest.fixture
def proxy(postgres):
    with FaultyProxy(postgres.port) as made:
        yield made


@pytest.fixture
def index(postgres, proxy, monkeypatch):
    """Through the proxy, and with less patience than usual."""
    for part in (engine, postgres_connection):
        monkeypatch.setattr(part, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", 2.0)
    opened = open_index(proxy.through(postgres.database("template_filmroom")))
    yield opened
    proxy.pass_on()
    opened.close()


def seconds_until_unavailable(deed):
    began = time.monotonic()
    with pytest.raises(Unavailable):
        deed()
    return time.monotonic() - began


def until_done(deed, seconds=15):
    ends = time.monotonic() + seconds
    while True:
        try:
            return deed()
        except Unavailable:
            assert time.monotonic() < ends, "it never noticed that the database was back"
            time.sleep(0.1)


@pytest.mark.parametrize("dead", [False, True])
def test_a_server_that_says_nothing_is_given_up_and_found_again(index, proxy, dead):
    index.add([an_instance(SOPInstanceUID="1.1")])
    proxy.fall_silent()
    assert seconds_until_unavailable(lambda: index.add([an_instance(SOPInstanceUID="1.2")])) < 6
    assert seconds_until_unavailable(index.ping) < 6
    proxy.pass_on(dead=dead)
    until_done(lambda: index.add([an_instance(SOPInstanceUID="1.3")]))
    assert index.held(["1.1", "1.2", "1.3"]).keys() == {"1.1", "1.3"}


def at_once(count, deed):
    threads = [threading.Thread(target=deed) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
        assert not each.is_alive()


def several_connections(index, proxy):
    at_once(6, lambda: index._engine.rows("SELECT pg_sleep(0.5)"))
    assert proxy.taken > 3


def test_connections_that_are_all_dead_are_given_up_together(index, proxy):
    several_connections(index, proxy)
    proxy.fall_silent()
    at_once(6, lambda: seconds_until_unavailable(index.ping))
    proxy.pass_on(dead=True)
    began = time.monotonic()
    at_once(6, lambda: until_done(index.ping))
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("towards", ["node", "target"])
def test_a_connection_that_is_half_closed_is_made_anew(index, proxy, towards):
    index.ping()
    proxy.half_close(towards)
    until_done(index.ping)
    until_done(lambda: index.add([an_instance()]))
    assert len(index.held(["1.2.3.4.5"])) == 1


def test_a_reader_does_not_notice_that_its_connection_was_cut(index, proxy):
    several_connections(index, proxy)
    proxy.cut()
    index.ping()


def test_a_step_of_the_schema_may_take_longer_than_an_answer(index):
    with index._engine.write() as tx:
        tx.script("SELECT pg_sleep(1.5)")
    with pytest.raises(Unavailable):
        index._engine.rows("SELECT 1 FROM pg_sleep(1.5)")


def test_nobody_waits_for_the_locks_of_a_node_that_is_out_of_reach(index, proxy):
    """The server ends its transaction, so that what was in doubt can be settled."""

    def begin_and_lose_the_network():
        with index._engine.write() as tx:
            tx.rows(index._engine.statements["events_begin"])
            proxy.fall_silent()
            tx.rows("SELECT 1")

    with pytest.raises(Unavailable):
        begin_and_lose_the_network()
    proxy.pass_on(dead=True)
    assert until_done(lambda: index.settled_keys(["2026/01/02/1.2/1.3/1.4.dcm"])) == set()


def test_what_the_url_says_of_the_connection_counts(postgres):
    url = postgres.database("template_filmroom") + "?application_name=ours&keepalives_idle=7"
    assert "keepalives_idle" not in engine._terms(url)
    assert engine._terms(url)["connect_timeout"] == 5
    opened = open_index(url)
    (row,) = opened._engine.rows("SELECT current_setting('application_name')")
    opened.close()
    assert row[0] == "filmroom", "what we say of ourselves is ours"
