"""The server on real sockets: timers, limits, windows, back-pressure, and peers that misbehave."""

import asyncio
import contextlib
import logging
import time

import pytest

from filmroom.dimse.client import associate
from filmroom.dimse.commands import encode_command
from filmroom.dimse.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectFailed,
    DimseError,
    LocalProtocolError,
    NoAnswer,
)
from filmroom.dimse.messages import (
    CANCEL,
    PENDING,
    CEchoRequest,
    CFindRequest,
    CGetRequest,
    CMoveRequest,
    CStoreRequest,
    NActionRequest,
    UnknownRequest,
    answer,
)
from filmroom.dimse.negotiation import CALLED_AE_TITLE_NOT_RECOGNIZED, Policy, ServiceTerms
from filmroom.dimse.pdv import cut
from filmroom.dimse.server import Observer, Server, ServerSettings

ECHO, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
COMMITMENT = "1.2.840.10008.1.20.1"
EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = [(uid, [EXPLICIT]) for uid in (ECHO, CT, FIND, MOVE, GET, COMMITMENT)]


class Bytes:
    """A source of some bytes."""

    def __init__(self, data):
        self.data, self.size, self.at = memoryview(data), len(data), 0

    async def ready(self, length):
        pass

    def read(self, length):
        self.at += length
        return self.data[self.at - length : self.at]


class Sink:
    """Keeps what comes; `gate` delays the commit."""

    def __init__(self, provider, request):
        self.provider, self.request, self.data = provider, request, b""

    def write(self, data):
        if self.provider.write_fails:
            raise ZeroDivisionError("a bug")
        self.data += bytes(data)

    async def finish(self):
        self.provider.finishing += 1
        self.provider.most = max(self.provider.most, self.provider.finishing)
        await self.provider.gate.wait()
        self.provider.finishing -= 1
        self.provider.stored[self.request.affected_sop_instance_uid] = self.data
        return answer(self.request, 0)

    def abandon(self):
        self.provider.abandoned += 1


class Provider:
    """Does as little as can be."""

    def __init__(self):
        self.stored, self.abandoned, self.write_fails = {}, 0, False
        self.finishing, self.most = 0, 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.seen = []
        self.max_operations = 8
        self.gone = asyncio.Event()

    def policy(self, calling, called, address):
        if called != "FILMROOM":
            return CALLED_AE_TITLE_NOT_RECOGNIZED
        terms = {uid: ServiceTerms(scp=uid == CT) for uid, _ in CONTEXTS}
        return Policy(terms, max_operations=self.max_operations)

    def open_store(self, request, context, info):
        return Sink(self, request)

    async def handle(self, request, identifier, exchange):
        self.seen.append((request, identifier))
        match request:
            case CFindRequest():
                await self.find(request, identifier, exchange)
            case CGetRequest():
                await self.get(request, identifier, exchange)
            case CMoveRequest():
                raise ZeroDivisionError("a bug")
            case NActionRequest():
                await exchange.respond(answer(request, 0), identifier)
            case _:
                await exchange.respond(answer(request, 0))

    async def find(self, request, identifier, exchange):
        try:
            for at in range(int(identifier or b"0")):
                if exchange.cancelled:
                    await exchange.respond(answer(request, CANCEL))
                    return
                await exchange.respond(answer(request, PENDING), b"%08d" % at * 100)
                await asyncio.sleep(0)
        except DimseError:
            self.gone.set()
            raise
        await exchange.respond(answer(request, 0))

    async def get(self, request, identifier, exchange):
        (context,) = (c for c in exchange.info.contexts.values() if c.scp_role)
        completed = 0
        for at in range(int(identifier)):
            store = CStoreRequest(7, CT, f"1.2.{at}")
            completed += await exchange.store(store, context.id, Bytes(b"%03d" % at * 99)) == 0
        await exchange.respond(answer(request, 0, completed=completed))


@pytest.fixture(params=["asyncio", "uvloop"], scope="module")
def event_loop_policy(request):
    if request.param == "uvloop":
        return pytest.importorskip("uvloop").EventLoopPolicy()
    return asyncio.DefaultEventLoopPolicy()


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
async def serve(provider):
    """serve(artim_seconds=...) starts a server; all are stopped at the end."""
    servers = []

    async def start(observer=None, **settings):
        server = Server(
            provider, ServerSettings(host="127.0.0.1", port=0, **settings), observer=observer
        )
        await server.start()
        servers.append(server)
        return server

    yield start
    provider.gate.set()
    for server in servers:
        await server.stop(0)


