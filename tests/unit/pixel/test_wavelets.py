"""pixel.wavelets: each component's steps are enough for its own levels."""

import struct

import pytest

from filmroom.pixel.errors import Undecodable
from filmroom.pixel.wavelets import read_j2k
from hostile_codestreams import EOI, j2k

HTJ2K = 0x40


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def coc(component: int, levels: int) -> bytes:
    return segment(0x53, bytes((component, 0, levels, 4, 4, HTJ2K, 1)))


def qcd(levels: int) -> bytes:
    return segment(0x5C, b"\x40" + bytes([0x60] * (3 * levels + 1)))


def qcc(component: int, levels: int) -> bytes:
    return segment(0x5D, bytes((component, 0x40)) + bytes([0x60] * (3 * levels + 1)))


def cod(levels: int) -> bytes:
    return segment(0x52, struct.pack(">BBHB5B", 0, 0, 1, 0, levels, 4, 4, HTJ2K, 1))


def of(*extra: bytes, levels: int = 0, samples: int = 3, tile: bytes = b"") -> bytes:
    """Three components of so many levels each, and what else is said of them."""
    whole = j2k(64, 64, style=HTJ2K, levels=levels, samples=samples, extra=b"".join(extra))
    if tile:
        start = whole.index(b"\xff\x90")
        body = tile + b"\xff\x93" + b"\x80" * 40
        sot = struct.pack(">HIBB", 0, 12 + len(body), 0, 1)
        whole = whole[:start] + segment(0x90, sot) + body + EOI
    return whole


TOO_FEW = {
    "a COC of more levels": of(coc(1, 5)),
    "a COC after the QCC of another": of(qcc(0, 5), coc(1, 5)),
    "a QCC of fewer steps": of(qcc(2, 1), levels=5),
    "a QCD said twice": of(qcd(1), levels=5),
    "a COC in a tile": of(tile=coc(1, 5)),
    "a COD in a tile": of(tile=cod(5)),
    "a QCC in a tile": of(levels=5, tile=qcc(0, 2)),
    "no steps at all": of(levels=5).replace(b"\xff\x5c", b"\xff\x64"),
}
ENOUGH = {
    "a COC with its QCC": (of(coc(1, 5), qcc(1, 5)), 0),
    "a QCC before its COC": (of(qcc(1, 5), coc(1, 5)), 0),
    "a COC of fewer levels": (of(coc(1, 2), levels=5), 2),
    "a COC of fewer levels with fewer steps": (of(coc(1, 2), qcc(1, 2), levels=5), 2),
    "a tile with its own": (of(tile=cod(5) + qcd(5)), 0),
    "components that are all named": (
        of(*(coc(n, 1) + qcc(n, 1) for n in range(3)), levels=5).replace(qcd(5), qcd(1)),
        1,
    ),
}


@pytest.mark.parametrize("name", TOO_FEW)
def test_fewer_steps_than_bands_are_refused(name):
    with pytest.raises(Undecodable, match="quantisation"):
        read_j2k(TOO_FEW[name])


@pytest.mark.parametrize("name", ENOUGH)
def test_as_many_steps_as_bands_are_read(name):
    coded, levels = ENOUGH[name]
    assert read_j2k(coded).levels == levels


def test_tile_parts_of_tiles_that_are_not_there_cost_nothing():
    named = b"".join(segment(0x5D, struct.pack(">HBB", n, 0x40, 0x60)) for n in range(300))
    whole = of(named, samples=300)
    parts = [
        segment(0x90, struct.pack(">HIBB", n, 20, 0, 1)) + qcd(0) + b"\xff\x93" for n in range(4096)
    ]
    start = whole.index(b"\xff\x90")
    assert read_j2k(whole[:start] + b"".join(parts[:500]) + EOI).samples == 300
    with pytest.raises(Undecodable, match="components than a picture has"):
        read_j2k(whole[:start] + b"".join(parts) + EOI)
