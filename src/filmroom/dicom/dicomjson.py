"""The DICOM JSON Model (PS3.18 F), written straight from the bytes of a header.

What is stored may be odd inside its sequences (scan looks at the top level only), so
reading here is forgiving: a sequence that cannot be read, or one nested deeper than
MAX_DEPTH, appears without its items, and the rest of the header as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import orjson

from filmroom.dicom import text, vrs
from filmroom.dicom.errors import Malformed
from filmroom.dicom.jsonelements import from_elements, to_elements
from filmroom.dicom.jsonvalues import inline, to_values
from filmroom.dicom.nesting import next_item, skip_item, skip_undefined
from filmroom.dicom.notation import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    UNDEFINED,
    Buffer,
    Notation,
    TooShort,
    element_header,
    notation_of,
)
from filmroom.dicom.tags import SPECIFIC_CHARACTER_SET

__all__ = ["element_json", "encode", "from_elements", "locate", "to_elements"]

MAX_DEPTH = 64  # three JSON levels each; orjson stops at 254
MAX_ELEMENTS = 1_000_000  # a top-level sequence with more appears without its items
LONG_VALUE_BYTES = 256 * 1024  # a longer value that is not binary becomes bulk data too

Json = dict[str, Any]
_PIXEL_VRS = {0x7FE00008: "OF", 0x7FE00009: "OD"}
_PIXEL_REPRESENTATION = 0x00280103
_GROUPS_LEFT_OUT = frozenset({0x0000, 0x0002, 0xFFFE})  # commands, file meta, delimiters
_LEFT_OUT = frozenset({0x7FE00001, 0x7FE00002, 0xFFFCFFFC})  # offset tables, padding
_ALWAYS_INLINE = frozenset(  # palettes: viewers do not fetch them
    {0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222, 0x00281223}
)
_MAY_BE_LONG = frozenset({"DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV"}) | frozenset(
    {"UC", "UL", "US", "UT", "UV"}
)
_NAMES = {vr: vr.decode("ascii") for vr in vrs.KNOWN_VRS}
_UNREADABLE = (Malformed, TooShort, struct.error)


def encode(
    header: Buffer,
    transfer_syntax_uid: str,
    bulk_uri: Callable[[str], str],
    *,
    pixel_tag: int | None = None,
    inline_limit: int = 1024,
    wanted: Callable[[int], bool] | None = None,
) -> bytes:
    """A header as one JSON object: tags ascending, UTF-8, no group lengths, no group 0002.

    header: the data set up to its pixel data, not deflated.
    bulk_uri: the URI of a value that is not in line, from its path: the tag, within items
        `tag/item number/tag`, item numbers from 1.
    pixel_tag: the pixel data element, when it has one: added as bulk data.
    inline_limit: longest binary value, in bytes, that goes in line as base64.
    wanted: which of the header's own tags to take, for who needs but a few; None: all.
    Raises Malformed when the header's own elements cannot be read.
    """
    reader = _Reader(header, bulk_uri, inline_limit, wanted)
    obj = reader.header(notation_of(transfer_syntax_uid))
    if pixel_tag is not None:
        name = f"{pixel_tag:08X}"
        vr = _PIXEL_VRS.get(pixel_tag, "OW")
        obj[name] = {"vr": vr, "BulkDataURI": bulk_uri(name)}
    return orjson.dumps(obj)


def element_json(
    tag: int,
    vr: str,
    raw: bytes,
    charsets: tuple[str, ...],
    *,
    explicit_vr: bool,
    little_endian: bool,
) -> Json:
    """One attribute from its raw value field; all binary in line. Never raises."""
    n = (EXPLICIT_LE if little_endian else EXPLICIT_BE) if explicit_vr else IMPLICIT_LE
    reader = _Reader(raw, None, 0)
    if vr == "SQ":
        return reader.sequence(0, len(raw), len(raw), n, charsets, f"{tag:08X}", 0, False)[0]
    return reader.value(tag, vr, 0, len(raw), charsets, little_endian, "")


class _TooMany(Exception):
    """More elements than memory should be spent on."""


class _Reader:
    """Reads one header; `bulk_uri` None puts everything in line."""

    def __init__(
        self,
        data: Buffer,
        bulk_uri: Callable[[str], str] | None,
        limit: int,
        wanted: Callable[[int], bool] | None = None,
    ) -> None:
        self.wanted = wanted
        self.data = data
        self.bulk_uri = bulk_uri
        self.limit = limit
        self.left = MAX_ELEMENTS

    def header(self, n: Notation) -> Json:
        size = len(self.data)
        try:
            obj, _ = self.attributes(0, size, n, (), "", 0, False)
        except (TooShort, struct.error):
            raise Malformed("an element reaches past the end of the header") from None
        except _TooMany:
            raise Malformed(f"the header has more than {MAX_ELEMENTS} elements") from None
        return obj

    def attributes(
        self,
        at: int,
        end: int,
        n: Notation,
        charsets: tuple[str, ...],
        path: str,
        depth: int,
        signed: bool,
    ) -> tuple[Json, int]:
        """The attributes from `at` to `end`, or to an item delimiter; and where they ended."""
        data, little_endian = self.data, n.little_endian
        unpack = n.length.unpack_from
        obj: Json = {}
        last, in_order, left = -1, True, self.left
        wanted = self.wanted if depth == 0 else None
        while at + 8 <= end:
            tag = n.as_read(unpack(data, at)[0])
            start, length, code = element_header(data, at, n)
            if tag >> 16 in _GROUPS_LEFT_OUT or not tag & 0xFFFF or tag in _LEFT_OUT:
                if tag == 0xFFFEE00D:
                    end = start
                    break
                at = skip_undefined(data, start, n) if length == UNDEFINED else start + length
                continue
            if wanted is not None and not wanted(tag):
                at = skip_undefined(data, start, n) if length == UNDEFINED else start + length
                if at > end:
                    raise TooShort(at)
                continue
            vr = _NAMES.get(code, "UN") if code else vrs.vr_of(tag, signed=signed)
            name = f"{tag:08X}"
            if length == UNDEFINED or vr == "SQ" or vr == "UN":
                obj[name], at = self._special(
                    tag, vr, start, length, end, n, charsets, path + name, depth, signed
                )
            else:
                at = start + length
                if at > end:
                    raise TooShort(at)
                obj[name] = self.value(tag, vr, start, at, charsets, little_endian, path + name)
            if tag == SPECIFIC_CHARACTER_SET and length != UNDEFINED:
                charsets = text.charsets(bytes(data[start:at]))
                if charsets:
                    obj[name] = {"vr": "CS", "Value": [text.UTF_8]}
            elif tag == _PIXEL_REPRESENTATION:
                signed = obj[name].get("Value") == [1]
            if len(obj) > left:
                raise _TooMany
            in_order = in_order and tag > last
            last = tag
        self.left -= len(obj)
        if not in_order:
            obj = dict(sorted(obj.items()))
        return obj, end

    def value(
        self,
        tag: int,
        vr: str,
        start: int,
        stop: int,
        charsets: tuple[str, ...],
        little_endian: bool,
        path: str,
    ) -> Json:
        """The JSON of one value field that is not a sequence."""
        if start == stop:
            return {"vr": vr}
        binary = vr in vrs.BINARY_VRS
        if self.bulk_uri is not None and stop - start > self.limit:
            # Bulk data are little endian (PS3.18 8.7.3.1), so what would need swapping stays.
            as_it_lies = little_endian or vr in ("OB", "UN")
            if binary and as_it_lies and tag not in _ALWAYS_INLINE:
                return {"vr": vr, "BulkDataURI": self.bulk_uri(path)}
            if stop - start > LONG_VALUE_BYTES and little_endian and vr in _MAY_BE_LONG:
                return {"vr": vr, "BulkDataURI": self.bulk_uri(path)}
        raw = bytes(self.data[start:stop])
        if binary:
            return {
                "vr": vr,
                "InlineBinary": inline(raw if little_endian else vrs.swapped(raw, vr)),
            }
        values = to_values(vr, raw, charsets, little_endian)
        return {"vr": vr, "Value": values} if values else {"vr": vr}

    def _special(
        self,
        tag: int,
        vr: str,
        start: int,
        length: int,
        end: int,
        n: Notation,
        charsets: tuple[str, ...],
        path: str,
        depth: int,
        signed: bool,
    ) -> tuple[Json, int]:
        """Sequences, fragments, and UN, which may hide either (PS3.5 6.2.2)."""
        if length == UNDEFINED and vr in ("OB", "OW"):
            stop = skip_undefined(self.data, start, n)
            return self.value(tag, vr, start, stop - 8, charsets, True, path), stop
        if vr != "UN":
            return self.sequence(start, length, end, n, charsets, path, depth, signed)
        if length == UNDEFINED:
            return self.sequence(start, length, end, IMPLICIT_LE, charsets, path, depth, signed)
        stop = start + length
        if stop > end:
            raise TooShort(stop)
        known = vrs.vr_of(tag, signed=signed)
        if known != "SQ":
            return self.value(tag, known, start, stop, charsets, True, path), stop
        found, _ = self.sequence(start, length, end, IMPLICIT_LE, charsets, path, depth, signed)
        if length and "Value" not in found:
            return self.value(tag, "UN", start, stop, charsets, True, path), stop
        return found, stop

    def sequence(
        self,
        start: int,
        length: int,
        end: int,
        n: Notation,
        charsets: tuple[str, ...],
        path: str,
        depth: int,
        signed: bool,
    ) -> tuple[Json, int]:
        """A sequence and where it ends; without items when they are too deep or unreadable."""
        delimited = length == UNDEFINED
        stop = end if delimited else start + length
        if stop > end:
            raise TooShort(stop)
        if depth >= MAX_DEPTH:
            return {"vr": "SQ"}, skip_undefined(self.data, start, n) if delimited else stop
        try:
            items, stop = self._items(start, stop, n, charsets, path, depth + 1, signed, delimited)
        except _UNREADABLE:
            return {"vr": "SQ"}, skip_undefined(self.data, start, n) if delimited else stop
        except _TooMany:
            if depth:
                raise
            self.left = MAX_ELEMENTS
            return {"vr": "SQ"}, skip_undefined(self.data, start, n) if delimited else stop
        return ({"vr": "SQ", "Value": items} if items else {"vr": "SQ"}), stop

    def _items(
        self,
        at: int,
        end: int,
        n: Notation,
        charsets: tuple[str, ...],
        path: str,
        depth: int,
        signed: bool,
        delimited: bool,
    ) -> tuple[list[Json], int]:
        items: list[Json] = []
        while True:
            length, at = next_item(self.data, at, end, n, delimited=delimited)
            if length is None:
                return items, at
            inner = f"{path}/{len(items) + 1}/"
            if length == UNDEFINED:
                item, at = self.attributes(at, end, n, charsets, inner, depth, signed)
            else:
                stop = at + length
                item, _ = self.attributes(at, stop, n, charsets, inner, depth, signed)
                at = stop
            items.append(item)
            self.left -= 1
            if self.left < 0:
                raise _TooMany


def locate(header: Buffer, transfer_syntax_uid: str, path: str) -> tuple[int, int, str]:
    """Where a bulk data value lies: (offset, length, VR), offset from the data set's start.

    path: as `encode` gave it to bulk_uri. Raises KeyError when there is no such element,
    Malformed when the path or the header is none.
    """
    steps = path.split("/")
    if len(steps) % 2 == 0 or len(steps) > 2 * MAX_DEPTH + 1:
        raise Malformed("this is not a path to bulk data")
    try:
        tags = [int(step, 16) for step in steps[::2]]
        numbers = [int(step) for step in steps[1::2]]
    except ValueError:
        raise Malformed("this is not a path to bulk data") from None
    n = notation_of(transfer_syntax_uid)
    at, end = 0, len(header)
    try:
        for tag, number in zip(tags, numbers, strict=False):
            start, length, vr, n = _find(header, at, end, n, tag)
            if vr == "UN":
                n = IMPLICIT_LE
            limit = end if length == UNDEFINED else start + length
            at, end = _find_item(header, start, min(limit, end), n, number)
        start, length, vr, n = _find(header, at, end, n, tags[-1])
        if length == UNDEFINED:
            length = skip_undefined(header, start, n) - 8 - start
    except (TooShort, struct.error):
        raise Malformed("the header ends inside an element") from None
    if start + length > len(header):
        raise Malformed("the value reaches past the end of the header")
    return start, length, vr


def _find(
    data: Buffer, at: int, end: int, n: Notation, wanted: int
) -> tuple[int, int, str, Notation]:
    while at + 8 <= end:
        tag = n.as_read(n.length.unpack_from(data, at)[0])
        start, length, code = element_header(data, at, n)
        if tag == wanted:
            vr = _NAMES.get(code, "UN") if code else vrs.vr_of(tag)
            return start, length, vr, n
        if tag == 0xFFFEE00D:
            break
        if length == UNDEFINED:
            at = skip_undefined(data, start, IMPLICIT_LE if code in (b"UN", b"") else n)
        else:
            at = start + length
    raise KeyError(f"{wanted:08X}")


def _find_item(data: Buffer, at: int, end: int, n: Notation, number: int) -> tuple[int, int]:
    """The content of item `number` (from 1) of the items that begin at `at`."""
    while at + 8 <= end:
        read, length = n.implicit.unpack_from(data, at)
        at += 8
        if read == n.sequence_end:
            break
        if read == n.item:
            number -= 1
            if number == 0:
                return at, end if length == UNDEFINED else min(at + length, end)
            at = skip_item(data, at, n) if length == UNDEFINED else at + length
    raise KeyError("no such item")
