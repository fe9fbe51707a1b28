"""A lean C-FIND client: it counts answers and decodes none, so that the server is measured."""

from __future__ import annotations

import socket
import statistics
import struct
import time
from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode
from servers import Server

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
MAX_PDU = 131_072
_STATUS = bytes.fromhex("0000 0009 02000000")  # (0000,0900), two bytes, implicit little endian
_PENDING = (0xFF00, 0xFF01)


class Finder:
    """One association with the Study Root C-FIND of a server."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.dimse_port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waiting = bytearray()
        self._message = 0
        self._socket.sendall(_associate(server.ae_title))
        kind, _ = self._pdu()
        if kind != 0x02:
            raise SystemExit(f"{server.name} does not associate: PDU {kind}")

    def find(self, keys: Mapping[str, str]) -> int:
        """Ask for studies; the number of answers. SystemExit when it does not end in success."""
        self._message += 1
        self._socket.sendall(_request(self._message, keys))
        answers = 0
        while (status := self._status()) in _PENDING:
            answers += 1
        if status != 0:
            raise SystemExit(f"C-FIND ended with {status:04X}")
        return answers

    def release(self) -> None:
        """PS3.8 9.3.6; then the connection is closed."""
        self._socket.sendall(struct.pack(">BxII", 0x05, 4, 0))
        self._pdu()
        self._socket.close()

    def _status(self) -> int:
        """The status of the next response; its data set passes by unread."""
        command = b""
        is_pending = False
        while True:
            _, body = self._pdu()
            at = 0
            while at < len(body):
                (length,) = struct.unpack_from(">I", body, at)
                control, piece = body[at + 5], body[at + 6 : at + 4 + length]
                at += 4 + length
                if not control & 1:  # of a data set
                    if control & 2 and is_pending and at == len(body):
                        return _PENDING[0]
                    continue
                command += piece
                if control & 2:
                    found = command.find(_STATUS)
                    (status,) = struct.unpack_from("<H", command, found + len(_STATUS))
                    if status not in _PENDING:
                        return int(status)
                    is_pending, command = True, b""

    def _pdu(self) -> tuple[int, bytes]:
        while len(self._waiting) < 6:
            self._more()
        kind, length = struct.unpack_from(">BxI", self._waiting)
        while len(self._waiting) < 6 + length:
            self._more()
        body = bytes(self._waiting[6 : 6 + length])
        del self._waiting[: 6 + length]
        return kind, body

    def _more(self) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        got = self._socket.recv(262_144)
        if not got:
            raise SystemExit("the peer closed the connection in the middle of an answer")
        self._waiting += got


def median_ms(server: Server, asked: Sequence[Mapping[str, str]], expected: int) -> float:
    """C-FINDs one after the other; SystemExit where a number of answers is not as expected."""
    finder = Finder(server)
    times = []
    for keys in asked:
        started = time.perf_counter()
        answers = finder.find(keys)
        times.append((time.perf_counter() - started) * 1000)
        if answers != expected:
            raise SystemExit(f"{server.name} found {answers} for {keys}, not {expected}")
    finder.release()
    return statistics.median(times)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _associate(called: str) -> bytes:
    """A-ASSOCIATE-RQ with one presentation context (PS3.8 9.3.2)."""
    context = b"\x01\0\0\0" + _item(0x30, STUDY_ROOT_FIND.encode())
    context += _item(0x40, IMPLICIT_LE.encode())
    user = _item(0x51, struct.pack(">I", MAX_PDU)) + _item(0x52, b"1.2.826.0.1.3680043.8.498.1")
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), b"BENCH".ljust(16))
    body += _item(0x10, APPLICATION_CONTEXT.encode()) + _item(0x20, context) + _item(0x50, user)
    return struct.pack(">BxI", 0x01, len(body)) + body


def _request(number: int, keys: Mapping[str, str]) -> bytes:
    """A C-FIND-RQ and its identifier, each in a P-DATA-TF of its own (PS3.7 9.3.2.1)."""
    command = Dataset()
    command.AffectedSOPClassUID = STUDY_ROOT_FIND
    command.CommandField, command.MessageID = 0x0020, number
    command.Priority, command.CommandDataSetType = 0, 1
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", ""
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    said = encode(command, True, True) or b""
    said = struct.pack("<HHII", 0, 0, 4, len(said)) + said  # (0000,0000), the group's length
    asked = encode(identifier, True, True) or b""
    return _data(said, 0x03) + _data(asked, 0x02)


def _data(content: bytes, control: int) -> bytes:
    value = struct.pack(">IBB", len(content) + 2, 1, control) + content
    return struct.pack(">BxI", 0x04, len(value)) + value
