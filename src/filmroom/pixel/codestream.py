"""What a JPEG, JPEG-LS or JPEG XL frame says of itself, read without decoding it.

A header is believed only after it was compared with the data set's: decoders allocate what
the codestream asks for, so a lie must be found before they run (PS3.5 8.2). JPEG 2000 has
a module of its own, `wavelets`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from filmroom.pixel.errors import Undecodable

SOI, JXL_CODESTREAM = b"\xff\xd8", b"\xff\x0a"
END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000
NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
START_OF_SCAN, START_OF_LS = 0xDA, 0xF7
DCT, PREDICTIVE = frozenset({0xC0, 0xC1, 0xC2}), frozenset({0xC3})
NOT_A_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC lie among the SOF codes
HEADER_LIMIT = 1 << 20  # markers before the frame header; ICC profiles are the largest
MOST_SCANS = 100  # of a JPEG; each may cost as much as decoding a whole picture
JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, slots=True)
class Codestream:
    """Dimensions and depth; `is_rgb` None when the codestream does not say.

    transformed: a multiple component transform is applied, the decoder will undo it.
    levels: how many times a decoder can leave out the finest resolution. inexact: coded with
    loss, so that values may have strayed beyond Bits Stored. process: the code of a JPEG
    frame header, which says how it is coded.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    is_rgb: bool | None = None
    transformed: bool = False
    levels: int = 0
    inexact: bool = False
    process: int = 0


def has_end(coded: bytes) -> bool:
    """Whether the frame ends with an end of image, but for padding."""
    return END_OF_IMAGE in coded[-4:] or coded[-4096:].rstrip(b"\0").endswith(END_OF_IMAGE)


def read_jpeg(data: bytes) -> Codestream:
    """Read a JPEG (ITU T.81 B.2). Raises Undecodable for processes that DICOM does not use."""
    said = _read_markers(data)
    if said.process not in DCT | PREDICTIVE:
        raise Undecodable(f"JPEG process {said.process:02X} cannot be decoded")
    if data.count(b"\xff\xda") > MOST_SCANS:
        raise Undecodable("more scans than a JPEG may have")
    return said


def read_jpeg_ls(data: bytes) -> Codestream:
    """Read a JPEG-LS (ITU T.87 C.2). Raises Undecodable."""
    said = _read_markers(data)
    if said.process != START_OF_LS:
        raise Undecodable("no JPEG-LS frame header")
    if data.count(b"\xff\xda") > max(said.samples, 1):
        raise Undecodable("more scans than components")
    scan = data.find(b"\xff\xda", 0, HEADER_LIMIT)
    if scan < 0 or len(data) < scan + 8:
        raise Undecodable("no JPEG-LS scan")
    near = data[scan + 5 + 2 * data[scan + 4] : scan + 6 + 2 * data[scan + 4]]
    return replace(said, inexact=near != b"\0")


def _read_markers(data: bytes) -> Codestream:
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
        if (0xC0 <= code <= 0xCF and code not in NOT_A_FRAME) or code == START_OF_LS:
            return _frame_header(code, segment, jfif, adobe)
        if code == 0xE0 and segment[:4] == b"JFIF":
            jfif = True
        elif code == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
            adobe = segment[11]
        elif code == START_OF_SCAN or length < 2:
            break
        at += 2 + length
    raise Undecodable("no JPEG frame header")


def _frame_header(code: int, segment: bytes, jfif: bool, adobe: int | None) -> Codestream:
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
        inexact=code in DCT,
        process=code,
    )


def read_jxl(data: bytes) -> Codestream:
    """Read a JPEG XL codestream, bare or in a container (ISO 18181-1 annex D).

    Raises Undecodable for what no single picture needs: animation, previews, extra channels.
    """
    start = _jxl_start(data)
    bits = _Bits(data[start + 2 : start + 64])
    rows, columns = _jxl_size(bits)
    default = bits.take(1)
    if not default and bits.take(1):  # extra fields
        bits.take(3)  # orientation
        if bits.take(1):
            _jxl_size(bits)  # intrinsic size
        if bits.take(1) or bits.take(1):
            raise Undecodable("a preview or an animation is no picture")
    if default:
        return Codestream(rows, columns, 3, 8, inexact=True)
    floating = bits.take(1)
    precision = bits.choose((32, 0), (16, 0), (24, 0), (1, 6)) if floating else bits.depth()
    if floating:
        raise Undecodable("floating-point samples cannot be decoded")
    bits.take(1)  # whether 16-bit buffers are enough
    if bits.choose((0, 0), (1, 0), (2, 4), (1, 12)):
        raise Undecodable("channels beside colour cannot be decoded")
    inexact = bool(bits.take(1))  # XYB
    grey = (
        not bits.take(1) and not bits.take(1) and bits.choose((0, 0), (1, 0), (2, 4), (18, 6)) == 1
    )
    return Codestream(rows, columns, 1 if grey else 3, precision, inexact=inexact)


class _Bits:
    """Reads numbers from the low end of little-endian bytes; nothing lies past the end."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value

    def choose(self, *ways: tuple[int, int]) -> int:
        """One of four (least value, bits to add), ISO 18181-1 B.2.2."""
        least, count = ways[self.take(2)]
        return least + self.take(count)

    def depth(self) -> int:
        return self.choose((8, 0), (10, 0), (12, 0), (1, 6))


def _jxl_size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def length() -> int:
        if small:
            return (bits.take(5) + 1) * 8
        return bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    rows = length()
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = JXL_RATIOS[ratio - 1]
        return rows, rows * numerator // denominator
    return rows, length()


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
