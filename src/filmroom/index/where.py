"""Matching -> SQL conditions and their parameters (PS3.4 C.2.2.2).

The two engines must agree, so nothing here relies on their own ideas of case or order:
values are normalised (values.py), text columns compare as bytes, and wild cards go
through the dialect (LIKE is blind to ASCII case on SQLite and sees it on PostgreSQL).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from filmroom.dicom.match import AnyOf, Fuzzy, Items, Match, Range, Single, Wildcard
from filmroom.dicom.models import Level
from filmroom.dicom.tags import ATTRIBUTES
from filmroom.index import values
from filmroom.index.engine import Dialect

TABLES = {
    Level.PATIENT: "patient",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}
ALIASES = {Level.PATIENT: "p", Level.STUDY: "s", Level.SERIES: "e", Level.IMAGE: "i"}
PARENTS = {Level.STUDY: "patient", Level.SERIES: "study", Level.IMAGE: "series"}

_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MOST_CARETS = 4  # a person name has five components (PS3.5 6.2.1)
HIGHEST = "\U0010ffff"  # sorts after any text that goes on otherwise


@cache
def column_name(keyword: str) -> str:
    """The column of an INDEXED attribute: its keyword in snake_case."""
    return _WORD_STARTS.sub("_", keyword).lower()


@dataclass(frozen=True, slots=True)
class Column:
    """Where an INDEXED attribute is kept."""

    keyword: str
    vr: str
    level: Level
    name: str

    @property
    def words(self) -> str:
        """The companion column of a person name: its words, for fuzzy matching."""
        return f"{self.name}_words"


COLUMNS = {
    a.keyword: Column(a.keyword, a.vr, a.level, column_name(a.keyword))
    for a in ATTRIBUTES
    if a.indexed
}


@dataclass(frozen=True, slots=True)
class MatchedSequence:
    """A sequence whose items can be matched: its tag, level, and item attributes."""

    hex: str
    level: Level
    items: Mapping[str, tuple[str, str]]  # keyword -> (tag, VR)


_CODE = {
    "CodeValue": ("00080100", "SH"),
    "CodingSchemeDesignator": ("00080102", "SH"),
    "CodeMeaning": ("00080104", "LO"),
}
MATCHED_SEQUENCES: Mapping[str, MatchedSequence] = {
    "RequestAttributesSequence": MatchedSequence(
        "00400275",
        Level.SERIES,
        {
            "ScheduledProcedureStepID": ("00400009", "SH"),
            "RequestedProcedureID": ("00401001", "SH"),
            "AccessionNumber": ("00080050", "SH"),
            "StudyInstanceUID": ("0020000D", "UI"),
        },
    ),
    "ProcedureCodeSequence": MatchedSequence("00081032", Level.STUDY, _CODE),
    "RequestedProcedureCodeSequence": MatchedSequence("00321064", Level.STUDY, _CODE),
    "OtherPatientIDsSequence": MatchedSequence(
        "00101002",
        Level.PATIENT,
        {"PatientID": ("00100020", "LO"), "IssuerOfPatientID": ("00100021", "LO")},
    ),
    "IssuerOfAccessionNumberSequence": MatchedSequence(
        "00080051",
        Level.STUDY,
        {
            "LocalNamespaceEntityID": ("00400031", "UT"),
            "UniversalEntityID": ("00400032", "UT"),
            "UniversalEntityIDType": ("00400033", "CS"),
        },
    ),
}
COMBINED = {
    "StudyDate": "StudyTime",
    "SeriesDate": "SeriesTime",
    "ContentDate": "ContentTime",
    "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime",
}


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition and its parameters, in the order of its question marks."""

    sql: str
    parameters: tuple[Any, ...] = ()


TRUE = Clause("1 = 1")
FALSE = Clause("1 = 0")


def both(clauses: Iterable[Clause]) -> Clause:
    """All of them."""
    return _joined(" AND ", [c for c in clauses if c is not TRUE], TRUE)


def either(clauses: Iterable[Clause]) -> Clause:
    """At least one of them."""
    return _joined(" OR ", list(clauses), FALSE)


