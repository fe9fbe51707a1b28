"""services/provider.py over real sockets: our server and our client, an archive of two studies."""

import asyncio
import contextlib
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from filmroom.archive.access import SYSTEM, Action, demand
from filmroom.archive.errors import NotHeld, Unavailable
from filmroom.archive.records import Handle, Location, Outcome, Peer, Stored
from filmroom.archive.retrieve import OpenFile
from filmroom.archive.selected import Few
from filmroom.blobs.filesystem import LocalFile
from filmroom.cli.keys import identifier
from filmroom.dicom import uids
from filmroom.dicom.elements import get_text, get_texts, read_data_set
from filmroom.dicom.models import Level
from filmroom.dimse.client import associate
from filmroom.dimse.errors import AssociationRejected
from filmroom.dimse.items import Role
from filmroom.dimse.messages import CFindRequest, CMoveRequest, answer
from filmroom.dimse.server import Server, ServerSettings
from filmroom.pixel.errors import Undecodable
from filmroom.services import query_retrieve, suboperations
from filmroom.services import sender as moving
from filmroom.services.peers import AddressBook
from filmroom.services.provider import Provider, Settings
from filmroom.services.sender import Sending
from filmroom.services.table import TABLE

CT, MR, PDF = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.104.1",
)
JPEG, PLAIN, IMPLICIT = uids.JPEG_BASELINE, uids.EXPLICIT_VR_LE, uids.IMPLICIT_VR_LE
FIND, MOVE, GET = uids.STUDY_ROOT_FIND, uids.STUDY_ROOT_MOVE, uids.STUDY_ROOT_GET
EVERYTHING = frozenset({"all"})


class FakeIngest:
    """Keeps what was committed."""

    def __init__(self):
        self.committed = {}

    def open(self, origin, transfer_syntax_uid, *, sop_class_uid, sop_instance_uid):
        parts = []

        async def commit():
            self.committed[sop_instance_uid] = (b"".join(parts), transfer_syntax_uid)
            return Stored(Outcome.NEW, "1.2", "1.2.1", sop_instance_uid, sop_class_uid)

        return SimpleNamespace(
            write=lambda data: parts.append(bytes(data)), commit=commit, abandon=parts.clear
        )


class FakeFinder:
    """Answers whatever it is asked with `answers`, `at_once` at a time."""

    at_once = 2

    def __init__(self, answers=(), failure=None):
        self.answers, self.failure, self.given = list(answers), failure, 0

    async def stream(self, principal, query, requested, write):
        demand(principal, Action.QUERY)
        if self.failure:
            raise self.failure
        for at in range(0, len(self.answers), self.at_once):
            some = self.answers[at : at + self.at_once]
            self.given += len(some)
            yield [write(one) for one in some]
            await asyncio.sleep(0)


class FakeRetriever:
    """Selects all it has; files are real."""

    def __init__(self, folder):
        self.folder, self.handles, self.failure, self.opened = folder, [], None, set()
        self.chosen, self.spools = None, []

    def add(self, sop_class_uid, transfer_syntax_uid, content):
        uid = f"1.2.1.{len(self.handles) + 1}"
        (self.folder / uid).write_bytes(b"header" + content)
        location = Location(uid, 6 + len(content), 6, 0, bytes(32), transfer_syntax_uid)
        self.handles.append(Handle("1.2", "1.2.1", uid, sop_class_uid, location, b""))
        return uid

    async def select(self, principal, selection):
        demand(principal, Action.RETRIEVE)
        if self.failure:
            raise self.failure
        return self.chosen or Few(list(self.handles))

    def stage(self):
        file = (self.folder / "spool").open("w+b", buffering=0)
        self.spools.append(file)
        return SimpleNamespace(
            write=file.write,
            read=lambda offset, length: os.pread(file.fileno(), length, offset),
            discard=file.close,
        )

    def open(self, handle):
        path = self.folder / handle.location.key
        if not path.exists():
            raise NotHeld("gone")
        blob = LocalFile(os.open(path, os.O_RDONLY))
        file = OpenFile(blob, handle, lambda error: error, ThreadPoolExecutor(1))
        self.opened.add(file)
        return file


async def transcode(handle, transfer_syntax_uid):
    yield b"trans"
    yield b"coded" + bytes(2)


