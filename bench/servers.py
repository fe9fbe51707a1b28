"""The servers measured: each started on an empty folder, stopped by its process id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

PASSWORD = "bench-marks-on-the-bench"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """One server process; subclasses say how it is started and asked."""

    folder: Path
    dimse_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    nodelay: bool = True  # Nagle's algorithm off at servers built on dcmtk, to be fair to them
    process: subprocess.Popen[bytes] | None = None

    name = ""
    ae_title = "ANY"
    auth: ClassVar[tuple[str, str] | None] = None

    @property
    def dicomweb(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def start(self) -> Server:
        self.folder.mkdir(parents=True)
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            self.command(), env=self._environment(), stdout=log, stderr=log
        )
        deadline = time.monotonic() + 30
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not start: see {self.folder}/log")
            time.sleep(0.05)
        return self

    def _environment(self) -> dict[str, str]:
        nodelay = {"TCP_NODELAY": "1"} if self.nodelay else {}
        return os.environ | nodelay | self.environment()

    def ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.dimse_port), 1):
                return True
        except OSError:
            return False

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


class Filmroom(Server):
    name = "filmroom"
    ae_title = "FILMROOM"
    auth = ("admin", PASSWORD)

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "filmroom.cli.main", "serve"),
            *("--data", str(self.folder / "data"), "--dimse-host", "127.0.0.1"),
            *("--dimse-port", str(self.dimse_port), "--http-port", str(self.http_port)),
            *("--peer", "BENCH=127.0.0.1:1:all"),
        ]

    def environment(self) -> dict[str, str]:
        return {"FILMROOM__SECURITY__ADMIN_PASSWORD": PASSWORD}

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1):
                return True
        except (OSError, urllib.error.URLError):
            return False


class Orthanc(Server):
    """Debian's Orthanc with its DICOMweb plugin, shipped settings but for ports and access."""

    name = "Orthanc"
    ae_title = "ORTHANC"

    def command(self) -> list[str]:
        configuration = {
            "Name": "bench",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": ["/usr/share/orthanc/plugins"],
            "DicomAet": "ORTHANC",
            "DicomPort": self.dimse_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "TcpNoDelay": True,
            "DicomModalities": {"bench": ["BENCH", "127.0.0.1", 1]},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        return [shutil.which("Orthanc") or "Orthanc", str(file)]


class Storescp(Server):
    """dcmtk's storescp: just files, nothing synced, no index."""

    name = "storescp"
    ae_title = "STORESCP"

    def command(self) -> list[str]:
        (self.folder / "files").mkdir()
        return ["storescp", "--fork", "-od", str(self.folder / "files"), str(self.dimse_port)]
