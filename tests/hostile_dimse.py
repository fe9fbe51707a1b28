"""DIMSE streams that mean no good: what is said before, during and instead of an association."""

from __future__ import annotations

import random
import struct

import hostile_wire as wire
from hostile_wire import CT, EXPLICIT, IMPLICIT, MR, STUDY_FIND, p_data, pdu, pdv

RQ = wire.associate_rq([wire.context(1, wire.VERIFICATION, [IMPLICIT])])
NOISE = random.Random(1)

# -- the first bytes (rows 18, 20, 21, 22): an A-ABORT at once ---------------------------------
STRANGERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100c4010000c00303") + NOISE.randbytes(190),
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "MLLP": b"\x0bMSH|^~\\&|A|B|C|D|20260101||ORU^R01|1|P|2.5\r\x1c\r",
    "SMB": bytes.fromhex("00000054ff534d4272000000001843c8"),
    "RDP": bytes.fromhex("0300002f2ae00000000000436f6f6b69653a206d737473686173683d"),
    "line end": b"\r\n\r\n",
    "noise": b"\xf7" + NOISE.randbytes(3000),
    "type 0": pdu(0, bytes(4)),
    "type 8": pdu(8, bytes(4)),
    "type 255": pdu(255, bytes(4)),
    "P-DATA first": p_data(pdv(1, 3, wire.ECHO_RQ)),
    "release first": wire.RELEASE,
    "release answer first": pdu(wire.RELEASE_RP, bytes(4)),
    "acceptance first": pdu(wire.ASSOCIATE_AC, RQ[6:]),
    "rejection first": pdu(wire.ASSOCIATE_RJ, bytes(4)),
    "RQ of 4 GiB": pdu(wire.ASSOCIATE_RQ, bytes(100), 0xFFFFFFFF),
    "RQ of 2 GiB": pdu(wire.ASSOCIATE_RQ, RQ[6:], 1 << 31),
    "RQ of 2 MiB": pdu(wire.ASSOCIATE_RQ, RQ[6:], 2 << 20),
    "P-DATA of 4 GiB": pdu(wire.P_DATA, bytes(100), 0xFFFFFFFF),
    "abort of 4 GiB": pdu(wire.ABORT, bytes(4), 0xFFFFFFFF),
    "release of 64 KiB": pdu(wire.RELEASE_RQ, bytes(4), 1 << 16),
    "RQ of nothing": pdu(wire.ASSOCIATE_RQ, b""),
    "RQ of 10 bytes": pdu(wire.ASSOCIATE_RQ, bytes(10)),
    "RQ with a cut item": pdu(wire.ASSOCIATE_RQ, RQ[6:-3]),
    "RQ with an item past its end": pdu(wire.ASSOCIATE_RQ, RQ[6:74] + wire.item(0x20, b"", 65535)),
    "RQ with items within items": pdu(
        wire.ASSOCIATE_RQ, RQ[6:74] + wire.item(0x50, wire.item(0x51, b"", 60000))
    ),
    "RQ with 20,000 items": pdu(wire.ASSOCIATE_RQ, RQ[6:74] + wire.item(0x10, b"") * 20_000),
    "RQ with 20,000 sub-items": wire.associate_rq(
        user=wire.item(0x50, wire.item(0x55, b"") * 16_000)
    ),
    "RQ with 300 contexts": wire.associate_rq([wire.context(1, CT, [EXPLICIT])] * 300),
    "RQ with 2,000 syntaxes": wire.associate_rq([wire.context(1, CT, [EXPLICIT] * 2000)]),
    "RQ of noise": pdu(wire.ASSOCIATE_RQ, NOISE.randbytes(3000)),
}


