"""archive/selected.py and the retriever's select: a page in memory, whatever is selected."""

import gc
import weakref

import pytest

from filmroom.archive.access import SYSTEM
from filmroom.archive.records import Origin, Selection
from filmroom.archive.selected import Few, Many, count
from filmroom.index import selecting
from instances import a_data_set, part10


async def fill(room, numbers, study="1.2", series="1.2.1"):
    for number in numbers:
        ds = a_data_set(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{number}",
            InstanceNumber=number,
        )
        intake = room.archive.ingest.open_file(Origin("import"))
        intake.write(part10(ds))
        await intake.commit()


async def uids_of(selected):
    return [h.sop_instance_uid.rpartition(".")[2] async for p in selected.pages() for h in p]


STUDY = Selection(study_instance_uids=("1.2",))


async def test_a_few_come_whole_and_in_order(room):
    await fill(room, [3, 1, 2])
    selected = await room.retriever.select(SYSTEM, STUDY)
    assert isinstance(selected, Few)
    assert len(selected.whole) == count(selected) == 3
    assert await uids_of(selected) == ["1", "2", "3"]


async def test_nothing_is_no_page(room):
    selected = await room.retriever.select(SYSTEM, STUDY)
    assert (selected.whole, selected.kinds, await uids_of(selected)) == ([], [], [])


async def test_many_come_page_by_page_as_often_as_one_likes(room, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 2)
    await fill(room, [5, 4, 3, 2, 1])
    selected = await room.retriever.select(SYSTEM, STUDY)
    assert isinstance(selected, Many)
    assert (selected.whole, count(selected)) == (None, 5)
    for _ in range(2):
        assert [len(page) async for page in selected.pages()] == [2, 2, 1]
    assert await uids_of(selected) == ["1", "2", "3", "4", "5"]


async def test_no_more_than_two_pages_are_ever_held(room, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 2)
    await fill(room, range(12))
    living = weakref.WeakSet()
    iterate = room.index.instances_iter

    class Page(list):  # a list that can be watched
        __hash__ = object.__hash__

    def watched(selection):
        for page in iterate(selection):
            page = Page(page)
            living.add(page)
            yield page

    monkeypatch.setattr(room.index, "instances_iter", watched)
    selected = await room.retriever.select(SYSTEM, STUDY)
    most = 0
    async for _ in selected.pages():
        gc.collect()
        most = max(most, len(living))
    assert 1 <= most <= 3  # the one in hand, the one ahead, the generator's own


async def test_a_reader_that_stops_early_leaves_nothing_running(room, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 1)
    await fill(room, range(4))
    selected = await room.retriever.select(SYSTEM, STUDY)
    pages = selected.pages()
    assert len(await anext(pages)) == 1
    await pages.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(pages)


async def test_what_arrives_meanwhile_is_no_harm(room, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 2)
    await fill(room, [1, 2, 3, 4])
    selected = await room.retriever.select(SYSTEM, STUDY)
    await fill(room, [5])
    assert (count(selected), await uids_of(selected)) == (4, ["1", "2", "3", "4", "5"])
