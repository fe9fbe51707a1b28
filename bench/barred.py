"""How near each row is to its bar, and what stands in between: words for limits.py. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from report import LIMIT, OURS, THEIRS, Values, figure
from rows import ROWS, Row

ASKER = "asker"  # the same client, asking a server that does nothing
LEAST = "least"  # only what has to be done, and no archive around it
REACHED, BEYOND, PARTLY, OPEN = "reached", "beyond", "partly", "open"
MOST = 0.5  # of what the bar leaves after the limit, or less is left: the limit is most of it
_VERDICTS = {
    REACHED: "reached in this run",
    BEYOND: "beyond this machine: the limit alone takes longer than the bar",
    PARTLY: "the limit takes most of the bar; the rest is ours",
    OPEN: "**the limit does not explain it**: what is missing is ours",
}


@dataclass(frozen=True, slots=True)
class Barred:
    """One row, in its time for one thing: ms, or s for the start.

    limit: what client and machine need with no archive there, whatever it is written in.
    """

    row: Row
    unit: str
    bar: float
    ours: float
    limit: float | None

    @property
    def near(self) -> float:
        """How much of the wanted speed is reached."""
        return self.bar / self.ours

    @property
    def left(self) -> float | None:
        """What the bar leaves to any archive; less than nothing where it is out of reach."""
        return None if self.limit is None else self.bar - self.limit

    @property
    def verdict(self) -> str:
        if self.ours <= self.bar:
            return REACHED
        if self.limit is None:
            return OPEN
        if self.limit >= self.bar:
            return BEYOND
        return PARTLY if self.limit >= self.bar * MOST else OPEN


def barred(values: Values) -> list[Barred]:
    """Every row of which we and what is wanted were measured."""
    found = []
    for key, row in ROWS.items():
        each = _one(row, values.get(key, {}))
        if each is not None:
            found.append(each)
    return found


def _one(row: Row, by_server: Mapping[str, Sequence[float]]) -> Barred | None:
    times = {
        name: statistics.median(_each(row, value) for value in measured)
        for name, measured in by_server.items()
        if measured
    }
    if OURS not in times:
        return None
    if row.at_most is not None:
        bar = row.at_most
    elif row.needed is not None and THEIRS in times:
        bar = times[THEIRS] / row.needed
    else:
        return None
    askers = [times[name] for name in (ASKER, LIMIT) if name in times]
    limits = [min(askers)] if askers else []
    if LEAST in times:
        limits.append(times[LEAST])
    if row.unit == "ms CPU":  # the server's alone: what is least is what has to be done
        limits = [times[LEAST]] if LEAST in times else []
    unit = row.unit if row.less else "ms"
    limit = min(max(limits), times[OURS]) if limits else None  # where we are below it, it is none
    return Barred(row, unit, bar, times[OURS], limit)


def _each(row: Row, value: float) -> float:
    """A figure as a time: of one thing, or of a megabyte."""
    return value if row.less else 1000 / value


def table(values: Values) -> str:
    """A Markdown table, a line for each row."""
    out = [
        "| row | bar | reached | limit | left for an archive | how near | why |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for each in barred(values):
        cells = [
            f"{each.row.title}, {each.unit}",
            figure(each.bar),
            figure(each.ours),
            figure(each.limit),
            figure(each.left) if each.left is None or each.left > 0 else "nothing",
            f"{each.near:.0%}",
            _VERDICTS[each.verdict],
        ]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)