def _joined(word: str, clauses: Sequence[Clause], empty: Clause) -> Clause:
    if len(clauses) < 2:
        return clauses[0] if clauses else empty
    sql = "(" + word.join(clause.sql for clause in clauses) + ")"
    return Clause(sql, tuple(p for clause in clauses for p in clause.parameters))


class Test:
    """One match against one value of a VR, to be asked of any column.

    `prefix` is what a matching value must begin with, "" if that is not known; only the
    indexed form of `on` makes use of it.
    """

    __test__ = False  # no test case of pytest's

    def __init__(self, dialect: Dialect, vr: str, match: Match) -> None:
        self._dialect = dialect
        self._vr = vr
        self._match = match
        self.patterns = _patterns(vr, match.pattern) if isinstance(match, Wildcard) else ()
        self.is_universal = self._universal()

    def _universal(self) -> bool:
        match self._match:
            case Single(value):
                return not values.normalise(self._vr, value)
            case AnyOf(several):
                return not any(values.normalise(self._vr, value) for value in several)
            case Wildcard():
                return not self.patterns[0] or "*" in self.patterns
            case Range(first, last):
                return not first and not last
        return False

    @property
    def prefix(self) -> str:
        """The literal beginning that all patterns share."""
        starts = [re.split(r"[*?]", pattern, maxsplit=1)[0] for pattern in self.patterns]
        return min(starts, key=len, default="")

    def on(self, column: str, *, indexed: bool = False) -> Clause:
        """The condition on `column`; indexed: give the planner a range to start from."""
        match self._match:
            case Single(value):
                return self._equal(column, values.normalise(self._vr, value))
            case AnyOf(several):
                wanted = (n for value in several for n in values.normalise(self._vr, value))
                return self._equal(column, tuple(dict.fromkeys(wanted)))
            case Wildcard():
                return self._wild(column, indexed)
            case Range(first, last):
                return _between(column, self._first(first), self._last(last))
        raise ValueError(f"{type(self._match).__name__} does not match {self._vr}")

    def _equal(self, column: str, wanted: Sequence[str]) -> Clause:
        if len(wanted) == 1:
            return Clause(f"{column} = ?", (wanted[0],))
        listed = self._dialect.listed(list(wanted))
        return Clause(self._dialect.among(column, "text"), (listed,))

    def _wild(self, column: str, indexed: bool) -> Clause:
        wild = self._dialect.wild(column)
        matching = either(Clause(wild, (self._dialect.pattern(p),)) for p in self.patterns)
        if not indexed or not self.prefix:
            return matching
        return both([_between(column, self.prefix, self.prefix + HIGHEST), matching])

    def _first(self, text: str | None) -> str:
        return "".join(values.normalise(self._vr, text or "")[:1])

    def _last(self, text: str | None) -> str:
        text = values.clean(text or "").strip()
        if text and self._vr == "TM":
            return values.last_time(text)
        if text and self._vr == "DA":
            return values.last_date(text)
        return self._first(text)


def _between(column: str, first: str, last: str) -> Clause:
    """Both ends included; an open range holds no empty values (C.2.2.2.5)."""
    if first and last:
        return Clause(f"({column} >= ? AND {column} <= ?)", (first, last))
    if first:
        return Clause(f"{column} >= ?", (first,))
    return Clause(f"({column} > '' AND {column} <= ?)", (last,))


def _patterns(vr: str, pattern: str) -> tuple[str, ...]:
    """What a value may match; several for person names.

    Trailing carets say nothing, so `SMITH^*` also asks for a name that is just `SMITH`.
    """
    pattern = re.sub(r"\*\**", "*", values.clean(pattern).strip())
    if vr != "PN":
        return (pattern,)
    pattern = values.name_group(pattern)
    bare = pattern.rstrip("^*")
    tail = pattern[len(bare) :]
    carets = [at for at, sign in enumerate(tail) if sign == "^"][:_MOST_CARETS]
    return tuple(dict.fromkeys([pattern, *(bare + tail[:at] for at in carets)]))


