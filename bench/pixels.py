"""Pixels: recoded, decoded and rendered frames beside Orthanc, codecs, the first coarse image.

    .venv/bin/python bench/pixels.py              # three rounds, five minutes or so
    .venv/bin/python bench/pixels.py --rounds 1 --images 2 --keep ""    # does it run?

Real images (pydicom-data), each made distinct by rolling its rows, so that nothing that is kept
answers. Both servers hold the same files; one is measured while the other stands still, in turns
that change every round. A cell is the median of all rounds, with the least and the greatest; it is
empty where a server does not give what was asked for. The codecs are measured in this process, on
one core. The coarse image: the first 128 KB of an HTJ2K frame of 3000 x 4000 pixels, decoded, over
a line of 30 Mbit/s; beside it the other ways to a first picture.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from line import slow_line
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import UID, generate_uid
from servers import Filmroom, Orthanc, Server, versions
from web import Connection

from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import decode_frame, encode_frame
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.shape import ImageShape

RESULTS = Path(__file__).parent / "results"
IMAGES = {"CT": "693_UNCR.dcm", "MR": "MR2_UNCR.dcm", "CR": "RG1_UNCR.dcm", "US": "US1_UNCR.dcm"}
CODECS = {
    "JPEG lossless": ts.JPEG_LOSSLESS_SV1,
    "JPEG-LS": ts.JPEG_LS_LOSSLESS,
    "JPEG 2000": ts.J2K_LOSSLESS,
    "HTJ2K": ts.HTJ2K_LOSSLESS_RPCL,
    "JPEG XL": ts.JPEG_XL_LOSSLESS,
    "RLE": ts.RLE,
}
CLIENTS = 2
LINE = 30e6  # bits a second
COARSE = 128 * 1024  # bytes
# Debian's Orthanc 1.10.1 aborts (SIGABRT) when a frame is to become JPEG-LS: it is not asked.
NOT_OF_ORTHANC = {"to JPEG-LS"}
LEVELS = 4  # halved so often they make a picture of 188 x 250
OCTETS = {"Accept": 'multipart/related; type="application/octet-stream"'}


def accept(media_type: str, syntax: str) -> dict[str, str]:
    return {"Accept": f'multipart/related; type="{media_type}"; transfer-syntax={syntax}'}


# (what, what it is stored as, path below the instance, headers)
ASKED: list[tuple[str, str, str, Mapping[str, str]]] = [
    ("to HTJ2K", "", "/frames/1", accept("image/jphc", ts.HTJ2K_LOSSLESS_RPCL)),
    ("to JPEG-LS", "", "/frames/1", accept("image/jls", ts.JPEG_LS_LOSSLESS)),
    ("to JPEG 2000", "", "/frames/1", accept("image/jp2", ts.J2K_LOSSLESS)),
    ("to JPEG lossless", "", "/frames/1", accept("image/jpeg", ts.JPEG_LOSSLESS_SV1)),
    ("decoded from JPEG-LS", ts.JPEG_LS_LOSSLESS, "/frames/1", OCTETS),
    ("rendered", "", "/rendered", {"Accept": "image/jpeg"}),
    ("rendered from JPEG-LS", ts.JPEG_LS_LOSSLESS, "/rendered", {"Accept": "image/jpeg"}),
    ("thumbnail", "", "/thumbnail?viewport=128,128", {"Accept": "image/jpeg"}),
]


@dataclass(frozen=True, slots=True)
class Held:
    """An instance in both servers."""

    kind: str  # CT ...
    stored: str  # transfer syntax; empty: uncompressed
    path: str  # of the instance, below the DICOMweb root
    file: bytes
    megabytes: float  # uncompressed


def image_of(ds: pydicom.Dataset) -> tuple[np.ndarray, ImageShape]:
    shape = ImageShape(
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored,
        ds.PixelRepresentation, ds.PhotometricInterpretation,
    )  # fmt: skip
    kind = np.dtype(f"<{'i' if shape.signed else 'u'}{shape.sample_bytes}")
    size = (ds.Rows, ds.Columns) + ((3,) if shape.samples == 3 else ())
    array = np.frombuffer(ds.PixelData, kind, int(np.prod(size))).reshape(size)
    return decode_frame(array.tobytes(), ts.EXPLICIT_LE, shape), shape


def made(kind: str, stored: str, turned: int, source: pydicom.Dataset | None = None) -> Held:
    """An image with its rows rolled by `turned`, as an instance of its own."""
    ds = source or pydicom.dcmread(get_testdata_file(IMAGES[kind]) or "")
    array, shape = image_of(ds)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PatientID = f"PIX-{kind}"
    array = np.ascontiguousarray(np.roll(array, turned, 0))
    ds.PlanarConfiguration = 0
    ds.file_meta.TransferSyntaxUID = UID(stored or ts.EXPLICIT_LE)
    if stored:
        ds.PixelData = encapsulate([encode_frame(array, stored, shape)])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    else:
        ds.PixelData = array.tobytes()
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    path = (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )
    return Held(kind, stored, path, buffer.getvalue(), array.nbytes / 1e6)


def radiograph(stored: str) -> Held:
    """3000 x 4000 pixels of a real radiograph, tiled."""
    ds = pydicom.dcmread(get_testdata_file(IMAGES["CR"]) or "")
    array, _ = image_of(ds)
    ds.PixelData = np.tile(array, (2, 3))[:3000, :4000].tobytes()
    ds.Rows, ds.Columns = 3000, 4000
    return made("CR", stored, 0, ds)


def store(server: Server, held: Held) -> None:
    head = b"--bench\r\nContent-Type: application/dicom\r\n\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=bench'
    connection = Connection(server.http_port, server.auth)
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    with contextlib.suppress(SystemExit):  # a syntax it does not take: its cells stay empty
        connection.post(server.dicomweb + "/studies", headers, head + held.file + b"\r\n--bench--")
    connection.close()


def rate(server: Server, asked: Sequence[str], headers: Mapping[str, str]) -> float | None:
    """Requests a second of `CLIENTS` connections, the first request unmeasured; None: refused."""
    connections = [Connection(server.http_port, server.auth) for _ in range(CLIENTS)]
    turns = itertools.count(1)

    def client(connection: Connection) -> None:
        while (n := next(turns)) < len(asked):
            connection.get(asked[n], headers)

    try:
        connections[0].get(asked[0], headers)
        with ThreadPoolExecutor(CLIENTS) as pool:
            started = time.perf_counter()
            list(pool.map(client, connections))
            return (len(asked) - 1) / (time.perf_counter() - started)
    except (SystemExit, EOFError, OSError):
        return None
    finally:
        for connection in connections:
            connection.close()


class Table:
    """Values by row and column, printed as medians."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def note(self, row: str, column: str, value: float | None) -> None:
        if value is not None:
            self._values[row, column].append(value)
            print(f"  {row:44} {column:22} {value:10.4g}", flush=True)

    def text(self) -> str:
        rows = list(dict.fromkeys(row for row, _ in self._values))
        columns = list(dict.fromkeys(column for _, column in self._values))
        lines = [f"| {self._first} | " + " | ".join(columns) + " |"]
        lines.append("|---|" + "--:|" * len(columns))
        for row in rows:
            cells = (self._values.get((row, column)) for column in columns)
            lines.append(f"| {row} | " + " | ".join(map(_cell, cells)) + " |")
        return "\n".join(lines)


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    around = f" ({_number(min(values))} to {_number(max(values))})" if len(values) > 1 else ""
    return _number(statistics.median(values)) + around


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def turn(server: Server, work: Callable[[], float | None]) -> float | None:
    """`work` while this server alone may run."""
    server.wake()
    time.sleep(0.2)
    try:
        return work()
    finally:
        server.freeze()


