"""The schema in numbered steps: sql/NNN_name.<dialect>.sql, each applied once, in order.

A step named NNN_pre_* may run while nodes of the last version still work: they go on, and may
be started again after it. One named NNN_post_* only when all nodes are new. An index that only
this process uses applies all at once; one that several share leaves the latter alone until
`filmroom migrate --post`. So the version that brings a post step works before it and after
it, and no later step of that version builds on it. A step that is neither is for all to be
stopped.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from filmroom import __version__
from filmroom.archive.errors import Refused, Unavailable
from filmroom.archive.jobs import SILENT_SECONDS
from filmroom.index.engine import Engine, Transaction, TryAgain

log = logging.getLogger(__name__)

ATTEMPTS = 8  # of a step that meets transactions of nodes at work

_STEP = re.compile(r"(\d{3})_((?:pre_|post_)?[a-z0-9_]+)\.(sqlite|postgres)\.sql\Z")
_TABLE = re.compile(r"^\s*CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_VERSIONS = """CREATE TABLE IF NOT EXISTS schema_version (
  number integer PRIMARY KEY, name text NOT NULL
)"""


class OldNodes(Refused):
    """Other versions are at work on the index, and a step is to be applied that ends that."""


class SchemaTooNew(Refused):
    """The index was made by a later filmroom; this one would not understand it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the schema."""

    number: int
    name: str
    sql: str

    @property
    def is_post(self) -> bool:
        """Whether older nodes would fail after it."""
        return self.name.startswith("post_")


@dataclass(frozen=True, slots=True)
class Survey:
    """Where the schema of an index stands; steps as they are called, `003_integrity`."""

    applied: list[str]
    pending: list[str]  # the next start of a node of this version applies them
    waiting: list[str]  # until all nodes are of this version, and somebody says so
    newer: list[str]  # applied by a later version, and no hindrance


@lru_cache
def steps(dialect: str) -> tuple[Step, ...]:
    """All steps of a dialect in order."""
    found = []
    for file in files("filmroom.index").joinpath("sql").iterdir():
        named = _STEP.match(file.name)
        if named and named[3] == dialect:
            found.append(Step(int(named[1]), named[2], file.read_text("utf-8")))
    return tuple(sorted(found, key=lambda step: step.number))


def tables(dialect: str) -> frozenset[str]:
    """The names of all tables that the steps make."""
    made = (_TABLE.findall(sql) for sql in (_VERSIONS, *(step.sql for step in steps(dialect))))
    return frozenset(name for names in made for name in names)


def migrate(engine: Engine, *, post: bool | None = None) -> list[str]:
    """Apply what is missing, a transaction for each step; returns the steps applied.

    post: also those steps that older nodes would not survive; by default only for an
    embedded index. Two processes may do this at once: the second waits and finds nothing
    to do. Raises SchemaTooNew, OldNodes, Unavailable.
    """
    post = engine.embedded if post is None else post
    applied: list[str] = []
    while (name := _next_step(engine, post=post, is_first=not applied)) is not None:
        applied.append(name)
    return applied


def _next_step(engine: Engine, *, post: bool, is_first: bool) -> str | None:
    """Apply the first step that is missing; one that meets who is storing is begun again."""
    for _ in range(ATTEMPTS):
        try:
            with engine.write() as tx:
                return _step_in(engine, tx, post=post, is_first=is_first)
        except TryAgain as error:
            log.info("a step of the schema has to wait for others", extra={"detail": str(error)})
    raise Unavailable("the index is too busy for its schema to be changed")


def _step_in(engine: Engine, tx: Transaction, *, post: bool, is_first: bool) -> str | None:
    known = steps(engine.dialect.name)
    present = _present(engine, tx)
    if (newer := _newer(present, known)) and is_first:
        told = {"detail": ", ".join(newer)}
        log.info("a later filmroom has prepared its upgrade: this one may go on", extra=told)
    for step in known:
        if step.number not in present and (post or not step.is_post):
            if step.is_post:
                _alone(engine, tx)
            tx.script(step.sql)
            tx.rows("INSERT INTO schema_version VALUES (?, ?)", (step.number, step.name))
            return _called(step.number, step.name)
    return None


def survey(engine: Engine) -> Survey:
    """What is applied and what is not; nothing is changed. Raises SchemaTooNew."""
    known = steps(engine.dialect.name)
    with engine.write() as tx:
        present = _present(engine, tx)
        newer = _newer(present, known)
    found: dict[str, list[str]] = {"applied": [], "pending": [], "waiting": []}
    for step in known:
        waits = "waiting" if step.is_post and not engine.embedded else "pending"
        state = "applied" if step.number in present else waits
        found[state].append(_called(step.number, step.name))
    return Survey(**found, newer=newer)


def _present(engine: Engine, tx: Transaction) -> dict[int, str]:
    """Number -> name of what is applied; nobody else applies anything meanwhile."""
    engine.enter(tx)
    tx.script(_VERSIONS)
    return dict(tx.rows("SELECT number, name FROM schema_version"))


def _newer(present: dict[int, str], known: tuple[Step, ...]) -> list[str]:
    """Steps of a later filmroom; SchemaTooNew if there is one that we would not survive."""
    newer = sorted(present.keys() - {step.number for step in known})
    if too_new := [number for number in newer if not present[number].startswith("pre_")]:
        raise SchemaTooNew(
            f"the index has schema step {max(too_new)}, this filmroom knows steps up to"
            f" {known[-1].number}: use the filmroom that made it, or a later one"
        )
    return [_called(number, present[number]) for number in newer]


def _alone(engine: Engine, tx: Transaction) -> None:
    """OldNodes if a node of another version was seen in the last seconds."""
    seen = {"version": __version__, "seconds": SILENT_SECONDS}
    if others := [f"{name} ({of})" for name, of in tx.rows(engine.statements["others"], seen)]:
        raise OldNodes(f"still at work on the index: {', '.join(others)}; upgrade those first")


def _called(number: int, name: str) -> str:
    return f"{number:03}_{name}"
