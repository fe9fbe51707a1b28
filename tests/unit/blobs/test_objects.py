"""Blobs in an object store: whole or not at all, nobody's written over, and gone ones told."""

from __future__ import annotations

import contextlib
import os

import obstore
import pytest
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from filmroom.archive.errors import Away, NotHeld, Refused, Unavailable
from filmroom.archive.soundness import is_passing
from filmroom.blobs import objects
from filmroom.blobs.layout import is_key
from filmroom.blobs.objects import ObjectBlobs, open_store
from hostile_disk import small_disk

WHEN = 1_767_348_672.0  # 2026-01-02 UTC


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def blobs(store, tmp_path):
    made = ObjectBlobs(store, tmp_path, cache_bytes=64 << 20)
    yield made
    made.close()


@pytest.fixture
def another(store, tmp_path):
    """Another node on the same store."""
    made = ObjectBlobs(store, tmp_path / "another", cache_bytes=64 << 20)
    yield made
    made.close()


def staged(blobs, content=b"abc"):
    file = blobs.stage()
    file.write(content)
    return file


def key_of(blobs, instance="1.2.3.4", when=WHEN):
    return blobs.key_for(when, "1.2", "1.2.3", instance)


def sealed(blobs, content=b"abc", **options):
    key = key_of(blobs, **options)
    assert blobs.seal([(staged(blobs, content), key)]) == [None]
    return key


def away(*arguments, **options):
    raise GenericError("connection refused")


def test_an_object_lies_under_its_day_and_uids(blobs, store):
    key = sealed(blobs)
    assert key.startswith("2026/01/02/1.2/1.2.3/1.2.3.4_")
    assert bytes(obstore.get(store, f"store/{key}").bytes()) == b"abc"
    assert list(blobs.keys()) == [key]


def test_no_two_attempts_share_a_key(blobs, another):
    first, second = sealed(blobs, b"one"), sealed(another, b"two")
    assert first != second
    assert is_key(first)
    assert is_key(second)
    assert another.read(first, 0, 3) == b"one"
    assert blobs.read(second, 0, 3) == b"two"


def test_sealing_never_replaces(blobs, another, monkeypatch):
    key = sealed(blobs)
    for limit in (objects.IN_ONE_PUT, 1):  # in one piece, and in parts
        monkeypatch.setattr(objects, "IN_ONE_PUT", limit)
        second = staged(another, b"other")
        assert isinstance(another.seal([(second, key)])[0], FileExistsError)
        second.discard()
    assert another.read(key, 0, 3) == b"abc"


def test_a_large_object_goes_up_in_parts(blobs, another, monkeypatch):
    monkeypatch.setattr(objects, "IN_ONE_PUT", 1 << 20)
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    content = os.urandom(12 << 20)
    key = sealed(blobs, content)
    file = another.open(key)
    assert file.size == len(content)
    assert file.read(0, len(content)) == content
    file.close()


def test_what_was_just_stored_is_read_here(blobs, store):
    key = sealed(blobs)
    obstore.delete(store, f"store/{key}")
    file = blobs.open(key, size=3)
    assert file.is_here
    assert os.pread(file.fd, 3, 0) == b"abc"
    file.close()


def test_reading_anew_asks_the_store(blobs, store):
    key = sealed(blobs)
    obstore.put(store, f"store/{key}", b"abX")
    assert blobs.open(key, anew=True).read(0, 3) == b"abX"


def test_an_object_that_is_gone_is_not_held(blobs, another):
    key = sealed(blobs)
    blobs.remove(key)
    blobs.remove(key)
    assert not blobs.exists(key)
    assert blobs.modified_ns(key) == 0
    for attempt in (
        lambda: another.open(key),
        lambda: another.open(key, anew=True),
        lambda: another.open(key, size=3).read(0, 3),
        lambda: another.read(key, 0, 3),
        lambda: another.read("../etc/passwd", 0, 3),
        lambda: another.quarantine_sealed(key),
        lambda: another.open_quarantined("0" * 32 + ".dcm"),
        lambda: another.open_quarantined("../store"),
    ):
        with pytest.raises(NotHeld):
            attempt()


def test_an_object_of_another_size_is_not_given(blobs, another, store):
    key = sealed(blobs)
    obstore.put(store, f"store/{key}", b"abcd")
    with pytest.raises(Unavailable) as caught:
        another.open(key, size=3).read(0, 3)
    assert not is_passing(caught.value)


def test_a_store_that_is_away_says_nothing_against_its_objects(blobs, another, monkeypatch):
    key = sealed(blobs)
    for name in ("get", "head", "put", "list", "copy", "delete"):
        monkeypatch.setattr(obstore, name, away)
    for attempt in (
        lambda: another.open(key),
        lambda: another.read(key, 0, 3, size=3),
        lambda: another.exists(key),
        lambda: another.remove(key),
        lambda: list(another.keys()),
        lambda: another.quarantine_sealed(key),
        lambda: another.quarantine(staged(another)),
    ):
        with pytest.raises(Away) as caught:
            attempt()
        assert is_passing(caught.value)
    (failure,) = another.seal([(staged(another), key_of(another))])
    assert isinstance(failure, Away)


