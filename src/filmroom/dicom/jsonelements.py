"""A DICOM JSON object <-> a data set of elements (PS3.18 F), for STOW metadata and edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from filmroom.dicom import text, vrs
from filmroom.dicom.elements import DataSet, Element, charsets_of
from filmroom.dicom.errors import Malformed
from filmroom.dicom.jsonvalues import from_values, inline, outlined, to_values
from filmroom.dicom.tags import SPECIFIC_CHARACTER_SET

MAX_DEPTH = 64
_HEX = frozenset("0123456789ABCDEFabcdef")
_VRS = frozenset(vr.decode("ascii") for vr in vrs.KNOWN_VRS)


def to_elements(obj: dict[str, Any], bulk: Callable[[str], bytes]) -> DataSet:
    """A data set from a JSON object; text becomes UTF-8 and (0008,0005) says so.

    bulk: fetches the bytes of a BulkDataURI; what it raises passes through. Raises
    Malformed when the object is not of the DICOM JSON Model or deeper than MAX_DEPTH.
    """
    ds = _data_set(obj, bulk, 0)
    if SPECIFIC_CHARACTER_SET in ds or not _is_ascii(ds):
        raw = text.UTF_8.encode("ascii")
        ds[SPECIFIC_CHARACTER_SET] = Element(SPECIFIC_CHARACTER_SET, "CS", raw)
    return dict(sorted(ds.items()))


def _data_set(obj: Any, bulk: Callable[[str], bytes], depth: int) -> DataSet:
    if not isinstance(obj, dict):
        raise Malformed("a data set must be a JSON object")
    if depth > MAX_DEPTH:
        raise Malformed(f"sequences are nested deeper than {MAX_DEPTH}")
    ds: DataSet = {}
    for name, attribute in obj.items():
        if len(name) != 8 or not _HEX.issuperset(name) or not isinstance(attribute, dict):
            raise Malformed("an attribute must be named by eight hexadecimal digits")
        tag = int(name, 16)
        if tag & 0xFFFF:
            ds[tag] = _element(tag, attribute, bulk, depth)
    if depth and SPECIFIC_CHARACTER_SET in ds:
        del ds[SPECIFIC_CHARACTER_SET]  # the whole is UTF-8
    return ds


def _element(
    tag: int, attribute: dict[str, Any], bulk: Callable[[str], bytes], depth: int
) -> Element:
    vr = attribute.get("vr") or vrs.vr_of(tag)
    if not isinstance(vr, str) or vr not in _VRS:
        raise Malformed("unknown value representation")
    if vr == "SQ" and ("BulkDataURI" in attribute or "InlineBinary" in attribute):
        raise Malformed("a sequence has items and no bytes of its own")
    if "BulkDataURI" in attribute:
        return Element(tag, vr, bulk(str(attribute["BulkDataURI"])))
    if "InlineBinary" in attribute:
        return Element(tag, vr, outlined(attribute["InlineBinary"]))
    values = attribute.get("Value", [])
    if not isinstance(values, list):
        raise Malformed("Value must be an array")
    if vr == "SQ":
        return Element(tag, vr, [_data_set(item or {}, bulk, depth + 1) for item in values])
    if vr in vrs.BINARY_VRS and values:
        raise Malformed(f"VR {vr} has no Value but InlineBinary")
    return Element(tag, vr, from_values(vr, values))


def _is_ascii(ds: DataSet) -> bool:
    for element in ds.values():
        if element.vr == "SQ":
            if not all(_is_ascii(item) for item in element.items):
                return False
        elif element.vr in vrs.CHARSET_VRS and not element.raw.isascii():
            return False
    return True


def from_elements(ds: DataSet, charsets: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The JSON object of a data set, all binary in line.

    charsets: of the text in it; None: what (0008,0005) says, in each item anew.
    """
    own = charsets_of(ds) if charsets is None or SPECIFIC_CHARACTER_SET in ds else charsets
    obj: dict[str, Any] = {}
    for tag in sorted(ds):
        element = ds[tag]
        vr = element.vr if element.vr in _VRS else "UN"
        attribute: dict[str, Any] = {"vr": vr}
        if vr == "SQ":
            values: list[Any] = [from_elements(item, own) for item in element.items]
            if values:
                attribute["Value"] = values
        elif vr in vrs.BINARY_VRS:
            if element.raw:
                attribute["InlineBinary"] = inline(element.raw)
        elif tag == SPECIFIC_CHARACTER_SET and own:
            attribute["Value"] = [text.UTF_8]
        else:
            values = to_values(vr, element.raw, own, True)
            if values:
                attribute["Value"] = values
        obj[f"{tag:08X}"] = attribute
    return obj
