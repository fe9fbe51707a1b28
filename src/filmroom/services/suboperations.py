"""What C-MOVE and C-GET share: counts, the choice of a context, files opened ahead (PS3.4 C.4.2).

An instance leaves as it is stored whenever the receiver takes its transfer syntax; only
when that was refused is it transcoded to one that was taken, and never to one that loses
something: a receiver that takes nothing else does not get it. Files are read with ranged
reads as the wire asks for them: one in flight, the next one already open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from filmroom.archive.errors import ArchiveError, Unsupported
from filmroom.archive.records import Handle
from filmroom.archive.retrieve import OpenFile
from filmroom.archive.stores import Staged
from filmroom.dicom import uids
from filmroom.dimse.negotiation import PresentationContext
from filmroom.pixel.errors import NoCodec, PixelError
from filmroom.services import outcomes

log = logging.getLogger(__name__)

PENDING_EVERY_SECONDS = 1.0
FIRST_BYTES = 1024 * 1024  # of a file, at hand before it is sent
SPOOLED_BYTES = 2 * 1024 * 1024  # of a transcoded data set kept in memory
FAILED_UIDS = 10_000  # listed at the end; further ones are only counted
FALLBACK_SYNTAXES = (uids.EXPLICIT_VR_LE, uids.IMPLICIT_VR_LE)
# What else an instance may be recoded to, when a receiver takes no plain syntax; all lossless.
LOSSLESS_SYNTAXES = (
    *FALLBACK_SYNTAXES,
    uids.DEFLATED_EXPLICIT_VR_LE,
    uids.JPEG_LS_LOSSLESS,
    uids.JPEG_LOSSLESS_SV1,
    uids.JPEG_LOSSLESS,
    uids.JPEG_2000_LOSSLESS,
    uids.JPEG_2000,  # reversible
    uids.HTJ2K_LOSSLESS,
    uids.HTJ2K_LOSSLESS_RPCL,
    uids.HTJ2K,  # reversible
    uids.RLE_LOSSLESS,
    uids.JPEG_XL_LOSSLESS,
    uids.DEFLATED_IMAGE_FRAME,
)
MAX_CONTEXTS = 128  # in one association: odd IDs 1-255  PS3.8 9.3.2.2


class Source(Protocol):
    """The data set of one instance, to be read once from start to end."""

    size: int

    async def ready(self, length: int, /) -> None: ...
    def read(self, length: int, /) -> bytes | memoryview: ...
    def close(self) -> None: ...


class Files(Protocol):
    """What we need of archive.retrieve.Retriever."""

    def open(self, handle: Handle, /) -> OpenFile: ...
    def stage(self) -> Staged: ...


# A stored data set in another transfer syntax, in pieces; see archive.convert.data_set_as.
Transcode = Callable[[Handle, str], AsyncIterator[bytes]]

Kind = tuple[str, str]  # (SOP class, transfer syntax) of an instance as it is stored
Proposed = tuple[str, list[str]]  # one presentation context: abstract and transfer syntaxes
T = TypeVar("T")


def kind_of(handle: Handle) -> Kind:
    """What decides about the context that a held instance needs."""
    return handle.sop_class_uid, handle.location.transfer_syntax_uid


def proposal(kinds: Iterable[Kind]) -> list[Proposed]:
    """The contexts to propose for these: per class each stored syntax alone, then the plain.

    One syntax per context leaves the receiver no choice but yes or no, so that whatever
    it can take as stored it gets as stored.
    """
    stored: dict[str, dict[str, None]] = {}
    for sop_class_uid, transfer_syntax_uid in kinds:
        stored.setdefault(sop_class_uid, {})[transfer_syntax_uid] = None
    contexts: list[Proposed] = []
    for sop_class_uid, syntaxes in stored.items():
        contexts += ((sop_class_uid, [syntax]) for syntax in syntaxes)
        if missing := [syntax for syntax in FALLBACK_SYNTAXES if syntax not in syntaxes]:
            contexts.append((sop_class_uid, missing))
    return contexts


def batches(items: Iterable[T], kind: Callable[[T], Kind]) -> Iterator[list[T]]:
    """Cut so that each part needs no more contexts than one association may propose."""
    batch: list[T] = []
    syntaxes: dict[str, set[str]] = {}
    for item in items:
        sop_class_uid, transfer_syntax_uid = kind(item)
        syntaxes.setdefault(sop_class_uid, set()).add(transfer_syntax_uid)
        if sum(len(each) + 1 for each in syntaxes.values()) > MAX_CONTEXTS:
            yield batch
            batch, syntaxes = [], {sop_class_uid: {transfer_syntax_uid}}
        batch.append(item)
    if batch:
        yield batch


@dataclass(slots=True)
class Counts:
    """Sub-operations by outcome (PS3.7 9.1.4.1.7-10)."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    stopped: str = ""  # why no more is to be prepared
    reason: str = ""  # why the first that could not be made ready was not

    def note(self, handle: Handle, status: int) -> None:
        """Count one finished sub-operation by the status of its C-STORE-RSP."""
        self.remaining = max(self.remaining - 1, 0)  # what came meanwhile was not counted
        if status == outcomes.SUCCESS:
            self.completed += 1
        elif is_warning(status):
            self.warning += 1
        else:
            self.failed += 1
            if len(self.failed_uids) < FAILED_UIDS:
                self.failed_uids.append(handle.sop_instance_uid)

    def unprepared(self, handle: Handle, error: ArchiveError) -> None:
        """Count one that could not be made ready to be sent."""
        self.reason = self.reason or error.message
        self.note(handle, outcomes.PROCESSING_FAILURE)

    def fail_rest(self) -> None:
        """Count what was not come to as failed, without knowing what it is."""
        self.failed, self.remaining = self.failed + self.remaining, 0

    @property
    def final_status(self) -> int:
        """How the whole ended (PS3.4 C.4.2.1.5), unless it was cancelled."""
        if self.failed == self.warning == 0:
            return outcomes.SUCCESS
        if self.completed == self.warning == 0:
            return outcomes.SUB_OPERATIONS_FAILED
        return outcomes.SOME_FAILED


