"""What stands before a data set in a file (PS3.10 7.1): the same however little has come of it."""

from __future__ import annotations

from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore


def check(data: bytes) -> None:
    """Parse it whole, and every beginning of it."""
    try:
        found = part10.parse_meta(data, complete=True)
    except Malformed:
        found = None
    else:
        assert 0 <= found.data_set_offset <= len(data)
    for size in range(max(0, len(data) - 64), len(data)):
        try:
            early = part10.parse_meta(data[:size])
        except NeedMore as more:
            assert more.at_least > size
        except Malformed:
            assert found is None, "a beginning is refused, the whole is not"
        else:
            assert early == found, "a beginning is read otherwise than the whole"
