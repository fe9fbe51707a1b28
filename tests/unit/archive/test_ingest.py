"""The one door in: success means bytes and rows are on disk, as received."""

from __future__ import annotations

import asyncio

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from filmroom.archive.access import SYSTEM
from filmroom.archive.committer import Duplicates
from filmroom.archive.errors import Conflict, Damaged, Unavailable, Unintelligible
from filmroom.archive.records import Origin, Outcome
from filmroom.index.queries import open_index
from instances import a_data_set, an_instance, data_set_bytes, part10

ORIGIN = Origin("dimse", "MODALITY", "127.0.0.1", "FILMROOM")


async def put(room, file: bytes, *, piece=4096, **options):
    intake = room.archive.ingest.open_file(ORIGIN, **options)
    for at in range(0, len(file), piece):
        intake.write(file[at : at + piece])
    return await intake.commit()


async def test_success_means_file_and_row(room):
    file = an_instance()
    stored = await put(room, file)
    assert stored.outcome is Outcome.NEW
    other = open_index(f"sqlite:///{room.folder}/index.sqlite")  # what another process sees
    handle = other.instance(stored.sop_instance_uid)
    other.close()
    path = room.folder / "store" / handle.location.key
    assert path.read_bytes()[handle.location.data_set_offset :] == data_set_bytes(file)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
async def test_the_data_set_is_kept_byte_for_byte_in_its_transfer_syntax(room, syntax):
    ds = a_data_set()
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = bytes(len(ds.PixelData))
    file = part10(ds, syntax)
    stored = await put(room, file)
    handle = await room.retriever.instance(SYSTEM, None, None, stored.sop_instance_uid)
    with room.retriever.open(handle) as opened:
        kept = opened.read(opened.data_set_offset, 1 << 20)
    assert kept == data_set_bytes(file)
    assert handle.location.transfer_syntax_uid == syntax
    assert len(room.retriever.frame(handle, 0)) == 16 * 16 * 2


@pytest.mark.parametrize("piece", [1, 7, 131, 132, 133, 1 << 20])
async def test_a_file_may_arrive_in_pieces_of_any_size(room, piece):
    assert (await put(room, an_instance(), piece=piece)).outcome is Outcome.NEW


async def test_a_data_set_without_a_meta_header_is_received_too(room):
    file = an_instance()
    intake = room.archive.ingest.open(ORIGIN, ExplicitVRLittleEndian)
    intake.write(data_set_bytes(file))
    assert (await intake.commit()).outcome is Outcome.NEW


async def test_the_same_bytes_again_are_a_success_and_one_copy(room):
    file = an_instance()
    await put(room, file)
    assert (await put(room, file)).outcome is Outcome.SAME
    assert len(room.files()) == 1


async def test_the_same_instance_ten_times_at_once_is_one_copy_and_ten_successes(room):
    file = an_instance()
    outcomes = [s.outcome for s in await asyncio.gather(*(put(room, file) for _ in range(10)))]
    assert sorted(outcomes) == [Outcome.NEW] + [Outcome.SAME] * 9
    assert len(room.files()) == 1


async def test_other_bytes_under_the_same_uid_are_quarantined_and_the_first_kept(room):
    ds = a_data_set()
    stored = await put(room, part10(ds))
    ds.PatientName = "Somebody^Else"
    assert (await put(room, part10(ds))).outcome is Outcome.KEPT_FIRST
    handle = room.index.instance(stored.sop_instance_uid)
    assert b"Hopper" in room.retriever.header(handle)
    assert [q.sop_instance_uid for q in room.index.quarantined()] == [ds.SOPInstanceUID]
    assert len(room.quarantined()) == 1


async def test_policy_replace_files_the_second_and_quarantines_the_first(make_archive):
    room = make_archive(duplicates=Duplicates.REPLACE)
    ds = a_data_set()
    await put(room, part10(ds))
    ds.ImageComments = "better"
    stored = await put(room, part10(ds))
    assert stored.outcome is Outcome.REPLACED
    assert b"better" in room.retriever.header(room.index.instance(stored.sop_instance_uid))
    assert len(room.files()) == len(room.quarantined()) == 1


async def test_policy_refuse_answers_a_conflict(make_archive):
    room = make_archive(duplicates=Duplicates.REFUSE)
    ds = a_data_set()
    await put(room, part10(ds))
    ds.ImageComments = "other"
    with pytest.raises(Conflict):
        await put(room, part10(ds))


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
async def test_a_truncated_file_is_refused_and_quarantined(room, keep):
    file = an_instance()
    with pytest.raises(Unintelligible):
        await put(room, file[: int(len(file) * keep)])
    assert room.files() == []
    assert len(room.quarantined()) == 1


@pytest.mark.parametrize(
    "attributes",
    [
        {"SOPInstanceUID": "../../../etc/passwd"},
        {"SOPInstanceUID": "1." + "2" * 90},
        {"StudyInstanceUID": ["1.2", "1.3"]},
        {"SeriesInstanceUID": None},
        {"StudyInstanceUID": "1.2\x001"},
    ],
)
@pytest.mark.filterwarnings("ignore")
async def test_an_identity_that_is_no_uid_is_refused_and_quarantined(room, attributes):
    ds = a_data_set()
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            ds[keyword]._value = value
    data = data_set_bytes(part10(ds))
    intake = room.archive.ingest.open(ORIGIN, ExplicitVRLittleEndian)
    intake.write(data)
    with pytest.raises(Unintelligible):
        await intake.commit()
    assert room.files() == []
    assert len(room.quarantined()) == 1


