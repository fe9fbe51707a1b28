"""PS3.7 6.3.1, Annex E: command sets, written out by hand and round again."""

import dataclasses
import typing
from io import BytesIO

import pytest

from filmroom.dimse import messages
from filmroom.dimse.commands import decode_command, encode_command
from filmroom.dimse.errors import RemoteProtocolError
from filmroom.dimse.messages import (
    CStoreRequest,
    CStoreResponse,
    UnknownRequest,
    UnknownResponse,
    answer,
)

C_ECHO_RQ = bytes.fromhex(
    "0000 0000 04000000 38000000"  # group length 56
    "0000 0200 12000000 312e322e3834302e31303030382e312e3100"  # 1.2.840.10008.1.1
    "0000 0001 02000000 3000"  # C-ECHO-RQ
    "0000 1001 02000000 0700"  # message ID 7
    "0000 0008 02000000 0101"  # no data set
)

C_STORE_RSP = bytes.fromhex(
    "0000 0000 04000000 5e000000"  # group length 94
    "0000 0200 04000000 312e3200"  # 1.2
    "0000 0001 02000000 0180"  # C-STORE-RSP
    "0000 2001 02000000 0900"  # to message 9
    "0000 0008 02000000 0101"  # no data set
    "0000 0009 02000000 00a7"  # A700
    "0000 0109 04000000 10002000"  # offending element (0010,0020)
    "0000 0209 08000000 66756c6c20757020"  # "full up"
    "0000 0010 06000000 312e322e3300"  # 1.2.3
)


def every_message():
    for kind in messages.KNOWN.values():
        hints = typing.get_type_hints(kind)
        values = {}
        for index, field in enumerate(dataclasses.fields(kind)):
            wanted = hints[field.name]
            if wanted is str:
                values[field.name] = f"1.2.{index}"
            elif "tuple" in str(wanted):
                values[field.name] = (0x00100020, 0x7FE00010)
            else:
                values[field.name] = 0x0100 + index
        yield kind(**values)


def test_an_echo_request_byte_by_byte():
    request = messages.CEchoRequest(7)
    assert encode_command(request, has_data_set=False) == C_ECHO_RQ
    assert decode_command(C_ECHO_RQ) == (request, False)


def test_a_store_response_byte_by_byte():
    response = CStoreResponse(9, "1.2", "1.2.3", 0xA700, "full up", (0x00100020,))
    assert encode_command(response, has_data_set=False) == C_STORE_RSP
    assert decode_command(C_STORE_RSP) == (response, False)


@pytest.mark.parametrize("message", every_message(), ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("has_data_set", [True, False])
def test_every_message_survives_the_wire(message, has_data_set):
    raw = encode_command(message, has_data_set=has_data_set)
    assert decode_command(raw) == (message, has_data_set)
    length = int.from_bytes(raw[8:12], "little")
    assert length == len(raw) - 12


@pytest.mark.parametrize("message", every_message(), ids=lambda m: type(m).__name__)
def test_pydicom_reads_our_command_sets_in_ascending_order(message):
    filereader = pytest.importorskip("pydicom.filereader")
    raw = encode_command(message, has_data_set=True)
    tags = [int(e.tag) for e in filereader.read_dataset(BytesIO(raw), True, True)]
    assert tags == sorted(tags)
    assert tags[0] == 0


@pytest.mark.parametrize("request_", [m for m in every_message() if type(m) in messages.REQUESTS])
def test_an_answer_carries_what_identifies_its_request(request_):
    response = answer(request_, 0x0110, "sorry")
    assert response.COMMAND_FIELD == request_.COMMAND_FIELD | 0x8000
    assert response.message_id_being_responded_to == request_.message_id
    assert (response.status, response.error_comment) == (0x0110, "sorry")
    assert response.affected_sop_class_uid.startswith("1.2.")


def test_an_answer_may_say_more():
    response = answer(messages.CMoveRequest(1, "1.2", "AE"), 0, completed=3, failed=1)
    assert (response.completed, response.failed, response.remaining) == (3, 1, None)


def test_an_unknown_command_is_a_request_that_can_be_answered():
    raw = C_ECHO_RQ.replace(
        bytes.fromhex("0000 0001 02000000 3000"), bytes.fromhex("0000 0001 02000000 3333")
    )
    request, has_data_set = decode_command(raw)
    assert (request, has_data_set) == (UnknownRequest(7, 0x3333), False)
    response = answer(request, messages.UNRECOGNIZED_OPERATION)
    again, _ = decode_command(encode_command(response, has_data_set=False))
    assert again == UnknownResponse(7, 0x0211, 0xB333)


def test_a_missing_text_is_empty_and_padding_is_not_part_of_a_text():
    request = CStoreRequest(1, "1.2 \0", "")
    found, _ = decode_command(encode_command(request, has_data_set=True))
    assert found == CStoreRequest(1, "1.2", "")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "where a number belongs"),  # no command field
        (C_ECHO_RQ[:-10], "where a number belongs"),  # no data set type
        (C_ECHO_RQ[:-20] + C_ECHO_RQ[-10:], "without its message_id"),
        (C_ECHO_RQ[:-1], "not one of implicit"),  # value cut off
        (C_ECHO_RQ[:-7], "inside an element"),  # header cut off
        (C_ECHO_RQ + bytes.fromhex("1000 1000 00000000"), "not one of implicit"),  # group 0010
        (bytes.fromhex("0000 0001 ffffffff 3000"), "not one of implicit"),
        (bytes.fromhex("0000 0001 04000000 30000000"), "4 bytes where a number belongs"),
    ],
)
def test_what_is_no_command_set_is_refused(raw, message):
    with pytest.raises(RemoteProtocolError, match=message):
        decode_command(raw)


def test_an_error_comment_is_cut_to_what_its_vr_holds():
    response = answer(CStoreRequest(1, "1.2", "1.3"), 0x0110, "x" * 100 + "ü")
    found, _ = decode_command(encode_command(response, has_data_set=False))
    assert found.error_comment == "x" * 64
