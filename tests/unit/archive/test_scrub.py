"""Every stored file is read again; what is damaged is found, not served, and put right."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from filmroom.archive import scrub as scrub_module
from filmroom.archive.access import SYSTEM
from filmroom.archive.errors import Damaged, Unavailable, Unintelligible
from filmroom.archive.records import Origin, Outcome
from filmroom.archive.reindex import reindex
from filmroom.archive.scrub import Events, Scrub
from filmroom.archive.soundness import Pace, Stopped
from filmroom.blobs.upkeep import open_copy, turn
from instances import a_data_set, part10

MODALITY = Origin("dimse", "MODALITY", "127.0.0.1", "FILMROOM")
PROGRAM = Origin("import", "a longer name, and so a longer meta header")


async def put(room, file, origin=PROGRAM):
    intake = room.archive.ingest.open_file(origin)
    intake.write(file)
    return await intake.commit()


async def filled(room, count):
    """`count` instances of one series; UID -> file as it was sent."""
    sent = {}
    for number in range(count):
        ds = a_data_set(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", seed=number)
        ds.SOPInstanceUID = f"1.2.3.{number}"
        sent[ds.SOPInstanceUID] = part10(ds)
        await put(room, sent[ds.SOPInstanceUID])
    return sent


def path_of(room, uid):
    return room.folder / "store" / room.index.instance(uid).location.key


def flip(path, at):
    """Change one bit, and leave size and times as they were."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class Told(Events):
    def __init__(self, room):
        self.room = room
        self.reasons = []

    def found(self, damage):
        self.reasons.append(damage.value)

    def changed(self, sop_instance_uid):
        self.room.retriever.forget(sop_instance_uid)


def scrub_of(room, **options):
    options = {"quarantine_max_bytes": 1 << 20, "events": Told(room)} | options
    pace = options.pop("pace", Pace(0))
    work = Scrub(room.index, room.blobs, room.clock, pace, **options)
    work.search._wait = lambda seconds: None
    return work


def scrubbed(room, *, putting_right=False, **options):
    """A whole pass."""
    work = scrub_of(room, **options)
    progress = work.begin()
    work.look_again(progress)
    return work.run(progress, putting_right=putting_right)


async def is_served(room, uid):
    try:
        handle = await room.retriever.instance(SYSTEM, None, None, uid)
        room.retriever.open(handle).close()
        room.retriever.header(handle)
        room.retriever.frame(handle, 0)
    except Damaged:
        return False
    return True


DATA_SET = -1  # the last byte
PATIENT = 700  # somewhere in the header of the data set


@pytest.mark.parametrize("at", [DATA_SET, PATIENT])
async def test_one_flipped_bit_is_found_and_that_instance_alone_is_refused(room, at):
    sent = await filled(room, 20)
    assert all([await is_served(room, uid) for uid in sent])
    flip(path_of(room, "1.2.3.7"), at)
    report = scrubbed(room)
    assert not report.is_sound
    assert [mark["sop_instance_uid"] for mark in report.damaged] == ["1.2.3.7"]
    assert (report.progress.instances, report.progress.damaged) == (20, 1)
    assert [uid for uid in sent if not await is_served(room, uid)] == ["1.2.3.7"]


async def test_a_store_without_fault_is_said_to_be_sound(room):
    await filled(room, 3)
    report = scrubbed(room)
    assert report.is_sound
    assert report.progress.instances == 3
    assert report.progress.size_bytes == sum(path.stat().st_size for path in room.files())


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: path.unlink(), "gone"),
        (lambda path: os.truncate(path, path.stat().st_size - 1), "size"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "size"),
        (lambda path: flip(path, DATA_SET), "content"),
        (lambda path: flip(path, 130), "header"),  # of "DICM"
        (lambda path: flip(path, 5), "header"),  # of the preamble
    ],
)
async def test_every_kind_of_damage_is_called_by_its_name(room, harm, reason):
    await filled(room, 2)
    harm(path_of(room, "1.2.3.0"))
    told = Told(room)
    scrubbed(room, events=told)
    assert told.reasons == [reason]
    assert [mark.reason for mark in room.index.integrity.marked()] == [reason]


