"""What was selected by unique keys, a page at a time (PS3.4 C.4.2.1.4.1, PS3.18 10.4).

In the order of series, InstanceNumber and arrival, continued by value: nothing is held in
the database between two pages. A page is bounded in rows and in the bytes of frame tables,
which are all of a handle that can be long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from filmroom.archive.records import InstanceKind, Selection
from filmroom.index.engine import Engine, Row
from filmroom.index.finding import Planner
from filmroom.index.where import Clause

PAGE = 2000  # handles
PAGE_BYTES = 8 << 20  # of frame tables
_SERIES = 1000  # looked at together

Key = tuple[int, int]  # (id, bytes of its frame table)


class Selecting:
    """Reads selections from one engine."""

    def __init__(self, engine: Engine, planner: Planner) -> None:
        self._engine = engine
        self._planner = planner
        self._sql = engine.statements
        self._listed = engine.dialect.listed

    def kinds(self, selection: Selection) -> list[InstanceKind]:
        """How many instances there are of each kind."""
        selected = self._planner.selected(selection)
        if selected is None:
            return []
        rows = self._bulk("selected_kinds", selected, "tttt")
        return [InstanceKind(row[0], row[1], bool(row[2]), row[3]) for row in rows]

    def pages(self, selection: Selection) -> Iterator[list[Row]]:
        """Rows of handles, page after page."""
        selected = self._planner.selected(selection)
        if selected is None:
            return
        if selection.sop_instance_uids:  # as many as one request can name
            runs = iter([self._bulk("selected_instances", selected, "tt")])
        else:
            runs = self._keys_by_series(selected)
        for keys in runs:
            for ids in _portions(keys):
                listed = {"ids": self._listed(ids)}
                yield self._engine.bulk(self._sql["handles"], listed, "ttttttttbtbt")

    def _keys_by_series(self, selected: Clause) -> Iterator[list[Key]]:
        """Keys of several small series at once, or of a part of a large one."""
        together: list[int] = []
        size = 0
        for series, instances in self._series(selected):
            if together and size + instances > PAGE:
                yield self._keys_of(together)
                together, size = [], 0
            if instances > PAGE:
                yield from self._keys_of_large(series)
            else:
                together.append(series)
                size += instances
        if together:
            yield self._keys_of(together)

    def _series(self, selected: Clause) -> Iterator[tuple[int, int]]:
        after = ""
        while True:
            clause = Clause(selected.sql, (*selected.parameters, after, _SERIES))
            rows = self._bulk("selected_series", clause, "ttt")
            yield from ((row[0], row[2]) for row in rows)
            if len(rows) < _SERIES:
                return
            after = rows[-1][1]

    def _keys_of(self, series: Sequence[int]) -> list[Key]:
        listed = {"ids": self._listed(series)}
        return [(row[0], row[1]) for row in self._engine.bulk(self._sql["keys_in"], listed, "tt")]

    def _keys_of_large(self, series: int) -> Iterator[list[Key]]:
        number, id_ = -(2**62), 0
        while True:
            after = {"series": series, "number": number, "id": id_, "limit": PAGE}
            rows = self._engine.bulk(self._sql["keys_in_after"], after, "ttt")
            if rows:
                yield [(row[0], row[1]) for row in rows]
                id_, number = rows[-1][0], rows[-1][2]
            if len(rows) < PAGE:
                return

    def _bulk(self, statement: str, clause: Clause, columns: str) -> list[Row]:
        sql = self._sql[statement].replace("{selected}", clause.sql)
        return self._engine.bulk(sql, clause.parameters, columns)


def _portions(keys: Sequence[Key]) -> Iterator[list[int]]:
    """Ids of keys, as many together as a page may have."""
    ids: list[int] = []
    size = 0
    for id_, table_bytes in keys:
        if ids and (len(ids) >= PAGE or size + table_bytes > PAGE_BYTES):
            yield ids
            ids, size = [], 0
        ids.append(id_)
        size += table_bytes
    if ids:
        yield ids
