"""A connection pooler of the tests' own: PgBouncer in transaction mode, in front of a cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from postgres_cluster import USER, Cluster

SERVERS = 3  # connections for all of a database's clients: hardly ever the one they had before


@dataclass
class Pooler:
    """A running pooler."""

    port: int

    def url(self, direct: str) -> str:
        """The way through the pooler to the database that this URL leads to."""
        parts = urlsplit(direct)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()


def program() -> str | None:
    """PgBouncer."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@contextlib.contextmanager
def pooler(cluster: Cluster) -> Iterator[Pooler]:
    """Start and finally end a pooler; as another user when we are root."""
    found = program()
    if found is None:
        message = "PgBouncer is not installed: run tools/setup_tests.sh"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    folder = Path(tempfile.mkdtemp(prefix="filmroom-pooler-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "ini").write_text(
        f"""[databases]
* = host=127.0.0.1 port={cluster.port} user={USER}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {SERVERS}
max_client_conn = 500
query_wait_timeout = 10
server_idle_timeout = 1
"""
    )
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if not os.geteuid() else {}
    if who:
        shutil.chown(folder, "postgres", "postgres")
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([found, folder / "ini"], stdout=log, stderr=log, **who)
    made = Pooler(port)
    try:
        _wait(made, cluster, process, folder / "log")
        yield made
    finally:
        process.kill()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(made: Pooler, cluster: Cluster, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(made.url(cluster.url("postgres")), connect_timeout=2).close()
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail("PgBouncer did not start: " + log.read_text(errors="replace")[-2000:])
