"""What a JPEG 2000 or HTJ2K frame says of itself (ITU T.800 annex A), read without decoding it.

Besides the size there is the work: decoders make a table entry for every tile, precinct and
packet that the header asks for, before they see that no bytes stand behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

from filmroom.pixel.codestream import HEADER_LIMIT, Codestream
from filmroom.pixel.errors import Undecodable

SOC = b"\xff\x4f\xff\x51"
COD, COC, QCD, QCC, SOT, SOD, EOC = 0x52, 0x53, 0x5C, 0x5D, 0x90, 0x93, 0xD9
PART_2 = 0x8000  # of Rsiz: extensions of ITU T.801
MOST_TILES = 16384
MOST_TILE_PARTS = 1 << 17
MOST_PACKETS = 1 << 20
MOST_LEVELS = 32
LARGEST_PRECINCT = 15  # as a power of two; it is the default too


@dataclass(frozen=True, slots=True)
class _Size:
    """SIZ: the image and its tiles on the reference grid, and its components."""

    right: int
    bottom: int
    left: int
    top: int
    tile_width: int
    tile_height: int
    tiles_left: int
    tiles_top: int
    samples: int

    @property
    def sensible(self) -> bool:
        """Whether the first tile holds the first pixel (ITU T.800 B-3, B-4)."""
        return self.tiles_left <= self.left < min(
            self.right, self.tiles_left + self.tile_width
        ) and self.tiles_top <= self.top < min(self.bottom, self.tiles_top + self.tile_height)

    @property
    def tiles(self) -> int:
        across = -(-(self.right - self.tiles_left) // self.tile_width)
        return across * -(-(self.bottom - self.tiles_top) // self.tile_height)


@dataclass(frozen=True, slots=True)
class _Style:
    """COD or COC: how one tile's component is coded."""

    levels: int
    layers: int
    transformed: bool
    reversible: bool
    precincts: bytes

    def packets(self, size: _Size) -> int:
        """Packets of one component of one tile, roughly."""
        width = min(size.tile_width, size.right - size.left)
        height = min(size.tile_height, size.bottom - size.top)
        count = 0
        for resolution in range(self.levels + 1):
            powers = self.precincts[resolution : resolution + 1]
            across = powers[0] & 15 if powers else LARGEST_PRECINCT
            down = powers[0] >> 4 if powers else LARGEST_PRECINCT
            shrunk = self.levels - resolution
            count += ((width >> (shrunk + across)) + 1) * ((height >> (shrunk + down)) + 1)
        return count * self.layers


def read_j2k(data: bytes) -> Codestream:
    """Read SIZ, COD and COC of a codestream, bare or in a JP2 file, those of its tiles too.

    Raises Undecodable when they ask for more tiles or packets than a picture has.
    """
    start = 0 if data[:4] == SOC else data.find(SOC, 0, HEADER_LIMIT)
    siz = start + 4
    if start < 0 or len(data) < siz + 38:
        raise Undecodable("no JPEG 2000 codestream")
    grid = [int.from_bytes(data[siz + at : siz + at + 4], "big") for at in range(4, 36, 4)]
    samples = int.from_bytes(data[siz + 36 : siz + 38], "big")
    parts = data[siz + 38 : siz + 38 + 3 * samples]
    if not parts or len(parts) != 3 * samples:
        raise Undecodable("JPEG 2000 SIZ is cut short")
    right, bottom, left, top, *tile = grid
    size = _Size(right, bottom, left, top, tile[0], tile[1], tile[2], tile[3], samples)
    if not size.sensible:
        raise Undecodable("JPEG 2000 tiles lie beside their image")
    if set(parts[1::3]) | set(parts[2::3]) != {1}:
        raise Undecodable("components of several sizes cannot be decoded")
    styles = _styles(data, siz, size)
    if not styles:
        raise Undecodable("no JPEG 2000 coding style")
    return Codestream(
        rows=size.bottom - size.top,
        columns=size.right - size.left,
        samples=samples,
        precision=max(depth & 0x7F for depth in parts[::3]) + 1,
        signed=bool(parts[0] & 0x80),
        transformed=styles[0].transformed,
        levels=0 if size.left or size.top else min(style.levels for style in styles),
        inexact=not all(style.reversible for style in styles),
    )


def is_part_2(data: bytes) -> bool:
    """Whether the codestream needs the extensions of ITU T.801, which nothing here decodes."""
    start = max(data.find(SOC, 0, HEADER_LIMIT), 0)
    return bool(int.from_bytes(data[start + 6 : start + 8], "big") & PART_2 & ~0x4000)


def _styles(data: bytes, siz: int, size: _Size) -> list[_Style]:
    """Every coding style of the main header and of the tile-parts' headers."""
    if size.tiles > MOST_TILES:
        raise Undecodable(f"{size.tiles} JPEG 2000 tiles are too many")
    at = siz + int.from_bytes(data[siz : siz + 2], "big")
    wide = size.samples > 256  # components have numbers of two bytes
    styles: list[_Style] = []
    bands: list[int] = []
    tile_parts = packets = 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        code, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        if code == EOC or length < 2:
            break
        if code == SOT:
            tile_parts += 1
            part = at, int.from_bytes(data[at + 6 : at + 10], "big")
        elif code in (COD, COC):
            style = _style(code, segment, styles, wide)
            styles.append(style)
            each = size.samples if code == COD else 1
            packets += style.packets(size) * each * (1 if tile_parts else size.tiles)
        elif code in (QCD, QCC):
            bands.append(_bands(segment[0 if code == QCD else 1 + wide :]))
        if tile_parts > MOST_TILE_PARTS or packets > MOST_PACKETS:
            raise Undecodable("more JPEG 2000 packets than a picture has")
        at += 2 + length
        if code != SOD and data[at : at + 2] == bytes((0xFF, SOD)) and tile_parts:
            if part[1] < 14:  # 0: it reaches to the end
                break
            at = part[0] + part[1]
    if styles and min(bands, default=0) < 3 * min(style.levels for style in styles) + 1:
        raise Undecodable("JPEG 2000 quantisation is cut short")  # OpenJPH would crash
    return styles


def _bands(segment: bytes) -> int:
    """For how many bands a QCD or QCC has a step (A.6.4): derived steps are for all."""
    style = segment[0] & 31 if segment else 0
    return (
        (MOST_LEVELS * 3 + 1) * (len(segment) > 2)
        if style == 1
        else (len(segment) - 1) // max(style, 1)
    )


def _style(code: int, segment: bytes, before: list[_Style], wide: bool) -> _Style:
    """One COD (A.6.1), or COC (A.6.2), which takes layers and transform from the COD before."""
    start = 5 if code == COD else 2 + wide
    own = segment[start:]  # levels, two of code blocks, their style, the wavelet, precincts
    if len(own) < 5 or own[0] > MOST_LEVELS or (code == COC and not before):
        raise Undecodable("JPEG 2000 coding style makes no sense")
    explicit = segment[0 if code == COD else 1 + wide] & 1
    if explicit and len(own) < 6 + own[0]:
        raise Undecodable("JPEG 2000 precincts are cut short")
    precincts = own[5 : 6 + own[0]] if explicit else b""
    if any(not sizes & 15 or not sizes >> 4 for sizes in precincts[1:]):
        raise Undecodable("JPEG 2000 precincts are smaller than their bands")
    layers = int.from_bytes(segment[2:4], "big") if code == COD else before[0].layers
    return _Style(
        levels=own[0],
        layers=max(layers, 1),
        transformed=segment[4] == 1 if code == COD else before[0].transformed,
        reversible=own[4] == 1,
        precincts=precincts,
    )
