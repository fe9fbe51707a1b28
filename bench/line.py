"""A slow line: a TCP proxy that lets so many bytes a second through towards the client."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

PIECE = 16 * 1024


@contextlib.contextmanager
def slow_line(port: int, bits_per_second: float) -> Iterator[int]:
    """The port that leads to `port` of this machine, slowly; closed at the end."""
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(
        target=_accept, args=(listening, port, bits_per_second / 8), daemon=True
    ).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()


def _accept(listening: socket.socket, port: int, rate: float) -> None:
    with contextlib.suppress(OSError):
        while True:
            here, _ = listening.accept()
            there = socket.create_connection(("127.0.0.1", port))
            # Little may wait in the proxy: what the client does not want is not sent to it.
            there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * PIECE)
            for each in (here, there):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_pass, args=(here, there, 0.0), daemon=True).start()
            threading.Thread(target=_pass, args=(there, here, rate), daemon=True).start()


def _pass(source: socket.socket, to: socket.socket, rate: float) -> None:
    """Bytes from one to the other, `rate` a second; 0.0: as fast as they come."""
    free_at = time.perf_counter()
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            if rate:
                free_at = max(free_at, time.perf_counter()) + len(piece) / rate
                time.sleep(max(free_at - time.perf_counter(), 0.0))
            to.sendall(piece)
    for each in (source, to):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
