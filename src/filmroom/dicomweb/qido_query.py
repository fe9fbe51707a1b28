"""A QIDO-RS query string -> archive Query and the attributes to return (PS3.18 8.3.4, 10.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_plus

from filmroom.archive.records import Query
from filmroom.dicom.match import AnyOf, Items, Match, Single
from filmroom.dicom.models import Level
from filmroom.dicom.query import parse_match
from filmroom.dicom.tags import BY_KEYWORD, COMPUTED
from filmroom.dicom.vrs import keyword_of, tag_of, vr_of
from filmroom.dicomweb.problems import bad_request
from filmroom.index.where import MATCHED_SEQUENCES

MAX_QUERY_BYTES = 64 * 1024
MAX_PARAMETERS = 512
MAX_INCLUDED = 1024  # attributes named by includefield
MAX_VALUE = 4096  # characters of one match value
MAX_WILDCARDS = 32  # in one match value; each may cost the index a scan of its own

OTHER_PARAMETERS = frozenset({"accept", "charset", "access_token", "_"})
# Asked of a study, these series and instance attributes mean what the study knows of them.
STUDY_SYNONYMS = {"Modality": "ModalitiesInStudy", "SOPClassUID": "SOPClassesInStudy"}
MATCHABLE_COMPUTED = frozenset({"ModalitiesInStudy", "SOPClassesInStudy"})

STUDY_FIELDS = (
    "StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability", "ModalitiesInStudy",
    "ReferringPhysicianName", "TimezoneOffsetFromUTC", "StudyDescription", "PatientName",
    "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
    "StudyID", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip  # PS3.18 Table 10.6.3-3
SERIES_FIELDS = (
    "Modality", "TimezoneOffsetFromUTC", "SeriesDescription", "SeriesInstanceUID",
    "SeriesNumber", "SeriesDate", "SeriesTime", "BodyPartExamined",
    "NumberOfSeriesRelatedInstances", "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime", "RequestAttributesSequence", "InstanceAvailability",
)  # fmt: skip  # Table 10.6.3-4
INSTANCE_FIELDS = (
    "SOPClassUID", "SOPInstanceUID", "InstanceAvailability", "TimezoneOffsetFromUTC",
    "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
    "AvailableTransferSyntaxUID",
)  # fmt: skip  # Table 10.6.3-5

_HEX = re.compile(r"[0-9A-Fa-f]{8}")
_UNSIGNED = re.compile(r"\d{1,18}", re.ASCII)
_RUN_OF_STARS = re.compile(r"\*{2,}")


@dataclass(frozen=True, slots=True)
class Search:
    """What was asked: matches by keyword, attributes to return (None: all), and a page."""

    level: Level
    matches: dict[str, Match]
    requested: frozenset[int] | None
    limit: int | None
    offset: int
    impossible: bool = False  # a key contradicts the path: nothing can match

    def query(self, limit: int) -> Query:
        """The archive's Query for one page of at most `limit`."""
        return Query(
            self.level, self.matches, limit=limit, offset=self.offset, combined_datetime=True
        )


