"""Two associations in memory: what one sends, the other understands."""

import pytest

from filmroom.dimse.association import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequested,
    Association,
    Released,
    ReleaseRequested,
    describe,
)
from filmroom.dimse.errors import AbortReason, LocalProtocolError, RemoteProtocolError
from filmroom.dimse.items import (
    OperationsWindow,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)
from filmroom.dimse.messages import CEchoRequest, CFindRequest, CStoreRequest, answer
from filmroom.dimse.negotiation import (
    LOCAL_LIMIT_EXCEEDED,
    Accept,
    Policy,
    ServiceTerms,
    negotiate,
)
from filmroom.dimse.pdu import Proposal, encode_release_rp
from filmroom.dimse.pdv import Command, Data
from filmroom.dimse.upper_layer import State

CT, ECHO, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1", "1.2.840.10008.1.2.1"
POLICY = Policy({ECHO: ServiceTerms(), CT: ServiceTerms(scp=True)})


class Pair:
    """A requestor and an acceptor, and the wire between them."""

    def __init__(self, *, max_length=1024, split=0):
        self.requestor = Association(is_requestor=True, max_length=max_length)
        self.acceptor = Association(is_requestor=False, max_length=max_length)
        self.max_length = max_length
        self.split = split  # bytes per delivery, 0 is all at once

    def proposal(self, **more):
        contexts = (ProposedContext(1, ECHO, (EXPLICIT,)), ProposedContext(3, CT, (EXPLICIT,)))
        user = UserInformation(max_length=self.max_length, **more)
        return Proposal("FILMROOM", "SCU", contexts, user)

    def deliver(self, raw, to):
        """The events that bytes make on one side; views are copied as they pass."""
        events = []
        step = self.split or max(len(raw), 1)
        for at in range(0, len(raw), step):
            to.receive_data(memoryview(raw[at : at + step]))
            while (event := to.next_event()) is not None:
                if isinstance(event, Data):
                    event = Data(memoryview(bytes(event.data)), event.is_last)
                events.append(event)
        return events

    def establish(self, **more):
        (asked,) = self.deliver(self.requestor.request(self.proposal(**more)), self.acceptor)
        assert isinstance(asked, AssociateRequested)
        decision = negotiate(asked.proposal, POLICY)
        assert isinstance(decision, Accept)
        (accepted,) = self.deliver(self.acceptor.accept(decision), self.requestor)
        assert isinstance(accepted, AssociateAccepted)
        return self


def content(events):
    assert [event.is_last for event in events] == [False] * (len(events) - 1) + [True]
    return b"".join(event.data for event in events)


@pytest.mark.parametrize("split", [0, 1, 2, 7, 13, 100])
@pytest.mark.parametrize("size", [1, 2, 1018, 1019, 5000])
def test_a_message_survives_any_splitting(split, size):
    pair = Pair(split=split).establish()
    request = CStoreRequest(1, CT, "1.2.3", move_originator_ae_title="AE")
    data_set = bytes(at % 251 for at in range(size))
    command, *data = pair.deliver(pair.requestor.message(3, request, data_set), pair.acceptor)
    assert command == Command(3, request, True)
    assert content(data) == data_set
    assert pair.acceptor.is_between_messages


@pytest.mark.parametrize("max_length", [0, 1, 6, 7, 8, 9, 16, 1024])
def test_every_maximum_length_can_be_sent_to(max_length):
    pair = Pair()
    pair.requestor = Association(is_requestor=True, max_length=max_length)
    pair.max_length = max_length
    pair.establish()
    raw = pair.acceptor.message(1, answer(CEchoRequest(1), 0), b"some data set")
    at, longest = 0, 0
    while at < len(raw):
        length = int.from_bytes(raw[at + 2 : at + 6], "big")
        longest, at = max(longest, length), at + 6 + length
    assert longest <= max(max_length, 8) or max_length == 0
    command, *data = pair.deliver(raw, pair.requestor)
    assert isinstance(command, Command)
    assert content(data) == b"some data set"


