"""The only place where the house is put together: start it in order, stop it in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filmroom import __version__, observe
from filmroom.archive.access import Action
from filmroom.archive.ahead import Job
from filmroom.archive.archive import Archive
from filmroom.archive.committer import Committer, Duplicates
from filmroom.archive.convert import data_set_as
from filmroom.archive.errors import ArchiveError
from filmroom.archive.find import Finder
from filmroom.archive.ingest import Ingest
from filmroom.archive.metadata import Settler
from filmroom.archive.records import Handle, NewInstance, Origin
from filmroom.archive.reindex import Report, adopt, reindex
from filmroom.archive.retrieve import Retriever
from filmroom.archive.scrub import Scrub
from filmroom.archive.scrubber import Scrubber
from filmroom.archive.soundness import Pace
from filmroom.archive.strays import batches
from filmroom.asgi import App, HttpServer, create_app
from filmroom.asgi.app import SystemClock
from filmroom.asgi.server import new_loop
from filmroom.blobs.durable import sync_chain, write_whole
from filmroom.blobs.opening import open_blobs
from filmroom.blobs.upkeep import DataFolderInUse, copy_opener, hold, turn
from filmroom.config import Settings
from filmroom.dimse.server import Server, ServerSettings
from filmroom.index.queries import open_index
from filmroom.pixel.pool import Pool
from filmroom.security import tls
from filmroom.services.counting import Counting
from filmroom.services.move import Sending
from filmroom.services.peers import AddressBook
from filmroom.services.provider import Provider
from filmroom.services.provider import Settings as ServiceSettings

log = logging.getLogger(__name__)

OPEN_FILES = 65_536
GARBAGE_OBJECTS = 20_000  # before circles are looked for: an answer is many objects
REINDEXING = "reindexing"  # the mark of a run that did not finish making the index anew
MARK_SECONDS = 3600.0  # so that a start after a crash looks at a day or two of files, not years
SLOWEST_SECONDS = 6 * 3600.0  # an object may take this long to arrive
GRACE_SECONDS = 20.0  # for what is in progress when we are asked to stop


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start after a crash found."""

    files: int  # looked at
    orphans: int  # of them without a row
    added: int  # of those that were whole
    removed: int  # of those that were sent again meanwhile, and are held elsewhere


