"""Value representations and the data dictionary (PS3.5 6.2, PS3.6 6): how a value is written."""

from __future__ import annotations

from array import array
from functools import cache

from filmroom.dicom import _generated_dictionary

LONG_VRS = frozenset(  # two reserved bytes and a 32-bit length (PS3.5 7.1.2)
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
KNOWN_VRS = LONG_VRS | SHORT_VRS

BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})  # bulk data candidates
CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # under (0008,0005)
ONE_VALUE_TEXT = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is only a backslash
NUMBER_FORMATS = {  # struct code and width in bytes
    "FD": ("d", 8),
    "FL": ("f", 4),
    "SL": ("i", 4),
    "SS": ("h", 2),
    "SV": ("q", 8),
    "UL": ("I", 4),
    "US": ("H", 2),
    "UV": ("Q", 8),
}
SWAP_BYTES = {vr: width for vr, (_, width) in NUMBER_FORMATS.items()} | {
    "AT": 2,
    "OD": 8,
    "OF": 4,
    "OL": 4,
    "OV": 8,
    "OW": 2,
}
_SWAP_CODES = {2: "H", 4: "I", 8: "Q"}


@cache
def _elements() -> dict[int, tuple[str, str]]:
    table = {}
    for line in _generated_dictionary.ELEMENTS.splitlines():
        tag, vr, *keyword = line.split(" ")
        table[int(tag, 16)] = (vr, keyword[0] if keyword else "")
    return table


@cache
def _repeaters() -> dict[tuple[int, int], tuple[str, str]]:
    """Groups 50xx, 60xx, 7Fxx by (high byte of the group, element) (PS3.5 7.6)."""
    table = {}
    for line in _generated_dictionary.REPEATERS.splitlines():
        mask, vr, *keyword = line.split(" ")
        if mask[2:4] == "xx" and "x" not in mask[4:]:
            table[int(mask[:2], 16), int(mask[4:], 16)] = (vr, keyword[0] if keyword else "")
    return table


@cache
def _tags() -> dict[str, int]:
    return {keyword: tag for tag, (_, keyword) in _elements().items() if keyword}


def sequences() -> list[int]:
    """The tags whose VR is SQ."""
    return [tag for tag, (vr, _) in _elements().items() if vr == "SQ"]


def _entry(tag: int) -> tuple[str, str]:
    found = _elements().get(tag)
    if found is None and not tag & 0x10000:
        found = _repeaters().get((tag >> 24, tag & 0xFFFF))
    return found or ("", "")


def _choices(tag: int) -> str:
    element = tag & 0xFFFF
    if element == 0:
        return "UL"
    if tag & 0x10000:
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    return _entry(tag)[0] or "UN"


def vr_of(tag: int, *, signed: bool = False) -> str:
    """The dictionary's VR of `tag`, as implicit VR needs it (PS3.5 A.1).

    signed: Pixel Representation is 1; decides US or SS. OB or OW is OW. Private tags
    are UN, private creators LO, unknown tags UN.
    """
    vr = _choices(tag)
    if "/" not in vr:
        return vr
    if vr == "US/SS":
        return "SS" if signed else "US"
    return "OW"


def keyword_of(tag: int) -> str:
    """The keyword, or an empty string."""
    return _entry(tag)[1]


def tag_of(keyword: str) -> int | None:
    """The tag of a keyword; None when PS3.6 has no such keyword."""
    return _tags().get(keyword)


def swapped(raw: bytes, vr: str) -> bytes:
    """Change the byte order of a value field (PS3.5 7.3); a ragged end stays as it is."""
    width = SWAP_BYTES.get(vr)
    if width is None:
        return raw
    whole = len(raw) - len(raw) % width
    words = array(_SWAP_CODES[width], raw[:whole])
    words.byteswap()
    return words.tobytes() + raw[whole:]


def is_ae_title(text: str) -> bool:
    """True for 1-16 printable ASCII characters, no backslash, not only spaces (PS3.5 6.2)."""
    return 0 < len(text.strip(" ")) <= 16 and all(" " <= c <= "~" and c != "\\" for c in text)
