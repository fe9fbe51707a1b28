"""Series metadata as one compressed blob, made when a series goes quiet or at first need."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from filmroom.archive.errors import ArchiveError, Damaged, NotHeld, Unavailable, Unsupported
from filmroom.archive.records import Handle, Selection, SeriesMetadata
from filmroom.archive.stores import Clock, Index
from filmroom.dicom import dicomjson
from filmroom.dicom.errors import Malformed
from filmroom.dicom.notation import Buffer

log = logging.getLogger(__name__)

COMPRESSION = 6
KEPT_EVENTS = 100_000  # nobody who follows the events is expected to be further behind
TIDY_SECONDS = 600.0
AT_ONCE = 100  # series that are looked up together
SEEN_AT_ONCE = 1000  # the same, where others may be at work on most of them
OTHERS_SECONDS = 15.0  # that a series is left to the node that has received it
REMEMBERED = 10_000  # series of our own

NOTHING_SOUND = "all its stored files are damaged; send the instances again, or restore the files"

Header = Callable[[Handle], tuple[Handle, Buffer]]


@dataclass(frozen=True, slots=True)
class Metadata:
    """An answer to /metadata: the JSON array plain, gzipped, or both."""

    plain: bytes | None
    gzipped: bytes | None
    etag: str
    left_out: int = 0  # instances whose files are damaged

    @property
    def body(self) -> bytes:
        """The JSON array, inflated if need be."""
        if self.plain is not None:
            return self.plain
        return gzip.decompress(self.gzipped or b"")


def bulk_base(handle: Handle) -> str:
    """Where an instance's bulk data are to be had: path-absolute, so that no proxy breaks it."""
    return (
        f"/dicom-web/studies/{handle.study_instance_uid}/series/{handle.series_instance_uid}"
        f"/instances/{handle.sop_instance_uid}/bulkdata/"
    )


def header_json(handle: Handle, header: Buffer) -> bytes:
    """One instance's header as a DICOM JSON object (PS3.18 F); Unsupported if it has none."""
    base = bulk_base(handle)
    try:
        return dicomjson.encode(
            header,
            handle.location.transfer_syntax_uid,
            lambda path: base + path,
            pixel_tag=0x7FE00010 if handle.frames else None,
        )
    except Malformed as error:
        raise Unsupported("the header cannot be written as JSON", detail=str(error)) from error


class MetadataShelf:
    """Makes, keeps and finds series metadata."""

    def __init__(self, index: Index, header: Header) -> None:
        """header: reads the header of one instance, as it came; with the handle it had then."""
        self._index = index
        self._header = header

    def metadata(self, study: str, series: str | None) -> Metadata:
        """Of one series or a whole study; blobs where they lie ready, made where not."""
        if series is not None:
            return self.ready(study, series) or self.make(study, series)
        handles = self._index.instances(Selection(study_instance_uids=(study,)))
        if not handles:
            raise NotHeld("no such study")
        parts = []
        for uid, members in groupby(handles, key=lambda handle: handle.series_instance_uid):
            parts.append(self.ready(study, uid) or self._build(list(members)))
        left_out = sum(part.left_out for part in parts)
        if left_out == len(handles):
            raise Damaged(NOTHING_SOUND)
        if len(parts) == 1:
            return parts[0]
        bodies = [part.body[1:-1] for part in parts]
        etag = hashlib.sha256("".join(part.etag for part in parts).encode()).hexdigest()[:32]
        return Metadata(b"[" + b",".join(filter(None, bodies)) + b"]", None, etag, left_out)

    def ready(self, study: str, series: str) -> Metadata | None:
        """A series' blob if it lies ready; as quick as the index."""
        shelved = self._index.series_metadata(study, series)
        return None if shelved is None else Metadata(None, shelved.gzipped, shelved.etag)

    def make(self, study: str, series: str) -> Metadata:
        """Build a series' blob, and keep it if it is whole.

        Raises NotHeld when there is no such series, Damaged when all its files are.
        """
        revision = self._index.series_revision(study, series)
        selection = Selection(study_instance_uids=(study,), series_instance_uids=(series,))
        handles = self._index.instances(selection)
        if revision is None or not handles:
            raise NotHeld("no such series")
        built = self._build(handles)
        if built.left_out == len(handles):
            raise Damaged(NOTHING_SOUND)
        if not built.left_out and built.gzipped is not None:
            blob = SeriesMetadata(built.gzipped, built.etag, len(handles))
            self._index.put_series_metadata(study, series, blob, revision)
        return built

    def _build(self, handles: list[Handle]) -> Metadata:
        headers = []
        for handle in handles:
            with contextlib.suppress(Damaged):
                headers.append(header_json(*self._header(handle)))
        body = b"[" + b",".join(headers) + b"]"
        etag = hashlib.sha256(body).hexdigest()[:32]
        gzipped = gzip.compress(body, COMPRESSION, mtime=0)
        return Metadata(None, gzipped, etag, len(handles) - len(headers))


