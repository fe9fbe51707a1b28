"""The schema in numbered steps: sql/NNN_name.<dialect>.sql, each applied once, in order.

A step named NNN_pre_* may run while nodes of the last version still work; one named
NNN_post_* only when all nodes are new. An index that only this process uses applies all at
once; one that several share leaves the latter alone until `migrate` is told (there is no such
step so far, and so no command that tells it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from filmroom.archive.errors import Refused
from filmroom.index.engine import Engine

_STEP = re.compile(r"(\d{3})_((?:pre_|post_)?[a-z0-9_]+)\.(sqlite|postgres)\.sql\Z")
_TABLE = re.compile(r"^\s*CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_VERSIONS = """CREATE TABLE IF NOT EXISTS schema_version (
  number integer PRIMARY KEY, name text NOT NULL
)"""


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
    """Apply what is missing, in one transaction; returns the names of the steps applied.

    post: also those steps that older nodes would not survive; by default only for an
    embedded index. Two processes may do this at once: the second waits and finds nothing
    to do. Raises SchemaTooNew.
    """
    post = engine.embedded if post is None else post
    known = steps(engine.dialect.name)
    applied = []
    with engine.write() as tx:
        engine.enter(tx)
        tx.script(_VERSIONS)
        present = {row[0] for row in tx.rows("SELECT number FROM schema_version")}
        if newer := present - {step.number for step in known}:
            raise SchemaTooNew(
                f"the index has schema step {max(newer)}, this filmroom knows steps up to"
                f" {known[-1].number}: use the filmroom that made it, or a later one"
            )
        for step in known:
            if step.number not in present and (post or not step.is_post):
                tx.script(step.sql)
                tx.rows("INSERT INTO schema_version VALUES (?, ?)", (step.number, step.name))
                applied.append(step.name)
    return applied