def test_a_data_set_can_be_sent_in_parts_without_a_copy():
    pair = Pair().establish()
    source = bytearray(b"abcdef")
    buffers = pair.requestor.message_head(3, CStoreRequest(1, CT, "1.2"), b"")
    buffers += pair.requestor.data_set_part(3, memoryview(source)[:4], is_last=False)
    buffers += pair.requestor.data_set_part(3, memoryview(source)[4:], is_last=True)
    source[0:1] = b"A"
    _, *data = pair.deliver(b"".join(buffers), pair.acceptor)
    assert content(data) == b"Abcdef"


def test_an_empty_data_set_ends_too():
    pair = Pair().establish()
    buffers = pair.requestor.message_head(3, CStoreRequest(1, CT, "1.2"), b"")
    buffers += pair.requestor.data_set_part(3, b"", is_last=True)
    _, data = pair.deliver(b"".join(buffers), pair.acceptor)
    assert (bytes(data.data), data.is_last) == (b"", True)


def test_both_sides_know_the_same_terms():
    pair = Pair().establish(operations=OperationsWindow(3, 2), roles={CT: Role(scu=True, scp=True)})
    assert pair.requestor.acceptance == pair.acceptor.acceptance
    assert pair.acceptor.acceptance.operations == OperationsWindow(3, 2)
    assert pair.acceptor.acceptance.contexts[3].scp_role


def test_a_description_keeps_no_passcode():
    pair = Pair()
    proposal = pair.proposal(user_identity=UserIdentity(2, b"alice", b"open!"))
    accepted = negotiate(proposal, POLICY)
    info = describe(
        proposal, accepted.answer, accepted.acceptance, address="192.0.2.1", is_requestor=False
    )
    assert (info.calling_ae_title, info.user_identity.primary) == ("SCU", b"alice")
    assert info.user_identity.secondary == b""


def test_a_rejection_is_told():
    pair = Pair()
    pair.deliver(pair.requestor.request(pair.proposal()), pair.acceptor)
    (event,) = pair.deliver(pair.acceptor.reject(LOCAL_LIMIT_EXCEEDED), pair.requestor)
    assert event == AssociateRejected(LOCAL_LIMIT_EXCEEDED.rejection)
    assert (pair.acceptor.state, pair.requestor.state) == (State.AWAITING_CLOSE, State.IDLE)


def test_a_release_is_answered_after_the_last_response():
    pair = Pair().establish()
    assert pair.deliver(pair.requestor.release(), pair.acceptor) == [ReleaseRequested()]
    late = pair.acceptor.message(1, answer(CEchoRequest(1), 0))
    (command,) = pair.deliver(late, pair.requestor)
    assert isinstance(command, Command)
    assert pair.deliver(pair.acceptor.confirm_release(), pair.requestor) == [Released(True)]
    pair.acceptor.transport_closed()
    assert pair.acceptor.state is State.IDLE


def test_a_release_collision_ends_on_both_sides():
    pair = Pair().establish()
    ours, theirs = pair.requestor.release(), pair.acceptor.release()
    assert pair.deliver(ours, pair.acceptor) == [ReleaseRequested()]
    assert pair.deliver(theirs, pair.requestor) == [ReleaseRequested()]
    first = pair.requestor.confirm_release()
    assert pair.deliver(first, pair.acceptor) == [Released(may_close=False)]
    assert pair.deliver(pair.acceptor.confirm_release(), pair.requestor) == [Released(True)]
    assert pair.acceptor.state is State.AWAITING_CLOSE


def test_an_abort_is_told_and_nothing_is_heard_after_it():
    pair = Pair().establish()
    raw = pair.requestor.abort()
    assert pair.deliver(raw + b"noise", pair.acceptor) == [Aborted(0, 0)]
    assert pair.acceptor.abort() == b""


