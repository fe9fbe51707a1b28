"""Answers on the way out: DICOM JSON from the archive -> identifier bytes (PS3.4 C.4.1.1.3.2).

An `Answerer` is made once per query: it knows which elements were asked for and in which
transfer syntax, so that an answer is one pass over those. The character set is that of
the request when all text of the answer can be written in it, else ISO_IR 192.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from filmroom.dicom import text, uids, vrs
from filmroom.dicom.elements import DataSet
from filmroom.dicom.tags import BY_TAG, SPECIFIC_CHARACTER_SET
from filmroom.services.identifiers import (
    BINARY_VRS,
    COMPUTED_TAGS,
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    FindRequest,
)

FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
SHORT_LIMIT = 0xFFFE  # longest even value behind a 16-bit length


class Syntax:
    """How elements are written in one of the three native transfer syntaxes."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        self.explicit_vr = transfer_syntax_uid != uids.IMPLICIT_VR_LE
        self.order = ">" if transfer_syntax_uid == uids.EXPLICIT_VR_BE else "<"
        self._implicit = struct.Struct(self.order + "HHI")
        self._short = struct.Struct(self.order + "HH2sH")
        self._long = struct.Struct(self.order + "HH2sHI")

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """One element; a value too long for its VR's length field goes as UN (PS3.5 6.2.2)."""
        group, number = tag >> 16, tag & 0xFFFF
        if not self.explicit_vr:
            return self._implicit.pack(group, number, len(value)) + value
        code = vr.encode("ascii")
        if code not in vrs.LONG_VRS:
            if len(value) <= SHORT_LIMIT:
                return self._short.pack(group, number, code, len(value)) + value
            code = b"UN"
        return self._long.pack(group, number, code, 0, len(value)) + value

    def header(self, tag: int, vr: str) -> _Header:
        """What stands before values of one attribute."""
        return _Header(self, tag, vr)

    def item(self, content: bytes) -> bytes:
        """One item of a sequence, of defined length (PS3.5 7.5.1)."""
        return self._implicit.pack(0xFFFE, 0xE000, len(content)) + content


class _Header:
    """Writes one attribute again and again: values of up to SHORT_LIMIT bytes of ASCII."""

    def __init__(self, syntax: Syntax, tag: int, vr: str) -> None:
        written = syntax.element(tag, vr, b"\0\0")
        is_short = syntax.explicit_vr and vr.encode("ascii") not in vrs.LONG_VRS
        self._length = struct.Struct(syntax.order + ("H" if is_short else "I"))
        self._start = written[: -2 - self._length.size]
        self._padding = padded(b"\0", vr)[1:]
        self._vr = vr
        self._is_text = vr not in BINARY_VRS and vr != "SQ"

    def text_of(self, values: Any) -> str | None:
        """Values of the DICOM JSON Model as one text; None when it is not that simple."""
        if not values or not self._is_text:
            return None
        if len(values) == 1:
            value = values[0]
            if type(value) is dict and len(value) == 1:
                value = value.get("Alphabetic")
            elif type(value) is int or type(value) is float:
                value = as_text(self._vr, value)
            return value if type(value) is str else None
        return "\\".join(values) if all(type(value) is str for value in values) else None

    def of(self, raw: bytes) -> bytes:
        """The element with this value."""
        if len(raw) % 2:
            raw += self._padding
        return self._start + self._length.pack(len(raw)) + raw


