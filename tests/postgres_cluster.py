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

import psycopg
import pytest


@dataclass
class Cluster:
    """A running server; `database()` makes a new empty database and returns its URL."""

    port: int
    user: str
    _numbers: count[int] = field(default_factory=lambda: count(1))

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
    server = None
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
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [folder_of_programs / "postgres", "-D", data, *arguments],
                cwd=folder,
                stdout=log,
                stderr=log,
                **who,
            )
        made = Cluster(port, "filmroom")
        _wait(made, server, folder / "log")
        yield made
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # immediate: nothing here is to be kept
            server.wait(30)
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
