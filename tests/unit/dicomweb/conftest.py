"""The DICOMweb routes over a real archive in a temporary folder, spoken to in memory."""

from __future__ import annotations

import contextlib
import os

import httpx
import pytest
from starlette.applications import Starlette

from filmroom.archive.access import ROLES, Principal
from filmroom.archive.archive import Archive
from filmroom.archive.committer import Committer, Duplicates
from filmroom.archive.find import Finder
from filmroom.archive.ingest import Ingest
from filmroom.archive.retrieve import Retriever
from filmroom.blobs.filesystem import FilesystemBlobs
from filmroom.dicomweb.multipart import (
    PART_TAIL,
    MultipartReader,
    PartBegin,
    PartData,
    closing,
    content_type,
    part_head,
)
from filmroom.dicomweb.negotiate import parse_media_type
from filmroom.dicomweb.routes import routes
from filmroom.dicomweb.service import Settings
from filmroom.index.queries import open_index


class StillClock:
    """Time that stands still."""

    def now(self):
        return 1_767_348_672.0


class InlinePool:
    """A pixel pool without processes: work is done where it is asked for."""

    async def run(self, function, /, *args, **kwargs):
        return function(*args, **kwargs)

    async def run_on(self, file, function, /, *args, **kwargs):
        return function(file, *args, **kwargs)


class Door:
    """What asgi.py does before us: says who asks."""

    def __init__(self, app, principal):
        self.app = app
        self.principal = principal

    async def __call__(self, scope, receive, send):
        scope.setdefault("state", {})["principal"] = self.principal
        await self.app(scope, receive, send)


class Room:
    """An archive, its DICOMweb routes, and a client."""

    def __init__(self, folder, settings=None, role="radiologist", pool=None, blobs=None):
        self.folder = folder
        self.index = open_index(f"sqlite:///{folder}/index.sqlite")
        self.blobs = (blobs or FilesystemBlobs)(folder)
        self.committer = Committer(
            self.index, self.blobs, Duplicates.KEEP_FIRST, quarantine_max_bytes=1 << 20
        )
        self.committer.start()
        self.retriever = Retriever(self.index, self.blobs)
        self.archive = Archive(
            Ingest(self.blobs, self.committer, StillClock()),
            Finder(self.index),
            self.retriever,
            self.index,
            self.blobs,
        )
        app = Starlette(routes=routes(self.archive, pool or InlinePool(), settings or Settings()))
        self.door = Door(app, Principal("anna", ROLES[role], role))
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.door), base_url="http://test/dicom-web"
        )

    def __getattr__(self, name):
        if name in ("get", "head", "post", "options", "request", "put", "delete"):
            return getattr(self.client, name)
        raise AttributeError(name)

    async def store(self, *files, path="/studies", headers=None):
        """POST Part 10 files as one multipart."""
        body = b"".join(
            part_head("cut", {"Content-Type": "application/dicom"}) + file + PART_TAIL
            for file in files
        ) + closing("cut")
        return await self.client.post(
            path,
            content=body,
            headers={"Content-Type": content_type("cut", "application/dicom"), **(headers or {})},
        )

    def temporary_files(self):
        return os.listdir(self.folder / "tmp")

    def close(self):
        self.committer.stop()
        self.index.close()
        with contextlib.suppress(AttributeError):
            self.blobs.close()


@pytest.fixture
def make_room(tmp_path):
    made = []

    def make(**options):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Room(folder, **options))
        return made[-1]

    yield make
    for room in made:
        room.close()


@pytest.fixture
def room(make_room):
    return make_room()


def parts_of(response):
    """The parts of a multipart answer as (Content-Type, body)."""
    boundary = parse_media_type(response.headers["content-type"]).parameter("boundary")
    reader = MultipartReader(boundary)
    parts = []
    for event in reader.feed(response.content):
        if isinstance(event, PartBegin):
            parts.append((event.headers["content-type"], bytearray()))
        elif isinstance(event, PartData):
            parts[-1][1].extend(event.data)
    reader.finish()
    return [(media_type, bytes(body)) for media_type, body in parts]


@pytest.fixture
def parts():
    return parts_of
