"""C-ECHO and C-STORE against peers that nobody here wrote: dcmtk, pynetdicom, Orthanc."""

import contextlib
import io
import socket
import time
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from filmroom.dimse.client import associate
from instances import CT_IMAGE_STORAGE, a_data_set, an_instance, data_set_bytes, part10
from nodes import free_port
from peers import Orthanc, filmroom, run

pytestmark = pytest.mark.elsewhere

PACKAGED = Path(pydicom.data.__file__).parent / "test_files"


def stored(node, sop_instance_uid):
    """The one file or object that holds this instance; None when there is none."""
    found = [blob for blob in node.stored() if blob.stem == sop_instance_uid]
    assert len(found) <= 1
    return found[0] if found else None


@contextlib.contextmanager
def associated(node, *contexts, called="FILMROOM", calling="PYNETDICOM"):
    ae = AE(ae_title=calling)
    for abstract_syntax, syntaxes in contexts:
        ae.add_requested_context(abstract_syntax, syntaxes)
    association = ae.associate("127.0.0.1", node.dimse_port, ae_title=called)
    try:
        yield association
    finally:
        association.release()


def store(node, ds, syntax=ExplicitVRLittleEndian):
    """Send one data set with pynetdicom; the status."""
    with associated(node, (ds.SOPClassUID, [syntax])) as association:
        file = pydicom.dcmread(io.BytesIO(part10(ds, syntax)))
        return association.send_c_store(file).Status


def test_echoscu_is_answered(node, peer_program):
    echoscu = peer_program("echoscu")
    answer = run(echoscu, "-v", "-aec", "FILMROOM", "127.0.0.1", node.dimse_port)
    assert answer.returncode == 0
    assert "Received Echo Response (Success)" in answer.stdout


def test_a_wrong_called_title_is_rejected(node, peer_program):
    answer = run(peer_program("echoscu"), "-aec", "NOBODY", "127.0.0.1", node.dimse_port)
    assert answer.returncode != 0
    assert "Called AE Title Not Recognized" in answer.stdout


def test_storescu_sends_a_file(node, peer_program, tmp_path):
    file = an_instance()
    (tmp_path / "one.dcm").write_bytes(file)
    storescu = peer_program("storescu")
    answer = run(
        storescu, "-v", "-aec", "FILMROOM", "127.0.0.1", node.dimse_port, tmp_path / "one.dcm"
    )
    assert answer.returncode == 0, answer.stdout
    assert "Received Store Response (Success)" in answer.stdout
    sent = pydicom.dcmread(tmp_path / "one.dcm")
    assert pydicom.dcmread(stored(node, sent.SOPInstanceUID).open()) == sent


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_data_set_is_stored_byte_by_byte_in_its_own_syntax(node, syntax, tmp_path):
    file = part10(a_data_set(), syntax)
    (tmp_path / "one.dcm").write_bytes(file)
    sent = filmroom("send", "127.0.0.1", node.dimse_port, tmp_path, "--called", "FILMROOM")
    assert sent.returncode == 0, sent.stderr
    uid = pydicom.dcmread(tmp_path / "one.dcm", stop_before_pixels=True).SOPInstanceUID
    assert data_set_bytes(stored(node, uid).read_bytes()) == data_set_bytes(file)


