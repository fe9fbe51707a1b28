"""An association fed with noise: the same events however the stream is cut (PS3.8 9.3, Annex E).

First byte: which side we are and in what state. Second: how the stream is cut. Then the stream.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from filmroom.dimse.association import AssociateRequested, Association, ReleaseRequested
from filmroom.dimse.errors import RemoteProtocolError
from filmroom.dimse.items import ProposedContext, UserInformation
from filmroom.dimse.negotiation import Accept, Policy, ServiceTerms, negotiate
from filmroom.dimse.pdu import ASSOCIATE_LIMIT_BYTES, Proposal
from filmroom.dimse.pdv import Command, Data

ECHO, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
MAX_LENGTH = 1024
PROPOSAL = Proposal(
    "FILMROOM",
    "SCU",
    (ProposedContext(1, ECHO, (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT,))),
    UserInformation(max_length=MAX_LENGTH),
)
POLICY = Policy({ECHO: ServiceTerms(), CT: ServiceTerms()}, max_length=MAX_LENGTH)
STRANGER, ESTABLISHED, REQUESTOR, ASKING = range(4)
Told = tuple[Any, ...]


def check(data: bytes) -> None:
    """Feed it whole and in pieces; both must tell the same."""
    if len(data) < 3:
        return
    kind, cuts, stream = data[0] % 4, random.Random(data[1]), data[2:]
    whole = _events(_association(kind), [stream])
    pieces = list(_cut(stream, cuts))
    assert _events(_association(kind), pieces) == whole


def _cut(stream: bytes, cuts: random.Random) -> Iterator[bytes]:
    longest = cuts.choice((1, 2, 7, 40, 300))
    at = 0
    while at < len(stream):
        size = cuts.randint(1, longest)
        yield stream[at : at + size]
        at += size


def _association(kind: int) -> Association:
    if kind in (REQUESTOR, ASKING):
        association = Association(is_requestor=True, max_length=MAX_LENGTH)
        association.request(PROPOSAL)
        return association
    association = Association(is_requestor=False, max_length=MAX_LENGTH)
    if kind == ESTABLISHED:
        raw = Association(is_requestor=True, max_length=MAX_LENGTH).request(PROPOSAL)
        association.receive_data(memoryview(raw))
        event = association.next_event()
        assert isinstance(event, AssociateRequested)
        decision = negotiate(event.proposal, POLICY)
        assert isinstance(decision, Accept)
        association.accept(decision)
    return association


def _events(association: Association, pieces: list[bytes]) -> list[Told]:
    """What happened, pieces of one data set put together."""
    told: list[Told] = []
    sent = 0
    try:
        for piece in pieces:
            sent += len(piece)
            buffer = bytearray(piece)
            association.receive_data(memoryview(buffer))
            while (event := association.next_event()) is not None:
                _tell(told, association, event)
            association.keep_data()
            buffer[:] = b"\xaa" * len(buffer)  # the next read overwrites it
            assert association.gathered_bytes <= min(sent, ASSOCIATE_LIMIT_BYTES)
    except RemoteProtocolError as error:
        told.append(("broken", str(error), association.abort_for(error)))
        assert association.next_event() is None
    return told


def _tell(told: list[Told], association: Association, event: object) -> None:
    if isinstance(event, Data):
        if told and told[-1][0] == "data" and not told[-1][2]:
            _, before, _ = told.pop()
            told.append(("data", before + bytes(event.data), event.is_last))
        else:
            told.append(("data", bytes(event.data), event.is_last))
    elif isinstance(event, Command):
        told.append(("command", *event))
    elif isinstance(event, AssociateRequested):
        decision = negotiate(event.proposal, POLICY)
        if isinstance(decision, Accept):
            told.append(("accepted", association.accept(decision)))
        else:
            told.append(("rejected", association.reject(decision)))
    else:
        told.append((type(event).__name__, repr(event)))
        if isinstance(event, ReleaseRequested):
            told.append(("released", association.confirm_release()))
