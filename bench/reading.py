"""The rows about finding, viewing and fetching: filled once, asked in every round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from time import perf_counter, sleep

import corpus
import dcmtk
import pydicom
import web
from arena import Arena
from servers import Server
from storing import RATE_SECONDS, uids

import wire

QUIET_SECONDS = 7.0  # after the last store: a series as a reader meets it
THUMBNAILS = ("filmroom",)  # Orthanc 1.10 has none


@contextlib.contextmanager
def _clients(server: Server, number: int = 1) -> Iterator[list[web.Connection]]:
    """Connections that are signed in, with their first round trip behind them."""
    made = [web.Connection(server.http_port, server.auth) for _ in range(number)]
    for connection in made:
        connection.get(f"{server.dicomweb}/studies?limit=1", web.PLAIN_JSON)
    yield made
    for connection in made:
        connection.close()


# -- finding ---------------------------------------------------------------------------------
def query(arena: Arena) -> None:
    """C-FIND and QIDO-RS over a thousand studies, and over ten thousand."""
    _query(arena, 1_000)
    _query(arena, 10_000)


def _studies(server: Server, arena: Arena, studies: int) -> None:
    make = partial(corpus.small_studies, count=studies)
    paths = arena.corpus(f"studies-{studies}", make)
    dcmtk.store(server, dcmtk.split(paths, 4, f"studies-{studies}"))
    sleep(QUIET_SECONDS)


def _query(arena: Arena, studies: int) -> None:
    size = "1k" if studies == 1_000 else "10k"
    smiths = corpus.SMITHS * studies // 1_000
    some = [corpus.patient_id(n * 37 % studies) for n in range(1, 31)]
    one = [{"PatientID": each, "PatientName": ""} for each in some]
    many = [{"PatientName": "SMI*", "PatientID": "", "StudyDate": ""}] * 7
    qido = {
        f"qido-exact-{size}": [f"PatientID={each}" for each in some],
        f"qido-page-{size}": ["limit=50"] * 7,
        f"qido-half-{size}": [f"limit=50&offset={studies // 2}"] * 7,
        f"qido-{smiths}": ["PatientName=SMI*&limit=1000"] * 3,
    }
    if not arena.wants(*qido, f"find-exact-{size}", f"find-{smiths}"):
        return
    pair = arena.filled(f"studies-{studies}", partial(_studies, arena=arena, studies=studies))
    for n in range(arena.rounds):
        servers = pair if n % 2 == 0 else pair[::-1]
        with arena.running(servers):
            arena.row(servers, f"find-exact-{size}", wire.median_ms, one, 1)
            arena.row(servers, f"find-{smiths}", wire.median_ms, many, smiths)
            for key, asked in qido.items():
                arena.row(servers, key, _qido, asked)


def _qido(server: Server, asked: list[str]) -> float:
    paths = [f"{server.dicomweb}/studies?{each}" for each in asked]
    with _clients(server) as (client,):
        return web.median_ms(client, paths, web.JSON)


# -- viewing and fetching ------------------------------------------------------------------------
SMALL, LARGE = 500, 1_000  # slices of the two studies in the library


def _library(arena: Arena) -> list[Server]:
    """The servers, each holding a CT of 500 slices and one of 1,000."""

    def fill(server: Server) -> None:
        for count in (SMALL, LARGE):
            paths = arena.corpus(f"ct{count}", partial(corpus.slices, count=count))
            dcmtk.store(server, dcmtk.split(paths, 2, f"ct{count}"))
        sleep(QUIET_SECONDS)

    return arena.filled("library", fill)


class Study:
    """Where one of the two studies of the library is, on one server."""

    def __init__(self, server: Server, slices: int) -> None:
        with _clients(server) as (client,):
            root = f"{server.dicomweb}/studies"
            for uid in uids(client, root, "0020000D"):
                self.uid = uid
                self.study = f"{root}/{uid}"
                self.series = (
                    f"{self.study}/series/" + uids(client, f"{self.study}/series", "0020000E")[0]
                )
                found = uids(client, f"{self.series}/instances?limit=1000", "00080018")
                self.instances = [f"{self.series}/instances/{uid}" for uid in found]
                if len(found) == slices:
                    return
        raise SystemExit(f"{server.name} has no study of {slices}")


Places = dict[str, tuple[Study, Study]]  # by the server's name: of 500 slices and of 1,000


def _places(arena: Arena, pair: list[Server]) -> Places:
    found = {}
    with arena.running(pair):
        for server in pair:
            with arena.turn(server):
                found[server.name] = (Study(server, SMALL), Study(server, LARGE))
    return found


def view(arena: Arena) -> None:
    """What a viewer asks for, after a start and again."""
    pair = _library(arena)
    places = _places(arena, pair)
    for n in range(arena.rounds):
        servers = pair if n % 2 == 0 else pair[::-1]
        if arena.wants("first-cold", "first-warm"):
            with arena.running(servers):
                for server in servers:
                    with arena.turn(server):
                        _first_image(arena, server, places[server.name][0])
        with arena.running(servers):
            arena.rows(servers, METADATA, _metadata, arena, places)
            for stem, tail, headers in RATES:
                asked = [s for s in servers if stem != "thumb" or s.name in THUMBNAILS]
                for clients in (1, 8):
                    arena.row(asked, f"{stem}-{clients}", _rate, places, tail, headers, clients)
            arena.row(servers, "meta-fresh", _fresh, arena)


METADATA = (
    "meta-500-cold",
    "meta-500-warm",
    "meta-1000-cold",
    "meta-1000-warm",
    "qido-instances",
)
RATES = (
    ("frame", "/frames/1", web.PIXELS),
    ("stored", "", web.STORED),
    ("rendered", "/rendered", web.JPEG),
    ("thumb", "/thumbnail", web.JPEG),
)


def _first_image(arena: Arena, server: Server, place: Study) -> None:
    """The study's list, the metadata of its series, and its first frame: one after the other."""
    with _clients(server) as (client,):
        times = []
        for _ in range(6):
            started = perf_counter()
            client.get(f"{server.dicomweb}/studies?StudyInstanceUID={place.uid}", web.JSON)
            client.get(f"{place.study}/series", web.JSON)
            client.get(f"{place.series}/metadata", web.JSON)
            client.get(f"{place.instances[0]}/frames/1", web.PIXELS)
            times.append((perf_counter() - started) * 1000)
    arena.note("first-cold", server, times[0])
    arena.note("first-warm", server, sorted(times[1:])[2])


