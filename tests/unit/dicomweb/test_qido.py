"""PS3.18 10.6: six searches, every spelling of a key, bounded whatever is asked."""

import time

import pytest
from pydicom.dataset import Dataset

from filmroom.dicomweb.service import Settings
from instances import a_data_set, part10

ALL_SIX = [
    "/studies",
    "/studies/1.1/series",
    "/studies/1.1/series/1.1.1/instances",
    "/studies/1.1/instances",
    "/series",
    "/instances",
]


def a_request(step):
    item = Dataset()
    item.ScheduledProcedureStepID = step
    item.RequestedProcedureID = "RP1"
    return item


async def fill(room):
    """Two patients, three studies, four series, six instances."""
    table = [
        ("1.1", "1.1.1", "1.1.1.1", "Hopper^Grace", "GH", "20260102", "101500", "CT", "Thorax"),
        ("1.1", "1.1.1", "1.1.1.2", "Hopper^Grace", "GH", "20260102", "101500", "CT", "Thorax"),
        ("1.1", "1.1.2", "1.1.2.1", "Hopper^Grace", "GH", "20260102", "101500", "PT", "Thorax"),
        ("1.2", "1.2.1", "1.2.1.1", "Hopper^Grace", "GH", "20251224", "235900", "MR", "Head"),
        ("1.3", "1.3.1", "1.3.1.1", "Lovelace^Ada", "AL", "20260103", "000100", "CT", "Knee"),
        ("1.3", "1.3.1", "1.3.1.2", "Lovelace^Ada", "AL", "20260103", "000100", "CT", "Knee"),
    ]
    files = []
    for n, (study, series, sop, name, patient, date, at, modality, text) in enumerate(table):
        ds = a_data_set(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SOPInstanceUID=sop,
            PatientName=name,
            PatientID=patient,
            StudyDate=date,
            StudyTime=at,
            Modality=modality,
            StudyDescription=text,
            InstanceNumber=n,
            RequestAttributesSequence=[a_request(f"STEP{series}")],
        )
        files.append(part10(ds))
    response = await room.store(*files)
    assert response.status_code == 200, response.text


@pytest.fixture
async def filled(room):
    await fill(room)
    return room


def uids(response, tag="0020000D"):
    assert response.status_code == 200, response.text
    return [answer[tag]["Value"][0] for answer in response.json()]


@pytest.mark.parametrize(("path", "count"), zip(ALL_SIX, [3, 2, 2, 3, 4, 6], strict=True))
async def test_six_paths_search(filled, path, count):
    response = await filled.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    assert response.headers["x-total-count"] == str(count)
    assert len(response.json()) == count
    for answer in response.json():
        url = answer["00081190"]["Value"][0]
        accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        assert (await filled.get(f"http://test{url}", headers=accept)).status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PatientID=AL", ["1.3"]),
        ("00100020=AL", ["1.3"]),
        ("PatientName=hopper*", ["1.1", "1.2"]),
        ("PatientName=*grace*", ["1.1", "1.2"]),
        ("PatientName=grace%20hop&fuzzymatching=true", ["1.1", "1.2"]),
        ("StudyDate=20260101-", ["1.1", "1.3"]),
        ("StudyDate=20251224-20260102", ["1.1", "1.2"]),
        ("StudyDate=20260102-20260103&StudyTime=200000-010000", ["1.3"]),
        ("StudyInstanceUID=1.1,1.3", ["1.1", "1.3"]),
        ("StudyInstanceUID=1.1%5C1.3", ["1.1", "1.3"]),
        ("StudyInstanceUID=1.1&StudyInstanceUID=1.3", ["1.1", "1.3"]),
        ("ModalitiesInStudy=PT", ["1.1"]),
        ("ModalitiesInStudy=PT,MR", ["1.1", "1.2"]),
        ("Modality=MR", ["1.2"]),
        ("StudyDescription=*hora*", ["1.1"]),
        ("AccessionNumber=A1&PatientName=*", ["1.1", "1.2", "1.3"]),
        ("PatientID=nobody", []),
        ("PatientID=%27%20OR%201=1--", []),
        ("PatientID=&accept=application/dicom+json", ["1.1", "1.2", "1.3"]),
    ],
)
async def test_studies_are_matched(filled, query, found):
    response = await filled.get(f"/studies?{query}")
    assert sorted(uids(response)) == found
    if not found:
        assert response.content == b"[]"


