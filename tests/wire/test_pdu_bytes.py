"""PS3.8 9.3: bytes on the wire, written out by hand."""

import pytest

from filmroom.dimse import pdu
from filmroom.dimse.errors import AbortReason, AbortSource, RemoteProtocolError
from filmroom.dimse.items import (
    AnsweredContext,
    CommonExtended,
    OperationsWindow,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)

P_DATA_TF = bytes.fromhex(
    "04 00 00000013"  # P-DATA-TF, 19 bytes follow
    "00000005 01 03"  # PDV of 5: context 1, command and last
    "0a0b0c"  # three bytes of command set
    "00000006 01 02"  # PDV of 6: context 1, data set and last
    "01020304"  # four bytes of data set
)

A_ASSOCIATE_RQ = bytes.fromhex(
    "01 00 00000121"  # A-ASSOCIATE-RQ, 289 bytes follow
    "0001 0000"  # protocol version 1
    "46494c4d524f4f4d2020202020202020"  # called  "FILMROOM"
    "4543484f534355202020202020202020"  # calling "ECHOSCU"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "10 00 0015"  # application context
    "312e322e3834302e31303030382e332e312e312e31"  # 1.2.840.10008.3.1.1.1
    "20 00 002e 01 00 00 00"  # presentation context 1
    "30 00 0011 312e322e3834302e31303030382e312e31"  # 1.2.840.10008.1.1
    "40 00 0011 312e322e3834302e31303030382e312e32"  # 1.2.840.10008.1.2
    "50 00 008e"  # user information
    "51 00 0004 00004000"  # maximum length 16384
    "52 00 0005 312e322e33"  # implementation class 1.2.3
    "53 00 0004 0003 0001"  # may invoke 3, perform 1
    "54 00 0009 0005 312e322e34 01 01"  # 1.2.4: SCU and SCP
    "55 00 0004 4d494e45"  # implementation version MINE
    "56 00 000a 0005 312e322e34 020003"  # 1.2.4: application information
    "57 00 0017 0005 312e322e34 0005 312e322e35 0007 0005 312e322e36"  # of 1.2.5, like 1.2.6
    "58 00 0010 02 01 0005 616c696365 0005 6f70656e21"  # alice with a passcode, answer wanted
    "99 00 0012 000102030405060708090a0b0c0d0e0f1011"  # nobody knows what
    "56 00 0009 0005 312e322e37 01 00"  # 1.2.7: application information
)