def is_warning(status: int) -> bool:
    """True for the statuses of type Warning (PS3.7 C.1.2)."""
    return status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)


class Pace:
    """Says when the next pending response is due: at once, then every second."""

    def __init__(self, every_seconds: float = PENDING_EVERY_SECONDS) -> None:
        self._every = every_seconds
        self._due = 0.0

    def is_due(self) -> bool:
        """True when it is; the next one is then due a period later."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + self._every
        return True


class FileSource:
    """The data set inside a stored Part 10 file."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._at = file.data_set_offset
        self.size = file.size_bytes - file.data_set_offset
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_WILLNEED)

    async def ready(self, length: int) -> None:
        """Return when the next bytes are at hand."""
        await self._file.ready(self._at, length)

    def read(self, length: int) -> bytes:
        """The next bytes, at most `length`."""
        piece = self._file.read(self._at, length)
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()


class SpooledSource:
    """A data set that was transcoded: in memory, or in a nameless file when it is large.

    Its length must be known before the first byte is sent.
    """

    def __init__(self, held: bytes | bytearray, file: Staged | None, size: int) -> None:
        self._held = memoryview(held)
        self._file = file
        self._at = 0
        self.size = size

    async def ready(self, length: int) -> None:
        """They are at hand."""

    def read(self, length: int) -> bytes | memoryview:
        """The next bytes, at most `length`."""
        at, self._at = self._at, self._at + length
        if self._file is not None:
            return self._file.read(at, length)
        return self._held[at : at + length]

    def close(self) -> None:
        """Forget it."""
        if self._file is not None:
            self._file.discard()


async def spooled(pieces: AsyncIterator[bytes], stage: Callable[[], Staged]) -> SpooledSource:
    """All pieces as one source; Unsupported when the pixels cannot be had in that syntax.

    stage: gives room for a large one; Unavailable when there is none.
    """
    held, file, size = bytearray(), None, 0
    try:
        async for piece in pieces:
            size += len(piece)
            if file is None and size <= SPOOLED_BYTES:
                held += piece
                continue
            if file is None:
                file = stage()
                await asyncio.to_thread(file.write, bytes(held))
                held.clear()
            await asyncio.to_thread(file.write, piece)
    except BaseException as error:
        if file is not None:
            file.discard()
        if isinstance(error, PixelError):
            raise Unsupported(error.message) from error
        raise
    return SpooledSource(held, file, size)


