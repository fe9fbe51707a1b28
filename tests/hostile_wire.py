"""DICOM on a bare socket: PDUs and commands as bytes, right and wrong ones, none made by us."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable, Sequence

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 1, 2
C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO, C_CANCEL = 0x01, 0x10, 0x20, 0x21, 0x30, 0xFFF

Context = tuple[int, str, Sequence[str]]


# -- bytes ---------------------------------------------------------------------------------
def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """One PDU; `length` to lie about it."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def pdv(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    """One PDV item; `length` to lie about it."""
    size = len(data) + 2 if length is None else length
    return struct.pack(">IBB", size, context_id, control) + data


def p_data(*pdvs: bytes) -> bytes:
    """A P-DATA-TF of these PDVs."""
    return pdu(P_DATA, b"".join(pdvs))


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """An item or sub-item of an associate PDU."""
    return struct.pack(">BxH", kind, len(body) if length is None else length) + body


def context(number: int, abstract: str, syntaxes: Iterable[str]) -> bytes:
    """A proposed presentation context."""
    named = b"".join(item(0x40, uid.encode()) for uid in syntaxes)
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract.encode()) + named)


def user_information(max_length: int = 16384, more: bytes = b"") -> bytes:
    """The user information item."""
    mine = item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3.4.5")
    return item(0x50, mine + more)


def associate_rq(
    contexts: Iterable[bytes] = (),
    *,
    called: bytes = b"FILMROOM",
    calling: bytes = b"HOSTILE",
    application: bytes = b"1.2.840.10008.3.1.1.1",
    user: bytes | None = None,
    version: int = 1,
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    body = struct.pack(">HH16s16s32x", version, 0, called.ljust(16), calling.ljust(16))
    body += item(0x10, application) + b"".join(contexts)
    return pdu(ASSOCIATE_RQ, body + (user_information() if user is None else user))


def element(number: int, value: bytes, length: int | None = None) -> bytes:
    """An element of a command set."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value) if length is None else length) + value


def us(number: int, value: int) -> bytes:
    """A command element of VR US."""
    return element(number, struct.pack("<H", value))


def command(
    field: int,
    message_id: int = 1,
    *,
    sop_class: str = "",
    instance: str | None = None,
    data_set: bool = False,
    destination: str | None = None,
) -> bytes:
    """A command set with its group length."""
    named = element(2, sop_class.encode("latin-1")) if sop_class else b""
    body = named + us(0x100, field) + us(0x110, message_id)
    if destination is not None:
        body += element(0x600, destination.encode("latin-1"))
    body += us(0x700, 0) + us(0x800, 1 if data_set else 0x101)
    if instance is not None:
        body += element(0x1000, instance.encode("latin-1"))
    return element(0, struct.pack("<I", len(body))) + body


ECHO_RQ = command(C_ECHO, sop_class=VERIFICATION)
RELEASE = pdu(RELEASE_RQ, bytes(4))
USUAL: tuple[Context, ...] = (
    (1, VERIFICATION, [IMPLICIT]),
    (3, CT, [EXPLICIT]),
    (5, STUDY_FIND, [IMPLICIT]),
    (7, STUDY_MOVE, [IMPLICIT]),
    (9, STUDY_GET, [IMPLICIT]),
)


# -- a peer --------------------------------------------------------------------------------
class Gone(Exception):
    """The server has closed the connection, or aborted the association."""


