"""Deflated data sets: undone exactly, within bounds, and bombs are known as such."""

import tracemalloc
import zlib

import pytest

from filmroom.dicom import deflated
from filmroom.dicom.deflated import inflate, pieces
from filmroom.dicom.errors import Malformed

TEXT = bytes(range(256)) * 40


def deflate(data, level=6):
    stream = zlib.compressobj(level, wbits=-15)
    return stream.compress(data) + stream.flush()


def test_deflate_is_undone_within_bounds():
    assert inflate(deflate(TEXT), 20_000) == TEXT
    assert inflate(memoryview(deflate(TEXT) + b"\0"), 20_000) == TEXT
    assert inflate(deflate(b""), 100) == b""
    with pytest.raises(Malformed, match="larger"):
        inflate(deflate(bytes(100_000_000)), 1000)
    with pytest.raises(Malformed, match="cut off"):
        inflate(deflate(TEXT)[:-3], 20_000)
    with pytest.raises(Malformed, match="cut off"):
        inflate(b"", 100)
    with pytest.raises(Malformed):
        inflate(b"\xff" * 100, 100)


def test_no_more_is_inflated_than_is_wanted(monkeypatch):
    monkeypatch.setattr(deflated, "STEP_BYTES", 1000)
    cut = deflate(TEXT, 0)[:5000]
    assert inflate(cut, 20_000, first=300) == TEXT[:300]
    with pytest.raises(Malformed, match="cut off"):
        inflate(cut, 20_000)


def test_a_bomb_is_refused_by_its_proportions(monkeypatch):
    monkeypatch.setattr(deflated, "FREE_OF_RATIO_BYTES", 100_000)
    assert len(inflate(deflate(bytes(100_000)), 1 << 30)) == 100_000
    with pytest.raises(Malformed, match="larger than 100000 bytes"):
        inflate(deflate(bytes(100_001)), 1 << 30)


def test_a_bomb_in_pieces_takes_no_memory():
    bomb = deflate(bytes(60 << 20))
    tracemalloc.start()
    try:
        assert sum(map(len, pieces(bomb, 1 << 30))) == 60 << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * deflated.STEP_BYTES
