"""Those who write slowly and those who never read, over HTTP: they cost nobody else anything."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest

from hostile_files import data_set, new_uid, padded, part10
from hostile_http import DICOM, MULTIPART, multipart, part, request
from hostile_watch import MIB
from nodes import FilmroomProcess

pytestmark = pytest.mark.hostile

STUDIES = "/dicom-web/studies"
SLICES = 500
SLICE_BYTES = 64 * 1024
SOON_SECONDS = 2.0
WATCH_SECONDS = 4.0
GROWTH_BYTES = 200 * MIB
SLOW = ("127.0.0.2", "127.0.0.3", "127.0.0.4")  # where the slow ones come from


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filmroom")
    process = FilmroomProcess(folder, environment={"FILMROOM__PIXEL__WORKERS": "1"})
    yield process.start()
    process.kill()


@pytest.fixture(scope="module")
def series(watch):
    """The address of a series of 500 slices."""
    study = new_uid()
    pixels = os.urandom(SLICE_BYTES)
    for start in range(0, SLICES, 100):
        files = []
        for number in range(start, start + 100):
            uid = f"{study}.1.{number}"
            more = {
                0x0020000D: ("UI", padded(study, b"\0")),
                0x0020000E: ("UI", padded(f"{study}.1", b"\0")),
                0x7FE00010: ("OW", pixels),
            }
            files.append(part10(data_set(uid, more), uid))
        headers = {"Content-Type": MULTIPART}
        answer = watch.http.post(STUDIES, content=multipart(*files), headers=headers)
        assert answer.status_code == 200
    return f"{STUDIES}/{study}/series/{study}.1"


class Crowd:
    """Slow connections, fed from one thread a few bytes at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._fed: list[tuple[socket.socket, bytes]] = []
        self._all: list[socket.socket] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for connection in self._all:
            connection.close()

    def add(self, number: int, sent: bytes, drops: bytes = b"", *, receives: int = 0) -> None:
        """`sent` now, then `drops` again and again; receives: the size of its buffer."""
        connection = socket.socket()
        if receives:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        connection.bind((SLOW[number % len(SLOW)], 0))
        connection.settimeout(5)
        connection.connect(("127.0.0.1", self._port))
        connection.sendall(sent)
        self._all.append(connection)
        if drops:
            self._fed.append((connection, drops))

    def _feed(self) -> None:
        while not self._over.wait(0.25):
            for connection, drops in list(self._fed):
                with contextlib.suppress(OSError):
                    connection.sendall(drops)

    def still_open(self) -> int:
        """How many the server has not closed."""
        count = 0
        for connection in self._all:
            connection.setblocking(False)
            try:
                count += connection.recv(1) != b""
            except BlockingIOError:
                count += 1
            except OSError:
                pass
        return count


def upload(body: bytes) -> bytes:
    """The beginning of a store of a gigabyte."""
    headers = [("Content-Type", MULTIPART), ("Content-Length", str(1 << 30))]
    return request("POST", STUDIES, headers, body)


CHUNKED = ("Transfer-Encoding", "chunked")
HALF_A_FILE = part(part10(data_set("1.2.3"), "1.2.3"))[:-100]
DRIPPED_HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


def slow_crowds(series):
    """By kind: how many, what each sends, what it drips, and its receive buffer."""
    accept = [("Accept", f'multipart/related; type="{DICOM}"; transfer-syntax=*')]
    return {
        "heads in drops": (300, DRIPPED_HEAD, b"A: b\r\n", 0),
        "bodies in drops": (60, upload(HALF_A_FILE), b"\0", 0),
        "chunks in drops": (
            60,
            request("POST", STUDIES, [("Content-Type", MULTIPART), CHUNKED]),
            b"1\r\n-\r\n",
            0,
        ),
        "a series never read": (40, request("GET", series, accept), b"", 4096),
        "metadata never read": (40, request("GET", f"{series}/metadata"), b"", 4096),
    }  # fmt: skip


@pytest.mark.parametrize("kind", slow_crowds(""))
def test_a_slow_crowd_costs_nobody_else(node, watch, series, kind):
    count, sent, drops, receives = slow_crowds(series)[kind]
    instance = f"{series}/instances/{series.rpartition('/')[2]}.7"
    frame = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
    watch.http.get(f"{instance}/frames/1", headers=frame)
    before = watch.forget_peak()
    with Crowd(node.http_port) as crowd:
        for number in range(count):
            crowd.add(number, sent, drops, receives=receives)
        slowest, asked = 0.0, 0
        until = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < until:
            for path in (f"{instance}/frames/1", f"{STUDIES}?limit=1", f"{instance}/metadata"):
                began = time.monotonic()
                answer = watch.http.get(path, headers=frame if "frames" in path else {})
                assert answer.status_code == 200
                slowest = max(slowest, time.monotonic() - began)
                asked += 1
        assert crowd.still_open() > count * 0.9, "the crowd was not there"
    growth = watch.memory("VmHWM") - before
    print(f"{kind}: {asked} answers beside {count}, slowest {slowest:.3f} s, {growth // MIB} MiB")
    assert slowest < SOON_SECONDS
    assert growth < GROWTH_BYTES
    watch.tidy()
    watch.check(count)
