"""Instances that are stored smaller than they came, on both engines."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

import index_rows
from filmroom.archive.records import Damage, Origin, Received, Selection
from filmroom.archive.shrinking import UNDONE, Rule, Spare
from filmroom.index.smaller import CLAIMED_AT_ONCE

HTJ2K = "1.2.840.10008.1.2.4.202"
EXPLICIT = "1.2.840.10008.1.2.1"


def stored(index, numbers, *, study="1", series="1.1", **more):
    return index_rows.stored(index, study, series, numbers, **more)


def received(handle):
    location = handle.location
    return Received(location.digest, location.transfer_syntax_uid, location.size_bytes)


def another(handle, name="0a0b0c0d", size=400):
    """Where its smaller file would lie."""
    key = handle.location.key.replace(".dcm", f"-{name}.dcm")
    return replace(
        handle.location,
        key=key,
        size_bytes=size,
        data_set_offset=1500,
        header_bytes=800,
        digest=name.encode() * 4,
        transfer_syntax_uid=HTJ2K,
    )


def swap(index, uid, *, intended=True, seconds=60.0, **more):
    handle = index.instance(uid)
    location = another(handle, **more)
    if intended:
        index.smaller.intend(location.key, 60)
    return index.smaller.swap(handle, location, b"frames", received(handle), seconds), handle


def test_an_instance_points_at_its_new_file_and_is_known_by_both_digests(index):
    stored(index, [1, 2])
    done, old = swap(index, "1.1.1")
    assert done
    now = index.instance("1.1.1")
    assert (now.location, now.frames) == (another(old), b"frames")
    held = index.held(["1.1.1", "1.1.2"])
    assert held["1.1.1"].is_same(old.location)
    assert held["1.1.1"].is_same(now.location)
    assert not held["1.1.1"].is_same(index.instance("1.1.2").location)
    assert held["1.1.2"].is_same(index.instance("1.1.2").location)
    many = index.held(["1.1.1", *(f"9.{n}" for n in range(200))])
    assert many["1.1.1"] == held["1.1.1"]
    assert index.statistics().size_bytes == 1400
    savings = index.smaller.savings()
    assert (savings.instances, savings.bytes_before, savings.bytes_after) == (1, 1000, 400)


def test_nothing_is_news_but_to_those_who_remember_handles(index):
    stored(index, [1])
    revision = index.series_revision("1", "1.1")
    index.settled("1", "1.1", revision, 5.0)
    events = len(index.events())
    assert swap(index, "1.1.1")[0]
    assert len(index.events()) == events
    assert index.series_revision("1", "1.1") == revision


def test_a_swap_that_comes_too_late_changes_nothing(index):
    [new] = stored(index, [1])
    handle = index.instance("1.1.1")
    assert not swap(index, "1.1.1", intended=False)[0]
    assert index.instance("1.1.1") == handle
    assert index.statistics().size_bytes == 1000
    assert swap(index, "1.1.1")[0]
    index.smaller.intend(another(handle, "0f0f0f0f").key, 60)
    late = another(handle, "0f0f0f0f")
    assert not index.smaller.swap(handle, late, b"", received(handle), 60)
    index.replace(new)
    assert index.instance("1.1.1").location == new.location
    assert not index.smaller.swap(handle, replace(late, key="other"), b"", None, 60)


def test_what_is_marked_as_damaged_is_not_swapped(index):
    stored(index, [1])
    index.integrity.mark(index.instance("1.1.1"), Damage.CONTENT, 1.0)
    assert not swap(index, "1.1.1")[0]


def test_a_replaced_instance_is_as_it_came(index):
    [new] = stored(index, [1])
    swap(index, "1.1.1")
    index.replace(new)
    assert index.smaller.savings().instances == 0
    held = index.held(["1.1.1"])["1.1.1"]
    assert held.received_digest == held.digest


def test_what_is_read_back_from_files_is_known_by_both_digests(index):
    came = Received(b"\7" * 32, EXPLICIT, 5000)
    new = replace(index_rows.an_instance(), received=came)
    index.add([new])
    held = index.held([new.instance.uid])[new.instance.uid]
    assert held.received_digest == came.digest
    assert index.smaller.savings().bytes_before == 5000
    index.replace(replace(new, received=None))
    assert index.smaller.savings().instances == 0
    index.replace(new)
    assert index.smaller.savings().bytes_before == 5000
    index.clear()
    assert index.smaller.savings().instances == 0


def test_files_go_when_their_time_is_up_and_nobody_points_at_them(index):
    stored(index, [1, 2])
    _, old = swap(index, "1.1.1", seconds=-1)
    kept = index.instance("1.1.2").location.key
    index.smaller.intend(kept, -1)
    index.smaller.intend("2026/01/02/1/1.1/1.1.9-00000000.dcm", 60)
    known = [old.location.key, index.instance("1.1.1").location.key, "2026/01/02/1/1.1/x.dcm"]
    assert index.known_keys(known) == set(known[:2])
    assert index.settled_keys(known) == set(known[:2])
    spare = Spare(old.location.key, known[1], 400)
    assert index.smaller.claim_spares() == [spare]
    assert index.smaller.claim_spares() == [spare]  # until it is said that it is gone
    index.smaller.forget_spare(old.location.key)
    assert index.smaller.claim_spares() == []
    assert index.known_keys(known) == {known[1]}
    assert index.smaller.savings().spare_files == 1


def test_a_file_that_is_being_removed_is_not_swapped_in(index):
    stored(index, [1])
    handle = index.instance("1.1.1")
    location = another(handle)
    index.smaller.intend(location.key, -1)
    assert [spare.key for spare in index.smaller.claim_spares()] == [location.key]
    assert not index.smaller.swap(handle, location, b"", received(handle), 60)
    assert index.instance("1.1.1") == handle
    assert index.smaller.savings().instances == 0


def test_candidates_come_in_the_order_of_storing(index):
    stored(index, [1, 2], received_at=1_000.0)
    stored(index, [3], series="1.2", received_at=2_000.0, Modality="MR", size_bytes=9_000)
    uids = [c.handle.sop_instance_uid for c in index.smaller.candidates(0, 10)]
    assert uids == ["1.1.1", "1.1.2", "1.2.3"]
    [first, second] = index.smaller.candidates(0, 2)
    assert (first.modality, first.received_at, first.left_alone) == ("CT", 1_000.0, "")
    [after] = index.smaller.candidates(second.id, 10)
    assert after.modality == "MR"
    in_study = index.smaller.candidates_in("1", 0, 2)
    assert [c.id for c in in_study] == [first.id, second.id]
    assert index.smaller.candidates_in("2", 0, 2) == []
    [handle] = index.instances(Selection(sop_instance_uids=("1.1.1",)))
    assert replace(first.handle, frames=handle.frames) == handle
    assert Rule(HTJ2K).wants(first)
    assert Rule(HTJ2K, older_than_seconds=500).is_old_enough(first, 1_500.0)
    assert not Rule(HTJ2K, older_than_seconds=501).is_old_enough(first, 1_500.0)
    assert not Rule(HTJ2K, modalities=("MR",)).wants(first)
    assert Rule(HTJ2K, modalities=("MR", "CT")).wants(first)
    assert not Rule(HTJ2K, sop_classes=("1.2",)).wants(first)
    assert not Rule(HTJ2K, larger_than_bytes=1_000).wants(first)
    assert Rule(HTJ2K, larger_than_bytes=1_000).wants(after)


def test_what_was_left_alone_is_counted_by_reason_until_it_is_other_content(index):
    [new, _, _] = stored(index, [1, 2, 3])
    for n, reason in ((1, "odd"), (2, "odd"), (3, "large")):
        index.smaller.leave_alone(index.instance(f"1.1.{n}"), reason)
    assert index.smaller.savings().left_alone == {"large": 1, "odd": 2}
    first, *_ = index.smaller.candidates(0, 10)
    assert first.left_alone == "odd"
    assert not Rule(HTJ2K).wants(first)
    index.replace(replace(new, location=replace(new.location, digest=b"\1" * 32)))
    assert index.smaller.savings().left_alone == {"large": 1, "odd": 1}
    swap(index, "1.1.2")
    assert index.smaller.savings().left_alone == {"large": 1}


def test_a_rule_remembers_how_far_it_has_come_until_everything_is_read_anew(index):
    assert index.smaller.after_id("a") == 0
    index.smaller.put_after_id("a", 5)
    index.smaller.put_after_id("b", 7)
    index.smaller.put_after_id("a", 6)
    assert (index.smaller.after_id("a"), index.smaller.after_id("b")) == (6, 7)
    index.clear()
    assert index.smaller.after_id("a") == 0


# -- the last copy -----------------------------------------------------------------------------
def test_a_file_that_may_be_the_last_sound_one_is_not_given_to_be_removed(index):
    stored(index, [1])
    _, old = swap(index, "1.1.1", seconds=-1)
    now = index.instance("1.1.1")
    assert index.integrity.mark(now, Damage.CONTENT, 1.0)
    assert index.smaller.claim_spares() == []
    assert index.smaller.spares_among([old.location.key]) == {old.location.key}
    index.integrity.unmark("1.1.1")
    assert index.smaller.claim_spares() == [], "it is asked again later"
    index.smaller.intend(old.location.key, -1)
    assert index.smaller.claim_spares() == [Spare(old.location.key, now.location.key, 400)]
    index.clear()
    index.smaller.intend(old.location.key, -1)
    assert index.smaller.claim_spares() == [], "no row speaks of what is held"


def test_files_that_have_to_stay_are_not_in_the_way_of_others(index):
    stored(index, [1])
    for n in range(2 * CLAIMED_AT_ONCE):
        index.smaller.intend(f"2026/01/02/9/9.1/9.1.{n}.dcm", -60)
    _, old = swap(index, "1.1.1", seconds=-1)
    assert [spare.key for spare in index.smaller.claim_spares()] == [old.location.key]


def read_back(new, **more):
    """As a reindex gives it."""
    return replace(new, origin=Origin("reindex"), **more)


def test_a_file_that_is_pointed_at_again_is_not_to_go_any_more(index):
    [new] = stored(index, [1])
    _, old = swap(index, "1.1.1", seconds=60)
    index.clear()
    assert index.smaller.spares_among([old.location.key]) == {old.location.key}
    index.add([read_back(new)])
    assert index.smaller.spares_among([old.location.key]) == set()
    _, old = swap(index, "1.1.1", seconds=60)
    index.replace(read_back(new))
    assert index.smaller.spares_among([old.location.key]) == set()


# -- what an older node does -------------------------------------------------------------------
def test_what_came_is_not_told_of_another_file_that_an_older_node_put_there(index):
    [new] = stored(index, [1])
    _, old = swap(index, "1.1.1")
    smaller = index.instance("1.1.1").location
    came = {**asdict(received(old)), "uid": "1.1.1"}
    stale = {**came, "stored_bytes": smaller.size_bytes, "stored_digest": smaller.digest}
    other = replace(new.location, digest=b"\5" * 32)
    index.replace(replace(new, location=other))
    index._transact(lambda tx: tx.rows(index._sql["put_received"], stale))  # it knows of none
    held = index.held(["1.1.1"])["1.1.1"]
    assert held.is_same(other)
    assert not held.is_same(old.location)
    assert index.smaller.savings().instances == 0


# -- made anew ---------------------------------------------------------------------------------
def test_the_old_file_of_a_damaged_new_one_is_sound_when_all_is_read_anew(index):
    [new] = stored(index, [1])
    _, old = swap(index, "1.1.1")
    index.integrity.mark(index.instance("1.1.1"), Damage.GONE, 1.0)
    index.clear()
    index.add([read_back(new)])
    assert index.integrity.settle() == []
    now = index.instance("1.1.1")
    assert (now.location, now.damage) == (old.location, "")


@pytest.mark.parametrize("has_record", [True, False])
def test_what_a_damaged_new_file_came_as_is_known_when_all_is_read_anew(index, has_record):
    [new] = stored(index, [1])
    _, old = swap(index, "1.1.1")
    now = index.instance("1.1.1")
    index.integrity.mark(now, Damage.CONTENT, 1.0)
    index.clear()
    rotten = replace(now.location, digest=b"\6" * 32)
    came = received(old) if has_record else None
    index.add([read_back(new, location=rotten, received=came)])
    assert index.integrity.settle() == []
    assert index.instance("1.1.1") == replace(now, damage=Damage.CONTENT.value, frames=b"")
    held = index.held(["1.1.1"])["1.1.1"]
    assert held.is_same(old.location)
    assert held.is_same(now.location)
    assert not held.is_same(rotten)


def test_what_was_undone_by_hand_is_left_alone_when_all_is_read_anew(index):
    new = stored(index, [1, 2])
    index.smaller.leave_alone(index.instance("1.1.1"), UNDONE)
    index.smaller.leave_alone(index.instance("1.1.2"), "odd")
    index.clear()
    index.add([read_back(each) for each in new])
    assert [c.left_alone for c in index.smaller.candidates(0, 10)] == [UNDONE, ""]
