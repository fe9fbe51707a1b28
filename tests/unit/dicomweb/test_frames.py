"""Frames and bulk data: as stored where allowed, decoded where asked, bounded always."""

import io
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

from filmroom.dicomweb import transfer
from filmroom.pixel.codecs import decode_frame
from filmroom.pixel.shape import ImageShape
from instances import a_data_set, an_instance, part10

OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
STUDY = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}
PATH = "/studies/1.1/series/1.1.1/instances/1.1.1.1"
BULK = f"{PATH}/bulkdata/7FE00010"
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


class CountingPool:
    """Does its work where it is asked to, and counts it."""

    calls = 0

    async def run(self, function, /, *args, **kwargs):
        self.calls += 1
        return function(*args, **kwargs)


@pytest.fixture
async def cine(room):
    """An instance of five native frames."""
    room.ds = a_data_set(frames=5, SOPInstanceUID="1.1.1.1", **STUDY)
    assert (await room.store(part10(room.ds))).status_code == 200
    return room


def frame(ds, index, size=16 * 16 * 2):
    return ds.PixelData[index * size : (index + 1) * size]


async def store_sample(room, name):
    """One of pydicom's compressed samples under our UIDs; returns it as pydicom reads it."""
    ds = pydicom.dcmread(SAMPLES / name)
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.1", "1.1.1", "1.1.1.1"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.1.1.1"
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    response = await room.store(buffer.getvalue())
    assert response.status_code == 200, response.text
    return ds


async def test_one_frame_comes_as_the_viewer_asks(cine, parts):
    response = await cine.get(f"{PATH}/frames/3", headers={"Accept": OHIF})
    assert response.status_code == 200
    ((media_type, body),) = parts(response)
    assert media_type == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert body == frame(cine.ds, 2)
    assert int(response.headers["content-length"]) == len(response.content)
    assert "immutable" in response.headers["cache-control"]
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_several_frames_come_in_the_order_asked_for(cine, parts):
    response = await cine.get(f"{PATH}/frames/4,1,5", headers={"Accept": OHIF})
    assert [body for _, body in parts(response)] == [frame(cine.ds, n) for n in (3, 0, 4)]


async def test_one_frame_may_come_alone(cine):
    octets = {"Accept": "application/octet-stream"}
    response = await cine.get(f"{PATH}/frames/2", headers=octets)
    assert response.content == frame(cine.ds, 1)
    piece = await cine.get(f"{PATH}/frames/2", headers={**octets, "Range": "bytes=10-19"})
    assert (piece.status_code, piece.content) == (206, frame(cine.ds, 1)[10:20])
    assert (await cine.get(f"{PATH}/frames/1,2", headers=octets)).status_code == 406


@pytest.mark.parametrize("numbers", ["6", "1,6", "999999999"])
async def test_a_frame_that_is_not_there_is_not_found(cine, numbers):
    response = await cine.get(f"{PATH}/frames/{numbers}", headers={"Accept": OHIF})
    assert response.status_code == 404


@pytest.mark.parametrize("numbers", ["0", "-1", "1,,2", "1,", "a", "1.5", "1%2C0", "99999999999"])
async def test_frame_numbers_are_positive(cine, numbers):
    assert (await cine.get(f"{PATH}/frames/{numbers}")).status_code == 400


async def test_a_list_of_twenty_thousand_frames_is_refused(cine):
    numbers = ",".join(["1"] * 20_000)
    assert (await cine.get(f"{PATH}/frames/{numbers}")).status_code == 413


async def test_an_unchanged_frame_is_not_sent_again(cine):
    etag = (await cine.get(f"{PATH}/frames/1")).headers["etag"]
    again = await cine.get(f"{PATH}/frames/1", headers={"If-None-Match": etag})
    assert again.status_code == 304
    other = await cine.get(f"{PATH}/frames/2", headers={"If-None-Match": etag})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("path", "accept", "made"),
    [
        ("/frames/1", OHIF, False),
        ("/frames/1", "image/jls", True),
        ("/frames/1,2", 'multipart/related; type="image/jls"', True),
        ("/bulkdata/7FE00010", "application/octet-stream", False),
        ("", "application/dicom", False),
        ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80", True),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=*', False),
        (
            "",
            'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80',
            True,
        ),
    ],
)
async def test_an_etag_names_the_version_of_what_is_made_and_not_of_what_is_stored(
    cine, monkeypatch, path, accept, made
):
    before = await cine.get(f"{PATH}{path}", headers={"Accept": accept})
    assert before.status_code == 200, before.text
    monkeypatch.setattr(transfer, "__version__", "999")
    known = {"Accept": accept, "If-None-Match": before.headers["etag"]}
    assert (await cine.get(f"{PATH}{path}", headers=known)).status_code == (200 if made else 304)


