"""Matching (PS3.4 C.2.2.2) by the index against a plain model of it, on both engines."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from filmroom.archive.records import Query
from filmroom.dicom.match import AnyOf, Fuzzy, Items, Range, Single, Wildcard
from filmroom.dicom.models import Level
from filmroom.dicom.tags import BY_KEYWORD
from index_rows import an_instance, value

# -- the model ---------------------------------------------------------------------------


def folded(text):
    text = unicodedata.normalize("NFD", text.casefold())
    return unicodedata.normalize("NFC", "".join(c for c in text if not 0x300 <= ord(c) <= 0x36F))


def groups(name):
    every = [folded(g) for v in name.split("\\") for g in v.split("=")]
    stripped = ["^".join(c.strip() for c in g.split("^")).rstrip("^") for g in every]
    return [g for g in stripped if g] or [""]


def like(pattern, text):
    expression = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def like_name(pattern, group):
    """Trailing carets say nothing: a name may be followed by any number of them."""
    pattern = groups(pattern)[0]
    return any(
        like(pattern[:end], group)
        for end in range(len(pattern) + 1)
        if end == len(pattern) or (pattern[end] == "^" and not pattern[end:].strip("^*"))
    )


def seconds(time, last=False):
    whole, _, fraction = time.partition(".")
    whole += ("235959" if last else "000000")[len(whole) :]
    return whole + "." + fraction.ljust(6, "9" if last else "0")


def fits(vr, stored, match):
    stored = stored or ""
    if vr == "PN":
        if isinstance(match, Fuzzy):
            words = re.split(r"[\W_]+", folded(stored))
            starts = [w for text in match.words for w in re.split(r"[\W_]+", folded(text)) if w]
            return all(any(word.startswith(start) for word in words) for start in starts)
        if isinstance(match, Single):
            return all(w in groups(stored) for w in groups(match.value) if w)
        if isinstance(match, Wildcard):
            parts = [part for part in match.pattern.split("=") if part.strip("^ ")]
            return all(any(like_name(p, g) for g in groups(stored)) for p in parts)
        wanted = [g for v in match.values for g in groups(v) if g]
        return not wanted or any(g in groups(stored) for g in wanted)
    several = [v.strip() for v in stored.split("\\")]
    match match:
        case Single(wanted):
            if vr == "TM":
                return stored != "" and seconds(stored) == seconds(wanted)
            return wanted in several
        case AnyOf(wanted):
            return any(v in several for v in wanted)
        case Wildcard(pattern):
            return not pattern.strip() or any(like(pattern.strip(), v) for v in several)
        case Range(first, last):
            if not stored:
                return False
            if vr == "TM":
                first = first and seconds(first)
                return (not first or first <= seconds(stored)) and (
                    not last or seconds(stored) <= seconds(last, last=True)
                )
            return (not first or first <= stored) and (not last or stored <= last)


# -- random archives and queries ------------------------------------------------------------

WORDS = (
    "doe",
    "DOE",
    "Müller",
    "MULLER",
    "O'Neil",
    "ann",
    "Anna",
    "a%b",
    "x_y",
    "[z]",
    "李",
    "山田",
)
COMPONENT = st.sampled_from((*WORDS, "", "de la Cruz", "doe ann"))
GROUP = st.lists(COMPONENT, min_size=1, max_size=3).map("^".join)
NAME = st.one_of(
    GROUP, st.tuples(GROUP, GROUP).map("=".join), st.tuples(GROUP, GROUP).map("\\".join)
)
TEXT = st.sampled_from(("", "A1", "a1", "A12", "A%", "A_", "A[1]", "A1\\B2", "B2", "A*", "x!y"))
DAYS = ("20260101", "20260102", "20260210", "20270101")
DAY, DATE = st.sampled_from(DAYS), st.sampled_from(("", *DAYS))
TIMES = ("09", "0930", "093000", "093000.5", "093015.25", "10", "235959.999999")
CLOCK, TIME = st.sampled_from(TIMES), st.sampled_from(("", *TIMES))
PATIENTS = st.lists(
    st.fixed_dictionaries({"PatientName": NAME, "PatientSex": TEXT}), min_size=1, max_size=3
)
STUDY = {
    "StudyDate": DATE,
    "StudyTime": TIME,
    "AccessionNumber": TEXT,
    "StudyDescription": TEXT,
    "ReferringPhysicianName": NAME,
}
SERIES = {"Modality": st.sampled_from(("", "CT", "MR", "CR")), "PerformingPhysicianName": NAME}
STUDIES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.fixed_dictionaries(STUDY),
        st.lists(st.fixed_dictionaries(SERIES), min_size=1, max_size=2),
    ),
    min_size=3,
    max_size=6,
)


@st.composite
def patterns(draw, texts):
    """A text that is stored somewhere, with a piece of it replaced by wild cards."""
    text = draw(texts)
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    wild = draw(st.sampled_from(("*", "?", "*", "??", "")))
    tail = draw(st.sampled_from(("", "*", "^*", "^", "")))
    return draw(st.sampled_from(("", "*"))) + text[:start] + wild + text[end:] + tail


ASKED = st.sampled_from(("A1", "a1", "A12", "A%", "A_", "A[1]", "B2", "x!y"))
NAME_MATCH = st.one_of(
    GROUP.map(Single),
    st.tuples(GROUP, GROUP).map("=".join).map(Single),
    patterns(GROUP).map(Wildcard),
    COMPONENT.map(lambda c: Wildcard(f"*{c}*")),
    st.lists(GROUP, min_size=1, max_size=3).map(lambda v: AnyOf(tuple(v))),
    st.lists(st.sampled_from((*WORDS, "d", "mü", "cr")), min_size=1, max_size=2).map(
        lambda v: Fuzzy(tuple(v))
    ),
)
TEXT_MATCH = st.one_of(
    ASKED.map(Single),
    st.lists(ASKED, min_size=1, max_size=3).map(lambda v: AnyOf(tuple(v))),
    patterns(ASKED).map(Wildcard),
)


def ranges(values):
    return st.one_of(
        values.map(lambda first: Range(first, None)),
        values.map(lambda last: Range(None, last)),
        st.tuples(values, values).map(lambda ends: Range(*ends)),
    )


MATCH = {
    "PatientName": NAME_MATCH,
    "ReferringPhysicianName": NAME_MATCH,
    "PatientSex": TEXT_MATCH,
    "AccessionNumber": TEXT_MATCH,
    "StudyDescription": TEXT_MATCH,
    "StudyDate": st.one_of(ranges(DAY), DAY.map(Single)),
    "StudyTime": st.one_of(ranges(CLOCK), CLOCK.map(Single)),
    "ModalitiesInStudy": st.sampled_from(
        (Single("CT"), AnyOf(("CR", "MR")), Wildcard("?R"), Wildcard("*"))
    ),
    "PerformingPhysicianName": NAME_MATCH,
    "Modality": st.sampled_from((Single("CT"), Wildcard("C*"))),
}
MATCHES = st.lists(st.sampled_from(sorted(MATCH)), min_size=1, max_size=2, unique=True).flatmap(
    lambda keywords: st.fixed_dictionaries({keyword: MATCH[keyword] for keyword in keywords})
)


def instances_of(patients, studies):
    made = []
    for n, (patient, study, series) in enumerate(studies):
        patient %= len(patients)
        for m, one in enumerate(series):
            made.append(
                an_instance(
                    PatientID=f"P{patient}",
                    StudyInstanceUID=f"1.{n}",
                    SeriesInstanceUID=f"1.{n}.{m}",
                    SOPInstanceUID=f"1.{n}.{m}.1",
                    **patients[patient],
                    **study,
                    **one,
                )
            )
    return made


UNIQUE = {Level.PATIENT: "PatientID", Level.STUDY: "StudyInstanceUID"}


def expected(made, query):
    """Unique keys of the answers: some series below (or at) each fits all of the query."""

    def keys_of(new):
        return {**new.patient.keys, **new.study.keys, **new.series.keys, **new.instance.keys}

    def series_fit(new):
        keys = keys_of(new)
        studys = [m for m in made if m.study.uid == new.study.uid]
        for keyword, match in query.matches.items():
            if keyword == "ModalitiesInStudy":
                modalities = [m.series.keys["Modality"] for m in studys]
                if match != Wildcard("*") and not any(
                    fits("CS", m, match) for m in modalities if m
                ):
                    return False
            elif not fits(BY_KEYWORD[keyword].vr, keys.get(keyword), match):
                return False
        return True

    unique = UNIQUE.get(query.level, "SeriesInstanceUID")
    found = dict.fromkeys(keys_of(new)[unique] for new in made if series_fit(new))
    if query.level is not Level.STUDY or not query.newest_first:
        return sorted(found)
    arrival = {new.study.uid: n for n, new in enumerate(made)}
    when = {}
    for new in made:
        time = new.study.keys["StudyTime"]
        when[new.study.uid] = (new.study.keys["StudyDate"], time and seconds(time))
    return sorted(found, key=lambda uid: (*when[uid], arrival[uid]), reverse=True)


def answers(found, level):
    unique = UNIQUE.get(level, "SeriesInstanceUID")
    part = {"PatientID": "patient", "StudyInstanceUID": "study"}.get(unique, "series")
    return [value(getattr(one, part), unique) for one in found]


@settings(
    max_examples=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # the assertion names the query
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    PATIENTS,
    STUDIES,
    st.lists(st.tuples(st.sampled_from(Level), st.booleans(), MATCHES), min_size=30, max_size=30),
)
def test_search_agrees_with_a_plain_model_of_matching(index, patients, studies, queries):
    index.clear()
    made = instances_of(patients, studies)
    index.add(made)
    for level, newest_first, matches in queries:
        query = Query(level, matches, newest_first=newest_first)
        wanted = expected(made, query)
        assert answers(index.search(query), level) == wanted, query
        assert index.count(query) == len(wanted)
        chunks = list(index.search_iter(query, chunk=2))
        assert [a for chunk in chunks for a in answers(chunk, level)] == wanted


# -- examples worth reading ------------------------------------------------------------------


@pytest.fixture
def find(index):
    """Store one study per row of attributes; find('StudyDate', match) -> their numbers."""

    def store(*rows, sequences=()):
        for n, attributes in enumerate(rows):
            index.add(
                [
                    an_instance(
                        PatientID=attributes.pop("PatientID", f"P{n}"),
                        StudyInstanceUID=f"1.{n}",
                        SeriesInstanceUID=f"1.{n}.1",
                        SOPInstanceUID=f"1.{n}.1.1",
                        sequences=sequences[n] if sequences else None,
                        **attributes,
                    )
                ]
            )

        def search(level=Level.STUDY, combined_datetime=False, **matches):
            query = Query(level, matches, newest_first=False, combined_datetime=combined_datetime)
            return [int(value(f.study, "StudyInstanceUID")[2:]) for f in index.search(query)]

        return search

    return store


def test_names_are_found_without_case_accents_and_trailing_carets(find):
    search = find(
        {"PatientName": "Müller^Änne"}, {"PatientName": "MULLER^ANNE^^"}, {"PatientName": "Mull"}
    )
    assert search(PatientName=Single("muller^anne^")) == [0, 1]
    assert search(PatientName=Wildcard("MÜL*")) == [0, 1, 2]
    assert search(PatientName=Wildcard("MULL^*")) == [2]
    assert search(PatientName=Wildcard("*ller*")) == [0, 1]
    assert search(PatientName=Fuzzy(("ann", "mul"))) == [0, 1]


def test_names_are_found_by_each_component_group(find):
    search = find(
        {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        {"PatientName": "=李^四"},
        {"PatientName": "Yamada^Jirou"},
    )
    assert search(PatientName=Single("山田^太郎")) == [0]
    assert search(PatientName=Wildcard("山*")) == [0]
    assert search(PatientName=Wildcard("*太郎")) == [0]
    assert search(PatientName=Wildcard("yamada*=山田*")) == [0]
    assert search(PatientName=Wildcard("やまだ*")) == [0]
    assert search(PatientName=Single("李^四")) == [1]
    assert search(PatientName=Fuzzy(("たろ",))) == [0]


def test_a_pattern_of_nothing_but_signs_is_not_everything(find):
    search = find({"PatientName": "doe"}, {"PatientName": ""}, {"PatientName": "^ann"})
    assert search(PatientName=Wildcard("^*")) == [1, 2]
    assert search(PatientName=Wildcard("*^*")) == [0, 1, 2]
    assert search(PatientName=Wildcard("**")) == [0, 1, 2]


def test_other_text_is_found_with_regard_to_case(find):
    search = find({"AccessionNumber": "a1"}, {"AccessionNumber": "A1"}, {"AccessionNumber": "A%"})
    assert search(AccessionNumber=Single("A1")) == [1]
    assert search(AccessionNumber=Wildcard("A*")) == [1, 2]
    assert search(AccessionNumber=Wildcard("?%")) == [2]


def test_any_value_of_several_may_match(find):
    search = find({"PatientID": "A\\B"}, {"StationName": "S1\\S2"}, {"StationName": "S3"})
    assert search(PatientID=Single("B")) == [0]
    assert search(StationName=Single("S2")) == [1]
    assert search(StationName=Wildcard("S*")) == [1, 2]


def test_times_compare_as_times(find):
    search = find({"StudyTime": "093000.000"}, {"StudyTime": "0930"}, {"StudyTime": "09:30:15"})
    assert search(StudyTime=Range("0930", "0930")) == [0, 1, 2]
    assert search(StudyTime=Range("0930", "093000")) == [0, 1]
    assert search(StudyTime=Single("093000")) == [0, 1]
    assert search(StudyTime=Range("093001", None)) == [2]
    assert search(StudyTime=Range(None, "0929")) == []


def test_a_range_does_not_find_what_has_no_date(find):
    search = find({"StudyDate": ""}, {"StudyDate": "20260101"}, {"StudyDate": "2026.01.02"})
    assert search(StudyDate=Range(None, "20261231")) == [1, 2]
    assert search(StudyDate=Range("20260102", None)) == [2]
    assert search(StudyDate=Single("20260102")) == [2]


def test_date_and_time_may_be_one_range(find):
    days = [("20260101", "08"), ("20260101", "12"), ("20260102", "03"), ("20260102", "20")]
    search = find(*({"StudyDate": d, "StudyTime": t} for d, t in days))
    matches = {"StudyDate": Range("20260101", "20260102"), "StudyTime": Range("10", "1930")}
    assert search(**matches) == [1]
    assert search(combined_datetime=True, **matches) == [1, 2]
    since = {"StudyDate": Range("20260101", None), "StudyTime": Range("10", None)}
    assert search(combined_datetime=True, **since) == [1, 2, 3]
    until = {"StudyDate": Range(None, "20260102"), "StudyTime": Range(None, "0300")}
    assert search(combined_datetime=True, **until) == [0, 1, 2]


def test_a_star_alone_matches_what_is_missing_too(find):
    search = find({"StudyDescription": ""}, {"StudyDescription": "x"})
    assert search(StudyDescription=Wildcard("*")) == [0, 1]
    assert search(StudyDescription=Wildcard("?*")) == [1]


def test_numbers_are_compared_as_numbers_are_written(find):
    search = find({"SeriesNumber": "007"}, {"SeriesNumber": "7"}, {"SeriesNumber": "70"})
    assert search(SeriesNumber=Single(" 7")) == [0, 1]


def test_one_item_of_a_sequence_must_match_all_keys(find):
    def item(step, procedure):
        return {
            "00400009": {"vr": "SH", "Value": [step]},
            "00401001": {"vr": "SH", "Value": [procedure]},
        }

    search = find(
        {},
        {},
        {},
        sequences=[
            {"RequestAttributesSequence": [item("S1", "R1"), item("S2", "R2")]},
            {"RequestAttributesSequence": [item("S1", "R2")]},
            {"ProcedureCodeSequence": [{"00080100": {"vr": "SH", "Value": ["S1"]}}]},
        ],
    )

    def request(**keys):
        return {"RequestAttributesSequence": Items(keys)}

    step, procedure = "ScheduledProcedureStepID", "RequestedProcedureID"
    assert search(Level.SERIES, **request(**{step: Single("S1")})) == [0, 1]
    assert search(Level.SERIES, **request(**{step: Single("S1"), procedure: Single("R2")})) == [1]
    assert search(Level.STUDY, **request(**{step: Wildcard("S*"), procedure: Single("R1")})) == [0]
    assert search(Level.STUDY, **request(ScheduledProcedureStepLocation=Single("X"))) == [0, 1, 2]
    assert search(ProcedureCodeSequence=Items({"CodeValue": Single("S1")})) == [2]


def test_studies_are_found_by_what_is_in_them(find):
    search = find(
        {"SOPClassUID": "1.2.3"}, {"Modality": "MR"}, {"Modality": "SR", "StationName": "X"}
    )
    assert search(SOPClassesInStudy=AnyOf(("1.2.3", "1.2.4"))) == [0]
    assert search(ModalitiesInStudy=Single("MR")) == [1]
    assert search(ModalitiesInStudy=AnyOf(("MR", "SR"))) == [1, 2]
    assert search(Modality=Single("SR"), StationName=Single("X")) == [2]
    assert search(Modality=Single("MR"), StationName=Single("X")) == []
    assert search(Level.SERIES, ModalitiesInStudy=Single("CT")) == [0]


def test_what_is_not_matched_here_is_the_callers_to_refuse(index):
    for matches in ({"Rows": Single("1")}, {"PatientID": Items({})}, {"StudyID": Fuzzy(("a",))}):
        with pytest.raises(ValueError):
            index.search(Query(Level.STUDY, matches))


def test_more_rows_than_are_narrow_are_walked_in_order(index, monkeypatch):
    monkeypatch.setattr("filmroom.index.finding.NARROW", 3)
    for n in range(10):
        index.add(
            [
                an_instance(
                    PatientID=f"P{n}",
                    PatientName=f"Smith^{n % 2}" if n < 8 else "Doe",
                    AccessionNumber="A1",
                    StudyInstanceUID=f"1.{n}",
                    SeriesInstanceUID=f"1.{n}.1",
                    SOPInstanceUID=f"1.{n}.1.1",
                    StudyDate=f"202601{n + 1:02}",
                )
            ]
        )

    def search(limit=None, **matches):
        found = index.search(Query(Level.STUDY, matches, limit=limit))
        return [int(value(f.study, "StudyInstanceUID")[2:]) for f in found]

    assert search(PatientName=Wildcard("SMI*")) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert search(PatientName=Wildcard("*mith*"), limit=2) == [7, 6]
    assert search(PatientName=Fuzzy(("smi",)), AccessionNumber=Single("A1"), limit=1) == [7]
    assert search(PatientName=Wildcard("SMI*"), StudyDate=Range("20260103", "20260104")) == [3, 2]
    assert search(AccessionNumber=Wildcard("A*"), PatientID=Single("P5")) == [5]
