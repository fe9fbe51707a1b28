"""The shared engine: many nodes on one PostgreSQL, through a pool of connections.

Transactions run READ COMMITTED; the unique indexes decide who was first. executemany
goes out pipelined, so a batch costs a few round trips and not one for each row.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from filmroom import __version__
from filmroom.archive.errors import Unavailable
from filmroom.index.engine import Dialect, Parameters, Row, Transaction, TryAgain, load_statements

CONNECTIONS = 16
PATIENCE_SECONDS = 10.0  # until a connection is to be had
ANSWER_SECONDS = 60.0  # a statement is given up when the server says nothing for so long
RECONNECT_SECONDS = 5.0  # then it is tried again when somebody needs a connection
_NAME = f"filmroom {__version__}"  # by which an upgrade knows who is still at work
# Unless the URL says otherwise. The server, too, gives up a transaction whose node is gone.
_TERMS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_MACROS = {
    "ids": "unnest(:ids::bigint[]) WITH ORDINALITY AS k (id, n)",
    "among_uids": "= ANY(:uids::text[])",
}
_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")
_MET_ANOTHER = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)


class Connection(psycopg.Connection[Row]):
    """One that is not waited on for ever: a network may swallow what it was given."""

    is_hurried = True

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Raises OperationalError when no answer comes; the connection is closed then."""
        if not self.is_hurried:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_hurried(gen, ANSWER_SECONDS), *args, **options)
        except _Silent:
            self.close()
            raise


class _Silent(psycopg.OperationalError):
    """The server has taken what it was sent, and said nothing."""


def _hurried(waiting: Any, seconds: float) -> Generator[Any, Any, Any]:
    """psycopg's own steps, until there was nothing to read or write for so long."""
    last = time.monotonic()
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if ready:
                last = time.monotonic()
            elif time.monotonic() - last > seconds:
                raise _Silent(f"no answer in {seconds:g} seconds")
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value


class PostgresDialect:
    """PostgreSQL's spellings. Text columns compare as bytes (COLLATE "C")."""

    name = "postgres"

    def wild(self, column: str) -> str:
        return f"{column} LIKE ? ESCAPE '!'"

    def pattern(self, text: str) -> str:
        text = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        return text.replace("*", "%").replace("?", "_")

    def among(self, column: str, kind: str) -> str:
        return f"{column} = ANY(?::{kind}[])"

    def listed(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def containing(self) -> str:
        return "SELECT id FROM patient WHERE patient_name_words LIKE ? ESCAPE '!'"


class _Statements:
    """Statements on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        cursor = self._connection.execute(_placed(sql), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def many(self, sql: str, parameters: Sequence[Parameters]) -> list[Row]:
        if len(parameters) == 1:
            return self.rows(sql, parameters[0])
        with self._connection.cursor() as cursor:
            if "RETURNING" not in sql:
                cursor.executemany(_placed(sql), parameters)
                return []
            cursor.executemany(_placed(sql), parameters, returning=True)
            found = cursor.fetchall()
            while cursor.nextset():
                found += cursor.fetchall()
            return found

    def script(self, sql: str) -> None:
        self._connection.is_hurried = False
        try:
            self._connection.execute(sql.encode())
        finally:
            self._connection.is_hurried = True


class Postgres:
    """One database on a server."""

    embedded = False
    dialect: Dialect = PostgresDialect()

    def __init__(self, url: str) -> None:
        """Raises Unavailable when the server does not answer."""
        self.statements: Mapping[str, str] = load_statements("postgres", _MACROS)
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=PATIENCE_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            connection_class=Connection,
            kwargs={"autocommit": True, "application_name": _NAME, **_terms(url)},
            configure=_configure,
            open=False,
        )
        with _told():
            try:
                self._pool.open(wait=True, timeout=PATIENCE_SECONDS)
            except BaseException:
                self._pool.close()
                raise

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        with _told():
            try:
                return self._rows(sql, parameters)
            except psycopg.OperationalError as error:
                if not _is_lost(error):
                    raise
                self._pool.drain()  # the server went and came back: drop what may be dead
                return self._rows(sql, parameters)

    def bulk(self, sql: str, parameters: Parameters, columns: str) -> list[Row]:
        return self.rows(sql, parameters)

    def _rows(self, sql: str, parameters: Parameters) -> list[Row]:
        with self._pool.connection() as connection:
            return _Statements(connection).rows(sql, parameters)

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        with _told():
            try:
                with self._pool.connection() as connection, connection.transaction():
                    yield _Statements(connection)
            except _MET_ANOTHER as error:
                raise TryAgain(str(error)) from error
            except psycopg.OperationalError as error:
                if _is_lost(error):
                    self._pool.drain()
                raise

    def settle_in(self) -> None:
        """Nothing: the server keeps its own logs."""

    def close(self) -> None:
        self._pool.close()


_GONE = {None, "57P01", "57P02", "57P03"}  # connection lost, server going down or coming up


def _is_lost(error: psycopg.OperationalError) -> bool:
    """Whether the connection broke; others will have broken with it."""
    return not isinstance(error, PoolTimeout | PoolClosed) and error.sqlstate in _GONE


def _terms(url: str) -> dict[str, Any]:
    """Our part of how to connect; Unavailable for a URL that is none."""
    with _told():
        said = conninfo_to_dict(url)
    return {name: value for name, value in _TERMS.items() if name not in said}


def _configure(connection: Connection) -> None:
    """Success means committed, whatever the server's default says.

    And nobody waits for the locks of a node that is out of reach: it is never idle in a
    transaction for more than moments.
    """
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.execute(f"SET idle_in_transaction_session_timeout = '{ANSWER_SECONDS:.0f}s'")


@lru_cache(maxsize=1024)
def _placed(sql: str) -> bytes:
    """`?` and `:name` as psycopg writes them; bytes, for it takes no composed str."""
    return _NAMED.sub(r"%(\1)s", sql).replace("?", "%s").encode()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        detail = f"{type(error).__name__}: {error}"
        raise Unavailable("the index does not answer", detail=detail) from error
