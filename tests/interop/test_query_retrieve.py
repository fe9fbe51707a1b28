"""C-FIND, C-MOVE and C-GET against peers that nobody here wrote: dcmtk, pynetdicom, Orthanc."""

import contextlib
import io
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    CTImageStorage,
)
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind as PatientRootFind,
)
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelMove as PatientRootMove,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as StudyRootGet,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelMove as StudyRootMove,
)

from instances import a_data_set, data_set_bytes, part10
from nodes import FilmroomProcess, free_port
from peers import Orthanc, filmroom, run, storescp

SUCCESS, PENDING, UNSUPPORTED_KEYS = 0x0000, 0xFF00, 0xFF01


@dataclass
class Archive:
    """A filmroom that holds three studies of two patients, and the ports of its peers."""

    node: FilmroomProcess
    storescp_port: int
    orthanc_port: int
    files: dict[str, bytes] = field(default_factory=dict)  # SOP Instance UID -> as sent
    studies: dict[str, str] = field(default_factory=dict)  # name -> Study Instance UID

    @property
    def port(self):
        return self.node.dimse_port


def rle(ds: Dataset) -> bytes:
    """The instance compressed by pydicom."""
    file = pydicom.dcmread(io.BytesIO(part10(ds)))
    file.compress(RLELossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    file.save_as(buffer)
    return buffer.getvalue()


def studies():
    """(name, data sets) of what the archive is filled with."""
    grace = {"PatientName": "Hopper^Grace", "PatientID": "GH-1906"}
    mueller = {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Müller^Jürgen",
        "PatientID": "JM-1",
        "PatientSex": "M",
    }
    thorax, head, knee = (generate_uid() for _ in range(3))
    series = [generate_uid() for _ in range(4)]
    yield (
        "thorax",
        [
            a_data_set(
                seed=n, StudyInstanceUID=thorax, SeriesInstanceUID=series[0], InstanceNumber=n
            )
            for n in range(1, 6)
        ],
    )
    yield (
        "head",
        [
            a_data_set(
                seed=n,
                StudyInstanceUID=head,
                SeriesInstanceUID=series[1 + n % 2],
                Modality=("MR", "PR")[n % 2],
                StudyDate="20260310",
                StudyTime="080000",
                AccessionNumber="A2",
                StudyDescription="Head",
                **grace,
            )
            for n in range(4)
        ],
    )
    yield (
        "knee",
        [
            a_data_set(
                StudyInstanceUID=knee,
                SeriesInstanceUID=series[3],
                StudyDate="20251224",
                StudyTime="235500",
                AccessionNumber="A3",
                StudyDescription="Knie für Müller",
                **mueller,
            )
        ],
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    scp, orthanc = free_port(), free_port()
    node = FilmroomProcess(
        tmp_path_factory.mktemp("filmroom"),
        (
            *("--peer", "*=127.0.0.1:0:echo+store+query+retrieve"),
            *("--peer", f"STORESCP=127.0.0.1:{scp}"),
            *("--peer", f"ORTHANC=127.0.0.1:{orthanc}:all"),
            *("--peer", "AWAY=127.0.0.1:1"),
        ),
    ).start()
    holding = Archive(node, scp, orthanc)
    folder = tmp_path_factory.mktemp("files")
    for name, data_sets in studies():
        holding.studies[name] = data_sets[0].StudyInstanceUID
        for number, ds in enumerate(data_sets):
            file = rle(ds) if name == "head" and number == 0 else part10(ds)
            (folder / f"{name}-{number}.dcm").write_bytes(file)
            holding.files[ds.SOPInstanceUID] = file
    sent = filmroom("send", "127.0.0.1", node.dimse_port, folder, "-c", "FILMROOM")
    assert sent.returncode == 0, sent.stderr
    yield holding
    node.kill()


def keys(level, **wanted):
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in wanted.items():
        setattr(ds, keyword, value)
    return ds


@contextlib.contextmanager
def associated(archive, *models, syntaxes=(ImplicitVRLittleEndian,), extended=None, **more):
    ae = AE(ae_title="PYNETDICOM")
    for model in models:
        ae.add_requested_context(model, list(syntaxes))
    negotiation = list(more.pop("ext_neg", []))
    if extended is not None:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = models[0]
        item.service_class_application_information = extended
        negotiation.append(item)
    association = ae.associate(
        "127.0.0.1", archive.port, ae_title="FILMROOM", ext_neg=negotiation, **more
    )
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def ask(archive, query, model=StudyRootFind, **options):
    """(answers, statuses) of one C-FIND by pynetdicom."""
    answers, statuses = [], []
    with associated(archive, model, **options) as association:
        for status, identifier in association.send_c_find(query, model):
            statuses.append(status.Status)
            if identifier is not None:
                identifier.decode()
                answers.append(identifier)
    return answers, statuses


def found(archive, level="STUDY", model=StudyRootFind, of="StudyInstanceUID", **wanted):
    """What the answers have as `of`, sorted; every status was the right one."""
    answers, statuses = ask(archive, keys(level, **{of: ""} | wanted), model)
    assert statuses == [PENDING] * len(answers) + [SUCCESS]
    return sorted(str(answer.get(of)) for answer in answers)


def named(archive, *names):
    return sorted(archive.studies[name] for name in names)


# -- C-FIND ----------------------------------------------------------------------------------


def test_findscu_reads_all_answers(archive, peer_program, tmp_path):
    findscu = peer_program("findscu")
    answer = run(
        findscu, "-S", "-X", "-od", tmp_path, "-aec", "FILMROOM", "127.0.0.1", archive.port,
        *("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientName=HOPPER*"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    answers = [pydicom.dcmread(path, force=True) for path in tmp_path.glob("*.dcm")]
    assert {a.StudyInstanceUID for a in answers} == set(named(archive, "thorax", "head"))


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["thorax", "head", "knee"]),
        ({"PatientID": "GH-1906"}, ["thorax", "head"]),
        ({"PatientName": "hopper^grace"}, ["thorax", "head"]),
        ({"PatientName": "*grace"}, ["thorax", "head"]),
        ({"PatientName": "M?ller*", "SpecificCharacterSet": "ISO_IR 100"}, ["knee"]),
        ({"PatientName": "Müller^Jürgen", "SpecificCharacterSet": "ISO_IR 192"}, ["knee"]),
        ({"AccessionNumber": "A2"}, ["head"]),
        ({"AccessionNumber": "a2"}, []),
        ({"StudyDate": "20260101-20261231"}, ["thorax", "head"]),
        ({"StudyDate": "-20251231"}, ["knee"]),
        ({"StudyDate": "20260301-"}, ["head"]),
        ({"StudyDate": "20260310"}, ["head"]),
        ({"StudyTime": "07-09"}, ["head"]),
        ({"ModalitiesInStudy": "MR"}, ["head"]),
        ({"ModalitiesInStudy": ["PR", "CT"]}, ["thorax", "head", "knee"]),
        ({"StudyDescription": "*ead"}, ["head"]),
        ({"PatientSex": "M", "StudyDate": "2025*"}, []),
    ],
)
def test_matching_at_study_level(archive, wanted, names):
    assert found(archive, **wanted) == named(archive, *names)


def test_a_list_of_uids(archive):
    two = named(archive, "thorax", "knee")
    assert found(archive, StudyInstanceUID=[*two, "1.2.3"]) == two


def test_dates_and_times_are_one_range_when_negotiated(archive):
    wanted = keys(
        "STUDY", StudyInstanceUID="", StudyDate="20251224-20260310", StudyTime="2300-0900"
    )
    together, _ = ask(archive, wanted, extended=b"\x00\x01\x00")
    assert len(together) == 3
    apart, _ = ask(archive, wanted)
    assert len(apart) == 0


def test_names_are_matched_by_their_words_when_negotiated(archive):
    wanted = keys("STUDY", StudyInstanceUID="", PatientName="grace hop")
    fuzzy, _ = ask(archive, wanted, extended=b"\x00\x00\x01")
    assert sorted(a.StudyInstanceUID for a in fuzzy) == named(archive, "thorax", "head")
    literal, _ = ask(archive, wanted)
    assert literal == []


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, "1.2.840.10008.1.2.2"]
)
def test_every_native_transfer_syntax(archive, syntax):
    wanted = keys("STUDY", StudyInstanceUID="", PatientID="JM-1", NumberOfStudyRelatedInstances="")
    (answer,), statuses = ask(archive, wanted, syntaxes=[syntax])
    assert statuses == [PENDING, SUCCESS]
    assert answer.NumberOfStudyRelatedInstances == 1


