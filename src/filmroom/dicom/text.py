"""Specific Character Set and person names to text and back (PS3.5 6.1, 6.2, H, I, J, K).

Decoding never fails: what cannot be read becomes U+FFFD, the stored bytes are not touched.
Values are split after decoding, because a byte 5CH may be half of a character (GB18030,
ISO 2022 IR 87).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import NamedTuple

from filmroom.dicom.vrs import ONE_VALUE_TEXT

UTF_8 = "ISO_IR 192"

_CODECS = {  # PS3.3 C.12.1.1.2
    "": "latin_1",  # ASCII is meant; undeclared Latin-1 is the usual lie
    "ISO_IR 6": "latin_1",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 58": "gb2312",
    "ISO_IR 87": "iso2022_jp",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 149": "euc_kr",
    "ISO_IR 159": "iso2022_jp_2",
    "ISO_IR 166": "iso8859_11",
    "ISO_IR 192": "utf_8",
    "ISO_IR 203": "iso8859_15",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
_ESCAPES_TO_G1 = {  # PS3.3 Table C.12-3, C.12-4: what bytes above 7FH mean from here on
    b"-A": "ISO_IR 100",
    b"-B": "ISO_IR 101",
    b"-C": "ISO_IR 109",
    b"-D": "ISO_IR 110",
    b"-F": "ISO_IR 126",
    b"-G": "ISO_IR 127",
    b"-H": "ISO_IR 138",
    b"-L": "ISO_IR 144",
    b"-M": "ISO_IR 148",
    b"-T": "ISO_IR 166",
    b"-b": "ISO_IR 203",
    b")I": "ISO_IR 13",
    b"$)A": "ISO_IR 58",
    b"$)C": "ISO_IR 149",
}
_ESCAPES_TO_G0 = {b"(B", b"(J"}  # one byte a character again
_ESCAPES_TO_KANJI = {b"$B": "iso2022_jp", b"$@": "iso2022_jp", b"$(D": "iso2022_jp_2"}
_ESCAPE_OF = {term: b"\x1b" + escape for escape, term in _ESCAPES_TO_G1.items()}
_ESCAPE = re.compile(rb"\x1b(\$[)(][A-D]|\$[B@]|[-()][A-Za-z])")
_DELIMITERS = re.compile(r"[\\^=\r\n\f\t]")
_MISSPELT = re.compile(r"^(?:ISO[ _-]?2022[ _-]?IR|ISO[ _-]?IR)[ _-]?(\d+)$")


def charsets(raw: bytes) -> tuple[str, ...]:
    """The defined terms of (0008,0005), common misspellings put right; () if it is empty.

    `ISO 2022 IR n` stays distinct from `ISO_IR n`: only the former allows escapes.
    """
    text = raw.decode("ascii", "replace").rstrip(" \0")
    if not text:
        return ()
    return tuple(_term(part.strip(" \0").upper()) for part in text.split("\\"))


def _term(text: str) -> str:
    if text in ("UTF-8", "UTF8", "UTF_8"):
        return UTF_8
    misspelt = _MISSPELT.match(text)
    if misspelt:
        return ("ISO 2022 IR " if "2022" in text else "ISO_IR ") + misspelt[1]
    return text


def _codec(term: str) -> str:
    return _CODECS.get(term.replace("ISO 2022 IR", "ISO_IR"), "ascii")


def _strict_codec(term: str) -> str:
    return "ascii" if term in ("", "ISO 2022 IR 6", "ISO_IR 6") else _codec(term)


def decode(raw: bytes, vr: str, charsets: tuple[str, ...]) -> str:
    """The text of a value field, padding removed; several values stay joined by a backslash.

    Leading spaces count in LT, ST, UC and UT only; trailing ones nowhere (PS3.5 6.2).
    """
    try:
        text = raw.decode("ascii")
        if "\x1b" in text:
            text = _decode(raw, charsets)
    except UnicodeDecodeError:
        text = _decode(raw, charsets)
    if vr in ONE_VALUE_TEXT:
        return text.rstrip(" \0")
    if "\\" in text:
        return "\\".join([part.strip(" \0") for part in text.split("\\")])
    return text.strip(" \0")


def _decode(raw: bytes, charsets: tuple[str, ...]) -> str:
    if b"\x1b" in raw and any(term.startswith("ISO 2022") for term in charsets):
        return _decode_iso_2022(raw, charsets)
    first = charsets[0] if charsets else ""
    if not first and len(charsets) > 1:
        first = charsets[1]  # bytes above 7FH without an escape: the one that can hold them
    return raw.decode(_codec(first), "replace")


def _decode_iso_2022(raw: bytes, charsets: tuple[str, ...]) -> str:
    """Code extension by escape sequences (PS3.5 6.1.2.5)."""
    pieces = _ESCAPE.split(raw)
    initial = _strict_codec(charsets[0])
    g1 = _codec(charsets[0])
    text = [_single(pieces[0], initial, g1)[0]]
    for escape, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if escape in _ESCAPES_TO_KANJI:
            text.append((b"\x1b" + escape + piece).decode(_ESCAPES_TO_KANJI[escape], "replace"))
            continue
        if escape in _ESCAPES_TO_G1:
            g1 = _codec(_ESCAPES_TO_G1[escape])
        elif escape not in _ESCAPES_TO_G0:
            piece = b"\x1b" + escape + piece
        decoded, g1 = _single(piece, initial, g1)
        text.append(decoded)
    return "".join(text)


def _single(piece: bytes, initial: str, g1: str) -> tuple[str, str]:
    """Decode a run without escapes; G1 falls back to `initial` after a delimiter.

    Where `initial` has no G1 of its own the last one is kept: writers forget to repeat it.
    """
    decoded = piece.decode(g1, "replace")
    if g1 == initial or initial == "ascii":
        return decoded, g1
    cut = _DELIMITERS.search(decoded)
    if cut is None:
        return decoded, g1
    head = decoded[: cut.start()]
    rest = piece[len(head.encode(g1, "replace")) :]
    return head + rest.decode(initial, "replace"), initial


def encode(text: str, vr: str, charsets: tuple[str, ...]) -> bytes:
    """The value field of `text`, not padded; what `charsets` cannot hold becomes `?`."""
    if text.isascii():
        return text.encode("ascii")
    if len(charsets) > 1 and vr not in ("CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"):
        return _encode_iso_2022(text, charsets)
    term = charsets[0] if charsets else ""
    return text.encode(_strict_codec(term), "replace")


def _encode_iso_2022(text: str, charsets: tuple[str, ...]) -> bytes:
    parts = re.split(r"([\\^=\r\n\f\t])", text)
    return b"".join([_encode_component(part, charsets) for part in parts])


def _encode_component(text: str, charsets: tuple[str, ...]) -> bytes:
    """One run between delimiters: begins and ends in the initial state (PS3.5 6.1.2.5.3)."""
    encoded = b""
    active = first = charsets[0]
    back = b"\x1b(J" if _codec(first) == "shift_jis" else b"\x1b(B"
    for character in text:
        term = _term_for(character, active, charsets)
        raw = character.encode(_strict_codec(term), "replace")
        kanji = raw[:1] == b"\x1b"
        if term != active:
            if _is_kanji(active) and not kanji:
                encoded += back
            if not kanji and term != first:
                encoded += _ESCAPE_OF.get(term.replace("ISO 2022 IR", "ISO_IR"), b"")
        if kanji:  # ESC $ B x y ESC ( B: keep the escape only where the set changes
            escape = _ESCAPE.match(raw)
            start = escape.end() if escape else 0
            encoded += raw[0 if term != active else start : raw.rindex(b"\x1b")]
        else:
            encoded += raw
        active = term
    return encoded + (back if _is_kanji(active) else b"")


def _is_kanji(term: str) -> bool:
    return _codec(term).startswith("iso2022")


def _term_for(character: str, active: str, charsets: tuple[str, ...]) -> str:
    """The set to write `character` in: ASCII in the first, others where they fit."""
    order = charsets if character.isascii() else (active, *charsets)
    for term in order:
        if character.isascii() and _is_kanji(term):
            continue
        try:
            raw = character.encode(_strict_codec(term))
        except UnicodeEncodeError:
            continue
        if len(raw) == 1 or _codec(term) != "shift_jis":  # JIS X 0201 has no double bytes
            return term
    return charsets[0]


def can_encode(text: str, charsets: tuple[str, ...]) -> bool:
    """Whether nothing of `text` would be lost."""
    return decode(encode(text, "UT", charsets), "UT", charsets) == text.rstrip(" \0")


def choose_charset(texts: Iterable[str], wanted: str) -> str:
    """The (0008,0005) for an answer with these texts: `wanted` if it holds them, else UTF-8.

    wanted: what the question was asked in, as its value field reads; "" is ASCII.
    """
    terms = charsets(wanted.encode("ascii", "replace"))
    if any(_codec(term) == "ascii" for term in terms):
        return UTF_8
    whole = "\n".join(text for text in texts if not text.isascii())
    return wanted if can_encode(whole, terms) else UTF_8


class PersonName(NamedTuple):
    """The three component groups of a PN value (PS3.5 6.2.1)."""

    alphabetic: str
    ideographic: str = ""
    phonetic: str = ""


def person_name(text: str) -> PersonName:
    """Take one PN value apart; a fourth group and later are dropped."""
    groups = [group.strip(" \0") for group in text.split("=")[:3]]
    return PersonName(*groups)


for _name in set(_CODECS.values()):
    codecs.lookup(_name)  # a missing codec must show at start, not inside `decode`
