"""Data sets and files that mean no good, by C-STORE, STOW and import alike."""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import hostile_wire as wire
from hostile_archives import PREAMBLES, deflate_bomb, dicomdir, meta_files, zipped
from hostile_files import (
    DEFLATED,
    EITHER,
    REFUSED,
    STORED,
    Bad,
    bad_uids,
    broken_structures,
    data_set,
    element,
    nestings,
    new_uid,
    padded,
    part10,
    raw_deflate,
)
from hostile_http import DICOM, MULTIPART, multipart
from hostile_values import NAMES, absurd_pixels, hostile_names, odd_text
from hostile_watch import MIB, discreet
from hostile_wire import CT, Peer
from peers import filmroom

pytestmark = pytest.mark.hostile

SECONDS_EACH = 2.0
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
STOW = {"Content-Type": MULTIPART}


@pytest.fixture(autouse=True)
def common_rule(watch):
    yield
    watch.check()


def by_store(node, one):
    """C-STORE; the status. The association must live."""
    with Peer(node.dimse_port) as peer:
        peer.associate([(1, wire.VERIFICATION, [wire.IMPLICIT]), (3, CT, [one.ts])])
        status = peer.store(one.body, one.uid)
        assert peer.echo() == 0
    return status


def by_stow(watch, *files):
    return watch.http.post("/dicom-web/studies", content=multipart(*files), headers=STOW)


def is_stored(status):
    return status in (0x0000, 0xB000)


def instance_url(uid):
    return f"/dicom-web/studies/{uid}.1/series/{uid}.2/instances/{uid}"


def everything_of(watch, one):
    """Ask for all there is of a stored instance; nothing of it may be a 500 or invalid."""
    url = instance_url(one.uid)
    for path in (
        f"{url}/metadata",
        f"/dicom-web/studies?StudyInstanceUID={one.uid}.1&includefield=all",
        f"/dicom-web/instances?SOPInstanceUID={one.uid}&includefield=all",
    ):
        answer = watch.http.get(path)
        assert answer.status_code == 200, (one.name, path, answer.text[:300])
        (found,) = answer.json()
        json.loads(answer.content.decode("utf-8"), parse_constant=pytest.fail)
        assert all(set(attribute) <= JSON_KEYS for attribute in found.values())
    kept = watch.http.get(url, headers=AS_STORED)
    assert kept.status_code == 200
    assert kept.content.endswith(one.body)


JSON_KEYS = {"vr", "Value", "BulkDataURI", "InlineBinary"}
DATA_SETS = [*nestings(), *broken_structures(), *bad_uids(), *odd_text(), *absurd_pixels()]


def each(table):
    return pytest.mark.parametrize("one", table, ids=lambda one: one.name)


# -- one table, three doors ------------------------------------------------------------------
@each(DATA_SETS)
def test_a_hostile_data_set_by_c_store_and_by_stow(node, watch, one):
    resident = watch.forget_peak()
    began = watch.work()
    status = by_store(node, one)
    assert is_stored(status) or status >> 12 in (0xA, 0xC), hex(status)
    assert status != 0x0110
    answer = by_stow(watch, one.file)
    assert watch.work() - began < SECONDS_EACH
    assert answer.status_code in ((200,) if is_stored(status) else (400, 409)), answer.text
    discreet(answer.text)
    if one.expected != EITHER:
        assert is_stored(status) is (one.expected == STORED), (hex(status), answer.text)
    if is_stored(status):
        everything_of(watch, one)
    assert watch.memory("VmHWM") - resident < 32 * MIB