@pytest.mark.parametrize(
    ("path", "tag", "found"),
    [
        ("/studies/1.1/series?Modality=PT", "0020000E", ["1.1.2"]),
        ("/studies/1.1/series?SeriesInstanceUID=1.1.1", "0020000E", ["1.1.1"]),
        ("/studies/1.1/series?StudyInstanceUID=1.3", "0020000E", []),
        ("/series?PatientID=AL", "0020000E", ["1.3.1"]),
        (
            "/series?RequestAttributesSequence.ScheduledProcedureStepID=STEP1.1.2",
            "0020000E",
            ["1.1.2"],
        ),
        ("/series?00400275.00400009=STEP1.1.2", "0020000E", ["1.1.2"]),
        ("/instances?SOPInstanceUID=1.2.1.1", "00080018", ["1.2.1.1"]),
        ("/studies/9.9/series", "0020000E", []),
    ],
)
async def test_series_and_instances_are_matched(filled, path, tag, found):
    assert sorted(uids(await filled.get(path), tag)) == found


async def test_what_viewers_need_comes_unasked(filled):
    (study,) = (await filled.get("/studies?StudyInstanceUID=1.1")).json()
    assert study["00081030"]["Value"] == ["Thorax"]
    assert sorted(study["00080061"]["Value"]) == ["CT", "PT"]
    assert study["00201206"]["Value"] == [2]
    assert study["00201208"]["Value"] == [3]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Hopper^Grace"}]
    series = (await filled.get("/studies/1.1/series")).json()
    assert {each["00080060"]["Value"][0] for each in series} == {"CT", "PT"}
    assert all(each["0008103E"]["Value"] == ["axial"] for each in series)
    assert sorted(each["00201209"]["Value"][0] for each in series) == [1, 2]
    assert all("00200011" in each for each in series)


async def test_no_attribute_comes_without_a_value(room):
    ds = a_data_set(Modality="", StudyDescription="", ReferringPhysicianName="")
    await room.store(part10(ds))
    for path in ("/studies", "/series", "/instances"):
        (answer,) = (await room.get(f"{path}?includefield=all")).json()
        assert all(len(attribute) > 1 for attribute in answer.values()), answer
        assert "00080061" not in answer
        assert "00080060" not in answer


@pytest.mark.parametrize(
    "query",
    [
        "includefield=00081032&includefield=PatientComments",
        "includefield=00081032,PatientComments",
        "includefield=00081032%2CPatientComments",
        "includefield=all",
    ],
)
async def test_includefield_may_be_spelt_in_every_way(room, query):
    code = Dataset()
    code.CodeValue = "X"
    await room.store(part10(a_data_set(PatientComments="tall", ProcedureCodeSequence=[code])))
    (plain,) = (await room.get("/studies")).json()
    assert not {"00104000", "00081032"} & set(plain)
    (answer,) = (await room.get(f"/studies?{query}")).json()
    assert answer["00104000"]["Value"] == ["tall"]
    assert answer["00081032"]["Value"][0]["00080100"]["Value"] == ["X"]


async def test_pages_do_not_overlap_and_the_rest_is_announced(filled):
    seen = []
    for offset in range(0, 6, 2):
        response = await filled.get(f"/instances?limit=2&offset={offset}")
        seen += uids(response, "00080018")
        assert response.headers["x-total-count"] == "6"
        assert ("warning" in response.headers) is (offset < 4)
    assert len(set(seen)) == 6
    response = await filled.get("/instances?limit=2&offset=100")
    assert (response.json(), response.headers["x-total-count"]) == ([], "6")
    response = await filled.get("/instances?limit=0")
    assert (response.json(), response.headers["x-total-count"]) == ([], "6")


