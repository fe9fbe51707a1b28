"""Keys as they are typed (`-k PatientName=SMI*`) -> identifiers, and answers -> tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from filmroom.dicom import text, vrs
from filmroom.dicom.elements import DataSet, Element, write_data_set
from filmroom.dicom.models import Level

SPECIFIC_CHARACTER_SET = 0x00080005
QUERY_RETRIEVE_LEVEL = 0x00080052

COLUMNS: Mapping[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "NumberOfPatientRelatedStudies",
    ),
    Level.STUDY: (
        "PatientName",
        "PatientID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
UNIQUE = {
    "PatientID": Level.PATIENT,
    "StudyInstanceUID": Level.STUDY,
    "SeriesInstanceUID": Level.SERIES,
    "SOPInstanceUID": Level.IMAGE,
}
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


class BadKey(ValueError):
    """A key that cannot be understood; the message says which and why."""


def parse_key(typed: str) -> tuple[tuple[int, ...], str]:
    """`Keyword=value`, `gggg,eeee=value`, `Sequence.Keyword=value` -> (path of tags, value)."""
    names, _, value = typed.partition("=")
    return tuple(_tag(name.strip()) for name in names.split(".")), value


def _tag(name: str) -> int:
    tag = vrs.tag_of(name)
    if tag is not None:
        return tag
    numbers = _TAG.fullmatch(name)
    if numbers is None:
        raise BadKey(f"{name!r} is no keyword of PS3.6 and no tag like 0010,0020")
    return int(numbers[1] + numbers[2], 16)


def identifier(level: Level, keys: Iterable[str]) -> bytes:
    """The identifier of these keys, Implicit VR Little Endian; UTF-8 where ASCII does not do."""
    parsed = [parse_key(key) for key in keys]
    charset = "" if all(value.isascii() for _, value in parsed) else text.UTF_8
    found: DataSet = {QUERY_RETRIEVE_LEVEL: _element(QUERY_RETRIEVE_LEVEL, level.name, charset)}
    if charset:
        found[SPECIFIC_CHARACTER_SET] = _element(SPECIFIC_CHARACTER_SET, charset, charset)
    for path, value in parsed:
        _put(found, path, value, charset)
    return write_data_set(dict(sorted(found.items())), explicit_vr=False, little_endian=True)


def _put(found: DataSet, path: Sequence[int], value: str, charset: str) -> None:
    *outer, tag = path
    for sequence in outer:
        if vrs.vr_of(sequence) != "SQ":
            raise BadKey(f"{vrs.keyword_of(sequence) or sequence} is no sequence")
        inner = found.setdefault(sequence, Element(sequence, "SQ", [{}])).value
        assert isinstance(inner, list)
        found = inner[0]
    found[tag] = _element(tag, value, charset)


def _element(tag: int, value: str, charset: str) -> Element:
    vr = vrs.vr_of(tag)
    if vr == "SQ":
        if value:
            raise BadKey(f"{vrs.keyword_of(tag)} is a sequence: name a key inside it with a dot")
        return Element(tag, vr, [{}])
    raw = text.encode(value, vr, text.charsets(charset.encode("ascii")))
    if len(raw) % 2:
        raw += b"\0" if vr == "UI" else b" "
    return Element(tag, vr, raw)


def level_of(keys: Iterable[str]) -> Level | None:
    """The deepest level that is named by its unique key."""
    named = [UNIQUE[name] for key in keys if (name := key.partition("=")[0].strip()) in UNIQUE]
    return max(named, default=None)


def with_columns(level: Level, keys: Sequence[str]) -> list[str]:
    """The keys, and the usual columns of the level as return keys unless they are there."""
    given = {key.partition("=")[0].strip() for key in keys}
    return [*keys, *(name for name in COLUMNS[level] if name not in given)]


def columns(level: Level, keys: Sequence[str]) -> list[str]:
    """The names of what a table shows: the usual columns, then what else was asked for."""
    names = list(COLUMNS[level])
    for key in keys:
        name = key.partition("=")[0].strip()
        if name not in names and "." not in name:
            names.append(name)
    return names


def cell(answer: Mapping[str, Any], name: str) -> str:
    """One attribute of an answer (DICOM JSON) as plain text."""
    attribute = answer.get(f"{_tag(name):08X}", {})
    return "\\".join(_plain(value) for value in attribute.get("Value") or ())


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        groups = [str(value.get(g) or "") for g in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=") if any(groups) else "{...}"
    return str(value)