PROPOSAL = pdu.Proposal(
    called_ae_title="FILMROOM",
    calling_ae_title="ECHOSCU",
    contexts=(ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
    user=UserInformation(
        max_length=16384,
        implementation_uid="1.2.3",
        implementation_version="MINE",
        operations=OperationsWindow(invoked=3, performed=1),
        roles={"1.2.4": Role(scu=True, scp=True)},
        extended={"1.2.4": b"\x02\x00\x03", "1.2.7": b"\x01\x00"},
        common_extended=(CommonExtended("1.2.4", "1.2.5", ("1.2.6",)),),
        user_identity=UserIdentity(2, b"alice", b"open!", positive_response_requested=True),
    ),
)

A_ASSOCIATE_AC = bytes.fromhex(
    "02 00 000000a3"  # A-ASSOCIATE-AC, 163 bytes follow
    "0001 0000"  # protocol version 1
    "46494c4d524f4f4d2020202020202020"  # called  "FILMROOM"
    "4543484f534355202020202020202020"  # calling "ECHOSCU"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "10 00 0015"  # application context
    "312e322e3834302e31303030382e332e312e312e31"
    "21 00 0019 01 00 00 00"  # presentation context 1: accepted
    "40 00 0011 312e322e3834302e31303030382e312e32"  # with 1.2.840.10008.1.2
    "21 00 0008 03 00 03 00"  # presentation context 3: abstract syntax not supported
    "40 00 0000"
    "50 00 0019"  # user information
    "51 00 0004 00000000"  # no maximum length
    "52 00 0005 312e322e33"  # implementation class 1.2.3
    "59 00 0004 0002 6f6b"  # the identity is known: "ok"
)

ANSWER = pdu.Answer(
    called_ae_title="FILMROOM",
    calling_ae_title="ECHOSCU",
    contexts=(AnsweredContext(1, 0, "1.2.840.10008.1.2"), AnsweredContext(3, 3, "")),
    user=UserInformation(max_length=0, implementation_uid="1.2.3", identity_answer=b"ok"),
)


def reader(max_length=1024):
    return pdu.PduReader(max_length)


def take(subject, *pieces):
    """Everything the reader makes of these pieces, views copied."""
    seen = []
    for piece in pieces:
        subject.feed(memoryview(piece))
        while (found := subject.next()) is not None:
            if isinstance(found, pdu.Pdu):
                seen.append((found.type, bytes(found.body)))
            else:
                seen.append((found.context_id, found.control, bytes(found.data), found.ends_pdv))
    return seen


def join_pdvs(seen):
    """PDVs as if they had arrived whole."""
    whole, data = [], b""
    for context_id, control, piece, ends in seen:
        data += piece
        if ends:
            whole.append((context_id, control, data))
            data = b""
    return whole


def test_a_p_data_tf_is_handed_out_pdv_by_pdv():
    assert take(reader(), P_DATA_TF) == [
        (1, pdu.COMMAND | pdu.LAST, b"\x0a\x0b\x0c", True),
        (1, pdu.LAST, b"\x01\x02\x03\x04", True),
    ]


@pytest.mark.parametrize("cut", range(len(P_DATA_TF) + 1))
def test_a_pdu_may_arrive_in_any_two_pieces(cut):
    seen = take(reader(), P_DATA_TF[:cut], P_DATA_TF[cut:])
    assert join_pdvs(seen) == [(1, 3, b"\x0a\x0b\x0c"), (1, 2, b"\x01\x02\x03\x04")]


def test_a_pdu_may_arrive_byte_by_byte():
    pieces = [P_DATA_TF[at : at + 1] for at in range(len(P_DATA_TF))]
    seen = take(reader(), *pieces)
    assert join_pdvs(seen) == [(1, 3, b"\x0a\x0b\x0c"), (1, 2, b"\x01\x02\x03\x04")]


def test_a_fragment_is_handed_out_before_its_pdu_is_complete_and_without_a_copy():
    buffer = bytearray(P_DATA_TF[:14])
    subject = reader()
    subject.feed(memoryview(buffer))
    piece = subject.next()
    buffer[12] = 0xEE
    assert (bytes(piece.data), piece.ends_pdv) == (b"\xee\x0b", False)


def test_what_was_not_taken_can_be_kept_when_the_buffer_is_reused():
    buffer = bytearray(P_DATA_TF)
    subject = reader()
    subject.feed(memoryview(buffer))
    subject.next()
    subject.keep()
    buffer[:] = bytes(len(buffer))
    assert bytes(subject.next().data) == b"\x01\x02\x03\x04"


def test_several_pdus_may_arrive_in_one_read():
    seen = take(reader(), P_DATA_TF + pdu.encode_release_rq() + P_DATA_TF[:3])
    assert [item[0] for item in seen] == [1, 1, pdu.PduType.RELEASE_RQ]


def test_an_associate_rq_is_read_and_unknown_items_are_passed_over():
    ((pdu_type, body),) = take(reader(), A_ASSOCIATE_RQ)
    assert pdu_type == pdu.PduType.ASSOCIATE_RQ
    found = pdu.decode_associate_rq(memoryview(body))
    assert found == PROPOSAL
    assert "open!" not in repr(found)


def test_an_associate_rq_is_written_as_it_is_read():
    raw = pdu.encode_associate_rq(PROPOSAL)
    assert pdu.decode_associate_rq(memoryview(raw)[6:]) == PROPOSAL
    assert raw[6 : 6 + 68 + 25 + 50] == A_ASSOCIATE_RQ[6 : 6 + 68 + 25 + 50]


def test_an_associate_ac_is_written_and_read():
    raw = A_ASSOCIATE_AC
    assert pdu.encode_associate_ac(ANSWER) == raw
    assert pdu.decode_associate_ac(memoryview(raw)[6:]) == ANSWER


@pytest.mark.parametrize(
    ("written", "raw"),
    [
        (pdu.encode_associate_rj(pdu.Rejection(2, 3, 2)), "03 00 00000004 00 02 03 02"),
        (pdu.encode_release_rq(), "05 00 00000004 00000000"),
        (pdu.encode_release_rp(), "06 00 00000004 00000000"),
        (
            pdu.encode_abort(AbortSource.SERVICE_PROVIDER, AbortReason.UNEXPECTED_PDU),
            "07 00 00000004 00 00 02 02",
        ),
    ],
)
def test_the_small_pdus(written, raw):
    assert written == bytes.fromhex(raw)


def test_reasons_are_read():
    assert pdu.decode_associate_rj(memoryview(bytes((0, 1, 1, 7)))) == pdu.Rejection(1, 1, 7)
    assert pdu.decode_abort(memoryview(bytes((0, 0, 2, 4)))) == (2, 4)


@pytest.mark.parametrize(
    ("raw", "message", "reason"),
    [
        ("04 00 00001401", "5121 bytes, 5120 allowed", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        ("04 00 ffffffff", "4294967295 bytes", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        ("01 00 00080001", "524288 allowed", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        ("02 00 7fffffff", "524288 allowed", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        ("05 00 00000041", "64 allowed", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        ("07 00 ffffffff", "64 allowed", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        ("04 00 00000000", "without a PDV", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        ("08", "08H does not exist", AbortReason.UNRECOGNIZED_PDU),
        ("00", "00H does not exist", AbortReason.UNRECOGNIZED_PDU),
        ("47", "47H does not exist", AbortReason.UNRECOGNIZED_PDU),  # "GET / HTTP/1.1"
        ("16 03 01", "16H does not exist", AbortReason.UNRECOGNIZED_PDU),  # TLS hello
    ],
)
def test_a_bad_header_is_refused_before_anything_is_buffered(raw, message, reason):
    with pytest.raises(RemoteProtocolError, match=message) as caught:
        take(reader(1024), bytes.fromhex(raw))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("04 00 00000008  000000ff 01 02 0000", "does not fit"),  # PDV past its PDU
        ("04 00 00000008  00000001 01 02 0000", "PDV length 1"),
        ("04 00 00000008  00000000 01 02 0000", "PDV length 0"),
        ("04 00 00000008  ffffffff 01 02 0000", "does not fit"),
        ("04 00 00000003  000000", "inside a PDV header"),
        ("04 00 00000009  00000002 01 02 000000", "inside a PDV header"),  # 3 bytes left over
    ],
)
def test_a_pdv_has_to_fit_its_pdu(raw, message):
    with pytest.raises(RemoteProtocolError, match=message):
        take(reader(), bytes.fromhex(raw))


def test_an_empty_fragment_is_a_fragment():
    raw = bytes.fromhex("04 00 00000006  00000002 01 02")
    assert take(reader(), raw) == [(1, 2, b"", True)]


def test_no_announced_maximum_means_no_limit():
    subject = reader(0)
    assert take(subject, bytes.fromhex("04 00 ffffffff  fffffffb 01 00  01 02")) == [
        (1, 0, b"\x01\x02", False)
    ]


@pytest.mark.parametrize("cut", [0, 5, 67, 70, 90, 97, 120, 200])
def test_a_truncated_associate_rq_is_refused(cut):
    with pytest.raises(RemoteProtocolError):
        pdu.decode_associate_rq(memoryview(A_ASSOCIATE_RQ)[6 : 6 + cut])


@pytest.mark.parametrize(
    "item",
    [
        "50 00 0008 51 00 0004 0000",  # item longer than what holds it
        "50 00 0006 51 00 0002 0000",  # maximum length of two bytes
        "50 00 0006 53 00 0002 0000",  # window of two bytes
        "50 00 0009 54 00 0005 0004 312e32",  # UID longer than its sub-item
        "50 00 0009 54 00 0005 0003 312e32",  # roles missing
        "50 00 0005 58 00 0001 01",  # identity without anything
        "20 00 0002 01 00",  # presentation context without room for its result
    ],
)
def test_a_broken_item_is_refused(item):
    body = A_ASSOCIATE_RQ[6:99] + bytes.fromhex(item)
    with pytest.raises(RemoteProtocolError):
        pdu.decode_associate_rq(memoryview(body))


def test_items_without_end_are_refused_without_being_listed():
    body = A_ASSOCIATE_RQ[6:74] + bytes.fromhex("99 00 0000") * 2000
    with pytest.raises(RemoteProtocolError, match="1024 items"):
        pdu.decode_associate_rq(memoryview(body))


def test_contexts_and_syntaxes_without_end_are_refused_early():
    syntaxes = bytes.fromhex("40 00 0000") * 200
    context = bytes.fromhex("20 00 0324 01000000") + syntaxes
    with pytest.raises(RemoteProtocolError, match="128 items"):
        pdu.decode_associate_rq(memoryview(A_ASSOCIATE_RQ[6:74] + context))
    with pytest.raises(RemoteProtocolError, match="256 presentation contexts"):
        pdu.decode_associate_rq(
            memoryview(A_ASSOCIATE_RQ[6:74] + bytes.fromhex("20 00 0004 01000000") * 300)
        )
