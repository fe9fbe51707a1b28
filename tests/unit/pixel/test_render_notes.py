"""Burnt-in annotation: what it says, where, and that no name becomes a row of boxes."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from filmroom.pixel import lettering
from filmroom.pixel.errors import BadParameter
from filmroom.pixel.lut import Window
from filmroom.pixel.notes import burn, notes_of, person_of
from filmroom.pixel.options import JPEG, PNG, RenderOptions, Viewport, parse_options
from filmroom.pixel.picture import Notes, picture_of
from golden_cases import SMALL, WHOLE, packaged, show

NAME = "00100010"
GREY = {
    tag: {"vr": "US", "Value": [value]}
    for tag, value in {"00280010": 64, "00280011": 64, "00280100": 8, "00280101": 8}.items()
}


def named(**groups) -> dict:
    return {NAME: {"vr": "PN", "Value": [groups]}}


def said(vr, value) -> dict:
    return {"vr": vr, "Value": [value]}


def notes(attributes, *kinds, window=None, frame=0) -> Notes:
    attributes = GREY | attributes
    options = RenderOptions(PNG, annotation=kinds, window=window)
    return notes_of(attributes, picture_of(attributes, frame), options, frame)


def test_the_patient_is_name_identifier_birth_date_and_sex():
    attributes = named(Alphabetic="Hopper^Grace^Brewster^Dr") | {
        "00100020": said("LO", "GH-1906"),
        "00100030": said("DA", "19061209"),
        "00100040": said("CS", "F"),
    }
    expected = ("Hopper, Grace Brewster", "GH-1906", "1906-12-09  F")
    assert notes(attributes, "patient").patient == expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}, "Yamada, Tarou"),
        (
            {"Alphabetic": "^", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"},
            "山田, 太郎",
        ),
        ({"Phonetic": "やまだ"}, "やまだ"),
        ({"Alphabetic": "Hopper"}, "Hopper"),
        ({}, ""),
    ],
)
def test_a_name_is_its_latin_group_when_it_has_one(groups, expected):
    assert person_of(named(**groups)) == expected


def test_an_unknown_patient_is_said_to_be_unknown():
    assert notes({}, "patient").patient == ("patient unknown",)
    assert notes({}, "technique").technique == ("technique unknown",)


def test_technique_is_how_it_was_made_and_how_it_is_shown():
    attributes = {
        "00080060": said("CS", "MR"), "00180015": said("CS", "HEAD"),
        "00180050": said("DS", "5.0"), "00180080": said("DS", "500"),
        "00180081": said("DS", "12.5"),
    }  # fmt: skip
    got = notes(attributes, "technique", window=Window(40, 400)).technique
    assert got == ("MR HEAD", "slice 5 mm", "TR 500 ms  TE 12.5 ms", "C 40  W 400")
    tube = {"00180060": said("DS", "120"), "00181151": said("IS", "170")}
    assert notes(tube, "technique").technique == ("120 kV  170 mA",)


def test_technique_of_an_enhanced_image_is_that_of_its_frame():
    def measures(thickness):
        inner = {"00180050": said("DS", str(thickness))}
        return {"00289110": {"vr": "SQ", "Value": [inner]}}

    attributes = {"52009230": {"vr": "SQ", "Value": [measures(1), measures(2)]}}
    assert notes(attributes, "technique", frame=0).technique == ("slice 1 mm",)
    assert notes(attributes, "technique", frame=1).technique == ("slice 2 mm",)
    shared = {"52009229": {"vr": "SQ", "Value": [measures(3)]}}
    assert notes(shared, "technique", frame=1).technique == ("slice 3 mm",)


def test_only_what_was_asked_for_is_said():
    assert notes(named(Alphabetic="X"), "technique").patient == ()
    assert notes(named(Alphabetic="X"), "patient").technique == ()


def written(annotation, options=WHOLE) -> tuple[np.ndarray, np.ndarray]:
    """A picture without and with its annotation."""
    image = packaged("MR2_UNCR.dcm")
    wish = replace(options, annotation=annotation)
    both = [np.asarray(Image.open(io.BytesIO(show(image, each)))) for each in (options, wish)]
    return both[0].astype(int), both[1].astype(int)


@pytest.mark.parametrize(("kind", "top"), [("patient", True), ("technique", False)])
def test_the_patient_is_above_and_technique_below(kind, top):
    without, with_it = written((kind,))
    rows, columns = np.nonzero(without != with_it)
    assert rows.size > 300
    assert columns.max() < 512
    assert (rows.max() < 256) if top else (rows.min() > 768)
    assert with_it[without != with_it].max() == 255


def test_annotation_is_on_the_part_that_is_shown():
    without, with_it = written(("patient",), replace(WHOLE, region=(0.5, 0.5, 1.0, 1.0)))
    assert with_it.shape == (512, 512)
    assert (without != with_it).any()


@pytest.mark.parametrize("size", [Viewport(40, 40), Viewport(500, 12), Viewport(20, 300)])
def test_a_picture_too_small_for_its_annotation_is_refused(size):
    with pytest.raises(BadParameter, match="too small"):
        burn(np.zeros((size.height, size.width), np.uint8), Notes(("Hopper, Grace", "ID", "x")))


def test_a_thumbnail_is_not_written_on():
    with pytest.raises(BadParameter, match="thumbnail"):
        parse_options({"annotation": "patient"}, JPEG, thumbnail=True)


@pytest.fixture
def bundled_only(monkeypatch):
    monkeypatch.setattr(lettering, "machine_fonts", lambda: ())


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Müller", "Muller"), ("Čapek", "Capek"), ("Łódź", "Lodz"), ("Strauß", "Strauss"),
        ("Ångström", "Angstrom"), ("5 µm", "5 um"), ("plain", "plain"),
        ("山田", "[U+5C71][U+7530]"), ("Ωμ", "[U+03A9]u"), ("a\nb\x07", "a b "),
        ("한", "[U+D55C]"),
    ],
)  # fmt: skip
def test_no_letter_becomes_a_box(bundled_only, text, drawn):
    assert lettering.font_for(text) == ("", drawn)
    assert all(lettering._has("", letter) for letter in drawn)


def test_a_font_of_the_machine_is_taken_when_it_has_all_letters(monkeypatch):
    fonts = lettering.machine_fonts()
    able = [path for path in fonts if all(lettering._has(path, letter) for letter in "Щукин")]
    if not able:
        pytest.skip("no font with Cyrillic letters is installed")
    assert lettering.font_for("Щукин") == (able[0], "Щукин")
    assert lettering.width_of("Щукин", 20) > 20


def test_a_name_in_letters_of_no_font_is_still_told_apart(bundled_only):
    pictures = [
        burn(np.zeros((200, 400), np.uint8), Notes((name,))) for name in ("山田", "山口", "")
    ]
    assert pictures[0].any()
    assert (pictures[0] != pictures[1]).any()


def test_text_fits_where_it_is_put():
    lines = ["a long line of text", "short"]
    for width, height in ((400, 200), (120, 60), (60, 40)):
        size = lettering.fitting(lines, 40, width, height)
        assert size >= lettering.SMALLEST
        assert max(lettering.width_of(line, size) for line in lines) <= width
        assert 2 * size * lettering.SPACING <= height + 1
    assert lettering.fitting(lines, 40, 20, 100) == 0


def test_colour_pictures_are_written_on_too():
    image = packaged("US1_UNCR.dcm")
    wish = replace(SMALL, viewport=Viewport(400, 400), annotation=("patient",))
    shown = np.asarray(Image.open(io.BytesIO(show(image, wish))))
    assert shown.shape == (300, 400, 3)
