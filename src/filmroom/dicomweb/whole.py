"""A stored Part 10 file as it is given away: without what its File Meta Information keeps for us.

A file that is stored smaller than it came carries its first header (archive.received). Who takes
the file and removes a name from the data set must not find it there again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from starlette.requests import Request

from filmroom.archive.received import SHORTEST_META
from filmroom.archive.records import Handle
from filmroom.archive.retrieve import OpenFile
from filmroom.dicom import part10
from filmroom.dicomweb.answers import Chunk, FilePiece, Part, read_pieces, sends_files
from filmroom.dicomweb.service import Service


class Whole(NamedTuple):
    """What is given: `head`, then the file from `skipped` on."""

    head: bytes
    skipped: int
    size: int

    async def read(self, file: OpenFile, first: int, stop: int) -> AsyncIterator[Chunk]:
        """The bytes first..stop-1 of it, in chunks."""
        begun = len(self.head)
        if first < begun:
            yield self.head[first:stop]
        begin, end = max(first, begun), max(stop, begun)
        at = begin - begun + self.skipped
        async for chunk in read_pieces(file, ((at, end - begin),)):
            yield chunk


def whole_of(handle: Handle) -> Whole:
    """How the stored file of `handle` is given."""
    location = handle.location
    if location.data_set_offset < SHORTEST_META:
        return Whole(b"", 0, location.size_bytes)
    head = part10.meta_header(
        sop_class_uid=handle.sop_class_uid,
        sop_instance_uid=handle.sop_instance_uid,
        transfer_syntax_uid=location.transfer_syntax_uid,
    )
    skipped = location.data_set_offset
    return Whole(head, skipped, len(head) + location.size_bytes - skipped)


async def file_chunks(
    service: Service, handle: Handle, first: int = 0, stop: int | None = None
) -> AsyncGenerator[Chunk, None]:
    """One instance's Part 10 file as it lies, or the bytes first..stop-1 of it, in chunks."""
    whole = whole_of(handle)
    with service.archive.retriever.open(handle) as file:
        async for chunk in whole.read(file, first, whole.size if stop is None else stop):
            yield chunk


async def file_sent(
    service: Service, request: Request, handle: Handle
) -> AsyncGenerator[Part, None]:
    """The same whole; unread, where that can be."""
    if not (service.archive.retriever.is_here and sends_files(request)):
        async for chunk in file_chunks(service, handle):
            yield chunk
        return
    whole = whole_of(handle)
    with service.archive.retriever.open(handle) as file:
        if whole.head:
            yield whole.head
        yield FilePiece(file, whole.skipped, whole.size - len(whole.head))
