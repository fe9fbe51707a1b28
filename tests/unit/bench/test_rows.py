"""bench/rows.py: the rows, and how one chooses some of them."""

import pytest
import rows


def test_rows_are_chosen_by_group_by_name_and_by_pattern():
    assert [row.key for row in rows.chosen(["rest"])] == ["start", "rss-idle"]
    assert {row.key for row in rows.chosen(["meta-*-cold", "stow"])} == {
        *("meta-500-cold", "meta-1000-cold", "stow-1", "stow-8"),
    }


def test_a_name_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="stroe"):
        rows.chosen(["store", "stroe"])


def test_there_is_work_for_every_group():
    import compare

    assert set(compare.WORK) == set(rows.GROUPS)


def test_titles_tell_the_rows_apart():
    titles = [row.title for row in rows.ROWS.values()]
    assert len(set(titles)) == len(titles)


def test_no_row_has_two_bars():
    assert not [r.key for r in rows.ROWS.values() if r.reach is not None and r.at_most is not None]


def test_the_rows_of_all_three_are_rows():
    assert len(rows.chosen(rows.ELSEWHERE)) > 20
