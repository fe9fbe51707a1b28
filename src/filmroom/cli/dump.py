"""A data set as lines of text, for eyes: `filmroom dump FILE`.

Walks the bytes with a stack of its own, so depth costs no recursion and a value is never
read further than it is shown. Whatever is in a file, what comes out is printable: control
characters, bidirectional marks and the like are escaped.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filmroom.dicom import part10, text, uids, vrs
from filmroom.dicom.deflated import inflate
from filmroom.dicom.errors import Malformed, NeedMore

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
INFLATED_BYTES = 1024**3
META_BYTES = 1024 * 1024
DEEPEST_INDENT = 40

Bytes = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class Frame:
    """One thing we are inside of: a data set, a sequence, an item, or fragments."""

    kind: str
    end: int | None  # None: until its delimiter
    explicit_vr: bool
    little_endian: bool
    charsets: tuple[str, ...] = ()
    item: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """Tag, VR and length of one element, and where its value begins."""

    tag: int
    vr: str
    length: int
    value_at: int


def dump(path: Path, max_length: int = 64) -> Iterator[str]:
    """The lines for one file: meta header first, then the data set.

    max_length: characters shown of a value, 0 for all. Raises Malformed where the file
    cannot be followed any further, OSError when it cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise Malformed("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield from dump_bytes(data, max_length)


def dump_bytes(data: Bytes, max_length: int = 64) -> Iterator[str]:
    """The same for a file's content."""
    try:
        meta = part10.parse_meta(data[:META_BYTES], complete=len(data) <= META_BYTES)
    except NeedMore:
        raise Malformed("the file ends inside its File Meta Information") from None
    begin = 132 if data[128:132] == b"DICM" else 0
    if meta.data_set_offset > begin:
        yield "# File Meta Information"
        yield from walk(data, begin, meta.data_set_offset, uids.EXPLICIT_VR_LE, max_length)
    yield f"# Data Set, {uids.name_of(meta.transfer_syntax_uid)}"
    syntax = uids.TRANSFER_SYNTAXES.get(meta.transfer_syntax_uid)
    if syntax is not None and syntax.deflated:
        inflated = inflate(data[meta.data_set_offset :], INFLATED_BYTES)
        yield from walk(inflated, 0, len(inflated), uids.EXPLICIT_VR_LE, max_length)
        return
    yield from walk(data, meta.data_set_offset, len(data), meta.transfer_syntax_uid, max_length)


def walk(
    data: Bytes, begin: int, end: int, transfer_syntax_uid: str, max_length: int
) -> Iterator[str]:
    """One line per element and item between two offsets."""
    syntax = uids.TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    explicit_vr = syntax.explicit_vr if syntax else True
    little_endian = syntax.little_endian if syntax else True
    stack = [Frame("data set", end, explicit_vr, little_endian)]
    at = begin
    while stack:
        frame = stack[-1]
        if frame.end is not None and at >= frame.end:
            stack.pop()
            continue
        if at >= end:
            raise Malformed(f"the data set ends inside a {frame.kind}")
        header = read_header(data, at, end, frame)
        at = header.value_at
        indent = "  " * min(len(stack) - 1, DEEPEST_INDENT)
        if header.tag == ITEM and frame.kind in ("sequence", "fragments"):
            stack[-1] = replace(frame, item=frame.item + 1)
            yield from _item(indent, header, frame)
            if frame.kind == "fragments":
                at += _checked(header, at, end)
            else:
                ends = None if header.length == UNDEFINED else at + _checked(header, at, end)
                stack.append(replace(frame, kind="item", end=ends, item=0))
        elif header.tag in (ITEM_END, SEQUENCE_END):
            if len(stack) == 1:
                raise Malformed(f"a delimiter without its item at byte {at}")
            stack.pop()
        elif inner := _opens(header, frame, at, end):
            yield f"{indent}{_label(header)}"
            stack.append(inner)
        else:
            length = _checked(header, at, end)
            if header.tag == 0x00080005:
                found = text.charsets(bytes(data[at : at + min(length, 1024)]))
                stack[-1] = frame = replace(frame, charsets=found)
            shown = _shown(data, header, frame, max_length)
            yield f"{indent}{_label(header)} {shown}".rstrip()
            at += length


def read_header(data: Bytes, at: int, end: int, frame: Frame) -> Header:
    """The element header at an offset (PS3.5 7.1.2, 7.1.3)."""
    order = "<" if frame.little_endian else ">"
    if at + 8 > end:
        raise Malformed(f"the data set ends inside an element header at byte {at}")
    group, element = struct.unpack_from(f"{order}HH", data, at)
    tag = group << 16 | element
    if not frame.explicit_vr or group == 0xFFFE:
        (length,) = struct.unpack_from(f"{order}I", data, at + 4)
        return Header(tag, vrs.vr_of(tag), length, at + 8)
    code = bytes(data[at + 4 : at + 6])
    if code in vrs.SHORT_VRS:
        (length,) = struct.unpack_from(f"{order}H", data, at + 6)
        return Header(tag, code.decode(), length, at + 8)
    if not (code.isalpha() and code.isupper()):
        raise Malformed(f"{name(tag)} at byte {at} has no value representation")
    if at + 12 > end:
        raise Malformed(f"the data set ends inside an element header at byte {at}")
    (length,) = struct.unpack_from(f"{order}I", data, at + 8)
    return Header(tag, code.decode(), length, at + 12)


def _opens(header: Header, frame: Frame, at: int, end: int) -> Frame | None:
    """The frame that this element opens; None when it is a plain value."""
    undefined = header.length == UNDEFINED
    if header.vr == "SQ" or (undefined and header.vr == "UN"):
        ends = None if undefined else at + _checked(header, at, end)
        if header.vr == "UN":  # implicit little endian inside  PS3.5 6.2.2
            return replace(
                frame, kind="sequence", end=ends, explicit_vr=False, little_endian=True, item=0
            )
        return replace(frame, kind="sequence", end=ends, item=0)
    if undefined:
        return replace(frame, kind="fragments", end=None, item=0)
    return None


def _item(indent: str, header: Header, frame: Frame) -> Iterator[str]:
    length = "" if header.length == UNDEFINED else f", {header.length} bytes"
    if frame.kind == "sequence":
        yield f"{indent}> item {frame.item + 1}{length}"
    elif frame.item == 0:
        yield f"{indent}> offset table{length}"
    else:
        yield f"{indent}> fragment {frame.item}{length}"


def _checked(header: Header, at: int, end: int) -> int:
    if header.length > end - at:
        raise Malformed(
            f"{name(header.tag)} at byte {at} claims {header.length} bytes, {end - at} are left"
        )
    return header.length


def name(tag: int) -> str:
    """A tag as PS3.6 writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _label(header: Header) -> str:
    keyword = vrs.keyword_of(header.tag) or ("Private" if header.tag & 0x10000 else "Unknown")
    return f"{name(header.tag)} {header.vr} {keyword}:"


def _shown(data: Bytes, header: Header, frame: Frame, max_length: int) -> str:
    """The value, or its beginning, in printable characters only."""
    length = header.length
    if header.vr in vrs.BINARY_VRS:
        limit = length if not max_length else min(length, max_length // 2)
        more = "..." if limit < length else ""
        return (
            f"{bytes(data[header.value_at : header.value_at + limit]).hex()}{more} ({length} bytes)"
        )
    limit = length if not max_length else min(length, max_length * 8)
    raw = bytes(data[header.value_at : header.value_at + limit])
    order = "<" if frame.little_endian else ">"
    if header.vr == "AT":
        halves = struct.unpack(f"{order}{len(raw) // 2}H", raw[: len(raw) // 2 * 2])
        value = " ".join(name(g << 16 | e) for g, e in zip(halves[::2], halves[1::2], strict=False))
    elif header.vr in vrs.NUMBER_FORMATS:
        code, width = vrs.NUMBER_FORMATS[header.vr]
        count = len(raw) // width
        numbers = struct.unpack(f"{order}{count}{code}", raw[: count * width])
        value = "\\".join(f"{number:.9g}" if code in "df" else str(number) for number in numbers)
    else:
        value = text.decode(raw, header.vr, frame.charsets).rstrip(" \0")
        if header.vr == "UI" and (known := uids.name_of(value)) != value:
            value = f"{value} ({known})"
    value = printable(value)
    if max_length and (len(value) > max_length or limit < length):
        return f"{value[:max_length]}... ({length} bytes)"
    return value


def printable(value: str) -> str:
    """`value` with everything escaped that is not to be seen on one line of a terminal."""
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
