"""The careful, generic codec: a whole data set to values and back (PS3.5 7, A).

For what must be taken apart or made anew: identifiers, corrections, STOW metadata. Values
are held as raw little endian bytes whatever they were written in, so that a data set can
be written in another transfer syntax without knowing what it means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from filmroom.dicom import text, vrs
from filmroom.dicom.errors import Malformed
from filmroom.dicom.nesting import next_item, skip_undefined
from filmroom.dicom.notation import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    UNDEFINED,
    Notation,
    TooShort,
    element_header,
)
from filmroom.dicom.tags import SPECIFIC_CHARACTER_SET

VR_OF = vrs.vr_of
KEYWORD_OF = vrs.keyword_of
TAG_OF = vrs.tag_of

PIXEL_REPRESENTATION = 0x00280103
MAX_ELEMENTS = 1_000_000

_PAD_ZERO = frozenset({"UI", "OB", "UN"}) | vrs.SWAP_BYTES.keys()
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_ITEM_BE = struct.pack(">HH", 0xFFFE, 0xE000)


@dataclass(frozen=True, slots=True)
class Element:
    """One data element.

    value: raw little endian bytes without any change of padding; for SQ its items; for
        encapsulated pixel data the fragments with their item headers, no delimiter.
    """

    tag: int
    vr: str
    value: bytes | list[DataSet]
    encapsulated: bool = False

    @property
    def items(self) -> list[DataSet]:
        """The items of a sequence; none for any other element."""
        return self.value if isinstance(self.value, list) else []

    @property
    def raw(self) -> bytes:
        """The value field; empty for a sequence."""
        return self.value if isinstance(self.value, bytes) else b""


DataSet = dict[int, Element]


@dataclass(slots=True)
class _Reader:
    """What is the same for a whole data set while it is read."""

    data: bytes
    max_depth: int
    left: int = MAX_ELEMENTS


def read_data_set(
    data: bytes | memoryview,
    *,
    explicit_vr: bool,
    little_endian: bool,
    max_depth: int = 64,
) -> DataSet:
    """Read a complete data set, its sequences included.

    Raises Malformed when it is cut off, nested deeper than `max_depth`, or has more than
    MAX_ELEMENTS elements. The last of several elements with one tag counts. Group lengths
    are dropped. UN becomes what PS3.6 says where it knows the tag (PS3.5 6.2.2).
    """
    n = (EXPLICIT_LE if little_endian else EXPLICIT_BE) if explicit_vr else IMPLICIT_LE
    reader = _Reader(bytes(data), max_depth)
    try:
        ds, _ = _read(reader, 0, len(reader.data), n, 0, False)
    except (struct.error, TooShort):
        raise Malformed("the data set ends inside an element") from None
    return ds


def _read(
    reader: _Reader, at: int, end: int, n: Notation, depth: int, signed: bool
) -> tuple[DataSet, int]:
    """The elements from `at` to `end`, or to an item delimiter; and where they ended."""
    if depth > reader.max_depth:
        raise Malformed(f"sequences are nested deeper than {reader.max_depth}")
    data = reader.data
    ds: DataSet = {}
    while at + 8 <= end:
        tag = n.as_read(n.length.unpack_from(data, at)[0])
        if tag == 0 and not any(data[at : at + 8]):
            break
        start, length, written_vr = element_header(data, at, n)
        if tag == 0xFFFEE00D:
            return ds, start
        reader.left -= 1
        if reader.left < 0:
            raise Malformed(f"more than {MAX_ELEMENTS} elements")
        vr = written_vr.decode("ascii") if written_vr else vrs.vr_of(tag, signed=signed)
        element, at = _element(reader, tag, vr, start, length, end, n, depth, signed)
        if tag == PIXEL_REPRESENTATION:
            signed = element.raw[:1] == b"\1"
        if tag & 0xFFFF and tag >> 16 != 0xFFFE:
            ds[tag] = element
    if data[at:end].strip(b"\0"):
        raise TooShort(at + 8)
    return ds, end


def _element(
    reader: _Reader,
    tag: int,
    vr: str,
    start: int,
    length: int,
    end: int,
    n: Notation,
    depth: int,
    signed: bool,
) -> tuple[Element, int]:
    if length == UNDEFINED:
        if vr in ("OB", "OW") or tag == 0x7FE00010:
            stop = skip_undefined(reader.data, start, n)
            return Element(tag, vr, reader.data[start : stop - 8], True), stop
        inner = IMPLICIT_LE if vr == "UN" else n
        items, stop = _items(reader, start, end, inner, depth, signed, delimited=True)
        return Element(tag, "SQ", items), stop
    stop = start + length
    if stop > end:
        raise TooShort(stop)
    known = vrs.vr_of(tag, signed=signed) if vr == "UN" else vr
    if vr == "SQ":
        items, _ = _items(reader, start, stop, n, depth, signed, delimited=False)
        return Element(tag, vr, items), stop
    if known == "SQ":
        return _unknown_sequence(reader, tag, start, stop, depth, signed), stop
    raw = reader.data[start:stop]
    return Element(tag, known, raw if n.little_endian or vr == "UN" else vrs.swapped(raw, vr)), stop


def _unknown_sequence(
    reader: _Reader, tag: int, start: int, stop: int, depth: int, signed: bool
) -> Element:
    """A sequence that somebody wrote as UN: implicit VR inside, if it can be read at all."""
    left = reader.left
    try:
        items, _ = _items(reader, start, stop, IMPLICIT_LE, depth, signed, delimited=False)
    except (Malformed, TooShort, struct.error):
        reader.left = min(left, reader.left)
        return Element(tag, "UN", reader.data[start:stop])
    return Element(tag, "SQ", items)


def _items(
    reader: _Reader, at: int, end: int, n: Notation, depth: int, signed: bool, *, delimited: bool
) -> tuple[list[DataSet], int]:
    """The items from `at` to `end`, or to the sequence delimiter (PS3.5 7.5)."""
    items: list[DataSet] = []
    while True:
        length, at = next_item(reader.data, at, end, n, delimited=delimited)
        if length is None:
            return items, at
        reader.left -= 1
        if length == UNDEFINED:
            item, at = _read(reader, at, end, n, depth + 1, signed)
        else:
            item, _ = _read(reader, at, at + length, n, depth + 1, signed)
            at += length
        items.append(item)


def write_data_set(ds: DataSet, *, explicit_vr: bool, little_endian: bool = True) -> bytes:
    """The bytes of a data set, in tag order, padded to even lengths, sequences with length.

    A value too long for a 16-bit length is written as UN (PS3.5 6.2.2).
    """
    order = "<" if little_endian else ">"
    return b"".join(_written(ds[tag], explicit_vr, order) for tag in sorted(ds))


def _written(element: Element, explicit_vr: bool, order: str) -> bytes:
    vr, little_endian = element.vr, order == "<"
    if isinstance(element.value, list):
        vr = "SQ"
        raw = b"".join(_written_item(item, explicit_vr, order) for item in element.value)
    else:
        raw = element.value if little_endian else vrs.swapped(element.value, vr)
        if len(raw) % 2:
            raw += b"\0" if vr in _PAD_ZERO else b" "
    tag = struct.pack(order + "HH", element.tag >> 16, element.tag & 0xFFFF)
    length = UNDEFINED if element.encapsulated else len(raw)
    if element.encapsulated:
        raw += struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
    if not explicit_vr:
        return tag + struct.pack(order + "I", length) + raw
    code = vr.encode("ascii")
    if code in vrs.SHORT_VRS and length <= 0xFFFF:
        return tag + code + struct.pack(order + "H", length) + raw
    if code in vrs.SHORT_VRS:
        code = b"UN"
        raw = raw if little_endian else vrs.swapped(raw, vr)
    return tag + code + b"\0\0" + struct.pack(order + "I", length) + raw


def _written_item(item: DataSet, explicit_vr: bool, order: str) -> bytes:
    raw = write_data_set(item, explicit_vr=explicit_vr, little_endian=order == "<")
    return (_ITEM if order == "<" else _ITEM_BE) + struct.pack(order + "I", len(raw)) + raw


def charsets_of(ds: DataSet) -> tuple[str, ...]:
    """The Specific Character Set of a data set."""
    element = ds.get(SPECIFIC_CHARACTER_SET)
    return text.charsets(element.raw) if element is not None else ()


def get_text(ds: DataSet, tag: int, charsets: tuple[str, ...] | None = None) -> str:
    """The text of an element, several values joined by backslashes; "" when absent."""
    element = ds.get(tag)
    if element is None or not element.raw:
        return ""
    number = vrs.NUMBER_FORMATS.get(element.vr)
    if number is not None:
        return "\\".join(str(n) for n in get_numbers(ds, tag))
    return text.decode(element.raw, element.vr, charsets_of(ds) if charsets is None else charsets)


def get_texts(ds: DataSet, tag: int, charsets: tuple[str, ...] | None = None) -> list[str]:
    """The values of an element as texts; [] when absent or empty."""
    joined = get_text(ds, tag, charsets)
    return joined.split("\\") if joined else []


def get_numbers(ds: DataSet, tag: int) -> list[int | float]:
    """The values of a binary number element (US, UL, FD ...); [] when absent or empty."""
    element = ds.get(tag)
    if element is None or element.vr not in vrs.NUMBER_FORMATS:
        return []
    code, width = vrs.NUMBER_FORMATS[element.vr]
    return list(struct.unpack_from(f"<{len(element.raw) // width}{code}", element.raw))


def get_items(ds: DataSet, tag: int) -> list[DataSet]:
    """The items of a sequence; [] when absent."""
    element = ds.get(tag)
    return element.items if element is not None else []


def put_text(ds: DataSet, tag: int, value: str | Iterable[str], vr: str | None = None) -> None:
    """Set a text element, in the data set's own character set; vr: the dictionary's."""
    vr = vr or vrs.vr_of(tag)
    joined = value if isinstance(value, str) else "\\".join(value)
    ds[tag] = Element(tag, vr, text.encode(joined, vr, charsets_of(ds)))


def put_numbers(ds: DataSet, tag: int, *values: float, vr: str | None = None) -> None:
    """Set a binary number element (US, UL, FD ...); vr: the dictionary's."""
    vr = vr or vrs.vr_of(tag)
    code, _ = vrs.NUMBER_FORMATS[vr]
    ds[tag] = Element(tag, vr, struct.pack(f"<{len(values)}{code}", *values))


def put_items(ds: DataSet, tag: int, *items: DataSet) -> None:
    """Set a sequence."""
    ds[tag] = Element(tag, "SQ", list(items))
