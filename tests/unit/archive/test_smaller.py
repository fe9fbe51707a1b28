"""archive/smaller.py, swapping.py, received.py: what is stored smaller comes back byte for byte."""

from __future__ import annotations

import hashlib
import io
import os

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from filmroom.archive import convert
from filmroom.archive.access import SYSTEM
from filmroom.archive.committer import Duplicates
from filmroom.archive.errors import ArchiveError, Damaged, Unavailable, Unintelligible
from filmroom.archive.metadata import header_json
from filmroom.archive.received import Record, difference, record_in
from filmroom.archive.records import Damage, Origin, Outcome, Received, Selection
from filmroom.archive.reindex import adopt, reindex
from filmroom.archive.scrub import Scrub
from filmroom.archive.smaller import LeftAlone, Shrinker
from filmroom.archive.soundness import Pace, damage_of
from filmroom.archive.swapping import Swapper
from filmroom.pixel.transcode import transcode_frame
from instances import a_data_set, a_smooth_image, data_set_bytes, part10
from packaged import packaged_files

HTJ2K = "1.2.840.10008.1.2.4.202"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
FORMS = (HTJ2K, JPEG_LS, J2K)


class InlinePool:
    async def run(self, function, /, *args, **kwargs):
        return function(*args, **kwargs)


async def stored(room, file):
    intake = room.archive.ingest.open_file(Origin("dimse", "SCANNER"))
    intake.write(file)
    return await intake.commit()


async def handle_of(room, uid):
    room.retriever.forget(uid)
    return await room.retriever.instance(SYSTEM, None, None, uid)


def _keys(room):
    return list(room.blobs.keys())


def shrinker(room):
    return Shrinker(room.blobs, InlinePool(), transcode_frame)


async def shrunk(room, uid, syntax=HTJ2K, **more):
    """Store one smaller; its handle now."""
    handle = await handle_of(room, uid)
    made = await shrinker(room).smaller(handle, syntax, **more)
    swapper = Swapper(room.index, room.blobs, 60.0)
    assert swapper.swap(handle, room.clock.now(), made)
    return await handle_of(room, uid)


async def as_it_came(room, handle, syntax):
    pieces = convert.data_set_as(room.retriever, InlinePool(), handle, syntax)
    return b"".join([piece async for piece in pieces])


async def there_and_back(room, file, form):
    """Stored, made smaller, and what is given then in the first transfer syntax."""
    uid = (await stored(room, file)).sop_instance_uid
    before = await handle_of(room, uid)
    described = await room.retriever.metadata(SYSTEM, *_place(before), uid)
    handle = await shrunk(room, uid, form)
    assert handle.location.transfer_syntax_uid == form
    assert handle.location.size_bytes < before.location.size_bytes
    assert handle.etag != before.etag
    assert damage_of(room.blobs, handle, Pace(0)) is None
    now = await room.retriever.metadata(SYSTEM, *_place(handle), uid)
    assert now.body == described.body
    return handle, await as_it_came(room, handle, before.location.transfer_syntax_uid)


def _place(handle):
    return handle.study_instance_uid, handle.series_instance_uid


