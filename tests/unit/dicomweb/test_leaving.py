"""A client that leaves leaves no work behind, at any door that pixels go out by."""

import asyncio

import pytest

from filmroom.dicomweb.leaving import Gone, while_there
from instances import a_data_set, part10

FOLDER = "/dicom-web/studies/1.1/series/1.1.1"
INSTANCE = f"{FOLDER}/instances/1.1.1.1"
JLS = b'multipart/related; type="image/jls"'


class Stuck:
    """A pixel pool that never gets done; after `served` calls."""

    def __init__(self, served=0):
        self.served = served
        self.begun = asyncio.Event()
        self.cancelled = 0

    async def run(self, function, /, *args, **kwargs):
        self.served -= 1
        if self.served >= 0:
            return function(*args, **kwargs)
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def run_on(self, file, function, /, *args, **kwargs):
        return await self.run(function, file, *args, **kwargs)


class Client:
    """Asks, reads what comes, and leaves when told."""

    def __init__(self):
        self.left = asyncio.Event()
        self.sent = []
        self._asked = False

    async def receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    async def ask(self, app, path, accept=b"*/*"):
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"accept", accept)],
            "root_path": "",
            "scheme": "http",
            "server": ("test", 80),
        }
        await app(scope, self.receive, self.send)


async def stuck_room(make_room, served):
    pool = Stuck(served)
    room = make_room(pool=pool)
    uids = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1"}
    seed = abs(hash(str(room.folder))) % 1000_000  # pictures are remembered by their content
    file = part10(a_data_set(frames=5, seed=seed, **uids))
    assert (await room.store(file)).status_code == 200
    return room, pool


@pytest.mark.parametrize(
    ("path", "accept", "served"),
    [
        (f"{INSTANCE}/rendered", b"image/png", 0),
        (f"{INSTANCE}/thumbnail", b"*/*", 0),
        (f"{FOLDER}/rendered", b'multipart/related; type="image/png"', 0),
        (f"{FOLDER}/rendered", b'multipart/related; type="image/png"', 1),
        (f"{INSTANCE}/frames/1", JLS, 0),
        (f"{INSTANCE}/frames/1,2,3", JLS, 1),
        (INSTANCE, b"application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80", 0),
        ("/wado?requestType=WADO&studyUID=1.1&seriesUID=1.1.1&objectUID=1.1.1.1", b"*/*", 0),
    ],
)
async def test_pixels_that_nobody_waits_for_are_not_made(make_room, path, accept, served):
    room, pool = await stuck_room(make_room, served)
    client = Client()
    asking = asyncio.ensure_future(client.ask(room.door, path, accept))
    await asyncio.wait_for(pool.begun.wait(), 5)
    client.left.set()
    await asyncio.wait_for(asking, 5)
    await asyncio.sleep(0)
    assert pool.cancelled >= 1
    begun = [each["status"] for each in client.sent if each["type"] == "http.response.start"]
    assert begun == ([499] if served == 0 else [200])


async def test_who_stays_is_served():
    client = Client()
    async with while_there(client.receive):
        await asyncio.sleep(0.01)
    client.left.set()
    await asyncio.sleep(0.01)  # too late to matter


async def test_a_cancellation_from_elsewhere_goes_first():
    client = Client()

    async def work():
        async with while_there(client.receive):
            await asyncio.sleep(10)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    client.left.set()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, Gone)):
        await task
    assert task.cancelled()


async def test_what_goes_wrong_with_the_body_does_not_end_the_answer():
    async def receive():
        raise ValueError

    async with while_there(receive):
        await asyncio.sleep(0.01)
