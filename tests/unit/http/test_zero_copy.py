"""asgi/zero_copy.py over real sockets: the same bytes, to fast, slow and faithless readers."""

import logging
import os
import socket
import struct
import subprocess
import threading
import time

import httpx
import pytest

from filmroom.asgi import HttpServer, zero_copy
from filmroom.asgi.zero_copy import ZERO_COPY, ZeroCopy
from filmroom.dicomweb.answers import FilePiece, Stream
from filmroom.security.settings import HttpSettings

SIZE = 12_000_003


class Files:
    """Sends a file, framed by a few bytes, in the way that the path says."""

    def __init__(self, path):
        self.path = path
        self.offered = []
        self.open = 0

    async def __call__(self, scope, receive, send):
        self.offered.append(ZERO_COPY in scope.get("extensions", {}))
        size = os.path.getsize(self.path)
        headers = [(b"content-length", b"%d" % (size + 8))] if scope["path"] != "/chunked" else []
        claimed = size + 1000 if scope["path"] == "/short" else size
        if scope["path"] == "/short":
            headers = [(b"content-length", b"%d" % (claimed + 8))]
        if scope["path"] == "/long":
            headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<<<<", "more_body": True})
        file = os.open(self.path, os.O_RDONLY)
        self.open += 1
        try:
            half = claimed // 2
            for offset, count in ((0, half), (half, claimed - half)):
                await send(
                    {"type": ZERO_COPY, "file": file, "offset": offset, "count": count}
                    | {"more_body": True}
                )
        finally:
            os.close(file)
            self.open -= 1
        await send({"type": "http.response.body", "body": b">>>>"})


class OpenFile:
    """As much of archive.retrieve.OpenFile as an answer needs."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)


class Streamed(Files):
    """Sends the file as the DICOMweb routes do."""

    async def __call__(self, scope, receive, send):
        size = os.path.getsize(self.path)

        async def parts():
            file = OpenFile(self.path)
            self.open += 1
            try:
                yield b"<<<<"
                yield FilePiece(file, 0, size)
                yield b">>>>"
            finally:
                os.close(file.fd)
                self.open -= 1

        length = None if scope["path"] == "/chunked" else size + 8
        await Stream(parts, {}, length=length)(scope, receive, send)


@pytest.fixture
def content(tmp_path):
    data = os.urandom(SIZE)
    (tmp_path / "file").write_bytes(data)
    return data


@pytest.fixture
def files(tmp_path, content):
    return Files(tmp_path / "file")


@pytest.fixture
def make_server(files):
    started = []

    def make(app=files, **settings):
        settings = HttpSettings(host="127.0.0.1", port=0, **settings)
        server = HttpServer(ZeroCopy(app), settings)
        server.start()
        started.append(server)
        return server

    yield make
    for server in started:
        server.stop(1)


@pytest.fixture
def server(make_server):
    return make_server()


def asked(server, path="/"):
    peer = socket.create_connection(("127.0.0.1", server.port), 10)
    peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return peer


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_the_file_arrives_as_it_is_in_every_framing(server, files, content, path):
    with httpx.Client(base_url=server.url) as client:
        for _ in range(3):  # the connection is as good as new
            assert client.get(path).content == b"<<<<" + content + b">>>>"
    assert files.offered == [True] * 3


def test_a_slow_reader_gets_every_byte(server, content):
    peer = asked(server)
    received = bytearray()
    while len(received) < SIZE:
        time.sleep(0.01)  # the server's socket is full most of the time
        piece = peer.recv(300_000)
        assert piece
        received += piece
    peer.close()
    body = received.partition(b"\r\n\r\n<<<<")[2]
    assert body[:SIZE] == content[: len(body)]


def test_what_the_disk_must_be_asked_for_is_sent_from_a_thread(server, content, monkeypatch):
    monkeypatch.setattr("filmroom.asgi.zero_copy._is_at_hand", lambda file, offset: False)
    assert httpx.get(server.url).content == b"<<<<" + content + b">>>>"


def test_others_are_answered_while_one_does_not_read(server, content):
    silent = asked(server)
    time.sleep(0.2)
    assert len(httpx.get(server.url).content) == SIZE + 8
    silent.close()


def test_who_leaves_in_the_middle_leaves_no_open_file(server, files):
    peer = asked(server)
    until(lambda: files.open == 1)
    peer.close()
    until(lambda: files.open == 0)
    assert len(httpx.get(server.url).content) == SIZE + 8


def leaves(peer, how):
    """Three ways to go: politely, abruptly, and with a last word."""
    if how == "reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        peer.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
    peer.close()


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize("path", ["/", "/chunked"])
@pytest.mark.parametrize("kind", [Files, Streamed])
def test_who_leaves_in_the_middle_is_no_error(make_server, files, caplog, kind, path, how):
    app = kind(files.path)
    server = make_server(app)
    for _ in range(3):
        peer = asked(server, path)
        until(lambda: app.open == 1)
        time.sleep(0.05)  # the socket is full now
        leaves(peer, how)
        until(lambda: app.open == 0)
    assert len(httpx.get(server.url).content) == SIZE + 8  # all is logged that is to be
    assert not errors(caplog)


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_who_asks_twice_at_once_and_leaves_is_no_error(server, files, caplog, path):
    peer = asked(server, path)
    peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: files.open == 1)
    time.sleep(0.05)
    leaves(peer, "reset")
    until(lambda: files.open == 0)
    assert len(httpx.get(server.url).content) == SIZE + 8
    assert not errors(caplog)


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_who_leaves_while_the_disk_is_read_is_no_error(server, files, caplog, monkeypatch, path):
    reading, left = threading.Event(), threading.Event()
    pread = os.pread

    def slow(*arguments):
        reading.set()
        assert left.wait(10)
        return pread(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(zero_copy, "_is_at_hand", lambda file, offset: False)
        patched.setattr(os, "pread", slow)
        peer = asked(server, path)
        assert reading.wait(10)
        leaves(peer, "reset")
        time.sleep(0.2)  # the server has seen it
        left.set()
        until(lambda: files.open == 0)
    assert len(httpx.get(server.url).content) == SIZE + 8
    assert not errors(caplog)


def test_a_file_that_became_shorter_ends_the_connection(server):
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(server.url + "/short")
    assert len(httpx.get(server.url).content) == SIZE + 8


def test_more_than_was_said_is_never_sent(server):
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(server.url + "/long")


def test_a_kernel_cannot_encrypt_so_tls_is_not_offered_it(make_server, files, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = make_server(tls_certificate=certificate, tls_key=key)
    with pytest.raises(httpx.RemoteProtocolError):  # for our Files does not know another way
        httpx.get(server.url, verify=False)
    assert files.offered == [False]