def test_the_same_by_import(tmp_path):
    """All in one folder: each file's fate is its own."""
    folder = tmp_path / "in"
    folder.mkdir()
    table = [Bad(b.name, b.body, b.expected, b.ts, b.uid) for b in DATA_SETS]
    table += hostile_names().values()
    for number, one in enumerate(table):
        (folder / f"{number}.dcm").write_bytes(one.file)
    (folder / "link.dcm").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.dcm")
    answer = filmroom("import", "--data", tmp_path / "data", folder, "--json", timeout=60)
    assert "Traceback" not in answer.stderr, answer.stderr[-2000:]
    score = json.loads(answer.stdout)
    failed = {int(re.search(r"/(\d+)\.dcm$", f["file"])[1]) for f in score["failures"]
              if re.search(r"/\d+\.dcm$", f["file"])}  # fmt: skip
    wanted = {n for n, one in enumerate(table) if one.expected == REFUSED}
    free = {n for n, one in enumerate(table) if one.expected == EITHER}
    assert len(failed - free) <= 100  # as many are told one by one
    assert failed - free <= wanted
    stored = sum(one.expected == STORED for one in table)
    assert stored <= score["new"] + score["same"] + score["differing"] <= stored + len(free)
    assert list((tmp_path / "data" / "tmp").iterdir()) == []


def test_the_absurd_is_not_drawn(watch):
    """Whatever the header says of its pixels: an answer of 4xx or 5xx for it, and life goes on."""
    table = absurd_pixels()
    assert by_stow(watch, *(one.file for one in table)).status_code == 200
    for one in table:
        for path in ("/frames/1", "/rendered", "/thumbnail", "/frames/2147483647", "/frames/0"):
            began = time.monotonic()
            answer = watch.http.get(instance_url(one.uid) + path, headers={"Accept": "*/*"})
            assert answer.status_code in (200, 400, 404, 406, 409, 415, 500), (one.name, path)
            assert time.monotonic() - began < 5, (one.name, path)
            if answer.status_code != 200:
                assert answer.status_code != 500 or "cannot be processed" in answer.text
                discreet(answer.text)
    watch.check(len(table))


# -- the file around a data set (rows 31-33, 37, 38; S19) ---------------------------------------
@pytest.mark.parametrize("preamble", PREAMBLES.values(), ids=PREAMBLES.keys())
def test_a_preamble_that_is_another_kind_of_file_is_neutralised(node, watch, preamble):
    uid = new_uid()
    body = data_set(uid)
    assert by_stow(watch, part10(body, uid, preamble=preamble)).status_code == 200
    blob = node.blob(uid)
    answer = watch.http.get(instance_url(uid), headers=AS_STORED)
    assert answer.headers["content-type"].startswith(DICOM)
    assert answer.headers["x-content-type-options"] == "nosniff"
    for content in (blob.read_bytes(), answer.content):
        assert content[:132] == bytes(128) + b"DICM"
        assert content.endswith(body)
    assert blob.path is None or not blob.path.stat().st_mode & stat.S_IXUSR


META_FILES = meta_files()


@pytest.mark.parametrize("name", META_FILES)
def test_a_file_whose_beginning_lies(watch, name):
    content, expected = META_FILES[name].content, META_FILES[name].expected
    resident = watch.forget_peak()
    for headers, body in ((STOW, multipart(content)), ({"Content-Type": DICOM}, content)):
        answer = watch.http.post("/dicom-web/studies", content=body, headers=headers)
        allowed = {STORED: (200, 202), REFUSED: (400, 409), EITHER: (200, 202, 400, 409)}[expected]
        assert answer.status_code in allowed, answer.text
        discreet(answer.text)
    assert watch.memory("VmHWM") - resident < 32 * MIB


# -- bombs (row 39, V1-R18) ---------------------------------------------------------------------
def test_deflated_bombs_at_every_door_at_once_are_refused_and_memory_is_bounded(node, watch):
    one = deflate_bomb(700)
    resident = watch.forget_peak()
    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        stores = [threads.submit(by_store, node, one) for _ in range(5)]
        stows = [threads.submit(by_stow, watch, one.file) for _ in range(3)]
        slowest = max(wire.echo_seconds(node.dimse_port) for _ in range(10))
        assert all(store.result() >> 12 == 0xC for store in stores)
        assert all(stow.result().status_code == 400 for stow in stows)
    assert slowest < 1
    assert time.monotonic() - began < 20
    assert watch.memory("VmHWM") - resident < 256 * MIB


