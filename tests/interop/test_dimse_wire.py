"""dcmtk and pynetdicom against the wire alone: a provider of a few lines, no archive."""

import asyncio
import os
import socket
import ssl
import struct
import subprocess

import pytest

from filmroom.dicom.uids import STORAGE_SOP_CLASSES
from filmroom.dimse.client import associate
from filmroom.dimse.errors import AssociationRejected
from filmroom.dimse.items import UserIdentity
from filmroom.dimse.messages import (
    CANCEL,
    PENDING,
    CFindRequest,
    CGetRequest,
    CStoreRequest,
    answer,
)
from filmroom.dimse.negotiation import CALLED_AE_TITLE_NOT_RECOGNIZED, Policy, ServiceTerms
from filmroom.dimse.server import Server, ServerSettings

VERIFICATION, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
STUDY_FIND, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


def element(group, number, vr, value):
    """One element in explicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", group, number, vr)
    if vr in (b"OB", b"OW"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def an_image(uid):
    """A small CT image, explicit VR little endian."""
    return b"".join(
        [
            element(0x0008, 0x0016, b"UI", CT.encode()),
            element(0x0008, 0x0018, b"UI", uid.encode()),
            element(0x0008, 0x0060, b"CS", b"CT"),
            element(0x0010, 0x0020, b"LO", b"42"),
            element(0x0020, 0x000D, b"UI", b"1.2.3"),
            element(0x0020, 0x000E, b"UI", b"1.2.3.4"),
            element(0x0028, 0x0010, b"US", b"\x00\x02"),
            element(0x0028, 0x0011, b"US", b"\x00\x02"),
            element(0x0028, 0x0100, b"US", b"\x10\x00"),
            element(0x7FE0, 0x0010, b"OW", os.urandom(512 * 512 * 2)),
        ]
    )


def a_file(folder, uid):
    """The image as a Part 10 file; its path."""
    meta = element(0x0002, 0x0001, b"OB", b"\0\1")
    meta += element(0x0002, 0x0002, b"UI", CT.encode()) + element(
        0x0002, 0x0003, b"UI", uid.encode()
    )
    meta += element(0x0002, 0x0010, b"UI", EXPLICIT.encode())
    meta += element(0x0002, 0x0012, b"UI", b"1.2.3")
    head = bytes(128) + b"DICM" + element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta)))
    path = folder / f"{uid}.dcm"
    path.write_bytes(head + meta + an_image(uid))
    return path


class Bytes:
    def __init__(self, data):
        self.data, self.size, self.at = memoryview(data), len(data), 0

    async def ready(self, length):
        pass

    def read(self, length):
        self.at += length
        return self.data[self.at - length : self.at]


class Sink:
    def __init__(self, stored, request):
        self.stored, self.request, self.data = stored, request, bytearray()

    def write(self, data):
        self.data += data

    async def finish(self):
        self.stored[self.request.affected_sop_instance_uid] = bytes(self.data)
        return answer(self.request, 0)

    def abandon(self):
        raise AssertionError("nobody leaves in the middle here")


class Provider:
    def __init__(self):
        self.stored, self.infos, self.cancelled = {}, [], 0

    def policy(self, calling, called, address):
        if called != "FILMROOM":
            return CALLED_AE_TITLE_NOT_RECOGNIZED
        terms = {uid: ServiceTerms(scp=True) for uid in STORAGE_SOP_CLASSES}
        for uid in (VERIFICATION, STUDY_FIND, STUDY_GET):
            terms[uid] = ServiceTerms(frozenset({IMPLICIT, EXPLICIT}))
        return Policy(terms, identify=lambda identity: b"" if identity else None)

    def open_store(self, request, context, info):
        return Sink(self.stored, request)

    async def handle(self, request, identifier, exchange):
        self.infos.append(exchange.info)
        if isinstance(request, CFindRequest):
            for number in range(50):
                if exchange.cancelled:
                    self.cancelled += 1
                    await exchange.respond(answer(request, CANCEL))
                    return
                found = self.match(number, exchange.context.transfer_syntax == IMPLICIT)
                await exchange.respond(answer(request, PENDING), found)
                await asyncio.sleep(0.002)
        if isinstance(request, CGetRequest):
            (context,) = [
                c for c in exchange.info.contexts.values() if c.scp_role and c.abstract_syntax == CT
            ][:1]
            for number in range(3):
                uid = f"1.2.3.4.{number}"
                store = CStoreRequest(number + 1, CT, uid)
                assert await exchange.store(store, context.id, Bytes(an_image(uid))) == 0
            await exchange.respond(answer(request, 0, completed=3, failed=0, warning=0))
            return
        await exchange.respond(answer(request, 0))

    @staticmethod
    def match(number, implicit):
        value = b"PATIENT%03d" % number
        if implicit:
            return struct.pack("<HHI", 0x0010, 0x0020, len(value)) + value
        return element(0x0010, 0x0020, b"LO", value)


@pytest.fixture
async def provider():
    return Provider()


@pytest.fixture
async def server(provider):
    subject = Server(provider, ServerSettings(host="127.0.0.1", port=0))
    await subject.start()
    yield subject
    await subject.stop(1)


async def run(*command, **environment):
    """Run a peer program; (exit status, all it printed)."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode("latin-1")


