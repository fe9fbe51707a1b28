"""Peers that send much and listen little: they may hold up themselves, not us and not others."""

import asyncio
import contextlib

import pytest

from filmroom.dimse import link, server
from filmroom.dimse.client import associate
from filmroom.dimse.commands import encode_command
from filmroom.dimse.messages import CEchoRequest, CStoreRequest, UnknownRequest, answer
from filmroom.dimse.negotiation import Policy, ServiceTerms
from filmroom.dimse.pdv import cut
from filmroom.dimse.server import Server, ServerSettings

ECHO, CT, EXPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


class Sink:
    def __init__(self, request, sizes):
        self.request, self.sizes = request, sizes

    def write(self, data):
        self.sizes.append(len(data))

    async def finish(self):
        return answer(self.request, 0)

    def abandon(self):
        pass


class Provider:
    """Accepts all, remembers the sizes of the fragments that came."""

    def __init__(self):
        self.sizes = []

    def policy(self, calling, called, address):
        return Policy({ECHO: ServiceTerms(), CT: ServiceTerms()})

    def open_store(self, request, context, info):
        return Sink(request, self.sizes)

    async def handle(self, request, identifier, exchange):
        await exchange.respond(answer(request, 0))


@pytest.fixture
async def house():
    provider = Provider()
    running = Server(provider, ServerSettings(host="127.0.0.1", port=0))
    await running.start()
    yield running
    await running.stop(0)


async def connect(house):
    contexts = [(ECHO, [EXPLICIT]), (CT, [EXPLICIT])]
    return await associate("127.0.0.1", house.port, calling="A", called="B", contexts=contexts)


async def test_refusals_take_their_place_in_the_window(house):
    """A peer that asks nonsense without end and reads no answer is read no further itself."""
    association = await connect(house)
    nonsense = encode_command(UnknownRequest(3, 0x0FFE), has_data_set=False)
    flood = b"".join(cut(1, nonsense, 1000, is_command=True)) * 1000
    transport = association._link.transport
    transport.pause_reading()
    sent = 0
    while transport.get_write_buffer_size() == 0 and sent < 200 << 20:
        transport.write(flood)
        sent += len(flood)
        await asyncio.sleep(0.01)
    assert transport.get_write_buffer_size() > 0, "everything was taken"
    assert len(house.tasks) <= 2  # one, and one just done
    other = await connect(house)
    assert await other.echo() == 0
    await other.release()
    association.abort()


async def test_tiny_fragments_let_others_have_their_turn(house, monkeypatch):
    monkeypatch.setattr(link, "EVENTS_AT_ONCE", 10)
    association = await connect(house)
    command = encode_command(CStoreRequest(7, CT, "1.2"), has_data_set=True)
    pieces = [*cut(3, command, 1000, is_command=True), *cut(3, b"x" * 3000, 1)]
    echo = cut(1, encode_command(CEchoRequest(8), has_data_set=False), 1000, is_command=True)
    answers = []
    association._link.invoker.receive = lambda found: answers.append(found.message)
    association._link.write(b"".join([*pieces, *echo]))
    async with asyncio.timeout(5):
        while len(answers) < 2:
            await asyncio.sleep(0.01)
    assert [found.status for found in answers] == [0, 0]
    assert house.provider.sizes == [1] * 3000
    association.abort()


async def test_half_requests_of_all_strangers_together_are_bounded(house, monkeypatch):
    monkeypatch.setattr(server, "MAX_STRANGER_BYTES", 100_000)
    crowd = []
    for _ in range(8):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(bytes.fromhex("01 00 00070000") + bytes(30_000))
        await writer.drain()
        crowd.append((reader, writer))
    async with asyncio.timeout(5):
        for reader, _ in crowd[:5]:  # the oldest are cut
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
    assert house._stranger_bytes <= 100_000
    association = await connect(house)
    assert await association.echo() == 0
    await association.release()
    for _, writer in crowd:
        writer.close()
    async with asyncio.timeout(5):
        while house._strangers:
            await asyncio.sleep(0.01)
    assert house._stranger_bytes == 0
