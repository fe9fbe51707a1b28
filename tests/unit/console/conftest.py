"""The HTTP application with a stand-in for the archive, and a browser to ask it with."""

import httpx
import pytest

from accounts import CHEAP, PASSWORDS, AClock, an_archive, some_settings
from filmroom.asgi import create_app
from filmroom.blobs.filesystem import FilesystemBlobs

PEER = {"ae_title": "STORESCP", "host": "127.0.0.1", "port": 11113, "may": ["echo"]}


class Refused(FilesystemBlobs):
    """Real files in quarantine, on a disk of known size."""

    def free_bytes(self):
        return 10**9


@pytest.fixture
def clock():
    return AClock()


@pytest.fixture
def archive():
    return an_archive()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "quarantine").mkdir()
    return tmp_path


@pytest.fixture
def app(archive, clock, folder):
    settings = some_settings(folder, peers=[PEER])
    archive.blobs = Refused(folder)
    app = create_app(
        archive, None, settings, edges=[], clock=clock, hasher=CHEAP, static=folder / "static"
    )
    yield app
    app.sign_in.shut()
    archive.blobs.close()


@pytest.fixture
def visit(app):
    """A browser, not signed in; it sends what our own pages send."""

    def client():
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://archive.test",
            headers={"x-filmroom": "1"},
        )

    return client


@pytest.fixture
def enter(visit):
    """enter("admin"): a browser in which that person has signed in."""

    async def signed_in(user, password=None):
        client = visit()
        body = {"user": user, "password": password or PASSWORDS[user]}
        answer = await client.post("/api/session", json=body)
        assert answer.status_code == 200, answer.text
        return client

    return signed_in
