"""Which transfer syntax an instance is sent in, and its Part 10 file in that syntax."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import TYPE_CHECKING

from filmroom import __version__
from filmroom.archive import convert
from filmroom.archive.records import Handle
from filmroom.dicom import part10
from filmroom.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE, TRANSFER_SYNTAXES
from filmroom.dicomweb.answers import Chunk
from filmroom.dicomweb.negotiate import AS_STORED, Form
from filmroom.pixel.transcode import can_transcode

if TYPE_CHECKING:
    from filmroom.dicomweb.service import Service

UNCOMPRESSED = frozenset({EXPLICIT_VR_LE, IMPLICIT_VR_LE})


def target_of(handle: Handle, form: Form) -> str | None:
    """The syntax to send an instance in, `*` for as it lies; None when `form` cannot be."""
    return target_for(handle.location.transfer_syntax_uid, bool(handle.frames), form)


@lru_cache(maxsize=1024)
def target_for(stored: str, has_frames: bool, form: Form) -> str | None:
    """The same for all instances that are alike.

    Without a demand of the client's, what is only held in a lossy or undecodable form
    goes out as it lies (PS3.18 8.7.3.2).
    """
    wanted = form.transfer_syntax_uid
    if wanted in (AS_STORED, stored):
        return AS_STORED
    syntax = TRANSFER_SYNTAXES[stored]
    costly = syntax.lossy or not can_transcode(stored, wanted)
    if form.by_default and syntax.encapsulated and has_frames and costly:
        return AS_STORED
    if not has_frames:  # no pixels to point at: compression has no meaning
        wanted = wanted if wanted in UNCOMPRESSED else EXPLICIT_VR_LE
        return AS_STORED if stored == wanted else wanted
    return wanted if can_transcode(stored, wanted) else None


def etag_of(handle: Handle, *kind: object, made: bool) -> str:
    """A strong validator of what is sent of an instance, quoted; `kind` tells its forms apart.

    made: decoded or recoded by us, so that another version may make other bytes of it.
    """
    told = [handle.etag, *map(str, kind), *([__version__] if made else [])]
    return f'"{"-".join(told)}"'


async def instance_chunks(service: Service, handle: Handle, wanted: str) -> AsyncIterator[Chunk]:
    """A Part 10 file in another transfer syntax, frame by frame."""
    yield part10.meta_header(
        sop_class_uid=handle.sop_class_uid,
        sop_instance_uid=convert.instance_uid_as(handle, wanted),
        transfer_syntax_uid=wanted,
    )
    pieces = convert.data_set_as(service.archive.retriever, service.pool, handle, wanted)
    async for piece in pieces:
        yield piece


async def frame_as(service: Service, handle: Handle, frame_index: int, wanted: str) -> bytes:
    """One frame (0-based), decoded or recoded in a worker; not padded."""
    retriever = service.archive.retriever
    return await convert.frame_as(retriever, service.pool, handle, frame_index, wanted)
