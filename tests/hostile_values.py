"""Values no modality should send: hostile names, charsets that lie, dates that never were."""

from __future__ import annotations

import struct

from hostile_files import (
    ITEM,
    J2K,
    JPEG,
    RLE,
    SEQUENCE_END,
    STORED,
    UNDEFINED,
    Bad,
    bad,
    delimiter,
    element,
    number,
    padded,
)

# -- what text may hold (rows 43, 44, 45) ----------------------------------------------------
NAMES = {
    "script": "<script>alert(1)</script>",
    "image": "\"><img src=x onerror=alert(1)>",
    "crlf": "A\r\nSet-Cookie: x=1\r\n\r\n<b>",
    "ansi": "\x1b[31mRED\x1b[0m\x1b]0;title\x07",
    "bidi": "user\u202egpj.exe\u2066\u2069",
    "sql": "'; DROP TABLE instance; --",
    "sql2": "x' OR '1'='1",
    "jndi": "${jndi:ldap://127.0.0.1:1/a}",
    "template": "{{7*7}}${7*7}<%= 7*7 %>",
    "formula": "=cmd|' /C calc'!A0",
    "format": "%s%n%x {0.__class__}",
    "hl7": "X|^~\\&\rPID|1||2",
    "nul": "A\0B",
    "shell": "$(touch /tmp/pwned)`id`;|&",
    "long": "L" * 5000,
    "carets": "^" * 300 + "=" * 50,
    "separator": "a\u2028b\u2029c\ufeff",
    "zalgo": "Z" + "\u0301" * 200,
}  # fmt: skip


def hostile_names() -> dict[str, Bad]:
    """By kind: the name everywhere that text is kept, in UTF-8."""
    found = {}
    for kind, name in NAMES.items():
        raw = padded(name)
        more: dict[int, tuple[str, bytes]] = {0x00080005: ("CS", b"ISO_IR 192")}
        more |= dict.fromkeys((0x00100010, 0x00080090, 0x00081050), ("PN", raw))
        more |= dict.fromkeys((0x00100020, 0x00081030, 0x0008103E, 0x00080080), ("LO", raw))
        more |= dict.fromkeys((0x00080050, 0x00200010, 0x00081010), ("SH", raw))
        more |= {0x00104000: ("LT", raw), 0x00420010: ("ST", raw)}
        found[kind] = bad(f"name {kind}", STORED, more)
    return found


