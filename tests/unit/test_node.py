"""node.py: what a person is told when the house cannot be opened."""

import asyncio
import sqlite3
import time

import pytest

from filmroom import node, observe
from filmroom.archive.errors import Unavailable
from filmroom.config import Settings


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
    monkeypatch.setattr(node.Storeroom, "_recover", full)
    assert node.run(settings) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "filmroom: cannot start: out of space"


def test_an_index_of_a_later_filmroom_is_told_in_one_line(settings, capsys):
    node.Storeroom(settings).close()
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
