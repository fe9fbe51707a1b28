"""Values of a DICOM JSON object (PS3.18 F), read with patience: what makes no sense is absent."""

from __future__ import annotations

import base64
import binascii
import math
from array import array
from collections.abc import Mapping
from typing import Any

Attributes = Mapping[str, Any]


def values_of(attributes: Attributes, tag: str) -> list[Any]:
    """The values of an attribute; [] when it is absent or empty."""
    values = attributes.get(tag, {}).get("Value", [])
    return values if isinstance(values, list) else []


def items_of(attributes: Attributes, tag: str) -> list[Attributes]:
    """The items of a sequence that are data sets."""
    return [item for item in values_of(attributes, tag) if isinstance(item, dict)]


def text_of(attributes: Attributes, tag: str) -> str:
    """The first value as text."""
    values = values_of(attributes, tag)
    return str(values[0]).strip() if values and values[0] is not None else ""


def number_of(attributes: Attributes, tag: str) -> float | None:
    """The first value as a finite number, or None."""
    numbers = numbers_of(attributes, tag)
    return numbers[0] if numbers else None


def numbers_of(attributes: Attributes, tag: str) -> list[float]:
    """All values that are finite numbers, in order; one that is none ends the list."""
    numbers: list[float] = []
    for value in values_of(attributes, tag):
        try:
            number = float(value)
        except (TypeError, ValueError):
            break
        if not math.isfinite(number):
            break
        numbers.append(number)
    return numbers


def raw_of(attributes: Attributes, tag: str) -> bytes:
    """An inline binary value, or a list of 16-bit numbers as bytes; b"" when absent."""
    attribute = attributes.get(tag, {})
    if "InlineBinary" in attribute:
        coded = attribute["InlineBinary"]
        return coded if isinstance(coded, bytes) else _decoded(coded)
    words = array("H", (int(number) & 0xFFFF for number in numbers_of(attributes, tag)))
    return words.tobytes()


def _decoded(coded: Any) -> bytes:
    try:
        return base64.b64decode(coded, validate=False)
    except (binascii.Error, TypeError, ValueError):
        return b""


def decode_binaries(attributes: Attributes) -> None:
    """Put bytes in place of inline binary values, those of items too.

    `raw_of` takes either; of what is read again for each frame, base64 is read but once.
    """
    waiting = [attributes]
    while waiting:
        for attribute in waiting.pop().values():
            if "InlineBinary" in attribute:
                attribute["InlineBinary"] = _decoded(attribute["InlineBinary"])
            elif attribute.get("vr") == "SQ":
                waiting += [each for each in attribute.get("Value", ()) if isinstance(each, dict)]


def weight_of(text: bytes) -> int:
    """About how many bytes the objects of a DICOM JSON text take in memory; rather too many.

    A dictionary takes a fifth of a kilobyte to begin with, and most attributes are short.
    """
    lists, commas, quotes = text.count(b"["), text.count(b","), text.count(b'"')
    return 1000 + len(text) + 200 * text.count(b"{") + 70 * lists + 40 * commas + 15 * quotes
