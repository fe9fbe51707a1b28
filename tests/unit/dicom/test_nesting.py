"""How deep sequences may be, whatever they are written in, and what looking at them costs."""

import pytest

from filmroom.dicom.errors import Malformed
from filmroom.dicom.nesting import MAX_DEPTH
from filmroom.dicom.scan import scan
from filmroom.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from hostile_files import data_set, nested

NOTATIONS = [
    (ts, options)
    for ts in (EXPLICIT_VR_LE, IMPLICIT_VR_LE)
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