SHAPES = {
    "8 of 8": {"bits": 8, "allocated": 8},
    "8 of 8, signed": {"bits": 8, "allocated": 8, "signed": True},
    "10 of 16": {"bits": 10},
    "12 of 16": {"bits": 12},
    "12 of 16, signed": {"bits": 12, "signed": True},
    "14 of 16": {"bits": 14},
    "16 of 16": {"bits": 16},
    "16 of 16, signed": {"bits": 16, "signed": True},
    "RGB": {"bits": 8, "allocated": 8, "samples": 3},
    "YBR_FULL": {"bits": 8, "allocated": 8, "samples": 3, "photometric": "YBR_FULL"},
    "palette": {"bits": 8, "allocated": 8, "photometric": "PALETTE COLOR"},
    "MONOCHROME1": {"bits": 12, "photometric": "MONOCHROME1"},
    "frames": {"bits": 12, "frames": 5},
    "frames of odd length": {"bits": 8, "allocated": 8, "rows": 33, "columns": 35, "frames": 3},
    "an odd length": {"bits": 8, "allocated": 8, "rows": 63, "columns": 47},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_what_is_stored_smaller_comes_back_byte_for_byte(room, shape, syntax, form):
    file = part10(a_smooth_image(**shape), syntax)
    handle, back = await there_and_back(room, file, form)
    assert back == data_set_bytes(file)
    content = b"".join(
        [p async for p in _pieces_of(room, handle)]
    )  # what everybody else is given is a file that a peer can read
    peer = pydicom.dcmread(io.BytesIO(content))
    assert peer.file_meta.TransferSyntaxUID == form
    if form != JPEG_LS and not (form == HTJ2K and shape.get("signed")):
        ours = pydicom.dcmread(io.BytesIO(file))
        assert (np.asarray(peer.pixel_array) == ours.pixel_array).all() or peer.SamplesPerPixel == 3


async def _pieces_of(room, handle):
    with room.retriever.open(handle) as file:
        yield file.read(0, file.size_bytes)


def a_strange_header():
    """What a header written anew would not keep: lengths, private elements, order, padding."""
    ds = a_smooth_image()
    item = Dataset()
    item.CodeValue = "odd"
    ds.ProcedureCodeSequence = Sequence([item])
    ds.ProcedureCodeSequence.is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    ds.add_new(0x00090010, "LO", "MAKER")
    ds.add_new(0x00091001, "UN", b"\1\2\3\4" * 5000)
    ds.add_new(0x00291010, "OB", os.urandom(6000))
    return ds


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
async def test_a_header_that_nobody_would_write_again_so_comes_back_byte_for_byte(room, syntax):
    file = part10(a_strange_header(), syntax)
    handle, back = await there_and_back(room, file, HTJ2K)
    assert back == data_set_bytes(file)
    assert handle.location.data_set_offset < 20_000


@pytest.mark.parametrize(
    "end", [b"\xfc\xff\xfc\xff" + b"OB\0\0" + b"\x40\0\0\0" + bytes(64), bytes(70)]
)
async def test_what_follows_the_pixels_comes_back(room, end):
    file = part10(a_smooth_image()) + end
    _, back = await there_and_back(room, file, HTJ2K)
    assert back == data_set_bytes(file)


async def test_more_pixels_than_frames_come_back(room):
    ds = a_smooth_image()
    ds.PixelData += b"\7" * 100
    file = part10(ds)
    _, back = await there_and_back(room, file, HTJ2K)
    assert back == data_set_bytes(file)


def with_foreign_bits():
    ds = a_smooth_image(bits=12)
    pixels = np.frombuffer(ds.PixelData, "<u2").copy()
    pixels[100] |= 0x8000
    ds.PixelData = pixels.tobytes()
    return ds


def with_foreign_bits_in_the_last_frame():
    ds = a_smooth_image(bits=12, frames=3)
    pixels = np.frombuffer(ds.PixelData, "<u2").copy()
    pixels[-1] |= 0x8000
    ds.PixelData = pixels.tobytes()
    return ds


ALONE = {
    "foreign bits": (with_foreign_bits, ExplicitVRLittleEndian, "not come back|the same"),
    "later": (with_foreign_bits_in_the_last_frame, ExplicitVRLittleEndian, "the same"),
    "by plane": (
        lambda: a_smooth_image(bits=8, allocated=8, samples=3, PlanarConfiguration=1),
        ExplicitVRLittleEndian,
        "by plane",
    ),
    "high bit": (lambda: a_smooth_image(HighBit=15), ExplicitVRLittleEndian, "the same"),
    "noise": (lambda: a_data_set(rows=64, columns=64, BitsStored=16, HighBit=15,
                                 PixelData=os.urandom(8192)),
              ExplicitVRLittleEndian, "gain"),
    "big endian": (a_smooth_image, ExplicitVRBigEndian, "big endian"),
    "deflated": (a_smooth_image, DeflatedExplicitVRLittleEndian, "deflated"),
    "one bit": (
        lambda: a_data_set(rows=16, columns=16, BitsAllocated=1, BitsStored=1, HighBit=0,
                           PixelData=os.urandom(32)),
        ExplicitVRLittleEndian,
        "pixels",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "syntax", "why"), ALONE.values(), ids=ALONE.keys())
async def test_what_would_not_come_back_or_gains_nothing_stays_as_it_came(room, make, syntax, why):
    file = part10(make(), syntax)
    uid = (await stored(room, file)).sop_instance_uid
    files = room.files()
    with pytest.raises(LeftAlone, match=why):
        await shrunk(room, uid, least_gain=0.01)
    assert room.files() == files
    handle = await handle_of(room, uid)
    assert handle.location.digest == hashlib.sha256(data_set_bytes(file)).digest()


async def test_a_file_that_is_not_what_came_is_not_made_smaller(room):
    uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
    [path] = room.files()
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged):
        await shrunk(room, uid)


