"""A data set from anywhere: scanned, checked, its frames found, told as JSON, taken apart.

First byte: the transfer syntax. Then the data set.
"""

from __future__ import annotations

import json

from filmroom.dicom import dicomjson, elements, frames, text, uids
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.scan import Scan, check_rest, scan

SYNTAXES = (
    uids.EXPLICIT_VR_LE,
    uids.IMPLICIT_VR_LE,
    uids.EXPLICIT_VR_BE,
    uids.JPEG_BASELINE,
    uids.RLE_LOSSLESS,
)
MOST_FRAMES = 20
CUTS = 5


def check(data: bytes) -> None:
    """All that ingest and retrieval do with it."""
    if not data:
        return
    syntax, body = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    found = _scanned(body, syntax, complete=True)
    _check_beginnings(body, syntax, found)
    if found is not None:
        _check_frames(body, syntax, found)
        _check_json(body, syntax, found)
    _check_taken_apart(body, syntax)


def _scanned(body: bytes, syntax: str, *, complete: bool) -> Scan | None:
    """None when it is Malformed."""
    try:
        return scan(body, syntax, complete=complete)
    except Malformed:
        return None


def _check_beginnings(body: bytes, syntax: str, found: Scan | None) -> None:
    """What a beginning says is what the whole says: it is looked at before the rest has come."""
    for number in range(1, CUTS + 1):
        beginning = body[: len(body) * number // CUTS]
        try:
            early = scan(beginning, syntax, complete=False)
        except NeedMore as more:
            assert more.at_least > len(beginning)
        except Malformed:
            assert found is None, "a beginning is refused, the whole is not"
        else:
            assert early == found, "a beginning is read otherwise than the whole"


def _check_frames(body: bytes, syntax: str, found: Scan) -> None:
    try:
        check_rest(found, body)
        table = frames.build(found, body, syntax)
    except Malformed:
        return
    if table is None:
        return
    assert frames.FrameTable.from_bytes(table.to_bytes()) == table
    for index in {*range(min(table.frames, MOST_FRAMES)), table.frames - 1}:
        for offset, length in table.ranges(index):
            assert 0 <= offset <= offset + length <= len(body), "a frame outside of its file"


def _check_json(body: bytes, syntax: str, found: Scan) -> None:
    charsets = text.charsets(found.values.get(0x00080005, b""))
    form = {"explicit_vr": found.explicit_vr, "little_endian": found.little_endian}
    for tag, raw in found.values.items():
        vr = elements.VR_OF(tag)
        json.dumps(dicomjson.element_json(tag, vr, raw, charsets, **form), allow_nan=False)
    paths: list[str] = []
    header = body[: found.header_bytes]

    def bulk_uri(path: str) -> str:
        paths.append(path)
        return path

    try:
        whole = dicomjson.encode(header, syntax, bulk_uri, inline_limit=4)
    except Malformed:
        return
    json.loads(whole)
    for path in paths:
        try:
            offset, length, _ = dicomjson.locate(header, syntax, path)
        except (KeyError, Malformed):
            continue  # of two elements with one tag, or behind what cannot be read
        assert 0 <= offset <= offset + length <= len(header), "bulk data outside of the header"


def _check_taken_apart(body: bytes, syntax: str) -> None:
    known = uids.TRANSFER_SYNTAXES[syntax]
    form = {"explicit_vr": known.explicit_vr, "little_endian": known.little_endian}
    try:
        ds = elements.read_data_set(body, **form)
    except Malformed:
        return
    obj = dicomjson.from_elements(ds)
    json.dumps(obj, allow_nan=False)
    for explicit_vr in (True, False):
        once = elements.write_data_set(ds, explicit_vr=explicit_vr)
        try:
            again = elements.read_data_set(once, explicit_vr=explicit_vr, little_endian=True)
        except Malformed:
            assert not explicit_vr, "what was written in explicit VR cannot be read"
            continue  # an odd VR may hold what its tag's own VR cannot
        elements.write_data_set(again, explicit_vr=explicit_vr)