async def test_the_meta_header_must_name_the_instance(room):
    await filled(room, 1)
    path = path_of(room, "1.2.3.0")
    at = path.read_bytes().index(b"1.2.3.0") + 6
    flip(path, at)
    assert [mark["reason"] for mark in scrubbed(room).damaged] == ["header"]


async def test_a_deflated_file_is_compared_as_it_lies(room):
    ds = a_data_set()
    await put(room, part10(ds, DeflatedExplicitVRLittleEndian))
    assert scrubbed(room).is_sound


async def test_what_is_found_is_said_once(room, caplog):
    await filled(room, 2)
    flip(path_of(room, "1.2.3.0"), DATA_SET)
    with caplog.at_level(logging.ERROR):
        scrubbed(room)
        scrubbed(room)
    assert len([r for r in caplog.records if "damaged" in r.message]) == 1


# -- healing -------------------------------------------------------------------------------------
@pytest.mark.parametrize("origin", [PROGRAM, MODALITY])
async def test_a_damaged_instance_that_is_sent_again_is_served_again(room, origin):
    sent = await filled(room, 3)
    flip(path_of(room, "1.2.3.1"), DATA_SET)
    damaged = path_of(room, "1.2.3.1").read_bytes()
    scrubbed(room)
    assert (await put(room, sent["1.2.3.1"], origin)).outcome is Outcome.SAME
    assert await is_served(room, "1.2.3.1")
    assert scrubbed(room).is_sound
    [kept] = room.quarantined()
    assert kept.read_bytes() == damaged
    [entry] = room.index.quarantined()
    assert "damaged" in entry.reason
    assert len(room.files()) == 3


async def test_other_bytes_do_not_take_the_place_of_a_damaged_file(room):
    await filled(room, 1)
    flip(path_of(room, "1.2.3.0"), DATA_SET)
    scrubbed(room)
    other = a_data_set(
        StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.0", seed=9
    )
    assert (await put(room, part10(other))).outcome is Outcome.KEPT_FIRST
    assert not await is_served(room, "1.2.3.0")


async def test_a_file_put_right_by_hand_is_served_again(room):
    await filled(room, 2)
    path = path_of(room, "1.2.3.1")
    flip(path, DATA_SET)
    scrubbed(room)
    flip(path, DATA_SET)
    report = scrubbed(room)
    assert report.is_sound
    assert report.progress.sound_again == 1
    assert await is_served(room, "1.2.3.1")


async def test_metadata_leave_out_what_is_damaged_and_say_so(room):
    await filled(room, 3)
    whole = await room.retriever.metadata(SYSTEM, "1.2", "1.2.3", None)
    assert (len(json.loads(whole.body)), whole.left_out) == (3, 0)
    flip(path_of(room, "1.2.3.1"), PATIENT)
    scrubbed(room)
    for series in ("1.2.3", None):
        found = await room.retriever.metadata(SYSTEM, "1.2", series, None)
        uids = [each["00080018"]["Value"][0] for each in json.loads(found.body)]
        assert (sorted(uids), found.left_out) == (["1.2.3.0", "1.2.3.2"], 1)
        assert found.etag != whole.etag
    with pytest.raises(Damaged):
        await room.retriever.metadata(SYSTEM, "1.2", "1.2.3", "1.2.3.1")


async def test_metadata_of_nothing_but_damaged_files_are_refused(room):
    await filled(room, 1)
    flip(path_of(room, "1.2.3.0"), PATIENT)
    scrubbed(room)
    for series in ("1.2.3", None):
        with pytest.raises(Damaged):
            await room.retriever.metadata(SYSTEM, "1.2", series, None)


async def test_metadata_made_while_a_file_was_replaced_are_not_kept(room, monkeypatch):
    sent = await filled(room, 2)
    header = room.retriever.shelf._header

    def slowly(handle):
        handle, found = header(handle)
        found = bytes(found)
        [new] = [n for n in replaced if n.instance.uid == handle.sop_instance_uid] or [None]
        if new is not None:
            room.index.replace(new)  # by the committer, at this instant
        return handle, found

    replaced = []
    keep = room.index.replace
    monkeypatch.setattr(room.index, "replace", lambda new: (replaced.append(new), keep(new)))
    path_of(room, "1.2.3.0").unlink()
    await put(room, sent["1.2.3.0"])
    monkeypatch.setattr(room.index, "replace", keep)
    monkeypatch.setattr(room.retriever.shelf, "_header", slowly)
    room.retriever.shelf.make("1.2", "1.2.3")
    assert len(replaced) == 1
    assert room.index.series_metadata("1.2", "1.2.3") is None


