"""`filmroom get` and `filmroom move`: instances from a peer, to here or to a third one.

Before a C-GET the peer is asked which SOP classes the study has: an association has room
for 128 presentation contexts, and with few classes each transfer syntax can have one of
its own, so that instances come as they are stored. A peer that does not say is offered
the storage classes of the standard in plain syntaxes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from filmroom.cli import keys as typed
from filmroom.cli.asking import IMPLICIT, Peer, Report, Trouble, find, progress_bar, told
from filmroom.cli.incoming import Folder
from filmroom.dicom import uids
from filmroom.dicom.models import Level, Root
from filmroom.dimse.errors import DimseError
from filmroom.dimse.items import Role
from filmroom.dimse.messages import CGetResponse, CMoveResponse, is_pending
from filmroom.services import outcomes
from filmroom.services.suboperations import FALLBACK_SYNTAXES, MAX_CONTEXTS, Proposed
from filmroom.services.table import STORAGE_ARC

MOVE = {Root.PATIENT: uids.PATIENT_ROOT_MOVE, Root.STUDY: uids.STUDY_ROOT_MOVE}
GET = {Root.PATIENT: uids.PATIENT_ROOT_GET, Root.STUDY: uids.STUDY_ROOT_GET}
SOP_CLASSES_IN_STUDY = "00080062"

COMMON_CLASSES = (  # noqa: SIM905 - a list of 120 strings is no easier to read
    # offered to a peer that does not say what it holds
    "1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3.1 4 4.1 4.2 4.3 4.4 6.1 6.2 7 7.1 7.2 7.3 7.4 "
    "9.1.1 9.1.2 9.1.3 9.2.1 9.3.1 9.4.1 9.4.2 11.1 11.2 11.3 11.4 11.5 12.1 12.1.1 12.2 12.2.1 "
    "13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 66 66.1 66.2 66.3 66.4 66.5 66.6 67 "
    "68.1 68.2 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.3 "
    "77.1.5.4 77.1.6 88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.59 88.65 88.67 88.68 88.69 "
    "104.1 104.2 104.3 128 128.1 129 130 131 481.1 481.2 481.3 481.4 481.5 481.6 481.7 481.8 481.9"
).split()

# Offered one by one, most usual first, as far as there is room.
STORED_SYNTAXES = (
    *FALLBACK_SYNTAXES,
    uids.JPEG_LOSSLESS_SV1,
    uids.JPEG_2000_LOSSLESS,
    uids.JPEG_BASELINE,
    uids.JPEG_LS_LOSSLESS,
    uids.RLE_LOSSLESS,
    uids.JPEG_2000,
    uids.JPEG_EXTENDED,
    uids.HTJ2K_LOSSLESS,
    uids.HTJ2K_LOSSLESS_RPCL,
    uids.HTJ2K,
    uids.JPEG_LS_NEAR_LOSSLESS,
    uids.JPEG_LOSSLESS,
    uids.DEFLATED_EXPLICIT_VR_LE,
    uids.EXPLICIT_VR_BE,
    uids.JPEG_XL_LOSSLESS,
    uids.JPEG_XL_JPEG_RECOMPRESSION,
    uids.JPEG_XL,
)


async def get(peer: Peer, root: Root, level: Level, keys: Sequence[str], to: Path) -> Report:
    """C-GET into a folder, as the peer has it stored where the peer says what it stores."""
    contexts = contexts_for(await _classes_held(peer, root, keys))
    roles = {sop_class_uid: Role(scu=False, scp=True) for sop_class_uid, _ in contexts}
    association = await peer.associate([(GET[root], IMPLICIT), *contexts], roles=roles)
    folder = Folder(to)
    try:
        identifier = typed.identifier(level, keys)
        report = await _follow(
            association.get(GET[root], identifier, folder.open_store), "receiving", peer, "C-GET"
        )
        await association.release()
    finally:
        association.abort()
    report.done = folder.received
    for problem in folder.problems:
        report.problem(problem)
    return report


async def move(peer: Peer, root: Root, identifier: bytes, to: str) -> Report:
    """C-MOVE to a third application entity."""
    association = await peer.associate([(MOVE[root], IMPLICIT)])
    try:
        report = await _follow(
            association.move(MOVE[root], identifier, to), "moving", peer, "C-MOVE"
        )
        await association.release()
    finally:
        association.abort()
    return report


async def _follow(
    responses: AsyncIterator[CGetResponse | CMoveResponse], verb: str, peer: Peer, service: str
) -> Report:
    """Watch the counts to the end."""
    begun = time.perf_counter()
    report = Report()
    with progress_bar() as bar:
        task = bar.add_task(verb, total=None)
        async for response in responses:
            done = (response.completed or 0) + (response.warning or 0)
            failed = response.failed or 0
            remaining = response.remaining or 0
            bar.update(task, completed=done + failed, total=done + failed + remaining or None)
            if is_pending(response.status):
                continue
            report.done, report.failed, report.remaining = done, failed, remaining
            report.warnings = response.warning or 0
            report.is_success = response.status == outcomes.SUCCESS
            if not report.is_success:
                report.problem(f"{peer.called} answered {service} with {told(response, service)}")
    report.seconds = time.perf_counter() - begun
    return report


async def _classes_held(peer: Peer, root: Root, keys: Sequence[str]) -> list[str]:
    """The SOP classes of the studies named by `keys`; empty when the peer does not say."""
    named = [key for key in keys if key.startswith(("PatientID=", "StudyInstanceUID="))]
    if not named:
        return []
    question = typed.identifier(Level.STUDY, [*named, "SOPClassesInStudy"])
    try:
        answers = await find(peer, root, question)
    except (DimseError, Trouble):
        return []
    found: dict[str, None] = {}
    for answer in answers:
        values = answer.get(SOP_CLASSES_IN_STUDY, {}).get("Value") or ()
        found.update(dict.fromkeys(uid for uid in values if uids.is_valid_uid(str(uid))))
    return list(found)


def contexts_for(classes: Sequence[str]) -> list[Proposed]:
    """The storage contexts to propose beside the one for C-GET itself."""
    room = MAX_CONTEXTS - 1
    if not classes or len(classes) > room:
        return [(STORAGE_ARC + end, list(FALLBACK_SYNTAXES)) for end in COMMON_CLASSES]
    each = room // len(classes)
    if each == 1:
        return [(uid, list(FALLBACK_SYNTAXES)) for uid in classes]
    return [(uid, [syntax]) for uid in classes for syntax in STORED_SYNTAXES[:each]]