class Settler:
    """A thread that makes the metadata of every series that has gone quiet, and says that it has.

    Of several nodes the one that received a series has its files at hand: the others leave it
    the time to do this.
    """

    def __init__(
        self, index: Index, shelf: MetadataShelf, clock: Clock, quiet_seconds: float
    ) -> None:
        self._index = index
        self._shelf = shelf
        self._clock = clock
        self._quiet_seconds = quiet_seconds
        self._given_up: dict[str, int] = {}  # series -> its revision
        self._ours: dict[str, None] = {}  # series in which we stored something, newest last
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)

    def start(self) -> None:
        """Begin to look, about once a second."""
        self._thread.start()

    def stop(self) -> None:
        """End after the series in hand. Harmless when it was never started."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def heed(self, series: str) -> None:
        """We have stored something in this series. From any thread."""
        self._ours.pop(series, None)
        self._ours[series] = None
        if len(self._ours) > REMEMBERED:
            self._ours.pop(next(iter(self._ours)), None)

    def _due(self) -> list[tuple[str, str]]:
        before = self._clock.now() - self._quiet_seconds
        if self._index.embedded:
            return self._index.quiet_series(before, AT_ONCE + len(self._given_up))
        seen = SEEN_AT_ONCE + len(self._given_up)
        left_over = set(self._index.quiet_series(before - OTHERS_SECONDS, seen))
        quiet = self._index.quiet_series(before, seen)
        return [each for each in quiet if each[1] in self._ours or each in left_over]

    def settle(self) -> int:
        """Make what is due, and say that it has settled; returns how many series were made."""
        made = 0
        for study, series in self._due():
            if self._ended.is_set():
                break
            revision = self._index.series_revision(study, series)
            if revision is None or self._given_up.get(series) == revision:
                continue
            is_made, is_hopeless = self._prepare(study, series)
            made += is_made
            self._index.settled(study, series, revision, self._clock.now())
            if is_hopeless:
                self._given_up[series] = revision
        return made

    def _prepare(self, study: str, series: str) -> tuple[bool, bool]:
        """Have the blob of a series ready: (it was made, it cannot be until something changes)."""
        try:
            if self._shelf.ready(study, series) is not None:
                return True, False  # somebody has asked for it before it was quiet
            left_out = self._shelf.make(study, series).left_out
            return True, bool(left_out)  # made for whoever asks, until its files are sound
        except Unavailable:
            return False, False  # what is away now may be there in a second
        except ArchiveError as error:
            log.warning(
                "series metadata not made",
                extra={"series_instance_uid": series, "detail": error.detail},
            )
            return False, True  # said once, not every second

    def _run(self) -> None:
        pause = 1.0
        tidy_at = self._clock.now()
        while not self._ended.wait(pause):
            try:
                made = self.settle()
                if self._clock.now() >= tidy_at:
                    self._index.trim_events(KEPT_EVENTS)
                    tidy_at = self._clock.now() + TIDY_SECONDS
            except ArchiveError as error:
                log.warning("quiet series have to wait", extra={"detail": error.detail})
                made = 0
            except Exception:
                log.exception("looking for quiet series failed")
                made = 0
            pause = 0.05 if made else min(1.0, max(0.2, self._quiet_seconds))
