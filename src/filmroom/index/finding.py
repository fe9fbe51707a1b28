"""A query -> the surrogate ids of its answers, in order (PS3.4 C.4.1).

Two ways lead through an archive: from a few rows that an index names (a PatientID, part
of a name, an accession number), sorted afterwards; or along the index of the wanted
order, looking at each row. The first is ruinous when many rows match, the second when
few do, and planners guess. So the narrow conditions are resolved first: up to NARROW ids
replace the condition, and beyond that the condition is hidden from its index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from filmroom.archive.records import Query, Selection
from filmroom.dicom.match import AnyOf, Fuzzy, Items, Match, Range, Single, Wildcard
from filmroom.dicom.models import Level
from filmroom.index import values
from filmroom.index.engine import Engine, Row
from filmroom.index.where import (
    ALIASES,
    COLUMNS,
    COMBINED,
    MATCHED_SEQUENCES,
    PARENTS,
    TABLES,
    Clause,
    Column,
    Test,
    both,
    combined,
    condition,
    conjuncts,
    fuzzy_words,
    items_query,
)

NARROW = 1000  # ids; a thousand rows sorted take less than walking a long index
NARROWING = ("PatientID", "PatientName", "AccessionNumber")  # indexed, and asked in part
_UNIQUE = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}
_WALKED = {"ModalitiesInStudy", "StudyDate", "StudyTime"}
_OF_STUDY = {
    "ModalitiesInStudy": ("study_modality", "modality", "CS"),
    "SOPClassesInStudy": ("study_sop_class", "sop_class_uid", "UI"),
}
_NEWEST = ("study_date", "study_time", "id")
_ORDER = {
    Level.PATIENT: ("identity", "issuer_of_patient_id"),
    Level.STUDY: ("study_instance_uid",),
    Level.SERIES: ("series_instance_uid",),
    Level.IMAGE: ("sop_instance_uid",),
}


@dataclass(slots=True)
class Plan:
    """A query made ready: where its rows come from, what they must be, their order."""

    level: Level
    source: str
    clause: Clause
    order: tuple[str, ...]
    descending: bool
    sorted_after: bool  # few rows: the order's index must not lead

    def select(self, limit: int | None, offset: int = 0, after: Sequence[Any] = ()) -> Clause:
        """Rows of (id, *order columns); after: those of the last row already seen."""
        columns = [f"{ALIASES[self.level]}.{name}" for name in self.order]
        sql, parameters = f"{self.source} WHERE {self.clause.sql}", self.clause.parameters
        if after:
            sign = "<" if self.descending else ">"
            marks = ", ".join("?" * len(columns))
            sql += f" AND ({', '.join(columns)}) {sign} ({marks})"
            parameters = (*parameters, *after)
        direction = " DESC" if self.descending else ""
        by = ", ".join(f"{self._term(column)}{direction}" for column in columns)
        sql = f"SELECT {ALIASES[self.level]}.id, {', '.join(columns)} FROM {sql} ORDER BY {by}"
        if limit is not None or offset:
            # SQLite has no OFFSET without LIMIT.
            sql += f" LIMIT {2**62 if limit is None else int(limit)} OFFSET {int(offset)}"
        return Clause(sql, parameters)

    def _term(self, column: str) -> str:
        return f"({column} || '')" if self.sorted_after and not column.endswith(".id") else column

    def count(self) -> Clause:
        """How many rows there are."""
        sql = f"SELECT count(*) FROM {self.source} WHERE {self.clause.sql}"
        return Clause(sql, self.clause.parameters)


@dataclass(slots=True)
class _Conditions:
    by_level: dict[Level, list[Clause]] = field(default_factory=dict)
    narrowed: bool = False  # some condition leaves few rows at the level or above
    pointed: bool = False  # some condition below the level is resolved or unique

    def add(self, level: Level, clause: Clause) -> None:
        self.by_level.setdefault(level, []).append(clause)


class Planner:
    """Plans queries for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect

    def plan(self, query: Query) -> Plan:
        """Raises ValueError for a keyword that is not matched here."""
        newest = query.newest_first and query.level is Level.STUDY
        order = _NEWEST if newest else _ORDER[query.level]
        matches = dict(query.matches)
        if "ModalitiesInStudy" not in matches and _only_modality_below(matches, query.level):
            matches["ModalitiesInStudy"] = matches.pop("Modality")
        source = TABLES[query.level] + " " + ALIASES[query.level]
        modality = (
            matches.get("ModalitiesInStudy") if newest and matches.keys() <= _WALKED else None
        )
        first: Clause | None = None
        if isinstance(modality, Single) and modality.value.strip():
            # That table's own columns say all that is asked, in the order wanted.
            source = "(SELECT study AS id, modality, study_date, study_time FROM study_modality) s"
            first = Test(self._dialect, "CS", modality).on("s.modality")
            del matches["ModalitiesInStudy"]
        conditions = self._conditions(query, matches)
        if first is not None:
            conditions.add(Level.STUDY, first)
        source, clause = self._assemble(query.level, source, conditions)
        return Plan(query.level, source, clause, order, newest, conditions.narrowed)

    def selected(self, selection: Selection) -> Clause | None:
        """The condition for instances selected by unique keys; None: nothing is named."""
        named = {
            "StudyInstanceUID": selection.study_instance_uids,
            "SeriesInstanceUID": selection.series_instance_uids,
            "SOPInstanceUID": selection.sop_instance_uids,
        }
        clauses = [
            condition(self._dialect, COLUMNS[keyword], AnyOf(uids))
            for keyword, uids in named.items()
            if uids
        ]
        if selection.patient_id:
            for query in self._narrow(COLUMNS["PatientID"], Single(selection.patient_id)) or ():
                clauses.append(Clause(f"s.patient IN ({query.sql})", query.parameters))
        return both(clauses) if clauses else None

    def _conditions(self, query: Query, matches: dict[str, Match]) -> _Conditions:
        found = _Conditions()
        for keyword, (table, name, vr) in _OF_STUDY.items():
            if keyword in matches:
                test = Test(self._dialect, vr, matches.pop(keyword))
                if not test.is_universal:
                    found.add(Level.STUDY, _exists(table, test.on(f"m.{name}")))
                    matches = dict(matches)
        if query.combined_datetime:
            for date, time in COMBINED.items():
                days, times = matches.get(date), matches.get(time)
                if not isinstance(days, Range) or not isinstance(times, Range):
                    continue
                if days.first or days.last:
                    found.add(COLUMNS[date].level, combined(COLUMNS[date], days, times))
                    del matches[date], matches[time]
        for keyword, match in matches.items():
            self._one(query.level, keyword, match, found)
        return found

    def _one(self, base: Level, keyword: str, match: Match, found: _Conditions) -> None:
        if keyword in MATCHED_SEQUENCES:
            self._sequence(base, keyword, match, found)
            return
        column = COLUMNS.get(keyword)
        if column is None or isinstance(match, Items):
            raise ValueError(f"{keyword} cannot be matched like that")
        if keyword in _UNIQUE:
            found.pointed |= column.level > base
        narrow = self._narrow(column, match) if keyword in NARROWING else None
        if narrow is None:
            found.add(column.level, condition(self._dialect, column, match))
            return
        for query in narrow:
            ids = self._few(query)
            if ids is None:
                found.add(column.level, condition(self._dialect, column, match, walk=True))
                return
            self._point(base, column.level, ids, found)

    def _sequence(self, base: Level, keyword: str, match: Match, found: _Conditions) -> None:
        if not isinstance(match, Items):
            raise ValueError(f"{keyword} is a sequence")
        query = items_query(self._dialect, keyword, match)
        if query is None:
            return
        level = MATCHED_SEQUENCES[keyword].level
        ids = self._few(query)
        if ids is None:
            found.add(level, Clause(f"{ALIASES[level]}.id IN ({query.sql})", query.parameters))
        else:
            self._point(base, level, ids, found)

    def _point(self, base: Level, level: Level, ids: list[int], found: _Conditions) -> None:
        """Use the child's foreign key where there is one: no need to visit the parent."""
        column, of_level = f"{ALIASES[level]}.id", level
        if level < base:
            of_level = Level(level + 1)
            column = f"{ALIASES[of_level]}.{PARENTS[of_level]}"
        among = self._dialect.among(column, "bigint")
        found.add(of_level, Clause(among, (self._dialect.listed(ids),)))
        found.narrowed |= level <= base
        found.pointed |= level > base

    def _few(self, query: Clause) -> list[int] | None:
        sql = f"{query.sql} LIMIT {NARROW + 1}"
        rows = self._engine.bulk(sql, query.parameters, "t")
        return None if len(rows) > NARROW else sorted({row[0] for row in rows})

    def _narrow(self, column: Column, match: Match) -> list[Clause] | None:
        """Queries for the ids that match, each through an index; None if there is no way."""
        if isinstance(match, Fuzzy):
            return self._narrow_fuzzy(column, match)
        queries = []
        for part in conjuncts(column.vr, match):
            test = Test(self._dialect, column.vr, part)
            if test.is_universal:
                continue
            query = self._narrow_one(column, part, test)
            if query is None:
                return None
            queries.append(query)
        return queries

    def _narrow_one(self, column: Column, match: Match, test: Test) -> Clause | None:
        table = TABLES[column.level]
        if isinstance(match, Single | AnyOf) or test.prefix:
            own = test.on(column.name, indexed=True)
            other = test.on("value", indexed=True)
            return Clause(
                f"SELECT id FROM {table} WHERE {own.sql} UNION ALL"
                f" SELECT owner FROM other_value WHERE keyword = ? AND {other.sql}",
                (*own.parameters, column.keyword, *other.parameters),
            )
        literals = [
            values.word_run(t)
            for p in [min(test.patterns, key=len, default="")]
            for t in _literals(p)
        ]
        longest = max(literals, key=len, default="")
        if column.keyword != "PatientName" or len(longest) < 3 or not isinstance(match, Wildcard):
            return None
        own, other = test.on("p.patient_name"), test.on("o.value")
        return Clause(
            f"SELECT p.id FROM patient p WHERE {self._dialect.containing()}"
            f" AND ({own.sql} OR EXISTS (SELECT 1 FROM other_value o"
            f" WHERE o.keyword = 'PatientName' AND o.owner = p.id AND {other.sql}))",
            (self._dialect.pattern(f"*{longest}*"), *own.parameters, *other.parameters),
        )

    def _narrow_fuzzy(self, column: Column, match: Fuzzy) -> list[Clause] | None:
        words = fuzzy_words(match)
        if not words:
            return []
        if column.keyword != "PatientName" or len(words[0]) < 2:
            return None  # a trigram is a blank and two letters
        checks = condition(self._dialect, column, match)
        sql = f"SELECT p.id FROM patient p WHERE {self._dialect.containing()}"
        first = self._dialect.pattern(f"* {words[0]}*")
        return [Clause(f"{sql} AND {checks.sql}", (first, *checks.parameters))]

    def _assemble(self, base: Level, source: str, found: _Conditions) -> tuple[str, Clause]:
        """Join the levels above upwards; ask for at least one match of those below."""
        above = [level for level in found.by_level if level < base]
        for level in sorted(
            (Level(n) for n in range(min(above, default=base), base)), reverse=True
        ):
            child = ALIASES[Level(level + 1)]
            alias = ALIASES[level]
            join = f"{alias}.id = {child}.{PARENTS[Level(level + 1)]}"
            source += f" JOIN {TABLES[level]} {alias} ON {join}"
        clauses = [c for level, cs in found.by_level.items() if level <= base for c in cs]
        below = [level for level in found.by_level if level > base]
        if below:
            clauses.append(_below_clause(base, max(below), found))
        return source, both(clauses)