def _metadata(server: Server, arena: Arena, places: Places) -> dict[str, float]:
    values = {}
    small, large = places[server.name]
    with _clients(server) as (client,):
        for slices, place in ((SMALL, small), (LARGE, large)):
            if arena.wants(f"meta-{slices}-cold", f"meta-{slices}-warm"):
                path = f"{place.series}/metadata"
                values[f"meta-{slices}-cold"] = web.ms(client, path, web.JSON)
                values[f"meta-{slices}-warm"] = web.median_ms(client, [path] * 5, web.JSON)
        if arena.wants("qido-instances"):
            path = f"{small.series}/instances?limit=1000"
            values["qido-instances"] = web.median_ms(client, [path] * 3, web.JSON)
    return values


def _rate(
    server: Server, places: Places, tail: str, headers: dict[str, str], clients: int
) -> float:
    """Every client asks for other slices, none of them twice."""
    paths = [f"{instance}{tail}" for instance in places[server.name][1].instances]
    half = len(paths) // 2
    with _clients(server, clients) as connections:
        part = paths[:half] if clients == 1 else paths[half:]
        return web.rate(connections, part, headers, RATE_SECONDS)


def _fresh(server: Server, arena: Arena) -> float:
    """The metadata of a series of 200, asked for as soon as its last instance is stored."""
    number = len(arena.values["meta-fresh"][server.name])  # none is ever sent twice
    paths = arena.corpus(f"fresh-{number}", partial(corpus.slices, count=200, size=64))
    dcmtk.store(server, dcmtk.split(paths, 1, f"fresh-{number}"))
    ds = pydicom.dcmread(paths[0], stop_before_pixels=True)
    path = f"{server.dicomweb}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/metadata"
    with _clients(server) as (client,):
        return web.ms(client, path, web.JSON)


def fetch(arena: Arena) -> None:
    """A whole study: C-GET, C-MOVE, WADO-RS."""
    pair = _library(arena)
    places = _places(arena, pair)
    for n in range(arena.rounds):
        servers = pair if n % 2 == 0 else pair[::-1]
        with arena.running(servers):
            for how in ("get", "move", "wado"):
                for times in (1, 8):
                    arena.row(servers, f"{how}-{times}", _whole, places, how, times)
            for server in servers:
                arena.note("rss-fetch", server, server.rss_mib())


def _whole(server: Server, places: Places, how: str, clients: int) -> float:
    """Instances a second, each client taking the whole study."""
    place = places[server.name][0]
    if how != "wado":
        work = dcmtk.get if how == "get" else dcmtk.move
        return clients * SMALL / work(server, place.uid, clients)
    with _clients(server, clients) as connections:
        return SMALL * web.rate(connections, [place.study] * clients, web.STORED, 60)
