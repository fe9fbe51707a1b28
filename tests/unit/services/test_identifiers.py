"""services/identifiers.py: what a C-FIND, C-MOVE or C-GET identifier asks for."""

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from filmroom.dicom import uids
from filmroom.dicom.match import AnyOf, Items, Range, Single, Wildcard
from filmroom.dicom.models import Level, Root
from filmroom.services.identifiers import BadIdentifier, Negotiated, read_find, read_selection
from filmroom.services.table import TABLE

STUDY_FIND, PATIENT_FIND = TABLE[uids.STUDY_ROOT_FIND], TABLE[uids.PATIENT_ROOT_FIND]
STUDY_MOVE, PATIENT_MOVE = TABLE[uids.STUDY_ROOT_MOVE], TABLE[uids.PATIENT_ROOT_MOVE]
STRICT, RELATIONAL = Negotiated(), Negotiated(relational=True)


def encoded(transfer_syntax_uid=uids.IMPLICIT_VR_LE, **keys):
    """An identifier as a peer writes it: pydicom's bytes, not ours."""
    ds = Dataset()
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == uids.IMPLICIT_VR_LE
    buffer.is_little_endian = transfer_syntax_uid != uids.EXPLICIT_VR_BE
    write_dataset(buffer, ds)
    return buffer.getvalue()


def find(row=STUDY_FIND, negotiated=STRICT, syntax=uids.IMPLICIT_VR_LE, **keys):
    keys = {"QueryRetrieveLevel": "STUDY"} | keys
    return read_find(
        encoded(syntax, **keys),
        syntax,
        row,
        negotiated,
        matched_sequences={"RequestAttributesSequence": frozenset({"ScheduledProcedureStepID"})},
    )


def select(row=STUDY_MOVE, negotiated=STRICT, **keys):
    return read_selection(encoded(**keys), uids.IMPLICIT_VR_LE, row, negotiated)


def item(**keys):
    ds = Dataset()
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return [ds]


@pytest.mark.parametrize("syntax", [uids.IMPLICIT_VR_LE, uids.EXPLICIT_VR_LE, uids.EXPLICIT_VR_BE])
def test_keys_become_matches_in_every_transfer_syntax(syntax):
    asked = find(
        syntax=syntax,
        PatientName="SMI*",
        PatientID="X1",
        StudyDate="20260101-20260131",
        StudyInstanceUID=["1.2", "1.3"],
        AccessionNumber="",
        ModalitiesInStudy="CT",
    )
    assert asked.query.level is Level.STUDY
    assert asked.query.root is Root.STUDY
    assert asked.query.matches == {
        "PatientName": Wildcard("SMI*"),
        "PatientID": Single("X1"),
        "StudyDate": Range("20260101", "20260131"),
        "StudyInstanceUID": AnyOf(("1.2", "1.3")),
        "ModalitiesInStudy": Single("CT"),
    }
    assert {0x00100010, 0x00080050, 0x00080061} <= asked.requested
    assert asked.unsupported == ()


def test_an_empty_key_is_a_return_key_only():
    asked = find(PatientName="", StudyDate=None)
    assert asked.query.matches == {}
    assert asked.requested == {0x00100010, 0x00080020}


@pytest.mark.parametrize(
    ("level", "problem"),
    [("", "missing"), ("IMAGES", "'IMAGES' is not"), ("PATIENT", "'PATIENT' is not")],
)
def test_the_level_must_be_one_of_the_model(level, problem):
    with pytest.raises(BadIdentifier, match=problem) as caught:
        find(QueryRetrieveLevel=level)
    assert caught.value.tag == 0x00080052


def test_patient_level_is_one_of_patient_root():
    assert find(PATIENT_FIND, QueryRetrieveLevel="PATIENT").query.level is Level.PATIENT


def test_patient_study_only_ends_at_studies():
    with pytest.raises(BadIdentifier):
        find(TABLE[uids.PATIENT_STUDY_ONLY_FIND], QueryRetrieveLevel="SERIES")


@pytest.mark.parametrize(
    ("row", "level", "keys", "tag"),
    [
        (PATIENT_FIND, "STUDY", {}, 0x00100020),
        (PATIENT_FIND, "STUDY", {"PatientID": "A*"}, 0x00100020),
        (STUDY_FIND, "SERIES", {}, 0x0020000D),
        (STUDY_FIND, "SERIES", {"StudyInstanceUID": ["1.2", "1.3"]}, 0x0020000D),
        (STUDY_FIND, "IMAGE", {"StudyInstanceUID": "1.2"}, 0x0020000E),
    ],
)
def test_a_hierarchical_query_names_one_of_each_level_above(row, level, keys, tag):
    with pytest.raises(BadIdentifier, match="is needed") as caught:
        find(row, QueryRetrieveLevel=level, **keys)
    assert caught.value.tag == tag
    find(row, RELATIONAL, QueryRetrieveLevel=level, **keys)