def test_patient_root_from_patient_to_image(archive):
    (patient,), _ = ask(
        archive,
        keys("PATIENT", PatientID="GH*", PatientName="", NumberOfPatientRelatedStudies=""),
        PatientRootFind,
    )
    assert (patient.PatientName, patient.NumberOfPatientRelatedStudies) == ("Hopper^Grace", 2)
    of_grace = {"model": PatientRootFind, "PatientID": "GH-1906"}
    assert found(archive, **of_grace) == named(archive, "thorax", "head")
    study = archive.studies["head"]
    series = found(archive, "SERIES", of="SeriesInstanceUID", StudyInstanceUID=study, **of_grace)
    assert len(series) == 2
    images = found(
        archive, "IMAGE", of="SOPInstanceUID", StudyInstanceUID=study, SeriesInstanceUID=series[0],
        **of_grace,
    )  # fmt: skip
    assert len(images) == 2


def test_an_answer_has_what_was_asked_for_and_nothing_else(archive):
    (answer,), statuses = ask(
        archive,
        keys(
            "STUDY",
            StudyInstanceUID=archive.studies["head"],
            ModalitiesInStudy="",
            SOPClassesInStudy="",
            NumberOfStudyRelatedSeries="",
            InstanceAvailability="",
            ReferringPhysicianName="",
            StudyComments="",
        ),
    )
    assert statuses == [UNSUPPORTED_KEYS, SUCCESS]
    assert {element.keyword for element in answer} == {
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "InstanceAvailability",
        "ModalitiesInStudy",
        "SOPClassesInStudy",
        "ReferringPhysicianName",
        "StudyInstanceUID",
        "NumberOfStudyRelatedSeries",
        "StudyComments",
    }
    assert sorted(answer.ModalitiesInStudy) == ["MR", "PR"]
    assert answer.SOPClassesInStudy == CTImageStorage
    assert answer.NumberOfStudyRelatedSeries == 2
    assert (answer.RetrieveAETitle, answer.InstanceAvailability) == ("FILMROOM", "ONLINE")
    assert (str(answer.ReferringPhysicianName), answer.StudyComments) == ("", "")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("ISO_IR 100", "ISO_IR 100"), (None, "ISO_IR 192"), ("ISO_IR 144", "ISO_IR 192")],
)
def test_answers_come_in_the_character_set_of_the_question_or_utf_8(archive, asked, answered):
    wanted = keys("STUDY", PatientID="JM-1", PatientName="", StudyDescription="")
    if asked:
        wanted.SpecificCharacterSet = asked
    (answer,), _ = ask(archive, wanted)
    assert answer.SpecificCharacterSet == answered
    assert answer.PatientName == "Müller^Jürgen"
    assert answer.StudyDescription == "Knie für Müller"


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (keys("SERIES", SeriesInstanceUID=""), StudyRootFind),
        (keys("IMAGE", StudyInstanceUID="1.2", SOPInstanceUID=""), StudyRootFind),
        (keys("PATIENT", PatientID=""), StudyRootFind),
        (keys("STUDY", StudyInstanceUID=""), PatientRootFind),
        (keys("NONSENSE", StudyInstanceUID=""), StudyRootFind),
        (keys("", StudyInstanceUID=""), StudyRootFind),
    ],
)
def test_a_query_outside_the_hierarchy_is_refused(archive, query, model):
    answers, statuses = ask(archive, query, model)
    assert (answers, statuses) == ([], [0xA900])