async def test_an_etag_of_compressed_pixels_names_the_version_when_they_are_made(room, monkeypatch):
    await store_sample(room, "JPEG2000.dcm")
    known = {"Accept": "application/octet-stream"}
    known["If-None-Match"] = (await room.get(BULK, headers=known)).headers["etag"]
    assert (await room.get(BULK, headers=known)).status_code == 304
    monkeypatch.setattr(transfer, "__version__", "999")
    assert (await room.get(BULK, headers=known)).status_code == 200


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("accept", [OHIF, 'multipart/related; type="application/octet-stream"'])
async def test_bulk_data_of_one_etag_are_the_same_bytes_to_the_last_boundary(
    room, compressed, accept
):
    if compressed:
        await store_sample(room, "JPEG2000.dcm")
    else:
        await room.store(part10(a_data_set(frames=3, SOPInstanceUID="1.1.1.1", **STUDY)))
    first, second = [await room.get(BULK, headers={"Accept": accept}) for _ in range(2)]
    assert first.status_code == 200, first.text
    assert first.headers["etag"] == second.headers["etag"]
    assert first.headers["content-type"] == second.headers["content-type"]
    assert first.content == second.content
    alone = await room.get(BULK, headers={"Accept": "application/octet-stream"})
    assert alone.headers["etag"] != first.headers["etag"]


async def test_head_of_a_frame_has_its_length_only(cine):
    response = await cine.head(f"{PATH}/frames/1", headers={"Accept": OHIF})
    assert response.content == b""
    assert int(response.headers["content-length"]) > 512


async def test_compressed_frames_go_as_they_lie_with_their_syntax(room, parts):
    ds = await store_sample(room, "JPEG2000.dcm")
    ((media_type, body),) = parts(await room.get(f"{PATH}/frames/1", headers={"Accept": OHIF}))
    assert media_type == f"image/jp2; transfer-syntax={ds.file_meta.TransferSyntaxUID}"
    (coded,) = generate_frames(ds.PixelData, number_of_frames=1)
    assert body.rstrip(b"\0") == coded.rstrip(b"\0")
    alone = await room.get(f"{PATH}/frames/1", headers={"Accept": "image/jp2"})
    assert alone.content == body
    wrong = await room.get(f"{PATH}/frames/1", headers={"Accept": "image/webp"})
    assert wrong.status_code == 406
    assert "image/jp2" in wrong.json()["detail"]


@pytest.mark.parametrize("accept", ["application/octet-stream", "*/*"])
async def test_compressed_frames_are_decoded_by_default(room, parts, accept):
    ds = await store_sample(room, "MR_small_jp2klossless.dcm")
    response = await room.get(f"{PATH}/frames/1", headers={"Accept": accept})
    body = response.content if "octet" in accept else parts(response)[0][1]
    pixels = np.frombuffer(body, "<i2").reshape(ds.Rows, ds.Columns)
    assert (pixels == ds.pixel_array).all()


async def test_native_frames_are_coded_on_demand(cine, parts):
    accept = 'multipart/related; type="image/jls"'
    ((media_type, body),) = parts(await cine.get(f"{PATH}/frames/1", headers={"Accept": accept}))
    assert media_type == "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"
    assert body[:2] == b"\xff\xd8"


async def test_big_endian_frames_are_turned(room, parts):
    ds = a_data_set(SOPInstanceUID="1.1.1.1", **STUDY)
    plain = ds.PixelData
    ds.PixelData = np.frombuffer(plain, "<u2").astype(">u2").tobytes()
    await room.store(part10(ds, "1.2.840.10008.1.2.2"))
    ((media_type, body),) = parts(await room.get(f"{PATH}/frames/1", headers={"Accept": OHIF}))
    assert media_type.endswith("=1.2.840.10008.1.2.1")
    assert body == plain
    bulk = await room.get(
        f"{PATH}/bulkdata/7FE00010", headers={"Accept": "application/octet-stream"}
    )
    assert bulk.content == plain


