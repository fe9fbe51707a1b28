"""A study by WADO-RS over a real connection: its files are sent unread, and arrive as they are."""

import asyncio
import os

import httpx
import pytest

from filmroom.asgi import HttpServer, zero_copy
from filmroom.asgi.zero_copy import ZeroCopy
from filmroom.dicomweb import answers
from filmroom.dicomweb.answers import FilePiece
from filmroom.index import selecting
from filmroom.security.settings import HttpSettings
from instances import an_instance, data_set_bytes

MULTI = 'multipart/related; type="application/dicom"; transfer-syntax=*'
IMPLICIT = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2'
STUDY = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}


@pytest.fixture
async def filled(room):
    room.files = [
        an_instance(SOPInstanceUID=f"1.1.1.{n}", InstanceNumber=n, seed=n, **STUDY)
        for n in range(1, 8)
    ]
    assert (await room.store(*room.files)).status_code == 200
    return room


@pytest.fixture
def sent(monkeypatch):
    """How many pieces of files went out unread."""
    sent = []
    send = zero_copy._Sender._send_file

    async def counted(self, file, offset, count):
        sent.append(count)
        await send(self, file, offset, count)

    monkeypatch.setattr(zero_copy._Sender, "_send_file", counted)
    return sent


@pytest.fixture
async def web(filled):
    server = HttpServer(ZeroCopy(filled.door), HttpSettings(host="127.0.0.1", port=0))
    await asyncio.to_thread(server.start)
    async with httpx.AsyncClient(base_url=f"{server.url}/dicom-web") as client:
        yield client
    await asyncio.to_thread(server.stop, 1)


@pytest.mark.parametrize("page", [3, 2000], ids=["chunked", "of known length"])
async def test_a_study_arrives_as_it_is(filled, web, parts, sent, monkeypatch, page):
    monkeypatch.setattr(selecting, "PAGE", page)
    for _ in range(3):  # the connection is as good as new
        found = parts(await web.get("/studies/1.1", headers={"Accept": MULTI}))
        bodies = [data_set_bytes(body) for _, body in found]
        assert bodies == list(map(data_set_bytes, filled.files))
    assert len(sent) == 3 * len(filled.files)


async def test_what_is_made_anew_is_not_sent_from_the_file(filled, web, parts, sent):
    found = parts(await web.get("/studies/1.1", headers={"Accept": IMPLICIT}))
    assert len(found) == len(filled.files)
    assert not sent


async def test_head_sends_nothing_and_no_file_stays_open(filled, web, sent):
    await web.head("/studies/1.1", headers={"Accept": MULTI})
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        answer = await web.head("/studies/1.1", headers={"Accept": MULTI})
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) > sum(map(len, filled.files))
    assert not sent
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_file_that_is_closed_is_never_sent(filled):
    """Its number may be another file's by then."""
    handle = filled.index.instance("1.1.1.1")
    with filled.retriever.open(handle) as file:
        piece = FilePiece(file, 0, 100)

    async def send(message):
        raise AssertionError(message)

    with pytest.raises(RuntimeError):
        await answers._send_part(piece, send)
