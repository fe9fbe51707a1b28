"""services/answers.py: DICOM JSON of the archive -> identifier bytes, read back by pydicom."""

import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset

from filmroom.archive.records import Query
from filmroom.dicom import uids, vrs
from filmroom.dicom.elements import Element
from filmroom.dicom.models import Level
from filmroom.services.answers import Answerer, as_text, failed_list
from filmroom.services.identifiers import FindRequest

SYNTAXES = [uids.IMPLICIT_VR_LE, uids.EXPLICIT_VR_LE, uids.EXPLICIT_VR_BE]
GRACE = {"vr": "PN", "Value": [{"Alphabetic": "Hopper^Grace"}]}


def asked(*keywords, charset="", level=Level.STUDY, **inner):
    """A C-FIND request for these return keys; `inner` names those inside sequences."""
    keys = {}
    for keyword in keywords:
        tag = vrs.tag_of(keyword)
        value = b""
        if keyword in inner:
            tags = [vrs.tag_of(each) for each in inner[keyword]]
            value = [{t: Element(t, vrs.vr_of(t), b"") for t in tags}]
        keys[tag] = Element(tag, vrs.vr_of(tag), value)
    return FindRequest(Query(level, {}), frozenset(keys), keys, charset, ())


def written(request, answer, syntax=uids.IMPLICIT_VR_LE):
    raw = Answerer(request, syntax, "FILMROOM").write(answer)
    assert len(raw) % 2 == 0
    return read_dataset(
        DicomBytesIO(raw),
        is_implicit_VR=syntax == uids.IMPLICIT_VR_LE,
        is_little_endian=syntax != uids.EXPLICIT_VR_BE,
    )


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_reads_the_same_in_every_transfer_syntax(syntax):
    ds = written(
        asked("PatientName", "StudyInstanceUID", "NumberOfStudyRelatedInstances", "PatientSize"),
        {
            "00100010": GRACE,
            "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
            "00201208": {"vr": "IS", "Value": [42]},
            "00101020": {"vr": "DS", "Value": [1.76]},
        },
        syntax,
    )
    assert ds.PatientName == "Hopper^Grace"
    assert ds.StudyInstanceUID == "1.2.3"
    assert ds.NumberOfStudyRelatedInstances == 42
    assert ds.PatientSize == 1.76


