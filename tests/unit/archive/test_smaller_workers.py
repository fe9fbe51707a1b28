"""archive/smaller.py: a worker that dies of something else says nothing against the instance."""

import os

import pytest

from filmroom.archive.access import SYSTEM
from filmroom.archive.errors import Unavailable
from filmroom.archive.records import Origin
from filmroom.archive.smaller import LeftAlone, Shrinker
from filmroom.pixel import pool as pools
from filmroom.pixel.pool import Pool
from filmroom.pixel.transcode import transcode_frame
from instances import a_smooth_image, part10

HTJ2K = "1.2.840.10008.1.2.4.202"


class DeadlyPool(Pool):
    """A worker's process dies at each of the first so many frames."""

    deaths = 0

    async def run(self, function, /, *args, **kwargs):
        if function is transcode_frame and self.deaths:
            self.deaths -= 1
            return await super().run(os.abort)
        return await super().run(function, *args, **kwargs)


@pytest.fixture
def pool():
    made = DeadlyPool(1)
    yield made
    made.close()


@pytest.fixture
async def handle(room):
    intake = room.archive.ingest.open_file(Origin("dimse", "SCANNER"))
    intake.write(part10(a_smooth_image()))
    uid = (await intake.commit()).sop_instance_uid
    return await room.retriever.instance(SYSTEM, None, None, uid)


@pytest.fixture
def shrinker(room, pool):
    return Shrinker(room.blobs, pool, transcode_frame)


async def test_a_worker_that_dies_once_is_no_reason(shrinker, pool, handle):
    pool.deaths = 1
    made = await shrinker.smaller(handle, HTJ2K)
    assert made.staged.size < handle.location.size_bytes
    made.staged.discard()
    assert not pool.deaths


async def test_who_kills_two_workers_is_left_alone(shrinker, pool, handle):
    pool.deaths = 2
    with pytest.raises(LeftAlone, match="gave up"):
        await shrinker.smaller(handle, HTJ2K)
    assert not pool.deaths


async def test_where_no_worker_starts_it_is_tried_again_later(shrinker, handle, monkeypatch):
    def starved(limits):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(pools, "Worker", starved)
    with pytest.raises(Unavailable):
        await shrinker.smaller(handle, HTJ2K)


async def test_when_the_workers_are_stopped_it_is_tried_again_later(shrinker, pool, handle):
    pool.close()
    with pytest.raises(Unavailable):
        await shrinker.smaller(handle, HTJ2K)
