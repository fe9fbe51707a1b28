"""Compressed frames that lie, bomb or end too soon, and what is demanded of each.

Made from sound frames and from headers built by hand, the same at every run. `python
tests/hostile_codestreams.py` lists them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np

from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import ImageShape, Loss, encode_frame, rewrap

REFUSED, EITHER = "refused", "either"
GREY = ImageShape(64, 64, 1, 16, 12)
BYTES = ImageShape(64, 64, 1, 8, 8)
COLOUR = ImageShape(64, 64, 3, 8, 8, 0, "RGB")
EOI = b"\xff\xd9"


@dataclass(frozen=True)
class Hostile:
    """One frame. outcome: REFUSED with an error of ours, or EITHER that or decoded."""

    name: str
    syntax: str
    coded: bytes
    shape: ImageShape
    outcome: str = REFUSED


def a_frame(shape: ImageShape) -> np.ndarray:
    rows, columns = np.mgrid[: shape.rows, : shape.columns]
    wave = (2 + np.sin(rows / 6) + np.cos(columns / 5)) / 4 * ((1 << shape.bits) - 1)
    wave = wave * 0.9 + np.random.default_rng(6).random(wave.shape) * 0.1 * (1 << shape.bits) * 0.9
    wave = np.stack([wave] * 3, -1) if shape.samples == 3 else wave
    return wave.astype(f"u{shape.sample_bytes}")


def sound() -> Iterator[tuple[str, bytes, ImageShape]]:
    """A good frame of every syntax, grey and in colour."""
    every = (
        ts.EXPLICIT_LE, ts.DEFLATED_FRAME, ts.RLE, ts.JPEG_LOSSLESS, ts.JPEG_LOSSLESS_SV1,
        ts.JPEG_LS_LOSSLESS, ts.JPEG_LS_NEAR, ts.J2K_LOSSLESS, ts.J2K, ts.HTJ2K_LOSSLESS,
        ts.HTJ2K_LOSSLESS_RPCL, ts.HTJ2K, ts.JPEG_XL_LOSSLESS,
    )  # fmt: skip
    for shape in (GREY, COLOUR):
        for syntax in every:
            yield syntax, encode_frame(a_frame(shape), syntax, shape), shape
    for shape in (BYTES, COLOUR):
        jpeg = encode_frame(a_frame(shape), ts.JPEG_BASELINE, shape)
        yield ts.JPEG_BASELINE, jpeg, shape
        packed = rewrap(jpeg, ts.JPEG_BASELINE, ts.JPEG_XL_RECOMPRESSION)
        yield ts.JPEG_XL_RECOMPRESSION, packed, shape
    loss = Loss(quality=80)
    yield ts.JPEG_EXTENDED, encode_frame(a_frame(GREY), ts.JPEG_EXTENDED, GREY, loss=loss), GREY
    yield ts.JPEG_XL, encode_frame(a_frame(COLOUR), ts.JPEG_XL, COLOUR, loss=loss), COLOUR


def hostile() -> Iterator[Hostile]:
    """All of them."""
    yield from lying_sizes()
    yield from cut_short()
    yield from bombs()
    yield from run_lengths()
    yield from jpegs()
    yield from jpeg_ls()
    yield from wavelets()
    yield from jpeg_xls()


def lying_sizes() -> Iterator[Hostile]:
    """The data set and the codestream say different things, in both directions."""
    for syntax, coded, shape in sound():
        kind = f"{syntax} x{shape.samples}"
        for rows, columns in ((128, 64), (64, 128), (65535, 64), (20000, 20000)):
            larger = replace(shape, rows=rows, columns=columns)
            yield Hostile(f"{kind} as {rows} x {columns}", syntax, coded, larger)
        smaller = replace(shape, rows=32)
        plain = syntax in (ts.EXPLICIT_LE, ts.DEFLATED_FRAME)
        yield Hostile(f"{kind} as 32 rows", syntax, coded, smaller, EITHER if plain else REFUSED)
        if not plain:
            other = replace(shape, samples=4 - shape.samples)
            yield Hostile(f"{kind} as {other.samples} samples", syntax, coded, other)
    for syntax, at, width in _sizes():
        coded = bytearray(next(c for s, c, _ in sound() if s == syntax))
        found = coded.find(bytes(at)) + 0
        for value in (0, 1, 63, 8000, (1 << (8 * width)) - 1):
            bad = bytearray(coded)
            start = found + len(at)
            bad[start : start + width] = value.to_bytes(width, "big")
            shape = BYTES if syntax == ts.JPEG_BASELINE else GREY
            said = replace(shape, rows=value) if 0 < value < 65535 else shape
            outcome = EITHER if value in (1, 63, 8000) else REFUSED
            yield Hostile(f"{syntax} header of {value} rows", syntax, bytes(bad), said, outcome)


def _sizes() -> Iterator[tuple[str, bytes, int]]:
    """Where each codestream keeps its rows: after these bytes, so wide."""
    yield ts.JPEG_BASELINE, b"\xff\xc0\x00\x0b\x08", 2
    yield ts.JPEG_LOSSLESS_SV1, b"\xff\xc3\x00\x0b\x0c", 2
    yield ts.JPEG_LS_LOSSLESS, b"\xff\xf7\x00\x0b\x0c", 2
    yield ts.J2K, b"\xff\x51\x00\x29\x00\x00\x00\x00\x00\x40", 4
    yield ts.HTJ2K, b"\xff\x51\x00\x29\x40\x00\x00\x00\x00\x40", 4


def cut_short() -> Iterator[Hostile]:
    """Cut at forty places, bits flipped at forty, and pieces of one moved into the other."""
    random = np.random.default_rng(11)
    for syntax, coded, shape in sound():
        kind = f"{syntax} x{shape.samples}"
        for end in np.linspace(0, len(coded) - 3, 40).astype(int):
            yield Hostile(f"{kind} cut at {end}", syntax, coded[:end], shape)
        for number in range(40):
            bad = bytearray(coded)
            top = len(bad) if number % 2 else min(len(bad), 120)
            for at in random.integers(0, top, 1 + number // 8):
                bad[at] ^= 1 << int(random.integers(0, 8))
            yield Hostile(f"{kind} flipped {number}", syntax, bytes(bad), shape, EITHER)
        middle = len(coded) // 2
        doubled = coded[:middle] + coded + coded[middle:]
        yield Hostile(f"{kind} in itself", syntax, doubled, shape, EITHER)
        yield Hostile(f"{kind} of ones", syntax, coded[:40] + b"\xff" * 5000, shape, EITHER)
        yield Hostile(f"{kind} of zeros", syntax, coded[:40] + bytes(5000) + EOI, shape, EITHER)


def bombs() -> Iterator[Hostile]:
    """Few bytes that become many."""
    large = replace(GREY, rows=5000, columns=6000)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = deflater.compress(bytes(1 << 28)) + deflater.flush()
    yield Hostile("deflate of 256 MB for 8 KB", ts.DEFLATED_FRAME, stream, GREY, EITHER)
    yield Hostile("deflate of 60 MB", ts.DEFLATED_FRAME, stream, large, EITHER)
    yield Hostile("deflate of 8 GB", ts.DEFLATED_FRAME, stream,
                  replace(GREY, rows=65535, columns=65535))  # fmt: skip
    for syntax in (ts.J2K_LOSSLESS, ts.HTJ2K_LOSSLESS, ts.JPEG_LS_LOSSLESS, ts.JPEG_XL_LOSSLESS):
        flat = encode_frame(np.zeros((5000, 6000), np.uint16), syntax, large)
        yield Hostile(f"{syntax} of nothing, 60 MB", syntax, flat, large, EITHER)
        beyond = replace(large, rows=6000, columns=6001)
        yield Hostile(f"{syntax} of nothing, 72 MB", syntax, flat, beyond)


def run_lengths() -> Iterator[Hostile]:
    """RLE: offsets and segments that point elsewhere (PS3.5 G)."""
    good = encode_frame(a_frame(GREY), ts.RLE, GREY)
    first, second = struct.unpack("<2I", good[4:12])

    def header(count: int, *offsets: int) -> bytes:
        return struct.pack("<16I", count, *offsets, *[0] * (15 - len(offsets)))

    bodies = {
        "no segments": header(0),
        "fifteen segments": header(15, *range(64, 64 + 15)),
        "a count beyond all": header(0xFFFFFFFF, first, second),
        "one segment of two": header(1, first),
        "an offset into the header": header(2, 0, second),
        "both at one place": header(2, first, first),
        "in the wrong order": header(2, second, first),
        "past the end": header(2, first, len(good)),
        "far past the end": header(2, first, 0xFFFFFFFF),
        "a second one without bytes": header(2, first, len(good) - 1),
    }
    for name, head in bodies.items():
        yield Hostile(f"RLE, {name}", ts.RLE, head + good[64:], GREY)
    runs = header(2, 64, 64 + 200) + b"\x81\x07" * 100 + b"\x81\x07" * 300_000
    yield Hostile("RLE, a segment far too long", ts.RLE, runs, GREY)
    literal = header(2, 64, 66) + b"\x7f\x00" + b"\x7f" * 3
    yield Hostile("RLE, a literal past the end", ts.RLE, literal, GREY)
    nothing = header(2, 64, 64 + 50_000) + b"\x80" * 100_000
    yield Hostile("RLE, of no operations", ts.RLE, nothing, GREY)
    many = header(2, 64, 64 + (8 << 20)) + b"\x81\x07" * (8 << 20)
    yield Hostile("RLE, a gigabyte in 16 MB", ts.RLE, many, GREY)


def jpeg(
    rows: int, columns: int, scans: int = 1, sof: int = 0xC0, body: bytes = b"", *,
    factors: int = 0x11, precision: int = 8, samples: int = 1, tables: bytes | None = None,
) -> bytes:  # fmt: skip
    """A JPEG from its parts: flat tables, and scans of the same body."""
    dqt = b"\xff\xdb\x00\x43\x00" + b"\x01" * 64
    dht = bytes([1] + [0] * 15) + b"\x00"
    tables = tables or b"".join(
        b"\xff\xc4" + struct.pack(">HB", 19 + 1, cls << 4) + dht for cls in (0, 1)
    )
    parts = b"".join(bytes((n + 1, factors, 0)) for n in range(samples))
    frame = struct.pack(">HBHHB", 8 + 3 * samples, precision, rows, columns, samples) + parts
    picks = b"".join(bytes((n + 1, 0)) for n in range(samples))
    first = b"\xff\xda" + struct.pack(">HB", 6 + 2 * samples, samples) + picks
    if sof == 0xC2:
        each = [first + (b"\x00\x00\x00" if n == 0 else b"\x01\x3f\x00") + body
                for n in range(scans)]  # fmt: skip
    else:
        each = [first + (b"\x01\x00\x00" if sof == 0xC3 else b"\x00\x3f\x00") + body] * scans
    return b"\xff\xd8" + dqt + b"\xff" + bytes([sof]) + frame + tables + b"".join(each) + EOI


def jpegs() -> Iterator[Hostile]:
    """Headers, tables and scans that no encoder writes (ITU T.81)."""
    large = replace(BYTES, rows=8000, columns=8000)
    huge = replace(BYTES, rows=65500, columns=65500)
    yield Hostile("JPEG of 4 GB", ts.JPEG_BASELINE, jpeg(65500, 65500, body=bytes(99)), huge)
    yield Hostile("JPEG, 64 MB of nothing", ts.JPEG_BASELINE,
                  jpeg(8000, 8000, body=bytes(50)), large, EITHER)  # fmt: skip
    for sof in (0xC0, 0xC2):
        for scans in (90, 5000):
            bad = jpeg(8000, 8000, scans, sof, bytes(4))
            yield Hostile(f"JPEG {sof:X}, {scans} scans of 64 MB", ts.JPEG_BASELINE, bad, large,
                          REFUSED if scans > 100 else EITHER)  # fmt: skip
    for sof in (0xC5, 0xC9, 0xCB, 0xCF, 0xF7):
        yield Hostile(f"JPEG process {sof:X}", ts.JPEG_BASELINE, jpeg(64, 64, 1, sof), BYTES)
    full = b"\xff\xc4" + struct.pack(">HB", 2 + 17 + 255, 0) + bytes([0] * 15 + [255])
    tables = {
        "too many codes of a length": b"\xff\xc4\x00\x16\x00" + bytes([3] + [0] * 15) + bytes(3),
        "a table of 4080 codes": b"\xff\xc4\xff\xff\x00" + b"\xff" * 16 + bytes(65000),
        "codes of sixteen bits only": full + bytes(range(255)),
        "a table number of 15": b"\xff\xc4\x00\x14\x0f" + bytes([1] + [0] * 15) + b"\x00",
        "categories of 255 bits": b"\xff\xc4\x00\x14\x00" + bytes([1] + [0] * 15) + b"\xff",
        "a length of nothing": b"\xff\xc4\x00\x00",
        "no tables": b"\xff\xfe\x00\x02",
    }
    for name, table in tables.items():
        bad = jpeg(64, 64, body=b"\x55" * 200, tables=table)
        yield Hostile(f"JPEG, {name}", ts.JPEG_BASELINE, bad, BYTES, EITHER)
        bad = jpeg(64, 64, sof=0xC3, body=b"\x55" * 200, tables=table)
        yield Hostile(f"lossless JPEG, {name}", ts.JPEG_LOSSLESS, bad, BYTES, EITHER)
    for factors in (0x00, 0x55, 0xFF, 0x14):
        bad = jpeg(64, 64, factors=factors, body=bytes(99), samples=3)
        outcome = EITHER if factors == 0x14 else REFUSED
        yield Hostile(f"JPEG, sampling {factors:02X}", ts.JPEG_BASELINE, bad, COLOUR, outcome)
    deep = replace(GREY, bits_stored=16)
    for precision in (0, 1, 7, 9, 12, 16, 255):
        bad = jpeg(64, 64, precision=precision, body=bytes(99))
        yield Hostile(f"JPEG of {precision} bits", ts.JPEG_BASELINE, bad, BYTES)
        bad = jpeg(64, 64, sof=0xC3, precision=precision, body=bytes(99))
        outcome = EITHER if 2 <= precision <= 16 else REFUSED
        yield Hostile(f"lossless JPEG of {precision} bits", ts.JPEG_LOSSLESS, bad, deep, outcome)
    comments = b"\xff\xd8" + b"\xff\xfe\x00\x02" * 300_000
    yield Hostile("JPEG, a megabyte of comments", ts.JPEG_BASELINE, comments, BYTES)
    yield Hostile("JPEG, markers of ones", ts.JPEG_BASELINE, b"\xff\xd8" + b"\xff" * 900_000, BYTES)


def jpeg_ls() -> Iterator[Hostile]:
    """JPEG-LS whose parameters lie (ITU T.87 C.2.4)."""
    good = encode_frame(a_frame(GREY), ts.JPEG_LS_LOSSLESS, GREY)
    scan = good.index(b"\xff\xda")

    def with_lse(*segment: int, kind: int = 1) -> bytes:
        body = bytes([kind]) + b"".join(struct.pack(">H", value) for value in segment)
        return good[:scan] + b"\xff\xf8" + struct.pack(">H", 2 + len(body)) + body + good[scan:]

    presets = {
        "a greatest value of 0": (0, 3, 7, 21, 64),
        "a greatest value of 1": (1, 3, 7, 21, 64),
        "a greatest value of 65535": (65535, 18, 67, 276, 64),
        "thresholds backwards": (4095, 500, 60, 5, 64),
        "thresholds beyond": (4095, 5000, 6000, 7000, 64),
        "a reset of 0": (4095, 18, 67, 276, 0),
        "a reset of 1": (4095, 18, 67, 276, 1),
        "a reset of 65535": (4095, 18, 67, 276, 65535),
        "too few": (4095, 18),
        "nothing": (),
    }
    for name, values in presets.items():
        yield Hostile(f"JPEG-LS, {name}", ts.JPEG_LS_LOSSLESS, with_lse(*values), GREY, EITHER)
    for kind in (0, 2, 3, 4, 5, 13, 255):
        bad = with_lse(1, 2, 3, 65535, 65535, kind=kind)
        yield Hostile(f"JPEG-LS, parameters of kind {kind}", ts.JPEG_LS_LOSSLESS, bad, GREY, EITHER)
    last = scan + 4 + 1 + 2  # near, interleave, point transform
    for at, name in enumerate(("near", "interleave", "transform")):
        for value in (1, 2, 3, 127, 255):
            bad = bytearray(good)
            bad[last + at] = value
            yield Hostile(f"JPEG-LS, {name} {value}", ts.JPEG_LS_LOSSLESS, bytes(bad), GREY, EITHER)
    large = replace(GREY, rows=5000, columns=6000)
    bad = bytearray(good)
    frame = bad.index(b"\xff\xf7")
    bad[frame + 5 : frame + 9] = struct.pack(">HH", 5000, 6000)
    yield Hostile("JPEG-LS, 60 MB of nothing", ts.JPEG_LS_LOSSLESS, bytes(bad), large)
    yield Hostile("JPEG-LS, many scans", ts.JPEG_LS_LOSSLESS,
                  good[:-2] + good[scan:-2] * 300 + EOI, GREY)  # fmt: skip


def j2k(
    rows: int, columns: int, *, tile: tuple[int, int] | None = None, levels: int = 5,
    layers: int = 1, precincts: bytes = b"", blocks: tuple[int, int] = (4, 4), style: int = 0,
    order: int = 0, samples: int = 1, parts: int = 1, psot: int | None = None, wavelet: int = 1,
    body: bytes = b"\x80" * 40, origin: tuple[int, int] = (0, 0), extra: bytes = b"",
) -> bytes:  # fmt: skip
    """A JPEG 2000 codestream from its parts (ITU T.800 A)."""
    width, height = tile or (columns, rows)
    siz = struct.pack(">H8IH", 0x4000 if style & 0x40 else 0, columns, rows, *origin,
                      width, height, 0, 0, samples) + b"\x0b\x01\x01" * samples  # fmt: skip
    cod = struct.pack(">BBHB5B", bool(precincts), order, layers, 0, levels, *blocks, style, wavelet)
    qcd = b"\x40" + bytes([0x60] * (3 * min(levels, 32) + 1))
    head = b"\xff\x4f" + _segment(0x51, siz)
    if style & 0x40:
        head += _segment(0x50, struct.pack(">IH", 0x20000, 0))
    head += _segment(0x52, cod + precincts) + _segment(0x5C, qcd) + extra
    length = 14 + len(body) if psot is None else psot
    tile_parts = b"".join(
        b"\xff\x90\x00\x0a" + struct.pack(">HIBB", 0, length, n % 255, 0) + b"\xff\x93" + body
        for n in range(parts)
    )
    return head + tile_parts + EOI


def _segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def wavelets() -> Iterator[Hostile]:
    """JPEG 2000 and HTJ2K that ask for work without end."""
    large = replace(GREY, rows=5000, columns=6000)
    for syntax, style in ((ts.J2K, 0), (ts.HTJ2K, 0x40)):
        kind = "HTJ2K" if style else "J2K"

        def one(name: str, coded: bytes, shape: ImageShape = GREY, outcome: str = EITHER,
                syntax: str = syntax, kind: str = kind) -> Hostile:  # fmt: skip
            return Hostile(f"{kind}, {name}", syntax, coded, shape, outcome)

        def made(rows: int = 64, columns: int = 64, style: int = style, **other) -> bytes:
            return j2k(rows, columns, style=style, **other)

        yield one("tiles of one pixel", made(tile=(1, 1)))
        yield one("thirty million tiles", made(5000, 6000, tile=(1, 1)), large, REFUSED)
        yield one("tiles of nothing", made(tile=(0, 0)), GREY, REFUSED)
        yield one("a tile of four billion", made(tile=(2**32 - 1, 2**32 - 1)))
        yield one("an origin past the end", made(origin=(100, 100)), GREY, REFUSED)
        yield one("an origin of four billion", made(origin=(2**32 - 1, 0)), GREY, REFUSED)
        for levels in (0, 6, 31, 32, 33, 255):
            outcome = REFUSED if levels > 32 else EITHER
            yield one(f"{levels} levels", made(levels=levels), GREY, outcome)
            yield one(f"{levels} levels, large", made(5000, 6000, levels=levels), large, outcome)
        yield one("precincts of one pixel", made(precincts=bytes(6)))
        yield one("precincts of one pixel, large", made(5000, 6000, precincts=bytes(6)), large,
                  REFUSED)  # fmt: skip
        yield one("65535 layers", made(layers=65535))
        yield one("65535 layers of small precincts", made(layers=65535, precincts=b"\x11" * 6),
                  GREY, REFUSED)  # fmt: skip
        yield one("65535 layers, large", made(5000, 6000, layers=65535, precincts=b"\x77" * 6),
                  large, REFUSED)  # fmt: skip
        yield one("no layers", made(layers=0))
        yield one("precincts as many as are let through",
                  made(4000, 4000, precincts=b"\x22" * 6, levels=5, samples=1),
                  replace(GREY, rows=4000, columns=4000))  # fmt: skip
        yield one("layers as many as are let through",
                  made(512, 512, precincts=b"\x66" * 6, layers=30000),
                  replace(GREY, rows=512, columns=512))  # fmt: skip
        yield one("16384 tiles", made(1024, 1024, tile=(8, 8)),
                  replace(GREY, rows=1024, columns=1024))  # fmt: skip
        for blocks in ((0, 0), (8, 8), (4, 20), (255, 255)):
            yield one(f"code blocks {blocks}", made(blocks=blocks))
        for order in (1, 2, 3, 4, 5, 255):
            yield one(f"progression {order}", made(order=order))
        for wavelet in (0, 2, 255):
            yield one(f"wavelet {wavelet}", made(wavelet=wavelet))
        for psot in (0, 1, 12, 13, 14, 2**32 - 1):
            yield one(f"a tile-part of {psot} bytes", made(psot=psot, parts=3))
        yield one("300 tile-parts", made(parts=300))
        yield one("a quarter of a million tile-parts", made(parts=250_000, body=b""), GREY, REFUSED)
        yield one("16384 components", made(samples=16384), GREY, REFUSED)
        yield one("no components", made(samples=0), GREY, REFUSED)
        yield one(
            "5000 coding styles", made(extra=_segment(0x53, b"\x00\x00\x05\x04\x04\x00\x01") * 5000)
        )
        yield one("30 MB of nothing", made(5000, 6000), large)
        poc = _segment(0x5F, struct.pack(">BBHBBB", 0, 0, 65535, 33, 255, 4) * 50)
        yield one("orders of progression", made(extra=poc, layers=65535))
        yield one("packed packet headers", made(extra=_segment(0x60, b"\x00" + b"\xff" * 4000)))
        yield one("a region of interest of 255 bits", made(extra=_segment(0x5E, b"\x00\x00\xff")))
        yield one("lengths that lie", made(extra=_segment(0x55, b"\x00\x50" + b"\xff" * 600)))


def jpeg_xls() -> Iterator[Hostile]:
    """JPEG XL that moves, or that has more than colour."""
    frames = np.stack([a_frame(BYTES)] * 40)
    moving = imagecodecs.jpegxl_encode(frames, lossless=True, effort=1, usecontainer=False)
    yield Hostile("JPEG XL of forty pictures", ts.JPEG_XL, moving, BYTES)
    clear = np.dstack([a_frame(COLOUR), a_frame(BYTES)])
    alpha = imagecodecs.jpegxl_encode(clear, lossless=True, effort=1, usecontainer=False)
    yield Hostile("JPEG XL with alpha", ts.JPEG_XL, alpha, COLOUR)
    yield Hostile("JPEG XL with alpha as four samples", ts.JPEG_XL, alpha,
                  replace(COLOUR, samples=4))  # fmt: skip
    good = encode_frame(a_frame(BYTES), ts.JPEG_XL_LOSSLESS, BYTES)
    boxes = struct.pack(">I4s", 12, b"JXL ") + b"\r\n\x87\n"
    for length in (0, 1, 7, 8, 2**31, 2**32 - 1):
        bad = boxes + struct.pack(">I4s", length, b"jxlc") + good
        yield Hostile(f"JPEG XL in a box of {length}", ts.JPEG_XL, bad, BYTES, EITHER)
    many = boxes + struct.pack(">I4s", 8, b"free") * 100_000 + good
    yield Hostile("JPEG XL behind many boxes", ts.JPEG_XL, many, BYTES, EITHER)
    floats = imagecodecs.jpegxl_encode(
        np.zeros((64, 64), np.float32), lossless=True, effort=1, usecontainer=False
    )
    yield Hostile("JPEG XL of floats", ts.JPEG_XL, floats, replace(BYTES, bits_allocated=32))


if __name__ == "__main__":
    for case in hostile():
        print(f"{case.outcome:8} {len(case.coded):>9} bytes  {case.name}")
