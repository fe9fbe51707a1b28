"""What the index asks of a database, and where its SQL is kept.

Two thin engines fulfil `Engine`: `sqlite.Sqlite` and `postgres.Postgres`. Static statements
have a name in sql/queries.sql and named parameters (`:name`); what `where` composes has
positional ones (`?`). Each engine turns both into its own spelling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any, Protocol

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]

_NAME = re.compile(r"^-- name: ([a-z_]+)(?:\.([a-z]+))?$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


class Dialect(Protocol):
    """The few places where the two engines spell the same thing differently."""

    name: str

    def wild(self, column: str) -> str:
        """`column` matches a `pattern`, with regard to case."""
        ...

    def pattern(self, text: str) -> str:
        """DICOM's wild cards (PS3.4 C.2.2.2.4) as the parameter for `wild`."""
        ...

    def among(self, column: str, kind: str) -> str:
        """`column` is one of a list of `kind` "text" or "bigint" made by `listed`."""
        ...

    def listed(self, values: Sequence[Any]) -> Any:
        """The parameter for `among`, and for the lists in queries.sql."""
        ...

    def containing(self) -> str:
        """The words of patient p match one `wild` pattern, found through the trigram index."""
        ...


class Transaction(Protocol):
    """Statements that become durable together."""

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement; its rows, if it returns any."""
        ...

    def many(self, sql: str, parameters: Sequence[Parameters]) -> list[Row]:
        """Run one statement once per set of parameters; all rows returned."""
        ...

    def script(self, sql: str) -> None:
        """Run several statements without parameters."""
        ...


class Engine(Protocol):
    """A database."""

    embedded: bool
    dialect: Dialect
    statements: Mapping[str, str]

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement that only reads."""
        ...

    def bulk(self, sql: str, parameters: Parameters, columns: str) -> list[Row]:
        """The same for many rows, handing the interpreter over once and not for each.

        columns: a letter for each, `t` text or integer, `b` bytes. No REAL: its digits
        might not survive.
        """
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction, synced to disk when the block ends without an exception."""
        ...

    def settle_in(self) -> None:
        """Do once, after the schema is up to date, what makes later writes cheaper."""
        ...

    def close(self) -> None: ...


class TryAgain(Exception):
    """The transaction met another one; nothing happened, run it again."""


def load_statements(dialect: str, macros: Mapping[str, str]) -> dict[str, str]:
    """The named statements of sql/queries.sql; `name.sqlite` is for that dialect only.

    macros: replacements for `{word}` in the text.
    """
    text = files("filmroom.index").joinpath("sql/queries.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    statements: dict[str, str] = {}
    for name, variant, body in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        if variant in (None, dialect):
            if name in statements:
                raise ValueError(f"two statements are named {name}")
            statements[name] = _expand(_COMMENT.sub("", body), macros)
    return statements


def _expand(text: str, macros: Mapping[str, str]) -> str:
    for word, replacement in macros.items():
        text = text.replace("{" + word + "}", replacement)
    return text.strip().rstrip(";")
