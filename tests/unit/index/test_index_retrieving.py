"""Handles, metadata blobs, quarantine, accounts and the whole, on both engines."""

from __future__ import annotations

import orjson
import pytest

from filmroom.archive.errors import Unavailable
from filmroom.archive.records import (
    Credential,
    Origin,
    Quarantined,
    Query,
    Selection,
    SeriesMetadata,
    User,
)
from filmroom.dicom.match import Single
from filmroom.dicom.models import Level
from filmroom.index import packing, selecting
from filmroom.index.queries import open_index
from index_rows import ORIGIN, an_instance, stored, value


def test_a_handle_says_all_that_serving_needs(index):
    (new,) = stored(index, "1", "1.1", [7], frames=b"\1\2")
    handle = index.instance("1.1.7")
    assert handle.location == new.location
    assert handle.frames == b"\1\2"
    assert (handle.study_instance_uid, handle.series_instance_uid) == ("1", "1.1")
    assert handle.sop_class_uid == new.instance.keys["SOPClassUID"]
    assert index.instance("1.1.7", "1", "1.1") == handle
    assert index.instance("1.1.7", "2") is None
    assert index.instance("1.1.7", "1", "1.2") is None
    assert index.instance("9") is None


def test_instances_come_by_series_number_and_uid(index):
    stored(index, "1", "1.2", [1])
    stored(index, "1", "1.1", [10, 9, 2])
    stored(index, "1", "1.1", ["x"])
    stored(index, "2", "2.1", [1], PatientID="P2")

    def select(**names):
        return [h.sop_instance_uid for h in index.instances(Selection(**names))]

    in_order = ["1.1.2", "1.1.9", "1.1.10", "1.1.x", "1.2.1"]
    assert select(study_instance_uids=("1",)) == in_order
    assert select(patient_id="P1") == in_order
    assert select(patient_id="P2") == ["2.1.1"]
    assert select(patient_id="P1", study_instance_uids=("2",)) == []
    assert select(series_instance_uids=("1.2", "2.1")) == ["1.2.1", "2.1.1"]
    assert select(sop_instance_uids=("1.1.2", "9")) == ["1.1.2"]
    assert select(study_instance_uids=("2",), sop_instance_uids=("1.1.2",)) == []


def test_a_selection_of_nothing_selects_nothing(index):
    stored(index, "1", "1.1", [1])
    assert index.instances(Selection()) == []


def paged(index, **names):
    return [[h.sop_instance_uid for h in page] for page in index.instances_iter(Selection(**names))]


def test_a_selection_comes_in_pages_in_the_same_order(index, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 3)
    monkeypatch.setattr(selecting, "_SERIES", 2)
    stored(index, "1", "1.2", [1, 2])
    stored(index, "1", "1.3", [5])
    stored(index, "1", "1.1", [7, 6, 5, 4, 3, 2, 1])
    stored(index, "2", "2.1", [1], PatientID="P2")
    assert paged(index, study_instance_uids=("1",)) == [
        ["1.1.1", "1.1.2", "1.1.3"],
        ["1.1.4", "1.1.5", "1.1.6"],
        ["1.1.7"],
        ["1.2.1", "1.2.2", "1.3.5"],
    ]
    for names in (
        {"patient_id": "P1"},
        {"study_instance_uids": ("1", "2")},
        {"series_instance_uids": ("1.2", "2.1")},
        {"sop_instance_uids": ("1.1.2", "1.1.7", "1.2.1", "1.3.5", "9")},
        {"study_instance_uids": ("2",), "sop_instance_uids": ("1.1.2",)},
        {},
    ):
        pages = paged(index, **names)
        whole = [h.sop_instance_uid for h in index.instances(Selection(**names))]
        assert [uid for page in pages for uid in page] == whole
        assert all(0 < len(page) <= 3 for page in pages)