def test_a_relational_query_when_negotiated(archive):
    wanted = keys("SERIES", SeriesInstanceUID="", Modality="MR")
    answers, statuses = ask(archive, wanted, extended=b"\x01")
    assert statuses == [PENDING, SUCCESS]
    assert answers[0].Modality == "MR"


def test_a_find_is_cancelled(archive, peer_program):
    """findscu --cancel 1: at most what was on the way still comes."""
    answer = run(
        peer_program("findscu"), "-S", "-v", "--cancel", 1, "-aec", "FILMROOM",
        *("127.0.0.1", archive.port, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout


# -- C-MOVE ------------------------------------------------------------------------------------


def received(folder: Path):
    """SOP Instance UID -> the file, of all that came into a folder."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {pydicom.dcmread(p, force=True).SOPInstanceUID: p.read_bytes() for p in files}


def of_study(archive, name):
    study = archive.studies[name]
    return {
        uid: file
        for uid, file in archive.files.items()
        if pydicom.dcmread(io.BytesIO(file)).StudyInstanceUID == study
    }


def assert_same_data_sets(came, sent):
    assert set(came) == set(sent)
    for uid, file in sent.items():
        assert data_set_bytes(came[uid]) == data_set_bytes(file)


@pytest.mark.parametrize("name", ["thorax", "head", "knee"])
def test_movescu_to_storescp_brings_everything_back_byte_by_byte(
    archive, peer_program, tmp_path, name
):
    movescu, scp = peer_program("movescu"), peer_program("storescp")
    with storescp(scp, tmp_path, archive.storescp_port, "+xa"):
        answer = run(
            movescu, "-S", "-v", "-aec", "FILMROOM", "-aem", "STORESCP", "127.0.0.1", archive.port,
            *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={archive.studies[name]}"),
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout
        assert "Received Final Move Response (Success)" in answer.stdout
        assert_same_data_sets(received(tmp_path), of_study(archive, name))


def test_a_receiver_of_implicit_vr_only_gets_pixels_it_can_read(archive, peer_program, tmp_path):
    with storescp(peer_program("storescp"), tmp_path, archive.storescp_port, "+xi"):
        (final, *_), _ = move(archive, "STORESCP", StudyInstanceUID=archive.studies["head"])
        assert (final.Status, final.NumberOfCompletedSuboperations) == (SUCCESS, 4)
        came = received(tmp_path)
    for uid, file in of_study(archive, "head").items():
        ours = pydicom.dcmread(io.BytesIO(came[uid]), force=True)
        theirs = pydicom.dcmread(io.BytesIO(file))
        assert ours.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert np.array_equal(ours.pixel_array, theirs.pixel_array)


def move(archive, to, level="STUDY", model=StudyRootMove, **wanted):
    """(final status and those before it, newest first; the identifier of the final one)."""
    statuses, last = [], None
    with associated(archive, model) as association:
        for status, identifier in association.send_c_move(keys(level, **wanted), to, model):
            statuses.insert(0, status)
            last = identifier
    return statuses, last


def test_an_unknown_destination_is_refused(archive):
    (final,), _ = move(archive, "NOBODY", StudyInstanceUID=archive.studies["knee"])
    assert final.Status == 0xA801


def test_a_destination_that_is_away_fails_with_counts_and_a_list(archive):
    (final, *_), identifier = move(archive, "AWAY", StudyInstanceUID=archive.studies["thorax"])
    assert final.Status == 0xA702
    assert final.NumberOfFailedSuboperations == 5
    assert len(identifier.FailedSOPInstanceUIDList) == 5


def test_a_list_of_studies_series_or_images(archive, peer_program, tmp_path):
    with storescp(peer_program("storescp"), tmp_path, archive.storescp_port, "+xa"):
        both = [archive.studies["thorax"], archive.studies["knee"]]
        (final, *_), _ = move(archive, "STORESCP", StudyInstanceUID=both)
        assert (final.Status, final.NumberOfCompletedSuboperations) == (SUCCESS, 6)


def test_a_whole_patient(archive, peer_program, tmp_path):
    with storescp(peer_program("storescp"), tmp_path, archive.storescp_port, "+xa"):
        (final, *_), _ = move(archive, "STORESCP", "PATIENT", PatientRootMove, PatientID="GH-1906")
        assert (final.Status, final.NumberOfCompletedSuboperations) == (SUCCESS, 9)


def test_a_move_of_nothing_is_a_success(archive):
    (final,), _ = move(archive, "STORESCP", StudyInstanceUID="1.2.3")
    assert final.Status == SUCCESS


# -- C-GET ---------------------------------------------------------------------------------------


def test_getscu_brings_everything_back_byte_by_byte(archive, peer_program, tmp_path):
    answer = run(
        peer_program("getscu"), "-S", "-v", "+B", "-od", tmp_path, "-aec", "FILMROOM",
        *("127.0.0.1", archive.port, "-k", "QueryRetrieveLevel=STUDY"),
        *("-k", f"StudyInstanceUID={archive.studies['thorax']}"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    assert_same_data_sets(received(tmp_path), of_study(archive, "thorax"))


def test_pynetdicom_gets_a_compressed_image_as_it_is_stored(archive):
    came = {}

    def keep(event):
        came[event.request.AffectedSOPInstanceUID] = (
            event.context.transfer_syntax,
            event.encoded_dataset(include_meta=False),
        )
        return 0x0000

    ae = AE()
    ae.add_requested_context(StudyRootGet)
    for syntax in (ExplicitVRLittleEndian, RLELossless):
        ae.add_requested_context(CTImageStorage, syntax)
    association = ae.associate(
        "127.0.0.1",
        archive.port,
        ae_title="FILMROOM",
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    wanted = keys("STUDY", StudyInstanceUID=archive.studies["head"])
    *_, (final, _) = association.send_c_get(wanted, StudyRootGet)
    association.release()
    assert (final.Status, final.NumberOfCompletedSuboperations) == (SUCCESS, 4)
    sent = of_study(archive, "head")
    assert set(came) == set(sent)
    assert sorted(syntax for syntax, _ in came.values()) == sorted(
        [RLELossless, *[ExplicitVRLittleEndian] * 3]
    )
    for uid, (_, content) in came.items():
        assert content == data_set_bytes(sent[uid])


def test_our_get_brings_everything_back_byte_by_byte(archive, tmp_path):
    study = archive.studies["head"]
    answer = filmroom(
        "get", "127.0.0.1", archive.port, "-c", "FILMROOM", "-k", f"StudyInstanceUID={study}",
        *("--to", tmp_path, "--json"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["done"] == 4
    assert_same_data_sets(received(tmp_path), of_study(archive, "head"))


# -- Orthanc, both ways ---------------------------------------------------------------


@pytest.fixture
def orthanc(archive, peer_program, tmp_path):
    peer = Orthanc(tmp_path / "orthanc", {"FILMROOM": ("127.0.0.1", archive.port)})
    peer.configuration["DicomPort"] = peer.dimse_port = archive.orthanc_port
    with peer.started(peer_program("Orthanc")):
        yield peer


def test_orthanc_finds_and_retrieves_from_us(archive, orthanc):
    query = orthanc.post(
        "/modalities/filmroom/query",
        {"Level": "Study", "Query": {"PatientID": "GH-1906", "StudyDescription": "Thorax"}},
    )
    assert orthanc.get(f"/queries/{query['ID']}/answers") == ["0"]
    retrieve = f"/queries/{query['ID']}/answers/0/retrieve"
    orthanc.post(retrieve, {"TargetAet": orthanc.ae_title, "Synchronous": True})
    came = {i["MainDicomTags"]["SOPInstanceUID"] for i in orthanc.get("/instances?expand")}
    assert came == set(of_study(archive, "thorax"))


def test_we_find_and_retrieve_from_orthanc(archive, orthanc, tmp_path):
    ds = a_data_set(PatientName="From^Orthanc", PatientID="O-1")
    orthanc.upload(part10(ds))
    at = ("127.0.0.1", orthanc.dimse_port, "-c", orthanc.ae_title)
    answer = filmroom("find", *at, "-k", "PatientName=FROM*", "-a", "FILMROOM", "--json")
    assert answer.returncode == 0, answer.stderr
    (study,) = json.loads(answer.stdout)
    assert study["00100010"]["Value"] == [{"Alphabetic": "From^Orthanc"}]
    key = f"StudyInstanceUID={ds.StudyInstanceUID}"
    got = filmroom("get", *at, "-a", "FILMROOM", "-k", key, "--to", tmp_path / "got")
    assert got.returncode == 0, got.stderr
    assert list(received(tmp_path / "got")) == [ds.SOPInstanceUID]
    moved = filmroom("move", *at, "-a", "FILMROOM", "-k", key, "--to", "FILMROOM")
    assert moved.returncode == 0, moved.stderr
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not found(archive, PatientID="O-1"):
        time.sleep(0.05)
    assert found(archive, PatientID="O-1") == [ds.StudyInstanceUID]