def test_a_deflated_data_set_of_honest_proportions_is_stored(node, watch):
    uid = new_uid()
    pixels = os.urandom(64 << 10) * 4
    body = raw_deflate(data_set(uid, {0x7FE00010: ("OW", pixels)}))
    assert is_stored(by_store(node, Bad("deflated", body, ts=DEFLATED, uid=uid)))
    assert watch.http.get(instance_url(uid) + "/metadata").status_code == 200


def test_a_gzip_bomb_as_body_is_413(watch):
    resident = watch.forget_peak()
    bomb = gzip.compress(gzip.compress(bytes(512 * MIB), 9, mtime=0), 1)  # as gzip: 2,2 MB
    inner = gzip.decompress(bomb)
    answer = watch.http.post(
        "/dicom-web/studies", content=inner, headers={**STOW, "Content-Encoding": "gzip"}
    )
    assert answer.status_code in (400, 413), answer.text
    discreet(answer.text)
    assert watch.memory("VmHWM") - resident < 64 * MIB
    for coding in ("deflate", "br", "gzip, gzip", "../../x", "gzip" * 500):
        headers = {**STOW, "Content-Encoding": coding}
        assert (
            watch.http.post("/dicom-web/studies", content=b"x", headers=headers).status_code == 415
        )
    for content in (b"", b"\x1f\x8b", b"no gzip", gzip.compress(multipart(b"x"))[:-9]):
        headers = {**STOW, "Content-Encoding": "gzip"}
        answer = watch.http.post("/dicom-web/studies", content=content, headers=headers)
        assert answer.status_code == 400
        discreet(answer.text)


