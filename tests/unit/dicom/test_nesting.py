"""How deep sequences may be, whatever they are written in, and how much is looked at."""

import pytest

from filmroom.dicom import nesting
from filmroom.dicom.errors import Malformed
from filmroom.dicom.nesting import MAX_DEPTH
from filmroom.dicom.scan import check_rest, scan
from filmroom.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE, JPEG_BASELINE
from hostile_files import (
    ITEM,
    ITEM_END,
    SEQUENCE,
    SEQUENCE_END,
    UNDEFINED,
    data_set,
    delimiter,
    element,
    nested,
)

SYNTAXES = (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
NOTATIONS = [
    (ts, options)
    for ts in SYNTAXES
    for options in ({}, {"defined": True}, {"vr": "UN"})
    if (ts, options) != (IMPLICIT_VR_LE, {"vr": "UN"})
]


@pytest.mark.parametrize(("ts", "options"), NOTATIONS)
def test_the_limit_is_the_same_in_every_notation(ts, options):
    def depth_of(depth):
        return data_set("1.2", ts=ts, tail=nested(depth, ts=ts, **options))

    scan(depth_of(MAX_DEPTH), ts, complete=True)
    with pytest.raises(Malformed, match="nested deeper"):
        scan(depth_of(MAX_DEPTH + 1), ts, complete=True)


def crowds(ts, count):
    """That many small things, in all places where small things may stand."""
    small = element(0x00091000, "CS", b"", ts=ts) * count
    empty = element(SEQUENCE, "SQ", b"", ts=ts) * count
    ends = delimiter(SEQUENCE_END)

    def sequence(content, *, defined=True):
        length = None if defined else UNDEFINED
        return element(SEQUENCE, "SQ", content, length=length, ts=ts) + (b"" if defined else ends)

    def item(content, *, defined=True):
        length = len(content) if defined else UNDEFINED
        return delimiter(ITEM, length) + content + (b"" if defined else delimiter(ITEM_END))

    return {
        "on top": small,
        "delimiters on top": delimiter(ITEM_END) * count,
        "items": sequence(item(b"") * count),
        "items without end": sequence(item(b"") * count, defined=False),
        "elements in an item": sequence(item(small)),
        "elements in an open item": sequence(item(small, defined=False)),
        "elements in an open sequence": sequence(item(small), defined=False),
        "elements, all open": sequence(item(small, defined=False), defined=False),
        "zeros in an item": sequence(item(bytes(8 * count))),
        "zeros in an open item": sequence(item(bytes(8 * count), defined=False), defined=False),
        "sequences in an item": sequence(item(empty)),
        "many sequences": sequence(item(small[: len(small) // 10])) * 10,
        "many open sequences": sequence(item(small[: len(small) // 10]), defined=False) * 10,
    }


@pytest.mark.parametrize("kind", crowds(EXPLICIT_VR_LE, 0))
@pytest.mark.parametrize("ts", SYNTAXES)
def test_a_crowd_of_small_elements_is_given_up(monkeypatch, ts, kind):
    """However long the header is: a step costs half a microsecond, and there are 4 million."""
    monkeypatch.setattr(nesting, "MAX_STEPS", 3000)
    scan(data_set("1.2", ts=ts, tail=crowds(ts, 1000)[kind]), ts, complete=True)
    with pytest.raises(Malformed, match="more than 3000 elements"):
        scan(data_set("1.2", ts=ts, tail=crowds(ts, 6000)[kind]), ts, complete=True)


@pytest.mark.parametrize("ts", SYNTAXES)
def test_a_crowd_behind_the_pixel_data_is_given_up_too(monkeypatch, ts):
    monkeypatch.setattr(nesting, "MAX_STEPS", 3000)
    whole = data_set("1.2", ts=ts)
    found = scan(whole, ts, complete=True)
    for count in (1000, 6000):
        after = whole + element(0x7FF10010, "CS", b"", ts=ts) * count
        if count > 3000:
            with pytest.raises(Malformed, match="more than 3000 elements"):
                check_rest(found, after)
        else:
            check_rest(found, after)


def test_a_crowd_of_fragments_is_given_up_too(monkeypatch):
    monkeypatch.setattr(nesting, "MAX_STEPS", 3000)

    def checked(count):
        fragments = delimiter(ITEM) * count + delimiter(SEQUENCE_END)
        pixels = element(0x7FE00010, "OB", fragments, length=UNDEFINED)
        whole = data_set("1.2", {0x7FE00010: ("", b"")}) + pixels
        check_rest(scan(whole, JPEG_BASELINE, complete=True), whole)

    checked(1000)
    with pytest.raises(Malformed, match="more than 3000 elements"):
        checked(6000)