# -- the second copy -------------------------------------------------------------------------
@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "copy"
    (folder / "store").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("harm", [lambda path: flip(path, DATA_SET), lambda path: path.unlink()])
async def test_a_damaged_file_is_made_anew_from_the_second_copy(room, copy, harm):
    await filled(room, 3)
    shutil.copytree(room.folder / "store", copy / "store", dirs_exist_ok=True)
    path = path_of(room, "1.2.3.1")
    whole = path.read_bytes()
    harm(path)
    was_there = path.exists()
    report = scrubbed(room, open_copy=lambda: open_copy(copy))
    assert report.is_sound
    assert (report.progress.damaged, report.progress.repaired) == (1, 1)
    assert path.read_bytes() == whole
    assert await is_served(room, "1.2.3.1")
    assert len(room.quarantined()) == len(room.index.quarantined()) == was_there


async def test_a_copy_that_is_damaged_too_repairs_nothing(room, copy):
    await filled(room, 1)
    flip(path_of(room, "1.2.3.0"), DATA_SET)
    shutil.copytree(room.folder / "store", copy / "store", dirs_exist_ok=True)
    report = scrubbed(room, open_copy=lambda: open_copy(copy))
    assert (report.damaged_count, report.progress.repaired) == (1, 0)
    assert room.quarantined() == []
    assert path_of(room, "1.2.3.0").exists()


async def test_what_was_damaged_is_repaired_once_the_copy_is_there(room, copy):
    await filled(room, 2)
    shutil.copytree(room.folder / "store", copy / "store", dirs_exist_ok=True)
    flip(path_of(room, "1.2.3.0"), DATA_SET)
    (copy / "store").rename(copy / "away")
    report = scrubbed(room, open_copy=lambda: open_copy(copy))
    assert (report.copy, report.damaged_count) == ("away", 1)
    (copy / "away").rename(copy / "store")
    report = scrubbed(room, open_copy=lambda: open_copy(copy))
    assert (report.is_sound, report.progress.repaired) == (True, 1)


async def test_a_disk_that_is_not_mounted_is_not_taken_for_an_empty_copy(room, tmp_path):
    await filled(room, 1)
    (tmp_path / "copy").mkdir()
    report = scrubbed(room, open_copy=lambda: open_copy(tmp_path / "copy"), filling_copy=True)
    assert (report.copy, report.is_sound) == ("away", False)
    assert list((tmp_path / "copy").iterdir()) == []


async def test_what_the_copy_lacks_is_counted_and_written_when_told(room, copy):
    await filled(room, 3)
    opened = {"open_copy": lambda: open_copy(copy)}
    report = scrubbed(room, **opened)
    assert (report.progress.copy_lacks, report.progress.copied) == (3, 0)
    report = scrubbed(room, **opened, filling_copy=True)
    assert (report.progress.copy_lacks, report.progress.copied) == (0, 3)
    for path in room.files():
        assert (copy / path.relative_to(room.folder)).read_bytes() == path.read_bytes()
    assert scrubbed(room, **opened).progress.copy_lacks == 0


async def test_damage_in_the_copy_is_found_and_written_over_when_it_is_filled(room, copy):
    await filled(room, 2)
    shutil.copytree(room.folder / "store", copy / "store", dirs_exist_ok=True)
    path = path_of(room, "1.2.3.1")
    flip(copy / path.relative_to(room.folder), DATA_SET)
    report = scrubbed(room, open_copy=lambda: open_copy(copy), filling_copy=True)
    assert report.progress.copied == 1
    assert (copy / path.relative_to(room.folder)).read_bytes() == path.read_bytes()


