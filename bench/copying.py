"""An empty PostgreSQL index filled with made-up studies through COPY: ten million in minutes.

The index's own `Adding` writes into a transaction that only remembers, so the rows are those
that storing makes; only their way into the database is shorter. Indexes are dropped before and
made again after it, and the schema must then be what the migrations made.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import made_up
import psycopg
from psycopg import sql

from filmroom.archive.records import NewInstance
from filmroom.index.adding import Adding, Memory, Parameters
from filmroom.index.engine import Row, Then, ignore, load_statements
from filmroom.index.postgres import _MACROS, PostgresDialect

BLOCK = 200  # studies of a day, stored together; even, since a patient has two
KEYS = {
    "patient": ("identity", "issuer_of_patient_id"),
    "study": ("study_instance_uid",),
    "series": ("series_instance_uid",),
    "instance": ("sop_instance_uid",),
}
BESIDE = ("other_value", "sequence_value", "study_modality", "study_sop_class", "event")
TABLES = (*KEYS, *BESIDE)
COUNTERS = {
    "studies": "study_count",
    "series": "series_count",
    "instances": "instance_count",
    "size_bytes": "size_bytes",
}
NOT_THERE = ("held_uids", "known_series", "known_studies", "known_patients", "events_begin")
# A series is prepared for viewing soon after it came; there are no files to do it from.
AT_FIRST = {
    "patient": {"study_count": 0, "series_count": 0, "instance_count": 0},
    "study": {"series_count": 0, "instance_count": 0, "size_bytes": 0, "received_at": 0.0},
    "series": {
        "instance_count": 0,
        "size_bytes": 0,
        "received_at": 0.0,
        "revision": 0,
        "has_metadata": 1,
    },
    "instance": {},
}


class Remembered:
    """`index.engine.Transaction` and `Engine` in one: nothing is there yet, all is kept."""

    dialect = PostgresDialect()

    def __init__(self, last_ids: dict[str, int]) -> None:
        """last_ids: by table, those that others have or will have."""
        self.statements = load_statements("postgres", _MACROS)
        self._names = {text: name for name, text in self.statements.items()}
        self._ids = Counter(last_ids)
        self._by_id: dict[str, dict[int, Parameters]] = defaultdict(dict)
        self.tables: dict[str, list[Parameters]] = defaultdict(list)

    def rows(self, sql: str, parameters: Any = ()) -> list[Row]:
        return self.many(sql, [parameters])

    def many(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        name = self._names[sql]
        if name in NOT_THERE:
            return []
        verb, _, table = name.partition("_")
        if verb == "count":
            return [self._count(table, each) for each in parameters]
        if verb != "add":
            raise ValueError(f"{name} is not of storing what is new")
        if table in BESIDE:
            self.tables[table] += map(self._dated, parameters)
            return []
        return [self._add(table, each) for each in parameters]

    def later(self, sql: str, parameters: Sequence[Any], then: Then = ignore) -> None:
        then(self.many(sql, parameters))

    def flush(self) -> None:
        """Nothing: all is done at once."""

    def script(self, sql: str) -> None:
        raise NotImplementedError

    def notify(self, topic: str, payload: str = "") -> None:
        raise NotImplementedError

    def _add(self, table: str, row: Parameters) -> Row:
        self._ids[table] += 1
        row = {"id": self._ids[table], **row, **AT_FIRST[table]}
        self._by_id[table][row["id"]] = row
        self.tables[table].append(row)
        return (*(row[key] for key in KEYS[table]), row["id"])

    def _count(self, table: str, more: Parameters) -> Row:
        row = self._by_id[table][more["id"]]
        for name, column in COUNTERS.items():
            if name in more:
                row[column] += more[name]
        if "received_at" in row:
            row["received_at"] = max(row["received_at"], more["received_at"])
        if table == "series":
            row["revision"] += 1
        return row["id"], 0

    def _dated(self, row: Parameters) -> Parameters:
        """Modalities in Study carry the study's date and time."""
        if "modality" not in row:
            return row
        study = self._by_id["study"][row["study"]]
        return row | {name: study[name] for name in ("study_date", "study_time")}


def fill(url: str, studies: int, kept_events: int) -> float:
    """Fill the index at `url`, where only the migrations were, and look after it: instances/s."""
    started = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        schema = _schema(connection)
        for table, name, _, is_constraint in schema:
            words = f"ALTER TABLE {table} DROP CONSTRAINT" if is_constraint else "DROP INDEX"
            connection.execute(sql.SQL(f"{words} {{}}").format(sql.Identifier(name)))
        made = _fill_tables(url, studies, kept_events)
        _say(started, f"{made:,} instances copied")
        _index_again(connection, schema)
        _say(started, "indexes made")
        if _schema(connection) != schema:
            raise SystemExit("the schema is not what the migrations made")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    _say(started, "analysed")
    return made / (time.perf_counter() - started)


def _say(started: float, what: str) -> None:
    print(f"  {time.perf_counter() - started:6.0f} s  {what}", flush=True)


def _fill_tables(url: str, studies: int, kept_events: int) -> int:
    firsts = range(0, studies, BLOCK)
    workers = min(os.cpu_count() or 1, 8)
    jobs = [(url, firsts[n::workers], studies, kept_events) for n in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        return sum(pool.map(_fill_blocks, jobs))


def _fill_blocks(job: tuple[str, range, int, int]) -> int:
    """Every so manieth block, so that all together come about in the order of time."""
    url, firsts, studies, kept_events = job
    made = 0
    with psycopg.connect(url) as connection:
        for first in firsts:
            ends = min(first + BLOCK, studies)
            batch = [new for n in range(first, ends) for new in made_up.study(n)]
            is_late = made_up.instances_before(studies) - made_up.instances_before(first)
            _copy(connection, batch, first, with_events=is_late <= kept_events)
            connection.commit()
            made += len(batch)
    return made


def _copy(
    connection: psycopg.Connection[Row], batch: list[NewInstance], first: int, *, with_events: bool
) -> None:
    remembered = Remembered(
        {
            "patient": first // 2,
            "study": first,
            "series": first,
            "instance": made_up.instances_before(first),
        }
    )
    Adding(remembered, remembered, Memory()).run(batch)  # type: ignore[arg-type]
    for table in TABLES if with_events else TABLES[:-1]:
        if rows := remembered.tables[table]:
            names = list(rows[0])
            into = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
            )
            with connection.cursor().copy(into) as copy:
                for row in rows:
                    copy.write_row([row[name] for name in names])


def _schema(connection: psycopg.Connection[Row]) -> list[Row]:
    """(table, name, definition, whether it is a constraint) of all indexes of our tables."""
    return connection.execute(
        """SELECT i.indrelid::regclass::text, c.relname,
                  coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(c.oid)),
                  k.oid IS NOT NULL
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid
            WHERE i.indrelid::regclass::text = ANY (%s)
            ORDER BY 1, 2""",
        (list(TABLES),),
    ).fetchall()


def _index_again(connection: psycopg.Connection[Row], schema: list[Row]) -> None:
    for table, name, definition, is_constraint in schema:
        if is_constraint:
            definition = f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}'
        connection.execute(definition)
    for table in KEYS:
        connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
        )
