"""Log lines: one each, inert, and silent about patients."""

import io
import json
import logging
import warnings

import pytest

from filmroom import observe

HOSTILE = [
    "a\r\n2026-01-01 info forged",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "nul\x00",
    "\x9b31m",
    "line\u2028two",
]


@pytest.fixture
def log_to():
    root = logging.getLogger()
    kept = root.handlers[:], root.level

    def configured(form):
        stream = io.StringIO()
        observe.configure_logging(form, "debug", stream)
        return stream

    yield configured
    root.handlers[:], root.level = kept


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_stays_one_inert_line(log_to, form, text):
    stream = log_to(form)
    logging.getLogger("room").warning("from %s", text, extra={"calling_ae_title": text})
    said = stream.getvalue()
    assert said.count("\n") == 1
    assert said.endswith("\n")
    assert all(character.isprintable() for character in said[:-1])


def test_a_json_line_is_json(log_to):
    stream = log_to("json")
    logging.getLogger("room").info("stored", extra={"sop_instance_uid": "1.2", "seconds": 0.5})
    line = json.loads(stream.getvalue())
    assert (line["event"], line["sop_instance_uid"], line["seconds"]) == ("stored", "1.2", 0.5)
    assert line["time"].endswith("Z")


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_field_without_a_name_in_the_list_is_not_written(log_to, form):
    stream = log_to(form)
    logging.getLogger("room").info("stored", extra={"patient_name": "Hopper^Grace"})
    assert "Hopper" not in stream.getvalue()


@pytest.mark.parametrize("form", ["human", "json"])
def test_an_error_is_told_by_place_and_kind_without_its_text(log_to, form):
    stream = log_to(form)
    try:
        raise KeyError("Hopper^Grace")
    except KeyError:
        logging.getLogger("room").exception("a bug")
    said = stream.getvalue()
    assert "KeyError at" in said
    assert "test_observe.py" in said
    assert "Hopper" not in said


def test_the_request_is_named_in_every_line_written_for_it(log_to):
    stream = log_to("json")
    token = observe.request_id.set("abc")
    logging.getLogger("room").info("stored")
    observe.request_id.reset(token)
    assert json.loads(stream.getvalue())["request_id"] == "abc"


def test_a_long_text_is_cut(log_to):
    stream = log_to("human")
    logging.getLogger("room").info("x" * 1_000_000)
    assert len(stream.getvalue()) < 3000


def test_metrics_are_named_after_us_and_times_are_in_seconds():
    for family in observe.REGISTRY.collect():
        assert family.name.startswith(("filmroom_", "python_info"))
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_instances"))


def test_a_warning_of_python_is_a_line_like_any_other(log_to):
    stream = log_to("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        observe.configure_logging("json", "debug", stream)
        warnings.warn("a\nb", RuntimeWarning, stacklevel=1)
    logging.captureWarnings(False)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["level"] == "warning"