class Answerer:
    """Writes the answers to one C-FIND."""

    def __init__(self, request: FindRequest, transfer_syntax_uid: str, ae_title: str) -> None:
        """ae_title: the one that was called, as Retrieve AE Title."""
        self._syntax = Syntax(transfer_syntax_uid)
        self._wanted_charset = request.charset
        self._fixed = {
            QUERY_RETRIEVE_LEVEL: request.query.level.name,
            RETRIEVE_AE_TITLE: ae_title,
        }
        if INSTANCE_AVAILABILITY in request.keys:
            self._fixed[INSTANCE_AVAILABILITY] = "ONLINE"
        asked = dict(_asked(request.keys))
        unique = next(t for t, a in BY_TAG.items() if a.keyword == request.query.level.unique_key)
        asked.setdefault(unique, None)
        self._plan = [
            (tag, f"{tag:08X}", vr_of(tag), asked.get(tag))
            for tag in sorted(asked.keys() | self._fixed.keys())
            if tag != SPECIFIC_CHARACTER_SET
        ]
        self._quick = self._quick_plan()

    def _quick_plan(self) -> list[tuple[str, bytes, _Header | None]]:
        """For answers in ASCII: (name, what is written without a value, what precedes one).

        No third: the second is all there is to write.
        """
        plan: list[tuple[int, str, bytes, _Header | None]] = []
        for tag, name, vr, _ in self._plan:
            if tag in self._fixed:
                value = padded(self._fixed[tag].encode("ascii"), vr)
                plan.append((tag, name, self._syntax.element(tag, vr, value), None))
            else:
                header = self._syntax.header(tag, vr)
                plan.append((tag, name, self._syntax.element(tag, vr, b""), header))
        if self._wanted_charset:
            value = padded(self._wanted_charset.encode("ascii", "replace"), "CS")
            element = self._syntax.element(SPECIFIC_CHARACTER_SET, "CS", value)
            plan.append((SPECIFIC_CHARACTER_SET, "", element, None))
        return [entry[1:] for entry in sorted(plan, key=lambda entry: entry[0])]

    def _write_quickly(self, answer: Mapping[str, Any]) -> bytes | None:
        """`write` for the common answer: a text in ASCII, or a name, in each attribute."""
        parts = []
        for name, empty, header in self._quick:
            attribute = answer.get(name)
            if header is None or attribute is None:
                parts.append(empty)
                continue
            value = header.text_of(attribute.get("Value"))
            if value is None or not value.isascii() or len(value) > SHORT_LIMIT:
                return None
            parts.append(header.of(value.encode("ascii")))
        return b"".join(parts)

    def write(self, answer: Mapping[str, Any]) -> bytes:
        """One answer of the archive as the identifier of a pending response."""
        quickly = self._write_quickly(answer)
        if quickly is not None:
            return quickly
        charset = self._charset(answer)
        charsets = text.charsets(charset.encode("ascii", "replace"))
        parts = []
        for tag, name, vr, inner in self._plan:
            if tag in self._fixed:
                value = padded(self._fixed[tag].encode("ascii"), vr)
            else:
                value = self._value(vr, answer.get(name), charsets, inner)
            parts.append((tag, vr, value))
        if charset:
            parts.append((SPECIFIC_CHARACTER_SET, "CS", padded(charset.encode("ascii"), "CS")))
            parts.sort(key=lambda part: part[0])
        return b"".join(self._syntax.element(*part) for part in parts)

    def _charset(self, answer: Mapping[str, Any]) -> str:
        words = [word for _, name, _, _ in self._plan for word in _words(answer.get(name))]
        if all(word.isascii() for word in words):
            return self._wanted_charset
        return text.choose_charset(words, self._wanted_charset)

    def _value(
        self, vr: str, attribute: Mapping[str, Any] | None, charsets: tuple[str, ...], asked: Any
    ) -> bytes:
        if not attribute:
            return b""
        if "InlineBinary" in attribute:
            return padded(base64.b64decode(attribute["InlineBinary"]), "OB")
        values = attribute.get("Value") or ()
        if vr == "SQ":
            items = (self._item(item, charsets, asked) for item in values)
            return b"".join(self._syntax.item(item) for item in items)
        return encode_values(vr, values, charsets, self._syntax.order)

    def _item(self, item: Mapping[str, Any], charsets: tuple[str, ...], asked: Any) -> bytes:
        parts = []
        for name in sorted(item.keys() if asked is None else map("{:08X}".format, asked)):
            tag, attribute = int(name, 16), item.get(name)
            vr = attribute.get("vr", "UN") if attribute else vr_of(tag)
            inner = asked.get(tag) if asked else None
            value = self._value(vr, attribute, charsets, inner)
            parts.append(self._syntax.element(tag, vr, value))
        return b"".join(parts)


