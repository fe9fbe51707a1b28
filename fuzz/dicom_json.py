"""DICOM JSON as STOW-RS takes it (PS3.18 F): a data set, or Malformed."""

from __future__ import annotations

import json

import orjson

from filmroom.dicom import dicomjson, elements
from filmroom.dicom.errors import Malformed
from filmroom.dicomweb import xml


def check(data: bytes) -> None:
    """Make a data set of each object, and the object of that data set."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    for obj in parsed if isinstance(parsed, list) else [parsed]:
        check_object(obj)


def check_object(obj: object) -> None:
    """One object: it can be written and read again, and told in JSON and XML."""
    try:
        ds = dicomjson.to_elements(obj, _bulk)  # type: ignore[arg-type]
    except Malformed:
        return
    written = elements.write_data_set(ds, explicit_vr=True)
    again = elements.read_data_set(written, explicit_vr=True, little_endian=True)
    told = dicomjson.from_elements(again)
    json.dumps(told, allow_nan=False)
    xml.loads(xml.dumps(told))


def _bulk(uri: str) -> bytes:
    if len(uri) > 20:
        raise Malformed("no such part")
    return uri.encode("utf-8", "replace")
