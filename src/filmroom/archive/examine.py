"""Look at a whole data set once: its header, that it is complete, where its frames lie."""

from __future__ import annotations

from filmroom.archive.errors import Unintelligible
from filmroom.dicom import frames
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.scan import Scan, check_rest, inflate, scan
from filmroom.dicom.uids import TRANSFER_SYNTAXES

INFLATED_BYTES = 256 * 1024 * 1024  # most that a deflated data set may become


def examine(head: bytes, whole: memoryview, transfer_syntax_uid: str) -> tuple[Scan, bytes]:
    """Return the header's scan and the frame table (empty when there are no frames).

    head: the first bytes of `whole`, already in memory; a header that does not fit into
    them is scanned in `whole`. Raises Unintelligible when the bytes are not a complete
    data set in that transfer syntax.
    """
    try:
        if TRANSFER_SYNTAXES[transfer_syntax_uid].deflated:
            data_set = inflate(whole, INFLATED_BYTES)
            found = scan(data_set, transfer_syntax_uid, complete=True)
            check_rest(found, data_set)
            return found, b""
        try:
            found = scan(head, transfer_syntax_uid, complete=len(head) >= len(whole))
        except NeedMore:
            found = scan(whole, transfer_syntax_uid, complete=True)
        check_rest(found, whole)
        table = frames.build(found, whole, transfer_syntax_uid)
    except Malformed as error:
        raise Unintelligible(str(error)) from error
    return found, table.to_bytes() if table is not None else b""
