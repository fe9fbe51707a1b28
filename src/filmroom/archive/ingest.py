"""The one door in: stage, scan, check, then hand over to be made durable.

The data set goes to disk as it arrives, byte for byte; only a File Meta Information of
our own is put before it. The head stays in memory until it has been scanned, so memory
does not grow with the object.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from filmroom.archive.committer import Committer
from filmroom.archive.describe import Described, Describer
from filmroom.archive.digest import Digest
from filmroom.archive.errors import ArchiveError, Conflict, Unintelligible
from filmroom.archive.examine import examine
from filmroom.archive.records import Location, NewInstance, Origin, Stored
from filmroom.archive.stores import Blobs, Clock, Staged
from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.scan import Scan, scan
from filmroom.dicom.uids import TRANSFER_SYNTAXES, is_valid_uid

log = logging.getLogger(__name__)

HEAD_BYTES = 64 * 1024  # of a data set, kept for the scan; a longer header is read back
META_BYTES = 64 * 1024  # longest File Meta Information we look for
EXAMINED_INLINE = 1024 * 1024  # larger objects are examined in a thread, deflated ones always


@dataclass(frozen=True, slots=True)
class _Expected:
    """What was announced with the data set; empty where nothing was."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


class Ingest:
    """Opens intakes; see Intake."""

    def __init__(self, blobs: Blobs, committer: Committer, clock: Clock) -> None:
        self._blobs = blobs
        self._committer = committer
        self._clock = clock
        self._describer = Describer()

    def open(
        self,
        origin: Origin,
        transfer_syntax_uid: str,
        *,
        sop_class_uid: str | None = None,
        sop_instance_uid: str | None = None,
        study_instance_uid: str | None = None,
    ) -> Intake:
        """Begin to receive a data set in this transfer syntax.

        The UIDs, where given, are those the sender announced: the data set must agree.
        Raises Unintelligible for an unknown transfer syntax, Unavailable without room.
        """
        expected = _Expected(sop_class_uid or "", sop_instance_uid or "", study_instance_uid or "")
        if transfer_syntax_uid not in TRANSFER_SYNTAXES:
            raise Unintelligible("unknown transfer syntax", detail=repr(transfer_syntax_uid[:80]))
        return Intake(self, origin, expected, transfer_syntax_uid)

    def open_file(
        self,
        origin: Origin,
        *,
        study_instance_uid: str | None = None,
        is_kept_already: bool = False,
    ) -> Intake:
        """Begin to receive a Part 10 file (PS3.10 7); its meta header says the rest.

        is_kept_already: it comes out of quarantine, and is not put there twice.
        """
        expected = _Expected(study_instance_uid=study_instance_uid or "")
        return Intake(self, origin, expected, "", is_kept_already=is_kept_already)


