"""A spoken recording as a WAV file: its samples as they are, behind a header (RIFF WAVE)."""

from __future__ import annotations

import struct

from filmroom.documents.recording import Group
from filmroom.pixel.errors import NoCodec, TooLarge

MOST_BYTES = 256 << 20
# (bits, interpretation) -> wFormatTag: 1 PCM, 6 A-law, 7 mu-law. PCM of 8 bits has no sign.
_FORMATS = {(8, "UB"): 1, (16, "SS"): 1, (8, "AB"): 6, (8, "MB"): 7}


def wav_of(group: Group) -> bytes:
    """One multiplex group. Raises NoCodec for samples and rates that WAV does not know."""
    tag = _FORMATS.get((group.bits, group.interpretation))
    if tag is None:
        raise NoCodec(f"sound of {group.bits} bits, {group.interpretation}, cannot be a WAV file")
    width = len(group.channels)
    frame = width * group.bits // 8
    size = group.samples * frame
    if size > MOST_BYTES:
        raise TooLarge("the recording is too long for one WAV file here")
    rate = round(group.rate_hz)
    if not (rate >= 1 and rate * frame < 1 << 32):
        raise NoCodec(f"sound of {group.rate_hz:g} Hz cannot be a WAV file")
    form = struct.pack("<HHIIHH", tag, width, rate, rate * frame, frame, group.bits)
    if tag != 1:  # a size of extension and the number of samples belong to what is no PCM
        form += struct.pack("<H", 0)
        extra = b"fact" + struct.pack("<II", 4, group.samples)
    else:
        extra = b""
    body = bytes(group.raw[:size])
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + extra
    chunks += b"data" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
