"""Marks of damage, revisions of series, and how far a scrub has come, on both engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

import index_rows
from filmroom.archive.records import Damage, Selection, SeriesMetadata


def stored(index, numbers, *, study="1", series="1.1", **more):
    return index_rows.stored(index, study, series, numbers, **more)


def mark(index, uid, reason=Damage.CONTENT, at=5.0):
    return index.integrity.mark(index.instance(uid), reason, at)


def damage(index, uid):
    return index.instance(uid).damage


def test_a_mark_is_on_that_instance_alone_wherever_it_is_asked_for(index):
    stored(index, [1, 2])
    assert mark(index, "1.1.2")
    assert (damage(index, "1.1.1"), damage(index, "1.1.2")) == ("", "content")
    handles = index.instances(Selection(study_instance_uids=("1",)))
    assert [h.damage for h in handles] == ["", "content"]
    held = index.held(["1.1.1", "1.1.2"])
    assert [held[uid].is_damaged for uid in ("1.1.1", "1.1.2")] == [False, True]
    assert index.statistics().damaged == 1
    [marked] = index.integrity.marked()
    assert (marked.sop_instance_uid, marked.reason, marked.found_at) == ("1.1.2", "content", 5.0)
    assert marked.key == index.instance("1.1.2").location.key
    assert index.integrity.marked(marked.id) == []


def test_marks_are_found_by_selection(index):
    stored(index, [1, 2, 3])
    stored(index, [4], study="2", series="2.1")
    for uid in ("1.1.3", "1.1.1", "2.1.4"):
        mark(index, uid)
    assert index.integrity.marked_in(Selection(study_instance_uids=("1",))) == ["1.1.1", "1.1.3"]
    assert index.integrity.marked_in(Selection(series_instance_uids=("2.1",))) == ["2.1.4"]
    assert index.integrity.marked_in(Selection(sop_instance_uids=("1.1.2",))) == []
    assert index.integrity.marked_in(Selection()) == []


def test_what_is_marked_is_marked_once_and_unmarked_once(index):
    stored(index, [1])
    assert mark(index, "1.1.1", Damage.GONE)
    assert not mark(index, "1.1.1", Damage.SIZE)
    assert damage(index, "1.1.1") == "gone"
    assert index.integrity.unmark("1.1.1")
    assert not index.integrity.unmark("1.1.1")
    assert damage(index, "1.1.1") == ""


def test_a_file_that_was_replaced_meanwhile_is_not_marked(index):
    [new] = stored(index, [1])
    seen = index.instance("1.1.1")
    index.replace(replace(new, location=replace(new.location, digest=b"\7" * 32)))
    assert not index.integrity.mark(seen, Damage.CONTENT, 5.0)
    assert damage(index, "1.1.1") == ""


def test_replacing_a_file_ends_its_mark(index):
    [new] = stored(index, [1])
    mark(index, "1.1.1")
    index.replace(new)
    assert damage(index, "1.1.1") == ""
    assert index.integrity.marked() == []


@pytest.mark.parametrize("change", ["add", "replace", "mark", "unmark"])
def test_metadata_that_were_made_from_what_there_was_before_are_not_kept(index, change):
    [new] = stored(index, [1])
    if change == "unmark":
        mark(index, "1.1.1")
    revision = index.series_revision("1", "1.1")
    if change == "add":
        stored(index, [2])
    elif change == "replace":
        index.replace(new)
    elif change == "mark":
        mark(index, "1.1.1")
    else:
        index.integrity.unmark("1.1.1")
    count = 2 if change == "add" else 1
    blob = SeriesMetadata(b"zipped", "tag", count)
    index.put_series_metadata("1", "1.1", blob, revision)
    assert index.series_metadata("1", "1.1") is None
    index.put_series_metadata("1", "1.1", blob, index.series_revision("1", "1.1"))
    assert index.series_metadata("1", "1.1") == blob


@pytest.mark.parametrize("change", ["mark", "unmark"])
def test_a_mark_and_its_end_drop_the_metadata_of_the_series(index, change):
    stored(index, [1])
    if change == "unmark":
        mark(index, "1.1.1")
    blob = SeriesMetadata(b"zipped", "tag", 1)
    index.put_series_metadata("1", "1.1", blob, index.series_revision("1", "1.1"))
    if change == "mark":
        mark(index, "1.1.1")
    else:
        index.integrity.unmark("1.1.1")
    assert index.series_metadata("1", "1.1") is None
    assert index.quiet_series(1e12) == [("1", "1.1")]


def test_a_series_that_is_not_held_has_no_revision(index):
    stored(index, [1])
    assert index.series_revision("1", "1.2") is None
    assert index.series_revision("2", "1.1") is None


def test_files_come_in_the_order_of_storing_up_to_the_last_there_was(index):
    made = stored(index, [3]) + stored(index, [1]) + stored(index, [2])
    last = index.integrity.last_id()
    stored(index, [4])
    first, second = index.integrity.filed(0, last, 2)
    [third] = index.integrity.filed(second.id, last, 2)
    assert [f.handle.location for f in (first, second, third)] == [m.location for m in made]
    assert first.handle == replace(index.instance("1.1.3"), frames=b"")
    assert index.integrity.filed(third.id, last, 2) == []


def test_an_empty_index_has_no_last_file(index):
    assert index.integrity.last_id() == 0


def test_how_far_a_scrub_has_come_is_kept_until_the_index_is_made_anew(index):
    assert index.integrity.scrub_state() is None
    index.integrity.put_scrub_state('{"a": 1}')
    index.integrity.put_scrub_state('{"a": 2}')
    assert index.integrity.scrub_state() == '{"a": 2}'
    index.clear()
    assert index.integrity.scrub_state() is None


def test_a_new_index_takes_no_damaged_file_for_the_truth(index):
    damaged, restored, lost = stored(index, [1, 2, 3])
    for uid in ("1.1.1", "1.1.2", "1.1.3"):
        mark(index, uid)
    index.clear()
    bad = replace(damaged, location=replace(damaged.location, digest=b"\7" * 32))
    index.add([bad, restored])
    assert index.integrity.settle() == [lost.instance.uid]
    assert index.instance("1.1.1").location == damaged.location
    assert (damage(index, "1.1.1"), damage(index, "1.1.2")) == ("content", "")
    index.add([lost])
    assert damage(index, "1.1.3") == ""
