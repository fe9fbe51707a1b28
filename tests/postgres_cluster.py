"""A PostgreSQL of the tests' own: a new cluster in a folder, gone when the tests end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER = "filmroom"
HASTY = {"fsync": "off", "full_page_writes": "off"}  # nothing here is to be kept


@dataclass
class Cluster:
    """A server on a folder; `database()` makes a new empty database and returns its URL.

    settings: PostgreSQL's own; others may be given at the next start.
    """

    folder: Path
    settings: Mapping[str, str]
    port: int = field(default_factory=lambda: _free_port())
    server: subprocess.Popen[bytes] | None = None
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def make(self) -> Cluster:
        """initdb, as another user when we are root."""
        if who := _other_user():
            shutil.chown(self.folder, "postgres", "postgres")
        initdb = [_program("initdb"), "-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8"]
        initdb += ["--locale=C.UTF-8", "--no-sync"]
        subprocess.run(initdb, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **who)
        return self

    def start(self) -> None:
        """Start it, perhaps again; returns when it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            **self.settings,
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        path = self.folder / "log"
        with path.open("ab") as log:
            self.server = subprocess.Popen(
                [_program("postgres"), "-D", "data", *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **_other_user(),
            )
        self._wait(path)

    def _wait(self, log: Path) -> None:
        assert self.server is not None
        for _ in range(300):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            if self.server.poll() is not None:
                break
            time.sleep(0.1)
        pytest.fail("PostgreSQL did not start: " + log.read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """End it at once, as a crash would; connections are cut."""
        self._end(signal.SIGQUIT, 30)

    def shut_down(self) -> None:
        """End it in good order, everything written; connections are cut."""
        self._end(signal.SIGINT, 300)

    def _end(self, number: signal.Signals, seconds: float) -> None:
        if self.server is not None:
            self.server.send_signal(number)
            self.server.wait(seconds)
            self.server = None

    def hang(self) -> None:
        """Let it answer nobody, nor refuse; `go_on` ends that."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.server is not None
        parent = self.server.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for pid in (parent, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def database(self, template: str = "template0", name: str = "") -> str:
        name = name or f"filmroom_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return self.url(name)


def binaries() -> Path | None:
    """The folder with initdb and postgres, newest version first."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "postgres").exists()), None)


def _program(name: str) -> Path:
    folder = binaries()
    if folder is None:
        message = "PostgreSQL is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return folder / name


def _other_user() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    run_as = {"user": "postgres", "group": "postgres", "extra_groups": []}
    return run_as if os.geteuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Make, start and finally remove a cluster."""
    folder = Path(tempfile.mkdtemp(prefix="filmroom-postgres-"))
    made = Cluster(folder, HASTY)
    try:
        made.make().start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
