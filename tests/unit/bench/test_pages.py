"""bench/plot.py and bench/figures.py: the plot, and the pages that quote the results."""

import json
from xml.etree import ElementTree

import figures
import plot
import pytest
import report

VALUES = {
    "store-ct-1": {"filmroom": [250.0], "Orthanc": [100.0]},  # as wanted
    "store-ct-8": {"filmroom": [150.0], "Orthanc": [100.0]},  # ahead, but not as wanted
    "wado-1": {"filmroom": [80.0], "Orthanc": [100.0]},  # behind
    "rss-idle": {"filmroom": [100.0], "Orthanc": [25.0]},
}
COMPARE = {
    "day": "2026-01-02",
    "versions": {
        "filmroom": "1",
        "Orthanc": "Orthanc 1.10.1",
        "machine": "2 x CPU",
        "kernel": "6",
        "Python": "3.11",
    },
    "values": VALUES,
}
SVG = "{http://www.w3.org/2000/svg}"


def test_the_plot_is_an_image_with_a_bar_for_every_ratio():
    image = ElementTree.fromstring(plot.svg(report.lines(VALUES), "a < b & c"))
    bars = [bar.get("class") for bar in image.iter(f"{SVG}rect")]
    assert bars == ["reached", "ahead", "behind", "behind"]
    assert "a < b & c" in [text.text for text in image.iter(f"{SVG}text")]


def test_bars_grow_with_the_logarithm_and_stay_on_the_paper():
    assert plot.x(100) - plot.x(10) == pytest.approx(plot.x(10) - plot.x(1))
    assert plot.x(1e9) == plot.x(plot.MOST) == plot.LABEL + plot.PLOT
    assert plot.x(1e-9) == plot.x(plot.LEAST) == plot.LABEL


def test_every_row_is_told_where_it_belongs():
    parts = figures.blocks({"compare": COMPARE})
    assert "C-STORE CT, 1 association " in parts["leads"]
    assert "C-STORE CT, 8 associations" in parts["short"]
    assert "WADO-RS study of 500 CT, 1 client" in parts["behind"]
    assert "memory of an idle server" in parts["alone"]
    assert "C-STORE CT, 8 associations" not in parts["leads"]


def test_a_page_is_filled_between_its_marks_and_nowhere_else():
    page = "before\n\n[figures-how]: # (from)\n\nold\n\n[figures-end]: # (to)\n\nafter\n"
    new = figures.filled(page, {"how": "new\n"})
    assert new == page.replace("old", "new")
    assert figures.filled(new, {"how": "new\n"}) == new


def test_a_mark_of_an_unknown_name_is_an_error():
    with pytest.raises(KeyError):
        figures.filled("[figures-hwo]: # (from)\n\nold\n\n[figures-end]: # (to)\n", {"how": ""})


def test_the_pages_say_what_the_results_say():
    assert not figures.write(check=True), "bench/figures.py writes them"


def test_kept_results_can_be_read_again():
    for path in figures.RESULTS.glob("*.json"):
        assert json.loads(path.read_text())["day"]
