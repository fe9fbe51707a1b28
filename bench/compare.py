"""filmroom beside Orthanc (and dcmtk's storescp) on the same work, interleaved; prints ratios.

    .venv/bin/python bench/compare.py [--rounds 3] [--rows store,stow,find,...] [--folder DIR]

Every round starts each server on an empty folder, A, B, A, B ..., so that a machine whose
speed drifts harms both alike. What counts is the ratio of medians. Clients and servers
share the processors, so the client's cost is in every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import corpus
import httpx
from servers import Filmroom, Orthanc, Server, Storescp

Figures = dict[str, dict[str, list[float]]]  # row -> server -> values


def storescu(server: Server, folders: Iterable[Path], *, nodelay: bool) -> float:
    """Send each folder over an association of its own, at once; wall seconds."""
    environment = os.environ | {"TCP_NODELAY": "1" if nodelay else "0"}
    if not nodelay:
        environment.pop("TCP_NODELAY")
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            [
                *("storescu", "-aet", "BENCH", "-aec", server.ae_title, "+sd"),
                *("127.0.0.1", str(server.dimse_port), str(folder)),
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for folder in folders
    ]
    for sender in senders:
        _, complaint = sender.communicate(timeout=600)
        if sender.returncode:
            raise SystemExit(f"storescu to {server.name} failed: {complaint[-500:]!r}")
    return time.perf_counter() - started


def split(paths: list[Path], parts: int) -> list[Path]:
    """Link the files into `parts` folders beside them; the folders."""
    folders = []
    for part in range(parts):
        folder = paths[0].parent.parent / f"{paths[0].parent.name}-{parts}-{part}"
        if not folder.exists():
            folder.mkdir()
            for path in paths[part::parts]:
                os.link(path, folder / path.name)
        folders.append(folder)
    return folders


class Bench:
    """Corpora, servers, figures."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.figures: Figures = defaultdict(lambda: defaultdict(list))
        self._runs = 0

    def corpus(self, name: str, make: Callable[[Path], list[Path]]) -> list[Path]:
        folder = self.folder / "corpus" / name
        return sorted(folder.glob("*.dcm")) if folder.exists() else make(folder)

    def ct(self, count: int) -> list[Path]:
        return self.corpus(f"ct{count}", lambda folder: corpus.slices(folder, count))

    def mr(self, count: int) -> list[Path]:
        return self.corpus(
            f"mr{count}", lambda folder: corpus.slices(folder, count, modality="MR", size=256)
        )

    def each(
        self,
        kinds: Iterable[type[Server]],
        work: Callable[[Server], dict[str, float]],
        *,
        nodelay: bool = True,
    ) -> None:
        """Run `work` on a fresh server of each kind, in turn, `rounds` times."""
        for _ in range(self.rounds):
            for kind in kinds:
                self._runs += 1
                server = kind(
                    self.folder / f"run{os.getpid()}-{self._runs}-{kind.name}", nodelay=nodelay
                )
                server.start()
                time.sleep(SETTLE_SECONDS)
                try:
                    for row, value in work(server).items():
                        self.figures[row][server.name].append(value)
                        print(f"  {server.name:9} {row:48} {value:10.2f}", flush=True)
                finally:
                    server.stop()

    # -- rows ---------------------------------------------------------------------------------
    def store(self) -> None:
        # Enough of them that the senders' own start, a tenth of a second of eight, hardly counts.
        jobs = [("CT", self.ct(1000)), ("MR", self.mr(1000))]

        def work(server: Server) -> dict[str, float]:
            rows = {}
            for name, paths in jobs:
                for associations in (1, 8):
                    half = paths[:400] if associations == 1 else paths[400:]
                    folders = split(half, associations)
                    cpu = server.cpu_seconds()
                    seconds = storescu(server, folders, nodelay=True)
                    rows[f"C-STORE {name} x{associations}, instances/s"] = len(half) / seconds
                    if server.name != "storescp":  # it forks: its children's time is not its own
                        spent = (server.cpu_seconds() - cpu) / len(half) * 1000
                        rows[f"C-STORE {name} x{associations}, server CPU ms (less is better)"] = (
                            spent
                        )
            rows["resident MiB after storing (less is better)"] = server.rss_mib()
            return rows

        self.each((Filmroom, Orthanc, Storescp), work)

    def nagle(self) -> None:
        ct, mr = self.ct(200)[:30], self.mr(300)[:30]

        def work(server: Server) -> dict[str, float]:
            return {
                f"C-STORE {name} x1, all as packaged (Nagle on), instances/s": len(paths)
                / storescu(server, _folder(paths, f"nagle-{name}"), nodelay=False)
                for name, paths in (("CT", ct), ("MR", mr))
            }

        self.each((Filmroom, Orthanc), work, nodelay=False)

    def stow(self) -> None:
        paths = self.ct(200)
        batches = [_multipart(paths[at : at + 10]) for at in range(0, len(paths), 10)]
        half = len(batches) // 2

        def work(server: Server) -> dict[str, float]:
            rows = {}
            for connections, part in ((1, batches[:half]), (8, batches[half:])):
                with httpx.Client(auth=server.auth, timeout=120) as client:
                    client.get(f"{server.dicomweb}/studies?limit=1")  # sign in once

                    def post(body: bytes, client: httpx.Client = client) -> None:
                        url = f"{server.dicomweb}/studies"
                        answer = client.post(url, content=body, headers=MULTIPART)
                        answer.raise_for_status()

                    started = time.perf_counter()
                    with ThreadPoolExecutor(connections) as pool:
                        list(pool.map(post, part))
                    seconds = time.perf_counter() - started
                rows[f"STOW CT batches of 10 x{connections}, instances/s"] = (
                    len(part) * 10 / seconds
                )
            return rows

        self.each((Filmroom, Orthanc), work)

    def query(self) -> None:
        studies = 1000
        paths = self.corpus(f"small{studies}", lambda folder: corpus.small_studies(folder, studies))

        def work(server: Server) -> dict[str, float]:
            storescu(server, split(paths, 4), nodelay=True)
            time.sleep(1)
            rows = asyncio.run(_c_find(server))
            with httpx.Client(auth=server.auth, timeout=120) as client:
                for name, query in {
                    "QIDO exact PatientID, ms": "PatientID=Q000500",
                    "QIDO page of 50, ms": "limit=50&includefield=StudyDescription",
                    "QIDO page of 50 at half, ms": "limit=50&offset=500",
                    "QIDO SMI*, all answers, ms": "PatientName=SMI*",
                }.items():
                    rows[name] = _median_ms(client, f"{server.dicomweb}/studies?{query}", 9)
            return rows

        self.each((Filmroom, Orthanc), work)

    def retrieve(self) -> None:
        paths = self.ct(500)

        def work(server: Server) -> dict[str, float]:
            storescu(server, split(paths, 2), nodelay=True)
            time.sleep(7)  # a quiet series, as a reader meets it
            rows = {}
            with httpx.Client(auth=server.auth, timeout=120) as client:
                root = server.dicomweb
                study = _first(client, f"{root}/studies?limit=1", "0020000D")
                url = f"{root}/studies/{study}/series"
                series = _first(client, url, "0020000E")
                url = f"{url}/{series}"
                rows["/metadata of 500 CT, first request, ms"] = _ms(client, f"{url}/metadata")
                rows["/metadata of 500 CT, warm, ms"] = _median_ms(client, f"{url}/metadata", 7)
                rows["QIDO 500 instances of a series, ms"] = _median_ms(
                    client, f"{url}/instances?limit=1000", 5
                )
                answer = client.get(f"{url}/instances?limit=1000", headers=JSON).json()
                uids = [instance["00080018"]["Value"][0] for instance in answer]
                frames = [f"{url}/instances/{uid}/frames/1" for uid in uids[:200]]
                accept = {"Accept": "multipart/related; type=application/octet-stream"}
                for clients in (1, 8):
                    rows[f"one frame of CT, {clients} client(s), frames/s"] = _rate(
                        client, frames, accept, clients
                    )
                rendered = [f"{url}/instances/{uid}/rendered" for uid in uids[:60]]
                jpeg = {"Accept": "image/jpeg"}
                for clients in (1, 8):
                    rows[f"/rendered CT, {clients} client(s), images/s"] = _rate(
                        client, rendered, jpeg, clients
                    )
                started = time.perf_counter()
                accept = {"Accept": "multipart/related; type=application/dicom"}
                with client.stream("GET", f"{root}/studies/{study}", headers=accept) as answer:
                    answer.raise_for_status()
                    for _ in answer.iter_raw(1 << 20):
                        pass
                seconds = time.perf_counter() - started
                rows["WADO-RS study of 500 CT, instances/s"] = 500 / seconds
            rows["C-GET of 500 CT, instances/s"] = 500 / _getscu(server, study, self.folder)
            return rows

        self.each((Filmroom, Orthanc), work)

    # -- the end --------------------------------------------------------------------------------
    def report(self) -> str:
        lines = ["| row | filmroom | Orthanc | ratio | storescp |", "|---|---|---|---|---|"]
        for row, by_server in self.figures.items():
            medians = {name: statistics.median(values) for name, values in by_server.items()}
            ours, theirs = medians.get("filmroom"), medians.get("Orthanc")
            less = ", ms" in row or "less is better" in row
            ratio = ""
            if ours and theirs:
                ratio = f"{theirs / ours if less else ours / theirs:.1f}x"
            cells = [row, *(_figure(v) for v in (ours, theirs))]
            lines.append(f"| {' | '.join(cells)} | {ratio} | {_figure(medians.get('storescp'))} |")
        return "\n".join(lines)


MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
JSON = {"Accept": "application/dicom+json"}
SETTLE_SECONDS = 4.0  # after the start, so that nobody's start-up is measured
ROWS = ("store", "nagle", "stow", "query", "retrieve")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _folder(paths: list[Path], name: str) -> list[Path]:
    folder = paths[0].parent.parent / name
    if not folder.exists():
        folder.mkdir()
        for path in paths:
            os.link(path, folder / path.name)
    return [folder]


def _multipart(paths: list[Path]) -> bytes:
    parts = [
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() for path in paths
    ]
    return b"\r\n".join([*parts, b"--b--\r\n"])


def _ms(client: httpx.Client, url: str) -> float:
    started = time.perf_counter()
    headers = JSON | {"Accept-Encoding": "gzip"}
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code not in (200, 204):
            raise SystemExit(f"{url}: {answer.status_code}")
        for _ in answer.iter_raw():
            pass
    return (time.perf_counter() - started) * 1000


def _median_ms(client: httpx.Client, url: str, times: int) -> float:
    return statistics.median(_ms(client, url) for _ in range(times))


def _first(client: httpx.Client, url: str, tag: str) -> str:
    value: str = client.get(url, headers=JSON).json()[0][tag]["Value"][0]
    return value


def _rate(client: httpx.Client, urls: list[str], headers: dict[str, str], clients: int) -> float:
    def get(url: str) -> None:
        answer = client.get(url, headers=headers)
        answer.raise_for_status()

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(get, urls))
    return len(urls) / (time.perf_counter() - started)


