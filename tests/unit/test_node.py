"""node.py: what a person is told when the house cannot be opened."""

import asyncio
import os
import sqlite3
import time

import pytest

import index_rows
from filmroom import node, observe, storeroom
from filmroom.archive.errors import Unavailable
from filmroom.config import Settings
from instances import an_instance


@pytest.fixture(autouse=True)
def _logging_as_it_is(monkeypatch):
    monkeypatch.setattr(observe, "configure_logging", lambda *_: None)


@pytest.fixture
def settings(tmp_path):
    return Settings.model_validate(
        {
            "data": str(tmp_path / "data"),
            "archive": {"min_free_bytes": 0},
            "dimse": {"host": "127.0.0.1", "port": 0},
            "http": {"host": "127.0.0.1", "port": 0},
            "samples": False,
        }
    )


def test_a_start_that_fails_is_told_in_one_line(settings, capsys, monkeypatch):
    def full(room, since):
        raise Unavailable("out of space")

    settings.data.mkdir()
    (settings.data / "running").write_text("2026/01/02\n")
    monkeypatch.setattr(storeroom.Storeroom, "_recover", full)
    assert node.run(settings) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "filmroom: cannot start: out of space"


def test_a_recovery_that_failed_is_done_by_the_next_start(settings, monkeypatch):
    """The mark of the crash must outlive it, whichever mark it is."""
    mark = settings.data / "running"
    settings.data.mkdir()

    def failing(*_, **__):
        raise Unavailable("out of space")

    for text, step in (("2026/01/02\n", "adopt"), ("reindexing\n", "reindex")):
        mark.write_text(text)
        with monkeypatch.context() as patched:
            patched.setattr(storeroom, step, failing)
            assert node.run(settings) == 1
        assert mark.read_text() == text


def test_the_mark_is_on_disk_before_anything_is_stored(settings, monkeypatch):
    synced = []
    fsync = os.fsync

    def watched(fd):
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    room = storeroom.Storeroom(settings)
    monkeypatch.setattr(os, "fsync", watched)
    room.open()
    room.close()
    data = str(settings.data.resolve())
    mark = synced.index(f"{data}/running.new")
    assert data in synced[mark + 1 :]
    assert {data, str(settings.data.parent.resolve())} <= set(synced[:mark])


def test_the_mark_follows_the_clock_so_that_a_start_never_looks_at_years(settings):
    room = storeroom.Storeroom(settings)
    room.open()
    days = []
    for hours in (0, 30, 31, 2, 100):  # at 2 somebody set the clock back
        room._stored(index_rows.an_instance(received_at=1_767_225_600.0 + hours * 3600))
        days.append((settings.data / "running").read_text().strip())
    assert days == ["2025/12/31", "2026/01/02", "2026/01/02", "2025/12/31", "2026/01/04"]
    room.close()
    assert not (settings.data / "running").exists()


def test_a_start_after_a_crash_says_what_it_did(settings, caplog):
    day = settings.data / "store/2026/01/02/1.2/1.3"
    day.mkdir(parents=True)
    (day / "1.4.dcm").write_bytes(an_instance(SOPInstanceUID="1.4", SeriesInstanceUID="1.3"))
    (day / "1.5.dcm").write_bytes(b"half")
    (settings.data / "tmp").mkdir()
    (settings.data / "tmp/0123.part").write_bytes(b"half")
    (settings.data / "running").write_text("2026/01/01\n")
    room = storeroom.Storeroom(settings)
    with caplog.at_level("WARNING", "filmroom"):
        room.open()
    room.close()
    (said,) = [each for each in caplog.records if "did not end cleanly" in each.message]
    found = said.files, said.orphans, said.added, said.removed
    assert found == (2, 2, 1, 1)
    assert 0 < said.seconds < 60


def test_an_index_of_a_later_filmroom_is_told_in_one_line(settings, capsys):
    storeroom.Storeroom(settings).close()
    with sqlite3.connect(settings.data / "index.sqlite") as index:
        index.execute("INSERT INTO schema_version VALUES (999, 'later')")
    assert node.run(settings) == 1
    assert "the index has schema step 999" in capsys.readouterr().err


async def test_a_house_that_is_closed_signs_nobody_in(settings):
    house = node.Node(settings)
    await house.start()
    sign_in = house._app.sign_in
    assert await sign_in.run(len, "abc") == 3
    await house.stop()
    with pytest.raises(RuntimeError, match="shutdown"):
        await sign_in.run(len, "abc")


class SlowToClose:
    """A door that takes its time."""

    def stop(self, seconds):
        time.sleep(0.3)


class SlowServer:
    async def stop(self, seconds):
        await asyncio.sleep(0.3)


async def test_all_doors_close_at_the_same_time(settings):
    house = node.Node(settings)
    house._http, house._dimse = SlowToClose(), [SlowServer(), SlowServer()]
    started = time.monotonic()
    await house.stop()
    assert time.monotonic() - started < 0.6
