"""The only place where the house is put together: start it in order, stop it in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from filmroom import __version__, observe
from filmroom.archive.access import Action
from filmroom.archive.convert import data_set_as
from filmroom.archive.errors import ArchiveError
from filmroom.archive.jobs import SEND
from filmroom.archive.metadata import Settler
from filmroom.archive.news import News
from filmroom.archive.peers import PeerBook
from filmroom.archive.records import Handle, Origin
from filmroom.archive.scrub import Scrub
from filmroom.archive.scrubber import Scrubber
from filmroom.archive.shrinking import COMPRESS
from filmroom.archive.soundness import Pace
from filmroom.asgi import App, HttpServer, create_app
from filmroom.asgi.server import new_loop
from filmroom.blobs.upkeep import DataFolderInUse, copy_opener
from filmroom.config import Settings
from filmroom.config.settings import DimseSettings
from filmroom.dimse.server import Server, ServerSettings
from filmroom.pixel.pool import Pool
from filmroom.security import tls
from filmroom.services.counting import Counting
from filmroom.services.peers import AddressBook
from filmroom.services.provider import Provider
from filmroom.services.provider import Settings as ServiceSettings
from filmroom.services.sender import Sending
from filmroom.storeroom import Storeroom
from filmroom.workflow.compressing import Compressing
from filmroom.workflow.presence import Presence
from filmroom.workflow.routing import Forwarding
from filmroom.workflow.sending import SendKind
from filmroom.workflow.worker import Workers

log = logging.getLogger(__name__)

OPEN_FILES = 65_536
GARBAGE_OBJECTS = 20_000  # before circles are looked for: an answer is many objects
GRACE_SECONDS = 20.0  # for what is in progress when we are asked to stop


class Node:
    """A whole filmroom: storeroom, pixel workers, DIMSE and HTTP doors."""

    def __init__(self, settings: Settings) -> None:
        """Raises DataFolderInUse, ArchiveError (index), OSError (folder)."""
        self.settings = settings
        self.room = Storeroom(settings)
        self.first_password: str | None = None
        self._state = "starting"
        self._pool = Pool(settings.pixel.workers)
        self._settler = Settler(
            self.room.index,
            self.room.archive.retriever.shelf,
            self.room.clock,
            settings.archive.quiet_seconds,
        )
        self.room.heed = lambda instance: self._settler.heed(instance.series.uid)
        self._peers = PeerBook(self.room.index, settings.peer_records)
        book = AddressBook(self._peers.peers, unknown_peers=_rights(settings))
        self._peers.changed = book.warm
        sending = Sending(book, ssl_context=lambda: _client_tls(settings.dimse))
        provider = Provider(
            self.room.archive,
            sending,
            ServiceSettings(
                settings.dimse.ae_titles,
                settings.dimse.accept_unknown_sop_classes,
                settings.query.fuzzy_names,
            ),
            transcode=self._transcode,
        )
        self._book = book
        self._presence = Presence(self.room.index.cluster, self.room.name, __version__)
        self._workers = self._new_workers(sending)
        self._compressors = self._new_compressors()
        counting = Counting()
        self._dimse = [Server(provider, terms, observer=counting) for terms in _listeners(settings)]
        self._scrubber = Scrubber(
            self.room.index,
            self.room.clock,
            self._scrub,
            self.room.turn,
            self.room.archive.retriever.distrust,
            every_days=settings.scrub.every_days,
        )
        self.room.archive.retriever.suspect = self._scrubber.suspect
        self._app: App | None = None
        self._http: HttpServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def _new_workers(self, sending: Sending) -> Workers:
        """What does the jobs here."""
        settings, room = self.settings, self.room
        send = SendKind(
            room.archive.retriever,
            sending,
            settings.dimse.ae_titles[0],
            self._transcode,
            self._peers.refresh,
        )
        return Workers(
            room.index.jobs,
            {SEND: send},
            room.name,
            count=settings.jobs.workers,
            keep_seconds=settings.jobs.keep_days * 86400,
            before=Forwarding(room.index.jobs, self._peers.peers).feed,
        )

    def _new_compressors(self) -> Workers:
        """What stores instances smaller; beside the others, for it takes its time."""
        settings, room = self.settings, self.room
        retriever, terms = room.archive.retriever, settings.compress.terms
        compressing = Compressing(room.index, room.blobs, retriever, room.clock, terms)
        return Workers(
            room.index.jobs,
            {COMPRESS: compressing},
            f"{room.name}, compressing",
            count=2,  # one lane for rules, one for people
            keep_seconds=settings.jobs.keep_days * 86400,
            before=compressing.feed,
        )

    @property
    def dimse_port(self) -> int:
        """The port that DIMSE listens on."""
        return self._dimse[0].port

    @property
    def http_url(self) -> str:
        """Where people find the web pages."""
        return self._http.url if self._http is not None else ""

    async def start(self) -> None:
        """Open all doors; returns when both answer. Raises OSError for a port in use."""
        self.room.open()
        await asyncio.to_thread(self.room.index.listen, self._heard)
        self._settler.start()
        self._scrubber.start()
        if not self.room.index.embedded:
            self._presence.start()
        await asyncio.to_thread(self._peers.start)
        await asyncio.to_thread(self._book.warm)
        for server in self._dimse:
            await server.start()
        self._app = create_app(
            self.room.archive,
            self._pool,
            self.settings,
            self._peers,
            dimse_port=self.dimse_port,
            ready=lambda: self._state,
            clock=self.room.clock,
        )
        self.first_password = await asyncio.to_thread(self._app.sign_in.users.make_first)
        self._http = HttpServer(self._app, self.settings.http)
        await asyncio.to_thread(self._http.start)
        self._state = ""
        self._begin(asyncio.to_thread(self._pool.warm))
        if self.settings.jobs.workers:
            self._begin(self._workers.run())
            self._begin(self._compressors.run())
        if self.settings.samples and not self.room.index.statistics().instances:
            self._begin(self._store_samples())

    async def stop(self) -> None:
        """Close all doors, finish what is in progress, let go of everything."""
        self._state = "stopping"
        ending = tuple(self._tasks)
        for task in ending:
            task.cancel()
        doors = [server.stop(GRACE_SECONDS) for server in self._dimse]
        if self._http is not None:
            doors.append(asyncio.to_thread(self._http.stop, GRACE_SECONDS))
        await asyncio.gather(*doors)
        if ending:
            await asyncio.wait(ending, timeout=GRACE_SECONDS)  # jobs are put back
        self._presence.stop()
        self._peers.stop()
        if self._app is not None:
            self._app.sign_in.shut()
        self._settler.stop()
        self._scrubber.stop()
        self._pool.close()
        self.room.close()

    def _heard(self, topic: str, payload: str) -> None:
        """Another node, or we ourselves, have told something."""
        self.room.archive.retriever.heard(topic, payload)
        self._scrubber.heard(topic)
        self._peers.heard(topic)
        if topic in (News.JOBS, News.LOST_TOUCH):
            self._workers.wake()
            self._compressors.wake()
        if self._app is not None:
            self._app.sign_in.heard(topic)

    def _scrub(self, scrubber: Scrubber) -> Scrub:
        settings, room = self.settings, self.room
        return Scrub(
            room.index,
            room.blobs,
            room.clock,
            Pace(settings.scrub.rate_mib * 1048576, sleep=scrubber.sleep),
            quarantine_max_bytes=settings.archive.quarantine_max_bytes,
            open_copy=copy_opener(settings.copy_folder),
            filling_copy=settings.scrub.fill_copy,
            events=scrubber,
        )

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store_samples(self) -> None:
        """Sample studies for a newcomer; through the one door, like anything else."""
        from filmroom.acquire import samples  # brings pydicom: not on the way to being ready

        files = samples.sample_files(today=datetime.now(UTC).date())
        while (file := await asyncio.to_thread(next, files, None)) is not None:
            intake = self.room.archive.ingest.open_file(Origin("samples"))
            try:
                intake.write(file)
                await intake.commit()
            except ArchiveError as error:
                intake.abandon()
                log.warning("a sample was not stored", extra={"detail": error.message})
        held = self.room.index.statistics()
        log.info("sample studies stored", extra={"count": held.instances})

    def _transcode(self, handle: Handle, transfer_syntax_uid: str) -> AsyncIterator[bytes]:
        """A stored data set in another transfer syntax, for receivers that refuse its own."""
        return data_set_as(self.room.archive.retriever, self._pool, handle, transfer_syntax_uid)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    observe.configure_logging(settings.log.format, settings.log.level)
    _raise_open_files()
    try:
        node = Node(settings)
    except (DataFolderInUse, ArchiveError) as error:
        print(f"filmroom: {error}", file=sys.stderr)
        return 1
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_serve(node))


async def _serve(node: Node) -> int:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    try:
        await node.start()
    except (OSError, ArchiveError) as error:
        print(f"filmroom: cannot start: {error}", file=sys.stderr)
        await node.stop()
        return 1
    gc.enable()
    gc.freeze()  # what is there now stays
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)
    print(_welcome(node), flush=True)
    await ending.wait()
    log.info("stopping")
    await node.stop()
    return 0


def _welcome(node: Node) -> str:
    """What a person who started us needs to know."""
    dimse = node.settings.dimse
    lines = [
        f"filmroom {__version__}",
        f"  web       {node.http_url}/",
        f"  DICOM     {', '.join(dimse.ae_titles)} at {dimse.host}:{node.dimse_port}",
        f"  data      {node.settings.data}",
    ]
    if node.first_password is not None:
        lines.append(f"  sign in   admin / {node.first_password}   (shown once)")
    return "\n".join(lines)


def _rights(settings: Settings) -> frozenset[Action]:
    return frozenset(Action(word) for word in settings.dimse.unknown_peers)


def _listeners(settings: Settings) -> Iterator[ServerSettings]:
    """The plain port, and the TLS port when there is a certificate."""
    dimse = settings.dimse
    plain = ServerSettings(
        host=dimse.host,
        port=dimse.port,
        artim_seconds=dimse.artim_seconds,
        idle_seconds=dimse.idle_seconds,
        max_associations=dimse.max_associations,
        max_per_peer=dimse.max_per_peer,
        share_port=dimse.share_port,
    )
    yield plain
    if dimse.tls_certificate is not None:
        context = tls.server_context(dimse.tls_certificate, dimse.tls_key, client_ca=dimse.tls_ca)
        yield replace(plain, port=dimse.tls_port, ssl=context)


@lru_cache(maxsize=1)
def _client_tls(dimse: DimseSettings) -> ssl.SSLContext:
    """For peers that are called over TLS; our certificate is shown where we have one."""
    return tls.client_context(ca=dimse.tls_ca, certificate=dimse.tls_certificate, key=dimse.tls_key)


def _raise_open_files() -> None:
    """Thousands of quiet peers need a descriptor each; the soft limit is often 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
