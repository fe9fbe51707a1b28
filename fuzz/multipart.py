"""A multipart body: the same parts however it is cut. First byte: how; then the body."""

from __future__ import annotations

import random

from filmroom.dicomweb.multipart import (
    MalformedMultipart,
    MultipartReader,
    PartBegin,
    PartData,
)

BOUNDARY = "b-b"
MAX_PARTS = 50
MAX_HEADER_BYTES = 200
Told = tuple[object, ...]


def check(data: bytes) -> None:
    """Feed it whole and in pieces; both must tell the same."""
    if not data:
        return
    cuts, body = random.Random(data[0]), data[1:]
    longest = cuts.choice((1, 2, 5, 30, 200))
    pieces = []
    at = 0
    while at < len(body):
        size = cuts.randint(1, longest)
        pieces.append(body[at : at + size])
        at += size
    assert _events(pieces) == _events([body])


def _events(pieces: list[bytes]) -> list[Told]:
    reader = MultipartReader(BOUNDARY, max_parts=MAX_PARTS, max_header_bytes=MAX_HEADER_BYTES)
    told: list[Told] = []
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                if isinstance(event, PartData):
                    assert len(event.data)
                    before = told.pop()[1] if told and told[-1][0] == "data" else b""
                    told.append(("data", bytes(before) + bytes(event.data)))  # type: ignore[call-overload]
                elif isinstance(event, PartBegin):
                    told.append(("begin", dict(event.headers)))
                else:
                    told.append(("end",))
            assert len(reader._kept) <= MAX_HEADER_BYTES + 400, "too much is kept"
        reader.finish()
    except MalformedMultipart as error:
        told.append(("broken", str(error)))
    assert reader.parts <= MAX_PARTS + 1
    return told
