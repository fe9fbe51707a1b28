"""The rows about storing: C-STORE of all sizes, as packaged, STOW-RS, one large object."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, sleep

import corpus
import dcmtk
import web
from arena import SETTLE_SECONDS, Arena
from servers import Receiver, Server

MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
# Enough of them that the senders' own start, a tenth of a second of eight, hardly counts.
COUNTS = {("ct", 1): 200, ("ct", 8): 640, ("mr", 1): 300, ("mr", 8): 960, ("small", 1): 500}
RATE_SECONDS = 4.0  # a rate is taken over at most this long


def rest(arena: Arena) -> None:
    """Starting, and doing nothing."""
    for n in range(arena.rounds):
        for kind in arena.kinds if n % 2 == 0 else arena.kinds[::-1]:
            server = arena.make(kind)
            try:
                arena.note("start", server, server.start())
                sleep(SETTLE_SECONDS)
                arena.note("rss-idle", server, server.rss_mib())
            finally:
                server.stop()


def store(arena: Arena) -> None:
    """C-STORE from one and from eight senders, and what each instance costs the server."""
    jobs = {
        job: dcmtk.split(_part(arena, *job), job[1], f"store-{job[0]}")
        for job in COUNTS
        if arena.wants(f"store-{job[0]}-{job[1]}", f"cpu-{job[0]}-{job[1]}")
    }
    if arena.wants("rss-store") and not jobs:
        jobs = {("ct", 8): dcmtk.split(_part(arena, "ct", 8), 8, "store-ct")}
    for _, servers in arena.fresh_rounds(Receiver):
        for (name, associations), folders in jobs.items():
            for server in servers:
                count = COUNTS[name, associations]
                with arena.turn(server):
                    cpu = server.cpu_seconds()
                    seconds = dcmtk.store(server, folders)
                    cpu = server.cpu_seconds() - cpu
                arena.note(f"store-{name}-{associations}", server, count / seconds)
                if not isinstance(server, Receiver):  # it forks: its children end by themselves
                    arena.note(f"cpu-{name}-{associations}", server, cpu / count * 1000)
        for server in servers:
            if not isinstance(server, Receiver):
                arena.note("rss-store", server, server.rss_mib())


def _part(arena: Arena, name: str, associations: int) -> list[Path]:
    """The objects of one job; no two jobs of a round share any."""
    count = COUNTS[name, associations]
    size = {"ct": 512, "mr": 256, "small": 16}[name]
    modality = "MR" if name == "mr" else "CT"
    return arena.corpus(
        f"{name}-{associations}",
        lambda folder: corpus.slices(folder, count, modality=modality, size=size),
    )


def nagle(arena: Arena) -> None:
    """Senders and servers as Debian ships them: Nagle's algorithm left on."""
    count = 60  # at twenty a second
    jobs = {}
    for name in ("ct", "mr"):
        if arena.wants(f"nagle-{name}"):
            paths = _part(arena, name, 1)
            jobs[name] = {n: dcmtk.split(paths[:n], 1, f"nagle-{n}-{name}") for n in (count, 200)}
    for _, servers in arena.fresh_rounds(nodelay=False):
        for name, folders in jobs.items():
            for server in servers:
                # More of them where they are quick, so that the sender's start hardly counts.
                n = count if server.name == "Orthanc" else 200
                with arena.turn(server):
                    seconds = dcmtk.store(server, folders[n], nodelay=False)
                arena.note(f"nagle-{name}", server, n / seconds)


def stow(arena: Arena) -> None:
    """STOW-RS in requests of ten, on one connection and on eight."""
    jobs = {}
    for connections in (1, 8):
        if arena.wants(f"stow-{connections}"):
            paths = _part(arena, "ct", connections)
            jobs[connections] = [_multipart(paths[n : n + 10]) for n in range(0, len(paths), 10)]
    for _, servers in arena.fresh_rounds():
        for connections, batches in jobs.items():
            for server in servers:
                with arena.turn(server):
                    value = len(batches) * 10 / _post(server, batches, connections)
                arena.note(f"stow-{connections}", server, value)


def _post(server: Server, batches: Sequence[bytes], connections: int) -> float:
    """Seconds for all batches; each connection takes the next one that is left."""
    clients = [web.Connection(server.http_port, server.auth) for _ in range(connections)]
    turns = itertools.count()
    path = f"{server.dicomweb}/studies"

    def client(connection: web.Connection) -> None:
        while (n := next(turns)) < len(batches):
            connection.post(path, MULTIPART | web.PLAIN_JSON, batches[n])

    with ThreadPoolExecutor(connections) as pool:
        for connection in clients:
            connection.get(f"{path}?limit=1", web.PLAIN_JSON)  # signed in, connected
        started = perf_counter()
        list(pool.map(client, clients))
        seconds = perf_counter() - started
    for connection in clients:
        connection.close()
    return seconds


def _multipart(paths: Sequence[Path]) -> bytes:
    parts = [
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() for path in paths
    ]
    return b"\r\n".join([*parts, b"--b--\r\n"])


def large(arena: Arena) -> None:
    """One object of 300 frames: in, and its frames out."""
    paths = arena.corpus("large", corpus.multi_frame)
    megabytes = paths[0].stat().st_size / 1e6
    folders = dcmtk.split(paths, 1, "large")
    for _, servers in arena.fresh_rounds():
        for server in servers:
            with arena.turn(server):
                arena.note("store-large", server, megabytes / dcmtk.store(server, folders))
                sleep(1)
                arena.note("rss-large", server, server.rss_mib())
        for clients in (1, 8):
            arena.row(servers, f"large-frame-{clients}", _frames, clients)
        for server in servers:
            arena.note("peak-large", server, server.peak_mib())


def _frames(server: Server, clients: int) -> float:
    connections = [web.Connection(server.http_port, server.auth) for _ in range(clients)]
    found = the_only_instance(server, connections[0])
    frames = [f"{found}/frames/{n}" for n in range(1, 301)]
    value = web.rate(connections, frames, web.PIXELS, RATE_SECONDS)
    for connection in connections:
        connection.close()
    return value


def the_only_instance(server: Server, connection: web.Connection) -> str:
    """Where the first instance of the first series of the first study is."""
    path = server.dicomweb
    for level, tag in (
        ("studies", "0020000D"),
        ("series", "0020000E"),
        ("instances", "00080018"),
    ):
        path += f"/{level}"
        path += "/" + uids(connection, path, tag)[0]
    return path


def uids(connection: web.Connection, path: str, tag: str) -> list[str]:
    """The values of a tag in what a search answers."""
    answer: list[Mapping[str, dict[str, list[str]]]] = json.loads(
        connection.get(path, web.PLAIN_JSON, keep=True).body
    )
    return [each[tag]["Value"][0] for each in answer]
