"""What stands in the way of the rows of compare.py that do not reach what is wanted of them.

    .venv/bin/python bench/limits.py                       # all of them, two rounds
    .venv/bin/python bench/limits.py --rows stow,qido-750  # groups or rows

The bench's own clients ask filmroom and Orthanc, in turns as in compare.py, and in the same turns
servers that do next to nothing: one that forgets what it is sent, one that only keeps filmroom's
promise (least.py), one that says from memory what filmroom has said (parrot.py); for pictures the
rendering alone, for the start the imports alone. What these need is no server's to save.
bench/limits.py --page writes the pages again from the figures that were kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import barred
import compare
import corpus
import figures
import report
import servers
from arena import Arena, wait_for_inodes
from at_hand import GIB, AtHand
from rows import ROWS, chosen
from servers import Filmroom, Server

P = ParamSpec("P")
RESULTS = Path(__file__).parent / "results"
HERE = Path(__file__).parent
FROM_MEMORY = frozenset(key for key, row in ROWS.items() if row.group in ("query", "view", "fetch"))
PICTURES = 300
IMPORTS = "apsw, asyncio, orjson, pydantic, starlette.routing, typer, uvicorn, uvloop"


class Forgets(Server):
    """Takes what it is sent, and forgets it."""

    name = barred.ASKER

    def command(self) -> list[str]:
        ports = (str(self.dimse_port), str(self.http_port))
        return [sys.executable, str(HERE / "least.py"), *ports]


class Keeps(Forgets):
    """Makes durable what it is sent, and nothing else."""

    name = barred.LEAST

    def command(self) -> list[str]:
        return [*super().command(), "--durable", str(self.folder / "kept")]


class Parrot(Server):
    """Says from memory what a server has said; it is called as that one, to be asked the same."""

    probe = ""

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__(folder)
        self.of = server
        self.name, self.ae_title = server.name, server.ae_title  # type: ignore[misc]
        self.auth, self.dicomweb = server.auth, server.dicomweb  # type: ignore[misc]

    def command(self) -> list[str]:
        ports = (self.of.dimse_port, self.dimse_port, self.of.http_port, self.http_port)
        return [sys.executable, str(HERE / "parrot.py"), *map(str, ports)]


class Limits(Arena):
    """An arena in which the servers that do nothing have their turns, too."""

    def fresh_rounds(
        self, *more: type[Server], nodelay: bool = True
    ) -> Iterator[tuple[int, list[Server]]]:
        return super().fresh_rounds(*more, Forgets, Keeps, nodelay=nodelay)

    def row(
        self,
        servers: Sequence[Server],
        key: str,
        work: Callable[Concatenate[Server, P], float],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        real = [server for server in servers if not isinstance(server, Forgets)]
        super().row(real, key, work, *args, **kwargs)
        if self.wants(key):
            for server in real:
                if isinstance(server, Filmroom):
                    value = self._by_heart(server, lambda each: work(each, *args, **kwargs))
                    self._note(key, barred.ASKER, value)

    def rows(
        self,
        servers: Sequence[Server],
        keys: Collection[str],
        work: Callable[Concatenate[Server, P], Mapping[str, float]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        super().rows(servers, keys, work, *args, **kwargs)
        if self.wants(*keys):
            for server in servers:
                if isinstance(server, Filmroom):
                    found = self._by_heart(server, lambda each: work(each, *args, **kwargs))
                    for key, value in found.items():
                        self._note(key, barred.ASKER, value)

    def _by_heart(self, server: Filmroom, work: Callable[[Server], Any]) -> Any:
        """What the same work gives when the answers come from memory."""
        self._runs += 1
        parrot = Parrot(server, self.folder / f"parrot-{os.getpid()}-{self._runs}")
        parrot.start()
        assert parrot.process is not None
        try:
            with self.turn(server):
                work(parrot)
            parrot.process.send_signal(signal.SIGUSR1)
            with self.turn(parrot):
                return work(parrot)
        finally:
            parrot.stop()

    def _note(self, key: str, name: str, value: float) -> None:
        if key in self.wanted:
            self.values[key][name].append(value)
            print(f"  {name:9} {ROWS[key].title:52} {value:10.2f} {ROWS[key].unit}", flush=True)


def render_alone(arena: Limits) -> None:
    """Pictures a second of the rendering alone: in one process, and in as many as processors."""
    paths = arena.corpus("ct1000", lambda folder: corpus.slices(folder, 1000))[:PICTURES]
    for key, processes in (("rendered-1", 1), ("rendered-8", os.cpu_count() or 1)):
        if not arena.wants(key):
            continue
        for _ in range(arena.rounds):
            command = [sys.executable, str(HERE / "pictures.py"), *map(str, paths)]
            running = [
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                for _ in range(processes)
            ]
            for each in running:
                assert each.stdout is not None
                each.stdout.readline()  # imports are done
            started = time.perf_counter()
            for each in running:
                assert each.stdin is not None
                each.stdin.write(b"go\n")
                each.stdin.flush()
            ended = [each.wait() for each in running]
            if any(ended):
                raise SystemExit("a picture could not be rendered")
            seconds = time.perf_counter() - started
            arena._note(key, barred.LEAST, processes * len(paths) / seconds)


def start_alone(arena: Limits) -> None:
    """Seconds until Python has imported what filmroom stands on."""
    for _ in range(arena.rounds if arena.wants("start") else 0):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {IMPORTS}"], check=True)
        arena._note("start", barred.LEAST, time.perf_counter() - started)


def measure(arena: Limits) -> None:
    """All rows that are wanted."""
    compare.measure(arena)
    render_alone(arena)
    start_alone(arena)


def missed() -> set[str]:
    """The rows that did not reach what is wanted of them, as the last whole bench was kept."""
    kept = json.loads((RESULTS / "compare.json").read_text())["values"]
    return {line.row.key for line in report.lines(kept) if line.reached is False}


def keep(arena: Limits) -> None:
    """Write bench/results/limits.json; rows not measured now stay as they were."""
    path = RESULTS / "limits.json"
    before = json.loads(path.read_text())["values"] if path.exists() else {}
    values = before | {key: arena.values[key] for key in arena.values}
    kept = {
        "day": time.strftime("%Y-%m-%d"),
        "versions": servers.versions(),
        "values": {key: values[key] for key in ROWS if key in values},
    }
    path.write_text(json.dumps(kept, indent=1) + "\n")
    (RESULTS / "limits.md").write_text(f"# limits\n\n{figures.limits_page(kept)}")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", metavar="A,B", help="default: those missed by compare.json")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the pages")
    parser.add_argument("--no-keep", action="store_true", help="print only")
    return parser.parse_args()


def main() -> int:
    arguments = options()
    random.seed()
    if arguments.page:
        figures.write()
        return 0
    keys = {row.key for row in chosen(arguments.rows.split(","))} if arguments.rows else missed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stop the servers
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="filmroom-limits-"))
    folder.mkdir(parents=True, exist_ok=True)
    memory = AtHand(int(1.5 * GIB))
    try:
        wait_for_inodes(folder)
        arena = Limits(folder, arguments.rounds, keys, memory)
        measure(arena)
        print(barred.table(arena.values))
        if not arguments.no_keep:
            keep(arena)
            figures.write()
    finally:
        memory.give()
        if arguments.folder is None:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
