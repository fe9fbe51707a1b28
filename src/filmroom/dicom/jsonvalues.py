"""One value field <-> the `Value` of the DICOM JSON Model (PS3.18 F.2.2 to F.2.7)."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable
from typing import Any

from filmroom.dicom import vrs
from filmroom.dicom.errors import Malformed
from filmroom.dicom.text import decode

GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
MAX_DS_CHARACTERS = 16
_EXACT = 1 << 53  # beyond it a JSON number is not exact in JavaScript: a string then

Charsets = tuple[str, ...]
Values = list[Any]


def to_values(vr: str, raw: bytes, charsets: Charsets, little_endian: bool) -> Values:
    """The JSON values of a value field; [] when it holds none. Not for SQ or bulk VRs.

    An empty value among several is None. Never raises: what is no number stays a string,
    a ragged end is dropped, NaN and infinity are None (JSON has no such numbers).
    """
    return _READERS[vr](raw, charsets, little_endian)


def inline(raw: bytes) -> str:
    """The `InlineBinary` of bytes."""
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def _one_text(vr: str) -> Callable[[bytes, Charsets, bool], Values]:
    def read(raw: bytes, charsets: Charsets, _: bool) -> Values:
        text = decode(raw, vr, charsets)
        return [text] if text else []

    return read


def _texts(raw: bytes, charsets: Charsets, _: bool) -> Values:
    text = decode(raw, "LO", charsets)
    if "\\" in text:
        return [part or None for part in text.split("\\")]
    return [text] if text else []


def _names(raw: bytes, charsets: Charsets, _: bool) -> Values:
    text = decode(raw, "PN", charsets)
    if not text:
        return []
    if "\\" not in text and "=" not in text:
        return [{"Alphabetic": text}]
    return [_name(part) for part in text.split("\\")]


def _name(text: str) -> dict[str, str] | None:
    groups = {
        key: group.strip()
        for key, group in zip(GROUPS, text.split("="), strict=False)
        if group.strip()
    }
    return groups or None


def _decimals(raw: bytes, charsets: Charsets, _: bool) -> Values:
    return [_decimal(part) for part in _texts(raw, charsets, True)]


def _decimal(text: str | None) -> float | str | None:
    if text is None:
        return None
    try:
        if "_" in text or not text.isascii():
            return text
        if "." not in text:
            return _exact(text)
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _exact(text: str) -> float | str:
    try:
        number: float = int(text)
    except ValueError:
        number = float(text)
    return number if -_EXACT <= number <= _EXACT else text


def _integers(raw: bytes, charsets: Charsets, _: bool) -> Values:
    return [_integer(part) for part in _texts(raw, charsets, True)]


def _integer(text: str | None) -> int | str | None:
    if text is None or "_" in text or not text.isascii():
        return text
    try:
        number = int(text)
    except ValueError:
        return text
    return number if -_EXACT <= number <= _EXACT else text


def _numbers(code: str, width: int) -> Callable[[bytes, Charsets, bool], Values]:
    single = struct.Struct("<" + code)

    def read(raw: bytes, _: Charsets, little_endian: bool) -> Values:
        if len(raw) == width and little_endian:
            values: Values = list(single.unpack(raw))
        else:
            count = len(raw) // width
            order = "<" if little_endian else ">"
            values = list(struct.unpack_from(f"{order}{count}{code}", raw))
        if code in "fd":
            return [value if math.isfinite(value) else None for value in values]
        if code in "qQ":
            return [v if -_EXACT <= v <= _EXACT else str(v) for v in values]
        return values

    return read


def _tags(raw: bytes, _: Charsets, little_endian: bool) -> Values:
    order = "<" if little_endian else ">"
    words = struct.unpack_from(f"{order}{len(raw) // 4 * 2}H", raw)
    return [f"{g:04X}{e:04X}" for g, e in zip(words[::2], words[1::2], strict=True)]


_READERS: dict[str, Callable[[bytes, Charsets, bool], Values]] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"), _texts),
    **{vr: _one_text(vr) for vr in vrs.ONE_VALUE_TEXT},
    **{vr: _numbers(code, width) for vr, (code, width) in vrs.NUMBER_FORMATS.items()},
    "PN": _names,
    "DS": _decimals,
    "IS": _integers,
    "AT": _tags,
}


def from_values(vr: str, values: Values) -> bytes:
    """The value field (UTF-8, little endian, not padded) of JSON values.

    Raises Malformed when a value is not of the kind that the VR asks for.
    """
    try:
        if vr in vrs.NUMBER_FORMATS:
            return _packed(vrs.NUMBER_FORMATS[vr][0], values)
        if vr == "AT":
            return b"".join(_tag(value) for value in values)
        return "\\".join([_text(vr, value) for value in values]).encode("utf-8", "replace")
    except (TypeError, ValueError, struct.error, OverflowError):
        raise Malformed(f"a value is not what VR {vr} holds") from None


def _packed(code: str, values: Values) -> bytes:
    numbers = [math.nan if v is None and code in "fd" else v for v in values]
    convert = float if code in "fd" else int
    if any(isinstance(number, bool) for number in numbers):
        raise TypeError
    return struct.pack(f"<{len(numbers)}{code}", *map(convert, numbers))


def _tag(value: Any) -> bytes:
    if len(value) != 8:
        raise ValueError(value)
    number = int(value, 16)
    return struct.pack("<HH", number >> 16, number & 0xFFFF)


def _text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN":
        if isinstance(value, str):
            return value
        if not isinstance(value, dict):
            raise TypeError(value)
        return "=".join([str(value.get(key) or "") for key in GROUPS]).rstrip("=")
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or vr not in ("DS", "IS"):
        raise TypeError(value)
    if vr == "IS":
        return str(int(value))
    return format_ds(value)


def format_ds(number: float) -> str:
    """A number in at most 16 characters, as exact as fits (PS3.5 6.2, DS)."""
    text = repr(number)
    digits = 16
    while len(text) > MAX_DS_CHARACTERS:
        text = f"{number:.{digits}g}"
        digits -= 1
    return text


def outlined(text: Any) -> bytes:
    """The bytes of an `InlineBinary`. Raises Malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Malformed("InlineBinary is not base64") from None