class Contexts:
    """The contexts a receiver accepted; `choose` finds the one for an instance."""

    def __init__(self, accepted: Iterable[PresentationContext]) -> None:
        self._exact: dict[Kind, int] = {}
        self._others: dict[str, list[tuple[str, int]]] = {}
        for context in accepted:
            key = (context.abstract_syntax, context.transfer_syntax)
            self._exact.setdefault(key, context.id)
            self._others.setdefault(key[0], []).append((key[1], context.id))

    def take_as_stored(self, kind: Kind) -> bool:
        """True when such an instance can be sent without transcoding."""
        return kind in self._exact

    def choose(self, kind: Kind) -> tuple[int, str]:
        """(context ID, transfer syntax): the stored one if it was accepted, else another.

        Raises Unsupported as `choices` does.
        """
        return self.choices(kind)[0]

    def choices(self, kind: Kind) -> list[tuple[int, str]]:
        """All that may be tried, the best first: native ones, which whatever can be decoded
        can become, before compressed ones. The stored syntax is the only choice if it is one.

        Raises Unsupported when the SOP class was not accepted, or only in lossy syntaxes.
        """
        exact = self._exact.get(kind)
        if exact is not None:
            return [(exact, kind[1])]
        others = self._others.get(kind[0])
        if not others:
            raise Unsupported("the receiver does not take this SOP class")
        ids = dict(reversed(others))  # of several contexts for one syntax the first
        # A JPEG that was packed into JPEG XL comes out again as it was.
        packed = kind[1] == uids.JPEG_XL_JPEG_RECOMPRESSION
        best = (uids.JPEG_BASELINE, *LOSSLESS_SYNTAXES) if packed else LOSSLESS_SYNTAXES
        found = [(ids[syntax], syntax) for syntax in best if syntax in ids]
        if not found:
            raise Unsupported("the receiver takes this SOP class in lossy syntaxes only")
        return found


@dataclass(frozen=True, slots=True)
class Prepared:
    """One instance ready to be sent."""

    handle: Handle
    context_id: int
    source: Source


async def prepare(
    handle: Handle, contexts: Contexts, files: Files, transcode: Transcode | None
) -> Prepared:
    """Open what is to be sent; raises ArchiveError when it cannot be."""
    choices = contexts.choices(kind_of(handle))
    context_id, syntax = choices[0]
    if syntax == handle.location.transfer_syntax_uid:
        source = FileSource(files.open(handle))
        try:
            await source.ready(FIRST_BYTES)  # what is gone or away is this one's failure alone
        except BaseException:
            source.close()
            raise
        return Prepared(handle, context_id, source)
    if transcode is None:
        raise Unsupported("the receiver does not take the stored transfer syntax")
    for context_id, syntax in choices[:-1]:
        try:
            spool = await spooled(transcode(handle, syntax), files.stage)
            return Prepared(handle, context_id, spool)
        except Unsupported as error:
            if not isinstance(error.__cause__, NoCodec):
                raise
    context_id, syntax = choices[-1]
    return Prepared(handle, context_id, await spooled(transcode(handle, syntax), files.stage))


class Queue:
    """The instances still to be sent, the next one prepared while one is on the wire."""

    def __init__(
        self,
        pages: AsyncIterator[Sequence[Handle]],
        counts: Counts,
        files: Files,
        transcode: Transcode | None,
    ) -> None:
        self._pages = pages
        self._waiting: deque[Handle] = deque()
        self._counts = counts
        self._files = files
        self._transcode = transcode
        self._ready: Prepared | None = None
        self._trouble: ArchiveError | None = None  # found while looking ahead

    async def has_more(self) -> bool:
        """Whether anything is left to be sent."""
        return self._ready is not None or await self._first() is not None

    async def next(self, contexts: Contexts) -> Prepared | None:
        """The next one to send; those that cannot be are counted as failed on the way."""
        prepared, self._ready = self._ready, None
        return prepared or await self._prepare(contexts)

    async def look_ahead(self, contexts: Contexts) -> None:
        """Open the next one, while the kernel is still busy with the last."""
        if self._ready:
            return
        try:
            first = await self._first()
        except ArchiveError as error:  # not yet: one is being sent
            self._trouble = error
            return
        if first is not None and contexts.take_as_stored(kind_of(first)):
            self._ready = await self._prepare(contexts)  # transcoding is not for now

    async def _first(self) -> Handle | None:
        """The first of those that wait, of the next page if need be."""
        if self._trouble is not None:
            raise self._trouble
        if not self._waiting:
            async for page in self._pages:
                self._waiting.extend(page)
                break
        return self._waiting[0] if self._waiting else None

    async def _prepare(self, contexts: Contexts) -> Prepared | None:
        while (handle := await self._first()) is not None:
            self._waiting.popleft()
            try:
                return await prepare(handle, contexts, self._files, self._transcode)
            except ArchiveError as error:
                log.warning(
                    "cannot send %s: %s %s", handle.sop_instance_uid, error.message, error.detail
                )
                self._counts.unprepared(handle, error)
                if self._counts.stopped:
                    self.give_back(handle)
                    break
        return None

    def give_back(self, handle: Handle) -> None:
        """One that was not sent after all: it is the next again."""
        self._waiting.appendleft(handle)

    async def fail_all(self) -> None:
        """Count everything that is left as failed."""
        self.close()
        while await self._first() is not None:
            self._counts.note(self._waiting.popleft(), outcomes.PROCESSING_FAILURE)

    def close(self) -> None:
        """Put back what was opened ahead."""
        if self._ready is not None:
            self._ready.source.close()
            self._waiting.appendleft(self._ready.handle)
            self._ready = None
