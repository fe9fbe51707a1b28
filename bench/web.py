"""A lean HTTP client: it costs little, so that what is measured is the server.

Connections are kept, as browsers keep them, and what arrives is acknowledged at once: a
server that sends its last piece under Nagle's algorithm would else wait 40 ms for that.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

_BUFFER = 1 << 20
JSON = {"Accept": "application/dicom+json", "Accept-Encoding": "gzip"}
PLAIN_JSON = {"Accept": "application/dicom+json"}
PIXELS = {"Accept": "multipart/related; type=application/octet-stream"}
STORED = {"Accept": "multipart/related; type=application/dicom"}
JPEG = {"Accept": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Answer:
    """status, number of body bytes, and the body where it was kept."""

    status: int
    length: int
    body: bytes


class Connection:
    """One kept connection; opened again when the server has closed it."""

    def __init__(self, port: int, auth: tuple[str, str] | None = None) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._buffer = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0  # what has arrived and was not taken
        self._auth = ""
        if auth is not None:
            token = base64.b64encode(":".join(auth).encode()).decode()
            self._auth = f"Authorization: Basic {token}\r\n"

    def get(self, path: str, headers: Mapping[str, str], *, keep: bool = False) -> Answer:
        """SystemExit for anything but a success."""
        return self._ask("GET", path, headers, b"", keep)

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """SystemExit for anything but a success."""
        return self._ask("POST", path, headers, body, True)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, keep: bool
    ) -> Answer:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self._auth}{lines}{length}\r\n"
        is_kept = self._socket is not None
        try:
            answer = self._exchange(head.encode(), body, keep)
        except (ConnectionError, EOFError):
            if not is_kept:
                raise
            self.close()  # it had closed the connection in the meantime
            answer = self._exchange(head.encode(), body, keep)
        if not 200 <= answer.status < 300:
            raise SystemExit(f"{method} {path} at {self._port}: {answer.status}")
        return answer

    def _exchange(self, head: bytes, body: bytes, keep: bool) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 300)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start = self._end = 0
        self._socket.sendall(head)
        if body:
            self._socket.sendall(body)
        status, fields = self._head()
        kept: list[bytes] | None = [] if keep else None
        if "chunked" in fields.get("transfer-encoding", ""):
            length = self._chunks(kept)
        elif "content-length" in fields:
            length = self._take(int(fields["content-length"]), kept)
        elif status == 204:
            length = 0
        else:
            length = self._rest(kept)
        if "close" in fields.get("connection", ""):
            self.close()
        return Answer(status, length, b"".join(kept or ()))

    def _more(self) -> int:
        """Wait for more and return how much lies in the buffer; EOFError at the end."""
        assert self._socket is not None
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            left = self._end - self._start
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        got = self._socket.recv_into(self._buffer[self._end :])
        if not got:
            raise EOFError
        self._end += got
        return self._end - self._start

    def _until(self, sign: bytes) -> bytes:
        """What comes up to `sign`, which is taken too."""
        while True:
            waiting = bytes(self._buffer[self._start : min(self._end, self._start + 65_536)])
            at = waiting.find(sign)
            if at >= 0:
                self._start += at + len(sign)
                return waiting[:at]
            self._more()

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *rest = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {}
        for field in rest:
            name, _, value = field.partition(":")
            fields[name.lower()] = value.strip().lower()
        return int(first.split()[1]), fields

    def _take(self, wanted: int, kept: list[bytes] | None) -> int:
        left = wanted
        while left:
            there = min(left, self._end - self._start)
            if not there:
                self._more()
                continue
            if kept is not None:
                kept.append(bytes(self._buffer[self._start : self._start + there]))
            self._start += there
            left -= there
        return wanted

    def _chunks(self, kept: list[bytes] | None) -> int:
        length = 0
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            length += self._take(size, kept)
            self._take(2, None)
        self._until(b"\r\n")
        return length

    def _rest(self, kept: list[bytes] | None) -> int:
        length = 0
        with contextlib.suppress(EOFError):
            while True:
                length += self._take(self._end - self._start, kept)
                self._more()
        self.close()
        return length


def median_ms(connection: Connection, paths: Sequence[str], headers: Mapping[str, str]) -> float:
    """The median time of one GET after the other, in milliseconds."""
    return statistics.median(ms(connection, path, headers) for path in paths)


def ms(connection: Connection, path: str, headers: Mapping[str, str]) -> float:
    """How long one GET takes, in milliseconds."""
    started = time.perf_counter()
    connection.get(path, headers)
    return (time.perf_counter() - started) * 1000


def rate(
    connect: Sequence[Connection], paths: Sequence[str], headers: Mapping[str, str], seconds: float
) -> float:
    """GETs a second: all connections take the next path until all are done or time is over."""
    turns = itertools.count()
    ends = time.perf_counter() + seconds

    def client(connection: Connection) -> int:
        done = 0
        while time.perf_counter() < ends and (n := next(turns)) < len(paths):
            if not connection.get(paths[n], headers).length:
                raise SystemExit(f"{paths[n]}: nothing came")
            done += 1
        return done

    with ThreadPoolExecutor(len(connect)) as pool:
        list(pool.map(lambda connection: connection.get(paths[0], headers), connect))  # warm
        started = time.perf_counter()
        ends = started + seconds
        done = sum(pool.map(client, connect))
        return done / (time.perf_counter() - started)
