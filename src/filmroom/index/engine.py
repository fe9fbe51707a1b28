"""What the index asks of a database, and where its SQL is kept.

Two thin engines fulfil `Engine`: `sqlite.Sqlite` and `postgres.Postgres`. Static statements
have a name in sql/queries.sql, cluster.sql or smaller.sql, and named parameters (`:name`); what
`where` composes has positional ones (`?`). Each engine turns both into its own spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

from filmroom.index.telling import Callback

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]

Then = Callable[[list[Row]], None]

_FILES = ("queries.sql", "cluster.sql", "smaller.sql")
_NAME = re.compile(r"^-- name: ([a-z_]+)(?:\.([a-z]+))?$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an index is. All but the URL is for PostgreSQL."""

    url: str  # sqlite:///absolute/path or postgresql://…
    namespace: str = ""  # the schema of its tables; "": as the server's search_path says
    pooler: bool = False  # the URL leads to a pooler that keeps no session between transactions
    listen_url: str = ""  # a way past the pooler


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


def ignore(rows: list[Row]) -> None:
    """Nothing follows from them."""


class Transaction(Protocol):
    """Statements that become durable together."""

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement; its rows, if it returns any."""
        ...

    def many(self, sql: str, parameters: Sequence[Parameters]) -> list[Row]:
        """Run one statement once per set of parameters; all rows returned."""
        ...

    def later(self, sql: str, parameters: Sequence[Parameters], then: Then = ignore) -> None:
        """The same when the transaction ends at the latest, in order, and `then` with the rows.

        All that was put off goes to a server together: one round trip. `then` may raise.
        """
        ...

    def flush(self) -> None:
        """Now is later."""
        ...

    def script(self, sql: str) -> None:
        """Run several statements without parameters, however long they take."""
        ...

    def notify(self, topic: str, payload: str = "") -> None:
        """Tell all nodes' listeners, ours too, when this has become durable.

        For what is rare: servers let one transaction at a time commit that tells something.
        Whoever must not miss it looks now and then besides: it may get lost on the way.
        ValueError when it is too long (telling.LONGEST_BYTES).
        """
        ...


class Engine(Protocol):
    """A database."""

    embedded: bool
    dialect: Dialect
    statements: Mapping[str, str]

    @property
    def in_touch(self) -> bool:
        """Whether all that other processes tell now is heard by those who listen here."""
        ...

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

    def listen(self, callback: Callback) -> None:
        """Call it with topic and payload of all that any node tells from now on, ours too.

        On a thread of the engine, one call after the other. After an interruption the topic is
        News.LOST_TOUCH: something may have been missed.
        """
        ...

    def enter(self, transaction: Transaction) -> None:
        """Before the schema is changed: let what is made be made where it belongs.

        One process at a time, until the transaction ends. Raises Refused when that may not be.
        """
        ...

    def settle_in(self) -> None:
        """Do once, after the schema is up to date, what makes later writes cheaper."""
        ...

    def close(self) -> None: ...


class TryAgain(Exception):
    """The transaction met another one; nothing happened, run it again."""


def load_statements(dialect: str, macros: Mapping[str, str]) -> dict[str, str]:
    """The named statements of sql/; `name.sqlite` is for that dialect only.

    macros: replacements for `{word}` in the text.
    """
    folder = files("filmroom.index").joinpath("sql")
    text = "".join(folder.joinpath(name).read_text("utf-8") for name in _FILES)
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