async def transcode_in_vain(handle, transfer_syntax_uid):
    yield b"half of it"
    raise Undecodable("the codestream is broken")


@pytest.fixture
async def house(tmp_path):
    """house(**settings) starts a server; the archive behind it is house.archive."""
    servers = []
    archive = SimpleNamespace(
        ingest=FakeIngest(), finder=FakeFinder(), retriever=FakeRetriever(tmp_path)
    )

    async def start(*peers, unknown=frozenset(Action), transcoder=transcode, **settings):
        book = AddressBook(peers, unknown)
        sending = Sending(book, connect_timeout_seconds=2, timeout_seconds=5)
        provider = Provider(archive, sending, Settings(**settings), transcode=transcoder)
        server = Server(provider, ServerSettings("127.0.0.1", 0))
        await server.start()
        servers.append(server)
        return server.port

    start.archive = archive
    yield start
    for server in servers:
        await server.stop(1)
    assert all(file.fd == -1 for file in archive.retriever.opened), "a file was left open"
    assert all(file.closed for file in archive.retriever.spools), "a spool was left open"


@contextlib.asynccontextmanager
async def calling(port, *contexts, called="FILMROOM", title="TESTER", **more):
    async with await associate(
        "127.0.0.1", port, calling=title, called=called, contexts=contexts, timeout=10, **more
    ) as association:
        yield association


async def all_of(association, request, asked, root=None):
    root = root or request.affected_sop_class_uid
    return [pair async for pair in association.responses(root, request, asked)]


async def find(port, *keys, level=Level.STUDY, extended=None):
    async with calling(port, (FIND, [IMPLICIT]), extended=extended or {}) as association:
        return await all_of(association, CFindRequest(0, FIND), identifier(level, keys))


async def move(port, to, *keys):
    async with calling(port, (MOVE, [IMPLICIT])) as association:
        asked = identifier(Level.STUDY, keys or ["StudyInstanceUID=1.2"])
        return await all_of(association, CMoveRequest(0, MOVE, to), asked)


def failed_uids(data_set):
    return get_texts(read_data_set(data_set, explicit_vr=False, little_endian=True), 0x00080058)


# -- who may what -------------------------------------------------------------------------


async def test_a_wrong_called_title_is_rejected_by_name(house):
    port = await house()
    with pytest.raises(AssociationRejected) as caught:
        async with calling(port, (uids.VERIFICATION, [IMPLICIT]), called="OTHER"):
            pass
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 7)


async def test_several_titles_on_one_port(house):
    port = await house(ae_titles=("FILMROOM", "ARCHIVE"))
    for title in ("FILMROOM", "ARCHIVE"):
        async with calling(port, (uids.VERIFICATION, [IMPLICIT]), called=title) as association:
            assert await association.echo() == 0x0000


async def test_called_titles_are_compared_with_case(house):
    port = await house()
    with pytest.raises(AssociationRejected):
        async with calling(port, (uids.VERIFICATION, [IMPLICIT]), called="filmroom"):
            pass


async def test_who_may_nothing_is_not_let_in(house):
    port = await house(unknown=frozenset())
    with pytest.raises(AssociationRejected) as caught:
        async with calling(port, (uids.VERIFICATION, [IMPLICIT])):
            pass
    assert caught.value.reason == 3


async def test_a_stranger_is_given_no_context_for_queries(house):
    port = await house(unknown=frozenset({Action.ECHO, Action.STORE}))
    wanted = [(uid, [IMPLICIT]) for uid in (uids.VERIFICATION, CT, FIND, MOVE, GET)]
    async with calling(port, *wanted) as association:
        accepted = {context.abstract_syntax for context in association.info.contexts.values()}
        assert accepted == {uids.VERIFICATION, CT}


async def test_a_configured_peer_is_given_what_its_line_says(house):
    reader = Peer("READER", "127.0.0.1", 104, frozenset({"query"}))
    port = await house(reader, unknown=frozenset({Action.ECHO}))
    wanted = [(uid, [IMPLICIT]) for uid in (uids.VERIFICATION, CT, FIND)]
    async with calling(port, *wanted, title="READER") as association:
        accepted = {context.abstract_syntax for context in association.info.contexts.values()}
        assert accepted == {FIND}


