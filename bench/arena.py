"""Where the servers meet: corpora, folders, turns. While one is measured the others stand still."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec

from at_hand import AtHand
from rows import ROWS
from servers import Filmroom, Orthanc, Receiver, Server

SETTLE_SECONDS = 4.0  # after the start, so that nobody's start-up is measured
BREATH_SECONDS = 0.3  # after waking, for timers that came due while standing still
INODE_SECONDS = 400.0  # ext4 remembers a freed inode for five minutes
CHEAP_MS = 0.04  # to make a file; ten times as much while freed inodes are passed over
BOTH = (Filmroom, Orthanc)
P = ParamSpec("P")


def wait_for_inodes(folder: Path) -> None:
    """Return when a new file costs what it should, after whatever was deleted here before."""
    ends = time.monotonic() + INODE_SECONDS
    for n in itertools.count():
        there = folder / f"inodes-{os.getpid()}-{n}"
        there.mkdir()
        cost = _file_ms(there)
        if cost < CHEAP_MS or time.monotonic() > ends:
            return
        print(f"waiting: a new file costs {cost:.2f} ms, files were deleted lately", flush=True)
        time.sleep(20)


def _file_ms(folder: Path) -> float:
    times = []
    for n in range(50):
        started = time.perf_counter()
        os.close(os.open(folder / str(n), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


class Arena:
    """One run of the bench.

    wanted: keys of the rows to measure; kinds: the servers that meet. Nothing is deleted
    before the end: ext4 skips the inodes that were freed lately one by one, which costs a third
    of a processor.
    """

    def __init__(
        self,
        folder: Path,
        rounds: int,
        wanted: Collection[str],
        memory: AtHand,
        kinds: Sequence[type[Server]] = BOTH,
    ) -> None:
        self.folder = folder
        self.rounds = rounds
        self.wanted = wanted
        self.kinds = kinds
        self.values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.receiver = Receiver(folder / "receiver")
        self._memory = memory
        self._runs = 0
        self._kept: dict[str, list[Server]] = {}

    def wants(self, *keys: str) -> bool:
        """Whether any of these rows is to be measured."""
        return any(key in self.wanted for key in keys)

    def note(self, key: str, server: Server, value: float) -> None:
        """Keep a value, if its row was asked for."""
        if key in self.wanted:
            self.values[key][server.name].append(value)
            row = ROWS[key]
            print(f"  {server.name:9} {row.title:52} {value:10.2f} {row.unit}", flush=True)

    def corpus(self, name: str, make: Callable[[Path], list[Path]]) -> list[Path]:
        """The files of a corpus, made at first need."""
        folder = self.folder / "corpus" / name
        return sorted(folder.glob("*.dcm")) if folder.exists() else make(folder)

    # -- servers ----------------------------------------------------------------------------
    def make(self, kind: type[Server], *, nodelay: bool = True) -> Server:
        """A server on an empty folder, not started."""
        self._runs += 1
        folder = self.folder / f"run{os.getpid()}-{self._runs}-{kind.name}"
        return kind(folder, self.receiver.dimse_port, nodelay)

    @contextlib.contextmanager
    def running(self, servers: Sequence[Server]) -> Iterator[None]:
        """All of them started and frozen; stopped at the end."""
        try:
            for server in servers:
                server.start()
            time.sleep(SETTLE_SECONDS)
            for server in servers:
                server.freeze()
            yield
        finally:
            for server in servers:
                server.stop()

    def fresh_rounds(
        self, *more: type[Server], nodelay: bool = True
    ) -> Iterator[tuple[int, list[Server]]]:
        """Each round its own servers on empty folders; who comes first changes every round."""
        for n in range(self.rounds):
            servers = [self.make(kind, nodelay=nodelay) for kind in (*self.kinds, *more)]
            with self.running(servers):
                yield n, servers if n % 2 == 0 else servers[::-1]

    def filled(self, name: str, fill: Callable[[Server], None]) -> list[Server]:
        """A server of each kind, stopped, its folder filled once for all that read it."""
        if name not in self._kept:
            made = [self.make(kind) for kind in self.kinds]
            with self.running(made):
                for server in made:
                    with self.turn(server):
                        fill(server)
            self._kept[name] = made
        return self._kept[name]

    @contextlib.contextmanager
    def turn(self, server: Server) -> Iterator[None]:
        """This server alone may run."""
        os.sync()  # what the one before has left to write is not this one's burden
        server.wake()
        time.sleep(BREATH_SECONDS)
        self._memory.give()
        yield
        server.freeze()
        self._memory.take()

    def row(
        self,
        servers: Sequence[Server],
        key: str,
        work: Callable[Concatenate[Server, P], float],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Measure one row: every server's `work(server, ...)` in its turn, if the row is wanted."""
        if self.wants(key):
            for server in servers:
                with self.turn(server):
                    self.note(key, server, work(server, *args, **kwargs))

    def rows(
        self,
        servers: Sequence[Server],
        keys: Collection[str],
        work: Callable[Concatenate[Server, P], Mapping[str, float]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """The same where one piece of work gives several rows' values."""
        if self.wants(*keys):
            for server in servers:
                with self.turn(server):
                    for key, value in work(server, *args, **kwargs).items():
                        self.note(key, server, value)
