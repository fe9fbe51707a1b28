"""Who a calling AE title is, what it may do, and where a called one lives.

A peer is known by its AE title AND, when it has a host, by the address it calls from; an AE
title alone is only a claim. The right title from the wrong address has the rights of a
stranger. AE titles are compared with case, trimmed of spaces (PS3.8 9.3.2, PS3.5 6.2 AE).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from filmroom.archive.access import DIMSE_ACTIONS, Action, Principal
from filmroom.archive.records import ANY_AE_TITLE, Peer

log = logging.getLogger(__name__)

ANY_HOST = frozenset({"", "*", "0.0.0.0", "::"})
RESOLVED_FOR_SECONDS = 60.0


def plain_address(text: str) -> str:
    """An IP address in one spelling; an IPv4 address mapped into IPv6 becomes IPv4."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def resolve(host: str) -> frozenset[str]:
    """The addresses of a host name; empty when it has none for now. Blocks."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(plain_address(str(entry[4][0])) for entry in found)


class AddressBook:
    """The configured peers, asked by every association."""

    def __init__(
        self,
        peers: Callable[[], Sequence[Peer]] | Iterable[Peer],
        unknown_peers: frozenset[Action] = frozenset({Action.ECHO, Action.STORE}),
        resolver: Callable[[str], frozenset[str]] = resolve,
    ) -> None:
        """peers: the peers, or what gives the peers of this moment (they may change)."""
        fixed = () if callable(peers) else tuple(peers)
        self._peers = peers if callable(peers) else lambda: fixed
        self._unknown = unknown_peers & DIMSE_ACTIONS
        self._hosts = _Hosts(resolver)

    def warm(self) -> None:
        """Resolve all host names now, so that the first association need not wait. Blocks."""
        for peer in self._peers():
            self._hosts.learn(peer.host)

    def principal(self, calling: str, address: str) -> Principal:
        """Who calls: the peer of that title, else the one named `*`, else a stranger."""
        calling = calling.strip(" ")
        for peer in self._candidates(calling):
            if self._calls_from(peer, address):
                return Principal(calling, _actions(peer), "peer")
            log.warning(
                "%r calls from %s, not from its configured host %s: treated as unknown",
                calling,
                address,
                peer.host,
            )
        return Principal(calling, self._unknown, "unknown peer")

    def destination(self, ae_title: str) -> Peer | None:
        """The peer instances can be sent to: configured by this title, with host and port."""
        wanted = ae_title.strip(" ")
        for peer in self._peers():
            reachable = peer.host not in ANY_HOST and peer.port > 0
            if peer.ae_title.strip(" ") == wanted != ANY_AE_TITLE and reachable:
                return peer
        return None

    def _candidates(self, calling: str) -> list[Peer]:
        named = [peer for peer in self._peers() if peer.ae_title.strip(" ") == calling]
        anybody = [peer for peer in self._peers() if peer.ae_title == ANY_AE_TITLE]
        return named + anybody if calling != ANY_AE_TITLE else anybody

    def _calls_from(self, peer: Peer, address: str) -> bool:
        return peer.host in ANY_HOST or plain_address(address) in self._hosts.addresses(peer.host)


def _actions(peer: Peer) -> frozenset[Action]:
    if "all" in peer.may:
        return DIMSE_ACTIONS
    return frozenset(Action(word) for word in peer.may) & DIMSE_ACTIONS


class _Hosts:
    """Addresses of host names, remembered; a stale answer is renewed behind the scenes.

    The association that asks is on an event loop and must not wait for a name server.
    """

    def __init__(self, resolver: Callable[[str], frozenset[str]]) -> None:
        self._resolve = resolver
        self._known: dict[str, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def learn(self, host: str) -> None:
        if host not in ANY_HOST and not _is_address(host):
            self._known[host] = (time.monotonic(), self._resolve(host))

    def addresses(self, host: str) -> frozenset[str]:
        if _is_address(host):
            return frozenset({plain_address(host)})
        if host == "localhost":  # needs no name server
            return frozenset({"127.0.0.1", "::1"})
        if host not in self._known:
            self.learn(host)
        at, known = self._known[host]
        if time.monotonic() - at > RESOLVED_FOR_SECONDS and self._lock.acquire(blocking=False):
            self._known[host] = (time.monotonic(), known)
            threading.Thread(target=self._renew, args=(host,), daemon=True).start()
        return known

    def _renew(self, host: str) -> None:
        try:
            self.learn(host)
        finally:
            self._lock.release()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
