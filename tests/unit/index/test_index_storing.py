"""What add and replace promise, on both engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import orjson
import pytest

from filmroom.archive.errors import Conflict, NotHeld
from filmroom.archive.records import Query, Selection, SeriesMetadata, Statistics, User
from filmroom.dicom.models import Level
from filmroom.index.queries import open_index
from index_rows import an_instance, value


def a_series(study, series, n, **attributes):
    return [
        an_instance(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{i}",
            InstanceNumber=str(i),
            **attributes,
        )
        for i in range(n)
    ]


def test_what_was_added_is_held(index):
    new = an_instance()
    assert index.held(["1.2.3.4.5", "9"]) == {}
    assert index.add([new]) == [True]
    held = index.held(["1.2.3.4.5", "9"])
    assert list(held) == ["1.2.3.4.5"]
    assert held["1.2.3.4.5"].digest == new.location.digest
    assert held["1.2.3.4.5"].key == new.location.key
    assert held["1.2.3.4.5"].study_instance_uid == "1.2.3"


def test_an_instance_is_new_only_once_and_counted_once(index):
    new = an_instance()
    assert index.add([new, new]) == [True, False]
    assert index.add([new]) == [False]
    found = index.search(Query(Level.IMAGE, {}))
    assert len(found) == 1
    assert (found[0].patient_studies, found[0].patient_series, found[0].patient_instances) == (
        1,
        1,
        1,
    )
    assert index.statistics() == Statistics(1, 1, 1, 1, 1_000, 0)


def test_counters_count_what_is_there(index):
    index.add(a_series("1.1", "1.1.1", 3) + a_series("1.1", "1.1.2", 2, Modality="SR"))
    index.add(a_series("1.1", "1.1.1", 4))
    index.add(a_series("1.2", "1.2.1", 2))
    index.add(a_series("2.1", "2.1.1", 1, PatientID="P2"))
    (patient,) = index.search(Query(Level.PATIENT, {}, limit=1))
    assert (patient.patient_studies, patient.patient_series, patient.patient_instances) == (2, 3, 8)
    studies = {
        value(f.study, "StudyInstanceUID"): (f.study_series, f.study_instances, f.modalities)
        for f in index.search(Query(Level.STUDY, {}))
    }
    assert studies == {
        "1.1": (2, 6, ("CT", "SR")),
        "1.2": (1, 2, ("CT",)),
        "2.1": (1, 1, ("CT",)),
    }
    series = index.search(Query(Level.SERIES, {}))
    assert [f.series_instances for f in series] == [4, 2, 2, 1]
    assert index.statistics() == Statistics(2, 3, 4, 9, 9_000, 0)


def test_a_batch_of_duplicates_makes_no_empty_parents(index):
    index.add([an_instance()])
    other = an_instance(StudyInstanceUID="7.7", SeriesInstanceUID="7.7.7", PatientID="P7")
    assert index.add([other]) == [False]
    assert index.statistics() == Statistics(1, 1, 1, 1, 1_000, 0)


def test_a_series_of_another_study_is_a_conflict_and_changes_nothing(index):
    index.add([an_instance()])
    other = an_instance(StudyInstanceUID="7.7", SOPInstanceUID="7.7.7", PatientID="P7")
    fine = an_instance(StudyInstanceUID="8", SeriesInstanceUID="8.1", SOPInstanceUID="8.1.1")
    with pytest.raises(Conflict, match=r"1\.2\.3\.4 "):
        index.add([fine, other])
    assert index.statistics() == Statistics(1, 1, 1, 1, 1_000, 0)
    assert index.add([fine]) == [True]


def test_a_series_under_two_studies_in_one_batch_is_a_conflict(index):
    with pytest.raises(Conflict):
        index.add([an_instance(), an_instance(StudyInstanceUID="7", SOPInstanceUID="7.1")])
    assert index.statistics().patients == 0


def test_a_patient_is_an_id_and_its_issuer(index):
    index.add([an_instance()])
    index.add(a_series("2", "2.1", 1, IssuerOfPatientID="Elsewhere"))
    index.add(a_series("3", "3.1", 1, IssuerOfPatientID="Elsewhere"))
    assert index.statistics().patients == 2


def test_a_study_without_a_patient_id_is_a_patient_of_its_own(index):
    index.add(a_series("1", "1.1", 1, PatientID=None, PatientName="A"))
    index.add(a_series("2", "2.1", 1, PatientID=None, PatientName="B"))
    assert index.statistics().patients == 2


def test_a_study_stays_with_its_first_patient_and_says_so_once(index):
    index.add(a_series("1", "1.1", 2))
    index.add(a_series("1", "1.1", 5, PatientID="P2", PatientName="Other"))
    index.add(a_series("1", "1.2", 2, PatientID="P2", PatientName="Other"))
    found = index.search(Query(Level.IMAGE, {}))
    assert len(found) == 7
    assert {value(f.patient, "PatientID") for f in found} == {"P1"}
    events = [e for e in index.events() if e.kind == "patient-mismatch"]
    assert len(events) == 1
    body = orjson.loads(events[0].body)
    assert body["held"]["patient_id"] == "P1"
    assert body["came"]["patient_id"] == "P2"


def test_the_first_of_a_batch_speaks_for_its_study_whatever_its_uid(index):
    index.add(
        a_series("1", "1.2", 1, StudyDescription="first", PatientID="P1")
        + a_series("1", "1.1", 1, StudyDescription="second", PatientID="P2")
    )
    (found,) = index.search(Query(Level.STUDY, {}))
    assert value(found.study, "StudyDescription") == "first"
    assert value(found.patient, "PatientID") == "P1"


def test_an_event_is_written_for_each_new_instance(index):
    index.add(a_series("1", "1.1", 3))
    index.add(a_series("1", "1.1", 4))
    events = index.events()
    assert [e.kind for e in events] == ["instance-stored"] * 4
    assert orjson.loads(events[3].body) == {
        "study": "1",
        "series": "1.1",
        "instance": "1.1.3",
        "origin": {
            "kind": "dimse",
            "name": "SCANNER",
            "address": "127.0.0.1",
            "called": "FILMROOM",
        },
    }
    assert index.events(after_id=events[1].id, limit=1) == [events[2]]
    index.forget_events(events[2].id)
    assert index.events() == [events[3]]


def test_events_that_nobody_took_are_trimmed(index):
    index.trim_events(2)
    index.add(a_series("1", "1.1", 5))
    newest = [event.id for event in index.events()][-2:]
    index.trim_events(2)
    assert [event.id for event in index.events()] == newest


def test_a_replaced_instance_has_new_bytes_and_the_same_place(index):
    index.add(a_series("1", "1.1", 2))
    blob = SeriesMetadata(b"x", "e", 2)
    index.put_series_metadata("1", "1.1", blob, index.series_revision("1", "1.1"))
    new = an_instance(
        StudyInstanceUID="1",
        SeriesInstanceUID="1.1",
        SOPInstanceUID="1.1.0",
        InstanceNumber="9",
        content=b"other",
        size_bytes=5_000,
    )
    index.replace(new)
    handle = index.instance("1.1.0")
    assert handle.location == new.location
    assert index.statistics() == Statistics(1, 1, 1, 2, 6_000, 0)
    assert index.series_metadata("1", "1.1") is None
    order = [h.sop_instance_uid for h in index.instances(Selection(study_instance_uids=("1",)))]
    assert order == ["1.1.1", "1.1.0"]
    assert index.events()[-1].kind == "instance-replaced"


def test_what_is_not_held_cannot_be_replaced(index):
    with pytest.raises(NotHeld):
        index.replace(an_instance())


def test_clear_forgets_studies_and_a_second_opening_notices(index, index_url):
    other = open_index(index_url)
    try:
        index.add(a_series("1", "1.1", 2))
        index.put_user(User("ada", "hash", "admin"))
        other.clear()
        assert index.statistics() == Statistics(0, 0, 0, 0, 0, 0)
        assert index.add(a_series("1", "1.1", 3)) == [True] * 3
        assert index.statistics() == Statistics(1, 1, 1, 3, 3_000, 0)
        assert len(index.search(Query(Level.IMAGE, {}))) == 3
        assert index.user("ada") is not None
    finally:
        other.close()


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "AccessionNumber", "Modality"])
def test_a_value_too_long_or_too_odd_stops_nothing(index, keyword):
    for n, text in enumerate(("x" * 5_000, "ö" * 5_000, "a\0b", "\ud800", "")):
        assert index.add(a_series(f"{n}", f"{n}.1", 1, **{keyword: text})) == [True]
    assert len(index.search(Query(Level.STUDY, {}))) == 5


def test_two_adders_make_a_patient_once(index, index_url):
    """Two nodes (or threads, on SQLite) store instances of the same studies at once."""
    others = [open_index(index_url) for _ in range(2)]

    def run(which):
        added = []
        for round_ in range(12):
            study = f"1.{round_ % 4}"
            batch = [
                an_instance(
                    PatientID=f"P{round_ % 3}",
                    StudyInstanceUID=study,
                    SeriesInstanceUID=f"{study}.{i % 2}",
                    SOPInstanceUID=f"{study}.{i % 2}.{round_}.{i}",
                    Modality="CT" if i % 2 else "MR",
                )
                for i in range(6)
            ]
            added += others[which].add(batch[::-1] if which else batch)
        return added

    with ThreadPoolExecutor(2) as pool:
        added = [new for result in pool.map(run, range(2)) for new in result]
    for other in others:
        other.close()
    assert sum(added) == 72
    assert index.statistics() == Statistics(3, 4, 8, 72, 72_000, 0)
    studies = index.search(Query(Level.STUDY, {}))
    assert sum(f.study_instances for f in studies) == 72
    assert {f.modalities for f in studies} == {("CT", "MR")}
    patients = index.search(Query(Level.PATIENT, {}))
    assert sum(f.patient_instances for f in patients) == 72
    assert sum(f.patient_series for f in patients) == 8
    assert sum(f.patient_studies for f in patients) == 4
    assert len(index.events()) == 72 + sum(e.kind == "patient-mismatch" for e in index.events())


def test_whoever_replaces_is_told_what_was_there_until_then(index_url):
    """Two nodes that replace one instance: each puts away what it has really replaced."""
    one, other = open_index(index_url), open_index(index_url)
    new = an_instance()
    one.add([new])
    keys = [new.location.key]
    for n, index in enumerate((one, other, one)):
        key = new.location.key.replace(".dcm", f"-0000000{n}.dcm")
        replaced = index.replace(replace(new, location=replace(new.location, key=key)))
        assert replaced == keys[-1]
        keys.append(key)
    assert other.instance(new.instance.uid).location.key == keys[-1]
    for index in (one, other):
        index.close()