async def connect(server, **more):
    wanted = {"calling": "SCU", "called": "FILMROOM", "contexts": CONTEXTS, "timeout": 5, **more}
    return await associate("127.0.0.1", server.port, **wanted)


async def until(condition, seconds=3.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.005)


# --- what goes well ---


async def test_echo_store_find_and_an_action_on_one_association(serve, provider):
    server = await serve()
    async with await connect(server) as association:
        assert await association.echo() == 0
        data = bytes(range(256)) * 3000
        response = await association.store(CT, "1.2.3", Bytes(data))
        assert (response.status, response.affected_sop_instance_uid) == (0, "1.2.3")
        assert provider.stored["1.2.3"] == data
        found = [(status, found) async for status, found in association.find(FIND, b"3")]
        assert [status for status, _ in found] == [PENDING, PENDING, PENDING, 0]
        assert found[1][1] == b"00000001" * 100
        response, reply = await association.request(
            COMMITMENT, NActionRequest(0, COMMITMENT, "1.2.9", 1), b"who holds what"
        )
        assert (response.status, response.affected_sop_instance_uid) == (0, "1.2.9")
        assert reply == b"who holds what"
    await until(lambda: server.association_count == 0)


async def test_instances_come_back_on_the_same_association(serve, provider):
    server = await serve()
    taken = Provider()
    async with await connect(server, roles=[CT]) as association:
        responses = [r async for r in association.get(GET, b"5", taken.open_store)]
    assert responses[-1].completed == 5
    assert taken.stored == {f"1.2.{at}": b"%03d" % at * 99 for at in range(5)}


async def test_an_instance_nobody_asked_for_is_refused_by_the_client(serve, provider):
    server = await serve()
    async with await connect(server, roles=[CT]) as association:
        request = CGetRequest(0, GET)
        responses = [r async for r, _ in association.responses(GET, request, b"1")]
    assert (responses[-1].status, responses[-1].completed) == (0, 0)


async def test_an_empty_data_set_is_stored(serve, provider):
    async with await connect(await serve()) as association:
        assert (await association.store(CT, "1.2", Bytes(b""))).status == 0
    assert provider.stored == {"1.2": b""}


async def test_success_is_said_only_after_finish(serve, provider):
    provider.gate.clear()
    async with await connect(await serve()) as association:
        sending = asyncio.ensure_future(association.store(CT, "1.2", Bytes(b"abcd")))
        await until(lambda: provider.finishing == 1)
        assert not sending.done()
        provider.gate.set()
        assert (await sending).status == 0


async def test_a_find_can_be_cancelled(serve, provider):
    async with await connect(await serve()) as association:
        async with contextlib.aclosing(association.find(FIND, b"100000")) as found:
            async for _ in found:
                break
        assert await association.echo() == 0


async def test_what_is_observed(serve):
    class Notes(Observer):
        def __init__(self):
            self.lines = []

        def associated(self, info):
            self.lines.append(("associated", info.calling_ae_title))

        def refused(self, calling, called, address, decision):
            self.lines.append(("refused", called, decision.reason))

        def ended(self, info, how):
            self.lines.append(("ended", how))

        def performed(self, info, request, status, seconds, size):
            self.lines.append(("performed", type(request).__name__, status, size))

    notes = Notes()
    server = await serve(observer=notes)
    async with await connect(server) as association:
        await association.echo()
        await association.store(CT, "1.2", Bytes(b"abcd"))
    with pytest.raises(AssociationRejected):
        await connect(server, called="OTHER")
    await until(lambda: len(notes.lines) == 5)
    assert notes.lines == [
        ("associated", "SCU"),
        ("performed", "CEchoRequest", 0, 0),
        ("performed", "CStoreRequest", 0, 4),
        ("ended", "released"),
        ("refused", "OTHER", 7),
    ]


# --- the window of outstanding operations ---


async def test_several_stores_may_be_outstanding_when_that_was_negotiated(serve, provider):
    provider.gate.clear()
    async with await connect(await serve(), max_operations=4) as association:
        assert association.info.operations.invoked == 4
        sending = [
            asyncio.ensure_future(association.store(CT, f"1.2.{at}", Bytes(b"%d" % at * 1000)))
            for at in range(10)
        ]
        await until(lambda: provider.finishing == 4)
        provider.gate.set()
        responses = await asyncio.gather(*sending)
    assert [r.affected_sop_instance_uid for r in responses] == [f"1.2.{at}" for at in range(10)]
    assert provider.most == 4


