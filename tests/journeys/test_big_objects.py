"""Memory does not grow with an object: gigabytes go in and out, one and ten at once.

FILMROOM_BIG_MIB says how large the large one is, FILMROOM_TEN_MIB how large each of the ten is;
beyond 4 GiB only an encapsulated one can be.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from filmroom.dimse.client import associate
from filmroom.dimse.messages import answer
from instances import CT_IMAGE_STORAGE, a_data_set, data_set_bytes, part10
from nodes import AE_TITLE, PASSWORD, FilmroomProcess

MIB = 1 << 20
BIG_MIB = int(os.environ.get("FILMROOM_BIG_MIB", "1024"))
TEN_MIB = int(os.environ.get("FILMROOM_TEN_MIB", "64"))
LONGEST_NATIVE_MIB = 4095  # a length has 32 bits
GROWTH_BYTES = 100 * MIB
SIDE = 1024  # rows and columns of a frame of 16 bit: 2 MiB
FRAME_BYTES = SIDE * SIDE * 2
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
FRAME_AS_STORED = {
    "Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
}
PATTERN = memoryview(bytes(range(256)) * (FRAME_BYTES // 256))


class Big:
    """A multi-frame object that is only ever made in pieces: frame n begins with its number."""

    def __init__(self, mebibytes: int, *, native: bool) -> None:
        self.frames = mebibytes * MIB // FRAME_BYTES
        self.native = native
        self.syntax = str(ExplicitVRLittleEndian if native else RLELossless)
        ds = a_data_set(rows=SIDE, columns=SIDE, PixelData=None, NumberOfFrames=self.frames)
        self.study, self.series = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
        self.uid = str(ds.SOPInstanceUID)
        self.file_head = part10(ds)  # in Explicit VR Little Endian: its data set is that of RLE too
        header = data_set_bytes(self.file_head)
        self.meta = self.file_head[: len(self.file_head) - len(header)]
        if not native:
            self.meta = encapsulated_meta(ds)
        self.head = header + self._pixel_header()
        self.item = b"" if native else struct.pack("<HHI", 0xFFFE, 0xE000, FRAME_BYTES)
        self.tail = b"" if native else struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        frame_bytes = len(self.item) + FRAME_BYTES
        self.size = len(self.head) + self.frames * frame_bytes + len(self.tail)

    def _pixel_header(self) -> bytes:
        head = struct.pack("<HH", 0x7FE0, 0x0010)
        if self.native:
            return head + struct.pack("<2s2xI", b"OW", self.frames * FRAME_BYTES)
        return head + struct.pack("<2s2xIHHI", b"OB", 0xFFFFFFFF, 0xFFFE, 0xE000, 0)

    def frame(self, number: int) -> bytes:
        return number.to_bytes(8, "little") + bytes(PATTERN[8:])

    def data_set(self) -> Iterator[bytes | memoryview]:
        """The pieces of the data set."""
        yield self.head
        for number in range(1, self.frames + 1):
            yield self.item + number.to_bytes(8, "little")
            yield PATTERN[8:]
        yield self.tail

    def digest(self) -> str:
        digest = hashlib.sha256()
        for piece in self.data_set():
            digest.update(piece)
        return digest.hexdigest()

    async def multipart(self) -> AsyncIterator[bytes]:
        """A STOW-RS body, made while it is sent."""
        yield b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + self.meta
        for piece in self.data_set():
            yield bytes(piece)
        yield b"\r\n--cut--\r\n"

    @property
    def path(self) -> str:
        return f"/dicom-web/studies/{self.study}/series/{self.series}/instances/{self.uid}"


def encapsulated_meta(ds) -> bytes:
    """The File Meta Information of RLE Lossless: that of another syntax, its length put right."""
    file = part10(ds)
    meta = file[: len(file) - len(data_set_bytes(file))]
    old, new = (uid_element(uid) for uid in (ExplicitVRLittleEndian, RLELossless))
    length = struct.unpack_from("<I", meta, 140)[0] + len(new) - len(old)
    return (meta[:140] + struct.pack("<I", length) + meta[144:]).replace(old, new)


def uid_element(uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return struct.pack("<HH2sH", 2, 0x0010, b"UI", len(value)) + value


class Sent:
    """An object as the source of a C-STORE."""

    def __init__(self, big: Big) -> None:
        self.size = big.size
        self._pieces = big.data_set()
        self._piece = memoryview(b"")

    async def ready(self, length: int) -> None:
        pass

    def read(self, length: int) -> memoryview:
        while not self._piece:
            self._piece = memoryview(next(self._pieces))
        part, self._piece = self._piece[:length], self._piece[length:]
        return part


class Hashed:
    """A sink that keeps a digest only."""

    def __init__(self, request) -> None:
        self._request = request
        self.digest = hashlib.sha256()

    def write(self, data) -> None:
        self.digest.update(data)

    async def finish(self):
        return answer(self._request, 0)

    def abandon(self) -> None:
        """Nothing is kept."""


# -- the four ways ---------------------------------------------------------------------------
@asynccontextmanager
async def associated(node, contexts, **more):
    timeouts = {"connect_timeout": 30, "timeout": 120}
    names = {"calling": "BIG", "called": AE_TITLE}
    async with await associate(
        "127.0.0.1", node.dimse_port, contexts=contexts, **names, **timeouts, **more
    ) as association:
        yield association


async def c_store(node, big: Big) -> None:
    async with associated(node, [(CT_IMAGE_STORAGE, [big.syntax])]) as association:
        response = await association.store(CT_IMAGE_STORAGE, big.uid, Sent(big))
        assert response.status == 0, response


async def c_get(node, big: Big) -> str:
    """The digest of the data set that came."""
    sinks = []

    def open_store(request, context, info):
        assert context.transfer_syntax == big.syntax
        sinks.append(Hashed(request))
        return sinks[-1]

    contexts = [(STUDY_ROOT_GET, [ExplicitVRLittleEndian]), (CT_IMAGE_STORAGE, [big.syntax])]
    async with associated(node, contexts, roles=[CT_IMAGE_STORAGE]) as association:
        responses = association.get(STUDY_ROOT_GET, study_identifier(big), open_store)
        statuses = [response.status async for response in responses]
    assert statuses[-1] == 0
    (sink,) = sinks
    return sink.digest.hexdigest()


def study_identifier(big: Big) -> bytes:
    keys = ((0x0008, 0x0052, b"CS", "STUDY "), (0x0020, 0x000D, b"UI", big.study))
    return b"".join(
        struct.pack("<HH2sH", group, element, vr, len(value) + len(value) % 2)
        + value.encode()
        + b"\0" * (len(value) % 2)
        for group, element, vr, value in keys
    )


async def stow(client: httpx.AsyncClient, big: Big) -> None:
    media_type = 'multipart/related; type="application/dicom"; boundary="cut"'
    response = await client.post(
        "/dicom-web/studies", content=big.multipart(), headers={"Content-Type": media_type}
    )
    assert response.status_code == 200, response.text


async def wado(client: httpx.AsyncClient, big: Big) -> str:
    """The digest of the data set in the Part 10 file that came."""
    digest = hashlib.sha256()
    async with client.stream("GET", big.path, headers=AS_STORED) as response:
        assert response.status_code == 200
        start = b""
        async for chunk in response.aiter_raw(MIB):
            if len(start) < 144:
                start += chunk
                chunk = data_set_bytes(start) if len(start) >= 4096 else b""
            digest.update(chunk)
    return digest.hexdigest()


async def check_frames(client: httpx.AsyncClient, big: Big) -> None:
    for number in sorted({1, 2, big.frames // 2 + 1, big.frames}):
        response = await client.get(f"{big.path}/frames/{number}", headers=FRAME_AS_STORED)
        assert response.status_code == 200, response.text
        _, _, body = response.content.partition(b"\r\n\r\n")
        assert body.startswith(big.frame(number))
    missing = await client.get(f"{big.path}/frames/{big.frames + 1}", headers=FRAME_AS_STORED)
    assert missing.status_code == 404


# -- the memory of the server ----------------------------------------------------------------
def processes(pid: int) -> list[int]:
    """A process and its children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(each for child in children for each in processes(child))]


