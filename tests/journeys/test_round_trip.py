"""What dcmtk's storescu sends, its findscu finds, and its movescu and getscu bring back.

Equal means: the bytes of the data set. storescu reads and writes a file anew before it sends it,
so what it sends is learnt from dcmtk's own storescp, which is sent the same files first.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from instances import data_set_bytes
from nodes import FilmroomProcess, free_port
from packaged import corpus, packaged_files, storescu_profile
from peers import run, storescp

pytestmark = pytest.mark.elsewhere

# Sent by storescu, and refused: none of them has an identity that could be filed.
REFUSED = {
    "bad_sequence.dcm": "SOP Instance UID is missing or not a valid UID",
    "JPEGLSNearLossless_08.dcm": "Study Instance UID is missing",
    "JPEGLSNearLossless_16.dcm": "Study Instance UID is missing",
    "SC_rgb_jls_lossy_line.dcm": "Study Instance UID is missing",
    "SC_rgb_jls_lossy_sample.dcm": "Study Instance UID is missing",
}

# The transfer syntaxes getscu can ask to be sent, each with the option that does it. Not among
# them is Implicit VR Little Endian: getscu 3.6.7 proposes Explicit VR when it is told +xi.
GETSCU = {
    "1.2.840.10008.1.2.1": "+xe",
    "1.2.840.10008.1.2.1.99": "+xd",
    "1.2.840.10008.1.2.2": "+xb",
    "1.2.840.10008.1.2.4.50": "+xy",
    "1.2.840.10008.1.2.4.51": "+xx",
    "1.2.840.10008.1.2.4.70": "+xs",
    "1.2.840.10008.1.2.4.80": "+xt",
    "1.2.840.10008.1.2.4.90": "+xv",
    "1.2.840.10008.1.2.4.91": "+xw",
    "1.2.840.10008.1.2.5": "+xr",
}


@dataclass(frozen=True)
class Instance:
    """What of an object concerns its journey."""

    study: str
    series: str
    sop_class: str
    syntax: str
    data_set: bytes


@dataclass
class Round:
    """An archive that was sent everything, and what dcmtk says was sent."""

    node: FilmroomProcess
    storescp_port: int
    names: dict[str, str]  # SOP Instance UID -> file name
    answers: str
    sent: dict[str, Instance] = field(default_factory=dict)

    @property
    def held(self) -> dict[str, Instance]:
        """What should have been stored."""
        return {uid: i for uid, i in self.sent.items() if self.names.get(uid) not in REFUSED}

    def tree(self) -> dict[str, dict[str, set[str]]]:
        """Study -> series -> instances."""
        tree: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for uid, instance in self.held.items():
            tree[instance.study][instance.series].add(uid)
        return tree

    def say(self, uids) -> list[str]:
        return sorted(self.names.get(uid, uid) for uid in uids)


def received(folder: Path) -> dict[str, Instance]:
    """SOP Instance UID -> what came, of all Part 10 files in a folder."""
    found = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        found[str(ds.file_meta.MediaStorageSOPInstanceUID)] = Instance(
            str(ds.get("StudyInstanceUID", "")),
            str(ds.get("SeriesInstanceUID", "")),
            str(ds.file_meta.MediaStorageSOPClassUID),
            str(ds.file_meta.TransferSyntaxUID),
            data_set_bytes(content),
        )
    return found


@pytest.fixture(scope="module", autouse=True)
def promptness():
    """Let dcmtk's tools not wait for one another's acknowledgements (40 ms a time)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TCP_NODELAY", "1")
        yield


