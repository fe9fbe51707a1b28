"""HTTP on a bare socket: requests that no client library would send, and what came back."""

from __future__ import annotations

import base64
import contextlib
import gzip
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

from nodes import PASSWORD

BASIC = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
DICOM = "application/dicom"
BOUNDARY = "hostile"
MULTIPART = f'multipart/related; type="{DICOM}"; boundary={BOUNDARY}'


@dataclass(frozen=True)
class Answer:
    """The first answer on a connection; status 0 when it was closed without one."""

    status: int
    head: str
    body: bytes
    seconds: float
    closed: bool  # the server closed the connection
    more: bytes  # what came after the first answer

    @property
    def text(self) -> str:
        return self.head + "\n" + self.body.decode("utf-8", "replace")


def raw(
    port: int,
    *pieces: bytes,
    timeout: float = 5,
    pause: float = 0,
    source: str = "127.0.0.1",
    linger: float = 0.1,
) -> Answer:
    """Send bytes, read an answer, and for `linger` seconds whatever else may come."""
    began = time.monotonic()
    received = b""
    closed = False
    more = b""
    with socket.create_connection(("127.0.0.1", port), timeout, (source, 0)) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        try:
            while not _is_whole(received):
                piece = connection.recv(65536)
                if not piece:
                    closed = True
                    break
                received += piece
        except ConnectionResetError:
            closed = True
        except TimeoutError:
            pass
        seconds = time.monotonic() - began
        connection.settimeout(linger or None)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while linger and not closed:
                piece = connection.recv(65536)
                more += piece
                closed = not piece
    head, _, body = received.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 else 0
    return Answer(status, head.decode("latin-1"), body, seconds, closed, more)


def _is_whole(received: bytes) -> bool:
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return b"transfer-encoding: chunked" in head.lower() and body.endswith(b"0\r\n\r\n")


def request(
    method: str,
    target: str | bytes,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    signed_in: bool = True,
    version: str = "1.1",
) -> bytes:
    """A request's bytes; Content-Length is not added by itself."""
    target = target.encode("latin-1") if isinstance(target, str) else target
    lines = [("Host", "x"), *([("Authorization", BASIC)] if signed_in else []), *headers]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")
    return method.encode() + b" " + target + f" HTTP/{version}\r\n".encode() + head + b"\r\n" + body


def part(content: bytes, headers: str = f"Content-Type: {DICOM}") -> bytes:
    """One part of a multipart body, its delimiter before it."""
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode("latin-1") + content + b"\r\n"


CLOSING = f"--{BOUNDARY}--\r\n".encode()


def multipart(*contents: bytes) -> bytes:
    """A whole multipart body of these files."""
    return b"".join(map(part, contents)) + CLOSING


def bomb(size: int) -> bytes:
    """`size` zero bytes, gzipped as tightly as can be."""
    return gzip.compress(bytes(size), 9, mtime=0)