async def test_noise_is_refused_and_kept_for_the_operator(room):
    with pytest.raises(Unintelligible):
        await put(room, b"GET / HTTP/1.1\r\n" * 500)
    assert room.quarantined()[0].stat().st_size == 8000


async def test_a_flood_of_rubbish_does_not_fill_the_disk(room):
    for _ in range(3):
        with pytest.raises(Unintelligible):
            await put(room, b"\0" * 600_000)
    assert len(room.quarantined()) == 1  # the second would not fit into the room of 1 MiB


@pytest.mark.parametrize("keyword", ["sop_class_uid", "sop_instance_uid", "study_instance_uid"])
async def test_a_data_set_other_than_announced_is_a_conflict(room, keyword):
    intake = room.archive.ingest.open(ORIGIN, ExplicitVRLittleEndian, **{keyword: "1.2.3"})
    intake.write(data_set_bytes(an_instance()))
    with pytest.raises(Conflict):
        await intake.commit()


async def test_a_file_whose_meta_header_is_out_of_date_is_filed_by_its_data_set(room):
    ds = a_data_set()
    file = part10(ds).replace(str(ds.SOPInstanceUID).encode(), b"1.2.3", 1)
    meta_length = int.from_bytes(file[140:144], "little")
    shorter = meta_length - len(ds.SOPInstanceUID) - len(ds.SOPInstanceUID) % 2 + 6
    at = file.index(b"1.2.3")
    rest = file[at + 5 :].removeprefix(b"\0")
    file = file[: at - 2] + b"\x06\0" + b"1.2.3\0" + rest
    file = file[:140] + shorter.to_bytes(4, "little") + file[144:]
    stored = await put(room, file)
    assert stored.sop_instance_uid == ds.SOPInstanceUID


async def test_a_header_longer_than_the_head_is_read_back_from_disk(room):
    ds = a_data_set(ImageComments="x" * 10_000)
    block = ds.private_block(0x0009, "LONG", create=True)
    block.add_new(1, "OB", bytes(200_000))
    stored = await put(room, part10(ds))
    handle = room.index.instance(stored.sop_instance_uid)
    assert handle.location.header_bytes > 200_000
    assert len(room.retriever.frame(handle, 0)) == 512


async def test_an_abandoned_intake_leaves_nothing(room):
    intake = room.archive.ingest.open_file(ORIGIN)
    intake.write(an_instance()[:1000])
    intake.abandon()
    intake.abandon()
    assert room.files() == [] == list((room.folder / "tmp").iterdir())


async def test_a_failing_index_is_told_and_leaves_no_file(room, monkeypatch):
    def failing(batch):
        raise Unavailable("database is gone")

    file = an_instance()
    with monkeypatch.context() as patched:
        patched.setattr(room.index, "add", failing)
        with pytest.raises(Unavailable, match="database is gone"):
            await put(room, file)
    assert room.files() == []
    assert (await put(room, file)).outcome is Outcome.NEW


async def test_a_bug_in_the_index_is_told_to_the_sender_and_the_committer_lives_on(
    room, monkeypatch
):
    def broken(uids):
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(room.index, "held", broken)
        with pytest.raises(Unavailable):
            await put(room, an_instance())
    assert (await put(room, an_instance())).outcome is Outcome.NEW


async def test_a_file_without_a_row_is_replaced_since_nobody_was_told_of_it(room):
    ds = a_data_set()
    key = room.blobs.key_for(
        room.clock.now(), ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID
    )
    orphan = room.blobs.stage()
    orphan.write(b"half")
    room.blobs.seal([(orphan, key)])
    assert (await put(room, part10(ds))).outcome is Outcome.NEW
    assert room.blobs.read(key, 128, 4) == b"DICM"


async def test_a_lost_file_is_healed_by_the_same_bytes(room):
    file = an_instance()
    stored = await put(room, file)
    room.files()[0].unlink()
    handle = room.index.instance(stored.sop_instance_uid)
    with pytest.raises(Damaged):
        room.retriever.open(handle)
    assert (await put(room, file)).outcome is Outcome.SAME
    room.retriever.open(handle).close()


async def test_one_bad_instance_in_a_batch_harms_no_other(room):
    good, bad = a_data_set(), a_data_set()
    await put(room, part10(good))
    bad.SeriesInstanceUID = good.SeriesInstanceUID  # a series under two studies
    answers = await asyncio.gather(
        put(room, part10(bad)),
        *(put(room, an_instance()) for _ in range(5)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], Conflict)
    assert [s.outcome for s in answers[1:]] == [Outcome.NEW] * 5


async def test_patients_without_an_id_are_not_taken_for_one_another(room):
    first, second = a_data_set(PatientID=""), a_data_set(PatientID="", PatientName="Other^One")
    await put(room, part10(first))
    await put(room, part10(second))
    assert room.index.statistics().patients == 2
