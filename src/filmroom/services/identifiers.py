"""The identifier of a C-FIND, C-MOVE or C-GET request: bytes -> what is wanted (PS3.4 C.4).

The hierarchy is checked here. A hierarchical request names one patient, study and series
above the level it asks about (C.4.1.3.1, C.4.2.2.1); a relational one, when negotiated,
need not (C.4.1.3.2, C.4.2.2.2). What cannot be understood raises BadIdentifier, which
knows the offending element.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from filmroom.archive.records import Query, Selection
from filmroom.dicom import text, uids, vrs
from filmroom.dicom.elements import DataSet, Element, read_data_set
from filmroom.dicom.errors import Malformed
from filmroom.dicom.match import AnyOf, Items, Match, Single
from filmroom.dicom.models import Level, Root
from filmroom.dicom.query import parse_match
from filmroom.dicom.tags import BY_KEYWORD, BY_TAG, COMPUTED, SPECIFIC_CHARACTER_SET
from filmroom.services.table import Row

QUERY_RETRIEVE_LEVEL = 0x00080052
RETRIEVE_AE_TITLE = 0x00080054
INSTANCE_AVAILABILITY = 0x00080056

ANSWERED_HERE = frozenset(
    {SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY}
)
COMPUTED_TAGS = {tag: (keyword, vr, level) for keyword, (tag, vr, level) in COMPUTED.items()}
COMPUTED_MATCHES = frozenset({"ModalitiesInStudy", "SOPClassesInStudy"})

BINARY_VRS = vrs.BINARY_VRS | vrs.NUMBER_FORMATS.keys() | {"AT"}
MAX_UNIQUE_KEYS = 10_000  # in one list; far more than any screen shows


class BadIdentifier(Exception):
    """The identifier does not match the SOP class; `tag` is the offending element."""

    def __init__(self, message: str, tag: int = QUERY_RETRIEVE_LEVEL) -> None:
        super().__init__(message)
        self.message = message
        self.tag = tag


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What Extended Negotiation agreed on for query and retrieve (PS3.4 C.5.1.1, C.5.2.1)."""

    relational: bool = False
    combined_datetime: bool = False
    fuzzy: bool = False

    @classmethod
    def from_bytes(cls, agreed: bytes) -> Negotiated:
        """Read the service-class-application-information of the answer."""
        return cls(*(agreed[at : at + 1] == b"\x01" for at in range(3)))


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A C-FIND identifier, understood.

    requested: tags the archive is asked for; keys: the identifier itself, whose elements
    (and those inside its sequences) are what the answers contain; unsupported: keywords
    or tags that are not matched or not known (status FF01).
    """

    query: Query
    requested: frozenset[int]
    keys: DataSet
    charset: str  # Specific Character Set as it was written, e.g. "\\ISO 2022 IR 87"
    unsupported: tuple[str, ...]


def read_find(
    identifier: bytes,
    transfer_syntax_uid: str,
    row: Row,
    negotiated: Negotiated,
    *,
    matched_sequences: Mapping[str, frozenset[str]] | None = None,
) -> FindRequest:
    """Understand a C-FIND identifier; BadIdentifier when it is none of this SOP class.

    matched_sequences: the sequences that can be matched, with the keywords inside them.
    """
    keys = _read(identifier, transfer_syntax_uid)
    level = _level(keys, row)
    charset = _charset(keys)
    reader = _KeyReader(level, text.charsets(charset), negotiated.fuzzy, matched_sequences or {})
    for tag in sorted(keys):
        reader.read(keys[tag])
    if not negotiated.relational:
        _demand_hierarchy(reader.matches, level, row)
    query = Query(
        level=level,
        matches=reader.matches,
        root=row.root or Root.STUDY,
        combined_datetime=negotiated.combined_datetime,
    )
    return FindRequest(
        query,
        frozenset(reader.requested),
        keys,
        charset.decode("ascii", "replace").strip(" \0"),
        tuple(reader.unsupported),
    )


def read_selection(
    identifier: bytes, transfer_syntax_uid: str, row: Row, negotiated: Negotiated
) -> Selection:
    """Understand a C-MOVE or C-GET identifier: unique keys only (PS3.4 C.4.2.1.4.1)."""
    keys = _read(identifier, transfer_syntax_uid)
    level = _level(keys, row)
    values = {upto: _unique_values(keys, upto) for upto in Level if upto <= level}
    if not values[level]:
        raise BadIdentifier(f"{level.unique_key} is needed to retrieve", _unique_tag(level))
    if not negotiated.relational:
        for upper in row.levels:
            if upper < level and len(values[upper]) != 1:
                raise BadIdentifier(f"One {upper.unique_key} is needed", _unique_tag(upper))
    patients = values[Level.PATIENT]
    if len(patients) > 1:
        raise BadIdentifier("PatientID must be one value", _unique_tag(Level.PATIENT))
    return Selection(
        patient_id=patients[0] if patients else None,
        study_instance_uids=values.get(Level.STUDY, ()),
        series_instance_uids=values.get(Level.SERIES, ()),
        sop_instance_uids=values.get(Level.IMAGE, ()),
    )


class _KeyReader:
    """Sorts the elements of an identifier into matches, return keys and the unsupported."""

    def __init__(
        self,
        level: Level,
        charsets: tuple[str, ...],
        fuzzy: bool,
        matched_sequences: Mapping[str, frozenset[str]],
    ) -> None:
        self._level = level
        self._charsets = charsets
        self._fuzzy = fuzzy
        self._matched_sequences = matched_sequences
        self.matches: dict[str, Match] = {}
        self.requested: set[int] = set()
        self.unsupported: list[str] = []

    def read(self, element: Element) -> None:
        tag = element.tag
        if tag in ANSWERED_HERE or tag & 0xFFFF == 0:  # group lengths ask for nothing
            return
        known = BY_TAG.get(tag)
        if known is not None and known.level <= self._level:
            self.requested.add(tag)
            self._match(known.keyword, known.vr, element, supported=known.indexed)
        elif tag in COMPUTED_TAGS and COMPUTED_TAGS[tag][2] <= self._level:
            keyword, vr, _ = COMPUTED_TAGS[tag]
            self.requested.add(tag)
            self._match(keyword, vr, element, supported=keyword in COMPUTED_MATCHES)
        else:
            self.unsupported.append(f"{tag:08X}")

    def _match(self, keyword: str, vr: str, element: Element, *, supported: bool) -> None:
        if vr == "SQ":
            match = self._match_sequence(keyword, element)
            supported = True
        else:
            match = self._match_value(keyword, vr, element.raw)
        if match is None:
            return
        if supported:
            self.matches[keyword] = match
        else:
            self.unsupported.append(keyword)

    def _match_value(self, keyword: str, vr: str, value: bytes) -> Match | None:
        if not value:
            return None
        if vr in BINARY_VRS:
            return Single(value.hex())  # never indexed: reported as unsupported
        wanted = text.decode(value, vr, self._charsets)
        return parse_match(keyword, vr, wanted, fuzzy=self._fuzzy)

    def _match_sequence(self, keyword: str, element: Element) -> Match | None:
        """The keys of the one item (PS3.4 C.2.2.2.6); none of them filled: no match."""
        matched = self._matched_sequences.get(keyword, frozenset())
        found: dict[str, Match] = {}
        for inner in element.items[0].values() if element.items else ():
            name = vrs.keyword_of(inner.tag)
            match = self._match_value(name, vrs.vr_of(inner.tag), inner.raw)
            if match is None:
                continue
            if name in matched:
                found[name] = match
            else:
                self.unsupported.append(f"{keyword}.{name or f'{inner.tag:08X}'}")
        return Items(found) if found else None


def _read(identifier: bytes, transfer_syntax_uid: str) -> DataSet:
    try:
        return read_data_set(
            identifier,
            explicit_vr=transfer_syntax_uid != uids.IMPLICIT_VR_LE,
            little_endian=transfer_syntax_uid != uids.EXPLICIT_VR_BE,
        )
    except Malformed as error:
        raise BadIdentifier(f"The identifier cannot be read: {error}", 0) from None


def _plain(keys: DataSet, tag: int) -> str:
    element = keys.get(tag)
    return element.raw.decode("latin-1").strip(" \0") if element is not None else ""


def _level(keys: DataSet, row: Row) -> Level:
    named = _plain(keys, QUERY_RETRIEVE_LEVEL)
    level = Level.__members__.get(named)
    if level is None or level not in row.levels:
        allowed = ", ".join(each.name for each in row.levels)
        what = f"{named[:16]!r} is not" if named else "is missing, not"
        raise BadIdentifier(f"QueryRetrieveLevel {what} one of {allowed}")
    return level


def _charset(keys: DataSet) -> bytes:
    element = keys.get(SPECIFIC_CHARACTER_SET)
    return element.raw if element is not None else b""


def _demand_hierarchy(matches: Mapping[str, Match], level: Level, row: Row) -> None:
    for upper in row.levels:
        if upper < level and not _is_single(matches.get(upper.unique_key)):
            raise BadIdentifier(
                f"One {upper.unique_key} is needed at {level.name} level", _unique_tag(upper)
            )


def _is_single(match: Match | None) -> bool:
    return isinstance(match, Single) or (isinstance(match, AnyOf) and len(match.values) == 1)


def _unique_values(keys: DataSet, level: Level) -> tuple[str, ...]:
    element = keys.get(_unique_tag(level))
    if element is None:
        return ()
    if level is Level.PATIENT:  # LO: a backslash inside is a separator too
        whole = text.decode(element.raw, "LO", text.charsets(_charset(keys)))
    else:
        whole = element.raw.decode("latin-1")
    values = tuple(v for v in (part.strip(" \0") for part in whole.split("\\")) if v)
    if len(values) > MAX_UNIQUE_KEYS:
        raise BadIdentifier(f"More than {MAX_UNIQUE_KEYS} UIDs", _unique_tag(level))
    for value in values:
        if level is Level.PATIENT:
            if "*" in value or "?" in value:
                raise BadIdentifier("No wild cards when retrieving", _unique_tag(level))
        elif not uids.is_valid_uid(value):
            raise BadIdentifier(f"{level.unique_key} is not a UID", _unique_tag(level))
    return values


def _unique_tag(level: Level) -> int:
    return BY_KEYWORD[level.unique_key].tag
