"""archive/convert.py and archive/inflated.py: other transfer syntaxes, in bounded steps."""

import io
import os
import threading

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian as DEFLATED
from pydicom.uid import ExplicitVRBigEndian as BIG_ENDIAN
from pydicom.uid import ExplicitVRLittleEndian as EXPLICIT
from pydicom.uid import ImplicitVRLittleEndian as IMPLICIT

from filmroom.archive import convert, inflated
from filmroom.archive.access import SYSTEM
from filmroom.archive.errors import ArchiveError, NotHeld, Unavailable
from filmroom.archive.kept import Kept
from filmroom.archive.records import Origin
from filmroom.dicom import part10 as meta
from filmroom.pixel.errors import NoCodec, TooLarge
from instances import a_data_set, part10

FRAME = 16 * 16 * 2
JPEG_LS = "1.2.840.10008.1.2.4.80"
HTJ2K = "1.2.840.10008.1.2.4.201"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


class InlinePool:
    """Works where it is asked to, and notes the longest thing it was given."""

    def __init__(self):
        self.longest = 0

    async def run(self, function, /, *args, **kwargs):
        self.longest = max([self.longest, *(len(a) for a in args if isinstance(a, bytes))])
        return function(*args, **kwargs)


class CountingPool(InlinePool):
    """Counts what it did."""

    calls = 0

    async def run(self, function, /, *args, **kwargs):
        self.calls += 1
        return function(*args, **kwargs)


async def held(room, ds, syntax=EXPLICIT):
    intake = room.archive.ingest.open_file(Origin("import"))
    intake.write(part10(ds, syntax))
    stored = await intake.commit()
    return await room.retriever.instance(SYSTEM, None, None, stored.sop_instance_uid)


async def converted(room, handle, syntax, pool=None):
    pieces = convert.data_set_as(room.retriever, pool or InlinePool(), handle, syntax)
    made = [piece async for piece in pieces]
    head = meta.meta_header(
        sop_class_uid=handle.sop_class_uid,
        sop_instance_uid=handle.sop_instance_uid,
        transfer_syntax_uid=syntax,
    )
    return pydicom.dcmread(io.BytesIO(head + b"".join(made))), made


# -- frames of deflated data sets ----------------------------------------------------------------


async def test_a_deflated_object_is_inflated_once_for_all_its_frames(room, monkeypatch):
    ds = a_data_set(frames=5)
    handle = await held(room, ds, DEFLATED)
    inflations = []
    pieces = inflated.pieces
    monkeypatch.setattr(inflated, "pieces", lambda *args: inflations.append(args) or pieces(*args))
    for index in (0, 4, 2):
        pixels = ds.PixelData[index * FRAME : (index + 1) * FRAME]
        assert room.retriever.frame(handle, index) == pixels
    with pytest.raises(NotHeld, match="has 5"):
        room.retriever.frame(handle, 5)
    assert len(inflations) == 1