def frames(servers: Sequence[Server], held: Sequence[Held], rounds: int, images: int) -> Table:
    """Frames and pictures a second."""
    table = Table("one frame a request, 2 clients, /s")
    for number, (what, stored, below, headers) in itertools.product(range(rounds), ASKED):
        for kind in IMAGES:
            several = [h for h in held if (h.kind, h.stored) == (kind, stored)]
            per_round = several[number * (images + 1) : (number + 1) * (images + 1)]
            for server in servers[:: 1 if number % 2 == 0 else -1]:
                if server.name == Orthanc.name and what in NOT_OF_ORTHANC:
                    continue
                asked = [f"{server.dicomweb}{h.path}{below}" for h in per_round]
                done = turn(server, lambda s=server, a=asked, h=headers: rate(s, a, h))
                table.note(f"{kind} {what}", server.name, done)
    return table


def codecs(rounds: int) -> Table:
    """Size and speed of each codec on the real images, in this process, by its CPU time."""
    table = Table("codec, on one core")
    for _ in range(rounds):
        order = list(CODECS)
        random.shuffle(order)
        for kind, name in itertools.product(IMAGES, order):
            ds = pydicom.dcmread(get_testdata_file(IMAGES[kind]) or "")
            array, shape = image_of(ds)
            times = max(1, round(4e6 / array.nbytes))
            with contextlib.suppress(NoCodec):
                began = time.process_time()
                for _ in range(times):
                    coded = encode_frame(array, CODECS[name], shape)
                middle = time.process_time()
                for _ in range(times):
                    decode_frame(coded, CODECS[name], shape)
                ended = time.process_time()
                size = times * array.nbytes / 1e6
                table.note(f"{name}, {kind}", "ratio", array.nbytes / len(coded))
                table.note(f"{name}, {kind}", "encoded MB/s", size / (middle - began))
                table.note(f"{name}, {kind}", "decoded MB/s", size / (ended - middle))
    return table