async def test_one_bit_frames_that_share_bytes_come_apart(room, parts):
    bits = np.random.default_rng(1).integers(0, 2, (3, 25), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    ds = a_data_set(
        rows=5,
        columns=5,
        frames=3,
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=packed,
        SOPInstanceUID="1.1.1.1",
        **STUDY,
    )
    await room.store(part10(ds))
    found = parts(await room.get(f"{PATH}/frames/1,2,3", headers={"Accept": OHIF}))
    for (_, body), frame_bits in zip(found, bits, strict=True):
        unpacked = np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")[:25]
        assert (unpacked == frame_bits).all()


async def test_a_deflated_instance_gives_frames_and_an_explicit_file(room, parts):
    ds = a_data_set(frames=2, SOPInstanceUID="1.1.1.1", **STUDY)
    stored = await room.store(part10(ds, "1.2.840.10008.1.2.1.99"))
    assert stored.status_code == 200, stored.text
    found = parts(await room.get(f"{PATH}/frames/2", headers={"Accept": OHIF}))
    assert found == [
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", frame(ds, 1))
    ]
    ((media_type, body),) = parts(await room.get(PATH))
    assert media_type.endswith("=1.2.840.10008.1.2.1")
    assert pydicom.dcmread(io.BytesIO(body)).PixelData == ds.PixelData


async def test_frames_of_a_document_are_not_found(room):
    ds = a_data_set(SOPInstanceUID="1.1.1.1", PixelData=None, Rows=None, **STUDY)
    await room.store(part10(ds))
    assert (await room.get(f"{PATH}/frames/1")).status_code == 404
    assert (await room.get(f"{PATH}/bulkdata/7FE00010")).status_code == 404


# -- byte ranges and other syntaxes -------------------------------------
RPCL = "1.2.840.10008.1.2.4.202"
VIEWER_RPCL = f"multipart/related; type=application/octet-stream; transfer-syntax={RPCL}"


@pytest.mark.parametrize("accept", [OHIF, VIEWER_RPCL, 'multipart/related; type="image/jphc"'])
async def test_ranges_of_a_multipart_of_one_frame_fit_together(cine, accept):
    headers = {"Accept": accept}
    whole = await cine.get(f"{PATH}/frames/2", headers=headers)
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(whole.content)
    first = await cine.get(f"{PATH}/frames/2", headers={**headers, "Range": "bytes=0-199"})
    rest = await cine.get(f"{PATH}/frames/2", headers={**headers, "Range": "bytes=200-"})
    assert [r.status_code for r in (first, rest)] == [206, 206]
    assert first.headers["content-range"] == f"bytes 0-199/{size}"
    assert rest.headers["content-range"] == f"bytes 200-{size - 1}/{size}"
    assert first.headers["content-type"] == rest.headers["content-type"]
    assert first.headers["etag"] == rest.headers["etag"] == whole.headers["etag"]
    assert first.content + rest.content == whole.content


async def test_ranges_of_a_recoded_frame_are_coded_once(make_room):
    pool = CountingPool()
    room = make_room(pool=pool)
    await room.store(part10(a_data_set(frames=5, SOPInstanceUID="1.1.1.1", seed=7, **STUDY)))
    pool.calls = 0
    got = b""
    for begin, end in ((0, 99), (100, 199), (200, "")):
        headers = {
            "Accept": f"image/jphc; transfer-syntax={RPCL}",
            "Range": f"bytes={begin}-{end}",
        }
        piece = await room.get(f"{PATH}/frames/4", headers=headers)
        assert piece.status_code == 206
        assert piece.headers["content-type"] == f"image/jphc; transfer-syntax={RPCL}"
        got += piece.content
    assert pool.calls == 1
    assert len(got) == int(piece.headers["content-range"].rpartition("/")[2])
    assert got[:4] == b"\xff\x4f\xff\x51"


async def test_what_cannot_be_coded_comes_in_the_next_best_form(room, parts):
    ds = a_data_set(
        rows=4, columns=4, SOPInstanceUID="1.1.1.1", BitsAllocated=32, BitsStored=32, HighBit=31,
        PixelData=bytes(range(64)), **STUDY,
    )  # fmt: skip
    await room.store(part10(ds))
    wanted = "image/jls, application/octet-stream;q=0.5"
    response = await room.get(f"{PATH}/frames/1", headers={"Accept": wanted})
    assert response.content == ds.PixelData
    refused = await room.get(f"{PATH}/frames/1", headers={"Accept": "image/jls"})
    assert refused.status_code == 406
    assert "up to 16 bits" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/jpeg", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70"),
        ("image/jls", "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"),
        ("image/jp2", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"),
        ("image/jphc", "image/jphc; transfer-syntax=1.2.840.10008.1.2.4.201"),
        ("image/jxl", "image/jxl; transfer-syntax=1.2.840.10008.1.2.4.110"),
        ("image/dicom-rle", "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"),
        ("image/*", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70"),
    ],
)
async def test_every_image_type_is_made_without_loss(cine, accept, media_type):
    response = await cine.get(f"{PATH}/frames/3", headers={"Accept": accept})
    assert response.headers["content-type"] == media_type
    shape = ImageShape(16, 16, 1, 16, 12)
    array = decode_frame(response.content, media_type.rpartition("=")[2], shape)
    assert array.tobytes() == frame(cine.ds, 2)


