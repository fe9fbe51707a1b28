"""What became of each instance of a store -> the Store Instances Response (PS3.18 10.5.3, I)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from filmroom.archive.errors import (
    ArchiveError,
    Conflict,
    Damaged,
    Refused,
    Unavailable,
    Unintelligible,
    Unsupported,
    said_of,
)
from filmroom.archive.records import Outcome, Stored
from filmroom.dicom.uids import is_valid_uid
from filmroom.dicomweb.service import Service

PROCESSING_FAILURE = 0x0110
CANNOT_UNDERSTAND = 0xC000
OUT_OF_RESOURCES = 0xA700

# PS3.18 Table I.2-2 and, for 0124, PS3.7 C.5.
FAILURE_REASON: dict[type[ArchiveError], int] = {
    Unavailable: OUT_OF_RESOURCES,
    Conflict: 0xA900,  # Data Set does not match SOP Class, or not what was announced
    Unintelligible: CANNOT_UNDERSTAND,
    Unsupported: 0x0122,  # SOP Class not supported
    Refused: 0x0124,  # Not authorized
    Damaged: PROCESSING_FAILURE,
}

# Our own (Table I.2-1 allows more codes): other content is held under this UID. The first
# one received is kept, this one lies in quarantine. Others use 45070 in the same case.
KEPT_FIRST = 0xB00E
REPLACED = 0xB000  # Coercion class: this content is held now, the earlier in quarantine


@dataclass(frozen=True, slots=True)
class Failed:
    """One instance that was not stored; UIDs as far as they are known."""

    reason: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    retry: bool = False


def failed(error: ArchiveError, claimed: tuple[str, str] = ("", "")) -> Failed:
    """A failure in the terms of the response."""
    reason = said_of(error, FAILURE_REASON, PROCESSING_FAILURE)
    return Failed(reason, *claimed, retry=error.retry)


@dataclass(slots=True)
class Report:
    """All outcomes of one request."""

    stored: list[Stored] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status (Table 10.5.3-1)."""
        if self.stored:
            warned = any(_warning(each) for each in self.stored)
            return 202 if self.failures or warned else 200
        if not self.failures:
            return 400
        if all(each.retry for each in self.failures):
            return 503
        syntax = all(each.reason == CANNOT_UNDERSTAND for each in self.failures)
        return 400 if syntax else 409

    def data_set(self, service: Service) -> dict[str, Any]:
        """The Store Instances Response Module as DICOM JSON (Annex I)."""
        answer: dict[str, Any] = {}
        studies = {each.study_instance_uid for each in self.stored}
        if len(studies) == 1:
            answer["00081190"] = _value("UR", service.url("studies", studies.pop()))
        if self.failures:
            answer["00081198"] = {"vr": "SQ", "Value": [_failed_item(f) for f in self.failures]}
        if self.stored:
            items = [_stored_item(service, each) for each in self.stored]
            answer["00081199"] = {"vr": "SQ", "Value": items}
        return answer


def _value(vr: str, value: object) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _warning(stored: Stored) -> int:
    if stored.outcome is Outcome.KEPT_FIRST:
        return KEPT_FIRST
    return REPLACED if stored.outcome is Outcome.REPLACED else 0


def _failed_item(failure: Failed) -> dict[str, Any]:
    item = {}
    if is_valid_uid(failure.sop_class_uid):
        item["00081150"] = _value("UI", failure.sop_class_uid)
    if is_valid_uid(failure.sop_instance_uid):
        item["00081155"] = _value("UI", failure.sop_instance_uid)
    return {**item, "00081197": _value("US", failure.reason)}


def _stored_item(service: Service, stored: Stored) -> dict[str, Any]:
    url = service.url(
        "studies",
        stored.study_instance_uid,
        "series",
        stored.series_instance_uid,
        "instances",
        stored.sop_instance_uid,
    )
    item = {
        "00081150": _value("UI", stored.sop_class_uid),
        "00081155": _value("UI", stored.sop_instance_uid),
        "00081190": _value("UR", url),
    }
    code = _warning(stored)
    return {**item, "00081196": _value("US", code)} if code else item
