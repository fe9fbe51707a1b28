"""The peers of this moment: those of the settings, and those added since."""

from __future__ import annotations

import time

import pytest

from filmroom.archive.errors import Conflict, NotHeld, Unintelligible
from filmroom.archive.peers import PeerBook, a_peer
from filmroom.archive.records import Peer
from filmroom.index.queries import open_index

FIXED = Peer("FIXED", "host", 104, frozenset({"echo"}))


@pytest.fixture
def index(tmp_path):
    opened = open_index(f"sqlite://{tmp_path}/index.sqlite")
    yield opened
    opened.close()


def test_what_is_added_is_there_after_a_restart_behind_the_settings(index):
    PeerBook(index, [FIXED]).add(a_peer("ADDED", "10.0.0.1", 11112, ["store"], forward=True))
    book = PeerBook(index, [FIXED])
    assert book.peers() == (FIXED,)
    book.refresh()
    added = Peer("ADDED", "10.0.0.1", 11112, frozenset({"store"}), forward=True)
    assert book.peers() == (FIXED, added)
    book.add(a_peer("ADDED", "10.0.0.2", 104, tls=True))
    assert book.peers()[1].host == "10.0.0.2"
    assert book.peers()[1].tls
    book.remove("ADDED")
    assert book.peers() == (FIXED,)
    with pytest.raises(NotHeld):
        book.remove("ADDED")


def test_what_the_settings_say_is_changed_there(index):
    book = PeerBook(index, [FIXED])
    with pytest.raises(Conflict):
        book.add(a_peer("FIXED", "elsewhere", 104))
    with pytest.raises(Conflict):
        book.remove("FIXED")
    PeerBook(index, []).add(a_peer("FIXED", "elsewhere", 104))
    book.refresh()
    assert book.peers() == (FIXED,), "the settings come first"


def test_what_another_process_adds_is_known_soon(index, tmp_path):
    book = PeerBook(index, [])
    book.start()
    other = open_index(f"sqlite://{tmp_path}/index.sqlite")
    PeerBook(other, []).add(a_peer("ADDED", "h", 1))
    other.close()
    deadline = time.monotonic() + 20
    while not book.peers():
        assert time.monotonic() < deadline, "nobody looked"
        time.sleep(0.05)
    book.stop()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("", "h", 1), "AE title"),
        (("*", "h", 1), "AE title"),
        (("A" * 17, "h", 1), "AE title"),
        (("A\\B", "h", 1), "AE title"),
        (("A", "", 1), "host"),
        (("A", "a b", 1), "host"),
        (("A", "h/../x", 1), "host"),
        (("A", "h", 0), "port"),
        (("A", "h", 65_536), "port"),
        (("A", "h", 1, ["administer"]), "no right"),
        (("A", "h", 1, ["all", "echo"]), "no right"),
    ],
)
def test_a_peer_that_makes_no_sense_is_refused_and_told_why(given, why):
    with pytest.raises(Unintelligible, match=why):
        a_peer(*given)
    assert "commitment" in a_peer("A", "h", 1, ["all"]).may