def parameters(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values of a query string, decoded; raises a 400 Problem when absurd."""
    if len(query_string) > MAX_QUERY_BYTES:
        raise bad_request("the query string is too long")
    pairs = [pair for pair in query_string.split(b"&") if pair]
    if len(pairs) > MAX_PARAMETERS:
        raise bad_request(f"more than {MAX_PARAMETERS} query parameters")
    decoded = []
    for pair in pairs:
        name, _, value = pair.decode("latin-1").partition("=")
        decoded.append((unquote_plus(name, errors="replace"), unquote_plus(value)))
    return decoded


def parse(query_string: bytes, level: Level, within: dict[str, str]) -> Search:
    """The search that a query string asks for, inside the study and series of the path.

    within: unique keys from the path. Raises a 400 Problem that names what is wrong.
    """
    keys: dict[str, list[str]] = {}
    included: list[str] = []
    options: dict[str, str] = {}
    for name, value in parameters(query_string):
        if name == "includefield":
            included += [field.strip() for field in value.split(",") if field.strip()]
        elif name in ("limit", "offset", "fuzzymatching"):
            options[name] = value
        elif name not in OTHER_PARAMETERS and name not in _UNSUPPORTED:
            keys.setdefault(name, []).append(value)
    fuzzy = _boolean("fuzzymatching", options.get("fuzzymatching", "false"))
    matches = _matches(keys, level, fuzzy)
    impossible = any(_contradicts(matches.get(each), uid) for each, uid in within.items())
    matches |= {keyword: Single(uid) for keyword, uid in within.items()}
    return Search(
        level,
        matches,
        _requested(level, included, matches, within),
        _unsigned("limit", options["limit"]) if "limit" in options else None,
        _unsigned("offset", options.get("offset", "0")),
        impossible,
    )


_UNSUPPORTED = {"emptyvaluematching", "multiplevaluematching"}  # answered with a Warning


def unsupported_options(query_string: bytes) -> list[str]:
    """Options that were asked for and are not performed (8.3.4.5, 8.3.4.6)."""
    given = dict(parameters(query_string))
    return [name for name in sorted(_UNSUPPORTED) if given.get(name) == "true"]


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise bad_request(f"{name} is true or false")
    return text.lower() == "true"


def _unsigned(name: str, text: str) -> int:
    if _UNSIGNED.fullmatch(text) is None:
        raise bad_request(f"{name} is an unsigned integer of at most 18 digits")
    return int(text)


def _contradicts(given: Match | None, uid: str) -> bool:
    """Whether a UID key of the query leaves out the UID of the path."""
    if isinstance(given, Single):
        return given.value != uid
    return isinstance(given, AnyOf) and uid not in given.values


_DATE, _TIME = r"\d{4}(?:\.?\d\d){0,2}", r"\d\d(?::?\d\d){0,2}(?:\.\d{1,6})?"
_MOMENTS = {  # what a date or time may look like: anything else would match nothing, silently
    vr: (form, re.compile(rf"(?:{one})?(?:\s*-\s*(?:{one})?)?"))
    for vr, form, one in (("DA", "YYYYMMDD", _DATE), ("TM", "HHMMSS", _TIME))
}


# -- keys -----------------------------------------------------------------------------------------
def _matches(keys: dict[str, list[str]], level: Level, fuzzy: bool) -> dict[str, Match]:
    matches: dict[str, Match] = {}
    items: dict[str, dict[str, Match]] = {}
    for name, values in keys.items():
        keyword, *inner = (_keyword(part) for part in name.split("."))
        if level is Level.STUDY and not inner:
            keyword = STUDY_SYNONYMS.get(keyword, keyword)
        if inner:
            _check_sequence(name, keyword, inner, level)
            match = _match(name, inner[0], values, fuzzy)
            if match is not None:
                items.setdefault(keyword, {})[inner[0]] = match
            continue
        match = _match(name, keyword, values, fuzzy)
        if match is not None:
            _check_matchable(name, keyword, level)
            if keyword in matches:
                raise bad_request(f"{keyword} is given twice")
            matches[keyword] = match
    return {**matches, **{sequence: Items(found) for sequence, found in items.items()}}


def _keyword(name: str) -> str:
    """The keyword of an attribute given as keyword or as eight hex digits (8.3.4.1)."""
    if _HEX.fullmatch(name):
        keyword = keyword_of(int(name, 16))
        if keyword:
            return keyword
    elif tag_of(name) is not None:
        return name
    raise bad_request(
        f"{name[:64]!r} is no attribute: use a keyword of PS3.6 such as PatientID, or eight "
        "hex digits such as 00100020"
    )


def _check_sequence(name: str, sequence: str, inner: list[str], level: Level) -> None:
    matched = MATCHED_SEQUENCES.get(sequence)
    here = matched is not None and matched.level <= level and len(inner) == 1
    if here and matched is not None and inner[0] in matched.items:
        return
    known = [
        f"{outer}.{key}"
        for outer, each in MATCHED_SEQUENCES.items()
        for key in each.items
        if each.level <= level
    ]
    raise bad_request(
        f"{name[:128]!r} cannot be matched here; what can of sequences: {', '.join(known)}"
    )


def _check_matchable(name: str, keyword: str, level: Level) -> None:
    attribute = BY_KEYWORD.get(keyword)
    if attribute is not None and attribute.indexed and attribute.level <= level:
        return
    if keyword in MATCHABLE_COMPUTED:
        return
    known = [each for each, a in BY_KEYWORD.items() if a.indexed and a.level <= level]
    raise bad_request(
        f"{name[:64]!r} cannot be matched here; what can: "
        f"{', '.join(sorted([*known, *MATCHABLE_COMPUTED]))}"
    )


def _match(name: str, keyword: str, values: list[str], fuzzy: bool) -> Match | None:
    """One attribute's match; UIDs and codes may be lists, by comma, backslash or repetition."""
    vr = COMPUTED[keyword][1] if keyword in COMPUTED else vr_of(tag_of(keyword) or 0)
    if vr in ("UI", "CS"):
        text = "\\".join(value.replace(",", "\\") for value in values)
    elif len(values) == 1:
        text = values[0]
    else:
        raise bad_request(f"{name[:64]!r} is given twice")
    if len(text) > (MAX_QUERY_BYTES if vr == "UI" else MAX_VALUE):
        raise bad_request(f"the value of {name[:64]!r} is too long")
    if "\0" in text:
        raise bad_request(f"the value of {name[:64]!r} holds a NUL")
    text = _RUN_OF_STARS.sub("*", text)
    if text.count("*") > MAX_WILDCARDS:
        raise bad_request(f"more than {MAX_WILDCARDS} wildcards in {name[:64]!r}")
    if vr in _MOMENTS:
        form, pattern = _MOMENTS[vr]
        if not all(pattern.fullmatch(each.strip("* ")) for each in text.split("\\")):
            raise bad_request(f"{name[:64]!r} is {form}, {form}- , -{form} or {form}-{form}")
    try:
        return parse_match(keyword, vr, text, fuzzy=fuzzy and vr == "PN")
    except ValueError as error:
        raise bad_request(f"{name[:64]!r}: {error}") from None


# -- what to return ----------------------------------------------------------------------------
def _requested(
    level: Level, included: list[str], matches: dict[str, Match], within: dict[str, str]
) -> frozenset[int] | None:
    if len(included) > MAX_INCLUDED:
        raise bad_request(f"more than {MAX_INCLUDED} attributes in includefield")
    wanted = {_included_tag(field) for field in included if field != "all"}
    if "all" in included:
        return None
    wanted |= _default_tags(level, within)
    wanted |= {_tag(keyword) for keyword in matches}
    return frozenset(wanted)


def _included_tag(field: str) -> int:
    """The top-level tag of an includefield, keyword or hex, maybe inside a sequence."""
    first = field.partition(".")[0]
    if _HEX.fullmatch(first):
        return int(first, 16)
    tag = tag_of(first)
    if tag is None:
        raise bad_request(f"includefield: {first[:64]!r} is no attribute of PS3.6")
    return tag


def _default_tags(level: Level, within: dict[str, str]) -> set[int]:
    """What every answer has: its own level, and the levels that the path does not fix."""
    fields = {Level.STUDY: STUDY_FIELDS, Level.SERIES: SERIES_FIELDS}.get(level, INSTANCE_FIELDS)
    if level > Level.STUDY and "StudyInstanceUID" not in within:
        fields = (*fields, *STUDY_FIELDS)
    if level > Level.SERIES and "SeriesInstanceUID" not in within:
        fields = (*fields, *SERIES_FIELDS)
    return {_tag(keyword) for keyword in fields}


def _tag(keyword: str) -> int:
    if keyword in COMPUTED:
        return COMPUTED[keyword][0]
    attribute = BY_KEYWORD.get(keyword)
    return attribute.tag if attribute is not None else tag_of(keyword) or 0
