"""An S3 server of the tests' own: SeaweedFS in a folder, gone when the tests end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest

ACCESS_KEY, SECRET_KEY = "filmroom-tests", "nothing-that-anybody-needs-to-hide"
SERVERS = ("master", "volume", "filer", "s3")
OTHERS = ("iceberg", "lance")  # what its S3 server has besides, on ports of their own
GRPC = 10_000  # a server's second port lies so far above its first


@dataclass
class ObjectServer:
    """A server on a folder; `place()` is a new empty prefix in its bucket, as a URL.

    is_synced: let it say yes to a PUT when the object is on the disk, and not before.
    """

    folder: Path
    is_synced: bool = False
    ports: dict[str, int] = field(default_factory=lambda: _free_ports())
    process: subprocess.Popen[bytes] | None = None
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def make(self) -> ObjectServer:
        """What it finds in its folder: who may use it."""
        (self.folder / "data").mkdir(parents=True)
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "filmroom", "credentials": [keys], "actions": actions}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        return self

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    def place(self, endpoint: str = "") -> str:
        """endpoint: another way to the server, such as a proxy."""
        prefix = f"place-{next(self._numbers)}"
        return f"s3://filmroom/{prefix}?endpoint={endpoint or self.endpoint}&region=us-east-1"

    def start(self) -> None:
        """Start it, perhaps again; returns when it answers."""
        command = [_needed(), "server", f"-dir={self.folder}/data", "-ip=127.0.0.1", "-filer"]
        command += ["-s3", f"-s3.config={self.folder}/s3.json", "-master.volumeSizeLimitMB=256"]
        command += ["-volume.max=40", "-master.telemetry=false"]
        for name in SERVERS:
            port = self.ports[name]
            command += [f"-{name}.port={port}", f"-{name}.port.grpc={port + GRPC}"]
        command += [f"-s3.port.{name}={self.ports[name]}" for name in OTHERS]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._wait()
        if self.is_synced:
            rule = {"locationPrefix": "/buckets/filmroom/", "fsync": True}
            path = f"http://127.0.0.1:{self.ports['filer']}/etc/seaweedfs/filer.conf"
            httpx.put(path, content=json.dumps({"locations": [rule]})).raise_for_status()

    def _wait(self) -> None:
        ends = time.monotonic() + 60
        bucket = f"http://127.0.0.1:{self.ports['filer']}/buckets/filmroom/"
        while time.monotonic() < ends:
            with contextlib.suppress(httpx.TransportError):
                made = httpx.post(bucket, timeout=2).status_code
                asked = httpx.get(f"{self.endpoint}/status", timeout=2).status_code
                if (made < 300 or made == 409) and asked < 500:
                    return
            time.sleep(0.2)
        pytest.fail(f"the S3 server did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def shut_down(self) -> None:
        """End it in good order."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.stop()

    def hang(self) -> None:
        """Let it answer nobody, nor refuse; `go_on` ends that."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


def program() -> str | None:
    """SeaweedFS, which comes from the package index into our environment."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def _needed() -> str:
    found = program()
    if found is None:
        message = "SeaweedFS is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found


@contextlib.contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Make, start and finally remove a server."""
    folder = Path(tempfile.mkdtemp(prefix="filmroom-objects-"))
    made = ObjectServer(folder)
    try:
        made.make().start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> dict[str, int]:
    """A port for each server that is free together with the one so far above it."""
    found: dict[str, int] = {}
    for name in (*SERVERS, *OTHERS):
        while name not in found:
            port = random.randrange(15_000, 22_000)
            if port not in found.values() and all(map(_is_free, (port, port + GRPC))):
                found[name] = port
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
