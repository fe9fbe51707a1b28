"""blobs.filesystem: of threads that seal at once, each returns only when its own can be found."""

import threading

import pytest

from filmroom.blobs import filesystem
from filmroom.blobs.durable import sync_folder
from filmroom.blobs.filesystem import FilesystemBlobs
from filmroom.blobs.layout import key_for

WHEN = 1_767_348_672.0  # 2026-01-02 UTC
DAY = "store/2026/01/02"


class Disk:
    """In the place of sync_folder: notes who has synced what, and lets somebody wait."""

    def __init__(self, monkeypatch, root):
        self.synced = []  # (thread, folder below the data folder), when it has ended
        self.halts = {}  # the same -> (reached, go on)
        self._root = root
        monkeypatch.setattr(filesystem, "sync_folder", self)

    def halt(self, thread, folder):
        self.halts[thread, folder] = threading.Event(), threading.Event()
        return self.halts[thread, folder]

    def __call__(self, folder):
        entry = threading.current_thread().name, folder.removeprefix(f"{self._root}/")
        sync_folder(folder)
        if entry in self.halts:
            reached, go_on = self.halts[entry]
            reached.set()
            assert go_on.wait(10)
        self.synced.append(entry)

    def by(self, *threads):
        return {folder for thread, folder in self.synced if thread in threads}


@pytest.fixture
def blobs(tmp_path):
    store = FilesystemBlobs(tmp_path)
    yield store
    store.close()


@pytest.fixture
def disk(monkeypatch, tmp_path, blobs):
    return Disk(monkeypatch, tmp_path)


@pytest.fixture
def sealing(blobs):
    """sealing(thread's name, UIDs) begins to seal in a thread."""
    threads, results = [], []

    def begin(name, *uids):
        file = blobs.stage()
        file.write(b"abc")

        def work():
            results.extend(blobs.seal([(file, key_for(WHEN, *uids))]))

        threads.append(threading.Thread(target=work, name=name))
        threads[-1].start()
        return threads[-1]

    yield begin
    for thread in threads:
        thread.join(10)
    assert results == [None] * len(threads)


def chain(*uids):
    parts = [*DAY.split("/"), *uids]
    return {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}


def test_who_finds_a_new_folder_syncs_what_it_is_found_by(disk, sealing):
    reached, go_on = disk.halt("first", f"{DAY}/1.2/1.2.3")
    sealing("first", "1.2", "1.2.3", "1.2.3.4")
    assert reached.wait(10)  # all folders are made, none above the last is synced
    sealing("second", "1.2", "1.2.3", "1.2.3.5").join(10)
    assert disk.by("second") == chain("1.2", "1.2.3")
    go_on.set()


def test_a_folder_that_comes_while_its_own_is_synced_is_synced_again(disk, sealing):
    """The first syncs the day; the second makes a study in it; the third finds that study."""
    first_reached, first_go_on = disk.halt("first", DAY)
    second_reached, second_go_on = disk.halt("second", f"{DAY}/1.3/1.3.3")
    first = sealing("first", "1.2", "1.2.3", "1.2.3.4")
    assert first_reached.wait(10)
    sealing("second", "1.3", "1.3.3", "1.3.3.4")
    assert second_reached.wait(10)
    first_go_on.set()
    first.join(10)
    sealing("third", "1.3", "1.3.3", "1.3.3.5").join(10)
    assert {DAY, f"{DAY}/1.3", f"{DAY}/1.3/1.3.3"} <= disk.by("third")
    second_go_on.set()


def test_what_is_on_disk_is_not_synced_again(disk, sealing):
    sealing("first", "1.2", "1.2.3", "1.2.3.4").join(10)
    sealing("second", "1.2", "1.2.3", "1.2.3.5").join(10)
    assert disk.by("second") == {f"{DAY}/1.2/1.2.3"}
