"""Sends the hostile corpus to one live filmroom and watches what must never happen.

How an answer is told:

    dimse    what the server says, in order: accept, reject, abort, released, the status of each
             final response in four hex digits, and closed
    c-store  the status, and that of a C-ECHO on the same association
    stow     the HTTP status
    http     the HTTP status, and closed where that is demanded
    import   how many of the instances named in its facts are stored
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import hostile_wire as wire
from hostile_archives import sound_file
from hostile_corpus import Input
from hostile_http import MULTIPART, multipart, raw, request
from hostile_watch import GROWTH_BYTES, MIB, Watch, discreet
from hostile_wire import Gone, Peer
from nodes import FilmroomProcess, settings_of
from stored import all_in, place_of

SOON_SECONDS = 2.0  # for an echo and a GET between any two inputs
WORK_SECONDS = 2.0  # of processor time for one input
SPY = Path(__file__).parent / "spy"
SHOWN = 40
_ENDS = {"abort", "reject", "released", "closed"}


# -- the ways in -----------------------------------------------------------------------------------
def converse(port: int, sent: bytes) -> str:
    """Send a stream to the DICOM port; what came back, in words."""
    words: list[str] = []
    with Peer(port) as peer:
        peer.send(sent)
        while not words or words[-1] not in _ENDS:
            try:
                words.append(_next_word(peer))
            except Gone:
                words.append("closed")
        if words[-1] == "abort" and peer.is_closed():
            words.append("closed")
    return " ".join(words)


def _next_word(peer: Peer) -> str:
    kind, body = peer.read()
    if kind != wire.P_DATA:
        return {2: "accept", 3: "reject", 6: "released", 7: "abort"}[kind]
    command = body[6:]
    while not body[5] & wire.LAST:
        kind, body = peer.read()
        command += body[6:]
    return _status(peer, command)


def _status(peer: Peer, command: bytes) -> str:
    """The status of a final response; a pending one is passed over, with its data set."""
    elements = {}
    at = 0
    while at < len(command):
        _, number, length = struct.unpack_from("<HHI", command, at)
        elements[number] = command[at + 8 : at + 8 + length]
        at += 8 + length
    if struct.unpack("<H", elements[0x800])[0] != 0x101:
        while not peer.read()[1][5] & wire.LAST:
            pass
    status = int(struct.unpack("<H", elements[0x900])[0])
    return _next_word(peer) if status in (0xFF00, 0xFF01) else f"{status:04X}"


def c_store(port: int, one: Input) -> str:
    """C-STORE the data set of a file."""
    uid, syntax = one.facts["uids"][0], one.facts["transfer_syntax"]
    with Peer(port) as peer:
        peer.associate([(1, wire.VERIFICATION, [wire.IMPLICIT]), (3, wire.CT, [syntax])])
        status = peer.store(one.sent[one.facts["data_set_at"] :], uid)
        return f"{status:04X} {peer.echo():04X}"


def http(port: int, one: Input) -> str:
    """A request as it is."""
    closes = "closes" in one.facts
    source = one.facts.get("source", "127.0.0.1")
    answer = raw(port, one.sent, linger=0.1 if closes else 0, source=source)
    _is_discreet(answer.text, one)
    assert not (closes and answer.more), "something more was answered"
    return f"{answer.status} closed" if closes and answer.closed else str(answer.status)


def _is_discreet(text: str, one: Input) -> None:
    if "<html" not in text.lower() and "\n200 " not in text[:20] and " 200 " not in text[:20]:
        asked = one.sent.partition(b"\r\n")[0].decode("latin-1")
        for word in re.findall(r"[^\s?&=/]{4,}", asked):
            text = text.replace(word, "")  # an answer may repeat what was asked
        discreet(text)


def stow(port: int, one: Input) -> str:
    """STOW-RS of one file."""
    body = multipart(one.sent)
    headers = [("Content-Type", MULTIPART), ("Content-Length", str(len(body)))]
    answer = raw(port, request("POST", "/dicom-web/studies", headers, body), linger=0)
    discreet(answer.text)
    return str(answer.status)


def _ports_in(urls: Iterable[str]) -> set[str]:
    """The ports on this machine that URLs speak of, as the kernel writes them."""
    return {f"{int(port):04X}" for url in urls for port in re.findall(r"127\.0\.0\.1:(\d+)", url)}


# -- the watch -----------------------------------------------------------------------
@dataclass
class Gate:
    """One filmroom, a folder around it with canaries, and a telephone that must not ring."""

    folder: Path
    failures: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._telephone = socket.create_server(("127.0.0.1", 0))
        self._telephone.setblocking(False)
        for place in ("home", "temporary", "elsewhere"):
            (self.folder / place).mkdir()
        (self.folder / "SECRET").write_bytes(sound_file("secret")[1])
        self.spied = self.folder / "spied.log"
        room = self.folder / "server" / "room"  # a watch keeps an eye on the folder around it
        self.node = FilmroomProcess(room, environment=self.environment("server"))
        self._over = threading.Event()

    @property
    def canary(self) -> str:
        """Whom the inputs ask the server to call."""
        host, port = self._telephone.getsockname()
        return f"{host}:{port}"

    def environment(self, allowed: str) -> dict[str, str]:
        """Of a program that is spied upon and may write below that folder only."""
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(SPY), os.environ.get("PYTHONPATH")))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SPY_LOG": str(self.spied),
            "SPY_ALLOWED": f"{self.folder / allowed}/",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "temporary"),
            "FILMROOM__PIXEL__WORKERS": "1",
            "FILMROOM__DIMSE__UNKNOWN_PEERS": '["echo", "store", "query", "retrieve"]',
        }

    def __enter__(self) -> Gate:
        self.node.start()
        self.watch = Watch(self.node)
        self._began = self._work = self.watch.work()
        self._thread = threading.Thread(target=self._look_for_calls, daemon=True)
        self._thread.start()
        self._around = self._listing()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.node.kill()
        self._telephone.close()

    def _listing(self) -> set[str]:
        """Every file outside the data folder, with what it is."""
        found = set()
        for where, folders, names in os.walk(self.folder):
            if where == str(self.node.folder):
                folders.remove("data")
            for name in folders + names:
                path = os.path.join(where, name)
                growing = name in ("spied.log", "filmroom.log")
                found.add(f"{path} {0 if growing else os.lstat(path).st_size}")
        return found

    def _look_for_calls(self) -> None:
        """Connections of the server that it did not accept (PS3.8 has none of these here).

        But for those to its database and its object store, where it has them.
        """
        ours = {f"{port:04X}" for port in (self.node.dimse_port, self.node.http_port)}
        known = _ports_in(self.node.settings.values())
        while not self._over.wait(0.05):
            inodes = set()
            for path in Path(f"/proc/{self.watch.pid}/fd").glob("*"):
                try:
                    inodes.add(os.readlink(path).removeprefix("socket:[").removesuffix("]"))
                except OSError:
                    continue
            for table in ("tcp", "tcp6", "udp"):
                for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    port, peers_port = (fields[n].rpartition(":")[2] for n in (1, 2))
                    if fields[9] in inodes and port not in ours and peers_port not in known:
                        self.failures.append(f"a connection of its own: {fields[1]} {fields[2]}")

    # -- sending -------------------------------------------------------------------------
    def send(self, one: Input) -> None:
        """Send an input in every way there is for it but import, and look around each time."""
        ways = {
            "dimse": lambda: converse(self.node.dimse_port, one.sent),
            "http": lambda: http(self.node.http_port, one),
            "c-store": lambda: c_store(self.node.dimse_port, one),
            "stow": lambda: stow(self.node.http_port, one),
        }
        self.sent[one.door] += one.demands.keys() != {"import"}
        for way, demand in one.demands.items():
            if way in ways:
                try:
                    self._judge(f"{one.name} by {way}", ways[way](), demand)
                    self._look_around()
                except (AssertionError, OSError, Gone) as error:
                    self.failures.append(f"{one.name} by {way}: {error!r}"[:500])

    def _judge(self, what: str, answer: str, demand: str) -> None:
        if re.fullmatch(demand, answer) is None:
            self.failures.append(f"{what}: answered {answer!r}, demanded {demand!r}")

    def _look_around(self) -> None:
        """Alive, soon, small, and not at work any more than it should be."""
        work = self.watch.work()
        assert work - self._work < WORK_SECONDS, f"{work - self._work:.1f} s of processor time"
        began = time.monotonic()
        echo = wire.echo_seconds(self.node.dimse_port)
        ready = raw(self.node.http_port, request("GET", "/readyz", signed_in=False), linger=0)
        assert ready.status == 200, "not ready"
        self.slowest = max(self.slowest, echo, time.monotonic() - began - echo)
        assert max(echo, ready.seconds) < SOON_SECONDS, f"echo {echo:.2f}, GET {ready.seconds:.2f}"
        growth = self.watch.memory("VmRSS") - self.watch.base
        assert growth < GROWTH_BYTES, f"{growth // MIB} MiB more than before"
        self._work = self.watch.work()

    def import_all(self, inputs: Iterable[Input]) -> None:
        """Import everything that is to be imported, in one run of its own data folder."""
        inputs = [one for one in inputs if "import" in one.demands]
        place, data = self.folder / "in", self.folder / "imported" / "data"
        media = self.folder / "media"  # a DICOMDIR lies there, and beside it what it must not reach
        media.mkdir()
        (media / "SECRET").write_bytes(sound_file("secret")[1])
        paths = [place]
        for number, one in enumerate(inputs):
            suffix = str(one.facts.get("suffix", ".dcm"))
            file = (media if "/" in suffix else place) / f"{number:04}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(one.sent)
            paths += [file] if "/" in suffix else []
        (place / "link.dcm").symlink_to("/etc/passwd")
        self._around = self._listing()
        self._run_import(data, paths)
        blobs = all_in(place_of(settings_of(data), data))
        stored = {blob.stem.partition("-")[0] for blob in blobs}
        for one in inputs:
            self.sent[one.door] += one.demands.keys() == {"import"}
            count = len(stored & set(one.facts["uids"]))
            self._judge(f"{one.name} by import", str(count), one.demands["import"])
        shutil.rmtree(data.parent)

    def _run_import(self, data: Path, paths: list[Path]) -> None:
        command = [sys.executable, "-m", "filmroom.cli.main", "import", "--data", data, *paths]
        environment = os.environ | settings_of(data) | self.environment("imported")
        log = self.folder / "elsewhere" / "import.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*map(str, command), "--json"], env=environment, stdout=output, stderr=output
            )
            peak = 0
            while process.poll() is None:
                with contextlib.suppress(OSError, TypeError):
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
                time.sleep(0.02)
        if not 10 * MIB < peak < GROWTH_BYTES:
            self.failures.append(f"import took {peak // MIB} MiB")
        said = log.read_text(errors="replace")
        log.unlink()
        if "Traceback" in said or "\x1b" in said or '"new"' not in said:
            self.failures.append(f"import said {said[-2000:]!r}")

    # -- the end -------------------------------------------------------------------------
    def finish(self) -> None:
        """Assert that nothing of what was watched for has happened."""
        try:
            self._telephone.accept()
            self.failures.append("the server called a stranger")
        except BlockingIOError:
            pass
        spied = self.spied.read_text(errors="replace") if self.spied.exists() else ""
        self.failures += [f"spied: {line[:300]}" for line in spied.splitlines()]
        self.failures += [f"outside: {change}" for change in self._listing() ^ self._around]
        peak = self.watch.memory("VmHWM") - self.watch.base
        if peak >= GROWTH_BYTES:
            self.failures.append(f"a peak of {peak // MIB} MiB more than before")
        log = self.node.log.read_text(errors="replace")
        if "Traceback" in log:
            self.failures.append(f"a traceback in the log: {log[log.index('Traceback') :][:2000]}")
        shown = "\n".join(self.failures[:SHOWN])
        assert not self.failures, f"{len(self.failures)} failures, among them:\n{shown}"
        self.watch.check()
        self.watch.check_names()

    def __str__(self) -> str:
        peak = (self.watch.memory("VmHWM") - self.watch.base) // MIB
        work = self.watch.work() - self._began
        return (
            f"{sum(self.sent.values())} inputs ({dict(self.sent)}), {work:.1f} s of work, "
            f"{peak} MiB more at most, slowest answer beside them {self.slowest:.3f} s"
        )