async def test_the_same_sent_again_is_known_in_both_forms(room):
    file = part10(a_smooth_image())
    uid = (await stored(room, file)).sop_instance_uid
    handle = await shrunk(room, uid)
    with room.retriever.open(handle) as opened:
        smaller = opened.read(0, opened.size_bytes)
    assert (await stored(room, file)).outcome is Outcome.SAME
    assert (await stored(room, smaller)).outcome is Outcome.SAME
    assert room.quarantined() == []
    ds = pydicom.dcmread(io.BytesIO(file))
    ds.PatientName = "Somebody^Else"
    assert (await stored(room, part10(ds))).outcome is Outcome.KEPT_FIRST


async def test_a_damaged_one_is_put_right_by_the_same_sent_again_and_is_as_it_came(room):
    file = part10(a_smooth_image())
    uid = (await stored(room, file)).sop_instance_uid
    handle = await shrunk(room, uid)
    assert room.index.integrity.mark(handle, Damage.CONTENT, 1.0)
    assert (await stored(room, file)).outcome is Outcome.SAME
    handle = await handle_of(room, uid)
    assert handle.location.digest == hashlib.sha256(data_set_bytes(file)).digest()
    assert room.index.smaller.savings().instances == 0


async def test_who_reads_the_old_file_reads_on_and_it_goes_when_its_time_is_up(room):
    file = part10(a_smooth_image())
    uid = (await stored(room, file)).sop_instance_uid
    old = await handle_of(room, uid)
    handle = await shrunk(room, uid)
    assert await as_it_came(room, old, ExplicitVRLittleEndian) == data_set_bytes(file)
    assert len(room.files()) == 2
    swapper = Swapper(room.index, room.blobs, 0.0)
    assert swapper.tidy() == 0  # it has an hour
    room.index.smaller.intend(old.location.key, 0)
    assert swapper.tidy() == 1
    [left] = room.files()
    assert str(left).endswith(handle.location.key)
    assert swapper.tidy() == 0


async def test_no_file_that_is_pointed_at_is_ever_removed(room):
    uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
    swapper = Swapper(room.index, room.blobs, 0.0)
    old = await handle_of(room, uid)
    room.index.smaller.intend(old.location.key, 0)
    assert swapper.tidy() == 0
    new = await shrunk(room, uid)
    for key in (old.location.key, new.location.key):
        room.index.smaller.intend(key, 0)
    assert swapper.tidy() == 1
    assert damage_of(room.blobs, new, Pace(0)) is None


