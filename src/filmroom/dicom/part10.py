"""The preamble and File Meta Information of a DICOM file (PS3.10 7.1), read and written."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.uids import (
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LE,
)
from filmroom.dicom.vrs import KNOWN_VRS, LONG_VRS

PREAMBLE_BYTES = 128
MAX_META_BYTES = 65536
MAX_UID_BYTES = 64
PRIVATE_CREATOR, PRIVATE = 0x0100, 0x0102  # Private Information, and the UID of its maker

_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sxxI")
_IMPLICIT = struct.Struct("<HHI")


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the File Meta Information says; empty strings where it says nothing.

    transfer_syntax_uid: guessed from the data set when the file does not tell.
    """

    data_set_offset: int
    transfer_syntax_uid: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    source_ae_title: str = ""
    private_creator: str = ""
    private: bytes = b""


def meta_header(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str = "",
    private_creator: str = "",
    private: bytes = b"",
) -> bytes:
    """A zero preamble, DICM, and group 0002 with its length (PS3.10 7.1).

    private: Private Information of an even length, whose maker is `private_creator`.

    Raises ValueError if a UID is longer than 64 characters or not ASCII.
    """
    elements = [
        _LONG.pack(2, 0x0001, b"OB", 2) + b"\x00\x01",
        _uid(0x0002, sop_class_uid),
        _uid(0x0003, sop_instance_uid),
        _uid(0x0010, transfer_syntax_uid),
        _uid(0x0012, IMPLEMENTATION_CLASS_UID),
        _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    ]
    if source_ae_title:
        ae_title = source_ae_title.encode("ascii", "replace")[:16]
        elements.append(_text(0x0016, b"AE", ae_title))
    if private:
        elements.append(_uid(PRIVATE_CREATOR, private_creator))
        elements.append(_LONG.pack(2, PRIVATE, b"OB", len(private)) + private)
    group = b"".join(elements)
    length = _SHORT.pack(2, 0, b"UL", 4) + struct.pack("<I", len(group))
    return bytes(PREAMBLE_BYTES) + b"DICM" + length + group


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    if len(value) > MAX_UID_BYTES:
        raise ValueError("a UID has at most 64 characters")
    return (
        _SHORT.pack(2, element, b"UI", len(value) + len(value) % 2)
        + value
        + (b"\0" * (len(value) % 2))
    )


def _text(element: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return _SHORT.pack(2, element, vr, len(value)) + value


def parse_meta(head: bytes | memoryview, *, complete: bool = False) -> FileMeta:
    """Read what stands before the data set.

    head: the file from its start; complete: there is no more of it.
    Tolerated: no preamble, no File Meta Information at all, a wrong group length, implicit
    VR in group 0002. Raises NeedMore, or Malformed when this is no DICOM file.
    """
    view = bytes(head[: PREAMBLE_BYTES + 4 + MAX_META_BYTES])
    try:
        return _parse(view, complete)
    except NeedMore as more:
        if complete or more.at_least > PREAMBLE_BYTES + 4 + MAX_META_BYTES:
            raise Malformed(
                "this is no DICOM file, or its File Meta Information is cut off"
            ) from None
        raise


def _parse(head: bytes, complete: bool) -> FileMeta:
    if len(head) < PREAMBLE_BYTES + 4 and not complete:
        raise NeedMore(PREAMBLE_BYTES + 4)  # a preamble may begin with anything
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        at = PREAMBLE_BYTES + 4
    elif head[:4] == b"DICM":
        at = 4
    elif head[:1] == b"\x02" and head[1:2] == b"\x00":
        at = 0
    else:
        return _bare(head, 0)
    end, values = _group_2(head, at, complete)
    if end == at:
        return _bare(head, at)
    named = values.get(0x0010)
    return FileMeta(
        data_set_offset=end,
        transfer_syntax_uid=_clean(named) if named else guess_transfer_syntax(head, end),
        sop_class_uid=_clean(values.get(0x0002, b"")),
        sop_instance_uid=_clean(values.get(0x0003, b"")),
        source_ae_title=_clean(values.get(0x0016, b"")),
        private_creator=_clean(values.get(PRIVATE_CREATOR, b"")),
        private=values.get(PRIVATE, b""),
    )


def _bare(head: bytes, at: int) -> FileMeta:
    return FileMeta(at, guess_transfer_syntax(head, at))


def _group_2(head: bytes, at: int, complete: bool) -> tuple[int, dict[int, bytes]]:
    """The end of group 0002 and its values by element number.

    It ends where another group begins: a beginning that ends between two elements tells nothing.
    """
    values: dict[int, bytes] = {}
    while True:
        if len(head) < at + 8:
            if complete and len(head) == at and values:
                return at, values
            raise NeedMore(at + 8)
        group, element, vr, length = _SHORT.unpack_from(head, at)
        if group != 2:
            return at, values
        start = at + 8
        if not vr.isalpha():
            (length,) = struct.unpack_from("<I", head, at + 4)
        elif vr not in KNOWN_VRS:
            raise Malformed("the File Meta Information has an unknown value representation")
        elif vr in LONG_VRS:
            if len(head) < at + 12:
                raise NeedMore(at + 12)
            (length,) = struct.unpack_from("<I", head, at + 8)
            start = at + 12
        at = start + length
        if length > MAX_META_BYTES:
            raise Malformed("the File Meta Information has a value of absurd length")
        if len(head) < at:
            raise NeedMore(at)
        values[element] = head[start:at]


def guess_transfer_syntax(head: bytes, at: int) -> str:
    """What the first element of a data set at `at` is written in.

    Raises NeedMore or Malformed.
    """
    if len(head) < at + 8:
        raise NeedMore(at + 8)
    group, _, length = _IMPLICIT.unpack_from(head, at)
    if head[at + 4 : at + 6] in KNOWN_VRS:
        if 0 < group <= 0x00FF:
            return EXPLICIT_VR_LE
        if group & 0xFF == 0 and group:
            return EXPLICIT_VR_BE
    elif 0 < group <= 0x00FF and length <= MAX_META_BYTES:
        return IMPLICIT_VR_LE
    raise Malformed("this is not a DICOM file")


def _clean(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")