def failed_list(sop_instance_uids: Iterable[str], transfer_syntax_uid: str) -> bytes | None:
    """The identifier of a final C-MOVE or C-GET response: who failed (PS3.4 C.4.2.1.4.2).

    None when nobody did. Explicit VR has room for about 1,000 UIDs: the first of them.
    """
    syntax = Syntax(transfer_syntax_uid)
    value = padded("\\".join(sop_instance_uids).encode("ascii", "replace"), "UI")
    if not value:
        return None
    if syntax.explicit_vr and len(value) > SHORT_LIMIT:
        value = padded(value[:SHORT_LIMIT].rpartition(b"\\")[0], "UI")
    return syntax.element(FAILED_SOP_INSTANCE_UID_LIST, "UI", value)


def encode_values(
    vr: str, values: Sequence[Any], charsets: tuple[str, ...], order: str = "<"
) -> bytes:
    """The values of one attribute of the DICOM JSON Model as a value field (PS3.18 F.2.2)."""
    if vr in vrs.NUMBER_FORMATS:
        numbers = [value for value in values if isinstance(value, int | float)]
        return struct.pack(f"{order}{len(numbers)}{vrs.NUMBER_FORMATS[vr][0]}", *numbers)
    if vr == "AT":
        halves = [int(part, 16) for value in values for part in (value[:4], value[4:])]
        return struct.pack(f"{order}{len(halves)}H", *halves)
    joined = "\\".join(as_text(vr, value) for value in values)
    if vr in vrs.CHARSET_VRS:
        return padded(text.encode(joined, vr, charsets), vr)
    return padded(joined.encode("ascii", "replace"), vr)


def as_text(vr: str, value: Any) -> str:
    """One value of the DICOM JSON Model as it is written in a data element."""
    if value is None:
        return ""
    if isinstance(value, Mapping):  # PN
        groups = [value.get(name) or "" for name in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    if isinstance(value, float):
        return _decimal(value)
    return str(value)


def _decimal(value: float) -> str:
    """A DS of at most 16 characters (PS3.5 6.2)."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    for digits in range(17, 5, -1):
        written = f"{value:.{digits}g}"
        if len(written) <= 16 and (digits <= 15 or float(written) == value):
            return written
    return f"{value:.6g}"


def padded(value: bytes, vr: str) -> bytes:
    """Even length: NUL behind UIDs and bytes, a space behind text (PS3.5 6.2)."""
    if len(value) % 2 == 0:
        return value
    return value + (b"\0" if vr in ("UI", "OB", "UN") else b" ")


def vr_of(tag: int) -> str:
    """The VR we answer in: ours where the archive keeps the attribute, else PS3.6's."""
    if tag in BY_TAG:
        return BY_TAG[tag].vr
    if tag in COMPUTED_TAGS:
        return COMPUTED_TAGS[tag][1]
    return vrs.vr_of(tag)


def _asked(keys: DataSet) -> Iterator[tuple[int, Any]]:
    """What is asked for, sequences with what is asked for of their items (None: all)."""
    for tag, element in keys.items():
        if tag & 0xFFFF == 0:
            continue
        inner = dict(_asked(element.items[0])) if element.items else {}
        yield tag, inner or None


def _words(attribute: Mapping[str, Any] | None) -> Iterator[str]:
    """All text of an attribute, also inside its items."""
    for value in (attribute or {}).get("Value") or ():
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            for inner in value.values():
                if isinstance(inner, str):
                    yield inner
                elif isinstance(inner, Mapping):
                    yield from _words(inner)
