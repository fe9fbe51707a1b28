"""DICOM JSON Model <-> Native DICOM Model XML (PS3.19 A.1). No DTD is ever read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from filmroom.dicom.vrs import keyword_of

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
MAX_DEPTH = 512
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_INTEGERS = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_REALS = frozenset({"DS", "FD", "FL"})

DataSet = Mapping[str, Any]


class MalformedXml(ValueError):
    """The text is no Native DICOM Model; the message is safe to show."""


def dumps(data_set: DataSet) -> bytes:
    """One data set as an XML document."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
        f"{''.join(_attributes(data_set))}</NativeDicomModel>"
    ).encode()


def _attributes(data_set: DataSet) -> Iterator[str]:
    for tag, attribute in data_set.items():
        keyword = keyword_of(int(tag, 16))
        named = f' keyword="{keyword}"' if keyword else ""
        yield f'<DicomAttribute tag="{tag}" vr="{attribute["vr"]}"{named}>'
        yield from _content(attribute)
        yield "</DicomAttribute>"


def _content(attribute: DataSet) -> Iterator[str]:
    if "BulkDataURI" in attribute:
        yield f"<BulkData uri={quoteattr(_clean(attribute['BulkDataURI']))}/>"
    if "InlineBinary" in attribute:
        yield f"<InlineBinary>{escape(attribute['InlineBinary'])}</InlineBinary>"
    for number, value in enumerate(attribute.get("Value", ()), 1):
        if value is None:
            continue
        if attribute["vr"] == "SQ":
            yield f'<Item number="{number}">{"".join(_attributes(value))}</Item>'
        elif attribute["vr"] == "PN":
            yield f'<PersonName number="{number}">{"".join(_name(value))}</PersonName>'
        else:
            yield f'<Value number="{number}">{escape(_clean(str(value)))}</Value>'


def _name(value: DataSet) -> Iterator[str]:
    for group in _GROUPS:
        if not value.get(group):
            continue
        parts = zip(_NAME_PARTS, value[group].split("^"), strict=False)
        inner = "".join(f"<{tag}>{escape(_clean(text))}</{tag}>" for tag, text in parts if text)
        yield f"<{group}>{inner}</{group}>"


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot say at all."""
    return _FORBIDDEN.sub("\ufffd", text)


def loads(text: bytes) -> dict[str, Any]:
    """An XML document as a DICOM JSON object; raises MalformedXml.

    A document type declaration is refused before anything in it is read, so there are
    no entities to expand and nothing outside to fetch.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise MalformedXml(f"not XML: {error}") from None
    if reader.root is None:
        raise MalformedXml("not a NativeDicomModel document")
    return reader.root


class _Reader:
    """Builds the JSON object from expat's events, without recursion."""

    def __init__(self) -> None:
        self.root: dict[str, Any] | None = None
        self._depth = 0
        self._data_sets: list[dict[str, Any]] = []
        self._attributes: list[dict[str, Any]] = []
        self._name: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._text: list[str] = []

    def doctype(self, *_: object) -> None:
        raise MalformedXml("a document type declaration is not allowed")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise MalformedXml(f"nested more than {MAX_DEPTH} deep")
        self._text = []
        element = name.rpartition(" ")[2]
        begin: Callable[[dict[str, str]], None] | None = getattr(self, f"_begin_{element}", None)
        if begin is not None:
            begin(attributes)

    def end(self, name: str) -> None:
        self._depth -= 1
        element = name.rpartition(" ")[2]
        if element in _NAME_PARTS:
            self._parts[element] = "".join(self._text)
        elif element in _GROUPS:
            texts = [self._parts.get(part, "") for part in _NAME_PARTS]
            self._name[element] = "^".join(texts).rstrip("^")
        else:
            finish: Callable[[], None] | None = getattr(self, f"_end_{element}", None)
            if finish is not None:
                finish()
        self._text = []

    def text(self, text: str) -> None:
        self._text.append(text)

    def _begin_NativeDicomModel(self, _: dict[str, str]) -> None:
        self.root = {}
        self._data_sets.append(self.root)

    def _begin_DicomAttribute(self, attributes: dict[str, str]) -> None:
        tag, vr = attributes.get("tag", "").upper(), attributes.get("vr", "")
        if re.fullmatch("[0-9A-F]{8}", tag) is None or re.fullmatch("[A-Z]{2}", vr) is None:
            raise MalformedXml("a DicomAttribute needs a tag of eight hex digits and a vr")
        if not self._data_sets:
            raise MalformedXml("a DicomAttribute outside NativeDicomModel")
        attribute: dict[str, Any] = {"vr": vr}
        self._data_sets[-1][tag] = attribute
        self._attributes.append(attribute)

    def _end_DicomAttribute(self) -> None:
        self._attributes.pop()

    def _begin_Item(self, _: dict[str, str]) -> None:
        item: dict[str, Any] = {}
        self._value(item)
        self._data_sets.append(item)

    def _end_Item(self) -> None:
        self._data_sets.pop()

    def _begin_BulkData(self, attributes: dict[str, str]) -> None:
        self._current()["BulkDataURI"] = attributes.get("uri", attributes.get("uuid", ""))

    def _end_InlineBinary(self) -> None:
        self._current()["InlineBinary"] = "".join("".join(self._text).split())

    def _begin_PersonName(self, _: dict[str, str]) -> None:
        self._name = {}

    def _end_PersonName(self) -> None:
        self._value(self._name)

    def _begin_Alphabetic(self, _: dict[str, str]) -> None:
        self._parts = {}

    _begin_Ideographic = _begin_Phonetic = _begin_Alphabetic

    def _end_Value(self) -> None:
        vr, text = self._current()["vr"], "".join(self._text)
        try:
            number = int(text) if vr in _INTEGERS else float(text) if vr in _REALS else text
        except ValueError:
            number = text
        self._value(number)

    def _value(self, value: object) -> None:
        self._current().setdefault("Value", []).append(value)

    def _current(self) -> dict[str, Any]:
        if not self._attributes:
            raise MalformedXml("a value outside a DicomAttribute")
        return self._attributes[-1]
