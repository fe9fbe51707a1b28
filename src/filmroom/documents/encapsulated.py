"""Encapsulated documents (PS3.3 A.45): what they are, how long, and whether they say the truth."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from filmroom.dicom import dicomjson
from filmroom.dicom.errors import Malformed
from filmroom.dicom.notation import Buffer
from filmroom.documents.kinds import Kind
from filmroom.pixel.errors import Undecodable
from filmroom.pixel.values import number_of, text_of

DOCUMENT = "00420011"
HEAD_BYTES = 1024  # of a document, enough to see what it is (a PDF may begin that late)

_WANTED = frozenset({0x00420012, 0x00420015})
_PAGE = re.compile(rb"<(!doctype\s+)?(x?html|svg)\b", re.I)


@dataclass(frozen=True, slots=True)
class Said:
    """What the data set says of its document. length: None when it does not say."""

    mime_type: str
    length: int | None


def said_of(header: Buffer, transfer_syntax_uid: str) -> Said:
    """Raises Undecodable when the header cannot be read."""
    try:
        text = dicomjson.encode(
            header, transfer_syntax_uid, lambda path: path, wanted=_WANTED.__contains__
        )
    except Malformed as error:
        raise Undecodable(str(error)) from None
    attributes = orjson.loads(text)
    length = number_of(attributes, "00420015")
    mime_type = text_of(attributes, "00420012").partition(";")[0].strip().lower()
    return Said(mime_type, None if length is None else int(length))


def length_of(said: Said, value_length: int, last: bytes) -> int:
    """The document's own length: the value is padded to an even one (C.24.2).

    A length that is not the value's, nor one less, is a mistake: nothing is cut off then but
    a padding NUL. last: the value's last byte.
    """
    if said.length is not None and value_length - 1 <= said.length <= value_length:
        return said.length
    return value_length - 1 if last == b"\0" else value_length


def demand(kind: Kind, said: Said, head: bytes) -> None:
    """Raise Undecodable when a document is not what its SOP class says: a browser must never be
    given one thing by the name of another. head: its first HEAD_BYTES.
    """
    if said.mime_type and said.mime_type not in kind.said:
        raise Undecodable("the document's MIME type is not that of its SOP class")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16
    if "application/pdf" in kind.media_types:
        right = b"%PDF-" in head
    elif "text/xml" in kind.media_types:
        seen = head.replace(b"\0", b"") if wide else start
        right = (wide or start[:1] == b"<") and _PAGE.search(seen) is None
    else:
        right = bool(head)
    if not right:
        raise Undecodable(f"the document is no {kind.badge}")