def test_zip_files_that_lie_are_imported_without_harm(tmp_path):
    """Bombs, members that climb, links, encrypted and broken ones, beside one good file."""
    uid = new_uid()
    sound = part10(data_set(uid), uid)
    bomb = part10(b"", uid)[:-1] + bytes(300 * MIB)
    names = ["../../../escape.dcm", "/tmp/escape.dcm", "..\\..\\escape.dcm", "C:\\escape.dcm",
             "a\x1b[31m.dcm", "x" * 5000, "good.dcm"]  # fmt: skip
    many = {name: part10(data_set(u), u) for name in names for u in [new_uid()]}
    archive = bytearray(zipped(many))
    place = tmp_path / "in"
    place.mkdir()
    (place / "many.zip").write_bytes(archive)
    (place / "bomb.zip").write_bytes(zipped({"bomb.dcm": bomb}))
    (place / "cut.zip").write_bytes(archive[: len(archive) // 2])
    (place / "noise.zip").write_bytes(b"PK\3\4" + os.urandom(5000))
    lying = zipped({"lying.dcm": sound})
    at = lying.rfind(b"PK\1\2")
    (place / "lying.zip").write_bytes(lying[: at + 24] + b"\xff\xff\xff\x7f" + lying[at + 28 :])
    nested = sound
    for _ in range(50):
        nested = zipped({"inner.zip": nested})
    (place / "nested.zip").write_bytes(nested)
    (place / "DICOMDIR").write_bytes(dicomdir("..\\..\\etc\\passwd", "GOOD", "A/B", "/etc/passwd"))
    (place / "good.dcm").write_bytes(sound)
    before = set(os.listdir("/tmp")) | set(os.listdir(tmp_path.parent))
    began = time.monotonic()
    answer = filmroom("import", "--data", tmp_path / "data", place, place / "DICOMDIR", "--json")
    assert time.monotonic() - began < 30
    assert "Traceback" not in answer.stderr, answer.stderr[-3000:]
    score = json.loads(answer.stdout)
    assert score["new"] == len(names) + 1, score
    assert "\x1b" not in answer.stdout
    assert "\x1b" not in answer.stderr
    after = set(os.listdir("/tmp")) | set(os.listdir(tmp_path.parent))
    assert not {name for name in after - before if "escape" in name}


# -- text (rows 43-45, V1-S5) ----------------------------------------------------------------------
def test_hostile_names_are_stored_and_inert_everywhere(node, watch):
    mark = watch.mark()
    table = hostile_names()
    for kind, one in table.items():
        assert by_store(node, one) == 0x0000, kind
        for path in (
            f"/dicom-web/studies?StudyInstanceUID={one.uid}.1",
            f"/dicom-web/studies/{one.uid}.1/series",
            f"{instance_url(one.uid)}/metadata",
            f"{instance_url(one.uid)}",
            f"{instance_url(one.uid)}/rendered",
            f"/dicom-web/studies/{one.uid}.1?accept=application/zip",
            f"/wado?requestType=WADO&studyUID={one.uid}.1&seriesUID={one.uid}.2"
            f"&objectUID={one.uid}&contentType=application/dicom",
        ):
            answer = watch.http.get(path)
            assert answer.status_code in (200, 406), (kind, path, answer.status_code)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not answer.headers["content-type"].startswith("text/html")
            heads = " ".join(f"{name}: {value}" for name, value in answer.headers.items())
            assert not any(name[:4] in heads for name in ("<scr", "jndi", "DROP")), heads
            assert "set-cookie" not in answer.headers
        (found,) = watch.http.get(f"{instance_url(one.uid)}/metadata").json()
        name = NAMES[kind]
        shown = found["00081030"].get("Value", [""])[0] or ""
        assert shown.strip() in name or "\\" in name, (kind, shown)
        finding = watch.http.get("/dicom-web/studies", params={"PatientName": name[:200]})
        assert finding.status_code in (200, 204, 400), finding.text
    lines = watch.lines(mark)  # JSON, ASCII, a line each: nothing has forged one
    assert not [line for line in lines if "jndi" in json.dumps(line)]
    assert not os.path.exists("/tmp/pwned")
    exported = watch.http.get("/dicom-web/studies?limit=1000").json()
    assert len(exported) >= len(table)
    watch.check(len(table))


def test_native_xml_of_hostile_names_is_well_formed(node, watch):
    from xml.etree import ElementTree

    for one in hostile_names().values():
        assert by_store(node, one) == 0x0000
        url = f"{instance_url(one.uid)}/metadata"
        accept = 'multipart/related; type="application/dicom+xml"'
        answer = watch.http.get(url, headers={"Accept": accept})
        assert answer.status_code == 200
        boundary = re.search(r"boundary=\"?([^\";]+)", answer.headers["content-type"])[1]
        document = answer.content.split(b"\r\n\r\n", 1)[1].split(f"\r\n--{boundary}".encode())[0]
        ElementTree.fromstring(document)


def test_values_of_a_megabyte_are_not_remembered_for_ever(node, watch):
    """The attributes of patient and study are kept from one instance to the next; not these."""
    before = watch.memory("VmRSS")
    tags = (0x00104000, 0x001021B0)
    with Peer(node.dimse_port) as peer:
        peer.associate()
        for number in range(40):
            filling = str(number).encode().ljust(1 << 20, b"x")
            more = dict.fromkeys(tags, ("UT", filling))
            uid = new_uid()
            peer.store(data_set(uid, more), uid)
    assert watch.memory("VmRSS") - before < 48 * MIB


def test_a_header_as_long_as_a_film_is_never_whole_in_memory(watch):
    """A document of 160 MiB has no pixel data, so that all of it counts as header."""
    uid = new_uid()
    document = element(0x00420011, "OB", bytes(160 * MIB))
    body = data_set(uid, {0x7FE00010: ("", b"")}) + document
    file = part10(body, uid)
    resident = watch.forget_peak()
    answer = watch.http.post("/dicom-web/studies", content=file, headers={"Content-Type": DICOM})
    assert answer.status_code == 200
    url = instance_url(uid)
    for path in (f"{url}/metadata", f"/dicom-web/studies/{uid}.1/series/{uid}.2/metadata"):
        (found,) = watch.http.get(path).json()
        assert found["00420011"]["BulkDataURI"].endswith("/bulkdata/00420011")
    answer = watch.http.get(f"{url}/bulkdata/00420011", headers={"Range": "bytes=5-9"})
    assert (answer.status_code, answer.content) == (206, bytes(5))
    time.sleep(1.2)  # the series goes quiet, and its metadata are made
    assert watch.memory("VmHWM") - resident < 64 * MIB


def test_long_headers_of_transcoded_frames_are_not_remembered(watch):
    uids = [new_uid() for _ in range(24)]
    private = {0x00091010: ("LO", b"FILLING "), 0x00091011: ("OB", bytes(4 * MIB))}
    before = watch.memory("VmRSS")
    for uid in uids:
        file = part10(data_set(uid, {**private, 0x00090010: ("LO", uid.encode()[:8])}), uid)
        headers = {"Content-Type": DICOM}
        assert watch.http.post("/dicom-web/studies", content=file, headers=headers).is_success
        accept = {"Accept": 'multipart/related; type="image/jls"'}
        answer = watch.http.get(f"{instance_url(uid)}/frames/1", headers=accept)
        assert answer.status_code == 200, answer.text
    assert watch.memory("VmRSS") - before < 48 * MIB


# -- one UID, many senders (row 46, V1-R7) -------------------------------------------------------
def test_one_instance_from_ten_senders_at_once_is_one_instance(node, watch):
    uid = new_uid()
    one = Bad("one", data_set(uid), uid=uid)
    with ThreadPoolExecutor(10) as threads:
        stores = [threads.submit(by_store, node, one) for _ in range(5)]
        stows = [threads.submit(by_stow, watch, one.file) for _ in range(5)]
    assert [store.result() for store in stores] == [0x0000] * 5
    assert [stow.result().status_code for stow in stows] == [200] * 5
    assert len([blob for blob in node.stored() if blob.stem == uid]) == 1
    (found,) = watch.http.get(f"/dicom-web/instances?SOPInstanceUID={uid}").json()
    assert found["00080018"]["Value"] == [uid]


def test_one_uid_with_ten_contents_keeps_the_first_and_says_so(node, watch):
    uid = new_uid()
    contents = [data_set(uid, {0x00081030: ("LO", b"%02d" % n)}) for n in range(10)]
    bads = [Bad("", content, uid=uid) for content in contents]
    with ThreadPoolExecutor(10) as threads:
        statuses = list(threads.map(lambda one: by_store(node, one), bads))
    assert sorted(statuses) == [0x0000] + [0xB000] * 9
    kept = watch.http.get(instance_url(uid), headers=AS_STORED).content
    assert kept.endswith(contents[statuses.index(0x0000)])


def test_the_same_uid_in_another_study_does_not_move_the_first(node, watch):
    uid = new_uid()
    assert by_store(node, Bad("", data_set(uid), uid=uid)) == 0x0000
    other = data_set(uid, {0x0020000D: ("UI", padded(new_uid(), b"\0"))})
    assert by_store(node, Bad("", other, uid=uid)) in (0xB000, 0xA900)
    assert watch.http.get(instance_url(uid), headers=AS_STORED).content.endswith(data_set(uid))


def test_a_crowd_of_different_instances_by_both_doors(node, watch):
    uids = [new_uid() for _ in range(60)]
    done = []
    lock = threading.Lock()

    def send(uid):
        one = Bad("", data_set(uid), uid=uid)
        ok = by_store(node, one) == 0 if len(uid) % 2 else by_stow(watch, one.file).is_success
        with lock:
            done.append(ok)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, uids))
    assert all(done)
    assert {blob.stem for blob in node.stored()} >= set(uids)