def conjuncts(vr: str, match: Match) -> list[Match]:
    """A match as several that must all hold: one for each component group of a name."""
    if vr == "PN":
        match match:
            case Single(value):
                return [Single(group) for group in value.split("=") if group.strip("^ ")]
            case Wildcard(pattern):
                return [Wildcard(group) for group in pattern.split("=") if group.strip("^ ")]
    return [match]


def condition(dialect: Dialect, column: Column, match: Match, *, walk: bool = False) -> Clause:
    """`column` of the aliased table of its level matches, by any of its values.

    walk: hide the column from its index, because many rows match and another order is
    better.
    """
    alias = ALIASES[column.level]
    if isinstance(match, Fuzzy):
        return _fuzzy(dialect, column, f"{alias}.{column.words}", match)
    tests = [Test(dialect, column.vr, part) for part in conjuncts(column.vr, match)]
    name = f"({alias}.{column.name} || '')" if walk else f"{alias}.{column.name}"
    clauses = []
    for test in tests:
        if test.is_universal:
            continue
        own = test.on(name)
        clauses.append(
            own if column.vr in values.ONE_VALUE else either([own, _other(column, test)])
        )
    return both(clauses)


def _other(column: Column, test: Test) -> Clause:
    value = test.on("o.value", indexed=True)
    return Clause(
        f"{ALIASES[column.level]}.id IN"
        f" (SELECT o.owner FROM other_value o WHERE o.keyword = ? AND {value.sql})",
        (column.keyword, *value.parameters),
    )


def _fuzzy(dialect: Dialect, column: Column, words: str, match: Fuzzy) -> Clause:
    if column.vr != "PN":
        raise ValueError(f"{column.keyword} is no person name")
    wild = dialect.wild(words)
    return both(Clause(wild, (dialect.pattern(f"* {w}*"),)) for w in fuzzy_words(match))


def fuzzy_words(match: Fuzzy) -> list[str]:
    """The beginnings that words of the name must have, longest first."""
    starts = {word for text in match.words for word in values.name_words(text)}
    return sorted(starts, key=lambda word: (-len(word), word))


def combined(date: Column, date_range: Range, time_range: Range) -> Clause:
    """A date and its time as one range (C.2.2.2.5.4)."""
    alias = ALIASES[date.level]
    day = f"{alias}.{date.name}"
    pair = f"({day}, {alias}.{COLUMNS[COMBINED[date.keyword]].name})"
    clauses = [] if not (date_range.first or date_range.last) else [Clause(f"{day} > ''")]
    if date_range.first:
        first = "".join(values.normalise("DA", date_range.first))
        start = "".join(values.normalise("TM", time_range.first or ""))
        clauses.append(Clause(f"{pair} >= (?, ?)", (first, start)))
    if date_range.last:
        end = values.last_time((time_range.last or "").strip() or "235959")
        clauses.append(Clause(f"{pair} <= (?, ?)", (values.last_date(date_range.last), end)))
    return both(clauses)


def items_query(dialect: Dialect, sequence: str, match: Items) -> Clause | None:
    """Owners of a sequence with at least one item that matches (C.2.2.2.6).

    Item attributes that are not kept match everything; None when that leaves nothing.
    """
    known = MATCHED_SEQUENCES[sequence].items
    tests: list[tuple[str, Test]] = []
    for keyword, part in match.keys.items():
        if keyword in known and not isinstance(part, Items | Fuzzy):
            test = Test(dialect, known[keyword][1], part)
            if not test.is_universal:
                tests.append((keyword, test))
    if not tests:
        return None
    joins, clauses = "sequence_value q0", [Clause("q0.sequence = ?", (sequence,))]
    for n, (keyword, test) in enumerate(tests):
        if n:
            joins += (
                f" JOIN sequence_value q{n} ON q{n}.sequence = q0.sequence"
                f" AND q{n}.owner = q0.owner AND q{n}.item = q0.item"
            )
        clauses.append(Clause(f"q{n}.keyword = ?", (keyword,)))
        clauses.append(test.on(f"q{n}.value", indexed=True))
    wanted = both(clauses)
    return Clause(f"SELECT q0.owner FROM {joins} WHERE {wanted.sql}", wanted.parameters)