def held_store(message_id, uid):
    """A C-STORE as bytes, sent without waiting for leave."""
    command = encode_command(CStoreRequest(message_id, CT, uid), has_data_set=True)
    return b"".join([*cut(3, command, 1000, is_command=True), *cut(3, b"x" * 5000, 1000)])


async def test_what_comes_beyond_the_window_waits_unread(serve, provider):
    provider.gate.clear()
    association = await connect(await serve())
    link = association._link
    for message_id in (11, 12, 13):
        link.write(held_store(message_id, f"1.2.{message_id}"))
    await until(lambda: provider.finishing == 1)
    await asyncio.sleep(0.05)
    assert provider.most == 1
    provider.gate.set()
    await until(lambda: len(provider.stored) == 3)
    assert set(provider.stored.values()) == {b"x" * 5000}
    assert provider.most == 1
    await association.release()


async def test_the_same_message_id_twice_is_refused(serve, provider):
    provider.gate.clear()
    association = await connect(await serve(), max_operations=4)
    link = association._link
    answers = []
    link.invoker.receive = lambda command: answers.append(command.message)
    link.write(held_store(11, "1.2.1") + held_store(11, "1.2.2"))
    await until(lambda: answers)
    assert answers[0].status == 0x0210
    association.abort()


# --- what goes wrong, and the association lives ---


async def test_an_unknown_command_is_answered_0211(serve):
    async with await connect(await serve()) as association:
        response, _ = await association.request(ECHO, UnknownRequest(0, 0x0777), b"with data")
        assert (response.status, response.command_field) == (0x0211, 0x8777)
        assert await association.echo() == 0


async def test_a_bug_in_a_handler_is_answered_0110(serve, caplog):
    async with await connect(await serve()) as association:
        responses = [r async for r in association.move(MOVE, b"key", "AE")]
        assert [r.status for r in responses] == [0x0110]
        assert await association.echo() == 0
    assert "CMoveRequest failed" in caplog.text


async def test_a_bug_in_a_sink_is_answered_0110(serve, provider, caplog):
    provider.write_fails = True
    async with await connect(await serve()) as association:
        response = await association.store(CT, "1.2", Bytes(b"abcd" * 100_000))
        assert response.status == 0x0110
        assert await association.echo() == 0
    assert provider.abandoned == 1
    assert len([r for r in caplog.records if r.exc_info]) == 1


@pytest.mark.parametrize(("uid", "status"), [(FIND, 0xA700), (COMMITMENT, 0x0213)])
async def test_an_identifier_too_long_is_let_pass_and_refused(serve, provider, uid, status):
    request = CFindRequest(0, FIND) if uid == FIND else NActionRequest(0, uid, "1.2", 1)
    async with await connect(await serve(), timeout=20) as association:
        response, _ = await association.request(uid, request, bytes(17 << 20))
        assert response.status == status
        assert await association.echo() == 0
    assert [type(request) for request, _ in provider.seen] == [CEchoRequest]


async def test_a_store_without_a_data_set_is_refused(serve):
    async with await connect(await serve()) as association:
        response, _ = await association.request(CT, CStoreRequest(0, CT, "1.2"))
        assert response.status == 0xC000


# --- limits and timers ---


async def test_an_unknown_called_ae_title_is_rejected_in_words(serve):
    with pytest.raises(AssociationRejected, match="not called by that AE title") as caught:
        await connect(await serve(), called="OTHER")
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 7)


@pytest.mark.parametrize("limit", ["max_associations", "max_per_peer"])
async def test_beyond_the_limit_an_association_is_rejected_at_once(serve, limit):
    server = await serve(**{limit: 2})
    first, second = await connect(server), await connect(server)
    started = time.monotonic()
    with pytest.raises(AssociationRejected, match="limit of associations") as caught:
        await connect(server)
    assert time.monotonic() - started < 1
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
    with pytest.raises(AssociationRejected):  # another AE title is no other peer
        await connect(server, calling="OTHER")
    await first.release()
    await until(lambda: server.association_count < 2)
    await (await connect(server)).release()
    second.abort()


