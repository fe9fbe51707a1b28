"""filmroom.http: what all doors of the web say alike."""

import orjson
import pytest

from filmroom.archive.errors import ArchiveError, Away, NotHeld, Unavailable, said_of
from filmroom.dicomweb.stow_report import failed
from filmroom.http import accepts_gzip, of_archive, problem


@pytest.mark.parametrize(
    ("header", "welcome"),
    [
        ("gzip, deflate, br, zstd", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, br", False),
        ("gzip;q=1.0", True),
        ("deflate, gzip;q=0.5", True),
        ("br", False),
        ("*", True),
        ("*;q=0, gzip", True),
        ("gzip;q=0, *", False),
        ("GZIP", True),
        ("", False),
        (None, False),
    ],
)
def test_gzip_is_sent_only_where_it_is_welcome(header, welcome):
    assert accepts_gzip(header) is welcome


def test_a_problem_says_what_and_what_to_do():
    answer = problem(404, "look elsewhere", {"X-More": "1"}, where="there")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-more"] == "1"
    said = {"title": "Not Found", "status": 404, "detail": "look elsewhere", "where": "there"}
    assert orjson.loads(answer.body) == said
    assert orjson.loads(problem(404, "x", title="No Such Page").body)["title"] == "No Such Page"


def test_what_an_archive_error_keeps_to_itself_is_not_told():
    told = of_archive(NotHeld("no such study", detail="/secret/path"))
    assert told.status_code == 404
    assert b"secret" not in told.body
    assert "retry-after" not in told.headers
    assert of_archive(Unavailable("the disk is away")).headers["retry-after"] == "5"


def test_a_kind_that_is_in_no_table_is_told_as_its_nearest_ancestor():
    told = of_archive(Away("the store does not answer"))
    assert told.status_code == 503
    assert told.headers["retry-after"] == "5"
    assert failed(Away("the store does not answer")).reason == 0xA700
    assert said_of(ArchiveError("of no kind"), {NotHeld: 1}, 2) == 2