def test_instances_without_a_number_of_their_own_come_by_arrival(index, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 2)
    for name in "cab":
        stored(index, "1", "1.1", [name])
    pages = paged(index, study_instance_uids=("1",))
    assert pages == [["1.1.c", "1.1.a"], ["1.1.b"]]


def test_a_page_holds_no_more_of_long_frame_tables_than_it_must(index, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE_BYTES", 100)
    stored(index, "1", "1.1", [1, 2, 3], frames=bytes(40))
    stored(index, "1", "1.1", [4], frames=bytes(400))
    pages = paged(index, study_instance_uids=("1",))
    assert pages == [["1.1.1", "1.1.2"], ["1.1.3"], ["1.1.4"]]


def test_what_arrives_between_two_pages_is_no_harm(index, monkeypatch):
    monkeypatch.setattr(selecting, "PAGE", 2)
    stored(index, "1", "1.1", [1, 2, 3, 4])
    pages = index.instances_iter(Selection(study_instance_uids=("1",)))
    first = [h.sop_instance_uid for h in next(pages)]
    stored(index, "1", "1.1", [0, 9])
    rest = [h.sop_instance_uid for page in pages for h in page]
    assert (first, rest) == (["1.1.1", "1.1.2"], ["1.1.3", "1.1.4", "1.1.9"])


def test_a_page_of_a_long_series_is_found_without_sorting_the_series(tmp_path):
    index = open_index(f"sqlite://{tmp_path}/i.sqlite")
    where = {"series": 1, "number": 0, "id": 0, "limit": 10}
    plan = index._engine.rows("EXPLAIN QUERY PLAN " + index._sql["keys_in_after"], where)
    index.close()
    steps = [row[3] for row in plan]
    assert not [step for step in steps if "TEMP B-TREE" in step]
    assert [step.partition("instance_in_order ")[2] for step in steps if "SEARCH" in step] == [
        "(series=? AND number=? AND rowid>?)",
        "(series=? AND number>?)",
    ]


def test_the_kinds_of_what_is_selected_are_counted(index):
    stored(index, "1", "1.1", [1, 2], frames=b"x")
    stored(index, "1", "1.2", [1], frames=b"")
    (kind, other) = sorted(
        index.kinds(Selection(study_instance_uids=("1",))), key=lambda kind: -kind.instances
    )
    handle = index.instance("1.1.1")
    assert (kind.sop_class_uid, kind.transfer_syntax_uid) == (
        handle.sop_class_uid,
        handle.location.transfer_syntax_uid,
    )
    assert (kind.has_frames, kind.instances) == (True, 2)
    assert (other.has_frames, other.instances) == (False, 1)
    assert index.kinds(Selection()) == []


def test_a_metadata_blob_lives_until_the_series_grows(index):
    stored(index, "1", "1.1", [1, 2], received_at=50.0)
    assert index.quiet_series(50.0) == []
    assert index.quiet_series(51.0) == [("1", "1.1")]
    blob = SeriesMetadata(b"zipped", "tag", 2)
    revision = index.series_revision("1", "1.1")
    index.put_series_metadata("1", "1.1", blob, revision)
    index.put_series_metadata("1", "1.1", blob, revision)
    assert index.series_metadata("1", "1.1") == blob
    assert index.series_metadata("2", "1.1") is None
    assert index.quiet_series(51.0) == [("1", "1.1")], "nobody was told that it has settled"
    assert index.settled("1", "1.1", revision, 51.0)
    assert index.quiet_series(51.0) == []
    stored(index, "1", "1.1", [3], received_at=60.0)
    assert index.series_metadata("1", "1.1") is None
    assert index.quiet_series(55.0) == []
    assert index.quiet_series(61.0) == [("1", "1.1")]


def test_a_series_settles_once_each_time_it_has_grown(index):
    stored(index, "1", "1.1", [1, 2])
    first = index.series_revision("1", "1.1")
    assert index.settled("1", "1.1", first, 51.0)
    assert not index.settled("1", "1.1", first, 52.0), "that was said"
    stored(index, "1", "1.1", [3])
    assert not index.settled("1", "1.1", first, 53.0), "it has grown meanwhile"
    assert index.settled("1", "1.1", index.series_revision("1", "1.1"), 54.0)
    told = [orjson.loads(e.body) for e in index.events() if e.kind == "series-settled"]
    assert [each["instances"] for each in told] == [2, 3]
    stored(index, "2", "2.1", [1])
    index.settle_all()
    assert not index.settled("2", "2.1", index.series_revision("2", "2.1"), 55.0)


def test_a_metadata_blob_made_too_early_is_not_kept(index):
    stored(index, "1", "1.1", [1, 2])
    revision = index.series_revision("1", "1.1")
    index.put_series_metadata("1", "1.1", SeriesMetadata(b"zipped", "tag", 1), revision)
    index.put_series_metadata("1", "1.9", SeriesMetadata(b"zipped", "tag", 0), 0)
    assert index.series_metadata("1", "1.1") is None


def test_quarantine_is_remembered_newest_first(index):
    odd = Origin("dimse", "SC\0\ud800", "::1", "F")
    first = index.quarantine("a.dcm", "not\0 DICOM", "../../x", odd, 10, 1.0)
    second = index.quarantine("b.dcm", "other", "1.2", ORIGIN, 20, 2.0)
    rows = index.quarantined()
    assert rows[0] == Quarantined(second, "b.dcm", "other", "1.2", ORIGIN, 20, 2.0)
    assert (rows[1].reason, rows[1].origin.name) == ("not DICOM", "SC?")
    assert index.statistics().quarantined == 2
    assert [index.quarantined_by_id(id_) for id_ in (first, second)] == rows[::-1]
    assert index.quarantined_by_id(first + second) is None
    index.forget_quarantined(first)
    assert index.quarantined_by_id(first) is None
    assert [q.id for q in index.quarantined(limit=5)] == [second]


def test_users_and_credentials_are_kept_changed_and_forgotten(index):
    index.put_user(User("ada", "h1", "admin"))
    index.put_user(User("ada", "h2", "viewer", disabled=True))
    assert index.user("ada") == User("ada", "h2", "viewer", True)
    assert index.users() == [User("ada", "h2", "viewer", True)]
    index.forget_user("ada")
    assert index.user("ada") is None
    token = Credential(b"\0" * 32, "token", "bot", "service", 1.0, None)
    session = Credential(b"\1" * 32, "session", "ada", "admin", 2.0, 99.5)
    index.put_credential(token)
    index.put_credential(session)
    assert index.credential(b"\1" * 32) == session
    assert index.credentials("token") == [token]
    index.renew_credential(b"\1" * 32, 120.5)
    assert index.credential(b"\1" * 32).expires_at == 120.5
    index.forget_credentials_of("ada", "session")
    index.forget_credential(b"\0" * 32)
    assert index.credential(b"\0" * 32) is None
    assert index.credentials("session") == []
    index.renew_credential(b"\1" * 32, 150.5)
    assert index.credentials("session") == []


def test_keys_are_given_back_as_they_were(index):
    made = stored(index, "1", "1.1", range(5)) + stored(index, "1.1", "1.1.1", range(5, 8))
    keys = [new.location.key for new in made]
    assert sorted(index.keys()) == sorted(keys)
    other = keys[0].replace(".dcm", "-0a1b2c3d.dcm")
    assert index.known_keys([keys[0], other, keys[7], "2026/01/02/9/9.1/9.1.1.dcm", "odd"]) == {
        keys[0],
        keys[7],
    }
    assert index.known_keys([]) == set()


@pytest.mark.parametrize(
    "key",
    [
        "2026/01/02/1.2/1.2.3/1.2.3.4.dcm",
        "2026/01/02/1.2/1.2.3/1.2.3.4-00ff00ff.dcm",
        "1.2.3.4",
        "elsewhere",
    ],
)
def test_a_packed_key_unpacks_to_itself(key):
    uids = ("1.2", "1.2.3", "1.2.3.4")
    packed = packing.pack_key(key, *uids)
    assert packing.unpack_key(packed, *uids) == key
    assert len(packed) <= len(key)


JSON = (
    b'{"00080008":{"vr":"CS","Value":["ORIGINAL","PRIMARY","AXIAL"]},'
    b'"00080016":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.2"]},'
    b'"00080018":{"vr":"UI","Value":["1.3.6.1.4.1.14519.5.2.1.6279.6001.1057566580315150"]},'
    b'"00080023":{"vr":"DA","Value":["20261123"]},"00080033":{"vr":"TM","Value":["101112.345"]},'
    b'"00200012":{"vr":"IS","Value":[4]},"00200013":{"vr":"IS","Value":[117]},'
    b'"00280010":{"vr":"US","Value":[512]},"00280011":{"vr":"US","Value":[512]},'
    b'"00280100":{"vr":"US","Value":[16]}}'
)


def test_packed_json_is_small():
    packed = packing.pack(JSON, "1.3.6.1.4.1.14519.5.2.1.6279.6001.1057566580315150")
    assert len(packed) < 70


@pytest.mark.parametrize("uid", ["", "1.2", "1.3.6.1.4.1.14519.5.2.1.6279.6001.1057566580315150"])
@pytest.mark.parametrize(
    "text",
    [
        JSON,
        JSON.replace(b",", b",\n\t"),
        b"",
        b"{}",
        b'{"00080018":{"vr":"UI"}}',
        '{"00700081":{"vr":"LO","Value":["Ü\\u0001\\n","","Value":["}]}'.encode(),
    ],
)
def test_packed_json_unpacks_to_itself(text, uid):
    (unpacked,) = packing.unpack_all([packing.pack(text, uid)])
    assert unpacked.replace(b"\x01", uid.encode()) == text


def test_paging_is_stable_and_newest_first(index):
    for n in range(7):
        stored(index, f"1.{n}", f"1.{n}.1", [1], StudyDate="20260101" if n % 2 else "20260202")
    stored(index, "2", "2.1", [1], StudyDate=None, StudyTime=None)

    def page(limit, offset):
        found = index.search(Query(Level.STUDY, {}, limit=limit, offset=offset))
        return [value(f.study, "StudyInstanceUID") for f in found]

    everything = page(None, 0)
    assert everything == ["1.6", "1.4", "1.2", "1.0", "1.5", "1.3", "1.1", "2"]
    assert page(3, 0) + page(3, 3) + page(3, 6) == everything
    assert page(None, 6) == everything[6:]
    assert page(0, 0) == page(5, 8) == []


def test_an_iterated_search_honours_limit_and_offset(index):
    stored(index, "1", "1.1", range(20, 30))
    query = Query(Level.IMAGE, {"SeriesInstanceUID": Single("1.1")}, limit=7, offset=2)
    chunks = list(index.search_iter(query, chunk=3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    found = [value(f.instance, "SOPInstanceUID") for chunk in chunks for f in chunk]
    assert found == [f"1.1.{n}" for n in range(22, 29)]
    assert index.count(query) == 10


def test_an_answer_has_everything_known_of_its_levels(index):
    (new,) = stored(index, "1", "1.1", [1])
    (found,) = index.search(Query(Level.IMAGE, {}))
    assert found.patient == new.patient.attributes
    assert found.study == new.study.attributes
    assert found.series == new.series.attributes
    assert found.instance == new.instance.attributes
    assert found.transfer_syntax_uid == new.location.transfer_syntax_uid
    assert found.sop_classes == (new.instance.keys["SOPClassUID"],)
    (found,) = index.search(Query(Level.PATIENT, {}))
    assert (found.study, found.series, found.instance) == (b"", b"", b"")


def test_a_closed_index_is_unavailable(index):
    index.ping()
    index.close()
    with pytest.raises(Unavailable):
        index.ping()
    with pytest.raises(Unavailable):
        index.add([an_instance()])
