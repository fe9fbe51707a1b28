"""Whom a network address counts as, where connections and failures are counted by sender."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address

_HOST_BITS = 64  # whoever has one IPv6 address has all of its /64 (RFC 6177)


@lru_cache(maxsize=4096)
def neighbourhood(address: str) -> str:
    """An IPv4 address itself; of an IPv6 address its /64; what is neither, as it is."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> _HOST_BITS << _HOST_BITS)}/{_HOST_BITS}"
