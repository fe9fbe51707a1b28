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
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest


@dataclass
class Cluster:
    """A running server; `database()` makes a new empty database and returns its URL."""

    port: int
    user: str
    _command: list[str | Path]
    _options: dict[str, Any]
    _folder: Path
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, perhaps again; returns when it answers."""
        path = self._folder / "log"
        with path.open("ab") as log:
            self._server = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log, **self._options
            )
        _wait(self, self._server, path)

    def stop(self) -> None:
        """End it at once, as a crash would; connections are cut."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(30)
            self._server = None

    def hang(self) -> None:
        """Let it answer nobody, nor refuse; `go_on` ends that."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        parent = self._server.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for pid in (parent, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

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


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Make, start and finally remove a cluster; as another user when we are root."""
    folder_of_programs = binaries()
    if folder_of_programs is None:
        message = "PostgreSQL is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    run_as = {"user": "postgres", "group": "postgres", "extra_groups": []}
    who = run_as if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="filmroom-postgres-"))
    if who:
        shutil.chown(folder, "postgres", "postgres")
    made = None
    try:
        data = folder / "data"
        initdb = [folder_of_programs / "initdb", "-D", data, "-U", "filmroom", "-A", "trust"]
        initdb += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(initdb, check=True, cwd=folder, stdout=subprocess.DEVNULL, **who)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
            "full_page_writes": "off",
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [folder_of_programs / "postgres", "-D", data, *arguments]
        made = Cluster(port, "filmroom", command, who, folder)
        made.start()
        yield made
    finally:
        if made is not None:
            made.stop()  # nothing here is to be kept
        shutil.rmtree(folder, ignore_errors=True)


def _wait(made: Cluster, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(made.url("postgres"), connect_timeout=2).close()
            return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail("PostgreSQL did not start: " + log.read_text(errors="replace")[-2000:])
