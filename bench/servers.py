"""The servers measured: started, frozen while another is measured, stopped by process id."""

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
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

PASSWORD = "bench-marks-on-the-bench"
RECEIVER = "BENCHRECV"  # AE title of the storescp that C-MOVE sends to
_TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port nobody uses, below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):  # it, or a thread of it, ended in this instant
            for task in Path(f"/proc/{each}/task").glob("*/children"):
                found += map(int, task.read_text().split())
    return found


@dataclass
class Server:
    """One server; subclasses say how it is started and asked.

    receiver_port: where the storescp listens that C-MOVE sends to.
    nodelay: Nagle's algorithm off at servers built on dcmtk, to be fair to them.
    """

    folder: Path
    receiver_port: int = 1
    nodelay: bool = True
    dimse_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    name = ""
    ae_title = "ANY"
    auth: ClassVar[tuple[str, str] | None] = None
    dicomweb = "/dicom-web"
    probe = ""  # a path that answers 200 when all is up; empty: no HTTP

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def start(self) -> float:
        """Start on the folder, which may hold an earlier run's; seconds until both doors answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command()
        nodelay = {"TCP_NODELAY": "1"} if self.nodelay else {}
        with (self.folder / "log").open("ab") as log:
            started = time.perf_counter()
            self.process = subprocess.Popen(
                command, env=os.environ | nodelay | self.environment(), stdout=log, stderr=log
            )
        while not (self._web_is_up() and self._wire_is_up()):
            if self.process.poll() is not None or time.perf_counter() - started > 60:
                raise SystemExit(f"{self.name} did not start: see {self.folder}/log")
            time.sleep(0.004)
        return time.perf_counter() - started

    def _wire_is_up(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.dimse_port), 1):
                return True
        except OSError:
            return False

    def _web_is_up(self) -> bool:
        if not self.probe:
            return True
        url = f"http://127.0.0.1:{self.http_port}{self.probe}"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def processes(self) -> list[int]:
        """All that belong to it."""
        assert self.process is not None
        return family(self.process.pid)

    def _signal(self, number: int) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self) -> None:
        """Stand still, so that whoever is measured has the machine to itself."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its processes."""
        ticks = 0
        for pid in self.processes():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended in this instant
            ticks += sum(map(int, fields[11:15]))  # own, and of children that have ended
        return ticks / _TICK

    def rss_mib(self) -> float:
        """Resident memory of all its processes; pages that they share count once."""
        kib = 0
        for pid in self.processes():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kib += int(line.split()[1])
        return kib / 1024

    def peak_mib(self) -> float:
        """The most that was ever resident, process by process; shared pages count in each."""
        kib = 0
        for pid in self.processes():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    kib += int(line.split()[1])
        return kib / 1024

    def stop(self) -> None:
        if self.process is None:
            return
        self.wake()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Filmroom(Server):
    name = "filmroom"
    ae_title = "FILMROOM"
    auth = ("admin", PASSWORD)
    probe = "/readyz"

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "filmroom.cli.main", "serve"),
            *("--data", str(self.folder / "data"), "--dimse-host", "127.0.0.1"),
            *("--dimse-port", str(self.dimse_port), "--http-port", str(self.http_port)),
            *("--peer", "BENCH=127.0.0.1:1:all"),
            *("--peer", f"{RECEIVER}=127.0.0.1:{self.receiver_port}"),
        ]

    def environment(self) -> dict[str, str]:
        return {"FILMROOM__SECURITY__ADMIN_PASSWORD": PASSWORD}


class Orthanc(Server):
    """Debian's Orthanc with its DICOMweb plugin, shipped settings but for ports and access."""

    name = "Orthanc"
    ae_title = "ORTHANC"
    probe = "/system"

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
            "DicomModalities": {
                "bench": ["BENCH", "127.0.0.1", 1],
                "receiver": [RECEIVER, "127.0.0.1", self.receiver_port],
            },
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        return [shutil.which("Orthanc") or "Orthanc", str(file)]


class Receiver(Server):
    """dcmtk's storescp that forgets what it receives: the sender's own limit, nobody's server."""

    name = "limit"
    ae_title = RECEIVER

    def command(self) -> list[str]:
        return ["storescp", "--fork", "--ignore", str(self.dimse_port)]


def versions() -> dict[str, str]:
    """What runs here, for the record."""
    from filmroom import __version__

    def first_line(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).partition("\n")[0].strip("$ ")

    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    return {
        "filmroom": __version__,
        "Orthanc": first_line("Orthanc", "--version"),
        "dcmtk": first_line("storescu", "--version"),
        "Python": sys.version.split()[0],
        "machine": f"{os.cpu_count()} x {model}, {memory:.0f} GiB",
        "kernel": os.uname().release,
    }