async def silent(server, say=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(say)
    return reader, writer


@pytest.mark.parametrize("say", [b"", b"\x01", b"\x01\x00\x00\x00\x01\x00\x00\x01"])
async def test_who_does_not_ask_for_an_association_is_closed_by_artim(serve, say):
    server = await serve(artim_seconds=0.1)
    reader, writer = await silent(server, say)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


async def test_an_idle_association_is_aborted(serve, caplog):
    caplog.set_level(logging.INFO)
    server = await serve(idle_seconds=0.1)
    association = await connect(server)
    await until(lambda: not association.is_open)
    with pytest.raises(AssociationAborted):
        await association.echo()
    assert "was silent for 0.1 s" in caplog.text


async def test_without_an_idle_limit_nothing_is_timed(serve, caplog):
    caplog.set_level(logging.INFO)
    association = await connect(await serve(idle_seconds=0, artim_seconds=0.05))
    await asyncio.sleep(0.15)
    assert await association.echo() == 0
    assert "no association request" not in caplog.text
    await association.release()


async def test_an_association_at_work_is_not_idle(serve, provider):
    provider.gate.clear()
    association = await connect(await serve(idle_seconds=0.1))
    sending = asyncio.ensure_future(association.store(CT, "1.2", Bytes(b"abcd")))
    await asyncio.sleep(0.3)
    provider.gate.set()
    assert (await sending).status == 0
    await association.release()


async def test_who_stops_in_the_middle_of_a_data_set_is_aborted_and_the_sink_abandoned(
    serve, provider
):
    association = await connect(await serve(idle_seconds=0.1))
    association._link.write(held_store(1, "1.2")[:-100])
    await until(lambda: provider.abandoned == 1)
    assert provider.stored == {}


async def test_who_does_not_read_its_answers_is_aborted(serve, provider):
    server = await serve(idle_seconds=0.3)
    association = await connect(server)
    association._link.transport.pause_reading()
    request = CFindRequest(1, FIND)
    association._link.write(association._link.association.message(5, request, b"1000000"))
    await asyncio.wait_for(provider.gone.wait(), 10)
    assert server.association_count == 0


@pytest.mark.parametrize(
    "say",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes.fromhex("16030100c8010000c40303"),
        b"\xff" * 5000,
        bytes.fromhex("04 00 00000008  00000004 01 03 0000"),
        bytes.fromhex("05 00 00000004 00000000"),
        bytes.fromhex("01 00 ffffffff"),
        bytes.fromhex("01 00 00000004 00010000"),
    ],
    ids=["http", "tls", "noise", "p-data", "release", "4 GiB", "short RQ"],
)
async def test_who_speaks_something_else_is_gone_within_a_second(serve, caplog, say):
    reader, writer = await silent(await serve(), say)
    started = time.monotonic()
    assert (await asyncio.wait_for(reader.read(), 2))[:6] == bytes.fromhex("07 00 00000004")
    assert time.monotonic() - started < 1
    writer.close()
    assert len(caplog.records) == 1
    assert "aborted" in caplog.text


async def test_a_thousand_silent_connections_do_not_delay_an_echo(serve):
    server = await serve()
    strangers = [await silent(server) for _ in range(1000 if can_open(2500) else 200)]
    async with await connect(server) as association:
        for _ in range(5):
            started = time.monotonic()
            assert await association.echo() == 0
            assert time.monotonic() - started < 0.25
    for _, writer in strangers:
        writer.close()


def can_open(files):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files <= hard


async def test_the_oldest_stranger_makes_room(serve):
    server = await serve(max_connections=3)
    strangers = [await silent(server) for _ in range(5)]
    assert await asyncio.wait_for(strangers[0][0].read(), 2) == b""
    async with await connect(server) as association:
        assert await association.echo() == 0
    for _, writer in strangers:
        writer.close()


async def test_all_links_of_a_loop_share_one_receive_buffer(serve):
    server = await serve()
    first, second = await connect(server), await connect(server)
    buffers = {id(link._buffer) for link in server._associations}
    assert len(buffers | {id(first._link._buffer), id(second._link._buffer)}) == 1
    await first.release()
    await second.release()


# --- the end ---


async def test_when_the_peer_leaves_in_the_middle_the_sink_is_abandoned(serve, provider):
    association = await connect(await serve())
    association._link.write(held_store(1, "1.2")[:-100])
    await asyncio.sleep(0.02)
    association._link.cut()
    await until(lambda: provider.abandoned == 1)


