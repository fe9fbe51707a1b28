"""The identifier of a C-FIND, C-MOVE or C-GET (PS3.4 C.4): understood and asked, or refused.

First byte: information model and transfer syntax. Then the data set.
"""

from __future__ import annotations

from filmroom.dicom import uids
from filmroom.services.identifiers import (
    BadIdentifier,
    Negotiated,
    read_find,
    read_selection,
)
from filmroom.services.table import TABLE
from fuzz._index import small_index

SYNTAXES = (uids.IMPLICIT_VR_LE, uids.EXPLICIT_VR_LE, uids.EXPLICIT_VR_BE)
FINDS = (uids.STUDY_ROOT_FIND, uids.PATIENT_ROOT_FIND)
MOVES = (uids.STUDY_ROOT_MOVE, uids.PATIENT_ROOT_MOVE)


def check(data: bytes) -> None:
    """Understand it as a question and as a selection; ask a small index."""
    if not data:
        return
    kind, body = data[0], data[1:]
    syntax = SYNTAXES[kind % 3]
    negotiated = Negotiated(bool(kind & 8), bool(kind & 16), bool(kind & 32))
    try:
        request = read_find(body, syntax, TABLE[FINDS[kind >> 2 & 1]], negotiated)
        small_index().search(request.query)
    except BadIdentifier as error:
        error.message.encode("utf-8")
    try:
        selection = read_selection(body, syntax, TABLE[MOVES[kind >> 2 & 1]], negotiated)
        small_index().instances(selection)
    except BadIdentifier:
        return
