"""Limits by sender are limits by neighbourhood: an IPv6 sender has a /64 to choose from."""

from types import SimpleNamespace

import pytest

from filmroom.addresses import neighbourhood
from filmroom.asgi.wire import Neighbours
from filmroom.dimse.server import Server, ServerSettings
from filmroom.security.attempts import Attempts
from filmroom.security.settings import SecuritySettings

HOME = [f"2001:db8:1:2::{n:x}" for n in range(1, 6)]
ELSEWHERE = "2001:db8:1:3::1"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unix:/somewhere", "unix:/somewhere"),
        ("", ""),
    ],
)
def test_whom_an_address_counts_as(address, place):
    assert neighbourhood(address) == place


def test_http_connections_are_counted_so():
    neighbours = Neighbours(2, proxies={HOME[4]})
    assert neighbours.enter(HOME[0])
    assert neighbours.enter(HOME[1])
    assert not neighbours.enter(HOME[2])
    assert neighbours.enter(ELSEWHERE)
    assert neighbours.enter(HOME[4])  # a proxy speaks for many
    neighbours.leave(HOME[4])
    neighbours.leave(HOME[0])
    assert neighbours.enter(HOME[3])


def test_associations_are_counted_so():
    server = Server(SimpleNamespace(), ServerSettings(max_per_peer=2))
    links = [(object(), SimpleNamespace(address=address)) for address in HOME[:2]]
    for link, info in links:
        assert not server._is_full(HOME[2])
        server.associated(link, info)
    assert server._is_full(HOME[2])
    assert not server._is_full(ELSEWHERE)
    server.ended(*links[0], "released")
    assert not server._is_full(HOME[2])


def test_failed_sign_ins_are_counted_so():
    clock = SimpleNamespace(now=lambda: 1000.0)
    attempts = Attempts(SecuritySettings(lockout_failures=3), clock)
    for address in HOME[:3]:
        attempts.failed("admin", address)
    assert attempts.wait("admin", HOME[4]) > 0
    assert attempts.wait("admin", ELSEWHERE) == 0