async def test_a_commit_goes_on_when_the_peer_has_left(serve, provider):
    provider.gate.clear()
    association = await connect(await serve())
    sending = asyncio.ensure_future(association.store(CT, "1.2", Bytes(b"abcd")))
    await until(lambda: provider.finishing == 1)
    association.abort()
    with pytest.raises(AssociationAborted):
        await sending
    provider.gate.set()
    await until(lambda: provider.stored == {"1.2": b"abcd"})


async def test_a_release_is_confirmed_after_what_is_in_progress(serve, provider):
    provider.gate.clear()
    association = await connect(await serve())
    sending = asyncio.ensure_future(association.store(CT, "1.2", Bytes(b"abcd")))
    await until(lambda: provider.finishing == 1)
    releasing = asyncio.ensure_future(association.release())
    await asyncio.sleep(0.05)
    assert not releasing.done()
    provider.gate.set()
    assert (await sending).status == 0
    await releasing


async def test_stopping_lets_operations_finish_and_refuses_new_ones(serve, provider):
    provider.gate.clear()
    server = await serve()
    busy, idle = await connect(server), await connect(server)
    stranger, writer = await silent(server)
    sending = asyncio.ensure_future(busy.store(CT, "1.2", Bytes(b"abcd")))
    await until(lambda: provider.finishing == 1)
    stopping = asyncio.ensure_future(server.stop(5))
    await until(lambda: not idle.is_open)
    assert await asyncio.wait_for(stranger.read(), 1) == b""
    writer.close()
    with pytest.raises(ConnectFailed, match=r"cannot connect to FILMROOM at 127\.0\.0\.1 port"):
        await connect(server)
    provider.gate.set()
    assert (await sending).status == 0
    await stopping
    await until(lambda: not busy.is_open)


async def test_stopping_does_not_wait_longer_than_its_grace(serve, provider):
    provider.gate.clear()
    server = await serve()
    association = await connect(server)
    sending = asyncio.ensure_future(association.store(CT, "1.2", Bytes(b"abcd")))
    await until(lambda: provider.finishing == 1)
    await server.stop(0.1)
    with pytest.raises(AssociationAborted):
        await sending


# --- the client's own troubles ---


async def test_a_silent_peer_is_given_up(serve, provider):
    provider.gate.clear()
    association = await connect(await serve(), timeout=0.1)
    with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s to CStoreRequest"):
        await association.store(CT, "1.2", Bytes(b"abcd"))
    assert not association.is_open
    association.abort()
    await association.release()


async def test_a_peer_that_accepts_the_connection_and_no_more_is_given_up():
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises(NoAnswer, match="did not answer our association request"):
        await associate(
            "127.0.0.1", port, calling="A", called="B", contexts=CONTEXTS, connect_timeout=0.1
        )
    listener.close()


async def test_what_was_not_accepted_is_said_before_it_is_sent(serve):
    async with await connect(await serve()) as association:
        with pytest.raises(LocalProtocolError, match="FILMROOM accepted no presentation context"):
            await association.store("1.2.3", "1.2", Bytes(b""))


async def test_a_source_that_ends_early_aborts_the_association(serve, provider):
    association = await connect(await serve())
    source = Bytes(b"abcd")
    source.size = 10
    with pytest.raises(EOFError, match="6 bytes early"):
        await association.store(CT, "1.2", source)
    assert not association.is_open
    await until(lambda: provider.abandoned == 1)


async def test_ten_associations_at_a_time_store_everything(serve, provider):
    server = await serve()

    async def send(number):
        async with await connect(server, calling=f"SCU{number}") as association:
            for at in range(10):
                await association.store(CT, f"1.{number}.{at}", Bytes(b"%d" % number * 50_000))

    await asyncio.gather(*(send(number) for number in range(10)))
    assert len(provider.stored) == 100
    assert all(
        provider.stored[f"1.{n}.{at}"] == b"%d" % n * 50_000 for n in range(10) for at in (0, 9)
    )


async def test_a_bug_in_the_policy_rejects_for_now(serve, provider, caplog):
    provider.policy = lambda calling, called, address: 1 / 0
    with pytest.raises(AssociationRejected, match="try again later"):
        await connect(await serve())
    assert "could not be negotiated" in caplog.text