async def _c_find(server: Server) -> dict[str, float]:
    """Over one association, by filmroom's own client to both servers."""
    from pydicom.dataset import Dataset
    from pynetdicom.dsutils import encode

    from filmroom.dicom.uids import IMPLICIT_VR_LE, STUDY_ROOT_FIND
    from filmroom.dimse.client import associate

    association = await associate(
        "127.0.0.1",
        server.dimse_port,
        calling="BENCH",
        called=server.ae_title,
        contexts=[(STUDY_ROOT_FIND, [IMPLICIT_VR_LE])],
    )
    rows = {}
    for name, keys in {
        "C-FIND exact PatientID, ms": {"PatientID": "Q000500"},
        "C-FIND SMI*, ms": {"PatientName": "SMI*", "PatientID": ""},
        "C-FIND one month, ms": {"StudyDate": "20260101-20260131", "PatientID": ""},
    }.items():
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = ""
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        data = encode(identifier, True, True)
        times = []
        for _ in range(9):
            started = time.perf_counter()
            async for _status, _answer in association.find(STUDY_ROOT_FIND, data):
                pass
            times.append((time.perf_counter() - started) * 1000)
        rows[name] = statistics.median(times)
    await association.release()
    return rows


def _getscu(server: Server, study: str, folder: Path) -> float:
    target = Path(tempfile.mkdtemp(dir=folder))
    started = time.perf_counter()
    subprocess.run(
        [
            *("getscu", "-aet", "BENCH", "-aec", server.ae_title, "-S", "--bit-preserving"),
            *("-od", str(target), "-k", "QueryRetrieveLevel=STUDY"),
            *("-k", f"StudyInstanceUID={study}", "127.0.0.1", str(server.dimse_port)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TCP_NODELAY": "1"},
        timeout=300,
    )
    seconds = time.perf_counter() - started
    if len(list(target.iterdir())) != 500:
        raise SystemExit(f"getscu from {server.name}: {len(list(target.iterdir()))} of 500")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="filmroom-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, arguments.rounds)
    for row in arguments.rows.split(","):
        print(f"{row}:", flush=True)
        getattr(bench, row)()
    report = bench.report()
    print(report)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "compare.md").write_text(report + "\n")
    (results / "compare.json").write_text(json.dumps(bench.figures, indent=1))
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
