"""Look at a whole data set once: its header, that it is complete, where its frames lie."""

from __future__ import annotations

from collections.abc import Callable

from filmroom.archive.errors import Unintelligible
from filmroom.archive.stores import Staged
from filmroom.dicom import deflated, frames
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.notation import Buffer
from filmroom.dicom.scan import Scan, check_rest, scan
from filmroom.dicom.uids import TRANSFER_SYNTAXES

INFLATED_BYTES = 256 * 1024 * 1024  # most that a deflated data set may become


def examine(
    head: bytes, whole: memoryview, transfer_syntax_uid: str, room: Callable[[], Staged]
) -> tuple[Scan, bytes]:
    """Return the header's scan and the frame table (empty when there are no frames).

    head: the first bytes of `whole`, already in memory; a header that does not fit into
    them is scanned in `whole`. room: where a deflated data set is inflated to, so that
    memory does not grow with it. Raises Unintelligible when the bytes are not a complete
    data set in that transfer syntax, Unavailable when there is no room.
    """
    try:
        if TRANSFER_SYNTAXES[transfer_syntax_uid].deflated:
            return _examine_inflated(whole, transfer_syntax_uid, room()), b""
        try:
            found = scan(head, transfer_syntax_uid, complete=len(head) >= len(whole))
        except NeedMore:
            found = scan(whole, transfer_syntax_uid, complete=True)
        check_rest(found, whole)
        table = frames.build(found, whole, transfer_syntax_uid)
    except Malformed as error:
        raise Unintelligible(str(error)) from error
    return found, table.to_bytes() if table is not None else b""


def _examine_inflated(whole: memoryview, transfer_syntax_uid: str, room: Staged) -> Scan:
    try:
        for piece in deflated.pieces(whole, INFLATED_BYTES):
            room.write(piece)
        data_set: Buffer = room.view()
        found = scan(data_set, transfer_syntax_uid, complete=True)
        check_rest(found, data_set)
        return found
    finally:
        room.discard()
