"""The shared engine: many nodes on one PostgreSQL, through a pool of connections.

Transactions run READ COMMITTED; the unique indexes decide who was first. executemany
goes out pipelined, so a batch costs a few round trips and not one for each row.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from filmroom.archive.errors import Unavailable
from filmroom.index.engine import Dialect, Parameters, Row, Transaction, TryAgain, load_statements

CONNECTIONS = 16
PATIENCE_SECONDS = 10.0
_MACROS = {
    "ids": "unnest(:ids::bigint[]) WITH ORDINALITY AS k (id, n)",
    "among_ids": "= ANY(:ids::bigint[])",
    "among_uids": "= ANY(:uids::text[])",
}
_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")
_MET_ANOTHER = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)

Connection = psycopg.Connection[Row]


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
        return self.wild("p.patient_name_words")


class _Statements:
    """Statements on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        cursor = self._connection.execute(
            _placed(sql), parameters or None, prepare=_prepared(parameters)
        )
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
        self._connection.execute(sql.encode())


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
            kwargs={"autocommit": True, "application_name": "filmroom"},
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
                if isinstance(error, PoolTimeout | PoolClosed) or error.sqlstate not in _GONE:
                    raise
                self._pool.check()  # the server went and came back: drop what is dead
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
                if not isinstance(error, PoolTimeout | PoolClosed):
                    with contextlib.suppress(psycopg.Error):
                        self._pool.check()
                raise

    def settle_in(self) -> None:
        """Nothing: the server keeps its own logs."""

    def close(self) -> None:
        self._pool.close()


_GONE = {None, "57P01", "57P02", "57P03"}  # connection lost, server going down or coming up


def _configure(connection: Connection) -> None:
    """Success means committed, whatever the server's default says."""
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )


def _prepared(parameters: Parameters) -> bool | None:
    """Never with a list among the parameters, else from the sixth time on.

    The plan for any list is chosen by how large the tables are then; one from their first
    minutes goes on to read them whole when they have grown, until somebody analyses them.
    """
    found = parameters.values() if isinstance(parameters, Mapping) else parameters
    return False if any(isinstance(each, list) for each in found) else None


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