@pytest.fixture(scope="module")
def trip(tmp_path_factory, peer_program, promptness):
    """Everything is sent: to storescp first, then to filmroom."""
    folder = tmp_path_factory.mktemp("round-trip")
    files = list(packaged_files())
    paths = corpus().slices(folder / "ct", 500, size=128, patient="TRIP")
    kinds = {(f.sop_class_uid, s) for f in files for s in f.transfer_syntax_uids if f.sop_class_uid}
    (folder / "all.cfg").write_text(storescu_profile(kinds))
    (folder / "packaged").mkdir()
    for number, file in enumerate(files):
        path = folder / "packaged" / f"{number:03d}-{file.name}"
        path.write_bytes(file.content)
        paths.append(path)

    def send(port):
        storescu = peer_program("storescu")
        options = ("-v", "-nh", "-xf", folder / "all.cfg", "ALL", "-aec", "FILMROOM")
        return run(storescu, *options, "127.0.0.1", port, *paths, timeout=120).stdout

    port = free_port()
    with storescp(peer_program("storescp"), folder / "sent", port, "+xa", "-pm"):
        send(port)
    peers = ("--peer", "*=127.0.0.1:0:echo+store+query+retrieve")
    port = free_port()
    node = FilmroomProcess(
        folder / "filmroom", (*peers, "--peer", f"STORESCP=127.0.0.1:{port}")
    ).start()
    names = {f.sop_instance_uid: f.name for f in files if f.sop_instance_uid}
    yield Round(node, port, names, send(node.dimse_port), received(folder / "sent"))
    node.kill()


def test_storescu_can_send_most_of_them(trip):
    assert len(trip.sent) > 700
    assert len({instance.syntax for instance in trip.sent.values()}) >= 12


def test_each_is_answered_with_success_or_refused_for_its_identity(trip):
    answers = re.findall(r"Received Store Response \((.*)\)", trip.answers)
    refused = [answer for answer in answers if answer != "Success"]
    assert len(answers) == len(trip.sent)
    assert len(refused) == len(REFUSED)
    assert all("CannotUnderstand" in answer.replace(" ", "") for answer in refused), refused


def test_what_was_refused_waits_in_quarantine_with_the_reason(trip):
    with trip.node.client() as client:
        kept = client.get("/api/quarantine?limit=100").json()
    assert sorted(item["reason"] for item in kept) == sorted(REFUSED.values())


def test_each_data_set_is_stored_byte_by_byte_as_it_was_sent(trip):
    stored = {blob.stem: blob for blob in trip.node.stored()}
    assert trip.say(set(stored) ^ set(trip.held)) == []
    differing = [
        uid
        for uid, instance in trip.held.items()
        if data_set_bytes(stored[uid].read_bytes()) != instance.data_set
    ]
    assert trip.say(differing) == []


# -- findscu ----------------------------------------------------------------------------------


