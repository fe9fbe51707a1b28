"""Says from memory what a server has said once: the other end of bench/limits.py.

    python bench/parrot.py FROM_PORT PORT [FROM_PORT PORT ...]

It passes on what clients ask and learns the answers; after SIGUSR1 it answers by itself. What
a client needs for its questions and the machine for the bytes is then all there is to measure.
It knows no protocol: clients that ask one thing after the other say the same bytes every time.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
import threading

BUFFER_BYTES = 1 << 20


class Parrot:
    """What is known, shared by all connections."""

    def __init__(self) -> None:
        self.learns = True
        self._known: dict[bytes, bytes] = {}

    def serve(self, from_port: int, port: int) -> None:
        """Listen on `port` for what `from_port` knows."""
        with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
            while True:
                client = listener.accept()[0]
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                work = (self._learn, client, from_port) if self.learns else (self._answer, client)
                threading.Thread(target=_quietly, args=work, daemon=True).start()

    def _learn(self, client: socket.socket, from_port: int) -> None:
        with client, socket.create_connection(("127.0.0.1", from_port)) as server:
            asked, said = b"", []
            while True:
                for end in select.select([client, server], [], [])[0]:
                    data = end.recv(BUFFER_BYTES)
                    if not data:
                        self._known[asked] = b"".join(said)
                        return
                    if end is server:
                        said.append(data)
                        client.sendall(data)
                        continue
                    if said:
                        self._known[asked] = b"".join(said)
                        asked, said = b"", []
                    asked += data
                    server.sendall(data)

    def _answer(self, client: socket.socket) -> None:
        """What was never asked, such as the frame after the last one learnt, is said as before."""
        asked, said = b"", b""
        with client:
            while data := client.recv(BUFFER_BYTES):
                asked += data
                known = self._known.get(asked)
                if known is None and not (said and asked.endswith(b"\r\n\r\n")):
                    continue
                said, asked = known or said, b""
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                client.sendall(said)


def _quietly(work, *arguments) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(ConnectionError):
        work(*arguments)


def main() -> None:
    parrot = Parrot()

    def answer(*_: object) -> None:
        parrot.learns = False

    signal.signal(signal.SIGUSR1, answer)
    ports = list(map(int, sys.argv[1:]))
    for pair in zip(ports[::2], ports[1::2], strict=True):
        threading.Thread(target=parrot.serve, args=pair, daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
