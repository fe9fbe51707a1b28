"""From a scanned header to what the index keeps: four entities, keys and JSON."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import orjson

from filmroom.archive.errors import Unintelligible
from filmroom.archive.records import Entity, Location, NewInstance, Origin
from filmroom.dicom import dicomjson, text
from filmroom.dicom.models import Level
from filmroom.dicom.scan import Scan
from filmroom.dicom.tags import ATTRIBUTES, BY_TAG, SPECIFIC_CHARACTER_SET, Attribute
from filmroom.dicom.uids import is_valid_uid

_OF_LEVEL = {level: tuple(a for a in ATTRIBUTES if a.level is level) for level in Level}
_ABOVE_INSTANCE = tuple(a.tag for a in ATTRIBUTES if a.level is not Level.IMAGE)
_REMEMBERED = 512  # series
_LONGEST_REMEMBERED = 16 * 1024  # bytes of the attributes of one; some send megabytes
_LONGEST_KEY = 1024  # characters of one attribute that the index compares
_LONGEST_KEPT = 16 * 1024  # bytes of one attribute kept with the index row
_SHORT = 64  # bytes of one attribute worth remembering

_Notation: TypeAlias = tuple[tuple[str, ...], bool, bool]  # charsets, explicit VR, little endian


@dataclass(frozen=True, slots=True)
class Described:
    """What one data set says of patient, study, series and itself."""

    patient: Entity
    study: Entity
    series: Entity
    instance: Entity
    sop_class_uid: str

    def filed(
        self, location: Location, frames: bytes, origin: Origin, received_at: float
    ) -> NewInstance:
        """What the index must learn once the bytes lie at `location`."""
        return NewInstance(
            self.patient,
            self.study,
            self.series,
            self.instance,
            location,
            frames,
            origin,
            received_at,
        )


class Describer:
    """Describe data sets, remembering the last few series.

    The instances of a series repeat the attributes above them: for those the three upper
    entities are made once and found again by the raw bytes they were made from.
    """

    def __init__(self) -> None:
        self._series: OrderedDict[tuple[object, ...], tuple[Entity, Entity, Entity]] = OrderedDict()

    def describe(self, scan: Scan) -> Described:
        """Raises Unintelligible when a UID is missing, malformed, or has several values."""
        values = scan.values
        raw_charset = values.get(SPECIFIC_CHARACTER_SET, b"")
        charsets = text.charsets(raw_charset)
        sop_class_uid = _uid(scan, 0x00080016, "SOP Class UID")
        instance_uid = _uid(scan, 0x00080018, "SOP Instance UID")
        raw = (scan.explicit_vr, scan.little_endian, raw_charset)
        known: tuple[object, ...] = (*raw, *map(values.get, _ABOVE_INSTANCE))
        above = self._series.get(known)
        if above is None:
            study_uid = _uid(scan, 0x0020000D, "Study Instance UID")
            series_uid = _uid(scan, 0x0020000E, "Series Instance UID")
            above = (
                _patient(scan, charsets, study_uid),
                _entity(scan, Level.STUDY, study_uid, charsets),
                _entity(scan, Level.SERIES, series_uid, charsets),
            )
            if sum(len(values.get(tag, b"")) for tag in _ABOVE_INSTANCE) <= _LONGEST_REMEMBERED:
                self._series[known] = above
            while len(self._series) > _REMEMBERED:
                self._series.popitem(last=False)
        instance = _entity(scan, Level.IMAGE, instance_uid, charsets)
        return Described(*above, instance, sop_class_uid)


def _patient(scan: Scan, charsets: tuple[str, ...], study_uid: str) -> Entity:
    """Patients are told apart by PatientID; one without is a patient of this study alone.

    A backslash cannot be part of a PatientID (PS3.5 6.2, LO), so the stand-in is unique.
    """
    raw = scan.values.get(0x00100020, b"")
    patient_id = text.decode(raw, "LO", charsets).strip()
    return _entity(scan, Level.PATIENT, patient_id or f"\\{study_uid}", charsets)


def _entity(scan: Scan, level: Level, uid: str, charsets: tuple[str, ...]) -> Entity:
    keys: dict[str, str] = {}
    attributes: dict[str, object] = {}
    notation = charsets, scan.explicit_vr, scan.little_endian
    values = scan.values
    for attribute in _OF_LEVEL[level]:
        raw = values.get(attribute.tag)
        if raw is None:
            continue
        read = _often if len(raw) <= _SHORT else _said
        key, said = read(attribute.tag, raw, notation)
        if attribute.indexed:
            keys[attribute.keyword] = key
        if len(raw) <= _LONGEST_KEPT:
            attributes[attribute.hex] = said
    return Entity(uid, keys, orjson.dumps(attributes))


def _said(tag: int, raw: bytes, notation: _Notation) -> tuple[str, dict[str, object]]:
    """What an attribute's raw value says: the text that is compared, and its DICOM JSON."""
    attribute = BY_TAG[tag]
    charsets, explicit_vr, little_endian = notation
    key = _key(attribute, raw, charsets) if attribute.indexed else ""
    if len(raw) > _LONGEST_KEPT:
        return key, {}
    said = dicomjson.element_json(
        tag, attribute.vr, raw, charsets, explicit_vr=explicit_vr, little_endian=little_endian
    )
    return key, said


# The slices of a series say the same of themselves but for a few numbers.
_often = lru_cache(maxsize=2048)(_said)


def _key(attribute: Attribute, raw: bytes, charsets: tuple[str, ...]) -> str:
    """The text that matching compares: components trimmed, NUL and line ends gone."""
    decoded = text.decode(raw, attribute.vr, charsets)[:_LONGEST_KEY].replace("\0", "")
    return "\\".join(_trimmed(decoded.split("\\"), attribute.vr))


def _trimmed(values: Iterable[str], vr: str) -> Iterable[str]:
    if vr == "PN":
        return ("=".join(group.strip().rstrip("^ ") for group in v.split("=")) for v in values)
    return (value.strip() for value in values)


def _uid(scan: Scan, tag: int, name: str) -> str:
    raw = scan.values.get(tag)
    if raw is None:
        raise Unintelligible(f"{name} is missing")
    uid = raw.rstrip(b"\0 ").decode("ascii", "replace")
    if not is_valid_uid(uid):
        raise Unintelligible(f"{name} is not a valid UID", detail=repr(uid[:100]))
    return uid