async def test_a_damaged_file_never_gets_into_the_copy(room, copy):
    await filled(room, 2)
    flip(path_of(room, "1.2.3.1"), DATA_SET)
    scrubbed(room, open_copy=lambda: open_copy(copy), filling_copy=True)
    assert [path.name for path in copy.rglob("*.dcm")] == ["1.2.3.0.dcm"]


# -- strays ----------------------------------------------------------------------------------
async def test_a_file_without_a_row_is_listed_and_adopted_when_told(room):
    await filled(room, 2)
    content = part10(a_data_set(SOPInstanceUID="9.9.9", SeriesInstanceUID="9.9"))
    stray = path_of(room, "1.2.3.1").with_name("9.9.9.dcm")
    stray.write_bytes(content)
    key = str(stray.relative_to(room.folder / "store"))
    report = scrubbed(room)
    assert (report.strays.files, report.is_sound) == ([key], False)
    report = scrubbed(room, putting_right=True)
    assert (report.strays.file_count, report.strays.adopted) == (0, 1)
    assert report.is_sound
    assert await is_served(room, "9.9.9")


async def test_what_cannot_be_adopted_stays_listed(room):
    await filled(room, 1)
    path_of(room, "1.2.3.0").with_name("9.9.9.dcm").write_bytes(b"rubbish")
    report = scrubbed(room, putting_right=True)
    assert (report.strays.file_count, report.strays.adopted) == (1, 0)


async def test_a_file_whose_row_comes_this_instant_is_no_stray(room, monkeypatch):
    ds = a_data_set()
    known = room.index.known_keys
    monkeypatch.setattr(room.index, "known_keys", lambda keys: set())  # not yet
    await put(room, part10(ds))
    work = scrub_of(room)
    waited = []

    def wait(seconds):
        waited.append(seconds)
        monkeypatch.setattr(room.index, "known_keys", known)  # the row has come

    work.search._wait = wait
    room.clock.time = os.stat(room.files()[0]).st_mtime + 3
    report = work.run(work.begin())
    assert report.strays.files == []
    assert waited == [pytest.approx(7, abs=0.1)]


async def test_quarantined_files_and_entries_without_partner_are_put_right_when_told(room):
    for number in range(2):
        with pytest.raises(Unintelligible):
            await put(room, b"rubbish" * (number + 1))
    first, second = room.index.quarantined()
    (room.folder / "quarantine" / first.key).unlink()
    room.index.forget_quarantined(second.id)
    report = scrubbed(room)
    assert report.strays.quarantine_entries == [first.id]
    assert report.strays.quarantined_files == [second.key]
    assert not report.is_sound
    report = scrubbed(room, putting_right=True)
    assert (report.strays.count, report.strays.adopted, report.is_sound) == (0, 2, True)
    [entry] = room.index.quarantined()
    assert (entry.key, entry.size_bytes) == (second.key, second.size_bytes)


# -- a pass that is stopped, slow, or in trouble ---------------------------------------------
class Killed(BaseException):
    """kill -9."""


async def test_a_pass_that_was_killed_goes_on_where_it_was(room, monkeypatch):
    await filled(room, 10)
    monkeypatch.setattr(scrub_module, "SAVE_SECONDS", 0)
    flip(path_of(room, "1.2.3.2"), DATA_SET)
    flip(path_of(room, "1.2.3.8"), DATA_SET)
    work = scrub_of(room)

    def told(progress):
        if progress.instances == 6:
            monkeypatch.setattr(work, "save", lambda progress: None)  # it is dead
            raise Killed

    with pytest.raises(Killed):
        work.run(work.begin(), told=told)
    told_of = Told(room)
    work = scrub_of(room, events=told_of)
    progress = work.begin()
    assert progress.instances == 5
    report = work.run(progress)
    assert (report.progress.instances, report.progress.damaged) == (10, 2)
    assert told_of.reasons == ["content"]  # the other was found before
    assert work.begin().instances == 0  # and now from the beginning


async def test_a_pass_can_be_begun_anew(room):
    await filled(room, 4)
    work = scrub_of(room)
    progress = work.begin()
    assert work.run(progress, stopped=lambda: progress.instances == 2) is None
    assert work.begin().instances == 2
    assert work.begin(anew=True).instances == 0


