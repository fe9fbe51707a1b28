"""Database or object store out of reach of nodes at work: refusals, and then no restart.

FILMROOM_OUTAGE_SECONDS says for how long the database is away, the object store twice as long;
a few seconds unless told.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter

import pytest

import hostile_wire as wire
from faulty_proxy import FaultyProxy
from hostile_wire import Peer
from instances import a_data_set, data_set_bytes, part10
from senders import AS_STORED, contents, held_instances
from several import Several

OUTAGE_SECONDS = float(os.environ.get("FILMROOM_OUTAGE_SECONDS", "3"))
AGAIN_SECONDS = 20  # until stores succeed again, at most
LONGEST_ECHO_SECONDS = 1.0
MODALITIES, UPLOADERS = 6, 2
DICOM = {"Content-Type": "application/dicom"}
OUT_OF_RESOURCES = range(0xA700, 0xA800)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400 + 6 * OUTAGE_SECONDS)]


class Load:
    """Modalities that store one instance after the other, uploads, and somebody who echoes."""

    def __init__(self, several: Several) -> None:
        self._several = several
        self._ending = threading.Event()
        self._numbers = itertools.count()
        self.sent: dict[str, bytes] = {}
        self.acknowledged: dict[str, float] = {}  # UID -> when
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest_echo = 0.0
        deeds = [self._store] * MODALITIES + [self._stow] * UPLOADERS + [self._echo]
        self._threads = [threading.Thread(target=self._again, args=(deed,)) for deed in deeds]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(200)
            assert not thread.is_alive(), "somebody was never answered"

    def _again(self, deed) -> None:
        while not self._ending.is_set():
            try:
                deed()
            except Exception as error:  # noqa: BLE001 - told in the end
                self.failures.append(repr(error))
            self._ending.wait(0.05)

    def _instance(self):
        number = next(self._numbers)
        size = random.Random(number).choice((16, 16, 64, 300))
        ds = a_data_set(rows=size, columns=size, seed=number)
        content = part10(ds)
        self.sent[ds.SOPInstanceUID] = data_set_bytes(content)
        return ds.SOPInstanceUID, content

    def _store(self) -> None:
        uid, _ = self._instance()
        with Peer(self._several.dimse_port, timeout=180) as peer:
            peer.associate()
            status = peer.store(self.sent[uid], uid)
        if status == 0:
            self.acknowledged[uid] = time.monotonic()
        self.answers[f"{status:04X}"] += 1

    def _stow(self) -> None:
        uid, content = self._instance()
        node = random.choice(self._several.nodes)
        with node.client(timeout=180) as client:
            answer = client.post("/dicom-web/studies", content=content, headers=DICOM)
        if answer.status_code == 200:
            self.acknowledged[uid] = time.monotonic()
        self.answers[f"HTTP {answer.status_code}"] += 1

    def _echo(self) -> None:
        self.slowest_echo = max(self.slowest_echo, wire.echo_seconds(self._several.dimse_port))

    def until_more(self, count: int, seconds: float) -> None:
        """Return when so many more were acknowledged."""
        wanted, ends = len(self.acknowledged) + count, time.monotonic() + seconds
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < ends, f"no more stores: {self.answers}, {self.failures[-3:]}"
            time.sleep(0.05)

    def between(self, began: float, ended: float) -> int:
        """How many were acknowledged in that time."""
        return sum(began < at < ended for at in self.acknowledged.values())


@pytest.fixture
def proxies(database, server):
    with FaultyProxy(database.port) as one, FaultyProxy(server.ports["s3"]) as other:
        yield {"database": one, "objects": other}


@pytest.fixture
def several(tmp_path, database, server, proxies):
    """Two nodes whose ways to database and store can fail."""
    index = proxies["database"].through(database.database())
    blobs = server.place(proxies["objects"].through(server.endpoint))
    made = Several(tmp_path, index, blobs)
    yield made.start()
    made.kill()


def refused(proxy):
    proxy.refuse()


def cut(proxy):
    """In the middle of what goes on, and every new connection soon after it was made."""
    chance = random.Random(1)
    proxy.cut_after(lambda: chance.randrange(6000))


def silent(proxy):
    proxy.fall_silent()


@pytest.mark.parametrize("fault", [refused, cut, silent])
@pytest.mark.parametrize("what", ["database", "objects"])
def test_an_outage_is_refusals_and_no_restart(several, proxies, what, fault):
    proxy, seconds = proxies[what], OUTAGE_SECONDS * (1 if what == "database" else 2)
    processes = [node.process for node in several.nodes]
    with Load(several) as load:
        load.until_more(30, 60)
        fault(proxy)
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
        proxy.pass_on()
        load.until_more(10, AGAIN_SECONDS)
        again = time.monotonic() - ended
        load.until_more(30, 30)
    told_in_time(load)
    if fault is not cut:  # what was on its way as it began may still have been answered
        assert load.between(began + 0.5, ended) == 0, "acknowledged by nobody knows whom"
    assert [node.process for node in several.nodes] == processes
    strays = all_is_held_once(several, load)
    print(
        f"{what} {fault.__name__} for {seconds:g} s: {dict(load.answers)}, again after "
        f"{again:.1f} s, slowest echo {load.slowest_echo * 1000:.0f} ms, {strays} strays"
    )


@pytest.mark.parametrize("what", ["database", "objects"])
def test_a_store_during_a_long_outage_is_told_so(several, proxies, what):
    """For as long as it takes to be told: by C-STORE and by STOW-RS."""
    proxies[what].refuse()
    began = time.monotonic()
    status, answer = by_both_doors(several)
    print(f"{what}: both were refused within {time.monotonic() - began:.1f} s")
    assert status in OUT_OF_RESOURCES
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert wire.echo_seconds(several.dimse_port) < LONGEST_ECHO_SECONDS
    proxies[what].pass_on()
    ends = time.monotonic() + AGAIN_SECONDS
    while (found := by_both_doors(several))[0] or found[1].status_code != 200:
        assert time.monotonic() < ends, f"it never noticed: {found}"
    assert all(node.temporary_files() == [] for node in several.nodes)


def by_both_doors(several):
    one, other = a_data_set(), a_data_set()
    with Peer(several.dimse_port, timeout=120) as peer:
        peer.associate()
        status = peer.store(data_set_bytes(part10(one)), one.SOPInstanceUID)
    with several.nodes[1].client(timeout=120) as client:
        answer = client.post("/dicom-web/studies", content=part10(other), headers=DICOM)
    return status, answer


def test_without_the_store_searches_go_on(several, proxies):
    ds = a_data_set()
    with several.nodes[0].client() as client:
        assert client.post("/dicom-web/studies", content=part10(ds), headers=DICOM).is_success
    proxies["objects"].refuse()
    for node in several.nodes:
        with node.client() as client:
            assert len(client.get("/dicom-web/studies").json()) == 1
    with several.nodes[0].client() as client:  # it has just stored that
        (path,) = held_instances(client).values()
        given = client.get(path, headers=AS_STORED)
        assert data_set_bytes(given.content) == data_set_bytes(part10(ds))
    with several.nodes[1].client() as client:  # and this one has to ask
        assert client.get(path, headers=AS_STORED).status_code == 503
        proxies["objects"].pass_on()
        given = client.get(path, headers=AS_STORED)
        assert data_set_bytes(given.content) == data_set_bytes(part10(ds))
        assert client.get("/dicom-web/studies").headers.get("Warning") is None


def test_a_slow_network_is_only_slow(several, proxies):
    for proxy in proxies.values():
        proxy.delay(50)
    with Load(several) as load:
        load.until_more(60, 120)
    for proxy in proxies.values():
        proxy.pass_on()
    told_in_time(load)
    assert load.answers.keys() <= {"0000", "HTTP 200"}
    all_is_held_once(several, load)


@pytest.mark.parametrize("towards", ["node", "target"])
def test_connections_that_are_half_closed_are_made_anew(several, proxies, towards):
    with Load(several) as load:
        for _ in range(5):
            load.until_more(10, AGAIN_SECONDS)
            for proxy in proxies.values():
                proxy.half_close(towards)
        load.until_more(10, AGAIN_SECONDS)
    told_in_time(load)
    all_is_held_once(several, load)


def told_in_time(load):
    """Everybody was answered, with success or with a refusal that says to try again."""
    assert load.failures == []
    for answer in load.answers:
        assert answer in ("0000", "HTTP 200", "HTTP 503") or int(answer, 16) in OUT_OF_RESOURCES
    assert load.slowest_echo < LONGEST_ECHO_SECONDS


def all_is_held_once(several, load):
    """What was acknowledged, byte by byte; an object for each row; nothing left lying about.

    Returns how many objects without a row there are: of what was acknowledged to nobody.
    """
    with several.nodes[0].client() as client:
        found = contents(client)
    assert [uid for uid in load.acknowledged if uid not in found] == [], "acknowledged and lost"
    assert [uid for uid, content in found.items() if content != load.sent[uid]] == []
    objects = Counter(path.rpartition("/")[2].partition("_")[0] for path in several.objects())
    assert found.keys() <= objects.keys(), "a row without an object"
    assert not [uid for uid in load.acknowledged if objects[uid] > 1], "one is there twice"
    assert objects.keys() <= load.sent.keys()
    for node in several.nodes:
        until_tidy(node)
        assert "Traceback" not in node.log.read_text()
    return objects.total() - len(found)


def until_tidy(node):
    """No file is left of what was refused."""
    ends = time.monotonic() + 10
    while node.temporary_files():
        assert time.monotonic() < ends, node.temporary_files()
        time.sleep(0.1)
