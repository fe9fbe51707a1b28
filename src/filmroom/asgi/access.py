"""What one must be allowed to do for which request: the table that the gate reads.

First line that fits decides; a path of nobody's needs an administrator.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from filmroom.archive.access import Action


class Need(Enum):
    """Needs that are not an action of the archive."""

    NOTHING = "nothing"  # open to anybody
    ANYONE = "anyone"  # whoever has signed in


@dataclass(frozen=True, slots=True)
class Rule:
    """A path, alone or (ending in `/`) with all below it, for some methods (none: all)."""

    path: str
    need: Need | Action
    methods: frozenset[str] = frozenset()

    def fits(self, method: str, path: str) -> bool:
        """Whether this rule speaks of that request."""
        if self.methods and method not in self.methods:
            return False
        if self.path.endswith("/"):
            return path.startswith(self.path) or path == self.path[:-1]
        return path == self.path


READ = frozenset({"GET", "HEAD", "OPTIONS"})
WRITE = frozenset({"POST"})
SEARCHED = ("studies", "series", "instances", "dicom-web")  # last word of a search's path

RULES = (
    Rule("/livez", Need.NOTHING, READ),
    Rule("/readyz", Need.NOTHING, READ),
    Rule("/metrics", Need.NOTHING, READ),
    Rule("/login", Need.NOTHING, READ),
    Rule("/api/session", Need.NOTHING, WRITE),
    Rule("/api/session/", Need.ANYONE),
    Rule("/api/openapi.json", Need.ANYONE, READ),
    Rule("/api/statistics", Action.QUERY, READ),
    Rule("/api/", Action.ADMINISTER),
    Rule("/dicom-web/", Action.STORE, WRITE),
    Rule("/dicom-web/", Action.RETRIEVE, READ),
    Rule("/dicom-web/", Action.ADMINISTER),
    Rule("/wado", Action.RETRIEVE, READ),
    Rule("/", Need.ANYONE, READ),
)


def needed(method: str, path: str) -> Need | Action:
    """What a request needs."""
    for rule in RULES:
        if rule.fits(method, path):
            if rule.path == "/dicom-web/" and rule.need is Action.RETRIEVE:
                return _reading(path)
            return rule.need
    return Action.ADMINISTER


def _reading(path: str) -> Need | Action:
    """Searches need QUERY, the rest RETRIEVE; the root only describes itself (PS3.18 8.9)."""
    last = path.rstrip("/").rpartition("/")[2]
    if last == "dicom-web":
        return Need.ANYONE
    return Action.QUERY if last in SEARCHED else Action.RETRIEVE
