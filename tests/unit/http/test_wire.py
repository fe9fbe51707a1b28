"""Raw sockets against the real server: absurd, slow, smuggled and truncated requests."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
import time

import httpx
import pytest

from filmroom.asgi import HttpServer
from filmroom.security.settings import HttpSettings


class Slow:
    """An application that answers when told, and remembers what it received."""

    def __init__(self):
        self.received = []
        self.go_on = threading.Event()
        self.entered = threading.Event()

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.received.append("gone")
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.received.append((scope["method"], scope["path"], len(body)))
        if scope["path"] == "/slow":
            self.entered.set()
            await asyncio.to_thread(self.go_on.wait, 10)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def make_server(slow):
    started = []

    def make(app=slow, **settings):
        server = HttpServer(app, HttpSettings(host="127.0.0.1", port=0, **settings))
        server.start()
        started.append(server)
        return server

    yield make
    for server in started:
        server.stop(1)


@pytest.fixture
def server(make_server):
    return make_server()


def talk(server, *pieces, wait=0.0, timeout=5.0) -> bytes:
    """Send, then read until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as peer:
        for piece in pieces:
            try:
                peer.sendall(piece)
            except OSError:
                break
            time.sleep(wait)
        answer = b""
        peer.settimeout(timeout)
        try:
            while piece := peer.recv(65536):
                answer += piece
                if b"\r\n\r\n" in answer and b"connection: close" not in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


def test_a_decent_request_is_served(server):
    assert status(talk(server, HEAD + b"\r\n")) == 200


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: " + b"y" * 300_000, 431),
        (HEAD + b"".join(b"X%d: y\r\n" % n for n in range(5000)) + b"\r\n", 431),
        (HEAD + b"X" * 80_000, 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 200_000, 414),
        (b"\r\n" * 40_000, 431),
    ],
)
def test_a_head_is_bounded(server, request_bytes, expected):
    assert status(talk(server, request_bytes)) == expected


def test_a_head_that_comes_in_drops_is_bounded_too(server):
    drops = [HEAD] + [b"X%d: " % n + b"y" * 9000 + b"\r\n" for n in range(12)]
    assert status(talk(server, *drops, wait=0.01)) == 431


def test_a_large_body_is_not_mistaken_for_a_head(server, slow):
    body = b"x" * 3_000_000
    head = b"POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert status(talk(server, head + body)) == 200
    assert slow.received == [("POST", "/big", len(body))]


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 0x5\r\n\r\nhello",
        POST + b"Content-Length: +5\r\n\r\nhello",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x01\x00\x00\x00\x00\xcd\x00\x01\x00\x00FILMROOM        ",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA\x00: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n\x00\xff\xfe",
    ],
)
def test_what_can_be_read_in_two_ways_is_not_read(server, slow, request_bytes):
    answer = talk(server, request_bytes, timeout=2)
    assert status(answer) in (400, 0)
    assert not any(entry != "gone" for entry in slow.received)
    assert status(talk(server, HEAD + b"\r\n")) == 200


def test_a_head_that_never_ends_is_dropped(make_server):
    server = make_server(header_seconds=0.4)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), 5) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        for letter in b"X-Slow: abcdefghijklmnopqrstuvwxyz" * 4:
            try:
                peer.sendall(bytes([letter]))
            except OSError:
                break
            time.sleep(0.02)
        with contextlib.suppress(OSError):
            answer = peer.recv(1000)
    assert status(answer) in (408, 0)
    assert time.monotonic() - began < 4


def test_a_connection_that_says_nothing_is_closed(make_server):
    server = make_server(header_seconds=0.3)
    answer = talk(server, timeout=5)
    assert status(answer) == 408


def test_an_upload_that_stalls_is_dropped(make_server, slow):
    server = make_server(body_idle_seconds=0.3, header_seconds=0.3)
    answer = talk(server, POST + b"Content-Length: 1000\r\n\r\nhello", timeout=5)
    assert answer == b""
    deadline = time.monotonic() + 2
    while not slow.received and time.monotonic() < deadline:
        time.sleep(0.02)
    assert slow.received == ["gone"]


async def _large(scope, receive, send):
    """An answer of 64 MiB, as fast as it is taken."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(64):
        await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _taken(server, wait):
    """How much of a large answer comes to a client with small buffers that waits before reading."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        peer.settimeout(5)
        peer.connect(("127.0.0.1", server.port))
        peer.sendall(HEAD + b"Connection: close\r\n\r\n")
        time.sleep(wait)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := peer.recv(1 << 20):
                taken += len(piece)
        return taken


def test_an_answer_that_nobody_takes_is_given_up(make_server):
    server = make_server(_large, body_idle_seconds=0.4)
    assert _taken(server, 1.5) < 64 << 20


def test_an_answer_that_is_taken_late_is_given_whole(make_server):
    server = make_server(_large, body_idle_seconds=10)
    assert _taken(server, 0.5) > 64 << 20


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET /\r\n\r\n", 505),
    ],
)
def test_a_version_and_a_host_are_needed(make_server, request_bytes, expected):
    assert status(talk(make_server(), request_bytes)) == expected