async def test_one_whose_time_was_up_is_not_swapped_in(room):
    uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
    old = await handle_of(room, uid)
    made = await shrinker(room).smaller(old, HTJ2K)
    intend = room.index.smaller.intend

    def intended(key, seconds):
        room.index.smaller.intend = intend
        intend(key, -1)
        [spare] = room.index.smaller.claim_spares()  # somebody tidies up just now
        assert spare.key == key

    room.index.smaller.intend = intended
    swapper = Swapper(room.index, room.blobs, 60.0)
    assert not swapper.swap(old, room.clock.now(), made)
    assert (await handle_of(room, uid)).location == old.location
    assert len(room.files()) == 1
    assert swapper.tidy() == 0


async def test_one_that_was_replaced_meanwhile_is_left_alone(room):
    uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
    old = await handle_of(room, uid)
    first = await shrinker(room).smaller(old, HTJ2K)
    second = await shrinker(room).smaller(old, J2K)
    swapper = Swapper(room.index, room.blobs, 60.0)
    assert swapper.swap(old, room.clock.now(), first)
    assert not swapper.swap(old, room.clock.now(), second)
    assert (await handle_of(room, uid)).location.transfer_syntax_uid == HTJ2K
    assert len(room.files()) == 2, "the one that came too late is gone at once"
    assert swapper.tidy() == 0


async def test_it_can_be_put_back_as_it_came(room):
    file = part10(a_smooth_image(frames=3), ImplicitVRLittleEndian)
    uid = (await stored(room, file)).sop_instance_uid
    first = await handle_of(room, uid)
    size = room.index.statistics().size_bytes
    handle = await shrunk(room, uid)
    assert room.index.statistics().size_bytes == handle.location.size_bytes
    savings = room.index.smaller.savings()
    assert (savings.instances, savings.bytes_before) == (1, first.location.size_bytes)
    assert savings.bytes_after == handle.location.size_bytes
    made = await shrinker(room).as_received(handle)
    assert Swapper(room.index, room.blobs, 60.0).swap(handle, room.clock.now(), made)
    again = await handle_of(room, uid)
    assert again.location.digest == first.location.digest
    assert again.frames == first.frames
    assert again.location.header_bytes == first.location.header_bytes
    assert damage_of(room.blobs, again, Pace(0)) is None
    assert room.index.statistics().size_bytes == size
    assert room.index.smaller.savings().instances == 0
    with pytest.raises(LeftAlone):
        await shrinker(room).as_received(again)


async def test_a_scrub_finds_nothing_and_a_reindex_finds_the_same(room):
    files = [part10(a_smooth_image(StudyInstanceUID="1.2.3", InstanceNumber=n)) for n in range(3)]
    uids = [(await stored(room, file)).sop_instance_uid for file in files]
    for uid in uids[:2]:
        await shrunk(room, uid)
        room.index.smaller.intend((await _old_key(room, uid)), 0)
    before = _rows(room)
    scrub = Scrub(room.index, room.blobs, room.clock, Pace(0), quarantine_max_bytes=1 << 20)
    scrub.search._wait = lambda seconds: None
    report = scrub.run(scrub.begin())
    assert report.is_sound
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 2
    reindex(room.index, room.blobs)
    assert _rows(room) == before
    assert room.index.smaller.savings().instances == 2
    assert (await stored(room, files[0])).outcome is Outcome.SAME


async def _old_key(room, uid):
    handle = await handle_of(room, uid)
    [key] = {k for k in _keys(room) if uid in k} - {handle.location.key}
    return key


def _rows(room):
    handles = room.index.instances(Selection(study_instance_uids=("1.2.3",)))
    held = room.index.held([h.sop_instance_uid for h in handles])
    return [(h, held[h.sop_instance_uid]) for h in handles]


