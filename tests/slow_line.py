"""A line to a server that takes its time: a TCP proxy that delays, and counts round trips."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit


class SlowLine:
    """Listens on a port of its own; each byte towards the server arrives `delay_seconds` later."""

    def __init__(self, host: str, port: int, delay_seconds: float = 0.0) -> None:
        self._there = (host, port)
        self._delay_seconds = delay_seconds
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.round_trips = 0  # times that somebody spoke after having been answered
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, url: str) -> str:
        """The same URL, by this way."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection(self._there)
                for each in (here, there):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                answered = threading.Event()
                answered.set()
                for run in (self._ask, self._answer):
                    threading.Thread(target=run, args=(here, there, answered), daemon=True).start()

    def _ask(self, here: socket.socket, there: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while said := here.recv(1 << 20):
                if answered.is_set():
                    answered.clear()
                    self.round_trips += 1
                    time.sleep(self._delay_seconds)
                there.sendall(said)
        there.close()

    def _answer(self, here: socket.socket, there: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while said := there.recv(1 << 20):
                answered.set()
                here.sendall(said)
        here.close()


@contextlib.contextmanager
def slow_line(url: str, delay_seconds: float = 0.0) -> Iterator[SlowLine]:
    """A line to the server that the URL names."""
    parts = urlsplit(url)
    line = SlowLine(parts.hostname or "", parts.port or 5432, delay_seconds)
    try:
        yield line
    finally:
        line.close()
