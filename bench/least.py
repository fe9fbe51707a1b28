"""The least that a server can do with what is stored: the other end of bench/limits.py.

    python bench/least.py DIMSE_PORT HTTP_PORT [--durable FOLDER]

It takes C-STORE and STOW-RS and looks at nothing in them. By itself it forgets what it gets.
With --durable it keeps filmroom's promise, and nothing else: SHA-256 taken as the bytes arrive,
the file synced, named, its folder synced, a row of an index synced, all that wait together; then
it says Success. Hashing, copying and syncing are the system's; what is around them is a page of
Python, so that a server in another language could be a little below it, but not much.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apsw

MAX_PDU = 131_072
BUFFER_BYTES = 1 << 20
ROW_BYTES = 3_000  # of the index, for one instance
PARTS = 10  # of a STOW request of the bench
WRITE = 2  # SYNC_FILE_RANGE_WRITE
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(eq=False)
class Item:
    """One object: its bytes on their way to where they stay."""

    fd: int
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    done: threading.Event = field(default_factory=threading.Event)

    def write(self, data: memoryview) -> None:
        while data:
            count = os.write(self.fd, data)
            self.digest.update(data[:count])
            data = data[count:]


class Committer(threading.Thread):
    """Makes durable whatever waits, one flush after the other, as filmroom does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._fd = os.open(folder, os.O_RDONLY)
        self._waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._begin = ctypes.CDLL(None).sync_file_range
        self._begin.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        self._count = 0
        self.start()

    def open(self) -> Item:
        return Item(os.open(self._folder, os.O_TMPFILE | os.O_RDWR, 0o640))

    def keep(self, item: Item) -> None:
        """Begin to make it durable; `done` tells when it is."""
        self._begin(item.fd, 0, 0, WRITE)
        self._waiting.put(item)

    def run(self) -> None:
        try:
            self._commit()
        finally:
            os._exit(1)  # nobody shall wait for it

    def _commit(self) -> None:
        database = apsw.Connection(str(self._folder / "index.sqlite"))
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE row (id INTEGER PRIMARY KEY, digest BLOB, content BLOB)",
        ):
            database.execute(statement).fetchall()
        while True:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            rows = []
            for item in batch:
                os.fsync(item.fd)
            for item in batch:
                self._count += 1
                name = str(self._folder / f"{self._count}.dcm")
                # With src_dir_fd, else Python does not follow the link in /proc.
                os.link(f"/proc/self/fd/{item.fd}", name, src_dir_fd=self._fd, follow_symlinks=True)
                rows.append((self._count, item.digest.digest(), os.urandom(ROW_BYTES)))
            os.fsync(self._fd)
            with database:
                database.executemany("INSERT INTO row VALUES (?, ?, ?)", rows)
            for item in batch:
                os.close(item.fd)
                item.done.set()


class Incoming:
    """Exactly so many bytes from a socket, acknowledged at once."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    def take(self, length: int) -> memoryview:
        """At most a buffer full. EOFError at the end."""
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        have = 0
        while have < length:
            got = self._connection.recv_into(self._buffer[have:length])
            if not got:
                raise EOFError
            have += got
        return self._buffer[:length]


# -- C-STORE ---------------------------------------------------------------------------------
def dimse(connection: socket.socket, committer: Committer | None) -> None:
    """One association: everything proposed is accepted, everything sent is a success."""
    incoming = Incoming(connection)
    command, item = b"", None
    while True:
        kind, length = struct.unpack(">BxI", incoming.take(6))
        body = incoming.take(length)
        if kind == 0x01:
            connection.sendall(_accept(bytes(body)))
        elif kind == 0x05:
            connection.sendall(struct.pack(">BxII", 0x06, 4, 0))
        at = 0
        while kind == 0x04 and at < length:
            size, context, control = struct.unpack_from(">IBB", body, at)
            piece = body[at + 6 : at + 4 + size]
            at += 4 + size
            if control & 1:
                command += piece
                if control & 2 and committer is not None:
                    item = committer.open()
                continue
            if item is not None:
                item.write(piece)
            if control & 2:
                if item is not None and committer is not None:
                    committer.keep(item)
                    item.done.wait()
                connection.sendall(_success(command, context))
                command, item = b"", None


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _accept(request: bytes) -> bytes:
    """A-ASSOCIATE-AC: of each context the first transfer syntax (PS3.8 9.3.3)."""
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    at = 68
    while at < len(request):
        kind, length = struct.unpack_from(">BxH", request, at)
        content = request[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == 0x20:
            (abstract,) = struct.unpack_from(">H", content, 6)
            (size,) = struct.unpack_from(">H", content, 8 + abstract + 2)
            first = content[8 + abstract : 8 + abstract + 4 + size]
            items += _item(0x21, content[:1] + b"\0\0\0" + first)
    items += _item(0x50, _item(0x51, struct.pack(">I", MAX_PDU)) + _item(0x52, b"1.2.3"))
    body = request[:68] + items
    return struct.pack(">BxI", 0x02, len(body)) + body


def _success(command: bytes, context: int) -> bytes:
    """C-STORE-RSP to a C-STORE-RQ (PS3.7 9.3.1.2)."""
    said = {}
    at = 0
    while at < len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        said[element] = command[at + 8 : at + 8 + length]
        at += 8 + length
    values = {
        0x0002: said[0x0002],
        0x0100: struct.pack("<H", 0x8001),
        0x0120: said[0x0110],
        0x0800: struct.pack("<H", 0x0101),
        0x0900: bytes(2),
        0x1000: said[0x1000],
    }
    body = b"".join(struct.pack("<HHI", 0, e, len(v)) + v for e, v in values.items())
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    value = struct.pack(">IBB", len(body) + 2, context, 3) + body
    return struct.pack(">BxI", 0x04, len(value)) + value


# -- STOW-RS -----------------------------------------------------------------------------------
def http(connection: socket.socket, committer: Committer | None) -> None:
    """One connection: a body is PARTS objects of the same length."""
    incoming = Incoming(connection)
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += incoming.take(1)
        left = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                left = int(line[15:])
        part, items = -(-left // PARTS), []
        while left:
            room = min(part, left)
            left -= room
            if committer is not None:
                items.append(committer.open())
            while room:
                data = incoming.take(min(room, BUFFER_BYTES))
                room -= len(data)
                if items:
                    items[-1].write(data)
            if committer is not None:
                committer.keep(items[-1])  # while the next one arrives
        for item in items:
            item.done.wait()
        connection.sendall(_JSON)


Serve = Callable[[socket.socket, Committer | None], None]


def listen(port: int, serve: Serve, committer: Committer | None) -> None:
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            connection = listener.accept()[0]
            threading.Thread(target=_one, args=(connection, serve, committer), daemon=True).start()


def _one(connection: socket.socket, serve: Serve, committer: Committer | None) -> None:
    with connection, contextlib.suppress(EOFError, ConnectionError):
        serve(connection, committer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dimse_port", type=int)
    parser.add_argument("http_port", type=int)
    parser.add_argument("--durable", type=Path)
    arguments = parser.parse_args()
    committer = Committer(arguments.durable) if arguments.durable else None
    web = (arguments.http_port, http, committer)
    threading.Thread(target=listen, args=web, daemon=True).start()
    listen(arguments.dimse_port, dimse, committer)


if __name__ == "__main__":
    main()
