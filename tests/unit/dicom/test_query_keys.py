"""PS3.4 C.2.2.2: the text of a key and what it matches."""

import pytest

from filmroom.dicom.match import AnyOf, Fuzzy, Range, Single, Wildcard
from filmroom.dicom.query import parse_match


@pytest.mark.parametrize(
    ("vr", "text", "match"),
    [
        ("LO", "", None),
        ("LO", "  \0", None),
        ("LO", "*", None),
        ("PN", "***", None),
        ("SQ", "x", None),
        ("OB", "x", None),
        ("LO", " 4711 ", Single("4711")),
        ("CS", "CT\\MR", AnyOf(("CT", "MR"))),
        ("CS", "CT\\", Single("CT")),
        ("CS", "C?", Wildcard("C?")),
        ("LO", "a" + "*" * 3000, Wildcard("a*")),
        ("UI", "1.2\\1.3", AnyOf(("1.2", "1.3"))),
        ("UI", "1.2*", Single("1.2*")),
        ("IS", "5*", Single("5*")),
        ("LT", "a\\b", Single("a\\b")),
        ("AT", "0010000d", Single("0010000D")),
        ("PN", "SMITH^JOHN", Single("SMITH^JOHN")),
        ("PN", "SMITH^^^", Single("SMITH")),
        ("PN", "SMI*^J", Wildcard("SMI*^J")),
        ("PN", "A =B^=", Single("A=B")),
        ("DA", "20200131", Single("20200131")),
        ("DA", "1993.08.22", Single("19930822")),
        ("DA", "20200101-20201231", Range("20200101", "20201231")),
        ("DA", "20200101 - 20201231", Range("20200101", "20201231")),
        ("DA", "20200101-", Range("20200101", None)),
        ("DA", "-20200101", Range(None, "20200101")),
        ("DA", "-", None),
        ("DA", "*", None),
        ("DA", "2020", Range("2020", "20201231")),
        ("DA", "20200101\\20200102", AnyOf(("20200101", "20200102"))),
        ("DA", "yesterday", Single("yesterday")),
        ("TM", "103000.123456", Single("103000.123456")),
        ("TM", "10:30", Range("1030", "103059.999999")),
        ("TM", "10-1130", Range("10", "113059.999999")),
        ("DT", "2019-2020", Range("2019", "20201231235959.999999")),
        ("DT", "20200101120000-0500", Single("20200101120000-0500")),
        ("DT", "20200101-0500-20200102-0500", Range("20200101-0500", "20200102-0500")),
        ("DT", "20200101-", Range("20200101", None)),
    ],
)
def test_keys_are_read(vr, text, match):
    assert parse_match("Keyword", vr, text) == match


def test_a_fuzzy_name_is_its_words():
    assert parse_match("PatientName", "PN", "*john smith^x=y*", fuzzy=True) == Fuzzy(
        ("john", "smith", "x", "y")
    )
    assert parse_match("PatientName", "PN", "^*", fuzzy=True) is None
    assert parse_match("PatientID", "LO", "a b", fuzzy=True) == Single("a b")