def _only_modality_below(matches: dict[str, Match], base: Level) -> bool:
    """Whether Modality is all that is asked of a study's series: then the study knows."""
    if base > Level.STUDY or "Modality" not in matches:
        return False
    others = matches.keys() - {"Modality"}
    levels = [COLUMNS[k].level for k in others if k in COLUMNS]
    levels += [MATCHED_SEQUENCES[k].level for k in others if k in MATCHED_SEQUENCES]
    return all(level <= Level.STUDY for level in levels)


def _exists(table: str, clause: Clause) -> Clause:
    return Clause(
        f"EXISTS (SELECT 1 FROM {table} m WHERE m.study = s.id AND {clause.sql})",
        clause.parameters,
    )


def _below_clause(base: Level, deepest: Level, found: _Conditions) -> Clause:
    first = Level(base + 1)
    source = f"{TABLES[first]} {ALIASES[first]}"
    for level in (Level(n) for n in range(first + 1, deepest + 1)):
        parent = ALIASES[Level(level - 1)]
        source += f" JOIN {TABLES[level]} {ALIASES[level]} ON"
        source += f" {ALIASES[level]}.{PARENTS[level]} = {parent}.id"
    inner = both(c for level, cs in found.by_level.items() if level > base for c in cs)
    link, id_ = f"{ALIASES[first]}.{PARENTS[first]}", f"{ALIASES[base]}.id"
    if found.pointed:
        sql = f"{id_} IN (SELECT {link} FROM {source} WHERE {inner.sql})"
    else:
        sql = f"EXISTS (SELECT 1 FROM {source} WHERE {link} = {id_} AND {inner.sql})"
    return Clause(sql, inner.parameters)


def _literals(pattern: str) -> list[str]:
    return pattern.replace("?", "*").split("*")


def key_blocks(
    engine: Engine, plan: Plan, query: Query, first_block: int, block: int
) -> Iterator[list[Row]]:
    """The answers' key rows in blocks, each continued by value and not by position."""
    left, offset, size = query.limit, query.offset, first_block
    after: Row = ()
    while left is None or left > 0:
        asked = size if left is None else min(size, left)
        select = plan.select(asked, offset, after)
        rows = engine.bulk(select.sql, select.parameters, "t" + "t" * len(plan.order))
        if rows:
            yield rows
        if len(rows) < asked:
            return
        left = None if left is None else left - asked
        after, offset, size = rows[-1][1:], 0, block