def peak_rss(pid: int) -> int:
    """The most memory that the server and its workers have had since `forget_peak`, in bytes."""
    peaks = 0
    for each in processes(pid):
        status = Path(f"/proc/{each}/status").read_text()
        peaks += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return peaks


@contextmanager
def little_growth(node: FilmroomProcess) -> Iterator[None]:
    """The server's peak stays within GROWTH_BYTES of what it has now."""
    pid = node.process.pid
    for each in processes(pid):
        Path(f"/proc/{each}/clear_refs").write_text("5")  # the peak is what it has now
    before = peak_rss(pid)
    began = time.monotonic()
    yield
    growth = peak_rss(pid) - before
    print(f"{growth / MIB:.0f} MiB on top of {before / MIB:.0f}, {time.monotonic() - began:.1f} s")
    assert growth < GROWTH_BYTES


@pytest.fixture
async def client(node):
    """A signed-in client; what a first request makes the server load is loaded."""
    limits = {"timeout": 120, "auth": ("admin", PASSWORD)}
    async with httpx.AsyncClient(base_url=node.url, **limits) as client:
        warm = Big(4, native=True)
        await stow(client, warm)
        await c_store(node, Big(4, native=False))
        assert await wado(client, warm) == warm.digest()
        yield client


@pytest.mark.timeout(600)
async def test_a_large_object_by_c_store_comes_back_by_frame_and_whole(node, client):
    big = Big(BIG_MIB, native=False)
    expected = big.digest()
    with little_growth(node):
        await c_store(node, big)
    with little_growth(node):
        await check_frames(client, big)
        assert await c_get(node, big) == expected
    assert node.temporary_files() == []


@pytest.mark.timeout(600)
async def test_a_large_object_by_stow_comes_back_by_frame_and_whole(node, client):
    big = Big(BIG_MIB, native=BIG_MIB <= LONGEST_NATIVE_MIB)
    expected = big.digest()
    with little_growth(node):
        await stow(client, big)
    with little_growth(node):
        await check_frames(client, big)
        assert await wado(client, big) == expected
    assert node.temporary_files() == []


@pytest.mark.timeout(3600)
async def test_ten_at_once_by_both_doors(node, client):
    ten = [Big(TEN_MIB, native=bool(number % 2)) for number in range(10)]
    expected = [big.digest() for big in ten]
    with little_growth(node):
        stores = [
            stow(client, big) if number < 5 else c_store(node, big)
            for number, big in enumerate(ten)
        ]
        await asyncio.gather(*stores)
    with little_growth(node):
        retrieves = [
            c_get(node, big) if number < 5 else wado(client, big) for number, big in enumerate(ten)
        ]
        assert await asyncio.gather(*retrieves) == expected
        await asyncio.gather(*(check_frames(client, big) for big in ten))
    assert node.temporary_files() == []
