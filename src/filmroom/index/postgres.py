"""The shared engine: many nodes on one PostgreSQL, through a pool of connections.

Transactions run READ COMMITTED; the unique indexes decide who was first. executemany, and
what a transaction does `later`, go out pipelined: a batch costs a few round trips and not one
for each row or table.

Behind a pooler in transaction mode nothing is left to the session: no prepared statements, no
settings, no LISTEN. Other nodes are then heard over `Place.listen_url`, or not at all.
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

from filmroom.archive.errors import Refused, Unavailable
from filmroom.index.engine import (
    Dialect,
    Parameters,
    Place,
    Row,
    Then,
    Transaction,
    TryAgain,
    ignore,
    load_statements,
)
from filmroom.index.migrate import tables
from filmroom.index.namespace import Namespace
from filmroom.index.postgres_connection import ANSWER_SECONDS, Connection, demand_open, terms
from filmroom.index.postgres_listening import Ear
from filmroom.index.telling import Callback, InProcess, Message, read, spelt

CONNECTIONS = 16
PATIENCE_SECONDS = 10.0  # until a connection is to be had
RECONNECT_SECONDS = 5.0  # then it is tried again when somebody needs a connection
_MACROS = {
    "ids": "unnest(:ids::bigint[]) WITH ORDINALITY AS k (id, n)",
    "among_ids": "= ANY(:ids::bigint[])",
    "among_uids": "= ANY(:uids::text[])",
    "now": "extract(epoch FROM clock_timestamp())::float8",
}
_DIRECT: dict[str, Any] = {"autocommit": True, "application_name": "filmroom"}
_POOLED: dict[str, Any] = {**_DIRECT, "prepare_threshold": None}
_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")
_MET_ANOTHER = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)


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

    def __init__(self, connection: Connection, namespace: Namespace) -> None:
        self._connection = connection
        self._namespace = namespace
        self._put_off: list[tuple[bytes, Sequence[Parameters], Then]] = []
        self.told: dict[Message, None] = {}

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        placed = _placed(self._namespace, sql)
        cursor = self._connection.execute(placed, parameters or None, prepare=_prepared(parameters))
        return cursor.fetchall() if cursor.description else []

    def many(self, sql: str, parameters: Sequence[Parameters]) -> list[Row]:
        if len(parameters) == 1:
            return self.rows(sql, parameters[0])
        with self._connection.cursor() as cursor:
            placed = _placed(self._namespace, sql)
            if "RETURNING" not in sql:
                cursor.executemany(placed, parameters)
                return []
            cursor.executemany(placed, parameters, returning=True)
            found = cursor.fetchall()
            while cursor.nextset():
                found += cursor.fetchall()
            return found

    def later(self, sql: str, parameters: Sequence[Parameters], then: Then = ignore) -> None:
        self._put_off.append((_placed(self._namespace, sql), parameters, then))

    def flush(self) -> None:
        """Run what was put off, all in one pipeline."""
        if not self._put_off:
            return
        put_off, self._put_off = self._put_off, []
        execute = self._connection.execute
        with self._connection.pipeline():
            done = [[execute(sql, each or None) for each in sets] for sql, sets, _ in put_off]
        for (_, _, then), cursors in zip(put_off, done, strict=True):
            answers = (cursor.fetchall() for cursor in cursors if cursor.description)
            then([row for rows in answers for row in rows])

    def script(self, sql: str) -> None:
        self._connection.is_hurried = False
        try:
            self._connection.execute(self._namespace.placed(sql).encode())
        finally:
            self._connection.is_hurried = True

    def notify(self, topic: str, payload: str = "") -> None:
        message = spelt(topic, payload)
        self.rows("SELECT pg_notify(?, ?)", (self._namespace.channel, message))
        self.told[read(message)] = None


class Postgres:
    """One database on a server."""

    embedded = False
    dialect: Dialect = PostgresDialect()

    def __init__(self, place: Place) -> None:
        """Raises Unavailable when the server does not answer, Refused when it will not do."""
        self.statements: Mapping[str, str] = load_statements("postgres", _MACROS)
        self._namespace = Namespace(place.namespace, tables("postgres"))
        self._ear: Ear | None = None
        self._told = InProcess()  # where there is no ear we hear at least ourselves
        if place.listen_url or not place.pooler:
            self._ear = Ear(place.listen_url or place.url, self._namespace.channel)
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            place.url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=PATIENCE_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            connection_class=Connection,
            kwargs={**(_POOLED if place.pooler else _DIRECT), **_terms(place.url)},
            configure=None if place.pooler else _configure,
            open=False,
        )
        with _told():
            try:
                self._pool.open(wait=True, timeout=PATIENCE_SECONDS)
                if place.pooler:
                    self._demand_synced_commits()
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
        with self._lent() as connection:
            return _Statements(connection, self._namespace).rows(sql, parameters)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Connection]:
        """A connection on which the server has not hung up, as far as we have heard."""
        while True:
            connection = self._pool.getconn()
            try:
                demand_open(connection)
                break
            except psycopg.OperationalError:
                self._pool.putconn(connection)
                self._pool.drain()  # others will have been lost with it
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        with _told():
            try:
                with self._lent() as connection:
                    statements = _Statements(connection, self._namespace)
                    with connection.transaction():
                        yield statements
                        statements.flush()
                if self._ear is None:
                    self._told.post(tuple(statements.told))
            except _MET_ANOTHER as error:
                raise TryAgain(str(error)) from error
            except psycopg.OperationalError as error:
                if _is_lost(error):
                    self._pool.drain()
                raise

    @property
    def in_touch(self) -> bool:
        return self._ear is not None and self._ear.in_touch

    def listen(self, callback: Callback) -> None:
        (self._ear or self._told).listen(callback)

    def enter(self, transaction: Transaction) -> None:
        transaction.script(self.statements["lock_schema"])  # as long as another's step takes
        name = self._namespace.name
        if not name:
            return
        try:
            if not transaction.rows(self.statements["has_namespace"], {"name": name}):
                transaction.script(self._namespace.making())
            transaction.script(self._namespace.entering())
        except errors.InsufficientPrivilege as error:
            raise Refused(
                f"the database has no schema {name}, and we may not make it; somebody who may says"
                f" CREATE SCHEMA {name} AUTHORIZATION, and our user"
            ) from error

    def _demand_synced_commits(self) -> None:
        """Success means committed: what is set for a connection, here the server must say."""
        if self._rows("SELECT current_setting('synchronous_commit')", ()) == [("off",)]:
            raise Refused(
                "the index's server does not wait for its disk, and behind a pooler it cannot be"
                " asked to: set synchronous_commit to on there, or for our user (ALTER ROLE)"
            )

    def settle_in(self) -> None:
        """Nothing: the server keeps its own logs."""

    def close(self) -> None:
        if self._ear is not None:
            self._ear.close()
        self._told.close()
        self._pool.close()


# Connection lost, server going down or coming up; a pooler says "protocol violation" to all that.
_GONE = {None, "57P01", "57P02", "57P03", "08P01"}


def _is_lost(error: psycopg.OperationalError) -> bool:
    """Whether the connection broke; others will have broken with it."""
    return not isinstance(error, PoolTimeout | PoolClosed) and error.sqlstate in _GONE


def _terms(url: str) -> dict[str, Any]:
    """Our part of how to connect; Unavailable for a URL that is none."""
    with _told():
        return terms(url)


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


def _prepared(parameters: Parameters) -> bool | None:
    """Never with a list among the parameters, else from the sixth time on.

    The plan for any list is chosen by how large the tables are then; one from their first
    minutes goes on to read them whole when they have grown, until somebody analyses them.
    """
    found = parameters.values() if isinstance(parameters, Mapping) else parameters
    return False if any(isinstance(each, list) for each in found) else None


@lru_cache(maxsize=1024)
def _placed(namespace: Namespace, sql: str) -> bytes:
    """`?` and `:name` as psycopg writes them; bytes, for it takes no composed str."""
    return _NAMED.sub(r"%(\1)s", namespace.placed(sql)).replace("?", "%s").encode()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        detail = f"{type(error).__name__}: {error}"
        raise Unavailable("the index does not answer", detail=detail) from error
