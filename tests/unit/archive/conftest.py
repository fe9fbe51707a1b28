"""A real archive in a temporary folder: SQLite and files, committer running."""

from __future__ import annotations

import pytest

from filmroom.archive.archive import Archive
from filmroom.archive.committer import Committer, Duplicates
from filmroom.archive.find import Finder
from filmroom.archive.ingest import Ingest
from filmroom.archive.retrieve import Retriever
from filmroom.blobs.filesystem import FilesystemBlobs
from filmroom.index.queries import open_index


class TestClock:
    """Time that stands still until told."""

    __test__ = False

    def __init__(self):
        self.time = 1_767_348_672.0

    def now(self):
        return self.time


class ArchiveInAFolder:
    """Everything node.py would assemble, without edges."""

    def __init__(self, folder, duplicates=Duplicates.KEEP_FIRST, blobs=FilesystemBlobs):
        self.folder = folder
        self.clock = TestClock()
        self.index = open_index(f"sqlite:///{folder}/index.sqlite")
        self.blobs = blobs(folder)
        self.retriever = Retriever(self.index, self.blobs)
        self.committer = Committer(
            self.index,
            self.blobs,
            duplicates,
            quarantine_max_bytes=1 << 20,
            stored=lambda new: self.retriever.forget(new.instance.uid),
        )
        self.committer.start()
        self.archive = Archive(
            Ingest(self.blobs, self.committer, self.clock),
            Finder(self.index),
            self.retriever,
            self.index,
            self.blobs,
        )

    def files(self):
        return sorted(p for p in (self.folder / "store").rglob("*") if p.is_file())

    def quarantined(self):
        return list((self.folder / "quarantine").iterdir())

    def close(self):
        self.committer.stop()
        self.index.close()
        self.blobs.close()


@pytest.fixture
def make_archive(tmp_path):
    made = []

    def make(**options):
        made.append(ArchiveInAFolder(tmp_path, **options))
        return made[-1]

    yield make
    for archive in made:
        archive.close()


@pytest.fixture
def room(make_archive):
    return make_archive()