def good_files():
    """Packaged files of pydicom that a modality might send."""
    for path in sorted(PACKAGED.glob("*.dcm")):
        with contextlib.suppress(Exception):
            ds = pydicom.dcmread(path)
            if all(ds.get(k) for k in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")):
                meta = ds.file_meta
                if meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID:
                    yield path, ds


def test_every_transfer_syntax_among_pydicoms_files_is_stored_as_sent(node):
    files = {ds.SOPInstanceUID: path for path, ds in good_files()}
    assert len(files) > 20
    sent = filmroom(
        "send", "127.0.0.1", node.dimse_port, *files.values(), "--called", "FILMROOM", "--json"
    )
    syntaxes, differing = set(), []
    blobs = {blob.stem: blob for blob in node.stored()}
    for uid, path in files.items():
        held = blobs.get(uid)
        if held is None:
            continue  # refused: hostile or broken ones among them, see the next test
        ours, theirs = pydicom.dcmread(held.open()), pydicom.dcmread(path)
        syntaxes.add(theirs.file_meta.TransferSyntaxUID)
        assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
        if not path.read_bytes().endswith(data_set_bytes(held.read_bytes())):
            differing.append(path.name)
    assert differing == []
    assert len(syntaxes) >= 8, (syntaxes, sent.stderr)


def test_the_same_instance_again_is_a_success_and_one_file(node):
    ds = a_data_set()
    assert [store(node, ds) for _ in range(3)] == [0x0000] * 3
    assert stored(node, ds.SOPInstanceUID) is not None


def test_other_bytes_under_a_held_uid_are_a_warning_and_the_first_is_kept(node):
    ds = a_data_set()
    assert store(node, ds) == 0x0000
    before = stored(node, ds.SOPInstanceUID).read_bytes()
    ds.PatientName = "Somebody^Else"
    assert store(node, ds) == 0xB000
    assert stored(node, ds.SOPInstanceUID).read_bytes() == before
    assert node.stored("quarantine")


class Bytes:
    """A data set as a source for our own client, which sends whatever it is given."""

    def __init__(self, content):
        self.size, self._rest = len(content), content

    async def ready(self, length):
        pass

    def read(self, length):
        piece, self._rest = self._rest[:length], self._rest[length:]
        return piece


async def store_bytes(node, *data_sets, sop_class_uid=CT_IMAGE_STORAGE, uid="1.2.3.99"):
    """Send these bytes one after the other under one announced UID; the statuses."""
    async with await associate(
        "127.0.0.1",
        node.dimse_port,
        calling="TESTER",
        called="FILMROOM",
        contexts=[(sop_class_uid, [ExplicitVRLittleEndian])],
    ) as association:
        responses = [await association.store(sop_class_uid, uid, Bytes(d)) for d in data_sets]
        assert association.is_open
    return [response.status for response in responses]


async def test_a_command_that_contradicts_its_data_set_is_refused(node):
    ds = a_data_set()
    content = data_set_bytes(part10(ds))
    assert await store_bytes(node, content, uid="1.2.3.4.5") == [0xA900]
    mr = "1.2.840.10008.5.1.4.1.1.4"
    announced = await store_bytes(node, content, sop_class_uid=mr, uid=ds.SOPInstanceUID)
    assert announced == [0xA900]
    assert stored(node, ds.SOPInstanceUID) is None
    assert stored(node, "1.2.3.4.5") is None


async def test_noise_as_a_data_set_is_refused_and_the_association_lives(node):
    noise = (b"\xff" * 5000, b"\x00" * 100, b"GIF89a" * 99, b"\x08\x00", b"")
    statuses = await store_bytes(node, *noise)
    assert all(0xC000 <= status <= 0xCFFF for status in statuses), statuses
    assert stored(node, "1.2.3.99") is None


@pytest.mark.parametrize("uid", ["../../escape", "1" * 65, "", "1.2\\3.4", "1..2", "/etc/passwd"])
async def test_a_uid_that_is_none_names_no_file(node, uid):
    ds = a_data_set()
    content = data_set_bytes(part10(ds))
    (status,) = await store_bytes(node, content, uid=uid)
    assert status >> 12 in (0xA, 0xC)
    assert stored(node, ds.SOPInstanceUID) is None


def test_a_sender_that_dies_midway_leaves_nothing(node):
    """A-ASSOCIATE by pynetdicom, then a C-STORE cut off inside its data set."""
    ds = a_data_set(rows=512, columns=512)
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    ae = AE()
    ae.add_requested_context(CT_IMAGE_STORAGE, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.dimse_port, ae_title="FILMROOM")
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = ds.SOPClassUID
    request.AffectedSOPInstanceUID = ds.SOPInstanceUID
    request.Priority = 0
    request.DataSet = io.BytesIO(encode(ds, False, True))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    for count, pdata in enumerate(message.encode_msg(1, 16384)):
        association.dul.send_pdu(pdata)
        if count == 10:
            break
    time.sleep(0.3)
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    association.abort()
    deadline = time.monotonic() + 10
    while node.temporary_files() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert node.temporary_files() == []
    assert stored(node, ds.SOPInstanceUID) is None


def test_eight_associations_at_once(node, tmp_path):
    sent = set()
    for number in range(40):
        ds = a_data_set(seed=number)
        (tmp_path / f"{number}.dcm").write_bytes(part10(ds))
        sent.add(ds.SOPInstanceUID)
    answer = filmroom(
        "send", "127.0.0.1", node.dimse_port, tmp_path, "-c", "FILMROOM", "--jobs", "8"
    )
    assert answer.returncode == 0, answer.stderr
    assert sent <= {blob.stem for blob in node.stored()}


def test_a_stranger_may_store_but_not_query(start_node, peer_program):
    node = start_node()
    findscu = peer_program("findscu")
    key = "QueryRetrieveLevel=STUDY"
    answer = run(findscu, "-S", "-aec", "FILMROOM", "127.0.0.1", node.dimse_port, "-k", key)
    assert "No presentation context" in answer.stdout or "No Acceptable" in answer.stdout
    assert store(node, a_data_set()) == 0x0000


def test_orthanc_sends_to_us(node, peer_program, tmp_path):
    orthanc = Orthanc(tmp_path, {"FILMROOM": ("127.0.0.1", node.dimse_port)})
    ds = a_data_set()
    with orthanc.started(peer_program("Orthanc")):
        orthanc.post("/modalities/filmroom/echo", {})
        uploaded = orthanc.upload(part10(ds))
        orthanc.post("/modalities/filmroom/store", {"Resources": [uploaded["ID"]]})
    held = stored(node, ds.SOPInstanceUID)
    assert pydicom.dcmread(held.open()).PatientName == ds.PatientName


def test_we_send_to_orthanc(peer_program, tmp_path):
    orthanc = Orthanc(tmp_path / "orthanc", {})
    ds = a_data_set()
    (tmp_path / "one.dcm").write_bytes(part10(ds))
    with orthanc.started(peer_program("Orthanc")):
        port = orthanc.dimse_port
        assert filmroom("echo", "127.0.0.1", port).returncode == 0
        answer = filmroom("send", "127.0.0.1", port, tmp_path / "one.dcm", "--json")
        assert answer.returncode == 0, answer.stderr
        (instance,) = orthanc.get("/instances?expand")
    assert instance["MainDicomTags"]["SOPInstanceUID"] == ds.SOPInstanceUID


def test_a_peer_that_is_not_there_is_told_with_advice():
    port = free_port()
    answer = filmroom("echo", "127.0.0.1", port)
    assert answer.returncode == 1
    assert f"connection refused at 127.0.0.1:{port}: is the peer listening there?" in answer.stderr
    assert "Traceback" not in answer.stderr
