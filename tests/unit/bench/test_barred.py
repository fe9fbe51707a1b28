"""bench/barred.py: how near a row is to its bar, and what is said of what stands in between."""

import barred
import pytest


def only(values):
    (found,) = barred.barred(values)
    return found


def test_rates_become_the_time_for_one_thing():
    found = only({"store-ct-1": {"filmroom": [250.0], "Orthanc": [200.0], "asker": [1000.0]}})
    assert (found.unit, found.bar, found.ours, found.limit) == ("ms", 2.0, 4.0, 1.0)
    assert found.near == pytest.approx(0.5)
    assert found.left == pytest.approx(1.0)


def test_what_has_to_be_kept_counts_more_than_what_is_forgotten():
    values = {"filmroom": [250.0], "Orthanc": [200.0], "asker": [1000.0], "least": [400.0]}
    found = only({"store-ct-1": values})
    assert found.limit == pytest.approx(2.5)
    assert found.verdict == barred.BEYOND


def test_of_two_that_forget_the_quicker_is_the_limit():
    values = {"filmroom": [100.0], "Orthanc": [200.0], "asker": [1000.0], "limit": [500.0]}
    assert only({"store-ct-1": values}).limit == pytest.approx(1.0)


def test_where_we_are_below_the_limit_it_is_none():
    found = only({"store-ct-1": {"filmroom": [500.0], "Orthanc": [300.0], "least": [400.0]}})
    assert found.limit == found.ours


def test_processor_time_of_a_server_that_forgets_is_no_limit():
    values = {"filmroom": [2.0], "Orthanc": [4.0], "asker": [0.2], "least": [0.9]}
    assert only({"cpu-ct-1": values}).limit == pytest.approx(0.9)
    del values["least"]
    assert only({"cpu-ct-1": values}).limit is None


@pytest.mark.parametrize(
    ("asker", "ours", "verdict"),
    [
        (0.1, 0.9, barred.REACHED),
        (1.1, 2.0, barred.BEYOND),
        (0.6, 2.0, barred.PARTLY),
        (0.4, 2.0, barred.OPEN),
    ],
)
def test_a_limit_excuses_only_what_it_explains(asker, ours, verdict):
    values = {"find-exact-10k": {"filmroom": [ours], "Orthanc": [13.0], "asker": [asker]}}
    assert only(values).verdict == verdict  # at most 1 ms is wanted
    assert ("ours" in barred.table(values)) == (verdict in (barred.PARTLY, barred.OPEN))


def test_without_orthanc_there_is_no_bar():
    assert barred.barred({"store-ct-1": {"filmroom": [250.0]}}) == []
