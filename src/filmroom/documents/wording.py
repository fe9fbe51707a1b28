"""DICOM values as people read them: dates, times, names, numbers; and text made harmless.

What cannot be read as what it claims to be is shown as it is written.
"""

from __future__ import annotations

import re

from filmroom.dicom.text import person_name

# Not allowed in HTML or XML, or able to turn the reading order of what surrounds them around.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_LINE_ENDS = re.compile("\r\n?|\x0b|\x0c|\u2028|\u2029|\x85")
_DATE = re.compile(r"(\d{4})[.:-]?(\d{2})[.:-]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?")


def harmless(text: str) -> str:
    """`text` without control characters; each is seen as U+FFFD. Line ends become `\\n`."""
    if text.isascii() and text.isprintable():
        return text
    return _FORBIDDEN.sub("\ufffd", _LINE_ENDS.sub("\n", text))


def date(text: str) -> str:
    """A DA value: 2001-02-13."""
    found = _DATE.fullmatch(text.strip())
    return "-".join(found.groups()) if found else text


def time(text: str) -> str:
    """A TM value: 18:47:46.5; without what it does not say."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return text
    return ":".join(part for part in found.groups()[:3] if part) + _fraction(found[4])


def _fraction(text: str | None) -> str:
    kept = (text or "").rstrip("0")
    return "" if kept == "." else kept


def date_time(text: str) -> str:
    """A DT value: 2001-02-13 18:47:46 +01:00; as much of it as there is."""
    found = _DATETIME.fullmatch(text.strip())
    if found is None:
        return text
    day = "-".join(part for part in found.groups()[:3] if part)
    clock = ":".join(part for part in found.groups()[3:6] if part) + _fraction(found[7])
    zone = f"{found[8][:3]}:{found[8][3:]}" if found[8] else ""
    return " ".join(part for part in (day, clock, zone) if part)


def together(day: str, clock: str) -> str:
    """A DA and a TM value as one."""
    return " ".join(part for part in (date(day), time(clock)) if part)


def name(text: str) -> str:
    """A PN value: `Family, Prefix Given Middle, Suffix (ideographic, phonetic)`."""
    groups = [_name(group) for group in person_name(text) if group]
    if len(groups) < 2:
        return "".join(groups)
    return f"{groups[0]} ({', '.join(groups[1:])})"


def _name(group: str) -> str:
    parts = [part.strip() for part in group.split("^")] + [""] * 5
    family, given, middle, prefix, suffix = parts[:5]
    rest = " ".join(part for part in (prefix, given, middle) if part)
    return ", ".join(part for part in (family, rest, suffix) if part)


def sex(term: str) -> str:
    """Patient's Sex in a word."""
    return {"M": "male", "F": "female", "O": "other"}.get(term, term)


def number(value: float) -> str:
    """A number without a tail of zeros: 2.5, 255."""
    return f"{value:.10g}"


def label(term: str) -> str:
    """A defined term as a word: MULTIPOINT -> Multipoint."""
    return term.replace("_", " ").capitalize()