async def test_only_who_may_retrieve_is_sent_instances_on_its_own_association(house):
    roles = {CT: Role(scu=True, scp=True)}
    port = await house(unknown=frozenset({Action.STORE}))
    async with calling(port, (CT, [PLAIN]), roles=roles) as association:
        (context,) = association.info.contexts.values()
        assert (context.scu_role, context.scp_role) == (True, False)


async def test_extended_negotiation_agrees_on_what_we_can(house):
    port = await house()
    asked = {FIND: b"\1\1\1\1\1", MOVE: b"\1\1", CT: b"\2\0\0\0\0\0"}
    contexts = [(FIND, [IMPLICIT]), (MOVE, [IMPLICIT]), (CT, [IMPLICIT])]
    async with calling(port, *contexts, extended=asked) as association:
        assert association.info.extended == {
            FIND: b"\1\1\1\0\0",
            MOVE: b"\1\0",
            CT: b"\2\0\3\0\0\0",
        }


async def test_fuzzy_matching_can_be_switched_off(house):
    port = await house(fuzzy_names=False)
    async with calling(port, (FIND, [IMPLICIT]), extended={FIND: b"\1\1\1"}) as association:
        assert association.info.extended[FIND] == b"\1\1\0"


@pytest.mark.parametrize("accept", [True, False])
async def test_unknown_storage_classes_as_configured(house, accept):
    port = await house(accept_unknown_sop_classes=accept)
    contexts = [(uids.VERIFICATION, [IMPLICIT]), ("1.3.46.670589.99.1", [PLAIN])]
    async with calling(port, *contexts) as association:
        accepted = {context.abstract_syntax for context in association.info.contexts.values()}
        assert ("1.3.46.670589.99.1" in accepted) is accept


# -- storing ---------------------------------------------------------------------------------


class Bytes:
    def __init__(self, content):
        self.size, self._rest = len(content), content

    async def ready(self, length):
        pass

    def read(self, length):
        piece, self._rest = self._rest[:length], self._rest[length:]
        return piece


async def test_an_instance_arrives_as_it_was_sent(house):
    port = await house()
    content = os.urandom(300_000)
    async with calling(port, (CT, [JPEG, PLAIN])) as association:
        response = await association.store(CT, "1.2.3", Bytes(content))
    assert response.status == 0x0000
    assert house.archive.ingest.committed == {"1.2.3": (content, JPEG)}


# -- finding -----------------------------------------------------------------------------------