class Intake:
    """One instance on its way in: write, write, then commit or abandon.

    `write` may be called from any one thread or loop at a time; `commit` from any loop.
    """

    def __init__(
        self,
        ingest: Ingest,
        origin: Origin,
        expected: _Expected,
        transfer_syntax_uid: str,
        *,
        is_kept_already: bool = False,
    ) -> None:
        self._ingest = ingest
        self._is_kept_already = is_kept_already
        self._origin = origin
        self._expected = expected
        self._transfer_syntax_uid = transfer_syntax_uid
        self._received_at = ingest._clock.now()
        self._digest = Digest()
        self._head = bytearray()
        self._scan: Scan | None = None
        self._meta = bytearray() if not transfer_syntax_uid else None  # a file's, until parsed
        self._file_says = "", ""  # SOP class and instance, by a file's own meta header
        self._early = bytearray()  # until the data set names the instance
        self._enough = 0  # bytes before it is worth another look at what has come so far
        self._failure: Unintelligible | None = None
        self._data_set_offset = 0
        self._staged: Staged | None = ingest._blobs.stage()
        announced = expected.sop_class_uid, expected.sop_instance_uid
        if transfer_syntax_uid and all(map(is_valid_uid, announced)):
            try:
                self._begin(*announced)
            except BaseException:
                self.abandon()
                raise

    @property
    def claimed(self) -> tuple[str, str]:
        """(SOP Class UID, SOP Instance UID) as far as known, for a report of failure."""
        if self._scan is not None:
            values = self._scan.values
            texts = (values.get(tag, b"").rstrip(b"\0 ") for tag in (0x00080016, 0x00080018))
            sop_class_uid, sop_instance_uid = (t.decode("ascii", "replace")[:64] for t in texts)
            return sop_class_uid, sop_instance_uid
        return self._expected.sop_class_uid, self._expected.sop_instance_uid

    # -- in -----------------------------------------------------------------------------------
    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; they are consumed before this returns.

        Raises Unavailable only: what cannot be understood is still kept to the end, so
        that `commit` can put the whole of it into quarantine and say why.
        """
        if self._failure is None and self._meta is not None:
            data = self._write_meta(data)
        if len(data):
            self._write_data_set(data)

    def _write_meta(self, data: bytes | memoryview, *, final: bool = False) -> bytes:
        """Collect a file's head until its File Meta Information is whole."""
        assert self._meta is not None
        self._meta += data
        if len(self._meta) < self._enough and not final:
            return b""
        try:
            meta = part10.parse_meta(bytes(self._meta), complete=final)
        except NeedMore as more:
            if len(self._meta) > META_BYTES:
                self._fail("no File Meta Information found")
            self._enough = min(max(more.at_least, 2 * len(self._meta)), META_BYTES + 1)
            return b""
        except Malformed as error:
            self._fail(str(error))
            return b""
        if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
            self._fail("unknown transfer syntax")
            return b""
        self._transfer_syntax_uid = meta.transfer_syntax_uid
        rest = bytes(self._meta[meta.data_set_offset :])
        self._meta = None
        self._enough = 0
        self._file_says = meta.sop_class_uid, meta.sop_instance_uid
        return rest

    def _write_data_set(self, data: bytes | memoryview) -> None:
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        if self._data_set_offset == 0 and self._failure is None and not self._begin_late():
            self._early += data
            return
        staged = self._written()
        staged.write(data)
        self._digest.follow(staged, self._data_set_offset, data)

    def _begin_late(self, *, final: bool = False) -> bool:
        """Write our meta header once the data set has named the instance.

        Meta headers that were not brought up to date with their data set are common in files.
        """
        if TRANSFER_SYNTAXES[self._transfer_syntax_uid].deflated:
            return self._begin_as_file_says()
        if len(self._head) < self._enough and not final:
            return False
        try:
            found = scan(bytes(self._head), self._transfer_syntax_uid, complete=final)
        except NeedMore as more:
            self._enough = min(max(more.at_least, 2 * len(self._head)), HEAD_BYTES)
            return len(self._head) >= HEAD_BYTES and self._begin_as_file_says()
        except Malformed as error:
            self._fail(str(error))
            return True
        self._scan = found
        sop_class_uid, sop_instance_uid = self.claimed
        if not is_valid_uid(sop_instance_uid):
            self._fail("SOP Instance UID is missing or not a valid UID")
            return True
        if not is_valid_uid(sop_class_uid):
            self._fail("SOP Class UID is missing or not a valid UID")
            return True
        self._begin(sop_class_uid, sop_instance_uid)
        self._flush_early()
        return True

    def _begin_as_file_says(self) -> bool:
        """A header too long to wait for: the meta header names the instance, and must be right."""
        sop_class_uid, sop_instance_uid = self._file_says
        if not is_valid_uid(sop_class_uid) or not is_valid_uid(sop_instance_uid):
            self._fail("no SOP Instance UID near the start")
            return True
        self._expected = replace(
            self._expected, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid
        )
        self._begin(sop_class_uid, sop_instance_uid)
        self._flush_early()
        return True

    def _begin(self, sop_class_uid: str, sop_instance_uid: str) -> None:
        header = part10.meta_header(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=self._transfer_syntax_uid,
            source_ae_title=self._origin.name if self._origin.kind == "dimse" else "",
        )
        self._written().write(header)
        self._data_set_offset = len(header)

    def _flush_early(self) -> None:
        early, self._early = self._early, bytearray()
        if early:
            self._written().write(bytes(early))

    def _fail(self, message: str) -> None:
        """Remember why this cannot be filed; from here on the bytes are only kept."""
        self._failure = self._unintelligible(message)
        if self._meta:
            self._written().write(bytes(self._meta))
        self._flush_early()

    def _written(self) -> Staged:
        if self._staged is None:
            raise Unintelligible("the intake is closed")
        return self._staged

    # -- done ------------------------------------------------------------------------------------
    async def commit(self) -> Stored:
        """Check the whole, and return when bytes and rows are on disk (core.md 1).

        Raises Unintelligible, Conflict, Refused or Unavailable; then nothing is held of
        it, and a complete but unusable file lies in quarantine.
        """
        try:
            staged = self._written()
            staged.begin_write_back()
            if staged.size > EXAMINED_INLINE or self._is_deflated():
                loop = asyncio.get_running_loop()
                instance = await loop.run_in_executor(None, self._examine)
            else:
                instance = self._examine()
        except (Unintelligible, Conflict) as error:
            await self._quarantine(error)
            raise
        except BaseException:
            self.abandon()
            raise
        self._staged = None  # the committer's from here on
        return await self._ingest._committer.commit(staged, instance, self._digest)

    def abandon(self) -> None:
        """Forget everything; safe to call at any time, any number of times."""
        staged, self._staged = self._staged, None
        if staged is not None:
            staged.discard()

    def _is_deflated(self) -> bool:
        syntax = TRANSFER_SYNTAXES.get(self._transfer_syntax_uid)
        return syntax is not None and syntax.deflated

    async def _quarantine(self, error: ArchiveError) -> None:
        if self._is_kept_already:
            self.abandon()
        staged, self._staged = self._staged, None
        if staged is not None:
            await self._ingest._committer.set_aside(
                staged, error.message, self.claimed[1], self._origin, self._received_at
            )

    def _unintelligible(self, message: str) -> Unintelligible:
        return Unintelligible(message, detail=f"from {self._origin.kind} {self._origin.name}")

    def _examine(self) -> NewInstance:
        """Scan, check and describe what was received."""
        if self._failure is None and self._meta is not None:
            self._write_data_set(self._write_meta(b"", final=True))
        if self._data_set_offset == 0 and self._failure is None:
            self._begin_late(final=True)
        if self._failure is not None:
            raise self._failure
        whole = memoryview(self._written().view())[self._data_set_offset :]
        found, frame_table = examine(
            bytes(self._head), whole, self._transfer_syntax_uid, self._ingest._blobs.stage
        )
        self._scan = found
        described = self._ingest._describer.describe(found)
        self._agree(described)
        return self._new_instance(found, frame_table, described)

    def _agree(self, described: Described) -> None:
        """The data set must be what was announced (PS3.4 B.2.3, A900; PS3.18 10.5.1.1)."""
        expected = self._expected
        pairs = (
            ("SOP Class UID", expected.sop_class_uid, described.sop_class_uid),
            ("SOP Instance UID", expected.sop_instance_uid, described.instance.uid),
            ("Study Instance UID", expected.study_instance_uid, described.study.uid),
        )
        for name, announced, found in pairs:
            if announced and announced != found:
                raise Conflict(f"{name} differs from the one announced")

    def _new_instance(self, found: Scan, frame_table: bytes, described: Described) -> NewInstance:
        ingest = self._ingest
        key = ingest._blobs.key_for(
            self._received_at, described.study.uid, described.series.uid, described.instance.uid
        )
        location = Location(
            key,
            self._written().size,
            self._data_set_offset,
            found.header_bytes,
            b"",  # taken by the committer
            self._transfer_syntax_uid,
        )
        return described.filed(location, frame_table, self._origin, self._received_at)
