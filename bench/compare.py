"""filmroom beside Orthanc on the same work, in turns; a table with ratios, a plot, raw values.

    .venv/bin/python bench/compare.py                        # everything, five rounds
    .venv/bin/python bench/compare.py --rows store,meta-*    # groups or rows
    .venv/bin/python bench/compare.py --quick                # few rows, two rounds
    .venv/bin/python bench/compare.py --against bench/results/compare.json   # what got slower?
    .venv/bin/python bench/compare.py --elsewhere            # and filmroom on PostgreSQL and S3

bench/README.md tells the recipe. What counts is the ratio: clients and servers share the
machine, and its speed drifts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import figures
import plot
import reading
import report
import servers
import storing
from arena import BOTH, Arena, wait_for_inodes
from at_hand import GIB, AtHand
from elsewhere import FilmroomElsewhere
from rows import ELSEWHERE, GROUPS, ROWS, Row, chosen

RESULTS = Path(__file__).parent / "results"
FULL = "compare"  # the name of what the whole bench keeps
WORK = {
    "rest": storing.rest,
    "store": storing.store,
    "nagle": storing.nagle,
    "stow": storing.stow,
    "large": storing.large,
    "query": reading.query,
    "view": reading.view,
    "fetch": reading.fetch,
}


def measure(arena: Arena) -> None:
    """All groups of which a row is wanted."""
    arena.receiver.start()
    try:
        for group in GROUPS:
            if arena.wants(*(key for key, row in ROWS.items() if row.group == group)):
                print(f"{group}:", flush=True)
                WORK[group](arena)
    finally:
        arena.receiver.stop()


def caption(kept: dict[str, Any]) -> str:
    """Where and how it was measured, in one line."""
    had = kept["versions"]
    memory = f"{kept['memory_gib']} GiB of memory at hand"
    rounds = report.rounds(kept["values"])
    orthanc = had["Orthanc"].rpartition(" ")[2]
    plotted = " Right of 1x filmroom is better; the mark is what is wanted."
    return (
        f"{had['machine']}; Orthanc {orthanc}, medians of {rounds}, {memory}, "
        f"{kept['day']}.{'' if _is_elsewhere(kept['values']) else plotted}"
    )


def keep(name: str, kept: dict[str, Any]) -> None:
    """Write NAME.json, .md and, of two servers, .svg into bench/results.

    Rows that were not measured this time stay as an earlier run kept them under that name.
    """
    RESULTS.mkdir(exist_ok=True)
    before = RESULTS / f"{name}.json"
    if before.exists():
        values = json.loads(before.read_text())["values"] | kept["values"]
        kept = kept | {"values": {key: values[key] for key in ROWS if key in values}}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    image = "" if _is_elsewhere(kept["values"]) else f"![The ratios]({name}.svg)\n\n"
    words = f"# {name}\n\n{caption(kept)}\n\n{image}{table(kept['values'])}\n"
    (RESULTS / f"{name}.md").write_text(words)
    if image:
        summed = report.lines(kept["values"])
        (RESULTS / f"{name}.svg").write_text(plot.svg(summed, caption(kept)))
    print(f"kept in {RESULTS} as {name}")


def table(values: report.Values) -> str:
    """The table of two servers, or that of three."""
    return report.elsewhere(values) if _is_elsewhere(values) else report.table(report.lines(values))


def _is_elsewhere(values: report.Values) -> bool:
    return any(report.ELSEWHERE in by_server for by_server in values.values())


def compared(arena: Arena, against: Path) -> int:
    """Measure; look a second time at what seems slower; the exit status."""
    kept = json.loads(against.read_text())["values"]
    measure(arena)
    suspects = report.slower(kept, arena.values)
    if suspects:
        print(f"again, to be sure: {', '.join(each.row.key for each in suspects)}")
        arena.wanted = {each.row.key for each in suspects}
        measure(arena)
    found = report.slower(kept, arena.values)
    for each in found:
        print(
            f"SLOWER {each.row.title}: {report.times(each.now)}, was {report.times(each.before)} "
            f"({each.factor - 1:+.0%})"
        )
    if not found:
        print(f"nothing got slower than in {against.name} by more than {report.TOLERANCE:.0%}")
    return 1 if found else 0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", metavar="A,B", help=f"rows, or groups: {', '.join(GROUPS)}")
    parser.add_argument(
        "--elsewhere",
        action="store_true",
        help="measure filmroom on PostgreSQL and S3 too, where that makes a difference",
    )
    parser.add_argument("--rounds", type=int, help="default 5; 2 with --quick or --against")
    parser.add_argument("--quick", action="store_true", help="the few rows that tell the most")
    parser.add_argument(
        "--against", type=Path, metavar="JSON", help="exit 1 if something got slower"
    )
    parser.add_argument("--keep", metavar="NAME", help=f"name in bench/results (all rows: {FULL})")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    parser.add_argument(
        "--memory-gib", type=float, default=1.5, help="memory at hand for each turn (default 1.5)"
    )
    return parser.parse_args()


def wanted(arguments: argparse.Namespace) -> list[Row]:
    if arguments.rows:
        return chosen(arguments.rows.split(","))
    if arguments.elsewhere:
        return chosen(ELSEWHERE)
    if arguments.quick or arguments.against:
        return [row for row in ROWS.values() if row.quick]
    return list(ROWS.values())


def run(arguments: argparse.Namespace, folder: Path, keys: Collection[str]) -> int:
    few = arguments.quick or arguments.against
    rounds = arguments.rounds or (2 if few else 5)
    memory = AtHand(int(arguments.memory_gib * GIB))
    kinds = (FilmroomElsewhere, *BOTH) if arguments.elsewhere else BOTH
    arena = Arena(folder, rounds, keys, memory, kinds)
    name = "" if arguments.against else arguments.keep or _whole(arguments, keys)
    is_whole = False
    try:
        status = compared(arena, arguments.against) if arguments.against else 0
        if not arguments.against:
            measure(arena)
        is_whole = True
    finally:
        memory.give()
        print(table(arena.values))
        if name and arena.values:
            keep(name if is_whole else f"{name}-unfinished", _record(arena, arguments.memory_gib))
    if name in figures.RESULT_NAMES:
        figures.write()
    return status


def _whole(arguments: argparse.Namespace, keys: Collection[str]) -> str:
    """The name under which a run of all that there is to measure is kept, or nothing."""
    if arguments.elsewhere:
        return "" if arguments.rows or arguments.quick else report.ELSEWHERE
    return FULL if set(keys) == set(ROWS) else ""


def _record(arena: Arena, memory_gib: float) -> dict[str, Any]:
    return {
        "day": time.strftime("%Y-%m-%d"),
        "memory_gib": memory_gib,
        "versions": servers.versions(),
        "values": {key: arena.values[key] for key in ROWS if key in arena.values},
    }


def main() -> int:
    arguments = options()
    try:
        keys = {row.key for row in wanted(arguments)}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stop the servers, keep what there is
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="filmroom-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        wait_for_inodes(folder)
        return run(arguments, folder, keys)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)  # only now: see arena.Arena


if __name__ == "__main__":
    sys.exit(main())
