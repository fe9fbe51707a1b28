"""Made-up instances as the index is given them, with DICOM JSON to match."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from filmroom.archive.records import Entity, Location, NewInstance, Origin
from filmroom.dicom.models import Level
from filmroom.dicom.tags import ATTRIBUTES, INDEXED

CT = "1.2.840.10008.5.1.4.1.1.2"
ORIGIN = Origin("dimse", "SCANNER", "127.0.0.1", "FILMROOM")
DEFAULTS = {
    "PatientID": "P1",
    "PatientName": "Hopper^Grace",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "SOPInstanceUID": "1.2.3.4.5",
    "SOPClassUID": CT,
    "Modality": "CT",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "InstanceNumber": "1",
}
_HEX = {a.keyword: (a.hex, a.vr) for a in ATTRIBUTES}


def an_instance(
    *,
    received_at: float = 1_000.0,
    size_bytes: int = 1_000,
    frames: bytes = b"",
    content: bytes = b"",
    origin: Origin = ORIGIN,
    sequences: dict[str, list[dict[str, Any]]] | None = None,
    **attributes: str | None,
) -> NewInstance:
    """An instance; attributes by keyword, None leaves a default out.

    sequences: keyword -> items as DICOM JSON objects.
    """
    given = {k: v for k, v in (DEFAULTS | attributes).items() if v is not None}
    study, series = given["StudyInstanceUID"], given["SeriesInstanceUID"]
    uid = given["SOPInstanceUID"]

    def entity(level: Level, unique: str) -> Entity:
        keys = {a.keyword: given[a.keyword] for a in INDEXED[level] if a.keyword in given}
        kept: dict[str, Any] = {}
        for keyword, value in keys.items():
            hex_, vr = _HEX[keyword]
            kept[hex_] = {"vr": vr, "Value": _plain(value).split("\\")}
        for keyword, items in (sequences or {}).items():
            hex_, vr = _HEX[keyword]
            if next(a.level for a in ATTRIBUTES if a.keyword == keyword) is level:
                kept[hex_] = {"vr": vr, "Value": items}
        return Entity(unique, keys, orjson.dumps(kept))

    location = Location(
        f"2026/01/02/{study}/{series}/{uid}.dcm",
        size_bytes,
        340,
        900,
        hashlib.sha256(content or uid.encode()).digest(),
        "1.2.840.10008.1.2.1",
    )
    return NewInstance(
        entity(Level.PATIENT, given.get("PatientID", "") or f"\\{study}"),
        entity(Level.STUDY, study),
        entity(Level.SERIES, series),
        entity(Level.IMAGE, uid),
        location,
        frames,
        origin,
        received_at,
    )


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def value(body: bytes, keyword: str) -> Any:
    """The first value of an attribute in the JSON of an answer."""
    return orjson.loads(body)[_HEX[keyword][0]]["Value"][0]


def stored(index, study, series, numbers, **more):
    """Add some instances of one series, numbered; what was added."""
    made = [
        an_instance(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{n}",
            InstanceNumber=str(n),
            **more,
        )
        for n in numbers
    ]
    index.add(made)
    return made
