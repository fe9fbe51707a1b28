"""blobs.spool: a file that is given up takes nobody else's bytes, whoever still writes to it."""

import os
import threading

import pytest

from filmroom.archive.errors import Unavailable
from filmroom.blobs import spool
from filmroom.blobs.spool import Spool, StagedFile


class Held:
    """A disk that is full, and gives way only when told."""

    def __init__(self):
        self.asked, self.told = threading.Event(), threading.Event()
        self.times = 0

    def __call__(self, wanted_bytes):
        self.times += 1
        self.asked.set()
        assert self.told.wait(10)
        return self.times == 1


def test_a_file_discarded_under_a_write_writes_into_no_other(tmp_path):
    disk = Held()
    file = StagedFile(os.open("/dev/full", os.O_WRONLY), "", disk)
    raised = []

    def write():
        try:
            file.write(b"for nobody")
        except Unavailable as error:
            raised.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert disk.asked.wait(10)
    ours = file.fd
    file.discard()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o600)  # takes the lowest number
    disk.told.set()
    writer.join(10)
    assert os.pread(other, 100, 0) == b""
    assert raised
    os.close(other)
    assert file.fd == -1
    with pytest.raises(OSError, match="Bad file descriptor"):  # closed by who used it last
        os.fstat(ours)


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_discarded_file_is_gone_at_once_and_stays_so(tmp_path, monkeypatch, unnamed):
    if not unnamed:
        monkeypatch.setattr(spool, "_has_unnamed_files", lambda folder: False)
    place = Spool(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    file = place.stage()
    file.write(b"abc")
    assert file.read(1, 2) == b"bc"
    file.discard()
    file.discard()
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path / "tmp") == []
    with pytest.raises(Unavailable):
        file.write(b"more")
    place.close()