def studies(count):
    return [{"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in range(1, count + 1)]


async def test_every_match_is_one_pending_response(house):
    house.archive.finder.answers = studies(5)
    answers = await find(await house(), "StudyInstanceUID")
    assert [response.status for response, _ in answers] == [0xFF00] * 5 + [0x0000]
    found = [read_data_set(i, explicit_vr=False, little_endian=True) for _, i in answers if i]
    assert [get_text(ds, 0x0020000D) for ds in found] == [
        "1.2.1",
        "1.2.2",
        "1.2.3",
        "1.2.4",
        "1.2.5",
    ]
    assert {get_text(ds, 0x00080054) for ds in found} == {"FILMROOM"}


async def test_a_query_lets_others_have_their_turn_between_two_sends(house):
    house.archive.finder.at_once = 20_000
    house.archive.finder.answers = studies(3000)
    turns = []

    class Exchange:
        """Takes what it is given at once: nothing ever waits for the peer."""

        context = SimpleNamespace(transfer_syntax=IMPLICIT)
        info = SimpleNamespace(extended={}, called_ae_title="FILMROOM")
        cancelled, given = False, 0

        async def respond_all(self, pending, identifiers):
            assert sum(map(len, identifiers)) <= query_retrieve.GATHERED_BYTES
            self.given += len(identifiers)

        async def respond(self, response, identifier=None):
            self.status = response.status

    async def another():
        while True:
            turns.append(exchange.given)
            await asyncio.sleep(0)

    exchange = Exchange()
    task = asyncio.create_task(another())
    await query_retrieve.find(
        CFindRequest(1, FIND),
        identifier(Level.STUDY, ["StudyInstanceUID"]),
        exchange,
        row=TABLE[FIND],
        finder=house.archive.finder,
        principal=SYSTEM,
    )
    task.cancel()
    assert (exchange.given, exchange.status) == (3000, 0)
    steps = [after - before for before, after in itertools.pairwise(turns)]
    assert 0 < max(steps) < 1000


@pytest.mark.parametrize(("count", "inline"), [(10, True), (5000, False)])
async def test_a_list_of_thousands_is_not_read_on_the_event_loop(house, monkeypatch, count, inline):
    threads = []
    read_find = query_retrieve.read_find

    def noted(*arguments, **options):
        threads.append(threading.current_thread())
        return read_find(*arguments, **options)

    monkeypatch.setattr(query_retrieve, "read_find", noted)
    wanted = "\\".join(f"1.2.{number}" for number in range(count))
    answers = await find(await house(), f"StudyInstanceUID={wanted}")
    assert [response.status for response, _ in answers] == [0x0000]
    assert (threads == [threading.current_thread()]) is inline


async def test_keys_we_do_not_support_are_admitted(house):
    house.archive.finder.answers = studies(1)
    answers = await find(await house(), "StudyInstanceUID", "ImageComments=x")
    assert [response.status for response, _ in answers] == [0xFF01, 0x0000]


async def test_a_query_without_the_level_above_names_what_is_missing(house):
    ((response, _),) = await find(await house(), "SeriesInstanceUID", level=Level.SERIES)
    assert response.status == 0xA900
    assert response.offending_elements == (0x0020000D,)
    assert "StudyInstanceUID" in response.error_comment


async def test_relational_queries_when_negotiated(house):
    answers = await find(
        await house(), "SeriesInstanceUID", level=Level.SERIES, extended={FIND: b"\1"}
    )
    assert [response.status for response, _ in answers] == [0x0000]


async def test_an_index_that_is_away_is_out_of_resources(house):
    house.archive.finder.failure = Unavailable("database is away", detail="/var/lib")
    ((response, _),) = await find(await house(), "StudyInstanceUID")
    assert (response.status, response.error_comment) == (0xA700, "database is away")


async def test_a_cancelled_query_stops(house):
    house.archive.finder.answers = studies(10_000)
    port = await house()
    async with calling(port, (FIND, [IMPLICIT])) as association:
        asked = identifier(Level.STUDY, ["StudyInstanceUID"])
        answers = association.responses(FIND, CFindRequest(0, FIND), asked)
        async with contextlib.aclosing(answers):
            async for _ in answers:
                break
    assert house.archive.finder.given < 10_000


async def test_garbage_as_identifier_leaves_the_association_alive(house):
    port = await house()
    async with calling(port, (FIND, [IMPLICIT]), (uids.VERIFICATION, [IMPLICIT])) as association:
        ((response, _),) = await all_of(association, CFindRequest(0, FIND), b"\xff" * 64)
        assert response.status == 0xA900
        assert await association.echo() == 0x0000


async def test_a_find_on_a_context_for_moves_is_not_supported(house):
    port = await house()
    async with calling(port, (MOVE, [IMPLICIT])) as association:
        request = CFindRequest(0, MOVE)
        ((response, _),) = await all_of(association, request, identifier(Level.STUDY, []))
        assert response.status == 0x0122


# -- C-GET ----------------------------------------------------------------------------------------


class Receiver:
    """Takes instances; `statuses` answers the first ones otherwise than success."""

    def __init__(self, *statuses):
        self.received, self.statuses, self.requests = {}, list(statuses), []

    def open_store(self, request, context, info):
        parts = []

        async def finish():
            status = self.statuses.pop(0) if self.statuses else 0
            self.requests.append(request)
            if status == 0:
                content = b"".join(parts)
                self.received[request.affected_sop_instance_uid] = (
                    content,
                    context.transfer_syntax,
                )
            return answer(request, status)

        return SimpleNamespace(
            write=lambda data: parts.append(bytes(data)), finish=finish, abandon=parts.clear
        )


async def get(port, receiver, *contexts):
    roles = {uid: Role(scu=False, scp=True) for uid, _ in contexts}
    async with calling(port, (GET, [IMPLICIT]), *contexts, roles=roles) as association:
        asked = identifier(Level.STUDY, ["StudyInstanceUID=1.2"])
        return [r async for r in association.get(GET, asked, receiver.open_store)]


async def test_get_sends_everything_as_it_is_stored(house):
    retriever, receiver = house.archive.retriever, Receiver()
    first = retriever.add(CT, PLAIN, b"one!")
    second = retriever.add(MR, JPEG, b"two!")
    responses = await get(await house(), receiver, (CT, [PLAIN]), (MR, [JPEG]), (MR, [PLAIN]))
    assert receiver.received == {first: (b"one!", PLAIN), second: (b"two!", JPEG)}
    final = responses[-1]
    assert (final.status, final.completed, final.failed, final.warning) == (0, 2, 0, 0)
    assert responses[0].status == 0xFF00
    assert responses[0].remaining == 2


async def test_get_transcodes_only_what_the_receiver_refused(house):
    retriever, receiver = house.archive.retriever, Receiver()
    uid = retriever.add(CT, JPEG, b"jpeg")
    (*_, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert receiver.received == {uid: (b"transcoded\0\0", PLAIN)}
    assert final.status == 0x0000


async def test_pixels_that_cannot_be_decoded_fail_alone(house):
    retriever, receiver = house.archive.retriever, Receiver()
    retriever.add(CT, JPEG, b"jpeg")
    retriever.add(CT, PLAIN, b"one!")
    port = await house(transcoder=transcode_in_vain)
    (*_, final) = await get(port, receiver, (CT, [PLAIN]))
    assert (final.status, final.completed, final.failed) == (0xB000, 1, 1)


async def test_get_fails_what_has_no_context_and_goes_on(house):
    retriever, receiver = house.archive.retriever, Receiver()
    retriever.add(PDF, PLAIN, b"pdf!")
    uid = retriever.add(CT, PLAIN, b"one!")
    (*_, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert (final.status, final.completed, final.failed) == (0xB000, 1, 1)
    assert list(receiver.received) == [uid]


async def test_an_instance_whose_file_is_gone_fails_alone(house):
    retriever, receiver = house.archive.retriever, Receiver()
    retriever.add(CT, PLAIN, b"one!")
    lost = retriever.add(CT, PLAIN, b"lost")
    retriever.add(CT, PLAIN, b"two!")
    (retriever.folder / lost).unlink()
    (*_, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert (final.status, final.completed, final.failed) == (0xB000, 2, 1)


class Paged:
    """What was selected, one at a time, and perhaps other than what was counted."""

    whole = None

    def __init__(self, handles, counted=None):
        self.handles = handles
        self.kinds = Few(handles[:counted]).kinds
        self.held = self.most = 0

    async def pages(self):
        for handle in self.handles:
            yield [handle]


async def test_get_of_many_pages_counts_down_to_nothing(house, monkeypatch):
    monkeypatch.setattr(query_retrieve, "Pace", lambda: SimpleNamespace(is_due=lambda: True))
    retriever, receiver = house.archive.retriever, Receiver()
    sent = [retriever.add(CT, PLAIN, b"one!") for _ in range(5)]
    retriever.chosen = Paged(retriever.handles)
    (*pending, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert list(receiver.received) == sent
    assert [response.remaining for response in pending] == [5, 4, 3, 2, 1]
    assert (final.status, final.completed, final.failed) == (0x0000, 5, 0)


@pytest.mark.parametrize("counted", [1, 3])
async def test_what_arrives_while_a_get_goes_on_is_sent_too(house, monkeypatch, counted):
    monkeypatch.setattr(query_retrieve, "Pace", lambda: SimpleNamespace(is_due=lambda: True))
    retriever, receiver = house.archive.retriever, Receiver()
    for _ in range(3):
        retriever.add(CT, PLAIN, b"one!")
    retriever.chosen = Paged(retriever.handles, counted)
    (*pending, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert [response.remaining for response in pending] == list(range(counted, 0, -1))
    assert (final.status, final.completed) == (0x0000, 3)


async def test_an_index_that_goes_away_between_two_pages_fails_the_rest(house):
    retriever, receiver = house.archive.retriever, Receiver()
    for _ in range(3):
        retriever.add(CT, PLAIN, b"one!")

    class Broken(Paged):
        async def pages(self):
            yield self.handles[:1]
            raise Unavailable("the index does not answer")

    retriever.chosen = Broken(retriever.handles)
    (*_, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert (final.status, final.completed, final.failed) == (0xB000, 1, 2)
    assert final.error_comment == "the index does not answer"


async def test_a_large_transcoded_data_set_waits_in_the_data_folder(house, monkeypatch):
    monkeypatch.setattr(suboperations, "SPOOLED_BYTES", 8)
    retriever, receiver = house.archive.retriever, Receiver()
    uid = retriever.add(CT, JPEG, b"jpeg")
    (*_, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert receiver.received == {uid: (b"transcoded\0\0", PLAIN)}
    assert (final.status, len(retriever.spools)) == (0x0000, 1)


async def test_without_room_for_a_spool_only_what_needs_it_fails(house, monkeypatch):
    monkeypatch.setattr(suboperations, "SPOOLED_BYTES", 8)
    retriever, receiver = house.archive.retriever, Receiver()
    retriever.add(CT, JPEG, b"jpeg")
    plain = retriever.add(CT, PLAIN, b"one!")

    def below_the_mark():
        raise Unavailable("out of space")

    monkeypatch.setattr(retriever, "stage", below_the_mark)
    (*_, final) = await get(await house(), receiver, (CT, [PLAIN]))
    assert (final.status, final.completed, final.failed) == (0xB000, 1, 1)
    assert list(receiver.received) == [plain]


async def test_get_of_nothing_is_a_success(house):
    (final,) = await get(await house(), Receiver(), (CT, [PLAIN]))
    assert (final.status, final.completed) == (0x0000, 0)


# -- C-MOVE ---------------------------------------------------------------------------------------


async def a_destination(house, receiver, *, accepts=None, title="READER"):
    """A storage SCP of ours; returns the peer to configure."""
    from filmroom.dimse.negotiation import Policy, ServiceTerms

    terms = ServiceTerms(frozenset(accepts) if accepts else None)
    policy = Policy(dict.fromkeys((CT, MR, PDF), terms))
    provider = SimpleNamespace(
        policy=lambda *_: policy, open_store=receiver.open_store, handle=None
    )
    server = Server(provider, ServerSettings("127.0.0.1", 0))
    await server.start()
    return Peer(title, "127.0.0.1", server.port, frozenset()), server


async def test_a_move_to_an_unknown_destination_opens_no_connection(house):
    house.archive.retriever.add(CT, PLAIN, b"one!")
    ((response, _),) = await move(await house(), "NOBODY")
    assert response.status == 0xA801


async def test_move_sends_everything_and_says_for_whom(house):
    receiver = Receiver()
    peer, server = await a_destination(house, receiver)
    uid = house.archive.retriever.add(CT, JPEG, b"one!")
    answers = await move(await house(peer), "READER")
    await server.stop(1)
    assert receiver.received == {uid: (b"one!", JPEG)}
    (request,) = receiver.requests
    assert request.move_originator_ae_title == "TESTER"
    assert request.move_originator_message_id is not None
    statuses = [response.status for response, _ in answers]
    assert statuses[0] == 0xFF00
    assert statuses[-1] == 0x0000
    final = answers[-1][0]
    assert (final.remaining, final.completed, final.failed) == (None, 1, 0)


async def test_move_transcodes_for_a_destination_that_takes_plain_only(house):
    receiver = Receiver()
    peer, server = await a_destination(house, receiver, accepts=[IMPLICIT])
    uid = house.archive.retriever.add(CT, JPEG, b"jpeg")
    answers = await move(await house(peer), "READER")
    await server.stop(1)
    assert receiver.received == {uid: (b"transcoded\0\0", IMPLICIT)}
    assert answers[-1][0].status == 0x0000


async def test_move_of_many_pages_goes_over_one_association(house):
    receiver = Receiver()
    peer, server = await a_destination(house, receiver)
    retriever = house.archive.retriever
    sent = [retriever.add(kind, PLAIN, b"one!") for kind in (CT, MR, CT, MR)]
    retriever.chosen = Paged(retriever.handles)
    associations = []
    associate_ = moving.associate

    async def counted(*arguments, **more):
        associations.append(more["contexts"])
        return await associate_(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "associate", counted)
        answers = await move(await house(peer), "READER")
    await server.stop(1)
    assert list(receiver.received) == sent
    assert answers[-1][0].completed == 4
    assert len(associations) == 1


async def test_move_of_more_kinds_than_contexts_goes_page_by_page(house, monkeypatch):
    monkeypatch.setattr(moving, "MAX_CONTEXTS", 2)
    receiver = Receiver()
    peer, server = await a_destination(house, receiver)
    retriever = house.archive.retriever
    sent = [retriever.add(kind, PLAIN, b"one!") for kind in (CT, MR, PDF)]
    retriever.chosen = Paged(retriever.handles)
    answers = await move(await house(peer), "READER")
    await server.stop(1)
    assert list(receiver.received) == sent
    assert answers[-1][0].completed == 3


async def test_a_destination_that_is_away_fails_all_without_listing_all(house, monkeypatch):
    monkeypatch.setattr(suboperations, "FAILED_UIDS", 2)
    retriever = house.archive.retriever
    failing = [retriever.add(CT, PLAIN, b"one!") for _ in range(5)]
    retriever.chosen = Paged(retriever.handles)
    peer = Peer("AWAY", "127.0.0.1", 1, frozenset())
    answers = await move(await house(peer), "AWAY")
    final, failed = answers[-1]
    assert (final.status, final.failed) == (0xA702, 5)
    assert failed_uids(failed) == failing[:2]


async def test_without_a_transcoder_what_was_refused_fails(house):
    receiver = Receiver()
    peer, server = await a_destination(house, receiver, accepts=[IMPLICIT])
    uid = house.archive.retriever.add(CT, JPEG, b"jpeg")
    answers = await move(await house(peer, transcoder=None), "READER")
    await server.stop(1)
    final, failed = answers[-1]
    assert (final.status, final.failed) == (0xA702, 1)
    assert failed_uids(failed) == [uid]


async def test_refusals_of_the_destination_are_listed(house):
    receiver = Receiver(0xA700, 0xB000)
    peer, server = await a_destination(house, receiver)
    uids_ = [house.archive.retriever.add(CT, PLAIN, b"abcd") for _ in range(3)]
    answers = await move(await house(peer), "READER")
    await server.stop(1)
    final, failed = answers[-1]
    assert (final.status, final.completed, final.failed, final.warning) == (0xB000, 1, 1, 1)
    assert failed_uids(failed) == uids_[:1]


async def test_an_unreachable_destination_fails_all_with_counts(house):
    uids_ = [house.archive.retriever.add(CT, PLAIN, b"abcd") for _ in range(3)]
    gone = Peer("READER", "127.0.0.1", 1, frozenset())
    final, failed = (await move(await house(gone), "READER"))[-1]
    assert (final.status, final.completed, final.failed) == (0xA702, 0, 3)
    assert failed_uids(failed) == uids_
    assert "READER" in final.error_comment


async def test_a_destination_that_leaves_midway_is_asked_again(house):
    receiver = Receiver()
    servers, has_left = [], []

    def leaving(request, context, info):
        if len(receiver.received) == 1 and not has_left:
            has_left.append(True)
            for link in list(servers[0]._associations):
                link.cut()
        return receiver.open_store(request, context, info)

    fake = SimpleNamespace(open_store=leaving)
    peer, server = await a_destination(house, fake)
    servers.append(server)
    for _ in range(4):
        house.archive.retriever.add(CT, PLAIN, b"abcd")
    final, _ = (await move(await house(peer), "READER"))[-1]
    await server.stop(1)
    assert (final.status, final.completed, final.failed) == (0xB000, 3, 1)


async def test_a_cancelled_move_stops_and_says_what_remains(house):
    class Slow(Receiver):
        def open_store(self, request, context, info):
            sink = super().open_store(request, context, info)
            finish = sink.finish

            async def slowly():
                await asyncio.sleep(0.02)
                return await finish()

            sink.finish = slowly
            return sink

    receiver = Slow()
    peer, server = await a_destination(house, receiver)
    for _ in range(200):
        house.archive.retriever.add(CT, PLAIN, b"abcd")
    port = await house(peer)
    async with calling(port, (MOVE, [IMPLICIT])) as association:
        asked = identifier(Level.STUDY, ["StudyInstanceUID=1.2"])
        call = association.responses(MOVE, CMoveRequest(0, MOVE, "READER"), asked)
        async with contextlib.aclosing(call):
            async for _ in call:
                while not receiver.received:
                    await asyncio.sleep(0.005)
                break
    await server.stop(1)
    assert 0 < len(receiver.received) < 200


async def test_an_index_that_is_away_cannot_count_matches(house):
    peer = Peer("READER", "127.0.0.1", 1, frozenset())
    house.archive.retriever.failure = Unavailable("database is away")
    ((response, _),) = await move(await house(peer), "READER")
    assert response.status == 0xA701