def find(trip, peer_program, folder, model, level, of, **keys):
    """The values of `of` in all answers to one findscu."""
    folder.mkdir()
    wanted = {"QueryRetrieveLevel": level, of: ""} | keys
    answer = run(
        peer_program("findscu"), model, "-X", "-od", folder, "-aec", "FILMROOM",
        *("127.0.0.1", trip.node.dimse_port),
        *(word for key, value in wanted.items() for word in ("-k", f"{key}={value}")),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    return sorted(str(pydicom.dcmread(p, force=True)[of].value) for p in folder.iterdir())


def test_findscu_finds_all_of_them_from_study_to_image(trip, peer_program, tmp_path):
    tree = trip.tree()
    at = ("-S", "STUDY", "StudyInstanceUID")
    assert find(trip, peer_program, tmp_path / "studies", *at) == sorted(tree)
    for number, (study, series) in enumerate(tree.items()):
        at = ("-S", "SERIES", "SeriesInstanceUID")
        found = find(trip, peer_program, tmp_path / f"{number}", *at, StudyInstanceUID=study)
        assert found == sorted(series)
        for serial, (uid, instances) in enumerate(series.items()):
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": uid}
            at = ("-S", "IMAGE", "SOPInstanceUID")
            found = find(trip, peer_program, tmp_path / f"{number}-{serial}", *at, **keys)
            assert found == sorted(instances)


def test_findscu_finds_the_ct_from_its_patient(trip, peer_program, tmp_path):
    found = find(
        trip, peer_program, tmp_path / "p", "-P", "PATIENT", "PatientID", PatientID="TRIP*"
    )
    assert found == ["TRIP00000"]
    of_patient = {"PatientID": "TRIP00000"}
    at = ("-P", "STUDY", "StudyInstanceUID")
    (study,) = find(trip, peer_program, tmp_path / "st", *at, **of_patient)
    of_study = of_patient | {"StudyInstanceUID": study}
    at = ("-P", "SERIES", "SeriesInstanceUID")
    (series,) = find(trip, peer_program, tmp_path / "se", *at, **of_study)
    of_series = of_study | {"SeriesInstanceUID": series}
    at = ("-P", "IMAGE", "SOPInstanceUID")
    assert len(find(trip, peer_program, tmp_path / "im", *at, **of_series)) == 500


# -- movescu and getscu -------------------------------------------------------------------------


def assert_the_same(trip, came, sent):
    assert trip.say(set(came) ^ set(sent)) == []
    assert trip.say(u for u in sent if came[u].syntax != sent[u].syntax) == []
    assert trip.say(u for u in sent if came[u].data_set != sent[u].data_set) == []


def test_movescu_brings_every_study_back_to_storescp(trip, peer_program, tmp_path):
    scp = peer_program("storescp")
    with storescp(scp, tmp_path / "moved", trip.storescp_port, "+xa", "-pm"):
        answer = run(
            peer_program("movescu"), "-S", "-v", "-aec", "FILMROOM", "-aem", "STORESCP",
            *("127.0.0.1", trip.node.dimse_port, "-k", "QueryRetrieveLevel=STUDY"),
            *("-k", "StudyInstanceUID=" + "\\".join(trip.tree())),
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout
        assert "Received Final Move Response (Success)" in answer.stdout, answer.stdout[-2000:]
    assert_the_same(trip, received(tmp_path / "moved"), trip.held)


def get(trip, peer_program, folder, option, instances):
    """All these instances by getscu, one run for each series; what came."""
    by_series = defaultdict(list)
    for uid, instance in instances.items():
        by_series[instance.study, instance.series].append(uid)
    for (study, series), uids in by_series.items():
        answer = run(
            peer_program("getscu"), "-S", "-v", "+B", "-od", folder, option,
            *("-aec", "FILMROOM", "127.0.0.1", trip.node.dimse_port),
            *("-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={study}"),
            *("-k", f"SeriesInstanceUID={series}", "-k", "SOPInstanceUID=" + "\\".join(uids)),
        )  # fmt: skip
        assert answer.returncode == 0, (trip.say(uids), answer.stdout)
    return received(folder)


@pytest.mark.parametrize("syntax", GETSCU)
def test_getscu_brings_every_image_back(trip, peer_program, tmp_path, syntax):
    sent = {uid: i for uid, i in trip.held.items() if i.syntax == syntax}
    assert sent, "nothing of this kind was sent"
    assert_the_same(trip, get(trip, peer_program, tmp_path, GETSCU[syntax], sent), sent)


def test_getscu_brings_implicit_vr_back_with_vrs_and_the_same_values(trip, peer_program, tmp_path):
    sent = {uid: i for uid, i in trip.held.items() if i.syntax == ImplicitVRLittleEndian}
    came = get(trip, peer_program, tmp_path, "+xi", sent)
    assert trip.say(set(came) ^ set(sent)) == []
    assert {instance.syntax for instance in came.values()} == {ExplicitVRLittleEndian}
    assert trip.say(u for u in sent if parsed(came[u]) != parsed(sent[u])) == []


def parsed(instance: Instance) -> dict[int, object]:
    """Every value, whatever its VR: 8-bit pixels are OW without VRs, and may be OB with them.

    Without group lengths, which count other bytes now.
    """
    implicit = instance.syntax == ImplicitVRLittleEndian
    ds = pydicom.filereader.read_dataset(io.BytesIO(instance.data_set), implicit, True)
    return {element.tag: element.value for element in ds if element.tag.element}


def test_getscu_was_asked_for_every_syntax_that_storescu_sent(trip):
    assert {i.syntax for i in trip.held.values()} == {*GETSCU, ImplicitVRLittleEndian}
