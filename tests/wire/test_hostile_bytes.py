"""Bytes from an enemy: only RemoteProtocolError, and never more memory than arrived."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filmroom.dimse import pdu
from filmroom.dimse.association import AssociateRequested, Association
from filmroom.dimse.commands import decode_command, encode_command
from filmroom.dimse.errors import RemoteProtocolError
from filmroom.dimse.items import ProposedContext, UserInformation
from filmroom.dimse.messages import CEchoRequest, CStoreRequest
from filmroom.dimse.negotiation import Policy, ServiceTerms, negotiate
from filmroom.dimse.pdu import PduType, Proposal

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
PROPOSAL = Proposal(
    "FILMROOM", "SCU", (ProposedContext(1, CT, (EXPLICIT,)),), UserInformation(max_length=1024)
)
POLICY = Policy({CT: ServiceTerms()}, max_length=1024)


def established():
    acceptor = Association(is_requestor=False, max_length=1024)
    raw = Association(is_requestor=True, max_length=1024).request(PROPOSAL)
    acceptor.receive_data(memoryview(raw))
    event = acceptor.next_event()
    assert isinstance(event, AssociateRequested)
    acceptor.accept(negotiate(event.proposal, POLICY))
    return acceptor


def feed(acceptor, pieces):
    """Take events until the peer is found out or has said everything."""
    try:
        for piece in pieces:
            acceptor.receive_data(memoryview(piece))
            while acceptor.next_event() is not None:
                pass
    except RemoteProtocolError as error:
        acceptor.abort_for(error)


headers = st.builds(
    lambda kind, length: bytes((kind, 0)) + length.to_bytes(4, "big"),
    st.sampled_from([*PduType, 0, 8, 0x16, 0x47, 255]),
    st.one_of(st.integers(0, 80), st.integers(0, 2**32 - 1)),
)
pdvs = st.builds(
    lambda body, context, control: (
        (len(body) + 2).to_bytes(4, "big") + bytes((context, control)) + body
    ),
    st.one_of(
        st.binary(max_size=40),
        st.just(encode_command(CEchoRequest(1), has_data_set=False)),
        st.just(encode_command(CStoreRequest(2, CT, "1.2"), has_data_set=True)),
    ),
    st.sampled_from([1, 1, 1, 3, 0]),
    st.sampled_from([0, 1, 2, 3, 255]),
)
p_datas = st.lists(pdvs, min_size=1, max_size=3).map(
    lambda found: b"\x04\x00" + sum(map(len, found)).to_bytes(4, "big") + b"".join(found)
)
noise = st.lists(st.one_of(st.binary(max_size=60), headers, p_datas), max_size=8)


@settings(max_examples=300, deadline=None)
@given(noise)
def test_noise_before_an_association(pieces):
    feed(Association(is_requestor=False, max_length=1024), pieces)


@settings(max_examples=300, deadline=None)
@given(noise)
def test_noise_in_an_association(pieces):
    feed(established(), pieces)


@settings(max_examples=200, deadline=None)
@given(noise)
def test_noise_as_an_answer_to_our_request(pieces):
    requestor = Association(is_requestor=True, max_length=1024)
    requestor.request(PROPOSAL)
    feed(requestor, pieces)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_associate_rq(extra, position, value):
    raw = bytearray(pdu.encode_associate_rq(PROPOSAL)[6:] + extra)
    raw[position % len(raw)] = value
    try:
        proposal = pdu.decode_associate_rq(memoryview(bytes(raw)))
    except RemoteProtocolError:
        return
    decision = negotiate(proposal, POLICY)
    if hasattr(decision, "answer"):
        pdu.encode_associate_ac(decision.answer)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_a_command_set_of_noise(raw):
    try:
        decode_command(raw)
    except RemoteProtocolError:
        return


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_command_set(position, value):
    raw = bytearray(encode_command(CStoreRequest(2, CT, "1.2"), has_data_set=True))
    raw[position % len(raw)] = value
    try:
        message, _ = decode_command(bytes(raw))
    except RemoteProtocolError:
        return
    encode_command(message, has_data_set=True)


@pytest.mark.parametrize("kind", list(PduType))
def test_a_declared_length_allocates_nothing(kind):
    tracemalloc = pytest.importorskip("tracemalloc")
    limit = 1 << 19 if kind in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC) else 64
    length = 5120 if kind is PduType.P_DATA_TF else limit
    reader = pdu.PduReader(1024)
    tracemalloc.start()
    try:
        reader.feed(memoryview(bytes((kind, 0)) + length.to_bytes(4, "big")))
        assert reader.next() is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


def test_a_data_set_without_end_is_not_gathered():
    tracemalloc = pytest.importorskip("tracemalloc")
    acceptor = established()
    command = encode_command(CStoreRequest(2, CT, "1.2"), has_data_set=True)
    head = (len(command) + 2).to_bytes(4, "big") + b"\x01\x03"
    feed(acceptor, [b"\x04\x00" + (len(head + command)).to_bytes(4, "big") + head + command])
    fragment = bytes.fromhex("04 00 00000406  00000402 01 00") + bytes(1024)
    tracemalloc.start()
    try:
        feed(acceptor, [fragment] * 2000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000