def odd_text() -> list[Bad]:
    """Charsets that lie or do not exist, escapes left open, dates and numbers that cannot be."""
    name = 0x00100010
    charsets = {
        "invalid UTF-8": (b"ISO_IR 192", b"\xff\xfe\xc3\x28\xed\xa0\x80A "),
        "unknown charset": (b"ISO_IR 999", b"\xe4\xf6\xfc "),
        "charset of noise": (bytes(range(128, 160)), b"M\xfcller"),
        "64 charsets": (b"\\".join([b"ISO 2022 IR 87"] * 64), b"A\x1b$B0l"),
        "open escape": (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED"),
        "unknown escape": (b"\\ISO 2022 IR 87", b"\x1b(Z\x1b\x1b\x1b$)Qabc"),
        "escape at the end": (b"\\ISO 2022 IR 149", b"abc\x1b$)C\x1b"),
        "half a GB18030 character": (b"GB18030 ", b"\x81\x30\x81 "),
        "UTF-8 without a charset": (b"", "Ünïcödé".encode()),
        "lone continuation": (b"ISO_IR 192", b"\x80" * 64),
    }
    found = [
        bad(kind, STORED, {0x00080005: ("CS", padded(charset)), name: ("PN", padded(raw))})
        for kind, (charset, raw) in charsets.items()
    ]
    values = {
        "month 13": (0x00080020, "DA", b"20261345"),
        "day zero": (0x00080020, "DA", b"00000000"),
        "a word for a date": (0x00080020, "DA", b"tomorrow"),
        "a date of 5,000 digits": (0x00080020, "DA", b"9" * 5000),
        "time 99": (0x00080030, "TM", b"999999.999999 "),
        "birth in letters": (0x00100030, "DA", b"\xff\xff\xff\xff"),
        "IS of 100 digits": (0x00200013, "IS", b"9" * 100),
        "IS of 10,000 digits": (0x00200011, "IS", b"9" * 10_000),
        "IS of letters": (0x00200013, "IS", b"NaN "),
        "DS infinite": (0x00101030, "DS", b"Infinity"),
        "DS NaN": (0x00101030, "DS", b"NaN "),
        "DS 1e999": (0x00101020, "DS", b"1e999 "),
        "FD NaN": (0x00189073, "FD", struct.pack("<dd", float("nan"), float("inf"))),
        "FD odd": (0x00189073, "FD", b"\1\2\3"),
        "US of one byte": (0x00280010, "US", b"\1"),
        "AT odd": (0x00280009, "AT", b"\1\2\3\4\5"),
        "20,000 values": (0x00080008, "CS", b"A\\" * 20_000),
        "Modality of 10,000": (0x00080060, "CS", b"CT\\" * 10_000),
    }
    return found + [bad(kind, STORED, {tag: (vr, raw)}) for kind, (tag, vr, raw) in values.items()]


# -- pixels that cannot be (row 40) ----------------------------------------------------------
def absurd_pixels() -> list[Bad]:
    """Stored as they are; whoever asks for a picture gets an error, not the server."""
    us, most = number, number(0xFFFF)
    values: dict[str, dict[int, tuple[str, bytes]]] = {
        "65535 x 65535": {0x00280010: ("US", most), 0x00280011: ("US", most)},
        "65535 of everything": dict.fromkeys(
            (0x00280002, 0x00280010, 0x00280011, 0x00280100), ("US", most)),
        "rows as UL": {0x00280010: ("UL", struct.pack("<I", 1 << 31))},
        "2^31 frames": {0x00280008: ("IS", b"2147483648")},
        "minus one frame": {0x00280008: ("IS", b"-1")},
        "frames in words": {0x00280008: ("IS", b"many")},
        "0 bits": {0x00280100: ("US", us(0)), 0x00280101: ("US", us(0))},
        "64 bits": {0x00280100: ("US", us(64)), 0x00280101: ("US", us(64))},
        "high bit 200": {0x00280102: ("US", us(200))},
        "0 rows": {0x00280010: ("US", us(0))},
        "no rows": {0x00280010: ("", b"")},
        "palette without a table": {0x00280004: ("CS", b"PALETTE COLOR ")},
        "photometric of noise": {0x00280004: ("CS", b"\xff\xfe../..")},
        "window NaN": {0x00281050: ("DS", b"NaN "), 0x00281051: ("DS", b"0 ")},
        "rescale infinite": {0x00281053: ("DS", b"1e308 "), 0x00281052: ("DS", b"-1e308")},
        "no pixel data": {0x7FE00010: ("", b"")},
        "empty pixel data": {0x7FE00010: ("OW", b"")},
    }  # fmt: skip
    found = [bad(name, STORED, more) for name, more in values.items()]
    for ts, start in ((JPEG, b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03"), (J2K, b"\xff\x4f"),
                      (RLE, struct.pack("<16I", 15, *([0xFFFFFFF0] * 15)))):  # fmt: skip
        stream = padded(start + b"\xff" * 200, b"\0")
        fragments = delimiter(ITEM) + delimiter(ITEM, len(stream)) + stream
        tail = element(0x7FE00010, "OB", fragments + delimiter(SEQUENCE_END), length=UNDEFINED)
        found.append(bad(f"a codestream of lies, {ts[-4:]}", STORED, {0x7FE00010: ("", b"")},
                         ts=ts, tail=tail))  # fmt: skip
    return found