@pytest.mark.parametrize("order", [1, -1])
async def test_of_two_forms_without_an_index_the_one_that_came_is_taken(room, order):
    file = part10(a_smooth_image())
    uid = (await stored(room, file)).sop_instance_uid
    old = await handle_of(room, uid)
    await shrunk(room, uid)
    for path in room.files():
        age = order if str(path).endswith(old.location.key) else -order
        os.utime(path, (1_767_348_672 + 10 * age,) * 2)
    room.index._transact(lambda tx: tx.script("DELETE FROM spare"))  # it is a new index
    reindex(room.index, room.blobs)
    assert (await handle_of(room, uid)).location == old.location
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 0
    smaller = next(k for k in _keys(room) if k != old.location.key)
    room.index.smaller.intend(smaller, 0)
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 1


async def test_an_orphan_of_a_swap_is_no_orphan_for_who_tidies_up_after_a_crash(room):
    uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
    old = await handle_of(room, uid)
    await shrunk(room, uid)
    assert room.index.known_keys([old.location.key]) == {old.location.key}
    room.index._transact(lambda tx: tx.script("DELETE FROM spare"))
    report = adopt(room.index, room.blobs, [old.location.key], removing=True)
    assert (report.added, report.removed) == (0, 1)


async def test_a_row_that_was_restored_from_before_finds_the_file_of_today(room):
    file = part10(a_smooth_image())
    new = []
    add = room.index.add
    room.index.add = lambda batch: new.extend(batch) or add(batch)
    uid = (await stored(room, file)).sop_instance_uid
    room.index.add = add
    old = await handle_of(room, uid)
    handle = await shrunk(room, uid)
    room.index.replace(new[0])  # the database is that of yesterday
    room.index._transact(lambda tx: tx.script("DELETE FROM spare"))
    room.blobs.remove(old.location.key)
    assert adopt(room.index, room.blobs, [handle.location.key]).added == 1
    assert await handle_of(room, uid) == handle
    assert room.index.smaller.savings().instances == 1
    assert await as_it_came(room, handle, ExplicitVRLittleEndian) == data_set_bytes(file)


# -- the last copy ---------------------------------------------------------------------------------
def path_of(room, handle):
    return room.folder / "store" / handle.location.key


def _is_marked(room, handle):
    room.index.integrity.mark(handle, Damage.CONTENT, 1.0)


def _is_cut(room, handle):
    os.truncate(path_of(room, handle), handle.location.size_bytes - 1)


def _is_gone(room, handle):
    path_of(room, handle).unlink()


def _has_no_row(room, handle):
    room.index.clear()


@pytest.mark.parametrize("harm", [_is_marked, _is_cut, _is_gone, _has_no_row])
async def test_the_old_file_stays_while_the_new_one_is_not_whole(room, harm):
    file = part10(a_smooth_image())
    uid = (await stored(room, file)).sop_instance_uid
    old = await handle_of(room, uid)
    harm(room, await shrunk(room, uid))
    room.index.smaller.intend(old.location.key, 0)
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 0
    assert path_of(room, old).read_bytes().endswith(data_set_bytes(file))
    reindex(room.index, room.blobs)
    assert await handle_of(room, uid) == old


async def test_the_new_file_stays_when_the_index_is_one_from_before_it(room):
    new = []
    add = room.index.add
    room.index.add = lambda batch: new.extend(batch) or add(batch)
    uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
    old = await handle_of(room, uid)
    handle = await shrunk(room, uid)
    room.blobs.remove(old.location.key)
    room.index.replace(new[0])  # a snapshot, taken between the key and the swap
    room.index.smaller.intend(handle.location.key, 0)
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 0
    assert adopt(room.index, room.blobs, [handle.location.key]).added == 1
    assert await handle_of(room, uid) == handle


