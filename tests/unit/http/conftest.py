"""The HTTP application without studies, asked in memory."""

from pathlib import Path

import httpx
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from accounts import CHEAP, PASSWORDS, AClock, an_archive, some_settings
from filmroom.asgi import create_app

BASE = "http://archive.test:8080"


async def everything(request):
    """Stands in for DICOMweb."""
    if request.method == "POST":
        body = await request.body()
        return JSONResponse({"received": len(body)})
    if "boom" in request.url.path:
        raise ValueError("Hopper^Grace is not a number")
    if "large" in request.url.path:
        return JSONResponse([{"x": "y" * 100}] * 1000, headers={"ETag": '"abc"'})
    if "stream" in request.url.path:

        async def pieces():
            for number in range(100):
                yield b'{"number": %d}' % number * 20

        return StreamingResponse(pieces(), media_type="application/dicom+json")
    if "multipart" in request.url.path:
        return Response(b"\0" * 100_000, media_type='multipart/related; type="application/dicom"')
    return JSONResponse([])


def dicomweb_stand_in():
    paths = ["/dicom-web", "/dicom-web/{path:path}", "/wado"]
    return [Route(path, everything, methods=["GET", "POST"]) for path in paths]


@pytest.fixture
def clock():
    return AClock()


@pytest.fixture
def static(tmp_path) -> Path:
    import gzip

    folder = tmp_path / "static"
    files = {
        "console/index.html": b"<!doctype html><title>filmroom</title>",
        "console/assets/main-Ab12Cd34.js": b"run()",
        "console/favicon.svg": b"<svg/>",
        "ohif/index.html.gz": gzip.compress(b"<!doctype html><script>boot()</script>OHIF"),
        "ohif/app.bundle.0f6159c501addfe9.js.gz": gzip.compress(b"ohif()"),
        "ohif/.stamp": b"secret",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "outside.txt").write_text("outside")
    return folder


@pytest.fixture
def archive():
    return an_archive()


@pytest.fixture
def make_app(archive, tmp_path, static, clock):
    made = []

    def make(ready=lambda: "", **sections):
        app = create_app(
            archive,
            None,
            some_settings(tmp_path, **sections),
            edges=dicomweb_stand_in(),
            ready=ready,
            clock=clock,
            hasher=CHEAP,
            static=static,
        )
        made.append(app)
        return app

    yield make
    for app in made:
        app.sign_in.shut()


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def ask(app):
    """ask(): a client nobody knows. ask("viewer"): a program with a token of that role."""
    return asking(app)


@pytest.fixture
def ask_of():
    """ask_of(app): the same for an application made with make_app."""
    return asking


def asking(app, base=BASE, address="10.0.0.9"):
    def client(role=None, **headers):
        if role is not None:
            name = f"{role}-{len(app.sign_in.credentials.tokens())}"
            secret, _ = app.sign_in.credentials.make_token(name, role, None)
            headers["authorization"] = f"Bearer {secret}"
        transport = httpx.ASGITransport(app, client=(address, 50000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)

    return client


@pytest.fixture
async def browser(ask):
    """A browser in which the viewer has signed in."""
    return await signed_in(ask, "viewer")


async def signed_in(ask, user):
    client = ask()
    answer = await client.post("/api/session", json={"user": user, "password": PASSWORDS[user]})
    assert answer.status_code == 200
    return client
