"""What a JPEG 2000 or HTJ2K frame says of itself (ITU T.800 annex A), read without decoding it.

Besides the size there is the work: decoders make a table entry for every tile, precinct and
packet that the header asks for, before they see that no bytes stand behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from filmroom.pixel.codestream import HEADER_LIMIT, Codestream
from filmroom.pixel.errors import Undecodable

SOC = b"\xff\x4f\xff\x51"
COD, COC, QCD, QCC, SOT, SOD, EOC = 0x52, 0x53, 0x5C, 0x5D, 0x90, 0x93, 0xD9
_AFTER_A_TILE = (bytes((0xFF, SOT)), bytes((0xFF, EOC)))
HIGH_THROUGHPUT = 0x40  # of the style of code blocks
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


@dataclass(slots=True)
class _Header:
    """What the main header, or those of one tile, say of decomposition and quantisation.

    By component, None for all that are not named: levels, and bands that have a step. Of what
    is said twice the worse counts.
    """

    levels: dict[int | None, int] = field(default_factory=dict)
    bands: dict[int | None, int] = field(default_factory=dict)

    def add_levels(self, component: int | None, levels: int) -> None:
        """What a COD or COC says."""
        self.levels[component] = max(levels, self.levels.get(component, 0))

    def add_bands(self, component: int | None, bands: int) -> None:
        """What a QCD or QCC says."""
        self.bands[component] = min(bands, self.bands.get(component, bands))

    @property
    def named(self) -> set[int | None]:
        """The components that it says something of."""
        return {*self.levels, *self.bands}


@dataclass(frozen=True, slots=True)
class _Style:
    """COD or COC: how one tile's component is coded."""

    levels: int
    layers: int
    transformed: bool
    reversible: bool
    precincts: bytes
    blocks: bytes = b""  # their size, as it is coded

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
    main = header = _Header()
    tiles: dict[bytes, _Header] = {}  # by number
    tile_parts = packets = 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        code, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        if code == EOC or length < 2:
            break
        if code == SOT:
            tile_parts += 1
            part = at, int.from_bytes(data[at + 6 : at + 10], "big")
            header = tiles.setdefault(segment[:2], _Header())
        elif code in (COD, COC):
            style = _style(code, segment, styles, wide)
            styles.append(style)
            header.add_levels(_component(segment, wide) if code == COC else None, style.levels)
            each = size.samples if code == COD else 1
            packets += style.packets(size) * each * (1 if tile_parts else size.tiles)
        elif code in (QCD, QCC):
            steps = _bands(segment[0 if code == QCD else 1 + wide :])
            header.add_bands(_component(segment, wide) if code == QCC else None, steps)
        if tile_parts > MOST_TILE_PARTS or packets > MOST_PACKETS:
            raise Undecodable("more JPEG 2000 packets than a picture has")
        at += 2 + length
        if code != SOD and data[at : at + 2] == bytes((0xFF, SOD)) and tile_parts:
            if part[1] < 14:  # 0: it reaches to the end
                break
            at = part[0] + part[1]
            if data[at : at + 2] not in _AFTER_A_TILE and data[at : at + 4096].strip(b"\0"):
                raise Undecodable("JPEG 2000 tile-parts do not follow each other")  # it would spin
    _check_steps(main, [header for header in tiles.values() if header.named], size.samples)
    return styles


def _check_steps(main: _Header, tiles: list[_Header], samples: int) -> None:
    """Raise Undecodable when a component has more bands than steps: OpenJPH would crash.

    A tile's headers go before the main one, and in each COC and QCC before COD and QCD
    (A.6.1, A.6.4).
    """
    if (len(tiles) + 1) * (len(main.named) + 1) > MOST_PACKETS:
        raise Undecodable("more JPEG 2000 components than a picture has")
    for tile in (_Header(), *tiles):
        named = {n for n in main.named | tile.named if n is not None and n < samples}
        for component in (*named, *([] if len(named) >= samples else [None])):
            levels = _said(component, tile.levels, main.levels)
            steps = _said(component, tile.bands, main.bands)
            if levels is not None and (steps or 0) < 3 * levels + 1:
                raise Undecodable("JPEG 2000 quantisation is cut short")


def _said(component: int | None, *headers: dict[int | None, int]) -> int | None:
    """What the first header that says something says of a component."""
    for header in headers:
        if (found := header.get(component, header.get(None))) is not None:
            return found
    return None


def _component(segment: bytes, wide: bool) -> int:
    """Which component a COC or QCC is of."""
    return int.from_bytes(segment[: 1 + wide], "big")


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
    if code == COC and own[3] & HIGH_THROUGHPUT and own[1:3] != before[0].blocks:
        raise Undecodable("HTJ2K code blocks differ in size")  # OpenJPH would crash
    layers = int.from_bytes(segment[2:4], "big") if code == COD else before[0].layers
    return _Style(
        levels=own[0],
        layers=max(layers, 1),
        transformed=segment[4] == 1 if code == COD else before[0].transformed,
        reversible=own[4] == 1,
        precincts=precincts,
        blocks=own[1:3],
    )