# -- within an association (rows 22, 25, 26): an A-ABORT -----------------------------------------
STORE = wire.command(wire.C_STORE, sop_class=CT, instance="1.2.3", data_set=True)
BREACHES = {
    "RQ twice": RQ,
    "acceptance": pdu(wire.ASSOCIATE_AC, RQ[6:]),
    "rejection": pdu(wire.ASSOCIATE_RJ, bytes(4)),
    "release answer": pdu(wire.RELEASE_RP, bytes(4)),
    "unknown type": pdu(0x2A, bytes(4)),
    "P-DATA of 4 GiB": pdu(wire.P_DATA, bytes(64), 0xFFFFFFFF),
    "P-DATA longer than announced": pdu(wire.P_DATA, bytes(64), 131072 + 4097),
    "P-DATA of nothing": pdu(wire.P_DATA, b""),
    "PDV of length 0": p_data(pdv(1, 3, b"", 0)),
    "PDV of length 1": p_data(pdv(1, 3, b"", 1)),
    "PDV beyond its PDU": p_data(pdv(1, 3, wire.ECHO_RQ, 5000)),
    "PDV of 4 GiB": p_data(pdv(1, 3, wire.ECHO_RQ, 0xFFFFFFFF)),
    "PDU ends in a PDV header": pdu(wire.P_DATA, b"\0\0"),
    "context 0": p_data(pdv(0, 3, wire.ECHO_RQ)),
    "even context": p_data(pdv(2, 3, wire.ECHO_RQ)),
    "context never proposed": p_data(pdv(99, 3, wire.ECHO_RQ)),
    "data before a command": p_data(pdv(1, 2, bytes(20))),
    "command within a data set": p_data(pdv(3, 3, STORE), pdv(3, 3, wire.ECHO_RQ)),
    "another context within": p_data(pdv(3, 3, STORE), pdv(1, 2, bytes(8))),
    "endless command set": b"".join(p_data(pdv(1, 1, bytes(8000))) for _ in range(12)),
    "command of noise": p_data(pdv(1, 3, NOISE.randbytes(200))),
    "command of nothing": p_data(pdv(1, 3, b"")),
    "command cut": p_data(pdv(1, 3, wire.ECHO_RQ[:-3])),
    "command with a 4 GiB element": p_data(pdv(1, 3, wire.element(2, b"1.2", 0xFFFFFFFF))),
    "command without an ID": p_data(pdv(1, 3, wire.us(0x100, 0x30) + wire.us(0x800, 0x101))),
    "command of another group": p_data(pdv(1, 3, struct.pack("<HHI", 8, 0x18, 0))),
    "command with a wide number": p_data(pdv(1, 3, wire.element(0x100, bytes(400)))),
    "command in explicit VR": p_data(pdv(1, 3, b"\0\0\0\1US\2\0\x30\0")),
    "answer to nothing": p_data(
        pdv(3, 3, wire.us(0x100, 0x8001) + wire.us(0x120, 9) + wire.us(0x800, 0x101))
    ),
}


# -- negotiation (rows 23, 24) ---------------------------------------------------------------
def proposal(*contexts, **options):
    return wire.associate_rq([wire.context(*each) for each in contexts], **options)


ECHO = (1, wire.VERIFICATION, [IMPLICIT])
REJECTED = {
    "context 0": proposal((0, CT, [EXPLICIT])),
    "even context": proposal(ECHO, (4, CT, [EXPLICIT])),
    "context twice": proposal(ECHO, (3, CT, [EXPLICIT]), (3, MR, [EXPLICIT])),
    "200 contexts": proposal(*((n * 2 % 256 | 1, CT, [EXPLICIT]) for n in range(200))),
    "unknown called AE title": proposal(ECHO, called=b"SOMEBODY"),
    "blank called AE title": proposal(ECHO, called=b""),
    "called AE title of noise": proposal(ECHO, called=NOISE.randbytes(16)),
    "called AE title of a path": proposal(ECHO, called=b"../../../../etc"),
    "unknown application context": proposal(ECHO, application=b"1.2.3"),
    "no application context": proposal(ECHO, application=b""),
    "protocol version 0": proposal(ECHO, version=0),
    "protocol version 2": proposal(ECHO, version=2),
}


# (contexts, result of the last one): 3 abstract syntax, 4 transfer syntaxes not supported
PARTLY = {
    "no syntax": ([ECHO, (3, CT, [])], 4),
    "unknown syntax": ([ECHO, (3, CT, ["1.2.3.4"])], 4),
    "syntax of a path": ([ECHO, (3, CT, ["../../x"])], 4),
    "syntax of 60 kB": ([ECHO, (3, CT, ["1" * 60_000])], 4),
    "unknown class": ([ECHO, (3, "1.2.3.4", [EXPLICIT])], 3),
    "class of nothing": ([ECHO, (3, "", [EXPLICIT])], 3),
    "class of letters": ([ECHO, (3, "<script>", [EXPLICIT])], 3),
    "class of 10 kB": ([ECHO, (3, "1.2." * 2500, [EXPLICIT])], 3),
    "128 contexts": ([ECHO, *((n, CT, [EXPLICIT]) for n in range(3, 256, 2))], 0),
    "one class 60 times": ([ECHO, *((n, CT, [EXPLICIT, IMPLICIT]) for n in range(3, 123, 2))], 0),
}