def test_what_is_negotiated_reaches_the_query():
    agreed = Negotiated.from_bytes(b"\x01\x01\x01\x00")
    assert agreed == Negotiated(relational=True, combined_datetime=True, fuzzy=True)
    assert Negotiated.from_bytes(b"") == Negotiated()
    assert Negotiated.from_bytes(b"\x00\x01") == Negotiated(combined_datetime=True)
    assert find(negotiated=agreed).query.combined_datetime


def test_keys_we_do_not_support_are_named():
    asked = find(ImageComments="x", NumberOfStudyRelatedInstances="5", StudyComments="")
    assert set(asked.unsupported) == {"00204000", "NumberOfStudyRelatedInstances", "00324000"}
    assert asked.query.matches == {}


def test_keys_of_a_lower_level_are_not_supported():
    assert find(SeriesNumber="1").unsupported == ("00200011",)


def test_a_filled_key_inside_a_sequence_is_matched():
    asked = find(
        QueryRetrieveLevel="SERIES",
        StudyInstanceUID="1.2",
        RequestAttributesSequence=item(ScheduledProcedureStepID="SPS1", RequestedProcedureID=""),
    )
    assert asked.query.matches["RequestAttributesSequence"] == Items(
        {"ScheduledProcedureStepID": Single("SPS1")}
    )


def test_a_sequence_we_cannot_match_is_named():
    asked = find(ProcedureCodeSequence=item(CodeValue="X"))
    assert asked.unsupported == ("ProcedureCodeSequence.CodeValue",)
    assert asked.query.matches == {}


def test_names_are_read_in_the_character_set_of_the_request():
    asked = find(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    assert asked.query.matches["PatientName"] == Single("Müller^Jürgen")
    assert asked.charset == "ISO_IR 100"


@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x08\x00\x52\x00\xff\xff\xff\x7f", b"\x08"])
def test_garbage_is_no_identifier(garbage):
    with pytest.raises(BadIdentifier):
        read_find(garbage, uids.IMPLICIT_VR_LE, STUDY_FIND, STRICT)


def test_nothing_at_all_lacks_its_level():
    with pytest.raises(BadIdentifier, match="missing"):
        read_find(b"", uids.IMPLICIT_VR_LE, STUDY_FIND, STRICT)


def test_a_retrieve_names_unique_keys():
    selection = select(
        QueryRetrieveLevel="SERIES", StudyInstanceUID="1.2", SeriesInstanceUID=["1.2.1", "1.2.2"]
    )
    assert selection.patient_id is None
    assert selection.study_instance_uids == ("1.2",)
    assert selection.series_instance_uids == ("1.2.1", "1.2.2")
    assert selection.sop_instance_uids == ()


def test_a_retrieve_by_patient():
    selection = select(PATIENT_MOVE, QueryRetrieveLevel="PATIENT", PatientID="Müller 1")
    assert selection.patient_id is not None
    assert selection.study_instance_uids == ()


@pytest.mark.parametrize(
    ("keys", "tag"),
    [
        ({"QueryRetrieveLevel": "STUDY"}, 0x0020000D),
        ({"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.2"}, 0x0020000D),
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.*"}, 0x0020000D),
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "../../etc"}, 0x0020000D),
        ({"QueryRetrieveLevel": "NOTHING"}, 0x00080052),
    ],
)
def test_a_retrieve_that_names_nothing_retrieves_nothing(keys, tag):
    with pytest.raises(BadIdentifier) as caught:
        select(**keys)
    assert caught.value.tag == tag


def test_a_relational_retrieve_needs_its_own_level_only():
    selection = select(negotiated=RELATIONAL, QueryRetrieveLevel="IMAGE", SOPInstanceUID="1.2.3")
    assert selection.sop_instance_uids == ("1.2.3",)
    assert selection.study_instance_uids == ()


def test_a_patient_is_never_chosen_by_wild_cards():
    with pytest.raises(BadIdentifier, match="wild cards"):
        select(PATIENT_MOVE, QueryRetrieveLevel="PATIENT", PatientID="*")
