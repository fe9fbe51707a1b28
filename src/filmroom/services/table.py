"""SOP class -> service, right, roles, transfer syntaxes: the one table.

Negotiation, the conformance statement and the tests read this and nothing else, so what is
said and what is done cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from filmroom.archive.access import Action
from filmroom.dicom import uids
from filmroom.dicom.models import Level, Root


class Service(StrEnum):
    """The DIMSE services filmroom provides."""

    VERIFICATION = "Verification"  # PS3.4 A
    STORAGE = "Storage"  # PS3.4 B
    FIND = "Query"  # PS3.4 C, C-FIND
    MOVE = "Retrieve by C-MOVE"  # PS3.4 C
    GET = "Retrieve by C-GET"  # PS3.4 C


@dataclass(frozen=True, slots=True)
class Row:
    """What filmroom does with one SOP class.

    action: the right a peer needs to be given a presentation context.
    transfer_syntaxes: those accepted; None is every one that dicom.uids knows.
    root, levels: the information model of query and retrieve (PS3.4 C.6).
    """

    sop_class_uid: str
    name: str
    service: Service
    action: Action
    scp: bool = True
    scu: bool = True
    transfer_syntaxes: frozenset[str] | None = None
    root: Root | None = None
    levels: tuple[Level, ...] = ()


# Explicit VR Big Endian is retired, but old query clients still propose it alone.
PLAIN = frozenset({uids.IMPLICIT_VR_LE, uids.EXPLICIT_VR_LE, uids.EXPLICIT_VR_BE})

ALL_LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
STUDY_LEVELS = ALL_LEVELS[1:]
PATIENT_STUDY_LEVELS = ALL_LEVELS[:2]

MODELS: tuple[tuple[str, Root, tuple[Level, ...], str, str, str], ...] = (
    (
        "Patient Root Query/Retrieve",
        Root.PATIENT,
        ALL_LEVELS,
        uids.PATIENT_ROOT_FIND,
        uids.PATIENT_ROOT_MOVE,
        uids.PATIENT_ROOT_GET,
    ),
    (
        "Study Root Query/Retrieve",
        Root.STUDY,
        STUDY_LEVELS,
        uids.STUDY_ROOT_FIND,
        uids.STUDY_ROOT_MOVE,
        uids.STUDY_ROOT_GET,
    ),
    (
        "Patient/Study Only Query/Retrieve (Retired)",
        Root.PATIENT,
        PATIENT_STUDY_LEVELS,
        uids.PATIENT_STUDY_ONLY_FIND,
        uids.PATIENT_STUDY_ONLY_MOVE,
        uids.PATIENT_STUDY_ONLY_GET,
    ),
)


def _storage(sop_class_uid: str, name: str) -> Row:
    return Row(sop_class_uid, name, Service.STORAGE, Action.STORE)


def _rows() -> list[Row]:
    rows = [
        Row(
            uids.VERIFICATION,
            "Verification",
            Service.VERIFICATION,
            Action.ECHO,
            transfer_syntaxes=PLAIN,
        )
    ]
    for name, root, levels, find, move, get in MODELS:
        for uid, service, action in (
            (find, Service.FIND, Action.QUERY),
            (move, Service.MOVE, Action.RETRIEVE),
            (get, Service.GET, Action.RETRIEVE),
        ):
            rows.append(
                Row(
                    uid,
                    f"{name} - {service.name}",
                    service,
                    action,
                    scu=levels != PATIENT_STUDY_LEVELS,  # retired: answered, never asked
                    transfer_syntaxes=PLAIN,
                    root=root,
                    levels=levels,
                )
            )
    rows += (_storage(uid, name) for uid, name in uids.STORAGE_SOP_CLASSES.items())
    return rows


TABLE: Mapping[str, Row] = {row.sop_class_uid: row for row in _rows()}

STANDARD_ARC = "1.2.840.10008."
STORAGE_ARC = "1.2.840.10008.5.1.4.1.1."  # where the standard puts new storage classes


def looks_like_storage(sop_class_uid: str) -> bool:
    """True for a class unknown to us that can only sensibly be one of storage.

    Inside the standard's arc that is its branch of storage classes; outside it, any
    well-formed UID: private classes other than storage need private software anyway, and
    their messages are answered "SOP class not supported".
    """
    if sop_class_uid in TABLE or not uids.is_valid_uid(sop_class_uid):
        return False
    if sop_class_uid.startswith(STANDARD_ARC):
        return sop_class_uid.startswith(STORAGE_ARC)
    return True


def row_for(sop_class_uid: str, *, accept_unknown: bool) -> Row | None:
    """The row of a SOP class; for unknown storage classes one made up, when accepted."""
    row = TABLE.get(sop_class_uid)
    if row is None and accept_unknown and looks_like_storage(sop_class_uid):
        return _storage(sop_class_uid, "Unknown storage class")
    return row
