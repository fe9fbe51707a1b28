"""Failed sign-ins: who must wait, and how long. Pure but for the clock it is given."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from filmroom.addresses import neighbourhood
from filmroom.archive.stores import Clock
from filmroom.security.settings import SecuritySettings

_LONGEST_PAUSE = 900.0
_FORGOTTEN_AFTER = 3600.0
_REMEMBERED = 20_000  # pairs; the one least lately used is forgotten first


@dataclass(slots=True)
class _Tally:
    failures: int = 0
    blocked_until: float = 0.0
    last: float = 0.0
    recent: list[float] = field(default_factory=list)


class Attempts:
    """Counts failures per (user, address) and per address; an IPv6 address counts as its /64.

    A user is not locked out from everywhere because of one address: otherwise anybody
    could lock the administrator out of his own archive.
    """

    def __init__(self, settings: SecuritySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._tallies: OrderedDict[tuple[str, str], _Tally] = OrderedDict()

    def wait(self, user: str, address: str) -> float:
        """Seconds until this user may try again from this address; 0 for now."""
        now, address = self._clock.now(), neighbourhood(address)
        pair = self._tallies.get((user, address))
        alone = self._tallies.get(("", address))
        return max(
            0.0,
            (pair.blocked_until - now) if pair else 0.0,
            (alone.blocked_until - now) if alone else 0.0,
        )

    def failed(self, user: str, address: str) -> None:
        """Remember a failure."""
        now, address = self._clock.now(), neighbourhood(address)
        pair = self._tally((user, address), now)
        pair.failures += 1
        over = pair.failures - self._settings.lockout_failures
        if over >= 0:
            pause = min(self._settings.lockout_seconds * 2.0 ** min(over, 20), _LONGEST_PAUSE)
            pair.blocked_until = now + pause
        alone = self._tally(("", address), now)
        alone.recent = [when for when in alone.recent if when > now - 60.0]
        alone.recent.append(now)
        if len(alone.recent) >= self._settings.address_failures_per_minute:
            alone.blocked_until = now + 60.0

    def succeeded(self, user: str, address: str) -> None:
        """Take back the failure counted last, and forget those of this user from here."""
        address = neighbourhood(address)
        self._tallies.pop((user, address), None)
        alone = self._tallies.get(("", address))
        if alone is not None and alone.recent:
            alone.recent.pop()

    def _tally(self, key: tuple[str, str], now: float) -> _Tally:
        tally = self._tallies.pop(key, None)
        if tally is None or tally.last < now - _FORGOTTEN_AFTER:
            tally = _Tally()
        tally.last = now
        self._tallies[key] = tally
        while len(self._tallies) > _REMEMBERED:
            self._tallies.popitem(last=False)
        return tally
