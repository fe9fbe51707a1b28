"""A length that was only declared allocates nothing, whichever door it comes in by (V1-R17)."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from pathlib import Path

import pytest

import hostile_wire as wire
from hostile_files import data_set, element, new_uid, part10
from hostile_http import DICOM, MULTIPART, multipart, part, request
from hostile_values import absurd_pixels
from hostile_watch import MIB, Watch
from hostile_wire import CT, Peer, p_data, pdu, pdv

STUDIES = "/dicom-web/studies"
GROWTH_BYTES = 16 * MIB
HUGE = 0xFFFFFFF0
CROWD = 20  # of each, at the same time
STORE = wire.command(wire.C_STORE, sop_class=CT, instance="1.2.3", data_set=True)


@pytest.fixture(scope="module")
def watch(node):
    watch = Watch(node)
    uid = new_uid()
    file = part10(data_set(uid), uid)
    assert watch.http.post(STUDIES, content=multipart(file), headers=typed(MULTIPART)).is_success
    with Peer(node.dimse_port) as peer:
        peer.associate()
        assert peer.store(data_set(uid), uid) == 0
    url = f"{STUDIES}/{uid}.1/series/{uid}.2/instances/{uid}"
    assert watch.http.get(f"{url}/rendered").status_code == 200  # what it loads is loaded
    yield watch
    watch.check()


def typed(text):
    return {"Content-Type": text}


def declared_elements():
    """A data set whose last element declares 4 GiB and brings a few bytes, by its kind."""
    return {
        "text": data_set("1.2.3", tail=element(0x00204000, "UT", b"abcd", length=HUGE)),
        "a sequence": data_set("1.2.3", tail=element(0x00081140, "SQ", b"", length=HUGE)),
        "pixel data": data_set("1.2.3", {0x7FE00010: ("", b"")})
        + element(0x7FE00010, "OW", bytes(64), length=HUGE),
        "an offset table": data_set("1.2.3", tail=element(0x7FE00001, "OV", b"", length=HUGE)),
    }


def in_dimse():
    """What each of a crowd says within its association, and then nothing more."""
    found = {
        "a P-DATA of 4 GiB": pdu(wire.P_DATA, b"", HUGE),
        "a command set of 4 GiB": pdu(wire.P_DATA, pdv(1, 1, b"", 130_000)[:6], 131_072),
        "a PDV of 4 GiB": p_data(pdv(3, 3, STORE), pdv(3, 0, b"x", HUGE)),
        "a command's element of 4 GiB": p_data(pdv(1, 1, wire.element(2, b"1", HUGE))),
    }
    for name, body in declared_elements().items():
        found[name] = p_data(pdv(3, 3, STORE), pdv(3, 0, body))
    return found


@pytest.mark.parametrize("sent", in_dimse().values(), ids=in_dimse().keys())
def test_in_an_association(node, watch, sent):
    before = watch.forget_peak()
    with contextlib.ExitStack() as crowd:
        for _ in range(CROWD):
            peer = crowd.enter_context(Peer(node.dimse_port))
            peer.associate()
            peer.send(sent)
        time.sleep(0.3)
        watch.check(CROWD)
        assert watch.memory("VmHWM") - before < GROWTH_BYTES


def over_http():
    """The beginning of a request each, that declares more than ever comes."""
    length = [("Content-Length", str(4 << 30))]
    deflated = part10(b"", "1.2.3", ts="1.2.840.10008.1.2.1.99")
    long_meta = element(0x00020102, "OB", b"", length=HUGE)
    json = f"Content-Type: application/dicom+json\r\nContent-Length: {4 << 30}"
    found = {
        "a body": b"",
        "a part's own length": part(b"", f"Content-Type: {DICOM}\r\nContent-Length: {4 << 30}"),
        "metadata": part(b"[{", json)[:-2],
        "a chunk": b"ffffffff0\r\nabc",
        "a meta header": part(part10(b"", "1.2.3", more=long_meta))[:-2],
        "a deflated data set": part(deflated + struct.pack("<I", HUGE))[:-2],
    }
    for name, body in declared_elements().items():
        found[name] = part(part10(body, "1.2.3"))[:-2]
    chunked = [("Transfer-Encoding", "chunked")]
    media = MULTIPART.replace(DICOM, "application/dicom+json")
    return {
        name: request(
            "POST",
            STUDIES,
            [
                ("Content-Type", media if name == "metadata" else MULTIPART),
                *(chunked if name == "a chunk" else length),
            ],
            body,
        )
        for name, body in found.items()
    }


@pytest.mark.parametrize("sent", over_http().values(), ids=over_http().keys())
def test_in_a_request(node, watch, sent):
    before = watch.forget_peak()
    with contextlib.ExitStack() as crowd:
        for _ in range(CROWD):
            connection = socket.create_connection(("127.0.0.1", node.http_port), 5)
            crowd.enter_context(connection)
            connection.sendall(sent)
        time.sleep(0.3)
        watch.check(CROWD)
        assert watch.memory("VmHWM") - before < GROWTH_BYTES
    watch.tidy()


def workers(pid):
    """The processes that decode pixels."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def peak(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_in_the_size_of_a_frame(node, watch):
    """65535 x 65535 pixels were declared, 128 bytes have come; nobody makes room for them."""
    pids = [watch.pid, *workers(watch.pid)]
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = {pid: peak(pid) for pid in pids}
    for one in absurd_pixels():
        headers = {"Content-Type": MULTIPART}
        answer = watch.http.post(STUDIES, content=multipart(one.file), headers=headers)
        assert answer.status_code == 200
        url = f"{STUDIES}/{one.uid}.1/series/{one.uid}.2/instances/{one.uid}"
        for path in ("/rendered", "/frames/1", "/thumbnail"):
            watch.http.get(url + path, headers={"Accept": "*/*"})
    assert workers(watch.pid)
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # a worker that was killed for its greed
            assert peak(pid) - before[pid] < 2 * GROWTH_BYTES
