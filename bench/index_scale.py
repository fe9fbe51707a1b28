"""How the index does when it is large: storing, the common searches, the start of a server.

    .venv/bin/python bench/index_scale.py                       # 1 M studies, 10 M instances
    .venv/bin/python bench/index_scale.py --studies 50000       # smaller, not kept
    .venv/bin/python bench/index_scale.py --postgresql          # on a PostgreSQL of its own
    .venv/bin/python bench/index_scale.py --plans plans.log     # the same, and how it was found

Fills through the index's own door in large batches (PostgreSQL: through COPY, see copying.py).
Then stores 5,000 instances in batches of eight, each synced, on this index and on an empty one
in turn, so that a machine whose speed drifts harms both alike. Then asks each question thirty
times, starts `filmroom serve` on it, and asks that. A folder that holds a filled SQLite index
from before is not filled again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import copying
import figures
import made_up
import questions
import web
from compare import RESULTS
from elsewhere import Cluster
from servers import Filmroom, versions

from filmroom.index.queries import SqlIndex, open_index

BATCH = 50_000  # instances in one transaction while filling
KEPT_EVENTS = 100_000  # as a running server keeps them
STORED, AT_ONCE = 5_000, 8
SETTINGS = {"shared_buffers": "1GB", "synchronous_commit": "on"}
# While filling nothing is synced; the server that is measured starts with all of it on the disk.
HURRY = SETTINGS | {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "1h",
    "maintenance_work_mem": "1GB",
}
PLANS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
}
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


def all_prepared(index: SqlIndex) -> None:
    """Say that every series has its metadata prepared: there are no files to prepare it from."""
    with index._engine.write() as tx:
        tx.rows("UPDATE series SET has_metadata = 1 WHERE has_metadata = 0")


class FilmroomOn(Filmroom):
    """filmroom with its index at `url`."""

    url = ""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"FILMROOM__INDEX__URL": self.url}


def serve(folder: Path, url: str, studies: int) -> dict[str, Any]:
    """`filmroom serve` there: seconds until both doors answer, memory when idle, its answers."""
    starts, idle, asked = [], [], []
    for n in range(3):
        server = FilmroomOn(folder)
        server.url = url
        starts.append(server.start())
        try:
            time.sleep(5)
            idle.append(server.rss_mib())
            if n == 2:
                asked = [measured(*each) for each in _of_server(server, studies)]
        finally:
            server.stop()
    return {
        "start_seconds": statistics.median(starts),
        "idle_mib": statistics.median(idle),
        "over_http": asked,
    }


def _of_server(server: Filmroom, studies: int) -> Iterator[questions.Question]:
    client = web.Connection(server.http_port, server.auth)
    for title, path in questions.over_http(studies):

        def ask(n: int, path: Callable[[int], str] = path) -> int:
            answer = client.get(f"{server.dicomweb}/studies?{path(n)}", web.PLAIN_JSON, keep=True)
            return len(json.loads(answer.body))

        ask(0)  # signed in
        yield title, ask, 30
    client.close()


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
    with (on_postgresql if options.postgresql else on_sqlite)(options, folder) as (url, empty_url):
        os.sync()  # what the filling left to write must not be written while we measure
        index, empty = open_index(url), open_index(empty_url)
        first, last = store_both(index, empty, index.statistics().studies)
        empty.close()
        print(f"the first 5,000: {first:,.0f}/s, the last: {last:,.0f}/s, {first / last:.2f} times")
        print(f"{'question':44} {'median ms':>9} {'max ms':>9}   answers")
        asked = [measured(*each) for each in questions.all_of_them(index, options.studies)]
        held, size = index.statistics(), _size_bytes(index)
        all_prepared(index)
        index.close()
        served = serve(folder, url, options.studies)
    return {
        "day": time.strftime("%Y-%m-%d"),
        "machine": versions()["machine"],
        "engine": "PostgreSQL" if options.postgresql else "SQLite",
        "studies": held.studies,
        "instances": held.instances,
        "first_per_second": first,
        "last_per_second": last,
        "questions": asked + served.pop("over_http"),
        "bytes_per_instance": size / held.instances,
        **served,
    }


@contextlib.contextmanager
def on_sqlite(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str]]:
    """URLs of a filled index and of an empty one."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{data.absolute()}/index.sqlite"
    index = open_index(url)
    if not index.statistics().instances:
        hurry(index)
        print(f"filled: {fill(index, options.studies):,.0f} instances/s", flush=True)
    index.close()
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        yield url, f"sqlite:///{Path(beside).absolute()}/index.sqlite"


@contextlib.contextmanager
def on_postgresql(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str]]:
    """The same in a cluster of its own, which is removed at the end."""
    folder.chmod(0o711)  # for PostgreSQL, which does not run as root
    (folder / "postgres").mkdir()
    cluster = Cluster(folder / "postgres", HURRY).make()
    try:
        cluster.start()
        url = cluster.database()
        open_index(url).close()
        rate = copying.fill(url, options.studies, KEPT_EVENTS)
        print(f"filled: {rate:,.0f} instances/s", flush=True)
        cluster.shut_down()
        cluster.settings = SETTINGS | (PLANS if options.plans else {})
        cluster.start()
        yield url, cluster.database()
        if options.plans:
            shutil.copy(cluster.folder / "log", options.plans)
    finally:
        cluster.shut_down()
        shutil.rmtree(cluster.folder)


def _size_bytes(index: SqlIndex) -> int:
    if index.embedded:
        ((pages, size),) = index._engine.rows(
            "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size"
        )
        return int(pages * size)
    return int(index._engine.rows("SELECT pg_database_size(current_database())")[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    parser.add_argument(
        "--plans", type=Path, metavar="FILE", help="write PostgreSQL's plan of each statement there"
    )
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    options = parser.parse_args()
    options.postgresql |= options.plans is not None
    folder = options.folder or Path(tempfile.mkdtemp(prefix="filmroom-scale-"))
    try:
        found = run(options, folder)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    print(json.dumps({k: v for k, v in found.items() if k != "questions"}, indent=1))
    if options.studies >= 1_000_000 and not options.plans:
        RESULTS.mkdir(exist_ok=True)
        name = "scale_postgresql" if options.postgresql else "scale"
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        figures.write()


if __name__ == "__main__":
    main()
