"""The embedded engine: one writer, many readers, write-ahead log, synced at commit.

After a sync that failed nothing more is written until a restart: what was not synced may lie
in the log all the same, and which of it is taken over is only known once it is read again.

One connection writes, guarded by a lock. Readers come from a stack, so that a few warm
ones serve all threads. apsw brings its own SQLite, so what it can do does not depend on
the host.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import apsw
import orjson

from filmroom.archive.errors import Unavailable
from filmroom.index.engine import (
    Dialect,
    Parameters,
    Row,
    Then,
    Transaction,
    ignore,
    load_statements,
)
from filmroom.index.telling import Callback, InProcess, Message, read, spelt

log = logging.getLogger(__name__)

BUSY_MS = 10_000
IDLE_READERS = 8
LOG_BYTES = 8 << 20  # what the write-ahead log grows to between two checkpoints
_MMAP_BYTES = 256 << 20
_FAILED_SYNCS = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
_MACROS = {
    "ids": "(SELECT value AS id, key AS n FROM json_each(:ids)) k",
    "among_ids": "IN (SELECT value FROM json_each(:ids))",
    "among_uids": "IN (SELECT value FROM json_each(:uids))",
    "now": "unixepoch('now', 'subsec')",
}


class SqliteDialect:
    """SQLite's spellings. GLOB sees case, LIKE does not."""

    name = "sqlite"

    def wild(self, column: str) -> str:
        return f"{column} GLOB ?"

    def pattern(self, text: str) -> str:
        return text.replace("[", "[[]")

    def among(self, column: str, kind: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(?))"

    def listed(self, values: Sequence[Any]) -> str:
        return orjson.dumps(values).decode()

    def containing(self) -> str:
        return "p.id IN (SELECT rowid FROM patient_words WHERE patient_name_words GLOB ?)"