async def test_one_file_that_cannot_be_removed_is_not_in_the_way_of_others(room):
    remove, failing = room.blobs.remove, []
    for _ in range(2):
        uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
        old = await handle_of(room, uid)
        await shrunk(room, uid)
        room.index.smaller.intend(old.location.key, -1.0 if failing else -2.0)
        failing.append(old.location.key)

    def removed(key):
        if key == failing[0]:
            raise Unavailable("not now")
        remove(key)

    room.blobs.remove = removed
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 1
    assert [room.blobs.exists(key) for key in failing] == [True, False]
    room.blobs.remove = remove
    room.index.smaller.intend(failing[0], 0)
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 1


def rot(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_damaged_new_file_gives_way_to_the_old_one_when_all_is_read_anew(room, gone):
    uid = (await stored(room, part10(a_smooth_image()))).sop_instance_uid
    old = await handle_of(room, uid)
    new = await shrunk(room, uid)
    rot(path_of(room, new), -20)
    if gone:
        path_of(room, new).unlink()
    room.index.integrity.mark(new, Damage.CONTENT, 1.0)
    reindex(room.index, room.blobs)
    assert await handle_of(room, uid) == old


async def test_a_new_file_that_rots_with_its_record_is_still_put_right_by_what_came(room):
    file = part10(a_smooth_image())
    uid = (await stored(room, file)).sop_instance_uid
    old = await handle_of(room, uid)
    new = await shrunk(room, uid)
    path_of(room, old).unlink()
    rot(path_of(room, new), path_of(room, new).read_bytes().index(b"FRAS1") + 60)
    rot(path_of(room, new), -20)
    room.index.integrity.mark(new, Damage.CONTENT, 1.0)
    reindex(room.index, room.blobs)
    with pytest.raises(Damaged):
        await handle_of(room, uid)
    assert (await stored(room, file)).outcome is Outcome.SAME
    assert (await handle_of(room, uid)).location.digest == old.location.digest


# -- beside the policy `replace` -------------------------------------------------------------------
def another(file):
    """Other pixels under the same UID."""
    ds = pydicom.dcmread(io.BytesIO(file))
    ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") ^ 1).tobytes()
    return part10(ds)


@pytest.mark.parametrize("seconds", [10, -10])
async def test_a_file_that_came_too_late_does_not_take_back_what_was_replaced(
    make_archive, seconds
):
    room = make_archive(duplicates=Duplicates.REPLACE)
    file = part10(a_smooth_image())
    uid = (await stored(room, file)).sop_instance_uid
    old = await handle_of(room, uid)
    made = await shrinker(room).smaller(old, HTJ2K)
    assert (await stored(room, another(file))).outcome is Outcome.REPLACED
    now = await handle_of(room, uid)
    remove = room.blobs.remove

    def not_now(key):
        raise Unavailable("not now")

    room.blobs.remove = not_now
    assert not Swapper(room.index, room.blobs, 0.0).swap(old, room.clock.now(), made)
    room.blobs.remove = remove
    late = next(path for path in room.files() if path != path_of(room, now))
    os.utime(late, (path_of(room, now).stat().st_mtime + seconds,) * 2)
    reindex(room.index, room.blobs)
    assert await handle_of(room, uid) == now
    key = str(late.relative_to(room.folder / "store"))
    assert room.index.smaller.spares_among([key]) == {key}
    room.index.smaller.intend(key, 0)
    assert Swapper(room.index, room.blobs, 0.0).tidy() == 1
    assert room.files() == [path_of(room, now)]


async def test_what_is_sent_again_while_its_old_file_is_still_there_is_filed(make_archive):
    room = make_archive(duplicates=Duplicates.REPLACE)
    first = part10(a_smooth_image())
    second = another(first)
    uid = (await stored(room, first)).sop_instance_uid
    await stored(room, second)
    await shrunk(room, uid)
    assert (await stored(room, first)).outcome is Outcome.REPLACED
    assert (await stored(room, second)).outcome is Outcome.REPLACED
    handle = await handle_of(room, uid)
    assert handle.location.digest == hashlib.sha256(data_set_bytes(second)).digest()
    assert damage_of(room.blobs, handle, Pace(0)) is None


# -- the record ------------------------------------------------------------------------------------
RECEIVED = Received(b"\1" * 32, ExplicitVRLittleEndian, 1234)


@pytest.mark.parametrize("size", [0, 1, 100, 16 * 1024, 100_000])
def test_a_record_comes_back(size):
    header = os.urandom(size // 2) + bytes(size - size // 2)
    like = header[: size // 3] + b"x" + header[size // 3 :]
    record = Record(RECEIVED, size, difference(header, like), b"end")
    stored = record.to_bytes()
    assert len(stored) % 2 == 0
    again = Record.from_bytes(stored)
    assert again == record
    assert again.header_from(like) == header
    assert len(stored) < 2048  # what both have in common costs nothing


def test_a_record_that_was_touched_is_not_believed():
    stored = Record(RECEIVED, 3, difference(b"abc", b"abd"), b"").to_bytes()
    used = len(stored.rstrip(b"\0"))
    for at in range(used):
        broken = bytearray(stored)
        broken[at] ^= 0x10
        with pytest.raises(Unintelligible):
            Record.from_bytes(bytes(broken))
    for length in range(0, used, 7):
        with pytest.raises(Unintelligible):
            Record.from_bytes(stored[:length])


def test_a_header_too_different_has_no_record():
    header = os.urandom(60_000)
    with pytest.raises(Unintelligible, match="too long"):
        Record(RECEIVED, len(header), difference(header, b"other"), b"").to_bytes()


async def test_a_record_that_rots_is_found_by_a_scrub_and_no_wrong_byte_is_given(room):
    file = part10(a_smooth_image())
    handle = await shrunk(room, (await stored(room, file)).sop_instance_uid)
    path = next(p for p in room.files() if str(p).endswith(handle.location.key))
    content = bytearray(path.read_bytes())
    at = content.index(b"FRAS1") + 60
    content[at] ^= 1
    path.write_bytes(content)
    assert damage_of(room.blobs, handle, Pace(0)) is Damage.HEADER
    with pytest.raises(Damaged):
        await as_it_came(room, handle, ExplicitVRLittleEndian)


async def test_no_bit_of_a_header_that_rots_is_anything_but_damage(room):
    handle = await shrunk(room, (await stored(room, part10(a_smooth_image()))).sop_instance_uid)
    damaged = 0
    for at in range(0, handle.location.header_bytes, 3):
        rot(path_of(room, handle), handle.location.data_set_offset + at)
        try:
            room.retriever.header_as_received(handle)
        except Damaged:
            damaged += 1
        rot(path_of(room, handle), handle.location.data_set_offset + at)
    assert damaged


def test_other_files_have_no_record():
    assert record_in(part10(a_smooth_image())) is None
    assert record_in(b"") is None


# -- what scanners have made -----------------------------------------------------------------------
async def test_of_what_pydicom_brings_all_comes_back_or_stays(room):
    smaller, alone = [], {}
    for each in packaged_files():
        if not each.sop_instance_uid:
            continue
        try:
            uid = (await stored(room, each.content)).sop_instance_uid
        except ArchiveError:
            continue
        before = await handle_of(room, uid)
        try:
            handle = await shrunk(room, uid)
        except LeftAlone as error:
            alone.setdefault(str(error), []).append(each.name)
            assert await handle_of(room, uid) == before
            continue
        syntax = before.location.transfer_syntax_uid
        back = await as_it_came(room, handle, syntax)
        assert hashlib.sha256(back).digest() == before.location.digest, each.name
        now = await room.retriever.metadata(SYSTEM, *_place(handle), uid)
        described = header_json(before, as_it_was(back, before))
        assert now.body == b"[" + described + b"]", each.name
        smaller.append(each.name)
    assert len(smaller) >= 40, (smaller, alone)
    assert "a header that cannot be read" not in alone, alone


def as_it_was(data_set, handle):
    return data_set[: handle.location.header_bytes]
