"""Many fast senders and one slow disk: everybody waits, nobody is lost, memory stays small.

FILMROOM_PRESSURE_OBJECTS: how many each sender has; the long form is 40.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

import hostile_wire as wire
from filmroom.dicom.uids import EXPLICIT_VR_LE
from filmroom.dimse.client import associate
from hostile_files import data_set, new_uid
from hostile_watch import MIB, Watch
from hostile_wire import CT
from nodes import AE_TITLE, about_files

SENDERS = 16
OBJECTS = int(os.environ.get("FILMROOM_PRESSURE_OBJECTS", "3"))
OBJECT_BYTES = 512 * 1024
DISK_BYTES_PER_SECOND = 5_000_000
PATIENCE_SECONDS = 60
SLOW_DISK = Path(__file__).parents[1] / "slow_disk"


class Bytes:
    """A data set as the source of a C-STORE."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._view, self._at = memoryview(content), 0

    async def ready(self, length: int) -> None:
        pass

    def read(self, length: int) -> memoryview:
        piece = self._view[self._at : self._at + length]
        self._at += len(piece)
        return piece


async def send(node) -> list[float]:
    """One sender: as fast as it is answered; how long each answer took."""
    seconds = []
    contexts = [(CT, [EXPLICIT_VR_LE])]
    names = {"calling": "FAST", "called": AE_TITLE}
    async with await associate(
        "127.0.0.1", node.dimse_port, contexts=contexts, timeout=PATIENCE_SECONDS, **names
    ) as association:
        for _ in range(OBJECTS):
            uid = new_uid()
            content = data_set(uid, {0x7FE00010: ("OW", os.urandom(OBJECT_BYTES))})
            began = time.monotonic()
            response = await association.store(CT, uid, Bytes(content))
            assert response.status == 0, response
            seconds.append(time.monotonic() - began)
    return seconds


@pytest.mark.parametrize("call", ["fsync", "write"])
@pytest.mark.timeout(3600)
async def test_sixteen_fast_senders_wait_for_a_slow_disk(start_node, call):
    if call == "fsync":
        about_files()  # what goes to an object store is not synced here
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SLOW_DISK), os.getenv("PYTHONPATH")))),
        "SLOW_DISK_BYTES_PER_SECOND": str(DISK_BYTES_PER_SECOND),
        "SLOW_DISK_CALL": call,
        "FILMROOM__PIXEL__WORKERS": "1",
    }
    node = start_node(environment=environment)
    watch = Watch(node)
    watch.forget_peak()
    began = time.monotonic()
    running = asyncio.gather(*(send(node) for _ in range(SENDERS)))
    echoes = []
    while not running.done():
        echoes.append(await asyncio.to_thread(wire.echo_seconds, node.dimse_port))
        await asyncio.sleep(0.2)
    seconds = [each for sender in await running for each in sender]
    took = time.monotonic() - began
    peak = watch.memory("VmHWM")
    print(
        f"{call}: {len(seconds)} objects in {took:.1f} s, slowest {max(seconds):.1f} s, "
        f"slowest echo {max(echoes):.2f} s, {peak // MIB} MiB"
    )
    least = SENDERS * OBJECTS * OBJECT_BYTES / DISK_BYTES_PER_SECOND
    assert took > 0.9 * least, "the disk was not slow"
    assert max(seconds) < PATIENCE_SECONDS
    assert max(echoes) < PATIENCE_SECONDS / 10
    assert peak < 500 * MIB
    watch.tidy()