def test_a_slow_answer_is_not_a_stalled_upload(make_server, slow):
    server = make_server(body_idle_seconds=0.2, header_seconds=0.2)
    threading.Timer(0.8, slow.go_on.set).start()
    assert status(talk(server, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")) == 200


def test_silent_connections_do_not_hold_up_others(server):
    silent = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(200)]
    try:
        began = time.monotonic()
        assert status(talk(server, HEAD + b"\r\n")) == 200
        assert time.monotonic() - began < 0.5
    finally:
        for peer in silent:
            peer.close()


def test_too_many_connections_are_told_so(make_server):
    server = make_server(max_connections=10, max_per_address=20)
    silent = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(12)]
    try:
        assert status(talk(server, HEAD + b"\r\n")) == 503
    finally:
        for peer in silent:
            peer.close()


def silent_sockets(server, count):
    return [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(count)]


def talk_from(address, server):
    with socket.create_connection(
        ("127.0.0.1", server.port), 5, source_address=(address, 0)
    ) as peer:
        peer.sendall(HEAD + b"Connection: close\r\n\r\n")
        return peer.recv(1000)


def test_silent_sockets_of_one_address_leave_room_for_others(make_server):
    server = make_server(max_connections=20)
    silent = silent_sockets(server, 40)
    try:
        assert status(talk_from("127.0.0.2", server)) == 200
        assert status(talk_from("127.0.0.1", server)) == 503
        assert sum(sock.recv(20) == b"HTTP/1.1 503 Service" for sock in silent[10:]) == 30
    finally:
        for peer in silent:
            peer.close()


def test_an_address_gets_its_room_back(make_server):
    server = make_server(max_per_address=3)
    for _ in range(3):
        for peer in silent_sockets(server, 3):
            peer.close()
        deadline = time.monotonic() + 2
        while status(answer := talk(server, HEAD + b"\r\n")) != 200:
            assert time.monotonic() < deadline, answer
            time.sleep(0.02)


@pytest.mark.parametrize("proxies", [("127.0.0.1",), ("127.0.0.0/8",), ("*",)])
def test_a_trusted_proxy_speaks_for_many(make_server, proxies):
    server = make_server(max_per_address=3, trusted_proxies=proxies)
    silent = silent_sockets(server, 10)
    try:
        assert status(talk(server, HEAD + b"\r\n")) == 200
    finally:
        for peer in silent:
            peer.close()


FORWARDED = HEAD + b"X-Forwarded-For: 10.0.0.9\r\n\r\n"


def test_a_proxy_nobody_named_is_spoken_of_once(make_server, caplog):
    server = make_server()
    for _ in range(3):
        talk(server, FORWARDED)
    warned = [entry for entry in caplog.records if "trusted_proxies" in entry.message]
    assert len(warned) == 1
    assert warned[0].address == "127.0.0.1"


def test_a_proxy_that_is_named_is_not_spoken_of(make_server, caplog):
    server = make_server(trusted_proxies=("127.0.0.1",))
    assert status(talk(server, FORWARDED)) == 200
    assert not caplog.records


def test_stopping_lets_a_request_under_way_finish(make_server, slow):
    server = make_server()
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{server.url}/slow", timeout=10).text)
    )
    asking.start()
    assert slow.entered.wait(5)
    threading.Timer(0.5, slow.go_on.set).start()
    server.stop(10)
    asking.join(10)
    assert answers == ["ok"]
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), 1)


def test_a_port_that_is_taken_is_an_error_of_start(server, slow):
    with pytest.raises(OSError, match="in use"):
        HttpServer(slow, HttpSettings(host="127.0.0.1", port=server.port)).start()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return {"tls_certificate": folder / "cert.pem", "tls_key": folder / "key.pem"}


def test_https_is_served_with_a_certificate(make_server, certificate):
    server = make_server(**certificate)
    assert server.url.startswith("https://127.0.0.1:")
    trust = ssl.create_default_context(cafile=certificate["tls_certificate"])
    assert httpx.get(server.url, verify=trust).text == "ok"


def test_old_tls_is_refused(make_server, certificate):
    server = make_server(**certificate)
    trust = ssl.create_default_context(cafile=certificate["tls_certificate"])
    trust.set_ciphers("ALL:@SECLEVEL=0")
    trust.minimum_version = ssl.TLSVersion.TLSv1
    trust.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", server.port)) as peer, pytest.raises(OSError):
        trust.wrap_socket(peer, server_hostname="127.0.0.1")


def test_a_bad_certificate_is_an_error_of_start(slow, tmp_path):
    (tmp_path / "x.pem").write_text("not a certificate")
    settings = HttpSettings(port=0, tls_certificate=tmp_path / "x.pem", tls_key=tmp_path / "x.pem")
    with pytest.raises(OSError):
        HttpServer(slow, settings).start()


@pytest.mark.parametrize(("trusted", "seen"), [((), "127.0.0.1"), (("127.0.0.1",), "192.0.2.7")])
def test_a_proxy_is_believed_only_when_it_is_trusted(make_server, trusted, seen):
    addresses = []

    async def app(scope, receive, send):
        addresses.append((scope["client"][0], scope["scheme"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    server = make_server(app, trusted_proxies=trusted)
    headers = {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https"}
    httpx.get(server.url, headers=headers)
    assert addresses == [(seen, "https" if trusted else "http")]
