"""What is kept of a remote store: by blocks, within a budget, and never the wrong bytes."""

from __future__ import annotations

import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from filmroom.archive.errors import Away
from filmroom.blobs.cache import AHEAD_BYTES, BLOCK_BYTES, MOST_FILES, Cache

MIB = 1 << 20


class Remote:
    """Blobs that are known by their name alone, and what was asked of them."""

    def __init__(self):
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_away = False

    def content(self, key, offset, length):
        """Every position has a byte of its own, more or less."""
        positions = np.arange(offset, offset + length)
        return ((positions // 7 + sum(key.encode())) % 251).astype(np.uint8).tobytes()

    def get(self, key, size, offset, length):
        assert offset + length <= size
        self.gate.wait(10)
        if self.is_away:
            raise Away("storage does not answer")
        self.asked.append((key, offset, length))
        return memoryview(self.content(key, offset, length))


@pytest.fixture
def remote():
    return Remote()


def nameless():
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@pytest.fixture
def make_cache(remote):
    made = []

    def make(budget_bytes=64 * MIB):
        made.append(Cache(nameless, remote.get, budget_bytes))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def cache(make_cache):
    return make_cache()


def test_a_frame_brings_the_blocks_it_lies_in_and_never_the_object(cache, remote):
    blob = cache.open("a", 300 * MIB)
    assert blob.read(100 * MIB + 5, 512_000) == remote.content("a", 100 * MIB + 5, 512_000)
    assert remote.asked == [("a", 100 * MIB, MIB)]
    blob.close()


def test_what_is_here_is_not_asked_for_again(cache, remote):
    for _ in range(3):
        blob = cache.open("a", 3 * MIB)
        blob.read(MIB, 10)
        blob.close()
    assert len(remote.asked) == 1


def test_a_small_object_is_whole_after_its_first_byte(cache, remote):
    blob = cache.open("a", 500_000)
    assert not blob.is_here
    blob.fetch(0, 1)
    assert blob.is_here
    assert remote.asked == [("a", 0, 500_000)]
    blob.close()


def test_who_reads_on_gets_more_and_more_ahead(cache, remote):
    blob = cache.open("a", 100 * MIB)
    for at in range(0, 100 * MIB, 512 * 1024):
        blob.read(at, 512 * 1024)
    lengths = [length for _, _, length in remote.asked]
    assert sum(lengths) == 100 * MIB
    assert lengths[:4] == [MIB, 2 * MIB, 4 * MIB, 8 * MIB]
    assert max(lengths) <= AHEAD_BYTES
    blob.close()


def test_reading_past_the_end_gives_what_there_is(cache, remote):
    blob = cache.open("a", MIB + 10)
    assert blob.read(MIB, 100) == remote.content("a", MIB, 10)
    assert blob.read(MIB + 10, 100) == b""
    assert blob.read(5 * MIB, 1) == b""
    blob.close()


def test_the_budget_is_kept_by_giving_up_what_was_not_used_for_longest(make_cache, remote):
    cache = make_cache(4 * MIB)
    for key in "abcdef":
        blob = cache.open(key, MIB)
        blob.fetch(0, 1)
        blob.close()
    assert cache.held_bytes <= 4 * MIB
    remote.asked.clear()
    for key in "fa":
        blob = cache.open(key, MIB)
        blob.fetch(0, 1)
        blob.close()
    assert [key for key, _, _ in remote.asked] == ["a"]


def test_an_object_larger_than_the_budget_can_be_read(make_cache, remote):
    cache = make_cache(2 * MIB)
    blob = cache.open("a", 8 * MIB)
    blob.fetch(0, 8 * MIB)
    assert blob.read(7 * MIB, 100) == remote.content("a", 7 * MIB, 100)
    blob.close()
    other = cache.open("b", MIB)
    other.fetch(0, 1)
    other.close()
    assert cache.held_bytes <= 2 * MIB


def test_who_has_it_open_reads_on_after_it_was_given_up(make_cache, remote):
    cache = make_cache(MIB)
    blob = cache.open("a", 2 * MIB)
    blob.fetch(0, 1)
    for key in "bcd":
        other = cache.open(key, MIB)
        other.fetch(0, 1)
        other.close()
    assert blob.read(MIB, 20) == remote.content("a", MIB, 20)
    assert blob.read(0, 20) == remote.content("a", 0, 20)
    blob.close()
    assert cache.held_bytes <= MIB


def test_descriptors_are_bounded_too(make_cache):
    cache = make_cache()
    before = len(os.listdir("/proc/self/fd"))
    for n in range(MOST_FILES + 50):
        cache.open(str(n), 10).close()
    assert len(os.listdir("/proc/self/fd")) - before <= MOST_FILES
    cache.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_who_ask_at_once_bring_it_once(cache, remote):
    remote.gate.clear()
    with ThreadPoolExecutor(8) as pool:

        def read(_):
            blob = cache.open("a", 2 * MIB)
            try:
                return blob.read(10, 100)
            finally:
                blob.close()

        answers = pool.map(read, range(8))
        remote.gate.set()
        assert set(answers) == {remote.content("a", 10, 100)}
    assert remote.asked == [("a", 0, MIB)]


def test_a_store_that_is_away_is_asked_again_later(cache, remote):
    blob = cache.open("a", MIB)
    remote.is_away = True
    with pytest.raises(Away):
        blob.read(0, 10)
    remote.is_away = False
    assert blob.read(0, 10) == remote.content("a", 0, 10)
    blob.close()


def test_what_was_just_stored_is_here(cache, remote):
    fd = nameless()
    os.write(fd, b"just stored")
    cache.adopt("a", fd, 11)
    blob = cache.open("a", 11)
    assert blob.is_here
    assert blob.read(5, 6) == b"stored"
    blob.close()
    assert remote.asked == []


def test_what_is_dropped_is_asked_for_anew(cache, remote):
    for _ in range(2):
        blob = cache.open("a", MIB)
        blob.fetch(0, 1)
        blob.close()
        cache.drop("a")
    assert len(remote.asked) == 2
    assert cache.held_bytes == 0


def test_another_size_is_another_object(cache, remote):
    for size in (MIB, MIB + 1):
        blob = cache.open("a", size)
        blob.fetch(0, 1)
        blob.close()
    assert remote.asked == [("a", 0, MIB), ("a", 0, BLOCK_BYTES)]


def test_a_file_is_not_closed_under_who_is_still_bringing_something(make_cache, remote):
    cache = make_cache(MIB)
    blob = cache.open("a", 2 * MIB)
    remote.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(blob.fetch, 0, 10)
        while not blob._entry.coming:
            pass
        fd = blob.fd
        blob.close()
        cache.drop("a")
        assert os.fstat(fd).st_size == 0  # still open: the number is nobody else's yet
        remote.gate.set()
        reading.result(10)
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_blob_that_was_closed_is_not_read(cache):
    blob = cache.open("a", MIB)
    blob.close()
    with pytest.raises(Away):
        blob.read(0, 1)


def test_those_who_waited_are_told_at_once_what_went_wrong(cache, remote):
    remote.gate.clear()
    remote.is_away = True
    blobs = [cache.open("a", MIB) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(blob.read, 0, 10) for blob in blobs]
        while blobs[0]._entry.users < 12:
            pass
        remote.gate.set()
        for each in reading:
            with pytest.raises(Away):
                each.result(10)
    for blob in blobs:
        blob.close()
