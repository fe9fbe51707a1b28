"""cli/keys.py: keys as they are typed."""

import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset

from filmroom.cli.keys import BadKey, cell, columns, identifier, level_of, parse_key, with_columns
from filmroom.dicom.models import Level


def read(*keys, level=Level.STUDY):
    raw = DicomBytesIO(identifier(level, keys))
    ds = read_dataset(raw, is_implicit_VR=True, is_little_endian=True)
    ds.decode()
    return ds


def test_keywords_tags_and_paths():
    assert parse_key("PatientName=SMI*") == ((0x00100010,), "SMI*")
    assert parse_key("0010,0020=X=Y") == ((0x00100020,), "X=Y")
    assert parse_key("(0010,0020)") == ((0x00100020,), "")
    assert parse_key("RequestAttributesSequence.ScheduledProcedureStepID=S1") == (
        (0x00400275, 0x00400009),
        "S1",
    )


@pytest.mark.parametrize("bad", ["PatientNam=X", "=X", "", "12,34", "PatientName.PatientID=X"])
def test_a_key_that_is_none_is_named(bad):
    with pytest.raises(BadKey):
        identifier(Level.STUDY, [bad])


def test_an_identifier_as_a_peer_reads_it():
    ds = read("PatientName=SMI*", "StudyDate", "StudyInstanceUID=1.2\\1.3")
    assert ds.QueryRetrieveLevel == "STUDY"
    assert ds.PatientName == "SMI*"
    assert ds.StudyDate == ""
    assert ds.StudyInstanceUID == ["1.2", "1.3"]
    assert "SpecificCharacterSet" not in ds


def test_other_letters_go_as_utf_8():
    ds = read("PatientName=山田*")
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.PatientName == "山田*"


def test_keys_inside_sequences():
    ds = read("ProcedureCodeSequence.CodeValue=T-1", "ProcedureCodeSequence.CodeMeaning")
    (item,) = ds.ProcedureCodeSequence
    assert (item.CodeValue, item.CodeMeaning) == ("T-1", "")


def test_the_level_is_that_of_the_deepest_unique_key():
    assert level_of(["StudyInstanceUID=1", "SeriesInstanceUID=2"]) is Level.SERIES
    assert level_of(["PatientID=1"]) is Level.PATIENT
    assert level_of(["PatientName=X"]) is None


def test_the_usual_columns_are_asked_for_once():
    keys = with_columns(Level.STUDY, ["PatientName=X*", "StudyID"])
    assert keys.count("PatientName") == 0
    assert "StudyDate" in keys
    assert columns(Level.STUDY, ["PatientName=X*", "StudyID"])[-1] == "StudyID"


def test_cells_are_plain_text():
    answer = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山"}]},
        "00080061": {"vr": "CS", "Value": ["CT", "PR"]},
        "00201208": {"vr": "IS", "Value": [5]},
    }
    assert cell(answer, "PatientName") == "A^B=山"
    assert cell(answer, "ModalitiesInStudy") == "CT\\PR"
    assert cell(answer, "NumberOfStudyRelatedInstances") == "5"
    assert cell(answer, "PatientID") == ""
