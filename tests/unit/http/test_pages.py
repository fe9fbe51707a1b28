"""Static files: found in a table, served as they lie, nothing beside them."""

import gzip
import os

import pytest

from filmroom.asgi.static import PIECE_BYTES, Shelf, serve

PAGE = {"accept": "text/html"}


async def test_the_front_end_is_at_the_root_for_whoever_signed_in(browser):
    answer = await browser.get("/", headers=PAGE)
    assert answer.status_code == 200
    assert "filmroom" in answer.text
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/login", "/study/1.2.3", "/worklist"])
async def test_every_address_of_the_front_end_is_the_same_page(browser, path):
    assert "filmroom" in (await browser.get(path, headers=PAGE)).text


async def test_hashed_names_are_kept_for_ever(ask):
    answer = await ask().get("/assets/main-Ab12Cd34.js")
    assert answer.text == "run()"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")


async def test_a_compressed_file_is_sent_as_it_lies(ask, static):
    client = ask(**{"accept-encoding": "gzip"})
    async with client.stream("GET", "/ohif/app.bundle.0f6159c501addfe9.js") as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert raw == (static / "ohif/app.bundle.0f6159c501addfe9.js.gz").read_bytes()


async def test_who_takes_no_gzip_gets_it_unpacked(ask):
    client = ask(**{"accept-encoding": "identity"})
    answer = await client.get("/ohif/app.bundle.0f6159c501addfe9.js")
    assert answer.text == "ohif()"


async def test_what_one_has_already_is_not_sent_again(ask):
    etag = (await ask().get("/favicon.svg")).headers["etag"]
    answer = await ask().get("/favicon.svg", headers={"if-none-match": etag})
    assert answer.status_code == 304
    assert answer.content == b""


@pytest.mark.parametrize("path", ["/ohif/", "/ohif/viewer", "/ohif/app-config.js"])
async def test_ohif_opens_only_for_who_has_signed_in(ask, browser, path):
    assert (await ask().get(path)).status_code == 401
    assert (await browser.get(path)).status_code == 200


async def test_ohif_is_told_where_our_dicomweb_is(browser):
    answer = await browser.get("/ohif/app-config.js")
    assert answer.text.startswith("window.config = {")
    for said in (
        '"qidoRoot":"/dicom-web"',
        '"routerBasename":"/ohif"',
        '"imageRendering":"wadors"',
    ):
        assert said in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/..%2foutside.txt",
        "/%2e%2e/outside.txt",
        "/ohif/../../outside.txt",
        "/ohif/..%2f..%2foutside.txt",
        "/ohif/.stamp",
        "/ohif/index.html.gz",
        "/assets/../../outside.txt",
        "/assets/%00.txt",
        "//etc/passwd.txt",
    ],
)
async def test_nothing_beside_the_files_is_served(browser, path):
    answer = await browser.get(path)
    assert "outside" not in answer.text
    assert answer.status_code in (404, 200)
    if answer.status_code == 200:
        assert answer.text.startswith("<!doctype html>")


async def test_a_missing_file_is_not_a_page(browser):
    assert (await browser.get("/assets/gone-Ab12Cd34.js")).status_code == 404


async def test_without_a_front_end_the_server_says_so(make_app, ask_of, tmp_path, static):
    import shutil

    shutil.rmtree(static)
    client = ask_of(make_app())("viewer")
    for path, what in (("/", "front-end"), ("/ohif/", "OHIF")):
        answer = await client.get(path, headers=PAGE)
        assert answer.status_code == 404
        assert what in answer.text


@pytest.mark.parametrize("coding", [b"gzip", b"identity"])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
async def test_a_large_file_leaves_in_pieces_however_slowly_it_is_read(tmp_path, coding, size):
    content = os.urandom(size)
    (tmp_path / "codec.wasm.gz").write_bytes(gzip.compress(content))
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"accept-encoding", coding)]}
    await serve(Shelf(tmp_path).get("codec.wasm"), scope, send)
    pieces = [message["body"] for message in sent[1:]]
    body = b"".join(pieces)
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(body)).encode()
    assert (gzip.decompress(body) if coding == b"gzip" else body) == content
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (
        len(pieces) - 1
    ) + [False]