async def test_what_is_inflated_lies_in_the_data_folder_and_goes_when_forgotten(room, monkeypatch):
    monkeypatch.setattr(inflated, "_LEAST_BYTES", inflated.KEPT_BYTES // 2)  # two are kept
    handles = [await held(room, a_data_set(frames=2), DEFLATED) for _ in range(4)]
    open_before = len(os.listdir("/proc/self/fd"))
    discarded = []
    stage = room.blobs.stage

    def staged():
        file = stage()
        discard = file.discard
        file.discard = lambda: (discarded.append(file), discard())
        return file

    monkeypatch.setattr(room.blobs, "stage", staged)
    for handle in handles:
        room.retriever.frame(handle, 1)
    assert len(discarded) == 2
    assert len(os.listdir("/proc/self/fd")) <= open_before + 2 + 8  # 8: kept ready for stores


async def test_one_who_reads_while_it_is_pushed_out_reads_on(room, monkeypatch):
    monkeypatch.setattr(inflated, "_LEAST_BYTES", inflated.KEPT_BYTES // 2 + 1)  # none is kept
    ds = a_data_set(frames=2)
    handle = await held(room, ds, DEFLATED)
    first = room.retriever.inflated(handle)
    room.retriever.frame(await held(room, a_data_set(frames=2), DEFLATED), 0)
    assert first.read(*first.table.span(1)) == ds.PixelData[FRAME:]


async def test_a_full_disk_does_not_hide_a_deflated_image(room, monkeypatch):
    ds = a_data_set(frames=2)
    handle = await held(room, ds, DEFLATED)

    def no_room():
        raise Unavailable("out of space")

    monkeypatch.setattr(room.blobs, "stage", no_room)
    assert room.retriever.frame(handle, 1) == ds.PixelData[FRAME:]


async def test_threads_that_want_frames_at_once_inflate_once(room, monkeypatch):
    ds = a_data_set(frames=8)
    handle = await held(room, ds, DEFLATED)
    inflations = []
    pieces = inflated.pieces
    monkeypatch.setattr(inflated, "pieces", lambda *args: inflations.append(args) or pieces(*args))
    found = {}

    def read(index):
        found[index] = room.retriever.frame(handle, index)

    threads = [threading.Thread(target=read, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b"".join(found[index] for index in range(8)) == ds.PixelData
    assert len(inflations) == 1


async def test_a_damaged_deflated_object_says_so(room):
    handle = await held(room, a_data_set(), DEFLATED)
    (path,) = room.files()
    whole = bytearray(path.read_bytes())
    whole[-400:] = b"\xff" * 400
    path.write_bytes(whole)
    with pytest.raises(ArchiveError, match="damaged"):
        room.retriever.frame(handle, 0)


# -- frames in another syntax --------------------------------------------------------------------


async def test_the_header_is_read_once_for_all_frames_of_an_instance(room, monkeypatch):
    ds = a_data_set(frames=6, BitsAllocated=16)
    handle = await held(room, ds, BIG_ENDIAN)
    reads = []
    header = room.retriever.header
    monkeypatch.setattr(room.retriever, "header", lambda h: reads.append(h) or header(h))
    for index in range(6):
        frame = await convert.frame_as(room.retriever, InlinePool(), handle, index, EXPLICIT)
        assert len(frame) == FRAME
    assert len(reads) == 1


async def test_a_frame_asked_for_again_is_not_made_again(room):
    handle = await held(room, a_data_set(frames=3))
    pool = CountingPool()
    made = [
        await convert.frame_as(room.retriever, pool, handle, index, JPEG_LS)
        for index in (0, 0, 1, 0, 1)
    ]
    assert pool.calls == 2
    assert made[0] == made[1] == made[3] != made[2] == made[4]
    await convert.frame_as(room.retriever, pool, handle, 0, HTJ2K)
    assert pool.calls == 3


async def test_recoded_frames_take_no_more_room_than_they_may(room, monkeypatch):
    monkeypatch.setattr(convert, "RECODED", Kept(2500))
    handle = await held(room, a_data_set(frames=5))
    pool = CountingPool()
    for index in (0, 1, 2, 3, 4, 0):
        await convert.frame_as(room.retriever, pool, handle, index, JPEG_LS)
        assert convert.RECODED.size_bytes <= 2500
    assert pool.calls == 6  # the first had to give way


async def test_big_endian_bytes_are_not_taken_for_words(room):
    for vr in ("OB", "OW"):
        ds = a_data_set(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(range(256)))
        plain = ds.PixelData
        if vr == "OW":
            ds.PixelData = bytes(n ^ 1 for n in range(256))
        ds["PixelData"].VR = vr
        handle = await held(room, ds, BIG_ENDIAN)
        if vr == "OW":  # pydicom writes the value as it is
            assert room.retriever.frame(handle, 0)[:2] == b"\1\0"
        frame = await convert.frame_as(room.retriever, InlinePool(), handle, 0, EXPLICIT)
        assert frame == plain, vr


# -- whole data sets -----------------------------------------------------------------------------


@pytest.mark.parametrize("to_syntax", [EXPLICIT, IMPLICIT, DEFLATED])
@pytest.mark.parametrize("from_syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
async def test_what_follows_the_pixel_data_follows_it_still(room, from_syntax, to_syntax):
    if from_syntax == to_syntax:
        return
    ds = a_data_set(frames=2)
    block = ds.private_block(0x7FE1, "AFTER", create=True)
    block.add_new(1, "LO", "short")
    block.add_new(2, "OB", bytes(range(256)) * 4000)  # a megabyte
    handle = await held(room, ds, from_syntax)
    pool = InlinePool()
    back, made = await converted(room, handle, to_syntax, pool)
    after = back.private_block(0x7FE1, "AFTER")
    assert after[2].value == bytes(range(256)) * 4000
    assert back.PatientName == ds.PatientName
    assert max(map(len, made)) <= 2 * convert.PIECE_BYTES
    assert pool.longest < 100_000, "what could be copied was taken apart"


async def test_trailing_padding_is_left_behind(room):
    ds = a_data_set()
    ds.DataSetTrailingPadding = bytes(1000)
    handle = await held(room, ds)
    back, _ = await converted(room, handle, IMPLICIT)
    assert "DataSetTrailingPadding" not in back
    assert back.PixelData == ds.PixelData


async def test_a_long_document_is_passed_on_in_pieces(room):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.EncapsulatedDocument = bytes(range(256)) * 20_000  # 5 MB
    handle = await held(room, ds)
    pool = InlinePool()
    back, made = await converted(room, handle, IMPLICIT, pool)
    assert back.EncapsulatedDocument == ds.EncapsulatedDocument
    assert max(map(len, made)) <= convert.PIECE_BYTES
    assert pool.longest < 10_000


async def test_a_header_beyond_all_measure_is_not_rewritten(room, monkeypatch):
    monkeypatch.setattr(convert, "LONGEST_HEADER_BYTES", 1000)
    handle = await held(room, a_data_set(PatientComments="x" * 2000))
    with pytest.raises(TooLarge):
        await converted(room, handle, IMPLICIT)


# -- lossy copies --------------------------------------------------------------------------------


def an_eight_bit_cine():
    ramp = bytes((x * 3 + y * 5) % 256 for y in range(16) for x in range(16))
    return a_data_set(
        frames=9, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=ramp * 9, seed=2
    )


async def test_a_lossy_copy_has_its_own_uid_and_leaves_nothing_behind(room):
    ds = an_eight_bit_cine()
    handle = await held(room, ds)
    pieces = convert.data_set_as(room.retriever, InlinePool(), handle, JPEG_BASELINE)
    made = [piece async for piece in pieces]
    uid = convert.instance_uid_as(handle, JPEG_BASELINE)
    head = meta.meta_header(
        sop_class_uid=handle.sop_class_uid, sop_instance_uid=uid, transfer_syntax_uid=JPEG_BASELINE
    )
    back = pydicom.dcmread(io.BytesIO(head + b"".join(made)))
    assert back.SOPInstanceUID == uid != ds.SOPInstanceUID
    assert back.SourceImageSequence[0].ReferencedSOPInstanceUID == ds.SOPInstanceUID
    assert back.NumberOfFrames == 9
    assert len(made) == 11  # header, frames, end
    frames = list(pydicom.encaps.generate_frames(back.PixelData, number_of_frames=9))
    ratio = 9 * 256 / sum(len(each.removesuffix(b"\0")) for each in frames)
    assert float(back.LossyImageCompressionRatio) == pytest.approx(ratio, rel=0.05)
    assert len(pydicom.encaps.parse_basic_offsets(back.PixelData)) == 9
    assert os.listdir(room.folder / "tmp") == []


async def test_a_lossy_copy_that_is_given_up_leaves_nothing_behind(room):
    handle = await held(room, an_eight_bit_cine())
    pieces = convert.data_set_as(room.retriever, InlinePool(), handle, JPEG_BASELINE)
    await anext(pieces)
    await pieces.aclose()
    assert os.listdir(room.folder / "tmp") == []


async def test_frames_of_a_deflated_data_set_are_not_called_compressed(room):
    handle = await held(room, a_data_set(frames=2), DEFLATED)
    with pytest.raises(NoCodec, match="uncompressed only"):
        await converted(room, handle, JPEG_LS)