@pytest.mark.parametrize(
    ("raw", "reason", "sent"),
    [
        # Before an association: AA-1, in the name of the service user, without a reason.
        (encode_release_rp(), AbortReason.UNEXPECTED_PDU, "07 00 00000004 00 00 00 00"),
        (b"GET / HTTP/1.1\r\n", AbortReason.UNRECOGNIZED_PDU, "07 00 00000004 00 00 00 00"),
        (
            bytes.fromhex("04 00 00000008  00000004 01 03 0000"),  # P-DATA first
            AbortReason.UNEXPECTED_PDU,
            "07 00 00000004 00 00 00 00",
        ),
    ],
)
def test_what_must_not_come_first(raw, reason, sent):
    acceptor = Association(is_requestor=False, max_length=1024)
    acceptor.receive_data(memoryview(raw))
    with pytest.raises(RemoteProtocolError) as caught:
        acceptor.next_event()
    assert caught.value.reason is reason
    assert acceptor.abort_for(caught.value) == bytes.fromhex(sent)
    acceptor.receive_data(memoryview(b"more noise"))
    assert acceptor.next_event() is None


ECHO_COMMAND = "0000000004000000 00000000"  # not a whole command set, but the start of one


@pytest.mark.parametrize(
    ("raw", "message", "reason"),
    [
        ("04 00 0000000a  00000006 05 03 00000000", "context 5 was not", 6),
        ("04 00 0000000a  00000006 02 03 00000000", "context 2 was not", 6),
        ("04 00 0000000a  00000006 00 03 00000000", "context 0 was not", 6),
        ("04 00 0000000a  00000006 01 02 00000000", "data set out of place", 5),
        (
            "04 00 00000014  00000006 01 01 00000000  00000006 01 02 00000000",
            "data set out of place",
            5,
        ),
        (
            "04 00 00000014  00000006 01 01 00000000  00000006 03 01 00000000",
            "context 3 within a message on 1",
            5,
        ),
        ("04 00 0000000a  00000006 01 03 ffffffff", "inside an element", 6),
        ("06 00 00000004 00000000", "RELEASE_RP is not allowed while ESTABLISHED", 2),
        ("02 00 00000044" + "00" * 68, "ASSOCIATE_AC is not allowed", 2),
    ],
)
def test_a_peer_that_breaks_the_rules_is_aborted_with_the_right_reason(raw, message, reason):
    pair = Pair().establish()
    with pytest.raises(RemoteProtocolError, match=message) as caught:
        pair.deliver(bytes.fromhex(raw), pair.acceptor)
    sent = pair.acceptor.abort_for(caught.value)
    assert sent == bytes.fromhex("07 00 00000004 00 00 02") + bytes((reason,))
    assert pair.deliver(sent, pair.requestor) == [Aborted(2, reason)]


def test_a_second_associate_rq_is_aborted():
    pair = Pair().establish()
    again = Association(is_requestor=True, max_length=0).request(pair.proposal())
    with pytest.raises(RemoteProtocolError, match="ASSOCIATE_RQ is not allowed"):
        pair.deliver(again, pair.acceptor)


def test_a_command_in_the_middle_of_a_data_set_is_refused():
    pair = Pair().establish()
    start = b"".join(pair.requestor.message_head(3, CStoreRequest(1, CT, "1.2"), b""))
    start += b"".join(pair.requestor.data_set_part(3, b"abcd", is_last=False))
    start += pair.requestor.message(3, CFindRequest(2, CT))
    with pytest.raises(RemoteProtocolError, match="command out of place"):
        pair.deliver(start, pair.acceptor)


def test_a_command_set_without_end_is_refused_at_64_kib():
    pair = Pair(max_length=16384).establish()
    fragment = bytes.fromhex("04 00 00001006  00001002 01 01") + bytes(4096)
    for _ in range(16):
        assert pair.deliver(fragment, pair.acceptor) == []
    with pytest.raises(RemoteProtocolError, match="longer than 65536"):
        pair.deliver(fragment, pair.acceptor)


def test_we_do_not_send_what_was_not_negotiated():
    pair = Pair().establish()
    with pytest.raises(LocalProtocolError, match="context 5 was not accepted"):
        pair.requestor.message(5, CEchoRequest(1))
    pair.requestor.abort()
    with pytest.raises(LocalProtocolError, match="not possible"):
        pair.requestor.message(1, CEchoRequest(1))


def test_artim_ends_an_association_that_never_began():
    acceptor = Association(is_requestor=False, max_length=0)
    acceptor.artim_expired()
    assert acceptor.state is State.IDLE
