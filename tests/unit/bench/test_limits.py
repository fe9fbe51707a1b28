"""bench/least.py and bench/parrot.py: the servers that do next to nothing, asked by real peers."""

import contextlib
import hashlib
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import pydicom
import pytest
import servers
import web

from instances import an_instance

BENCH = Path(__file__).parents[3] / "bench"


@contextlib.contextmanager
def running(program, *arguments, ports):
    process = subprocess.Popen([sys.executable, str(BENCH / program), *map(str, arguments)])
    try:
        for port in ports:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("durable", [False, True])
def test_the_least_takes_what_storescu_sends_and_keeps_it_if_it_is_told_to(tmp_path, durable):
    files = tmp_path / "files"
    files.mkdir()
    for n in range(3):
        (files / f"{n}.dcm").write_bytes(an_instance(SOPInstanceUID=f"1.2.{n + 1}", seed=n))
    dimse, http = servers.free_port(), servers.free_port()
    kept = tmp_path / "kept"
    more = ["--durable", str(kept)] if durable else []
    with running("least.py", dimse, http, *more, ports=(dimse, http)):
        command = ["storescu", "+sd", "127.0.0.1", str(dimse), str(files)]
        subprocess.run(command, check=True, capture_output=True)
        client = web.Connection(http)
        body = bytes(range(256)) * 100
        assert client.post("/dicom-web/studies", {}, body).status == 200
        assert client.get("/dicom-web/studies?limit=1", {}).status == 200
        client.close()
    if not durable:
        return
    found = sorted(kept.glob("*.dcm"), key=lambda path: int(path.stem))
    assert len(found) == 3 + 10
    data_sets = [pydicom.dcmread(path, force=True).SOPInstanceUID for path in found[:3]]
    assert sorted(data_sets) == ["1.2.1", "1.2.2", "1.2.3"]
    assert b"".join(path.read_bytes() for path in found[3:]) == body
    rows = dict(apsw.Connection(str(kept / "index.sqlite")).execute("SELECT id, digest FROM row"))
    assert [rows[n + 1] for n in range(13)] == [
        hashlib.sha256(path.read_bytes()).digest() for path in found
    ]


def test_the_parrot_says_again_what_it_has_heard():
    asked = []

    def serve(listener):
        while True:
            connection = listener.accept()[0]
            while data := connection.recv(65_536):
                asked.append(data)
                body = b"%d" % len(asked) * 100_000
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                connection.sendall(body)

    def ask():
        client = web.Connection(port)
        found = [client.get(path, {}, keep=True).body for path in ("/a", "/b", "/a")]
        client.close()
        return found

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        port = servers.free_port()
        with running("parrot.py", listener.getsockname()[1], port, ports=(port,)) as parrot:
            first = ask()
            assert first == [b"1" * 100_000, b"2" * 100_000, b"3" * 100_000]
            parrot.send_signal(signal.SIGUSR1)
            time.sleep(0.2)
            assert ask() == [first[2], first[1], first[2]]
            assert len(asked) == 3
