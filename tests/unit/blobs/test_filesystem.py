"""Bytes on a file system: written once, whole or not at all, under names of our own making."""

from __future__ import annotations

import errno
import os

import pytest

from filmroom.archive.errors import NotHeld, Refused, Unavailable
from filmroom.blobs import filesystem, spool
from filmroom.blobs.filesystem import FilesystemBlobs
from filmroom.blobs.layout import is_key, key_for

WHEN = 1_767_348_672.0  # 2026-01-02 UTC
KEY = key_for(WHEN, "1.2", "1.2.3", "1.2.3.4")


@pytest.fixture
def blobs(tmp_path):
    store = FilesystemBlobs(tmp_path)
    yield store
    store.close()


def staged(blobs, content=b"abc"):
    file = blobs.stage()
    file.write(content)
    return file


def temporary(tmp_path):
    return list((tmp_path / "tmp").iterdir())


def test_a_sealed_blob_is_found_under_its_day_and_uids(blobs, tmp_path):
    assert blobs.seal([(staged(blobs), KEY)]) == [None]
    path = tmp_path / "store" / "2026" / "01" / "02" / "1.2" / "1.2.3" / "1.2.3.4.dcm"
    assert path.read_bytes() == b"abc"
    assert blobs.read(KEY, 1, 2) == b"bc"
    assert list(blobs.keys()) == [KEY]


def test_a_staged_blob_is_seen_by_nobody(blobs):
    staged(blobs)
    assert list(blobs.keys()) == []


def test_sealing_never_replaces(blobs):
    blobs.seal([(staged(blobs), KEY)])
    second = staged(blobs, b"other")
    assert isinstance(blobs.seal([(second, KEY)])[0], FileExistsError)
    assert blobs.read(KEY, 0, 3) == b"abc"
    second.discard()


@pytest.mark.parametrize("unnamed", [True, False])
def test_nothing_temporary_stays(tmp_path, monkeypatch, unnamed):
    if not unnamed:
        monkeypatch.setattr(spool, "_has_unnamed_files", lambda folder: False)
    blobs = FilesystemBlobs(tmp_path)
    blobs.seal([(staged(blobs), KEY)])
    staged(blobs).discard()
    blobs.quarantine(staged(blobs))
    assert temporary(tmp_path) == []


def test_files_opened_ahead_are_used_and_leave_nothing(tmp_path):
    blobs = FilesystemBlobs(tmp_path)
    blobs.prepare()
    files = [staged(blobs) for _ in range(spool.READY_FILES + 2)]
    keys = [key_for(WHEN, "1.2", "1.2.3", f"1.2.3.{n}") for n in range(len(files))]
    assert blobs.seal(list(zip(files, keys, strict=True))) == [None] * len(files)
    blobs.prepare()
    blobs.close()
    assert temporary(tmp_path) == []


def test_a_named_leftover_is_swept_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_has_unnamed_files", lambda folder: False)
    staged(FilesystemBlobs(tmp_path))
    assert len(temporary(tmp_path)) == 1
    assert FilesystemBlobs(tmp_path).sweep() == 1
    assert temporary(tmp_path) == []


def test_every_folder_of_a_new_chain_is_synced(blobs, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(filesystem, "sync_folder", synced.append)
    blobs.seal([(staged(blobs), KEY)])
    store = tmp_path / "store"
    chain = ["", "2026", "2026/01", "2026/01/02", "2026/01/02/1.2", "2026/01/02/1.2/1.2.3"]
    assert set(synced) == {str(store / part) if part else str(store) for part in chain}


def test_a_folder_whose_sync_failed_for_want_of_room_is_synced_with_the_next(
    blobs, tmp_path, monkeypatch
):
    synced = []

    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(filesystem, "sync_folder", full)
        assert isinstance(blobs.seal([(staged(blobs), KEY)])[0], Unavailable)
    monkeypatch.setattr(filesystem, "sync_folder", synced.append)
    other = key_for(WHEN, "1.2", "1.2.3", "1.2.3.5")
    assert blobs.seal([(staged(blobs), other)]) == [None]
    assert str(tmp_path / "store") in synced  # the year is an entry of it


def test_a_failed_fsync_is_not_retried_and_stops_further_stores(blobs, monkeypatch):
    calls = []

    def failing(fd):
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    file = staged(blobs)
    monkeypatch.setattr(os, "fsync", failing)
    result = blobs.seal([(file, KEY)])[0]
    assert isinstance(result, Unavailable)
    assert len(calls) == 1
    assert list(blobs.keys()) == []
    with pytest.raises(Unavailable, match="storage has failed"):
        blobs.stage()


def test_a_folder_that_cannot_be_synced_keeps_nothing_of_the_batch(blobs, monkeypatch):
    def failing(path):
        raise OSError(errno.EIO, "Input/output error")

    assert blobs.seal([(staged(blobs), KEY)]) == [None]
    other = blobs.key_for(0.0, "1.2", "1.3", "1.9")
    monkeypatch.setattr(filesystem, "sync_folder", failing)
    results = blobs.seal([(staged(blobs), other), (staged(blobs), KEY)])
    assert isinstance(results[0], Unavailable)
    assert isinstance(results[1], FileExistsError)
    assert list(blobs.keys()) == [KEY]


def test_a_full_disk_refuses_and_recovers(blobs, monkeypatch):
    file = blobs.stage()

    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(Unavailable, match="out of space"):
            file.write(b"abc")
    file.discard()
    assert blobs.seal([(staged(blobs), KEY)]) == [None]


def test_stores_are_refused_below_the_free_space_mark(tmp_path):
    with pytest.raises(Unavailable, match="out of space"):
        FilesystemBlobs(tmp_path, min_free_bytes=1 << 62).stage()


def test_a_short_file_is_an_error_not_short_data(blobs):
    blobs.seal([(staged(blobs), KEY)])
    with pytest.raises(Unavailable, match="shorter"):
        blobs.read(KEY, 0, 4)


@pytest.mark.parametrize("uid", ["", "..", "1/2", "../../etc", "1.2\0", "1" * 65, "1..2", "a"])
def test_no_key_is_made_of_anything_but_uids(uid):
    with pytest.raises(Refused):
        key_for(WHEN, "1.2", "1.2.3", uid)


@pytest.mark.parametrize(
    "key", ["../x.dcm", "/etc/passwd", KEY + "/..", KEY.replace("1.2.3/", "../")]
)
def test_what_is_no_key_is_not_opened(blobs, key):
    assert not is_key(key)
    with pytest.raises(NotHeld):
        blobs.open(key)


def test_quarantine_keeps_the_bytes_under_a_name_of_ours(blobs, tmp_path):
    key = blobs.quarantine(staged(blobs, b"rubbish"))
    file = blobs.open_quarantined(key)
    assert file.read(0, 100) == b"rubbish"
    file.close()
    with pytest.raises(NotHeld):
        blobs.open_quarantined("../store")
    blobs.remove_quarantined(key)
    assert list((tmp_path / "quarantine").iterdir()) == []


def test_only_days_since_the_last_start_are_walked(blobs):
    old = key_for(WHEN - 86400, "1.2", "1.2.3", "1.2.3.4")
    blobs.seal([(staged(blobs), KEY), (staged(blobs), old)])
    assert list(blobs.keys_since("2026/01/02")) == [KEY]
    assert list(blobs.keys_since("2026/01/01")) == [old, KEY]
