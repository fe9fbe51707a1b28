"""The files are the truth: read them again and make the index anew (core.md 1.4)."""

from __future__ import annotations

import hashlib
import logging
import mmap
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby

from filmroom.archive.describe import Describer
from filmroom.archive.errors import ArchiveError, Conflict, Unintelligible
from filmroom.archive.examine import examine
from filmroom.archive.received import META_MARGIN, record_in
from filmroom.archive.records import Held, Location, NewInstance, Origin
from filmroom.archive.soundness import is_passing
from filmroom.archive.stores import Blobs, Index
from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.notation import FORGET_BYTES, forget

log = logging.getLogger(__name__)

BATCH = 64
_HEAD_BYTES = 64 * 1024
SPARED_SECONDS = 3600.0  # that a file is kept of which there is another form
_DAY = len("YYYY/MM/DD")


@dataclass(slots=True)
class Report:
    """What a run over the store found."""

    files: int = 0
    added: int = 0
    duplicates: int = 0
    removed: int = 0  # of those: the same content was held elsewhere
    unreadable: int = 0
    lost: int = 0  # were marked as damaged, and have no file that can be read


def reindex(
    index: Index, blobs: Blobs, progress: Callable[[Report], None] = lambda report: None
) -> Report:
    """Forget all studies and read every stored file again.

    Files that are known to be damaged stay marked: they are not taken for the truth.
    """
    index.clear()
    report = adopt(index, blobs, _by_arrival(blobs), progress, replacing=True)
    index.settle_all()
    for uid in index.integrity.settle():
        report.lost += 1
        log.warning("a damaged file is gone for good", extra={"sop_instance_uid": uid})
    return report


def adopt(
    index: Index,
    blobs: Blobs,
    keys: Iterable[str],
    progress: Callable[[Report], None] = lambda report: None,
    *,
    replacing: bool = False,
    removing: bool = False,
) -> Report:
    """Add rows for stored files that have none. Where the file of a row is gone, and this one is
    the same instance, perhaps in another form, it takes its place. Files are not touched unless:
    replacing: a file that was stored to replace another (policy `replace`) does so again,
    should that other one still be there. removing: a file that was acknowledged to nobody, and
    whose like was sent again and is held under another key, goes.
    """
    report = Report()
    describer = Describer()
    to_go: set[str] = set()  # keys of files that were to go, whatever points at them meanwhile

    def add(batch: list[NewInstance]) -> None:
        to_go.update(index.smaller.spares_among([each.location.key for each in batch]))
        for instance in _add(index, batch, report):
            if _fills_a_gap(index, blobs, instance):
                index.replace(instance)
                report.added += 1
                continue
            is_settled = replacing and _settled_between_forms(index, instance)
            if replacing and not is_settled and _is_replacement(index, instance.location.key):
                replaced = index.replace(instance)
                if replaced in to_go:
                    index.smaller.intend(replaced, SPARED_SECONDS)
            if removing and _is_spare(index, blobs, instance):
                blobs.remove(instance.location.key)
                report.removed += 1

    batch: list[NewInstance] = []
    for key in keys:
        report.files += 1
        try:
            batch.append(read_back(blobs, key, describer))
        except ArchiveError as error:
            if is_passing(error):  # that is no file's fault: none may be left out for it
                raise
            report.unreadable += 1
            log.warning("not indexed", extra={"key": key, "detail": error.message})
        if len(batch) >= BATCH:
            add(batch)
            batch.clear()
            progress(report)
    add(batch)
    progress(report)
    return report


