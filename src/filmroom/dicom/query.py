"""The text of a query key -> what it matches (PS3.4 C.2.2.2), for C-FIND and QIDO alike."""

from __future__ import annotations

import re

from filmroom.dicom.match import AnyOf, Fuzzy, Match, Range, Single, Wildcard
from filmroom.dicom.vrs import BINARY_VRS, ONE_VALUE_TEXT

WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})  # C.2.2.2.4
RANGE_VRS = frozenset({"DA", "DT", "TM"})  # C.2.2.2.5

# The latest moment; its tail completes an upper bound of less precision.
_LATEST = {"DA": "99991231", "TM": "235959.999999", "DT": "99991231235959.999999"}
_OLD_PUNCTUATION = {"DA": ".", "TM": ":", "DT": ""}  # ACR-NEMA 2.0 wrote 1993.08.22 and 10:09
_STARS = re.compile(r"\*{2,}")
_BETWEEN_WORDS = re.compile(r"[\s^=,*?]+")
_OFFSET = re.compile(r"[+-](?:0\d|1[0-4])[0-5]\d$")  # of a DT, from UTC


def parse_match(keyword: str, vr: str, text: str, *, fuzzy: bool = False) -> Match | None:
    """What a key with this text matches; None when it matches everything.

    keyword: PS3.6's, for rules that are an attribute's own; there is none so far.
    text: decoded; several values are separated by backslashes.
    fuzzy: person names are matched by their words (C.2.2.2.1.1). Sequences and binary
    values match everything here. Never raises: a date that is none matches nothing.
    """
    if vr == "SQ" or vr in BINARY_VRS:
        return None
    text = text.strip(" \0\r\n\t")
    if vr in ONE_VALUE_TEXT:
        values = [text] if text else []
    else:
        values = [value for value in (v.strip(" \0") for v in text.split("\\")) if value]
    if vr in RANGE_VRS:
        return _moment(vr, values)
    if vr == "PN":
        if fuzzy:
            return _fuzzy(values)
        values = [_trimmed_name(value) for value in values]
    if vr == "AT":
        values = [value.upper() for value in values]
    if len(values) > 1:
        return AnyOf(tuple(values))
    return _single(vr, values[0]) if values else None


def _single(vr: str, value: str) -> Match | None:
    if not value or not value.strip("*"):
        return None
    if vr in WILDCARD_VRS and ("*" in value or "?" in value):
        return Wildcard(_STARS.sub("*", value))
    return Single(value)


def _fuzzy(values: list[str]) -> Match | None:
    words = tuple(word for word in _BETWEEN_WORDS.split(" ".join(values)) if word)
    return Fuzzy(words) if words else None


def _trimmed_name(value: str) -> str:
    """Trailing empty components and groups do not count (PS3.5 6.2.1.1)."""
    return "=".join([group.strip().rstrip("^ ") for group in value.split("=")]).rstrip("=")


def _moment(vr: str, values: list[str]) -> Match | None:
    """Dates and times: single, list, or range with both ends included (C.2.2.2.5)."""
    cleaned = [value.replace(_OLD_PUNCTUATION[vr] or "\0", "") for value in values]
    cleaned = [value for value in cleaned if value.strip("*")]
    if not cleaned:
        return None
    if len(cleaned) > 1:
        return AnyOf(tuple(cleaned))
    first, dash, last = _split_range(vr, cleaned[0])
    if not dash:
        latest = _latest(vr, first)
        return Single(first) if latest == first else Range(first, latest)
    if not first and not last:
        return None
    return Range(first or None, _latest(vr, last) if last else None)


def _split_range(vr: str, value: str) -> tuple[str, str, str]:
    """(first, "-", last), or (value, "", "") when it is no range."""
    if vr == "DT":
        for dash in re.finditer("-", value):
            first, last = value[: dash.start()], value[dash.end() :]
            if not (first and _OFFSET.fullmatch("-" + last.partition("-")[0])):
                return first.strip(), "-", last.strip()
        return value, "", ""
    first, found, last = value.partition("-")
    return first.strip(), found, last.strip()


def _latest(vr: str, moment: str) -> str:
    """The last moment that a value of less precision still covers."""
    if not moment.replace(".", "").isdigit():
        return moment
    return moment + _LATEST[vr][len(moment) :]
