"""How the index does when it is large: storing, the common searches, the start of a server.

    .venv/bin/python bench/index_scale.py                       # 1 M studies, 10 M instances
    .venv/bin/python bench/index_scale.py --studies 50000       # smaller, not kept
    .venv/bin/python bench/index_scale.py --url postgresql://me@127.0.0.1/scale

Fills through the index's own door in large batches. Then stores 5,000 instances in batches of
eight, each synced, on this index and on an empty one in turn, so that a machine whose speed
drifts harms both alike. Then asks each question thirty times, and starts `filmroom serve` on it.
A folder that holds a filled index from before is not filled again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import figures
import made_up
import questions
from compare import RESULTS
from servers import Filmroom, versions

from filmroom.index.queries import SqlIndex, open_index

BATCH = 50_000  # instances in one transaction while filling
KEPT_EVENTS = 100_000  # as a running server keeps them
STORED, AT_ONCE = 5_000, 8
STALL_SECONDS = 1.0  # a batch takes milliseconds; a second is a disk or a host that stood still


def fill(index: SqlIndex, studies: int) -> float:
    """Fill an empty index by its own door, but with nothing synced; instances a second."""
    stream = (new for n in range(studies) for new in made_up.study(n))
    started = said = time.perf_counter()
    made = 0
    while batch := list(islice(stream, BATCH)):
        index.add(batch)
        made += len(batch)
        index.trim_events(KEPT_EVENTS)
        if time.perf_counter() - said > 60:
            said = time.perf_counter()
            print(f"  {made:,} instances, {made / (said - started):,.0f}/s", flush=True)
    return made / (time.perf_counter() - started)


def hurry(index: SqlIndex) -> None:
    """Sync nothing and keep much in memory, until it is closed: for the filling alone."""
    writer = getattr(index._engine, "_writer", None)  # PostgreSQL has none
    for pragma in ("synchronous = OFF", "cache_size = -1000000", "wal_autocheckpoint = 100000"):
        if writer is not None:
            writer.execute(f"PRAGMA {pragma}")


def store_both(large: SqlIndex, empty: SqlIndex, first: int) -> tuple[float, float]:
    """5,000 more into each, batch by batch in turn: instances a second, of the empty one first.

    first: number of the first study that neither of them holds.
    """
    took: dict[int, list[float]] = {id(large): [], id(empty): []}
    for n in range(STORED // AT_ONCE):
        for index in (large, empty) if n % 2 == 0 else (empty, large):
            batch = list(made_up.study(first + n, AT_ONCE))
            started = time.perf_counter()
            index.add(batch)
            took[id(index)].append(time.perf_counter() - started)
    for each in took.values():
        stalls = [seconds for seconds in each if seconds > STALL_SECONDS]
        if stalls:
            print(f"  left out: the machine stood still {len(stalls)} times, {sum(stalls):.0f} s")
            each[:] = [seconds for seconds in each if seconds <= STALL_SECONDS]
    rates = {key: AT_ONCE * len(each) / sum(each) for key, each in took.items()}
    return rates[id(empty)], rates[id(large)]


def all_prepared(path: Path) -> None:
    """Say that every series has its metadata prepared: there are no files to prepare it from."""
    import apsw

    with apsw.Connection(str(path)) as connection:
        connection.execute("UPDATE series SET has_metadata = 1")
    connection.close()


def serve(folder: Path) -> tuple[float, float]:
    """`filmroom serve` on that folder: seconds until both doors answer, memory when idle."""
    starts, idle = [], []
    for _ in range(3):
        server = Filmroom(folder)
        starts.append(server.start())
        try:
            time.sleep(5)
            idle.append(server.rss_mib())
        finally:
            server.stop()
    return statistics.median(starts), statistics.median(idle)


def measured(what: str, ask: Callable[[int], object], asked: int = 30) -> dict[str, Any]:
    """Ask so many times, each time of another; median and slowest in ms, and what came last."""
    took, answer = [], None
    for n in range(asked):
        started = time.perf_counter()
        answer = ask(n)
        took.append((time.perf_counter() - started) * 1000)
    size = len(answer) if isinstance(answer, list) else answer
    median, slowest = statistics.median(took), max(took)
    print(f"{what:44} {median:9.3f} {slowest:9.3f}   {size}", flush=True)
    return {"question": what, "median_ms": median, "max_ms": slowest, "answers": size}


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    path = data / "index.sqlite"
    url = options.url or f"sqlite:///{path.absolute()}"
    index = open_index(url)
    if not index.statistics().instances:
        hurry(index)
        print(f"filled: {fill(index, options.studies):,.0f} instances/s", flush=True)
        index.close()
        index = open_index(url)
    os.sync()  # what the filling left to write must not be written while we measure
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        empty = open_index(f"sqlite:///{Path(beside).absolute()}/index.sqlite")
        first, last = store_both(index, empty, index.statistics().studies)
        empty.close()
    print(f"the first 5,000: {first:,.0f}/s, the last: {last:,.0f}/s, {first / last:.2f} times")
    print(f"{'question':44} {'median ms':>9} {'max ms':>9}   answers")
    asked = [measured(*each) for each in questions.all_of_them(index, options.studies)]
    held = index.statistics()
    index.close()
    had = versions()
    found: dict[str, Any] = {
        "day": time.strftime("%Y-%m-%d"),
        "machine": had["machine"],
        "engine": "PostgreSQL" if options.url else "SQLite",
        "studies": held.studies,
        "instances": held.instances,
        "first_per_second": first,
        "last_per_second": last,
        "questions": asked,
    }
    if not options.url:
        found["bytes_per_instance"] = path.stat().st_size / held.instances
        all_prepared(path)
        found["start_seconds"], found["idle_mib"] = serve(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--url", help="an empty database of PostgreSQL instead of SQLite")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="filmroom-scale-"))
    try:
        found = run(options, folder)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    print(json.dumps({k: v for k, v in found.items() if k != "questions"}, indent=1))
    if options.studies >= 1_000_000 and not options.url:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
        figures.write()


if __name__ == "__main__":
    main()
