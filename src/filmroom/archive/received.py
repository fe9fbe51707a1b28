"""The record that a file carries which is stored smaller than it came.

With it and the frames the data set can be made again that was received, byte for byte. It stands
in the File Meta Information, as Private Information (PS3.10 7.1): not in the data set, so that
nobody is sent it, and not in the index alone, which is derived from the files.

The header as it came is kept as its difference from the one in the file: pieces deflated with the
like place of that one as their dictionary. What the two have in common costs next to nothing.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, replace

from filmroom.archive.errors import Unintelligible
from filmroom.archive.records import Handle, Received
from filmroom.dicom import part10
from filmroom.dicom.errors import Malformed, NeedMore
from filmroom.dicom.notation import Buffer
from filmroom.dicom.scan import scan
from filmroom.dicom.uids import TRANSFER_SYNTAXES

# Of the Private Information; derived once from a UUID (PS3.5 B.2).
CREATOR_UID = "2.25.319498192370185690403657227727293438689"
LONGEST_RECORD = 48 * 1024  # File Meta Information beyond 64 KiB is not read back
LONGEST_HEADER = 16 << 20  # as it came
LONGEST_END = 1 << 20  # what follows the frames, as it came
META_MARGIN = 16  # bytes of the data set, to see where the File Meta Information ends
SHORTEST_META = 1024  # the data set of a file with a record begins behind this

_MAGIC = b"FRAS1\0"  # filmroom, as sent, first form
_FORM = struct.Struct("<dQIIIIH")  # instant; file, header, end; these deflated; transfer syntax
_CHECK_BYTES = 16
_PIECE = 16 * 1024
_LIKE = 28 * 1024  # deflate looks back a little less than 32 KiB
_BEFORE = 8 * 1024
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Record:
    """How a data set was when it came, but for the values of its frames.

    header: from its first byte up to the value of the pixel data, as the difference from the
        header in the file (`header_from`). end: all behind the last frame. received_at: when it
        came, seconds since the epoch, UTC; 0.0 where that is not known.
    """

    received: Received
    header_bytes: int
    difference: bytes
    end: bytes
    received_at: float = 0.0

    def to_bytes(self) -> bytes:
        """As Private Information. Raises Unintelligible when it is too long."""
        syntax = self.received.transfer_syntax_uid.encode("ascii")
        end = _deflated(self.end, b"")
        form = _FORM.pack(
            self.received_at,
            self.received.size_bytes,
            self.header_bytes,
            len(self.difference),
            len(self.end),
            len(end),
            len(syntax),
        )
        body = _MAGIC + form + self.received.digest + syntax + self.difference + end
        body += hashlib.sha256(body).digest()[:_CHECK_BYTES]
        if len(body) > LONGEST_RECORD:
            raise Unintelligible("the record is too long")
        missing = max(SHORTEST_META - len(body), 0)
        return body + bytes(missing + (len(body) + missing) % 2)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Record:
        """The same back. Raises Unintelligible when it is not what was written."""
        try:
            return cls._from_bytes(stored)
        except (struct.error, ValueError, KeyError, zlib.error):
            raise Unintelligible("the record of what was received is damaged") from None

    @classmethod
    def _from_bytes(cls, stored: bytes) -> Record:
        at = len(_MAGIC)
        came, size_bytes, header, difference, end, deflated, syntax = _FORM.unpack_from(stored, at)
        at += _FORM.size
        stop = at + 32 + syntax + difference + deflated
        check = stored[stop : stop + _CHECK_BYTES]
        if not stored.startswith(_MAGIC) or hashlib.sha256(stored[:stop]).digest()[:16] != check:
            raise ValueError
        if header > LONGEST_HEADER or end > LONGEST_END:
            raise ValueError
        digest, at = stored[at : at + 32], at + 32
        uid, at = stored[at : at + syntax].decode("ascii"), at + syntax
        behind = _inflated(stored[at + difference : stop], b"", end)
        received = Received(digest, TRANSFER_SYNTAXES[uid].uid, size_bytes)
        return cls(received, header, stored[at : at + difference], behind, came)

    def header_from(self, like: bytes) -> bytes:
        """The header as it came, given the one in the file. Raises Unintelligible."""
        parts, at, have = [], 0, 0
        try:
            while have < self.header_bytes:
                wanted = min(_PIECE, self.header_bytes - have)
                (length,) = _LENGTH.unpack_from(self.difference, at)
                at += _LENGTH.size
                piece = self.difference[at : at + length]
                parts.append(_inflated(piece, _near(like, have, self.header_bytes), wanted))
                at, have = at + length, have + wanted
        except (struct.error, ValueError, zlib.error):
            raise Unintelligible("the record of what was received is damaged") from None
        return b"".join(parts)


def as_it_came(handle: Handle, header: Buffer, record: Record | None) -> tuple[Handle, Buffer]:
    """The handle and the header of an instance that is stored smaller, as they were.

    Of the location only the transfer syntax and the header's length. Raises Unintelligible,
    Malformed or NeedMore when the record or the header is damaged.
    """
    if record is None:
        return handle, header
    before = record.header_from(bytes(header))
    syntax = record.received.transfer_syntax_uid
    found = scan(before, syntax, complete=False)
    location = replace(handle.location, transfer_syntax_uid=syntax, header_bytes=found.header_bytes)
    return replace(handle, location=location), before[: found.header_bytes]


def difference(header: bytes, like: bytes) -> bytes:
    """What `Record.header_from` needs beside `like`."""
    parts = []
    for at in range(0, len(header), _PIECE):
        piece = _deflated(header[at : at + _PIECE], _near(like, at, len(header)))
        parts += [_LENGTH.pack(len(piece)), piece]
    return b"".join(parts)


def _near(like: bytes, at: int, size: int) -> bytes:
    """The part of `like` that speaks of the same as what begins at `at` of a header."""
    begin = max(at * len(like) // max(size, 1) - _BEFORE, 0)
    return like[begin : begin + _LIKE]


def _deflated(piece: bytes, like: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=like)
    return deflater.compress(piece) + deflater.flush()


def _inflated(piece: bytes, like: bytes, wanted: int) -> bytes:
    """Exactly so many bytes; ValueError or zlib.error."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS, zdict=like)
    inflated = inflater.decompress(piece, wanted) if wanted else b""
    if len(inflated) != wanted:
        raise ValueError
    return inflated


def record_in(head: bytes) -> Record | None:
    """The record in a file that begins like this; None when it has none.

    Raises Unintelligible when it has one that is damaged.
    """
    try:
        meta = part10.parse_meta(head, complete=True)
    except (Malformed, NeedMore):
        return None
    if meta.private_creator != CREATOR_UID:
        return None
    return Record.from_bytes(meta.private)