class _Statements:
    """Statements on one connection; any failure of SQLite is told as Unavailable."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.told: dict[Message, None] = {}

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        try:
            return list(self._connection.execute(sql, parameters or None))
        except apsw.Error as error:
            raise _unavailable(error) from error

    def many(self, sql: str, parameters: Sequence[Parameters]) -> list[Row]:
        try:
            return list(self._connection.executemany(sql, parameters))
        except apsw.Error as error:
            raise _unavailable(error) from error

    def later(self, sql: str, parameters: Sequence[Parameters], then: Then = ignore) -> None:
        then(self.many(sql, parameters))  # there is no way to save

    def flush(self) -> None:
        """Nothing was put off."""

    def script(self, sql: str) -> None:
        self.rows(sql)

    def notify(self, topic: str, payload: str = "") -> None:
        self.told[read(spelt(topic, payload))] = None


class Sqlite:
    """One database file."""

    embedded = True
    dialect: Dialect = SqliteDialect()
    in_touch = False  # other processes, such as `filmroom scrub`, are not heard

    def __init__(self, path: Path) -> None:
        """Raises Unavailable when the file cannot be opened or made."""
        self.statements: Mapping[str, str] = load_statements("sqlite", _MACROS)
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._closed = False
        self._broken = ""
        self._told = InProcess()
        try:
            _make(path)
            self._writer = _connect(path, cache_kib=16 * 1024)
        except (apsw.Error, OSError) as error:
            raise _unavailable(error) from error

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        reader = self._reader()
        try:
            return _Statements(reader).rows(sql, parameters)
        finally:
            if self._closed or len(self._idle) >= IDLE_READERS:
                reader.close()
            else:
                self._idle.append(reader)

    def bulk(self, sql: str, parameters: Parameters, columns: str) -> list[Row]:
        # Each step of a statement gives up the interpreter's lock, and beside a busy thread
        # it takes a millisecond to get it back: so let SQLite gather all rows in one step.
        try:
            gathered = orjson.loads(self.rows(_gathering(sql, columns), parameters)[0][0])
        except Unavailable as error:
            if isinstance(error.__cause__, apsw.TooBigError):
                return self.rows(sql, parameters)
            raise
        for at in [n for n, column in enumerate(columns) if column == "b"]:
            for row in gathered:
                row[at] = bytes.fromhex(row[at])
        return list(map(tuple, gathered))

    def _reader(self) -> apsw.Connection:
        if self._closed:
            raise Unavailable("the index is closed")
        try:
            return self._idle.pop()  # one step under the interpreter's lock
        except IndexError:
            pass
        try:
            reader = _connect(self._path, cache_kib=4 * 1024)
            reader.execute("PRAGMA query_only = 1")
        except apsw.Error as error:
            raise _unavailable(error) from error
        return reader

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        with self._lock:
            if self._closed:
                raise Unavailable("the index is closed")
            if self._broken:
                raise Unavailable("the index has failed", detail=self._broken)
            statements = _Statements(self._writer)
            statements.rows("BEGIN IMMEDIATE")
            try:
                yield statements
                statements.rows("COMMIT")
                self._told.post(tuple(statements.told))
            except BaseException as error:
                self._look_at(error.__cause__)
                # A failed COMMIT may or may not have ended the transaction.
                if self._writer.in_transaction:
                    with contextlib.suppress(apsw.Error):
                        self._writer.execute("ROLLBACK")
                raise

    def _look_at(self, cause: BaseException | None) -> None:
        """What the kernel dropped in a sync that failed, it does not say in the next."""
        if getattr(cause, "extendedresult", 0) in _FAILED_SYNCS:
            self._broken = f"{cause}; restart after the disk was checked"
            detail = {"detail": f"{type(cause).__name__}: {cause}"}
            log.critical("the index failed: nothing more is stored", extra=detail)

    def listen(self, callback: Callback) -> None:
        self._told.listen(callback)

    def enter(self, transaction: Transaction) -> None:
        """Nothing: the file is its place, and has one writer."""

    def settle_in(self) -> None:
        """Give the write-ahead log its size before it is needed.

        A commit that lengthens the file waits for the file system's journal too; one that
        writes over what is there takes a third less. What is written here is rolled back.
        """
        connection = _connect(self._path, cache_kib=64)
        try:
            for statement in (
                "BEGIN IMMEDIATE",
                "CREATE TABLE log_filler (content)",
                f"INSERT INTO log_filler VALUES (zeroblob({LOG_BYTES}))",
                "ROLLBACK",
            ):
                connection.execute(statement).fetchall()
        except apsw.Error as error:
            raise _unavailable(error) from error
        finally:
            connection.close()

    def close(self) -> None:
        self._told.close()
        with self._lock:
            self._closed = True
            try:
                while self._idle:
                    self._idle.pop().close()
                self._writer.close()
            except apsw.Error as error:  # the log could not be put away: the next start does
                log.warning("the index was not closed cleanly", extra={"detail": str(error)})


def snapshot(source: Path, target: Path) -> None:
    """Write what `source` is at this moment into the new file `target`, synced.

    Also while a server writes to it; nobody waits. Raises Unavailable.
    """
    target.unlink(missing_ok=True)
    try:
        _make(target)
        written = apsw.Connection(str(target), flags=_READ_WRITE)
        read = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            read.set_busy_timeout(BUSY_MS)
            with written.backup("main", read, "main") as backup:
                while not backup.done:
                    backup.step(-1)
        finally:
            read.close()
            written.close()
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except (apsw.Error, OSError) as error:
        raise _unavailable(error) from error


@lru_cache(maxsize=1024)
def _gathering(sql: str, columns: str) -> str:
    """`sql` as one row: a JSON array of its rows, bytes in hexadecimal."""
    names = [f"c{n}" for n in range(len(columns))]
    values = [f"hex({n})" if c == "b" else n for n, c in zip(names, columns, strict=True)]
    return (
        f"WITH r ({', '.join(names)}) AS ({sql})"
        f" SELECT json_group_array(json_array({', '.join(values)})) FROM r"
    )


def _make(path: Path) -> None:
    """Make the file for our eyes only: it holds patients' names."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _connect(path: Path, *, cache_kib: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=_READ_WRITE)
    connection.set_busy_timeout(BUSY_MS)
    _use_wal(connection)
    for pragma in (
        "synchronous = FULL",
        f"cache_size = -{cache_kib}",
        f"mmap_size = {_MMAP_BYTES}",
        "temp_store = MEMORY",
        "wal_autocheckpoint = 2000",
        f"journal_size_limit = {64 << 20}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _use_wal(connection: apsw.Connection) -> None:
    """Two processes that switch a new file to WAL at once do not wait for each other."""
    patience = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except apsw.BusyError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.02)
        else:
            return


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable("the index does not answer", detail=f"{type(error).__name__}: {error}")
