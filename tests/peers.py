"""Peers that nobody here wrote, started for a test: dcmtk's tools and Orthanc."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from nodes import free_port, settings_of

DEADLINE_SECONDS = 60


def run(program: str, *arguments: object, timeout: float = DEADLINE_SECONDS, **options):
    """Run a program to its end; what it printed comes back as one text in `stdout`."""
    return subprocess.run(
        [program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        **options,
    )


def filmroom(*arguments: object, timeout: float = DEADLINE_SECONDS):
    """Run `filmroom` with these arguments; stdout and stderr apart.

    On the index and the blobs that a node with this `--data` has.
    """
    words = list(map(str, arguments))
    told = settings_of(Path(words[words.index("--data") + 1])) if "--data" in words else {}
    return subprocess.run(
        [sys.executable, "-m", "filmroom.cli.main", *words],
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextlib.contextmanager
def _running(command: list[str], port: int, **options) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        _wait_for(port, process)
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen) -> None:
    import socket

    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the peer ended at once"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the peer does not listen")


@contextlib.contextmanager
def storescp(program: str, folder: Path, port: int, *options: str) -> Iterator[Path]:
    """dcmtk's storescp, writing what it receives into `folder`, bit by bit as it came."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "+B", "-od", str(folder), *options, str(port)]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with _running(command, port, **silent):
        yield folder


class Orthanc:
    """An Orthanc on free ports, spoken to by its REST API."""

    def __init__(self, folder: Path, modalities: dict[str, tuple[str, int]]) -> None:
        """modalities: AE title -> (host, port) of peers it knows and lets do anything."""
        self.folder = folder
        self.ae_title = "ORTHANC"
        self.dimse_port, self.http_port = free_port(), free_port()
        self.configuration = {
            "Name": "peer",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.dimse_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "Plugins": [],
            "DicomModalities": {
                name.lower(): {
                    "AET": name,
                    "Host": host,
                    "Port": port,
                    "AllowEcho": True,
                    "AllowFind": True,
                    "AllowGet": True,
                    "AllowMove": True,
                    "AllowStore": True,
                }
                for name, (host, port) in modalities.items()
            },
        }
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=60)

    @contextlib.contextmanager
    def started(self, program: str) -> Iterator[Orthanc]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(self.configuration))
        with (self.folder / "orthanc.log").open("wb") as log:
            command = [program, str(path)]
            with _running(command, self.http_port, stdout=log, stderr=log) as process:
                _wait_for(self.dimse_port, process)
                yield self

    def get(self, path: str):
        return self.http.get(path).raise_for_status().json()

    def post(self, path: str, body: object):
        return self.http.post(path, json=body).raise_for_status().json()

    def upload(self, file: bytes):
        return self.http.post("/instances", content=file).raise_for_status().json()