ANSWERS = {
    "a name": {"00100010": GRACE},
    "groups of a name": {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]}
    },
    "two names": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}, {"Alphabetic": "B"}]}},
    "a name that is not ASCII": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]}},
    "texts": {"00080061": {"vr": "CS", "Value": ["CT", "SR"]}, "00081030": {"Value": ["odd"]}},
    "a null among texts": {"00080061": {"vr": "CS", "Value": ["CT", None, "SR"]}},
    "numbers": {"00201208": {"vr": "IS", "Value": [42]}, "00101020": {"vr": "DS", "Value": [1.5]}},
    "several numbers": {"00101020": {"vr": "DS", "Value": [1.5, 2]}},
    "a tag": {"00280009": {"vr": "AT", "Value": ["00181063"]}},
    "words": {"00280010": {"vr": "US", "Value": [512]}},
    "bytes": {"00420011": {"vr": "OB", "InlineBinary": "AAEC"}},
    "an item": {"00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}]}},
    "nothing": {},
    "no values": {"00100010": {"vr": "PN"}, "0020000D": {"vr": "UI", "Value": []}},
    "a very long text": {"00081030": {"vr": "LO", "Value": ["x" * 70_000]}},
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("charset", ["", "ISO_IR 100", "\\ISO 2022 IR 87"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_quick_way_writes_what_the_careful_way_writes(monkeypatch, answer, charset, syntax):
    keywords = ["PatientName", "StudyInstanceUID", "ModalitiesInStudy", "StudyDescription"]
    keywords += ["NumberOfStudyRelatedInstances", "PatientSize", "FrameIncrementPointer", "Rows"]
    keywords += ["EncapsulatedDocument", "ProcedureCodeSequence", "InstanceAvailability"]
    answerer = Answerer(asked(*keywords, charset=charset), syntax, "FILMROOM")
    quick = answerer.write(answer)
    monkeypatch.setattr(Answerer, "_write_quickly", lambda self, answer: None)
    assert quick == answerer.write(answer)


def test_common_answers_go_the_quick_way():
    answerer = Answerer(asked("PatientName", "StudyInstanceUID"), uids.IMPLICIT_VR_LE, "FILMROOM")
    uid = {"vr": "UI", "Value": ["1.2.3"]}
    assert answerer._write_quickly({"00100010": GRACE, "0020000D": uid}) is not None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_binary_numbers_are_in_the_byte_order_of_the_syntax(syntax):
    ds = written(
        asked("Rows", level=Level.IMAGE), {"00280010": {"vr": "US", "Value": [512]}}, syntax
    )
    assert ds.Rows == 512


def test_elements_are_in_order_and_only_what_was_asked_for():
    ds = written(
        asked("PatientID", "AccessionNumber"),
        {"00100010": GRACE, "00100020": {"vr": "LO", "Value": ["X"]}},
    )
    assert [element.keyword for element in ds] == [
        "AccessionNumber",
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "PatientID",
        "StudyInstanceUID",
    ]


def test_what_is_not_known_comes_empty():
    ds = written(asked("StudyDescription", "StudyComments", "ProcedureCodeSequence"), {})
    assert ds.StudyDescription is None or ds.StudyDescription == ""
    assert ds.StudyComments == ""
    assert len(ds.ProcedureCodeSequence) == 0


def test_level_retrieve_title_and_availability():
    ds = written(asked("InstanceAvailability"), {})
    assert (ds.QueryRetrieveLevel, ds.RetrieveAETitle) == ("STUDY", "FILMROOM")
    assert ds.InstanceAvailability == "ONLINE"


CODES = {
    "00081032": {
        "vr": "SQ",
        "Value": [
            {
                "00080100": {"vr": "SH", "Value": ["T-1"]},
                "00080102": {"vr": "SH", "Value": ["SRT"]},
                "00080104": {"vr": "LO", "Value": ["Thorax"]},
            }
        ],
    }
}


def test_a_sequence_asked_for_as_a_whole_comes_whole():
    ds = written(asked("ProcedureCodeSequence"), CODES)
    assert ds.ProcedureCodeSequence[0].CodeMeaning == "Thorax"


def test_of_a_sequence_only_what_was_asked_for():
    request = asked(
        "ProcedureCodeSequence", ProcedureCodeSequence=["CodeValue", "CodingSchemeVersion"]
    )
    (item,) = written(request, CODES).ProcedureCodeSequence
    assert item.CodeValue == "T-1"
    assert item.CodingSchemeVersion == ""
    assert "CodeMeaning" not in item


def a_name(text):
    return {"00100010": {"vr": "PN", "Value": [{"Alphabetic": text}]}}


@pytest.mark.parametrize(
    ("charset", "name", "answered"),
    [
        ("", "Hopper^Grace", None),
        ("ISO_IR 100", "Hopper^Grace", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Jürgen", "ISO_IR 100"),
        ("ISO_IR 100", "Иванов^Иван", "ISO_IR 192"),
        ("", "Müller^Jürgen", "ISO_IR 192"),
        ("ISO_IR 144", "Иванов^Иван", "ISO_IR 144"),
        ("ISO_IR 192", "山田^太郎", "ISO_IR 192"),
    ],
)
def test_an_answer_is_in_the_character_set_of_the_request_or_utf_8(charset, name, answered):
    ds = written(asked("PatientName", charset=charset), a_name(name))
    assert ds.get("SpecificCharacterSet") == answered
    ds.decode()
    assert ds.PatientName == name


def test_text_inside_sequences_counts_too():
    codes = {"00081032": {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": ["頭部"]}}]}}
    ds = written(asked("ProcedureCodeSequence"), codes)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    ds.decode()
    assert ds.ProcedureCodeSequence[0].CodeMeaning == "頭部"


def test_all_three_groups_of_a_name_come_back():
    value = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ds = written(
        asked("PatientName", charset="ISO_IR 192"), {"00100010": {"vr": "PN", "Value": [value]}}
    )
    ds.decode()
    assert str(ds.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (100.0, "100"),
        (1 / 3, "0.33333333333333"),
        (-1.23456789012345e-7, "-1.2345678901e-7"),
        (1e300, "1e+300"),
        (None, ""),
        (7, "7"),
    ],
)
def test_decimal_strings_have_at_most_sixteen_characters(value, text):
    found = as_text("DS", value)
    assert len(found) <= 16
    if value is not None:
        assert float(found) == pytest.approx(float(text), rel=1e-7)
    else:
        assert found == text


def test_the_failed_are_listed():
    raw = failed_list(["1.2.3", "1.2.4"], uids.IMPLICIT_VR_LE)
    ds = read_dataset(DicomBytesIO(raw), is_implicit_VR=True, is_little_endian=True)
    assert ds.FailedSOPInstanceUIDList == ["1.2.3", "1.2.4"]


def test_nobody_failed_is_no_list():
    assert failed_list([], uids.IMPLICIT_VR_LE) is None


def test_a_list_too_long_for_explicit_vr_is_cut_between_uids():
    many = [f"1.2.840.99999.{number}" for number in range(10_000)]
    raw = failed_list(many, uids.EXPLICIT_VR_LE)
    ds = read_dataset(DicomBytesIO(raw), is_implicit_VR=False, is_little_endian=True)
    listed = list(ds.FailedSOPInstanceUIDList)
    assert listed == many[: len(listed)]
    assert len(listed) > 2000
