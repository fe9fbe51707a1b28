"""A Structured Report as a tree of values (PS3.3 C.17): what a page is then made of.

References keep their UIDs; what they lead to is somebody else's to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from filmroom.dicom.uids import is_valid_uid, name_of
from filmroom.documents import wording
from filmroom.documents.look import Look
from filmroom.pixel.errors import TooLarge

MAX_ITEMS = 100_000  # content items of one report
MAX_POINTS = 200  # of one region that are written out
MAX_REFERENCES = 5_000  # of one report that are looked up
MAX_FRAMES = 64  # of one reference that are written out
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


@dataclass(frozen=True, slots=True)
class Code:
    """A coded entry (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str

    @property
    def label(self) -> str:
        """What a person reads."""
        return self.meaning or self.value

    @property
    def detail(self) -> str:
        """The code itself: `(value, scheme)`."""
        return f"({self.value}, {self.scheme})" if self.value else ""


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that is referred to; frames are frame numbers, from 1."""

    sop_class_uid: str
    sop_instance_uid: str
    frames: tuple[int, ...] = ()
    note: str = ""  # channels, segments, presentation state

    @property
    def kind(self) -> str:
        """What it is, by its SOP class."""
        name = name_of(self.sop_class_uid) or self.sop_class_uid or "Object"
        return name.removesuffix(" Storage")


@dataclass(frozen=True, slots=True)
class Item:
    """One content item (C.17.3).

    position: where it stands, 1.2.3, as references within the report say it. target: the
    position of the item that this one only points to.
    """

    position: str
    relationship: str
    value_type: str
    name: Code | None = None
    value: str = ""
    detail: str = ""
    observed: str = ""
    references: tuple[Reference, ...] = ()
    target: str = ""
    continuous: bool = False
    children: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The whole document. facts: (what, value) in the order of reading."""

    title: str
    facts: tuple[tuple[str, str], ...]
    predecessors: tuple[Reference, ...]
    root: Item
    language: str = ""


def report_of(ds: Look) -> Report:
    """The report in a data set; raises TooLarge when nobody could read it."""
    root = _Reader().item(ds, "1", "")
    title = root.name.label if root.name else ""
    return Report(
        title=title or ds.text("SeriesDescription") or _class_name(ds),
        facts=tuple((what, value) for what, value in _facts(ds) if value),
        predecessors=tuple(_evidence(ds, "PredecessorDocumentsSequence")),
        root=root,
        language=_language(ds),
    )


def referenced(report: Report) -> list[str]:
    """The UIDs of the instances that a report refers to, each once, at most MAX_REFERENCES."""
    found: dict[str, None] = {}
    for reference in (*report.predecessors, *_references(report.root)):
        if is_valid_uid(reference.sop_instance_uid):
            found[reference.sop_instance_uid] = None
        if len(found) >= MAX_REFERENCES:
            break
    return list(found)


def _references(item: Item) -> Iterator[Reference]:
    waiting = [item]
    while waiting:
        item = waiting.pop()
        yield from item.references
        waiting.extend(reversed(item.children))


def _language(ds: Look) -> str:
    """What it is written in, as RFC 5646 says it (TID 1204); "" when nobody says."""
    for item in ds.items("ContentSequence"):
        name = _code(item, "ConceptNameCodeSequence")
        if name is not None and name.value == "121049" and name.scheme == "DCM":
            code = _code(item, "ConceptCodeSequence")
            return code.value if code is not None and _LANGUAGE.fullmatch(code.value) else ""
    return ""


# -- the head ---------------------------------------------------------------------------------
def _class_name(ds: Look) -> str:
    return name_of(ds.text("SOPClassUID")).removesuffix(" Storage") or "Report"


def _facts(ds: Look) -> Iterator[tuple[str, str]]:
    yield "Patient", wording.name(ds.text("PatientName"))
    yield "Patient ID", ds.text("PatientID")
    yield "Born", wording.date(ds.text("PatientBirthDate"))
    yield "Sex", wording.sex(ds.text("PatientSex"))
    day, number = wording.date(ds.text("StudyDate")), _numbered(ds.text("StudyID"))
    yield "Study", _joined(ds.text("StudyDescription"), day, number)
    yield "Series", _joined(ds.text("SeriesDescription"), _numbered(ds.text("SeriesNumber")))
    yield "Accession number", ds.text("AccessionNumber")
    for request in ds.items("ReferencedRequestSequence"):
        yield (
            "Request",
            _joined(
                request.text("AccessionNumber"),
                request.text("RequestedProcedureDescription")
                or (
                    code.label if (code := _code(request, "RequestedProcedureCodeSequence")) else ""
                ),
                request.text("PlacerOrderNumberImagingServiceRequest"),
            ),
        )
    yield "Referring physician", wording.name(ds.text("ReferringPhysicianName"))
    yield "Institution", ds.text("InstitutionName")
    yield "Manufacturer", _joined(ds.text("Manufacturer"), ds.text("ManufacturerModelName"))
    yield "Written", wording.together(ds.text("ContentDate"), ds.text("ContentTime"))
    yield from _standing(ds)
    yield "Kind of document", _class_name(ds)


def _standing(ds: Look) -> Iterator[tuple[str, str]]:
    """How far it can be relied upon (C.17.2)."""
    done = _joined(ds.text("CompletionFlag"), ds.text("CompletionFlagDescription"))
    yield "Completion", done
    yield "State", ds.text("PreliminaryFlag")
    yield "Verification", ds.text("VerificationFlag")
    for observer in ds.items("VerifyingObserverSequence"):
        who = wording.name(observer.text("VerifyingObserverName"))
        when = wording.date_time(observer.text("VerificationDateTime"))
        yield "Verified by", _joined(who, observer.text("VerifyingOrganization"), when)
    for author in ds.items("AuthorObserverSequence"):
        yield "Author", _who(author)
    for participant in ds.items("ParticipantSequence"):
        what = wording.label(participant.text("ParticipationType")) or "Participant"
        when = wording.date_time(participant.text("ParticipationDateTime"))
        yield what, _joined(_who(participant), when)
    custodian = ds.first("CustodialOrganizationSequence")
    yield "Custodian", custodian.text("InstitutionName")


def _who(observer: Look) -> str:
    device = _joined(observer.text("StationName"), observer.text("ManufacturerModelName"))
    return _joined(
        wording.name(observer.text("PersonName")), device, observer.text("InstitutionName")
    )


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _numbered(number: str) -> str:
    return f"no. {number}" if number else ""


def _evidence(ds: Look, keyword: str) -> Iterator[Reference]:
    """The hierarchical references of a document (C.17.2.1)."""
    for study in ds.items(keyword):
        for series in study.items("ReferencedSeriesSequence"):
            for instance in series.items("ReferencedSOPSequence"):
                yield _reference(instance)


# -- the tree ---------------------------------------------------------------------------------
class _Reader:
    """Reads the content items and counts them."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS

    def item(self, ds: Look, position: str, relationship: str) -> Item:
        self._left -= 1
        if self._left < 0:
            raise TooLarge(f"the report has more than {MAX_ITEMS} content items")
        target = ".".join(
            f"{number:.0f}" for number in ds.numbers("ReferencedContentItemIdentifier")
        )
        value_type = ds.text("ValueType")
        if target and not value_type:
            return Item(position, relationship, "", target=target)
        value, detail, references = _value(ds, value_type)
        return Item(
            position=position,
            relationship=relationship,
            value_type=value_type,
            name=_code(ds, "ConceptNameCodeSequence"),
            value=value,
            detail=detail,
            observed=wording.date_time(ds.text("ObservationDateTime")),
            references=references,
            continuous=ds.text("ContinuityOfContent") == "CONTINUOUS",
            children=tuple(
                self.item(child, f"{position}.{number}", child.text("RelationshipType"))
                for number, child in enumerate(ds.items("ContentSequence"), 1)
            ),
        )


def _code(ds: Look, keyword: str) -> Code | None:
    items = ds.items(keyword)
    if not items:
        return None
    code = items[0]
    value = code.text("CodeValue") or code.text("LongCodeValue") or code.text("URNCodeValue")
    return Code(value, code.text("CodingSchemeDesignator"), code.text("CodeMeaning"))


_Value = tuple[str, str, tuple[Reference, ...]]


def _value(ds: Look, value_type: str) -> _Value:
    """(what is read, what explains it, what is referred to) of one content item."""
    plain = {
        "TEXT": lambda: ds.text("TextValue"),
        "DATE": lambda: wording.date(ds.text("Date")),
        "TIME": lambda: wording.time(ds.text("Time")),
        "DATETIME": lambda: wording.date_time(ds.text("DateTime")),
        "UIDREF": lambda: ds.text("UID"),
        "PNAME": lambda: wording.name(ds.text("PersonName")),
    }.get(value_type)
    if plain is not None:
        return plain(), "", ()
    match value_type:
        case "CODE":
            code = _code(ds, "ConceptCodeSequence")
            return (code.label, code.detail, ()) if code else ("", "", ())
        case "NUM":
            return _measured(ds)
        case "IMAGE" | "WAVEFORM" | "COMPOSITE":
            return "", "", tuple(map(_reference, ds.items("ReferencedSOPSequence")))
        case "SCOORD" | "SCOORD3D":
            return _region(ds, 2 if value_type == "SCOORD" else 3)
        case "TCOORD":
            return _range(ds)
        case "CONTAINER" | "":
            return "", "", ()
    return f"(a value of type {value_type}, which is not shown here)", "", ()


def _measured(ds: Look) -> _Value:
    """A number, its unit, or why there is none (C.18.1)."""
    qualifier = _code(ds, "NumericValueQualifierCodeSequence")
    measured = ds.items("MeasuredValueSequence")
    why = qualifier.label if qualifier else ""
    if not measured:
        return why or "no value", qualifier.detail if qualifier else "", ()
    number = measured[0].text("NumericValue")
    unit = _code(measured[0], "MeasurementUnitsCodeSequence")
    value = " ".join(part for part in (number, _unit(unit)) if part)
    detail = f"{unit.label} {unit.detail}" if unit else ""
    return f"{value} ({why})" if why else value, detail, ()


def _unit(unit: Code | None) -> str:
    """The sign of a unit; UCUM's `1` and its annotations in braces say nothing to a reader."""
    if unit is None or (unit.scheme, unit.value) == ("UCUM", "1"):
        return ""
    if unit.scheme == "UCUM":
        return unit.label if unit.value.startswith("{") else unit.value
    return unit.value if unit.label == unit.value else f"{unit.value} ({unit.label})"


def _reference(ds: Look) -> Reference:
    frames = [number for number in ds.numbers("ReferencedFrameNumber") if 1 <= number < 1e9]
    notes = []
    if len(frames) > MAX_FRAMES:
        notes.append(f"{len(frames)} frames in all")
    segments = ds.texts("ReferencedSegmentNumber")
    if segments:
        notes.append(f"segment {', '.join(segments[:MAX_FRAMES])}")
    channels = ds.texts("ReferencedWaveformChannels")
    if channels:  # pairs of multiplex group and channel, from 1; channel 0 is all of them
        pairs = zip(channels[::2], channels[1::2], strict=False)
        notes.append("channels " + ", ".join(f"{g}/{c}" for g, c in list(pairs)[:MAX_FRAMES]))
    presentation = ds.items("ReferencedSOPSequence")
    if presentation:
        state = name_of(presentation[0].text("ReferencedSOPClassUID"))
        notes.append(f"as shown by {state.removesuffix(' Storage') or 'a presentation state'}")
    return Reference(
        ds.text("ReferencedSOPClassUID"),
        ds.text("ReferencedSOPInstanceUID"),
        tuple(int(number) for number in frames[:MAX_FRAMES]),
        "; ".join(notes),
    )


def _region(ds: Look, dimensions: int) -> _Value:
    """A region in an image or in space: its form and its points (C.18.6, C.18.9)."""
    numbers = ds.numbers("GraphicData")
    shown = numbers[: MAX_POINTS * dimensions]
    points = [
        "(" + ", ".join(map(wording.number, shown[at : at + dimensions])) + ")"
        for at in range(0, len(shown), dimensions)
    ]
    if len(numbers) > len(shown):
        points.append(f"and {(len(numbers) - len(shown)) // dimensions} more points")
    unit = "px" if dimensions == 2 else "mm"
    form = wording.label(ds.text("GraphicType"))
    frame = ds.text("ReferencedFrameOfReferenceUID")
    detail = f"frame of reference {frame}" if frame else ""
    return f"{form}: {' '.join(points)} {unit}", detail, ()


def _range(ds: Look) -> _Value:
    """Moments or stretches of time (C.18.7)."""
    form = wording.label(ds.text("TemporalRangeType"))
    for keyword, unit in (
        ("ReferencedSamplePositions", "samples"),
        ("ReferencedTimeOffsets", "s"),
        ("ReferencedDateTime", ""),
    ):
        values = ds.texts(keyword)
        if values:
            written = values if unit else list(map(wording.date_time, values))
            more = f" and {len(values) - MAX_POINTS} more" if len(values) > MAX_POINTS else ""
            return f"{form}: {', '.join(written[:MAX_POINTS])}{more} {unit}".strip(), "", ()
    return form, "", ()