# --- dcmtk asks us ---


async def test_echoscu(server, provider, peer_program):
    status, output = await run(
        peer_program("echoscu"), "-v", "-aec", "FILMROOM", "--repeat", 3, "127.0.0.1", server.port
    )
    assert status == 0, output
    assert len(provider.infos) == 3
    assert provider.infos[0].implementation_version.startswith("OFFIS_DCMTK")


async def test_echoscu_to_another_ae_title_is_rejected(server, peer_program):
    status, output = await run(peer_program("echoscu"), "-aec", "OTHER", "127.0.0.1", server.port)
    assert status != 0
    assert "Called AE Title Not Recognized" in output


@pytest.mark.parametrize("max_pdu", [4096, 16384, 131072])
@pytest.mark.parametrize("nodelay", ["0", "1"])
async def test_storescu(server, provider, peer_program, tmp_path, max_pdu, nodelay):
    files = [a_file(tmp_path, f"1.2.3.4.{number}") for number in range(5)]
    status, output = await run(
        *(peer_program("storescu"), "-aec", "FILMROOM", "-xe", "--max-send-pdu", max_pdu),
        *("127.0.0.1", server.port, *files),
        TCP_NODELAY=nodelay,
    )
    assert status == 0, output
    assert len(provider.stored) == 5
    for path in files:
        assert path.read_bytes().endswith(provider.stored[path.stem])