# -- bulk data ----------------------------------------------------------
async def test_bulk_data_come_single_and_in_a_multipart(cine, parts):
    uri = f"{PATH}/bulkdata/7FE00010"
    single = await cine.get(uri, headers={"Accept": "application/octet-stream"})
    assert single.content == cine.ds.PixelData
    assert single.headers["content-type"] == "application/octet-stream"
    assert (await cine.get(uri)).content == cine.ds.PixelData
    multi = await cine.get(
        uri, headers={"Accept": 'multipart/related; type="application/octet-stream"'}
    )
    assert parts(multi) == [("application/octet-stream", cine.ds.PixelData)]
    assert (await cine.get(uri, headers={"Accept": "text/html"})).status_code == 406


async def test_a_value_inside_a_sequence_has_its_own_uri(room):
    ds = a_data_set(SOPInstanceUID="1.1.1.1", **STUDY)
    item = pydicom.Dataset()
    item.add_new(0x54001010, "OW", bytes(range(256)) * 20)
    ds.add_new(0x54000100, "SQ", [item])
    await room.store(part10(ds))
    (metadata,) = (await room.get("/studies/1.1/metadata")).json()
    uri = metadata["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
    response = await room.get(f"http://test{uri}", headers={"Accept": "application/octet-stream"})
    assert response.content == bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("wanted", "status", "cut"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-16", 206, slice(-16, None)),
        ("bytes=0-99999999", 206, slice(None)),
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=99999999-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(1500)), 416, None),
        ("bytes=nonsense", 200, slice(None)),
        ("bytes=9-3", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=" + "9" * 40 + "-", 200, slice(None)),
    ],
)
async def test_bulk_data_come_by_range(cine, wanted, status, cut):
    response = await cine.get(f"{PATH}/bulkdata/7FE00010", headers={"Range": wanted})
    assert response.status_code == status
    if cut is not None:
        assert response.content == cine.ds.PixelData[cut]
    else:
        assert response.headers["content-range"] == f"bytes */{len(cine.ds.PixelData)}"


async def test_a_range_of_another_version_is_the_whole(cine):
    headers = {"Range": "bytes=0-9", "If-Range": '"other"'}
    response = await cine.get(f"{PATH}/bulkdata/7FE00010", headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["00091010", "54000100/1/54001010", "54000100/999999999/54001010"])
async def test_bulk_data_that_are_not_there_are_not_found(cine, path):
    assert (await cine.get(f"{PATH}/bulkdata/{path}")).status_code == 404


async def test_compressed_pixel_data_come_frame_by_frame(room, parts):
    coded = [b"\xff\xd8\xff" + bytes([n]) * 99 for n in range(3)]
    ds = a_data_set(frames=3, SOPInstanceUID="1.1.1.1", **STUDY)
    ds.PixelData = encapsulate(coded)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    await room.store(part10(ds, RLELossless))
    found = parts(await room.get(f"{PATH}/bulkdata/7FE00010", headers={"Accept": OHIF}))
    assert [body for _, body in found] == coded
    assert {media_type for media_type, _ in found} == {
        "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"
    }


async def test_a_palette_is_in_line(room):
    ds = pydicom.dcmread(SAMPLES / "examples_palette.dcm")
    assert "RedPaletteColorLookupTableData" in ds
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    await room.store(buffer.getvalue())
    (metadata,) = (await room.get(f"/studies/{ds.StudyInstanceUID}/metadata")).json()
    assert "InlineBinary" in metadata["00281201"]


async def test_a_small_frame_costs_little(cine):
    import time

    await cine.get(f"{PATH}/frames/1", headers={"Accept": OHIF})
    started = time.process_time()
    for _ in range(100):
        await cine.get(f"{PATH}/frames/1", headers={"Accept": OHIF})
    assert (time.process_time() - started) / 100 < 0.02  # the client in memory included
    assert an_instance


async def test_a_frame_that_must_be_inflated_is_read_off_the_loop(room, monkeypatch):
    ds = a_data_set(frames=2, SOPInstanceUID="1.1.1.1", **STUDY)
    await room.store(part10(ds, "1.2.840.10008.1.2.1.99"))
    threads, read = [], room.retriever.frame

    def watched(*which):
        threads.append(threading.current_thread())
        return read(*which)

    monkeypatch.setattr(room.retriever, "frame", watched)
    response = await room.get(f"{PATH}/frames/1", headers={"Accept": OHIF})
    assert response.status_code == 200
    assert threads
    assert threading.current_thread() not in threads