USERS = {
    "maximum length 0": wire.user_information(0),
    "maximum length 1": wire.user_information(1),
    "maximum length 7": wire.user_information(7),
    "maximum length 8": wire.user_information(8),
    "maximum length 4 GiB": wire.user_information(0xFFFFFFFF),
    "no user information": b"",
    "empty user information": wire.item(0x50, b""),
    "window of 65535": wire.user_information(more=wire.item(0x53, b"\xff\xff\xff\xff")),
    "unknown sub-item": wire.user_information(more=wire.item(0x7F, bytes(5000))),
    "extended 30 kB": wire.user_information(
        more=wire.item(0x56, struct.pack(">H", 17) + STUDY_FIND.encode()[:17] + bytes(30_000))
    ),
    "version name of noise": wire.user_information(more=wire.item(0x55, bytes(range(256)))),
    "identity of a kind unknown": wire.user_information(
        more=wire.item(0x58, b"\xff\1\0\4user\0\0")
    ),
    "a token of 30 kB": wire.user_information(
        more=wire.item(0x58, b"\5\1" + struct.pack(">H", 30_000) + b"e" * 30_000 + b"\0\0")
    ),
}


# -- queries and retrievals (row 55, S5) ------------------------------------------------------
def level(name, **keys):
    """An identifier in implicit VR; keys by eight hex digits after an x."""
    found = {0x00080052: name.encode()}
    found |= {int(tag[1:], 16): value for tag, value in keys.items()}
    pieces = []
    for tag, value in sorted(found.items()):
        value += b" " * (len(value) % 2)
        pieces.append(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value)
    return b"".join(pieces)


STARS = b"*a" * 3000
IDENTIFIERS = {
    "nothing": b"",
    "noise": NOISE.randbytes(5000),
    "no level": level("")[8:],
    "level of noise": level("\x1b[31m"),
    "cut": level("STUDY", x00100010=b"A*")[:-1],
    "4 GiB element": level("STUDY") + struct.pack("<HHI", 0x10, 0x10, 0xFFFFFFFE),
    "a sequence 30,000 deep": level("STUDY")
    + struct.pack("<HHI", 0x40, 0x275, 0xFFFFFFFF)
    + struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0xFFFFFFFF, 0x40, 0x275, 0xFFFFFFFF) * 30_000,
    "3,000 wildcards": level("STUDY", x00100010=STARS),
    "3,000 stars in a row": level("STUDY", x00100010=b"*" * 3000),
    "3,000 question marks": level("STUDY", x00100020=b"?" * 3000),
    "stars and percents": level("STUDY", x00081030=b"*%_*" * 20, x00080050=b"%_%"),
    "60,000 UIDs": level("STUDY", x0020000D=b"\\".join([b"1.2.3"] * 60_000)),
    "a name list of 1,000": level("STUDY", x00100020=b"\\".join([b"A*"] * 1000)),
    "SQL": level("STUDY", x00100010=b"' OR 1=1 --", x00080050=b"'; DROP TABLE study; --"),
    "a range of nonsense": level("STUDY", x00080020=b"99999999-00000000", x00080030=b"-"),
    "a date of words": level("STUDY", x00080020=b"yesterday-tomorrow"),
    "a date of 4,000": level("STUDY", x00080020=b"2" * 4000),
    "NUL in a name": level("STUDY", x00100010=b"A\0B"),
    "noise in a name": level("STUDY", x00080005=b"ISO_IR 192", x00100010=b"\xff\xfe\x1b$B"),
    "2,000 unknown keys": level("STUDY")
    + b"".join(struct.pack("<HHI", 0x4000, n, 0) for n in range(2000)),
    "1,5 MB": level("STUDY", x00104000=b"x" * 1_500_000),
}