class Peer:
    """One connection to a server; what it sends is up to the test."""

    def __init__(self, port: int, timeout: float = 10, *, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", port)
        self.socket = socket.create_connection(address, timeout, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send it all; a server that has closed already is no failure of the test."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                raise Gone
            data += more
        return data

    def read(self) -> tuple[int, bytes]:
        """The next PDU: (type, body). Gone when there is none any more."""
        kind, length = struct.unpack(">BxI", self._exactly(6))
        assert length < 1 << 20, "an absurd PDU from the server"
        return kind, self._exactly(length)

    def verdict(self) -> str:
        """How the server answers what was sent: abort, reject, accept, closed, ..."""
        try:
            kind, body = self.read()
        except Gone:
            return "closed"
        names = {ABORT: "abort", ASSOCIATE_RJ: "reject", ASSOCIATE_AC: "accept"}
        names |= {P_DATA: "data", RELEASE_RP: "released"}
        self.last = body
        return names[kind]

    def is_closed(self) -> bool:
        """Whether the server closes within the socket's timeout; what it still says is read."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def associate(self, contexts: Iterable[Context] = USUAL, **options) -> dict[int, int]:
        """Associate; context ID -> result. AssertionError unless accepted."""
        self.send(associate_rq([context(*each) for each in contexts], **options))
        assert self.verdict() == "accept"
        return results(self.last)

    def ask(self, context_id: int, command_set: bytes, data_set: bytes | None = None) -> None:
        """Send a message in PDUs of 16 KiB."""
        message = p_data(pdv(context_id, COMMAND | LAST, command_set))
        if data_set is not None:
            step = 16000
            pieces = [data_set[at : at + step] for at in range(0, len(data_set), step)] or [b""]
            for piece in pieces[:-1]:
                message += p_data(pdv(context_id, 0, piece))
            message += p_data(pdv(context_id, LAST, pieces[-1]))
        self.send(message)

    def answer(self) -> dict[int, bytes]:
        """The next command set of the server, by element number; its data set is read over."""
        found = self._message_part(COMMAND)
        elements = {}
        at = 0
        while at < len(found):
            _, number, length = struct.unpack_from("<HHI", found, at)
            elements[number] = found[at + 8 : at + 8 + length]
            at += 8 + length
        if struct.unpack("<H", elements[0x800])[0] != 0x101:
            self.data_set = self._message_part(0)
        return elements

    def _message_part(self, wanted: int) -> bytes:
        found = b""
        while True:
            kind, body = self.read()
            if kind != P_DATA:
                raise Gone
            at = 0
            while at < len(body):
                length, _, control = struct.unpack_from(">IBB", body, at)
                assert control & COMMAND == wanted
                found += body[at + 6 : at + 4 + length]
                at += 4 + length
                if control & LAST:
                    assert at == len(body)
                    return found

    def status(self) -> int:
        """The status of the next final response; pending ones are passed over."""
        while True:
            found = self.answer()
            status = int(struct.unpack("<H", found[0x900])[0])
            if status not in (0xFF00, 0xFF01):
                self.comment = found.get(0x902, b"").decode("ascii")
                return status

    def echo(self, context_id: int = 1) -> int:
        """C-ECHO on an established association."""
        self.ask(context_id, ECHO_RQ)
        return self.status()

    def store(self, data_set: bytes, uid: str, *, sop_class: str = CT, context_id: int = 3) -> int:
        """C-STORE; the status."""
        rq = command(C_STORE, 7, sop_class=sop_class, instance=uid, data_set=True)
        self.ask(context_id, rq, data_set)
        return self.status()

    def reset(self) -> None:
        """Close with a TCP reset, as when a cable is cut and a firewall notices."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def results(accept: bytes) -> dict[int, int]:
    """Context ID -> result of an A-ASSOCIATE-AC body."""
    found = {}
    at = 68
    while at < len(accept):
        kind, length = struct.unpack_from(">BxH", accept, at)
        if kind == 0x21:
            found[accept[at + 4]] = accept[at + 6]
        at += 4 + length
    return found


def echo_seconds(port: int) -> float:
    """How long a whole C-ECHO takes: connect, associate, echo, release."""
    began = time.monotonic()
    with Peer(port) as peer:
        peer.associate([(1, VERIFICATION, [IMPLICIT])], calling=b"WATCH")
        assert peer.echo() == 0
        peer.send(RELEASE)
        assert peer.verdict() == "released"
    return time.monotonic() - began