def seconds(port: int, server: Server, path: str, headers: Mapping[str, str]) -> float | None:
    """How long one answer takes over that port; a codestream's beginning is decoded too."""
    connection = Connection(port, server.auth)
    began = time.perf_counter()
    try:
        answer = connection.get(server.dicomweb + path, headers, keep=True)
    except SystemExit:
        return None
    finally:
        connection.close()
    if "Range" in headers:
        coarse = imagecodecs.htj2k_decode(answer.body, skipres=LEVELS, resilient=True)
        assert coarse.shape == (188, 250)
    return time.perf_counter() - began


def first_image(servers: Sequence[Server], rounds: int) -> Table:
    """Seconds to a first picture of a large radiograph over a slow line."""
    table = Table("3000 x 4000 pixels over 30 Mbit/s, s")
    single = {"Accept": f"image/jphc; transfer-syntax={ts.HTJ2K_LOSSLESS_RPCL}"}
    ranged = {**single, "Range": f"bytes=0-{COARSE - 1}"}
    ways = [
        ("coarse image: 128 KB of stored HTJ2K", ts.HTJ2K_LOSSLESS_RPCL, "/frames/1", ranged),
        ("coarse image: 128 KB, coded on demand", "", "/frames/1", ranged),
        ("the same, a second time", "", "/frames/1", ranged),
        ("whole frame, stored HTJ2K", ts.HTJ2K_LOSSLESS_RPCL, "/frames/1", single),
        ("whole frame, uncompressed", "", "/frames/1", OCTETS),
        ("whole frame, JPEG lossless on demand", *ASKED[3][1:]),
        ("rendered, JPEG", "", "/rendered", {"Accept": "image/jpeg"}),
        ("thumbnail", "", "/thumbnail", {"Accept": "image/jpeg"}),
    ]
    for number in range(rounds):
        held = {stored: radiograph(stored) for stored in ("", ts.HTJ2K_LOSSLESS_RPCL)}
        for server in servers[:: 1 if number % 2 == 0 else -1]:
            with slow_line(server.http_port, LINE) as port:
                for each in held.values():
                    turn(server, lambda s=server, h=each: store(s, h))
                for what, stored, below, headers in ways:
                    path = held[stored].path + below
                    done = turn(
                        server, lambda s=server, p=path, h=headers, o=port: seconds(o, s, p, h)
                    )
                    table.note(what, server.name, done)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4, help="of each kind, row and round")
    parser.add_argument("--keep", default="pixels", help="name in bench/results; empty: not kept")
    arguments = parser.parse_args()
    began = time.monotonic()
    print("codecs:", flush=True)
    tables = [codecs(arguments.rounds)]
    count = arguments.rounds * (arguments.images + 1)
    with tempfile.TemporaryDirectory() as folder:
        servers = [kind(Path(folder) / kind.name) for kind in (Filmroom, Orthanc)]
        try:
            print("storing:", flush=True)
            for server in servers:
                server.start()
            held = []
            for kind, stored, n in itertools.product(
                IMAGES, ("", ts.JPEG_LS_LOSSLESS), range(count)
            ):
                held.append(made(kind, stored, n))
                for server in servers:
                    store(server, held[-1])
            time.sleep(4)
            for server in servers:
                server.freeze()
            print("frames:", flush=True)
            tables.append(frames(servers, held, arguments.rounds, arguments.images))
            print("first image:", flush=True)
            tables.append(first_image(servers, arguments.rounds))
        finally:
            for server in servers:
                server.stop()
    had = versions()
    words = (
        f"{had['machine']}; filmroom {had['filmroom']}, {had['Orthanc'].partition('(')[0]}; "
        f"medians of {arguments.rounds} rounds, with the least and the greatest; "
        f"{time.strftime('%Y-%m-%d')}, {time.monotonic() - began:.0f} s."
    )
    text = "\n\n".join(["# pixels", words, *(table.text() for table in tables)]) + "\n"
    print(text)
    if arguments.keep:
        (RESULTS / f"{arguments.keep}.md").write_text(text)


if __name__ == "__main__":
    main()
