"""services/outcomes.py: archive errors become DIMSE statuses."""

import pytest

from filmroom.archive.errors import ArchiveError, Refused
from filmroom.archive.records import Outcome
from filmroom.services import outcomes
from filmroom.services.outcomes import (
    C_STORE_OUTCOME,
    C_STORE_STATUS,
    QUERY_STATUS,
    RETRIEVE_STATUS,
    comment_of,
    status_of,
)

TABLES = [C_STORE_STATUS, QUERY_STATUS, RETRIEVE_STATUS]


@pytest.mark.parametrize("table", TABLES)
def test_every_archive_error_has_a_status(table):
    assert set(table) == set(ArchiveError.__subclasses__())


@pytest.mark.parametrize("table", TABLES)
def test_no_failure_is_told_as_success(table):
    for status in table.values():
        assert status >> 12 in (0xA, 0xC) or 0x0100 <= status < 0x0300


def test_every_outcome_has_a_status():
    assert set(C_STORE_OUTCOME) == set(Outcome)


def test_only_a_kept_first_is_a_warning():
    statuses = {outcome: status for outcome, (status, _) in C_STORE_OUTCOME.items()}
    assert statuses.pop(Outcome.KEPT_FIRST) == 0xB000
    assert set(statuses.values()) == {0x0000}


def test_a_kind_of_error_is_told_as_its_parent():
    class QuotaExceeded(Refused):
        pass

    assert status_of(QuotaExceeded("full"), C_STORE_STATUS) == 0x0124


def test_a_comment_fits_its_element_and_is_printable():
    comment = comment_of(Refused("é\r\nforged log line\\" + "x" * 100))
    assert len(comment) == 64
    assert comment.startswith("???forged log line?")


def test_comments_of_our_own_are_not_cut():
    for _, comment in C_STORE_OUTCOME.values():
        assert len(comment) <= 64


def test_every_status_that_can_be_sent_is_explained():
    for service, table in [("C-STORE", C_STORE_STATUS), ("C-FIND", QUERY_STATUS)]:
        assert set(table.values()) <= set(outcomes.MEANINGS[service])
    for service in ("C-MOVE", "C-GET"):
        assert set(RETRIEVE_STATUS.values()) <= set(outcomes.MEANINGS[service])