async def test_findscu_and_its_cancel(server, provider, peer_program):
    query = ("-aec", "FILMROOM", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID")
    status, output = await run(peer_program("findscu"), "-v", *query, "127.0.0.1", server.port)
    assert status == 0, output
    assert output.count("(0010,0020)") >= 50
    assert "PATIENT049" in output
    status, output = await run(
        peer_program("findscu"), "-v", "--cancel", 3, *query, "127.0.0.1", server.port
    )
    assert status == 0, output
    assert provider.cancelled == 1


async def test_getscu(server, peer_program, tmp_path):
    status, output = await run(
        *(peer_program("getscu"), "-v", "-aec", "FILMROOM", "-S", "-od", tmp_path),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3"),
        *("127.0.0.1", server.port),
    )
    assert status == 0, output
    assert len(list(tmp_path.iterdir())) == 3


async def test_a_user_identity_with_positive_response(server, provider, peer_program, tmp_path):
    status, output = await run(
        *(peer_program("storescu"), "-aec", "FILMROOM", "-xe", "--user", "alice"),
        *("--password", "open!", "--pos-response"),
        *("127.0.0.1", server.port, a_file(tmp_path, "1.2.3.4.5")),
    )
    assert status == 0, output
    assert len(provider.stored) == 1


# --- we ask dcmtk ---


@pytest.fixture
async def storescp(peer_program, tmp_path):
    """(port, folder) of a dcmtk storescp."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "received"
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(peer_program("storescp"), "--fork", "-xs", "-od", str(folder), str(port)),
        start_new_session=True,
    )
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        except OSError:
            await asyncio.sleep(0.02)
    yield port, folder
    process.terminate()
    await process.wait()


async def test_our_client_stores_to_storescp(storescp):
    port, folder = storescp
    images = {f"1.2.3.4.{number}": an_image(f"1.2.3.4.{number}") for number in range(5)}
    contexts = [(VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT, IMPLICIT])]
    async with await associate(
        "127.0.0.1", port, calling="FILMROOM", called="ANY", contexts=contexts
    ) as association:
        assert await association.echo() == 0
        assert association.context_for(CT).transfer_syntax == EXPLICIT
        for uid, image in images.items():
            assert (await association.store(CT, uid, Bytes(image))).status == 0
    received = sorted(path.read_bytes() for path in folder.iterdir())
    assert len(received) == 5
    pixels = {image[-1000:] for image in images.values()}
    assert {raw[-1000:] for raw in received} == pixels


async def test_a_transfer_syntax_storescp_does_not_know_is_not_accepted(storescp):
    port, _ = storescp
    contexts = [(CT, ["1.2.3.4.5"]), (VERIFICATION, [IMPLICIT])]
    async with await associate(
        "127.0.0.1", port, calling="FILMROOM", called="ANY", contexts=contexts
    ) as association:
        assert [c.abstract_syntax for c in association.info.contexts.values()] == [VERIFICATION]


# --- pynetdicom, both ways ---


async def test_pynetdicom_as_a_client(server, provider):
    pynetdicom = pytest.importorskip("pynetdicom")
    dataset = pytest.importorskip("pydicom").Dataset

    def ask():
        ae = pynetdicom.AE("PYNETDICOM")
        for uid in (VERIFICATION, CT, STUDY_FIND, "1.2.3.4"):
            ae.add_requested_context(uid, [EXPLICIT])
        identity = pynetdicom.pdu_primitives.UserIdentityNegotiation()
        identity.user_identity_type, identity.primary_field = 1, b"alice"
        window = pynetdicom.pdu_primitives.AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = 5
        association = ae.associate(
            "127.0.0.1", server.port, ae_title="FILMROOM", ext_neg=[identity, window], max_pdu=4096
        )
        assert association.is_established
        assert [c.abstract_syntax for c in association.rejected_contexts] == ["1.2.3.4"]
        assert association.send_c_echo().Status == 0
        query = dataset()
        query.QueryRetrieveLevel, query.PatientID = "STUDY", ""
        answers = list(association.send_c_find(query, STUDY_FIND))
        association.release()
        return answers

    answers = await asyncio.to_thread(ask)
    assert [status.Status for status, _ in answers] == [0xFF00] * 50 + [0]
    assert answers[0][1].PatientID == "PATIENT000"
    info = provider.infos[0]
    assert (info.user_identity.primary, info.max_length) == (b"alice", 4096)
    assert info.operations.invoked == 5


async def test_pynetdicom_as_a_server():
    pynetdicom = pytest.importorskip("pynetdicom")
    received = []

    def on_store(event):
        received.append((event.request.AffectedSOPInstanceUID, event.request.DataSet.getvalue()))
        return 0

    def on_find(event):
        found = event.identifier
        found.PatientID = "PATIENT"
        for _ in range(3):
            yield 0xFF00, found

    ae = pynetdicom.AE("PEER")
    ae.require_called_aet = True
    for uid in (VERIFICATION, CT, STUDY_FIND):
        ae.add_supported_context(uid, [EXPLICIT])
    peer = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(pynetdicom.evt.EVT_C_STORE, on_store), (pynetdicom.evt.EVT_C_FIND, on_find)],
    )
    port = peer.socket.getsockname()[1]
    contexts = [(uid, [EXPLICIT]) for uid in (VERIFICATION, CT, STUDY_FIND)]
    identity = UserIdentity(2, b"alice", b"open!")
    image = an_image("1.2.3.4.5")
    try:
        with pytest.raises(AssociationRejected, match="not called by that AE title"):
            await associate("127.0.0.1", port, calling="ME", called="OTHER", contexts=contexts)
        async with await associate(
            *("127.0.0.1", port),
            calling="ME",
            called="PEER",
            contexts=contexts,
            user_identity=identity,
            extended={STUDY_FIND: b"\1\1\0"},
            roles=[CT],
        ) as association:
            assert await association.echo() == 0
            response = await association.store(
                CT, "1.2.3.4.5", Bytes(image), move_originator=("MOVER", 3)
            )
            assert response.status == 0
            key = element(0x0008, 0x0052, b"CS", b"STUDY ")
            statuses = [status async for status, _ in association.find(STUDY_FIND, key)]
            assert statuses == [0xFF00, 0xFF00, 0xFF00, 0]
        assert received == [("1.2.3.4.5", image)]
    finally:
        await asyncio.to_thread(peer.shutdown)


# --- TLS ---


async def test_the_same_over_tls(provider, tmp_path, peer_program):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    await run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    )
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(certificate, key)
    subject = Server(provider, ServerSettings(host="127.0.0.1", port=0, ssl=inside))
    await subject.start()
    outside = ssl.create_default_context(cafile=certificate)
    image = an_image("1.2.3.4.5")
    try:
        async with await associate(
            *("127.0.0.1", subject.port),
            calling="ME",
            called="FILMROOM",
            contexts=[(CT, [EXPLICIT])],
            ssl=outside,
        ) as association:
            assert (await association.store(CT, "1.2.3.4.5", Bytes(image))).status == 0
        status, output = await run(
            *(peer_program("storescu"), "-aec", "FILMROOM", "-xe", "+tla", "+cf", certificate),
            *("127.0.0.1", subject.port, a_file(tmp_path, "1.2.3.4.6")),
        )
        assert status == 0, output
        assert provider.stored["1.2.3.4.5"] == image
        assert len(provider.stored) == 2
    finally:
        await subject.stop(1)