async def test_what_comes_during_a_pass_is_for_the_next(room):
    await filled(room, 2)
    work = scrub_of(room)
    progress = work.begin()
    await put(room, part10(a_data_set()))
    assert work.run(progress).progress.instances == 2


async def test_no_more_is_read_in_a_second_than_allowed(room):
    sent = await filled(room, 5)
    time = [100.0]

    def sleep(seconds):
        time[0] += seconds

    rate = 1000
    pace = Pace(rate, now=lambda: time[0], sleep=sleep)
    report = scrubbed(room, pace=pace)
    data_sets = sum(room.index.instance(uid).location.size_bytes for uid in sent) - sum(
        room.index.instance(uid).location.data_set_offset for uid in sent
    )
    assert report.progress.instances == 5
    assert time[0] - 100 == pytest.approx(data_sets / rate)


def test_time_that_was_not_used_is_not_made_up_for():
    time = [0.0]
    slept = []
    pace = Pace(100, now=lambda: time[0], sleep=slept.append)
    time[0] = 1000.0
    pace.spend(50)
    assert slept == [0.5]


async def test_a_pass_is_stopped_in_the_middle_of_a_file(room):
    await filled(room, 2)

    def sleep(seconds):
        raise Stopped

    work = scrub_of(room, pace=Pace(1, sleep=sleep))
    assert work.run(work.begin()) is None
    assert work.begin().instances == 0


async def test_a_disk_that_is_gone_is_not_taken_for_lost_files(room, monkeypatch):
    await filled(room, 5)
    shutil.rmtree(room.folder / "store")
    monkeypatch.setattr(scrub_module, "GIVE_UP_AFTER", 3)
    with pytest.raises(Unavailable, match="is the disk mounted"):
        scrubbed(room)
    assert room.index.statistics().damaged == 2


async def test_a_machine_out_of_descriptors_damages_nothing(room, monkeypatch):
    await filled(room, 1)

    def none_left(key, **options):
        raise Unavailable("storage failed") from OSError(24, "Too many open files")

    monkeypatch.setattr(room.blobs, "open", none_left)
    with pytest.raises(Unavailable):
        scrubbed(room)
    assert room.index.statistics().damaged == 0


async def test_a_file_that_reads_rightly_the_second_time_is_not_marked(room, monkeypatch, caplog):
    await filled(room, 1)
    looks = iter(["content", None, None])
    real = scrub_module.damage_of

    def unsteady(blobs, handle, pace):
        return next(looks) and scrub_module.Damage.CONTENT

    monkeypatch.setattr(scrub_module, "damage_of", unsteady)
    report = scrubbed(room)
    monkeypatch.setattr(scrub_module, "damage_of", real)
    assert report.is_sound
    assert "same twice" in caplog.text


def test_only_one_at_a_time_looks_after_the_files(tmp_path):
    with turn(tmp_path) as first, turn(tmp_path) as second:
        assert (first, second) == (True, False)
    with turn(tmp_path) as third:
        assert third


# -- the index made anew -----------------------------------------------------------------------
async def test_a_damaged_file_stays_damaged_when_the_index_is_made_anew(room):
    sent = await filled(room, 3)
    before = {uid: room.index.instance(uid) for uid in sent}
    flip(path_of(room, "1.2.3.1"), DATA_SET)
    scrubbed(room)
    report = reindex(room.index, room.blobs)
    assert (report.added, report.lost) == (3, 0)
    after = {uid: replace(room.index.instance(uid), damage="") for uid in sent}
    assert after == before
    assert not await is_served(room, "1.2.3.1")
    await put(room, sent["1.2.3.1"])
    assert await is_served(room, "1.2.3.1")


async def test_a_healed_archive_has_an_index_that_can_be_made_anew(room):
    sent = await filled(room, 3)
    flip(path_of(room, "1.2.3.1"), DATA_SET)
    scrubbed(room)
    await put(room, sent["1.2.3.1"])
    before = {uid: room.index.instance(uid) for uid in sent}
    reindex(room.index, room.blobs)
    assert {uid: room.index.instance(uid) for uid in sent} == before
    assert scrubbed(room).is_sound
