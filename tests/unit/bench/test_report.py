"""bench/report.py: what the figures of a bench say."""

import pytest
import report
import rows

FAST, SLOW = "store-ct-1", "find-75"  # more is better, less is better


def summed(key, ours, theirs, **more):
    return report.line(rows.ROWS[key], {"filmroom": ours, "Orthanc": theirs} | more)


def test_a_ratio_is_how_many_times_better_whichever_way_better_is():
    assert summed(FAST, [300], [100]).ratio == 3
    assert summed(SLOW, [10], [50]).ratio == 5


def test_the_ratio_is_that_of_the_medians_and_the_spread_that_of_single_rounds():
    line = summed(FAST, [100, 300, 320], [100, 100, 160])
    assert (line.ours, line.theirs, line.ratio) == (300, 100, 3)
    assert (line.low, line.high) == (1, 3)


def test_a_row_counts_as_reached_at_what_is_wanted_and_not_below():
    assert rows.ROWS[FAST].needed == 2.5
    assert summed(FAST, [250], [100]).reached is True
    assert summed(FAST, [249], [100]).reached is False


def test_the_lead_of_the_newer_orthanc_raises_what_is_wanted():
    row = rows.ROWS["meta-500-warm"]
    assert row.needed == pytest.approx(row.reach * row.newest) == pytest.approx(156)
    assert rows.Row("x", "g", "t", "/s", reach=2, newest=0.5).needed == 2, "an older lead does not"


def test_a_bar_of_our_own_needs_nobody_else():
    assert summed("rss-idle", [100], [25]).reached is True
    assert summed("rss-idle", [130], [25]).reached is False
    assert summed("thumb-1", [100], []).reached is None


def test_the_table_has_a_line_for_each_row_that_was_measured():
    values = {
        FAST: {"filmroom": [250.0], "Orthanc": [100.0], "limit": [870.0]},
        "thumb-1": {"filmroom": [95.0]},
    }
    head, _, first, second = report.table(report.lines(values)).splitlines()
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[1:] == ["250", "100", "**2.50x**", "2.50x to 2.50x", "2.50x", "yes", "870"]
    assert head.count("|") == first.count("|") == second.count("|")
    assert second.startswith("| thumbnail, 1 client, /s | 95 |")


@pytest.mark.parametrize(("now", "is_slower"), [(200, False), (161, False), (159, True)])
def test_slower_is_what_lost_more_than_a_fifth_of_its_ratio(now, is_slower):
    kept = {FAST: {"filmroom": [200], "Orthanc": [100]}}
    measured = {FAST: {"filmroom": [now], "Orthanc": [100]}}
    assert [each.row.key for each in report.slower(kept, measured)] == [FAST] * is_slower


def test_a_slower_machine_is_no_slower_filmroom():
    kept = {FAST: {"filmroom": [200], "Orthanc": [100]}}
    assert not report.slower(kept, {FAST: {"filmroom": [100], "Orthanc": [50]}})


def test_memory_is_compared_by_itself():
    kept = {"rss-idle": {"filmroom": [100], "Orthanc": [25]}}
    assert not report.slower(kept, {"rss-idle": {"filmroom": [110], "Orthanc": [15]}})
    (found,) = report.slower(kept, {"rss-idle": {"filmroom": [140], "Orthanc": [50]}})
    assert found.factor == pytest.approx(100 / 140)


def test_rows_that_only_one_run_has_are_not_compared():
    kept = {SLOW: {"filmroom": [1], "Orthanc": [100]}}
    assert not report.slower(kept, {FAST: {"filmroom": [1], "Orthanc": [100]}})
    assert not report.slower(kept, {SLOW: {"filmroom": [9]}})


def test_the_worst_comes_first():
    kept = {key: {"filmroom": [10], "Orthanc": [100]} for key in (FAST, "stow-1")}
    measured = {
        FAST: {"filmroom": [5], "Orthanc": [100]},
        "stow-1": {"filmroom": [2], "Orthanc": [100]},
    }
    assert [each.row.key for each in report.slower(kept, measured)] == ["stow-1", FAST]


def test_rounds_are_counted_and_not_believed():
    assert report.rounds({FAST: {"filmroom": [1, 2]}, SLOW: {"filmroom": [3, 4]}}) == "2"
    assert report.rounds({FAST: {"filmroom": [1, 2]}, SLOW: {"filmroom": [3]}}) == "1 to 2"


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.359, "0.359"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_figures_have_the_digits_that_count(value, text):
    assert report.figure(value) == text


def test_the_table_of_three_has_a_ratio_to_each_of_the_other_two():
    values = {
        FAST: {"elsewhere": [100.0, 120.0], "filmroom": [200.0, 200.0], "Orthanc": [50.0, 60.0]},
        SLOW: {"filmroom": [1.0], "Orthanc": [5.0]},
        "get-1": {"elsewhere": [10.0], "filmroom": [20.0]},
    }
    _, _, first, second = report.elsewhere(values).splitlines()
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[1:4] == ["110", "200", "55"]
    assert cells[4:] == ["**0.55x**", "0.50x to 0.60x", "**2.00x**", "2.00x to 2.00x"]
    assert second.count("|") == first.count("|"), "a server that was not measured leaves blanks"
