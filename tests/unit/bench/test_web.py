"""bench/web.py: the lean HTTP client reads what servers send, however it comes."""

import socket
import threading

import pytest
import web

BODY = bytes(range(256)) * 8_000  # more than the client's buffer holds at once
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
    b"%x;note\r\n" % len(piece) + piece + b"\r\n"
    for piece in (BODY[:10], BODY[10:1_500_000], BODY[1_500_000:])
)
CHUNKED += b"0\r\n\r\n"
UP_TO_THE_END = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY


@pytest.fixture
def server():
    """A function that starts a server: each connection is given its answers, then is closed."""
    listeners = []

    def start(*connections: list[bytes]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve():
            for answers in connections:
                connection, _ = listener.accept()
                with connection:
                    for answer in answers:
                        connection.recv(65_536)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, UP_TO_THE_END])
def test_a_body_comes_whole_however_its_end_is_told(server, answer):
    got = web.Connection(server([answer])).get("/", {}, keep=True)
    assert (got.status, got.length, got.body == BODY) == (200, len(BODY), True)


def test_a_connection_is_used_again(server):
    connection = web.Connection(server([LENGTH, CHUNKED, LENGTH]))
    assert [connection.get("/", {}).length for _ in range(3)] == [len(BODY)] * 3


def test_a_connection_that_the_server_closed_is_opened_again(server):
    connection = web.Connection(server([LENGTH], [CHUNKED]))
    assert [connection.get("/", {}).length for _ in range(2)] == [len(BODY)] * 2


def test_anything_but_success_ends_the_bench(server):
    with pytest.raises(SystemExit, match="404"):
        web.Connection(server([b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"])).get("/", {})
