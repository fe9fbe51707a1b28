"""How element headers are written, in the three encodings of PS3.5, and how they are read."""

from __future__ import annotations

import mmap
import struct

from filmroom.dicom.tags import BY_TAG, PIXEL_ATTRIBUTES, SPECIFIC_CHARACTER_SET
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.dicom.vrs import LONG_VRS, SHORT_VRS, sequences

Buffer = bytes | memoryview | mmap.mmap

PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, integer
UNDEFINED = 0xFFFFFFFF
FORGET_BYTES = 1 << 24  # walk so far in a mapped file, then `forget`

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_WANTED = frozenset(BY_TAG) | frozenset(PIXEL_ATTRIBUTES.values()) | {SPECIFIC_CHARACTER_SET}


def forget(looked_at: Buffer) -> None:
    """Let go of the pages of a mapped file that were looked at; they can be looked at again.

    The kernel maps what lies around each byte that is read, and counts it as our memory: a
    walk from fragment to fragment would end up with the whole file in it.
    """
    mapped = looked_at.obj if isinstance(looked_at, memoryview) else looked_at
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


class TooShort(Exception):
    """The buffer ends at `size`, an element only at `need`."""

    def __init__(self, need: int) -> None:
        self.need = need


class Notation:
    """How element headers are written: tables for one of the three encodings.

    Tags are compared as the number that one unpack gives: the group and element words
    come in the wrong order in little endian, so `natural` puts them right.
    """

    def __init__(self, explicit_vr: bool, little_endian: bool) -> None:
        order = "<" if little_endian else ">"
        self.explicit_vr = explicit_vr
        self.little_endian = little_endian
        self.header = struct.Struct(order + ("I2sH" if explicit_vr else "II"))
        self.implicit = struct.Struct(order + "II")
        self.length = struct.Struct(order + "I")
        self.wanted = {self.as_read(tag): tag for tag in _WANTED}
        self.pixels = {self.as_read(tag): tag for tag in PIXEL_TAGS}
        self.item = self.as_read(_ITEM)
        self.item_end = self.as_read(_ITEM_END)
        self.sequence_end = self.as_read(_SEQUENCE_END)
        self.sequences = frozenset() if explicit_vr else frozenset(map(self.as_read, sequences()))
        self.delimiters = {self.item, self.item_end, self.sequence_end}

    def as_read(self, tag: int) -> int:
        """`tag` as one 32-bit number of this byte order; its own inverse."""
        return (tag >> 16 | (tag & 0xFFFF) << 16) if self.little_endian else tag


EXPLICIT_LE = Notation(True, True)
EXPLICIT_BE = Notation(True, False)
IMPLICIT_LE = Notation(False, True)


def notation_of(transfer_syntax_uid: str) -> Notation:
    """The notation of a transfer syntax; unknown ones are explicit little endian (PS3.5 A.4)."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None or (syntax.explicit_vr and syntax.little_endian):
        return EXPLICIT_LE
    return EXPLICIT_BE if syntax.explicit_vr else IMPLICIT_LE


def element_header(head: Buffer, at: int, n: Notation) -> tuple[int, int, bytes]:
    """(start of the value, length, VR) of the element at `at`; VR b"" when not written."""
    if not n.explicit_vr:
        return at + 8, n.length.unpack_from(head, at + 4)[0], b""
    read, vr, length = n.header.unpack_from(head, at)
    if vr in SHORT_VRS:
        return at + 8, length, vr
    return long_header(head, at, read, vr, length, n)


def long_header(
    head: Buffer, at: int, read: int, vr: bytes, length: int, n: Notation
) -> tuple[int, int, bytes]:
    """Where the value begins, its length, and the VR, for any but the short VRs.

    A VR that is none gives b"": a delimiter, or an element in implicit VR. An unknown
    pair of letters has the long form (PS3.5 7.1.2) unless the reserved bytes are in use.
    """
    if vr in LONG_VRS or (vr.isalpha() and vr.isupper() and length == 0):
        return at + 12, n.length.unpack_from(head, at + 8)[0], vr
    if vr.isalpha() and vr.isupper():
        return at + 8, length, vr
    return at + 8, n.length.unpack_from(head, at + 4)[0], b""


def is_sequence(read: int, vr: bytes, n: Notation) -> bool:
    """Whether an element of defined length holds items. read: its tag as it was read."""
    return vr == b"SQ" if n.explicit_vr else read in n.sequences
