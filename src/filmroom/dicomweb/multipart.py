"""multipart/related <-> parts (RFC 2046 5.1, RFC 2387, PS3.18 8.6.1.2). Sans-IO.

Feed what arrived, get back events; data come as views of the chunk that was fed, so a
part of any size costs no memory here. The delimiter is searched for with bytes.find, and
only the bytes that could begin one are kept for the next chunk.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

MAX_BOUNDARY = 70  # characters, RFC 2046 5.1.1
MAX_HEADER_BYTES = 16 * 1024  # of one part
PART_TAIL = b"\r\n"
MAX_PADDING = 256  # blanks that may follow a delimiter on its line

_BOUNDARY = re.compile(r"[ -~]*[!-~]")


class MalformedMultipart(ValueError):
    """The body is no multipart of that boundary; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins; header names are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """A piece of the part's body, never empty."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


Event = PartBegin | PartData | PartEnd


class MultipartReader:
    """Cut a body into parts: `feed` what arrived, `finish` when nothing more will come.

    Raises MalformedMultipart; after that the reader is of no more use.
    """

    def __init__(
        self, boundary: str, *, max_parts: int = 10_000, max_header_bytes: int = MAX_HEADER_BYTES
    ) -> None:
        if not boundary or len(boundary) > MAX_BOUNDARY or _BOUNDARY.fullmatch(boundary) is None:
            raise MalformedMultipart(f"a boundary has 1 to {MAX_BOUNDARY} plain characters")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._max_parts = max_parts
        self._max_header_bytes = max_header_bytes
        self._kept = b"\r\n"  # the first delimiter may stand at the very start
        self._step = self._preamble
        self.parts = 0
        self.complete = False
        self._fault: MalformedMultipart | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that these bytes complete; data views stay valid as long as held.

        What comes before a fault is given out first: the fault is raised by the next call.
        """
        self._raise_fault()
        received = self._kept + chunk if self._kept else chunk
        self._kept = b""
        events: list[Event] = []
        at = 0
        try:
            while at < len(received):
                ahead = self._step(received, at, events)
                if ahead < 0:
                    self._kept = received[~ahead:]
                    break
                at = ahead
        except MalformedMultipart as error:
            self._fault = error
        return events

    def finish(self) -> None:
        """Raise unless the closing delimiter has come."""
        self._raise_fault()
        if not self.complete:
            raise MalformedMultipart("the body ends before its closing boundary")

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    # Each step returns where the next one goes on, or ~n: keep the bytes from n on.

    def _preamble(self, received: bytes, at: int, events: list[Event]) -> int:
        found = received.find(self._delimiter, at)
        if found < 0:
            return ~self._possible_delimiter(received, at)
        self._step = self._line
        return found + len(self._delimiter)

    def _body(self, received: bytes, at: int, events: list[Event]) -> int:
        found = received.find(self._delimiter, at)
        end = found if found >= 0 else self._possible_delimiter(received, at)
        if end > at:
            events.append(PartData(memoryview(received)[at:end]))
        if found < 0:
            return ~end
        events.append(PartEnd())
        self._step = self._line
        return found + len(self._delimiter)

    def _line(self, received: bytes, at: int, events: list[Event]) -> int:
        """What follows a delimiter: `--` closes, else the line ends and headers begin."""
        if len(received) - at < 2:
            return ~at
        if received.startswith(b"--", at):
            self.complete = True
            self._step = self._epilogue
            return at + 2
        end = at
        while end < len(received) and received[end] in b" \t":
            end += 1
        if end - at > MAX_PADDING:
            raise MalformedMultipart("blanks without end after a boundary")
        if len(received) - end < 2:
            return ~at
        if not received.startswith(b"\r\n", end):
            raise MalformedMultipart("a boundary is followed by neither line end nor --")
        self.parts += 1
        if self.parts > self._max_parts:
            raise MalformedMultipart(f"more than {self._max_parts} parts")
        self._step = self._headers
        return end

    def _headers(self, received: bytes, at: int, events: list[Event]) -> int:
        end = received.find(b"\r\n\r\n", at, at + self._max_header_bytes)
        if end < 0:
            if len(received) - at >= self._max_header_bytes:
                raise MalformedMultipart(f"headers of more than {self._max_header_bytes} bytes")
            return ~at
        events.append(PartBegin(_parse_headers(received[at + 2 : end])))
        self._step = self._body
        # The blank line's CRLF may be the one that opens the next delimiter: empty body.
        if received.startswith(self._delimiter, end + 2):
            return end + 2
        if len(received) < end + 2 + len(self._delimiter) and self._delimiter.startswith(
            received[end + 2 :]
        ):
            self._step = self._empty_body
            return ~(end + 2)
        return end + 4

    def _empty_body(self, received: bytes, at: int, events: list[Event]) -> int:
        """A chunk ended where the body might be empty: decide with more bytes."""
        if len(received) - at < len(self._delimiter) and self._delimiter.startswith(received[at:]):
            return ~at
        self._step = self._body
        return at if received.startswith(self._delimiter, at) else at + 2

    def _epilogue(self, received: bytes, at: int, events: list[Event]) -> int:
        return len(received)

    def _possible_delimiter(self, received: bytes, at: int) -> int:
        """The first position from which a delimiter may still be completed."""
        begin = max(at, len(received) - len(self._delimiter) + 1)
        while True:
            begin = received.find(b"\r", begin)
            if begin < 0:
                return len(received)
            if self._delimiter.startswith(received[begin:]):
                return begin
            begin += 1


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    unfolded = re.sub(rb"\r\n[ \t]+", b" ", block)
    for line in unfolded.split(b"\r\n") if unfolded else ():
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise MalformedMultipart("a part's header line has no colon")
        headers[name.strip().decode("latin-1").lower()] = value.strip().decode("latin-1")
    return headers


def new_boundary() -> str:
    """A boundary that no body contains by chance."""
    return f"filmroom-{secrets.token_hex(16)}"


def steady_boundary(etag: str) -> str:
    """The same boundary for the same content, so that byte ranges of several answers fit.

    etag: made from a digest of the content, which therefore cannot contain this.
    """
    return f"filmroom-{hashlib.sha256(etag.encode()).hexdigest()[:32]}"


def part_head(boundary: str, headers: Mapping[str, str]) -> bytes:
    """What precedes a part's body; PART_TAIL follows it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"--{boundary}\r\n{lines}\r\n".encode("latin-1")


def closing(boundary: str) -> bytes:
    """What follows the last part's tail."""
    return f"--{boundary}--\r\n".encode("latin-1")


def content_type(boundary: str, part_type: str) -> str:
    """The Content-Type of the whole; `type` is quoted, since it holds a slash (RFC 2387)."""
    return f'multipart/related; type="{part_type}"; boundary={boundary}'
