"""What the figures say: medians, ratios, the tables, and what got slower. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rows import ROWS, Row

Values = Mapping[str, Mapping[str, Sequence[float]]]  # row -> server -> one value a round
OURS, THEIRS, LIMIT = "filmroom", "Orthanc", "limit"
ELSEWHERE = "elsewhere"  # filmroom on PostgreSQL and S3
TOLERANCE = 0.20


@dataclass(frozen=True, slots=True)
class Line:
    """One row, summed up.

    ratio: how many times better than the other; low, high: the same of the single rounds.
    limit: what the sender alone could do, where that was measured.
    """

    row: Row
    ours: float | None
    theirs: float | None
    ratio: float | None
    low: float | None
    high: float | None
    limit: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the row reaches what was wanted of it; None where nothing was."""
        row = self.row
        if row.at_most is not None:
            return None if self.ours is None else self.ours <= row.at_most
        if row.needed is None or self.ratio is None:
            return None
        return self.ratio >= row.needed


def ratio(row: Row, ours: float, theirs: float) -> float | None:
    """How many times better ours is; None where a figure is nothing."""
    if ours <= 0 or theirs <= 0:
        return None
    return theirs / ours if row.less else ours / theirs


def line(
    row: Row,
    by_server: Mapping[str, Sequence[float]],
    one: str = OURS,
    other: str = THEIRS,
) -> Line:
    """Sum up one row: the ratio of the medians, and the spread of the rounds' own ratios."""
    medians = {name: statistics.median(v) for name, v in by_server.items() if v}
    ours, theirs = medians.get(one), medians.get(other)
    both = None if ours is None or theirs is None else ratio(row, ours, theirs)
    pairs = zip(by_server.get(one, ()), by_server.get(other, ()), strict=False)
    single = [r for a, b in pairs if (r := ratio(row, a, b)) is not None]
    low, high = (min(single), max(single)) if single else (None, None)
    return Line(row, ours, theirs, both, low, high, medians.get(LIMIT))


def lines(values: Values) -> list[Line]:
    """All rows that were measured, in the order in which they are listed."""
    return [line(row, values[key]) for key, row in ROWS.items() if values.get(key)]


def rounds(values: Values) -> str:
    """How many values the rows have: `5`, or `2 to 5`."""
    counts = {len(by_server.get(OURS, ())) for by_server in values.values()} or {0}
    return f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{min(counts)}"


def figure(value: float | None) -> str:
    """Three figures that count, or nothing."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(value: float | None) -> str:
    """A ratio as `2.5x`."""
    if value is None:
        return ""
    return f"{value:,.0f}x" if value >= 100 else f"{value:.2g}x" if value >= 10 else f"{value:.2f}x"


def wanted(row: Row) -> str:
    """What is wanted of a row, in words short enough for a cell."""
    if row.at_most is not None:
        return f"at most {figure(row.at_most)} {row.unit}"
    if row.needed is None or row.reach is None:
        return ""
    newer = f" ({times(row.reach)} of 1.13)" if row.needed > row.reach * 1.1 else ""
    return f"{times(row.needed)}{newer}"


def table(summed: Iterable[Line]) -> str:
    """A Markdown table."""
    said = {None: "", True: "yes", False: "**no**"}
    out = [
        "| row | filmroom | Orthanc | ratio | of one round | wanted | reached | sender's limit |",
        "|---|--:|--:|--:|--:|--:|---|--:|",
    ]
    for each in summed:
        cells = [
            f"{each.row.title}, {each.row.unit}",
            figure(each.ours),
            figure(each.theirs),
            f"**{times(each.ratio)}**" if each.ratio is not None else "",
            _spread(each),
            wanted(each.row),
            said[each.reached],
            figure(each.limit),
        ]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def elsewhere(values: Values) -> str:
    """A Markdown table of three: how the one elsewhere does beside the other two."""
    out = [
        "| row | PostgreSQL and S3 | SQLite and files | Orthanc | to SQLite and files "
        "| of one round | to Orthanc | of one round |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for key, row in ROWS.items():
        if not values.get(key, {}).get(ELSEWHERE):
            continue
        ours, theirs = (line(row, values[key], ELSEWHERE, other) for other in (OURS, THEIRS))
        cells = [f"{row.title}, {row.unit}"]
        cells += map(figure, (ours.ours, ours.theirs, theirs.theirs))
        for each in (ours, theirs):
            cells += [f"**{times(each.ratio)}**" if each.ratio is not None else "", _spread(each)]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def _spread(each: Line) -> str:
    return f"{times(each.low)} to {times(each.high)}" if each.low is not None else ""


@dataclass(frozen=True, slots=True)
class Slower:
    """A row whose ratio fell; factor: new ratio by old ratio, under 1."""

    row: Row
    before: float
    now: float

    @property
    def factor(self) -> float:
        return self.now / self.before


def slower(kept: Values, measured: Values, tolerance: float = TOLERANCE) -> list[Slower]:
    """The rows whose ratio to Orthanc fell by more than `tolerance`, the worst first.

    Ratios and not figures, since machines differ and drift. Rows that only one of the two
    has are left out; a row without a ratio is compared by our own figure where it is memory,
    which does not depend on the machine's speed.
    """
    found = []
    for now in lines(measured):
        before = line(now.row, kept.get(now.row.key, {}))
        pair = (before.ratio, now.ratio)
        if now.row.unit == "MiB" and before.ours and now.ours:
            pair = (1.0, before.ours / now.ours)
        if pair[0] is not None and pair[1] is not None and pair[1] < pair[0] * (1 - tolerance):
            found.append(Slower(now.row, pair[0], pair[1]))
    return sorted(found, key=lambda each: each.factor)
