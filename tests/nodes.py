"""A real filmroom in a process of its own, on free ports and a temporary folder."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from stored import Stored, all_in, place_of

PASSWORD = "correct horse battery staple"
AE_TITLE = "FILMROOM"


class Elsewhere:
    """Where every node keeps its index and its blobs when the tests run on PostgreSQL and S3.

    A node that is started again on its data folder finds them again.
    """

    def __init__(self, cluster, server, keys: dict[str, str]) -> None:
        self._cluster = cluster
        self._server = server
        self._keys = keys
        self._places: dict[Path, dict[str, str]] = {}

    def of(self, data: Path) -> dict[str, str]:
        """The environment of a node with this data folder."""
        if data not in self._places:
            self._places[data] = {
                "FILMROOM__INDEX__URL": self._cluster.database(),
                "FILMROOM__BLOBS__URL": self._server.place(),
                **self._keys,
            }
        return self._places[data]

    def lose_index(self, data: Path) -> None:
        """From now on its index is another one, and empty."""
        self.of(data)["FILMROOM__INDEX__URL"] = self._cluster.database()


ELSEWHERE: list[Elsewhere] = []  # one of them, or none: see conftest.py


def about_files() -> None:
    """Call first in a test that is about files and SQLite; elsewhere there are none."""
    if ELSEWHERE:
        pytest.skip("about files, and there are none")


def settings_of(data: Path) -> dict[str, str]:
    """What programs are told of where this data folder's index and blobs are; often nothing."""
    return ELSEWHERE[0].of(Path(data)) if ELSEWHERE else {}


def free_port() -> int:
    """A port nobody uses now, below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class FilmroomProcess:
    """`filmroom serve`, started, with its addresses and the administrator's password."""

    folder: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    dimse_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "filmroom.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    @property
    def settings(self) -> dict[str, str]:
        """What it is told in its environment."""
        return settings_of(self.data) | self.environment

    def client(self, **options) -> httpx.Client:
        """An HTTP client signed in as the administrator."""
        options = {"timeout": 60, "auth": ("admin", PASSWORD)} | options
        return httpx.Client(base_url=self.url, **options)

    def start(self, *, ready_seconds: float = 30) -> FilmroomProcess:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "FILMROOM__SECURITY__ADMIN_PASSWORD": PASSWORD,
            "FILMROOM__ARCHIVE__QUIET_SECONDS": "0.5",
            "FILMROOM__ARCHIVE__MIN_FREE_BYTES": "0",
            **self.settings,
        }
        command = [sys.executable, "-m", "filmroom.cli.main", "serve", "--data", str(self.data)]
        command += ["--dimse-host", "127.0.0.1", "--dimse-port", str(self.dimse_port)]
        command += ["--http-port", str(self.http_port), *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + ready_seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"filmroom ended:\n{self.log.read_text()[-4000:]}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return self
            time.sleep(0.05)
        raise AssertionError(f"filmroom was not ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> int:
        """Ask it to end, as a service manager would; returns its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def written_bytes(self) -> int:
        """Bytes it has written to files and pipes so far; what is fetched is written down."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/io").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("wchar")))

    def temporary_files(self) -> list[Path]:
        return list((self.data / "tmp").iterdir())

    def stored(self, below: str = "store") -> list[Stored]:
        """All files, or objects, that it keeps."""
        return all_in(place_of(self.settings, self.data), below)

    def blob(self, sop_instance_uid: str) -> Stored:
        """The one of an instance."""
        (found,) = [blob for blob in self.stored() if blob.stem == sop_instance_uid]
        return found

    def lose_index(self) -> None:
        """As if there had never been one; it must not be running."""
        if ELSEWHERE:
            ELSEWHERE[0].lose_index(self.data)
        for path in self.data.glob("index.sqlite*"):
            path.unlink()