async def test_the_server_cuts_and_says_so(make_room):
    room = make_room(settings=Settings(max_results=2))
    await fill(room)
    response = await room.get("/instances?limit=100000")
    assert len(response.json()) == 2
    assert response.headers["warning"].startswith("299 ")
    assert "4 additional results" in response.headers["warning"]


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("limit=-1", "limit"),
        ("limit=abc", "limit"),
        ("limit=100000000000000000000", "limit"),
        ("offset=-5", "offset"),
        ("offset=1.5", "offset"),
        ("NoSuchThing=1", "PatientID"),
        ("PatientShoeSize=1", "keyword"),
        ("ffffffff=1", "keyword"),
        ("RescaleSlope=1", "StudyDate"),
        ("SeriesDescription=x", "StudyDate"),
        ("RequestAttributesSequence.CodeMeaning=x", "."),
        ("includefield=NoSuchThing", "includefield"),
        ("fuzzymatching=maybe", "true or false"),
        ("PatientName=" + "*a" * 300, "wildcards"),
        ("PatientID=1&PatientID=2", "twice"),
        ("PatientID=a%00b", "NUL"),
        ("StudyDate=2026-01-02", "YYYYMMDD-YYYYMMDD"),
        ("StudyDate=tomorrow", "YYYYMMDD"),
        ("StudyDate=20260102-20260103-", "YYYYMMDD"),
        ("StudyTime=noon", "HHMMSS"),
        ("&".join(f"x{n}=1" for n in range(2000)), "parameters"),
    ],
)
async def test_a_bad_question_is_answered_with_what_is_wrong(filled, query, hint):
    started = time.process_time()
    response = await filled.get(f"/studies?{query}")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert hint in response.json()["detail"]
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "query",
    [
        "PatientName=" + "*" * 3000 + "race",
        "PatientName=" + "?" * 3000,
        "&".join(["includefield=00100010"] * 500),
        "includefield=" + ",".join(["00100010"] * 900),
        "PatientName=" + "*a" * 30,
        "StudyInstanceUID=" + ",".join(f"1.2.{n}" for n in range(5000)),
    ],
)
async def test_a_greedy_question_is_answered_soon(filled, query):
    started = time.process_time()
    response = await filled.get(f"/studies?{query}")
    assert response.status_code in (200, 400)
    assert time.process_time() - started < 1


async def test_an_unchanged_result_is_not_sent_again(filled):
    first = await filled.get("/studies")
    etag = first.headers["etag"]
    assert etag.startswith("W/")
    again = await filled.get("/studies", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    await filled.store(part10(a_data_set()))
    assert (await filled.get("/studies", headers={"If-None-Match": etag})).status_code == 200


async def test_answers_may_be_xml(filled, parts):
    accept = {"Accept": 'multipart/related; type="application/dicom+xml"'}
    response = await filled.get("/studies", headers=accept)
    found = parts(response)
    assert [media_type for media_type, _ in found] == ["application/dicom+xml"] * 3
    assert all(b"NativeDicomModel" in body for _, body in found)
    none = await filled.get("/studies?PatientID=nobody", headers=accept)
    assert parts(none) == []


async def test_a_form_we_do_not_have_is_not_acceptable(filled):
    response = await filled.get("/studies", headers={"Accept": "text/csv"})
    assert response.status_code == 406
    assert "application/dicom+json" in response.json()["detail"]


async def test_head_tells_the_length_without_the_body(filled):
    response = await filled.head("/studies", headers={"Accept-Encoding": "identity"})
    whole = await filled.get("/studies", headers={"Accept-Encoding": "identity"})
    assert response.content == b""
    assert response.headers["content-length"] == str(len(whole.content))


async def test_what_is_not_performed_is_said(filled):
    response = await filled.get("/studies?emptyvaluematching=true")
    assert "emptyvaluematching" in response.headers["warning"]


async def test_hostile_names_come_back_as_text(room):
    name = "<script>alert('x')</script>^=cmd|' /C calc'!A0"
    await room.store(part10(a_data_set(PatientName=name, PatientID="a'; DROP TABLE study;--")))
    (answer,) = (await room.get("/studies?PatientID=a'; DROP TABLE study;--")).json()
    assert answer["00100020"]["Value"] == ["a'; DROP TABLE study;--"]
    response = await room.get("/studies")
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_impossible_dates_do_not_break_searches(room):
    await room.store(part10(a_data_set(StudyDate="20269999")))
    response = await room.get("/studies?StudyDate=20200101-20261231")
    assert response.status_code == 200
    assert (await room.get("/studies?StudyDate=notadate")).status_code in (200, 400)
