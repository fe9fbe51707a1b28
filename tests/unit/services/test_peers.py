"""services/peers.py: an AE title is a claim; the address makes it one we believe."""

import logging

import pytest

from filmroom.archive.access import DIMSE_ACTIONS, Action
from filmroom.archive.records import Peer
from filmroom.services.peers import AddressBook, plain_address

CT = Peer("CT1", "10.0.0.5", 104, frozenset({"echo", "store", "query", "retrieve"}))
ECHO_AND_STORE = frozenset({Action.ECHO, Action.STORE})


def book(*peers, **options):
    return AddressBook(peers, **options)


def test_a_configured_peer_may_what_its_line_says():
    assert book(CT).principal("CT1", "10.0.0.5").may == frozenset(
        {Action.ECHO, Action.STORE, Action.QUERY, Action.RETRIEVE}
    )


def test_a_stranger_may_echo_and_store_only():
    assert book(CT).principal("WHO", "10.0.0.9").may == ECHO_AND_STORE


def test_what_strangers_may_can_be_changed():
    nobody = book(CT, unknown_peers=frozenset())
    assert nobody.principal("WHO", "10.0.0.9").may == frozenset()


def test_no_peer_ever_administers():
    everything = frozenset(Action)
    assert Action.ADMINISTER not in book(unknown_peers=everything).principal("X", "::1").may
    greedy = Peer("X", "", 0, frozenset({"all", "administer"}))
    assert book(greedy).principal("X", "::1").may == DIMSE_ACTIONS


def test_the_right_title_from_the_wrong_address_is_a_stranger(caplog):
    with caplog.at_level(logging.WARNING):
        assert book(CT).principal("CT1", "10.0.0.66").may == ECHO_AND_STORE
    assert "10.0.0.66" in caplog.text


def test_titles_are_trimmed_and_compared_with_case():
    assert Action.QUERY in book(CT).principal("  CT1 ", "10.0.0.5").may
    assert Action.QUERY not in book(CT).principal("ct1", "10.0.0.5").may


def test_a_star_is_any_title_from_its_host():
    anybody = Peer("*", "10.0.0.7", 0, frozenset({"all"}))
    assert book(CT, anybody).principal("WHO", "10.0.0.7").may == DIMSE_ACTIONS
    assert book(CT, anybody).principal("WHO", "10.0.0.8").may == ECHO_AND_STORE


def test_the_more_exact_line_counts():
    anybody = Peer("*", "", 0, frozenset({"all"}))
    echo_only = Peer("CT1", "10.0.0.5", 104, frozenset({"echo"}))
    assert book(anybody, echo_only).principal("CT1", "10.0.0.5").may == frozenset({Action.ECHO})


def test_calling_oneself_star_is_not_being_everybody():
    named = Peer("CT1", "", 104, frozenset({"all"}))
    assert book(named).principal("*", "10.0.0.5").may == ECHO_AND_STORE


@pytest.mark.parametrize("address", ["::ffff:10.0.0.5", "10.0.0.5"])
def test_an_address_has_many_spellings(address):
    assert Action.QUERY in book(CT).principal("CT1", address).may


def test_a_scoped_ipv6_address_is_plain():
    assert plain_address("fe80::1%eth0") == "fe80::1"


def test_a_host_name_is_resolved_once_and_remembered():
    asked = []

    def resolver(host):
        asked.append(host)
        return frozenset({"10.1.1.1"})

    named = Peer("CT1", "ct1.hospital", 104, frozenset({"all"}))
    addresses = book(named, resolver=resolver)
    addresses.warm()
    for _ in range(3):
        assert addresses.principal("CT1", "10.1.1.1").may == DIMSE_ACTIONS
    assert asked == ["ct1.hospital"]


def test_a_name_that_does_not_resolve_is_no_match():
    named = Peer("CT1", "gone.hospital", 104, frozenset({"all"}))
    addresses = book(named, resolver=lambda host: frozenset())
    assert addresses.principal("CT1", "10.1.1.1").may == ECHO_AND_STORE


def test_a_destination_is_a_named_peer_with_host_and_port():
    books = book(
        CT, Peer("*", "10.0.0.7", 104, frozenset()), Peer("MUTE", "10.0.0.8", 0, frozenset())
    )
    assert books.destination(" CT1 ") == CT
    assert books.destination("*") is None
    assert books.destination("MUTE") is None
    assert books.destination("10.0.0.5:104") is None
    assert books.destination("") is None


def test_peers_may_change_while_we_run():
    peers = []
    books = AddressBook(lambda: peers)
    assert books.destination("CT1") is None
    peers.append(CT)
    assert books.destination("CT1") == CT
