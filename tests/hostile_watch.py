"""The common rule after every hostile input: alive, quick, small, tidy, and quiet about itself."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import httpx

from hostile_wire import echo_seconds
from nodes import FilmroomProcess

MIB = 1 << 20
ANSWER_SECONDS = 2.0
GROWTH_BYTES = 256 * MIB
IN_DATA = {"store", "quarantine", "tmp", "filmroom.lock", "scrub.lock", "running", "node"}
_LEAK = re.compile(
    r"Traceback|File \"|site-packages|\.py\b|/usr/|/tmp/|/home/|sqlite", re.IGNORECASE
)


class Watch:
    """Watches one filmroom, from a warm start to the end of a module's attacks."""

    def __init__(self, node: FilmroomProcess) -> None:
        self.node = node
        self.http = node.client()
        self.http.get("/dicom-web/studies").raise_for_status()
        echo_seconds(node.dimse_port)
        self._folder = set(os.listdir(node.folder))
        self._around = set(os.listdir(node.folder.parent))
        self._log_at = node.log.stat().st_size
        self.base = self.memory("VmRSS")
        self.inputs = 0

    @property
    def pid(self) -> int:
        assert self.node.process is not None
        return self.node.process.pid

    def memory(self, name: str) -> int:
        """VmRSS or VmHWM of the server, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024

    def forget_peak(self) -> int:
        """From now on VmHWM is the peak since this call; returns what is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.memory("VmRSS")

    def work(self) -> float:
        """Processor time that the server has used so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """Descriptors the server holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # -- the log ---------------------------------------------------------------------------
    def mark(self) -> int:
        """Where the log ends now."""
        return self.node.log.stat().st_size

    def lines(self, mark: int) -> list[dict[str, object]]:
        """The log's lines since `mark`; each must be one JSON object in plain ASCII."""
        raw = self.node.log.read_bytes()[mark:]
        assert raw.isascii(), raw[:2000]
        assert not set(raw) & (set(range(32)) - {10}), "a control character in the log"
        forged = [line for line in raw.splitlines() if not line.startswith(b"{")]
        assert forged == [], forged[:5]
        return [json.loads(line) for line in raw.splitlines()]

    def lines_of(self, mark: int, wanted: int, seconds: float = 3) -> list[dict[str, object]]:
        """Lines about hostile input since `mark`, at least `wanted` if they come at all."""
        deadline = time.monotonic() + seconds
        while True:
            found = [line for line in self.lines(mark) if line["event"] != "signed in"]
            if len(found) >= wanted or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    # -- the rule --------------------------------------------------------------------------
    def check(self, inputs: int = 1, *, quarantine: bool = True) -> None:
        """Assert the common rule; `inputs` says how many hostile inputs went before."""
        self.inputs += inputs
        node = self.node
        assert node.process is not None
        assert node.process.poll() is None, f"filmroom ended: {node.log.read_text()[-3000:]}"
        assert echo_seconds(node.dimse_port) < ANSWER_SECONDS
        answer = httpx.get(f"{node.url}/livez", timeout=ANSWER_SECONDS)
        assert answer.status_code == 200
        growth = self.memory("VmRSS") - self.base
        assert growth < GROWTH_BYTES, f"{growth // MIB} MiB more than before"
        self.tidy()
        mark, self._log_at = self._log_at, self.mark()
        failures = [line for line in self.lines(mark) if line["level"] in ("error", "critical")]
        assert failures == [], failures[:3]

    def tidy(self, seconds: float = 3) -> None:
        """No temporary file stays, and there is nothing where nothing belongs."""
        node = self.node
        deadline = time.monotonic() + seconds
        while node.temporary_files() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert node.temporary_files() == []
        assert set(os.listdir(node.folder)) == self._folder
        beside = set(os.listdir(node.folder.parent)) - self._around
        assert all(re.fullmatch(r".*(\d|current)", name) for name in beside), beside
        for name in os.listdir(node.data):
            assert name in IN_DATA or name.startswith("index.sqlite"), name

    def check_names(self) -> None:
        """What is kept has names of our own making, whoever sent it."""
        for blob in self.node.stored():
            *day, study, series, name = blob.key.split("/")
            assert re.fullmatch(r"\d{4}/\d\d/\d\d", "/".join(day)), blob
            assert all(re.fullmatch(r"[0-9.]+", uid) for uid in (study, series)), blob
            assert re.fullmatch(r"[0-9.]+(_[0-9a-f]{8})?(-[0-9a-f]{8})?\.dcm", name), blob
        for blob in self.node.stored("quarantine"):
            assert re.fullmatch(r"[0-9a-f]{32}\.dcm", blob.key), blob


def discreet(text: str) -> None:
    """An answer that tells a stranger nothing of our inside."""
    found = _LEAK.search(text)
    assert found is None, f"{found[0]!r} in {text[:500]!r}"
