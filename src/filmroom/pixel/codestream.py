"""What a compressed frame says of itself, read from its first bytes without decoding it.

A header is believed only after it was compared with the data set's: decoders allocate what
the codestream asks for, so a lie must be found before they run (PS3.5 8.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from filmroom.pixel.errors import Undecodable

SOI, SOC, JXL_CODESTREAM = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a"
NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
NOT_A_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC lie among the SOF codes
HEADER_LIMIT = 1 << 20  # markers before the frame header; ICC profiles are the largest
JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, slots=True)
class Codestream:
    """Dimensions and depth; `is_rgb` None when the codestream does not say.

    transformed: a multiple component transform is applied, the decoder will undo it.
    levels: how many times a decoder can leave out the finest resolution.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    is_rgb: bool | None = None
    transformed: bool = False
    levels: int = 0


def read_jpeg(data: bytes) -> Codestream:
    """Read markers up to the frame header: JPEG (ITU T.81 B.2) and JPEG-LS (ITU T.87 C.2)."""
    if data[:2] != SOI:
        raise Undecodable("no JPEG start of image")
    at, jfif, adobe = 2, False, None
    while at + 4 <= min(len(data), HEADER_LIMIT):
        if data[at] != 0xFF:
            raise Undecodable("JPEG marker expected")
        code = data[at + 1]
        if code == 0xFF or code in NO_LENGTH:
            at += 1 if code == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        if (0xC0 <= code <= 0xCF and code not in NOT_A_FRAME) or code == 0xF7:
            return _frame_header(segment, jfif, adobe)
        if code == 0xE0 and segment[:4] == b"JFIF":
            jfif = True
        elif code == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
            adobe = segment[11]
        elif code == 0xDA or length < 2:
            break
        at += 2 + length
    raise Undecodable("no JPEG frame header")


def _frame_header(segment: bytes, jfif: bool, adobe: int | None) -> Codestream:
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise Undecodable("JPEG frame header is cut short")
    samples = segment[5]
    identifiers = segment[6 : 6 + 3 * samples : 3]
    factors = segment[7 : 7 + 3 * samples : 3]
    is_rgb: bool | None = None
    if samples == 3:
        if len(set(factors)) > 1:  # nobody halves the resolution of blue
            is_rgb = False
        elif adobe is not None:
            is_rgb = adobe == 0
        elif identifiers == b"RGB":
            is_rgb = True
        elif jfif:
            is_rgb = False
    return Codestream(
        rows=int.from_bytes(segment[1:3], "big"),
        columns=int.from_bytes(segment[3:5], "big"),
        samples=samples,
        precision=segment[0],
        is_rgb=is_rgb,
    )


def read_j2k(data: bytes) -> Codestream:
    """Read SIZ and COD of a JPEG 2000 codestream, bare or in a JP2 file (ITU T.800 A.5, A.6)."""
    start = 0 if data[:4] == SOC else data.find(SOC, 0, HEADER_LIMIT)
    siz = start + 4
    if start < 0 or len(data) < siz + 38:
        raise Undecodable("no JPEG 2000 codestream")

    def word(at: int) -> int:
        return int.from_bytes(data[siz + at : siz + at + 4], "big")

    samples = int.from_bytes(data[siz + 36 : siz + 38], "big")
    depths = data[siz + 38 : siz + 38 + 3 * samples : 3]
    if not depths or len(depths) != samples:
        raise Undecodable("JPEG 2000 SIZ is cut short")
    transformed, levels = _coding_style(data, siz)
    return Codestream(
        rows=word(8) - word(16),
        columns=word(4) - word(12),
        samples=samples,
        precision=(max(depth & 0x7F for depth in depths)) + 1,
        signed=bool(depths[0] & 0x80),
        transformed=transformed,
        levels=0 if word(12) or word(16) else levels,
    )


def _coding_style(data: bytes, siz: int) -> tuple[bool, int]:
    """(whether components are transformed, decomposition levels) of COD and COC (A.6.1, A.6.2)."""
    at = siz + int.from_bytes(data[siz : siz + 2], "big")
    wide = int.from_bytes(data[siz + 36 : siz + 38], "big") > 256  # components have two bytes
    transformed, levels = False, []
    while at + 10 <= min(len(data), HEADER_LIMIT) and data[at] == 0xFF and data[at + 1] != 0x90:
        if data[at + 1] == 0x52:
            transformed = data[at + 8] == 1
            levels.append(data[at + 9])
        elif data[at + 1] == 0x53:
            levels.append(data[at + 6 + wide])
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    return transformed, min(levels, default=0)


def read_jxl_size(data: bytes) -> tuple[int, int]:
    """(rows, columns) of a JPEG XL codestream, bare or in a container (ISO 18181-1 D.2)."""
    start = _jxl_start(data)
    bits = int.from_bytes(data[start + 2 : start + 18], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def size(small: bool) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = bool(take(1))
    rows = size(small)
    ratio = take(3)
    if ratio:
        numerator, denominator = JXL_RATIOS[ratio - 1]
        return rows, rows * numerator // denominator
    return rows, size(small)


def _jxl_start(data: bytes) -> int:
    if data[:2] == JXL_CODESTREAM:
        return 0
    at = 0
    while at + 16 <= min(len(data), HEADER_LIMIT):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        start = at + (16 if length == 1 else 8) + (4 if kind == b"jxlp" else 0)
        if kind in (b"jxlc", b"jxlp") and data[start : start + 2] == JXL_CODESTREAM:
            return start
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:
            break
        at += length
    raise Undecodable("no JPEG XL codestream")