class Mark:
    """A file that is there while we run, and is left behind by a crash.

    It says from which day on (YYYY/MM/DD) files may be without rows, or REINDEXING.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set_at = 0.0

    def read(self) -> str | None:
        """What the last run left; None when it ended cleanly."""
        try:
            return self._path.read_text("ascii", "replace")[:10].strip()
        except FileNotFoundError:
            return None

    def write(self, text: str) -> None:
        """Raises OSError."""
        write_whole(self._path, f"{text}\n")

    def set(self, now: float) -> None:
        """All that came before has its row, but for what is on its way at this moment."""
        self.set_at = now
        self.write(f"{datetime.fromtimestamp(now - SLOWEST_SECONDS, UTC):%Y/%m/%d}")

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Storeroom:
    """Index, blobs and archive on one data folder, held by this process alone.

    What `serve`, `import` and `reindex` have in common; no network.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        data = settings.data
        data.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = hold(data)
        self._mark = Mark(data / "running")
        self._is_whole = True  # the index speaks of all files
        self._reindexed: Report | None = None
        self.index = open_index(settings.index_url)
        self.blobs = open_blobs(
            settings.blobs, settings.blobs_folder, min_free_bytes=settings.archive.min_free_bytes
        )
        self.committer = Committer(
            self.index,
            self.blobs,
            Duplicates(settings.archive.duplicates),
            quarantine_max_bytes=settings.archive.quarantine_max_bytes,
            observe=_observe_batch,
            stored=self._stored,
        )
        observe.QUEUE_LENGTH.set_function(lambda: self.committer.waiting)
        self.archive = Archive(
            Ingest(self.blobs, self.committer, self.clock),
            Finder(self.index),
            Retriever(self.index, self.blobs),
            self.index,
            self.blobs,
        )

    def open(self) -> None:
        """Tidy up after a crash if there was one, then begin to commit."""
        started = time.monotonic()
        removed = self.blobs.sweep()
        since = self._mark.read()
        self._is_whole = since is None  # until this is done; else the next start does it
        if since == REINDEXING:
            log.warning("the index was not finished: it is made anew")
            self._reindexed = reindex(self.index, self.blobs)
        elif since is not None:
            report = self._recover(since)
            told = {
                "files": report.files,
                "orphans": report.orphans,
                "added": report.added,
                "removed": removed + report.removed,
                "seconds": round(time.monotonic() - started, 3),
            }
            log.warning("the last run did not end cleanly: tidied up", extra=told)
        for folder in (self.settings.blobs_folder, self.settings.data):
            sync_chain(folder)  # what was just made must outlive a power cut
        self._mark.set(self.clock.now())
        self._is_whole = True
        self.committer.start()

    def reindex(self, progress: Callable[[Report], None] = lambda report: None) -> Report:
        """Make the index anew; if that is cut short, the next start does it from the beginning."""
        if self._reindexed is None:
            self._mark.write(REINDEXING)
            self._is_whole = False
            self._reindexed = reindex(self.index, self.blobs, progress)
            self._is_whole = True
        return self._reindexed

    def close(self) -> None:
        """Commit what waits, and let go of the folder."""
        self.committer.stop()
        self.index.close()
        self.blobs.close()
        if self._is_whole and self.committer.is_tidy:
            self._mark.remove()
        os.close(self._lock)

    def _recover(self, since: str) -> Recovered:
        """Files sealed in the instant of a crash have no rows yet: give them theirs.

        Nobody was told that they are held, but they are whole, so keeping them is right; unless
        they were sent again meanwhile, and another node has stored them.
        """
        files = 0
        orphans: list[str] = []
        for batch in batches(self.blobs.keys_since(since)):
            files += len(batch)
            ours = set(filter(self.blobs.is_ours, batch))
            orphans += sorted(ours - self.index.known_keys(batch))
        report = adopt(self.index, self.blobs, orphans, removing=True)
        return Recovered(files, len(orphans), report.added, report.removed)

    def _stored(self, instance: NewInstance) -> None:
        self.archive.retriever.forget(instance.instance.uid)
        came = instance.received_at
        if abs(came - self._mark.set_at) > MARK_SECONDS and self.committer.is_tidy:
            with contextlib.suppress(OSError):
                self._mark.set(came)
        observe.STORED_BYTES.labels(instance.origin.kind).inc(instance.location.size_bytes)


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
        book = AddressBook(settings.peer_records, unknown_peers=_rights(settings))
        provider = Provider(
            self.room.archive,
            Sending(book, ssl_context=_client_tls(settings)),
            ServiceSettings(
                settings.dimse.ae_titles,
                settings.dimse.accept_unknown_sop_classes,
                settings.query.fuzzy_names,
            ),
            transcode=self._transcode,
        )
        self._book = book
        counting = Counting()
        self._dimse = [Server(provider, terms, observer=counting) for terms in _listeners(settings)]
        self._scrubber = Scrubber(
            self.room.index,
            self.room.clock,
            self._scrub,
            lambda: turn(settings.blobs_folder),
            self.room.archive.retriever.distrust,
            every_days=settings.scrub.every_days,
        )
        self.room.archive.retriever.suspect = self._scrubber.suspect
        self._app: App | None = None
        self._http: HttpServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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
        self._settler.start()
        self._scrubber.start()
        await asyncio.to_thread(self._book.warm)
        for server in self._dimse:
            await server.start()
        self._app = create_app(
            self.room.archive,
            self._pool,
            self.settings,
            dimse_port=self.dimse_port,
            ready=lambda: self._state,
            clock=self.room.clock,
        )
        self.first_password = await asyncio.to_thread(self._app.sign_in.users.make_first)
        self._http = HttpServer(self._app, self.settings.http)
        await asyncio.to_thread(self._http.start)
        self._state = ""
        self._begin(asyncio.to_thread(self._pool.warm))
        if self.settings.samples and not self.room.index.statistics().instances:
            self._begin(self._store_samples())

    async def stop(self) -> None:
        """Close all doors, finish what is in progress, let go of everything."""
        self._state = "stopping"
        for task in self._tasks:
            task.cancel()
        doors = [server.stop(GRACE_SECONDS) for server in self._dimse]
        if self._http is not None:
            doors.append(asyncio.to_thread(self._http.stop, GRACE_SECONDS))
        await asyncio.gather(*doors)
        if self._app is not None:
            self._app.sign_in.shut()
        self._settler.stop()
        self._scrubber.stop()
        self._pool.close()
        self.room.close()

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


def _observe_batch(jobs: Sequence[Job], seconds: float) -> None:
    observe.BATCH_SECONDS.observe(seconds)
    observe.BATCH_INSTANCES.observe(len(jobs))
    now = time.perf_counter()
    for job in jobs:
        origin = job.instance.origin.kind
        observe.STORED.labels(origin, job.outcome).inc()
        observe.STORE_SECONDS.labels(origin).observe(now - job.since)


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


def _client_tls(settings: Settings) -> ssl.SSLContext | None:
    """For peers that are called over TLS; our certificate is shown where we have one."""
    if not any(peer.tls for peer in settings.peer_records):
        return None
    dimse = settings.dimse
    return tls.client_context(ca=dimse.tls_ca, certificate=dimse.tls_certificate, key=dimse.tls_key)


def _raise_open_files() -> None:
    """Thousands of quiet peers need a descriptor each; the soft limit is often 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
