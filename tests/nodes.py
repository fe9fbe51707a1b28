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

PASSWORD = "correct horse battery staple"
AE_TITLE = "FILMROOM"


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
            **self.environment,
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

    def temporary_files(self) -> list[Path]:
        return list((self.data / "tmp").iterdir())

    def stored_files(self) -> list[Path]:
        return sorted(p for p in (self.data / "store").rglob("*") if p.is_file())
