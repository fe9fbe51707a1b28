"""What the index compares: attribute values brought to one form, stored and asked alike.

A column holds the first value of its attribute; further values, and the further groups
of person names, go to the table other_value. So "any value matches" needs no cutting of
text inside the database, and stays indexed.

Person names are compared without case and accents, against each component group by
itself, trailing carets gone (PS3.4 C.2.2.2.1 leaves this to us; PS3.5 6.2.1).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

LONGEST = 300  # characters; a longer key would not fit PostgreSQL's index pages

_ACCENTS = re.compile("[\u0300-\u036f]")  # not the marks of Japanese or Indic scripts
_NO_WORD = re.compile(r"[\W_]+")
_ASCII_TIME = re.compile(r"(\d{2,6})(?:\.(\d*))?\Z")


@lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """Without case, accents, and differences of width: what names are compared by."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", plain))


def clean(text: str) -> str:
    """Text that every database can hold: no NUL, no lone surrogates, not too long."""
    if "\0" in text:
        text = text.replace("\0", "")
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text[:LONGEST]


def normalise(vr: str, text: str) -> tuple[str, ...]:
    """The values of an attribute as they are stored and compared; empty ones are left out.

    text: values joined with a backslash. Of the VRs in ONE_VALUE only the first counts.
    """
    text = clean(text)
    if vr == "PN":
        return tuple(dict.fromkeys(g for v in text.split("\\") for g in _groups(v)))
    values = [value.strip() for value in text.split("\\")]
    if vr in ONE_VALUE:
        values = [ONE_VALUE[vr](values[0])]
    return tuple(dict.fromkeys(value for value in values if value))


def _groups(name: str) -> list[str]:
    """Alphabetic, ideographic and phonetic group (PS3.5 6.2.1.1), those that say anything."""
    return [group for group in map(name_group, name.split("=")) if group]


def name_group(group: str) -> str:
    """One component group, folded: blanks around components and trailing carets gone."""
    return "^".join(part.strip() for part in fold(group).split("^")).rstrip("^")


def name_words(text: str) -> list[str]:
    """The words of a person's name, of all groups and values in a row, folded."""
    return [word for word in _NO_WORD.split(fold(clean(text))) if word]


def spaced(words: list[str]) -> str:
    """Words as the trigram index holds them: each with a blank before it."""
    return "".join(f" {word}" for word in words)


def word_run(literal: str) -> str:
    """A literal piece of a folded name in the form of `spaced`, for a necessary condition."""
    return _NO_WORD.sub(" ", literal).rstrip(" ")


def _date(text: str) -> str:
    """DA as YYYYMMDD; the dots of ACR-NEMA gone (PS3.5 6.2)."""
    return text.replace(".", "").replace("-", "")


def time(text: str) -> str:
    """TM as HHMMSS with the fraction it has, so that text order is the order of time.

    Missing minutes and seconds are zero; trailing zeros of the fraction are dropped.
    """
    found = _ASCII_TIME.match(text.replace(":", ""))
    if found is None:
        return text
    whole, fraction = found[1].ljust(6, "0"), (found[2] or "").rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def last_time(text: str) -> str:
    """The end of a range of TM: the last instant that its digits can mean."""
    found = _ASCII_TIME.match(text.replace(":", ""))
    if found is None:
        return text
    whole, fraction = found[1], found[2] or ""
    padded = whole + "235959"[len(whole) :]
    return f"{padded}.{fraction.ljust(6, '9')}"


def last_date(text: str) -> str:
    """The end of a range of DA; a year or a month alone means all of it."""
    return _date(text).ljust(8, "9")


def _integer(text: str) -> str:
    try:
        return str(int(text))
    except ValueError:
        return text


def number(text: str) -> int:
    """IS as a number to sort by; what is missing or unreadable comes last."""
    try:
        value = int(text.split("\\")[0])
    except ValueError:
        return 2**31 - 1
    return max(-(2**31), min(value, 2**31 - 1))


# VRs whose indexed attributes all have one value (PS3.6), and their form.
ONE_VALUE: dict[str, Callable[[str], str]] = {
    "DA": _date,
    "TM": time,
    "IS": _integer,
    "UI": str.strip,
}