def read_back(blobs: Blobs, key: str, describer: Describer) -> NewInstance:
    """What the index should say of one stored file; Unintelligible when it is not whole."""
    with closing(blobs.open(key)) as file:
        size, written_at = file.size, file.written_at
        if not size:
            raise Unintelligible("the file is empty")
        file.fetch(0, size)
        content = memoryview(mmap.mmap(file.fd, size, prot=mmap.PROT_READ))
    try:
        meta = part10.parse_meta(bytes(content[:_HEAD_BYTES]))
    except (Malformed, NeedMore) as error:
        raise Unintelligible("no File Meta Information") from error
    whole = content[meta.data_set_offset :]
    head = bytes(whole[:_HEAD_BYTES])
    found, frame_table = examine(head, whole, meta.transfer_syntax_uid, blobs.stage)
    described = describer.describe(found)
    location = Location(
        key,
        size,
        meta.data_set_offset,
        found.header_bytes,
        _digest(whole),
        meta.transfer_syntax_uid,
    )
    origin = Origin("reindex", meta.source_ae_title)
    filed = described.filed(location, frame_table, origin, written_at)
    try:
        record = record_in(bytes(content[: meta.data_set_offset + META_MARGIN]))
    except Unintelligible as error:  # a scrub will mark it: what it shows is sound all the same
        log.warning("what was received is lost", extra={"key": key, "detail": error.message})
        record = None
    if record is None:
        return filed
    came_at = record.received_at or written_at
    return replace(filed, received=record.received, received_at=came_at)


def _digest(whole: memoryview) -> bytes:
    digest = hashlib.sha256()
    for start in range(0, len(whole), FORGET_BYTES):
        digest.update(whole[start : start + FORGET_BYTES])
        forget(whole)
    return digest.digest()


def _add(index: Index, batch: list[NewInstance], report: Report) -> list[NewInstance]:
    """Rows for what is not held; what was, under this key or another, is returned."""
    if not batch:
        return []
    try:
        new = index.add(batch)
    except Conflict as error:
        if len(batch) > 1:
            return [held for instance in batch for held in _add(index, [instance], report)]
        report.unreadable += 1
        log.warning("not indexed", extra={"key": batch[0].location.key, "detail": str(error)})
        return []
    report.added += sum(new)
    report.duplicates += len(new) - sum(new)
    return [instance for instance, is_new in zip(batch, new, strict=True) if not is_new]


def _is_spare(index: Index, blobs: Blobs, instance: NewInstance) -> bool:
    """Whether the same content is held, and there, under another key."""
    held = index.held([instance.instance.uid]).get(instance.instance.uid)
    return (
        held is not None
        and held.key != instance.location.key
        and not held.is_damaged
        and _is_same(instance, held)
        and blobs.exists(held.key)
    )


def _is_same(instance: NewInstance, held: Held) -> bool:
    """Whether both are the same instance as it came, whichever of them is stored smaller."""
    received = instance.received
    return held.is_same(instance.location) or (
        received is not None
        and (received.digest, received.transfer_syntax_uid)
        == (held.received_digest, held.received_transfer_syntax_uid)
    )


def _fills_a_gap(index: Index, blobs: Blobs, instance: NewInstance) -> bool:
    """Whether the same content is held, perhaps in another form, under a key that is gone."""
    held = index.held([instance.instance.uid]).get(instance.instance.uid)
    return (
        held is not None
        and held.key != instance.location.key
        and _is_same(instance, held)
        and not blobs.exists(held.key)
    )


def _settled_between_forms(index: Index, instance: NewInstance) -> bool:
    """Of one instance in two forms (see archive.smaller) the one that came is the surer one.

    The other goes by and by. False when these are not two forms of the same.
    """
    held = index.held([instance.instance.uid]).get(instance.instance.uid)
    if held is None or held.key == instance.location.key or not _is_same(instance, held):
        return False
    spare = instance.location.key
    if instance.received is None and held.digest != held.received_digest:
        spare = index.replace(instance)
    index.smaller.intend(spare, SPARED_SECONDS)
    return True


def _is_replacement(index: Index, key: str) -> bool:
    """Whether this key was made for other bytes under a UID that was held (Blobs.key_for).

    Not that of a file that is to go: one that a swap has given up, or left behind.
    """
    return "-" in key and not index.smaller.spares_among([key])


def _by_arrival(blobs: Blobs) -> Iterator[str]:
    """Keys day by day, within a day as they were written: the first of a study speaks for it."""
    for _, keys in groupby(blobs.keys(), key=lambda key: key[:_DAY]):
        yield from sorted(keys, key=lambda key: (blobs.modified_ns(key), key))