def test_a_node_knows_its_own_objects_also_after_a_restart(blobs, another, store, tmp_path):
    ours, theirs = sealed(blobs), sealed(another)
    again = ObjectBlobs(store, tmp_path)
    for each in (blobs, again):
        assert each.is_ours(ours)
        assert not each.is_ours(theirs)
    again.close()


def test_keys_come_in_order_and_from_a_day_on(blobs):
    day = 86_400
    keys = [sealed(blobs, instance=f"1.2.3.{n}", when=WHEN + n * day) for n in range(4)]
    assert list(blobs.keys()) == keys
    assert list(blobs.keys_since("2026/01/04")) == keys[2:]
    assert list(blobs.keys_since("2027/01/01")) == []


def test_what_is_not_ours_in_the_bucket_is_left_alone(blobs, store):
    key = sealed(blobs)
    obstore.put(store, "store/readme.txt", b"hello")
    obstore.put(store, "quarantine/readme.txt", b"hello")
    assert list(blobs.keys()) == [key]
    assert list(blobs.quarantine_keys()) == []


def test_a_refused_file_is_kept_and_can_be_read_and_removed(blobs):
    name = blobs.quarantine(staged(blobs))
    assert list(blobs.quarantine_keys()) == [name]
    file = blobs.open_quarantined(name)
    assert (file.size, file.read(1, 10)) == (3, b"bc")
    assert file.written_at > 0
    blobs.remove_quarantined(name)
    blobs.remove_quarantined(name)
    assert list(blobs.quarantine_keys()) == []


@pytest.mark.parametrize("copied", [objects.COPIED_AT_ONCE, 1], ids=["by the store", "by us"])
def test_a_sealed_object_can_be_put_aside(blobs, monkeypatch, copied):
    monkeypatch.setattr(objects, "COPIED_AT_ONCE", copied)
    key = sealed(blobs)
    name = blobs.quarantine_sealed(key)
    assert list(blobs.keys()) == []
    assert blobs.open_quarantined(name).read(0, 3) == b"abc"
    with pytest.raises(NotHeld):
        blobs.open(key)


def test_uids_that_are_none_make_no_key(blobs):
    with pytest.raises(Refused):
        blobs.key_for(WHEN, "../1", "1.2.3", "1.2.3.4")


def test_nothing_stays_on_this_machine(blobs, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        blobs.quarantine(staged(blobs))
        staged(blobs).discard()
    assert len(os.listdir("/proc/self/fd")) == before
    sealed(blobs)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert blobs.free_bytes() > 0


@pytest.fixture
def on_small_disk(store, tmp_path):
    """on_small_disk(...) is blobs with 8 MiB for what comes and what is kept of what goes."""
    with small_disk(tmp_path / "small", 8) as disk, contextlib.ExitStack() as made:

        def blobs_there(**options):
            there = ObjectBlobs(store, disk, cache_bytes=64 << 20, **options)
            return made.enter_context(contextlib.closing(there))

        yield blobs_there


@pytest.mark.parametrize("mark", [0, 3 << 20])
def test_what_is_kept_here_gives_way_to_what_comes(on_small_disk, mark):
    blobs = on_small_disk(min_free_bytes=mark)
    content = os.urandom(2 << 20)
    keys = [sealed(blobs, content, instance=f"1.2.3.{n}") for n in range(10)]
    assert [blobs.read(key, 0, len(content)) == content for key in keys] == [True] * 10
    assert blobs.free_bytes() >= mark


def test_what_is_kept_here_gives_way_to_what_is_read(on_small_disk, another):
    blobs = on_small_disk()
    content = os.urandom(2 << 20)
    for number in range(10):
        key = sealed(another, content, instance=f"1.2.3.{number}")
        assert blobs.read(key, 0, len(content), size=len(content)) == content


def test_what_is_open_gives_no_way(on_small_disk):
    """And when there is no room to be had, the disk is full."""
    blobs = on_small_disk()
    content = os.urandom(6 << 20)
    key = sealed(blobs, content)
    with contextlib.closing(blobs.open(key, size=len(content))) as file:
        with pytest.raises(Unavailable, match="out of space"):
            staged(blobs, content)
        assert os.pread(file.fd, len(content), 0) == content
    staged(blobs, content).discard()


@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_each_kind_of_store_can_be_named(scheme):
    keys = {} if scheme == "gs" else {"access_key": "name", "secret_key": "c2VjcmV0"}
    open_store(f"{scheme}://films/archive", {}, **keys)
