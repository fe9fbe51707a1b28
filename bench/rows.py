"""The rows that are measured: what each is called, and how far it is meant to reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

LESS_IS_BETTER = frozenset({"ms", "ms CPU", "s", "MiB"})


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of every server.

    reach: the ratio that is wanted against the better of two Orthancs, the packaged one and
        1.13.0. newest: how many times better 1.13.0 was than the packaged one on this row,
        measured once on one machine; it is not in Debian 12, so it cannot be run here.
    at_most: what our own figure may be at most, where a ratio says nothing.
    quick: one of the few that the regression mode looks at.
    """

    key: str
    group: str
    title: str
    unit: str
    reach: float | None = None
    newest: float = 1.0
    at_most: float | None = None
    quick: bool = False

    @property
    def less(self) -> bool:
        """Whether the smaller figure is the better one."""
        return self.unit in LESS_IS_BETTER

    @property
    def needed(self) -> float | None:
        """The ratio to the packaged Orthanc at which the row counts as reached."""
        return None if self.reach is None else self.reach * max(1.0, self.newest)


def _pair(
    stem: str,
    group: str,
    title: str,
    reach: tuple[float, float],
    newest: tuple[float, float] = (1.0, 1.0),
    unit: str = "/s",
    quick: str = "",
    who: str = "clients",
) -> list[Row]:
    """A row for one client and a row for eight; quick: "1", "8", "18" or neither."""
    return [
        Row(
            f"{stem}-{n}",
            group,
            f"{title}, {n} {who if n > 1 else who[:-1]}",
            unit,
            reach[i],
            newest[i],
            quick=str(n) in quick,
        )
        for i, n in enumerate((1, 8))
    ]


STORING = [
    *_pair("store-ct", "store", "C-STORE CT", (2.5, 2), quick="18", who="associations"),
    *_pair("store-mr", "store", "C-STORE MR", (2.5, 2), who="associations"),
    Row("store-small-1", "store", "C-STORE 4 KB objects, 1 association", "/s", 3),
    *_pair(
        "cpu-ct",
        "store",
        "server CPU per CT stored",
        (4, 4),
        unit="ms CPU",
        quick="8",
        who="associations",
    ),
    *_pair(
        "cpu-mr", "store", "server CPU per MR stored", (4, 4), unit="ms CPU", who="associations"
    ),
    Row("rss-store", "store", "memory after storing", "MiB", at_most=250),
    Row("nagle-ct", "nagle", "C-STORE CT, sender and server as packaged", "/s", 20),
    Row("nagle-mr", "nagle", "C-STORE MR, sender and server as packaged", "/s", 20),
    *_pair(
        "stow",
        "stow",
        "STOW-RS CT in batches of 10",
        (2.5, 2),
        (1.24, 1.22),
        quick="1",
        who="connections",
    ),
]

FINDING = [
    Row("find-exact-1k", "query", "C-FIND PatientID among 1,000 studies", "ms", at_most=1),
    Row("find-exact-10k", "query", "C-FIND PatientID among 10,000 studies", "ms", at_most=1),
    Row("find-75", "query", "C-FIND SMI*, 75 answers", "ms", 5, 1.7, quick=True),
    Row("find-750", "query", "C-FIND SMI*, 750 answers", "ms", 5),
    Row("qido-exact-1k", "query", "QIDO-RS PatientID among 1,000 studies", "ms", at_most=2),
    Row("qido-exact-10k", "query", "QIDO-RS PatientID among 10,000 studies", "ms", at_most=2),
    Row("qido-page-1k", "query", "QIDO-RS page of 50 of 1,000", "ms", 20, 1.15, quick=True),
    Row("qido-half-1k", "query", "QIDO-RS page of 50 at half of 1,000", "ms", 20, 1.15),
    Row("qido-page-10k", "query", "QIDO-RS page of 50 of 10,000", "ms", 20, 1.15),
    Row("qido-half-10k", "query", "QIDO-RS page of 50 at half of 10,000", "ms", 20, 1.15),
    Row("qido-750", "query", "QIDO-RS SMI*, 750 answers", "ms", 30),
]

VIEWING = [
    Row("first-cold", "view", "first image of 500 CT, after a start", "ms", 20, 1.21),
    Row("first-warm", "view", "first image of 500 CT, again", "ms", 5, 7, quick=True),
    Row("meta-500-cold", "view", "/metadata of 500 CT, after a start", "ms", 50, 1.08),
    Row("meta-500-warm", "view", "/metadata of 500 CT, again", "ms", 10, 15.6, quick=True),
    Row("meta-1000-cold", "view", "/metadata of 1,000 CT, after a start", "ms", 50, 1.24),
    Row("meta-1000-warm", "view", "/metadata of 1,000 CT, again", "ms", 10, 20.5),
    Row("meta-fresh", "view", "/metadata of 200, in the instant they are stored", "ms"),
    Row("qido-instances", "view", "QIDO-RS the 500 instances of a series", "ms", 50, 1.02),
    *_pair("frame", "view", "one frame of a CT", (4, 2), (1.22, 1.95), quick="18"),
    *_pair("stored", "view", "an instance as stored", (3, 3), (1, 1.03)),
    *_pair("rendered", "view", "/rendered CT", (4, 4), (1.02, 1.83), quick="1"),
    *(Row(r.key, r.group, r.title, r.unit) for r in _pair("thumb", "view", "thumbnail", (1, 1))),
]

FETCHING = [
    *_pair("get", "fetch", "C-GET of 500 CT", (1, 1), (1, 1), quick="1", who="associations"),
    *_pair("move", "fetch", "C-MOVE of 500 CT to storescp", (1, 1), who="associations"),
    *_pair("wado", "fetch", "WADO-RS study of 500 CT", (1, 1), quick="1"),
    Row("rss-fetch", "fetch", "memory after 1,500 CT stored and many fetched", "MiB", at_most=250),
]

LARGE = [
    Row("store-large", "large", "C-STORE one object of 157 MB", "MB/s", 3, 1.04),
    Row("rss-large", "large", "memory after one object of 157 MB", "MiB", at_most=250),
    *_pair("large-frame", "large", "one frame of an object of 300", (3, 2), (400, 850)),
    Row("peak-large", "large", "most memory for that object and its frames", "MiB", at_most=250),
]

RESTING = [
    Row("start", "rest", "start, until both doors answer", "s", at_most=1),
    Row("rss-idle", "rest", "memory of an idle server", "MiB", at_most=120),
]

ROWS: dict[str, Row] = {
    row.key: row for row in [*STORING, *LARGE, *FINDING, *VIEWING, *FETCHING, *RESTING]
}
# What differs when index and files are elsewhere: with PostgreSQL and S3 beside files and SQLite.
ELSEWHERE = (
    *("store-ct-*", "store-mr-*", "stow-*", "find-exact-10k", "find-750"),
    *("qido-exact-10k", "qido-page-10k", "qido-half-10k", "qido-750"),
    *("meta-500-*", "frame-*", "get-*", "move-*", "wado-*"),
)
GROUPS = tuple(dict.fromkeys(row.group for row in ROWS.values()))


def chosen(patterns: Iterable[str]) -> list[Row]:
    """The rows whose key or group is named, `*` and `?` as in file names; ValueError if none."""
    found: dict[str, Row] = {}
    for pattern in patterns:
        matching = {
            key: row
            for key, row in ROWS.items()
            if row.group == pattern or fnmatchcase(key, pattern)
        }
        if not matching:
            raise ValueError(f"no row or group is called {pattern}; there are {', '.join(GROUPS)}")
        found |= matching
    return [row for row in ROWS.values() if row.key in found]
