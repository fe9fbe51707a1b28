"""Structured Reports as pages: nothing of their content is missing, nothing of it is markup."""

import html
import os
import re
import shutil
import string
import subprocess
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from documents import (
    COMPREHENSIVE_3D_SR,
    KEY_OBJECTS,
    a_report,
    code,
    item,
    new_uid,
    number,
    reference,
    text,
)
from filmroom.acquire.sample_report import fill_report
from filmroom.dicom.part10 import parse_meta
from filmroom.documents import report, work
from filmroom.documents.markup import VOID
from filmroom.pixel.errors import TooLarge, Undecodable
from instances import part10
from packaged import FOLDERS

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
MM = ("mm", "UCUM", "millimeter")


def data_set(file: bytes) -> tuple[bytes, str]:
    meta = parse_meta(file)
    return file[meta.data_set_offset :], meta.transfer_syntax_uid


def page(ds_or_file, links=None, media_type="text/html") -> str:
    file = ds_or_file if isinstance(ds_or_file, bytes) else part10(ds_or_file)
    return work.report(*data_set(file), media_type, links or {}).decode()


def plain(ds_or_file) -> str:
    return page(ds_or_file, media_type="text/plain")


class Read(HTMLParser):
    """What a browser would see of a page: elements, attributes, text; every tag closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(markup)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def everything() -> Dataset:
    """A report with every value type there is."""
    region = item("SCOORD", "Outline", "INFERRED FROM", GraphicType="POLYLINE")
    region.GraphicData = [1.5, 2, 30.25, 4]
    region.ContentSequence = Sequence(
        [item("IMAGE", how="SELECTED FROM", ReferencedSOPSequence=reference(CT, "1.2.3.4", [3, 7]))]
    )
    space = item("SCOORD3D", "Place", GraphicType="POINT", ReferencedFrameOfReferenceUID="1.2.9")
    space.GraphicData = [-10.5, 20, 33]
    moment = item("TCOORD", "Moment", TemporalRangeType="SEGMENT")
    moment.ReferencedTimeOffsets = ["1.5", "2.75"]
    nothing = item("NUM", "Volume", MeasuredValueSequence=Sequence())
    nothing.NumericValueQualifierCodeSequence = code("114006", "DCM", "Measurement failure")
    again = Dataset()
    again.RelationshipType, again.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 3, 1]
    wave = item("WAVEFORM", "Trace")
    wave.ReferencedSOPSequence = reference("1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3.6")
    wave.ReferencedSOPSequence[0].ReferencedWaveformChannels = [1, 2]
    return a_report(
        item("CODE", "Language", "HAS CONCEPT MOD", ConceptCodeSequence=code("de", "X", "Deutsch")),
        item("PNAME", "Observer", "HAS OBS CONTEXT", PersonName="Lovelace^Ada^^Dr."),
        item(
            "CONTAINER",
            "Findings",
            children=[
                number("Diameter", "12.5", MM, children=[region]),
                text("Impression", "Nodule.\nFollow up in 3 months."),
                item("CODE", "Site", ConceptCodeSequence=code("3341006", "SCT", "Right lung")),
                nothing,
                space,
                moment,
            ],
        ),
        item(
            "CONTAINER",
            "Story",
            continuity="CONTINUOUS",
            children=[text("", "A mass of"), number("Size", "3", MM), text("", "was seen.")],
        ),
        item("DATE", "Seen on", Date="20260102"),
        item("TIME", "Seen at", Time="101112.5"),
        item("DATETIME", "Told", DateTime="20260102101112+0100"),
        item("UIDREF", "Tracking", UID="1.2.3.99"),
        item("COMPOSITE", "Prior", ReferencedSOPSequence=reference(MR, "1.2.3.5")),
        wave,
        text("Conclusion", "Benign.", children=[again]),
        sop_class_uid=COMPREHENSIVE_3D_SR,
    )


SHOWN = """Chest CT|Hopper, Grace|GH-1906|1906-12-09|COMPLETE|UNVERIFIED|2026-01-03 08:15:00
Language|Deutsch|Observer|Lovelace, Dr. Ada|Findings|Diameter|12.5 mm|Outline
Polyline: (1.5, 2) (30.25, 4)|Impression|Nodule.|Follow up in 3 months.|Site|Right lung|Volume
Measurement failure|Point: (-10.5, 20, 33) mm|Segment: 1.5, 2.75 s|2026-01-02|10:11:12.5
2026-01-02 10:11:12 +01:00|1.2.3.99|MR Image|CT Image|Conclusion|Benign.|item 1.3.1|1/2"""


@pytest.mark.parametrize("make", [page, plain])
def test_every_type_of_value_is_shown(make):
    made = make(everything())
    shown = Read(made).text if make is page else made
    for words in SHOWN.replace("\n", "|").split("|"):
        assert words in shown, words


def test_what_is_continuous_is_one_line_of_running_text():
    assert "A mass of 3 mm was seen." in Read(page(everything())).text
    assert "A mass of 3 mm was seen." in plain(everything())


def test_an_image_in_running_text_is_a_link_within_the_line():
    image = item("IMAGE", ReferencedSOPSequence=reference(CT, "1.2.7"))
    story = item("CONTAINER", continuity="CONTINUOUS", children=[text("", "See"), image])
    read = Read(page(a_report(story), {"1.2.7": "/x"}))
    assert ("a", "href", "/x/rendered") in read.attributes
    assert "figure" not in read.elements  # it would end the paragraph


def test_an_item_that_points_to_another_leads_there():
    read = Read(page(everything()))
    assert ("a", "href", "#item-1.3.1") in read.attributes
    assert [name for tag, name, value in read.attributes if value == "item-1.3.1"] == ["id"]


def test_only_what_is_held_is_a_link():
    held = "/dicom-web/studies/1.2/series/1.3/instances/1.2.3.4"
    read = Read(page(everything(), {"1.2.3.4": held}))
    links = {value for tag, name, value in read.attributes if tag == "a" and name == "href"}
    assert links == {
        f"{held}/rendered",
        f"{held}/frames/3/rendered",
        f"{held}/frames/7/rendered",
        "#item-1.3.1",
    }
    assert ("img", "src", f"{held}/frames/3/thumbnail") in read.attributes
    assert "MR Image (not here: 1.2.3.5)" in read.text


def test_references_are_found_for_the_archive_to_look_up():
    found = work.references(*data_set(part10(everything())))
    assert set(found) == {"1.2.3.4", "1.2.3.5", "1.2.3.6"}


def test_who_has_verified_it_and_what_it_replaces_is_said():
    observer = Dataset()
    observer.VerifyingObserverName = "Curie^Marie"
    observer.VerifyingOrganization = "Radium Institute"
    observer.VerificationDateTime = "20260104120000"
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = "1.2.5"
    series.ReferencedSOPSequence = reference("1.2.840.10008.5.1.4.1.1.88.33", "1.2.6")
    study.StudyInstanceUID, study.ReferencedSeriesSequence = "1.2.4", Sequence([series])
    made = a_report(
        text("Finding", "None"),
        VerificationFlag="VERIFIED",
        VerifyingObserverSequence=Sequence([observer]),
        PredecessorDocumentsSequence=Sequence([study]),
    )
    shown = Read(page(made)).text
    assert "Curie, Marie, Radium Institute, 2026-01-04 12:00:00" in shown
    assert "Comprehensive SR (not here: 1.2.6)" in shown


def test_a_selection_of_key_objects_shows_their_pictures():
    image = item("IMAGE", ReferencedSOPSequence=reference(CT, "1.2.7"))
    made = a_report(
        text("Key Object Description", "Look here"),
        image,
        sop_class_uid=KEY_OBJECTS,
        title="Of Note",
    )
    read = Read(page(made, {"1.2.7": "/x/instances/1.2.7"}))
    assert ("img", "src", "/x/instances/1.2.7/thumbnail") in read.attributes
    assert "Look here" in read.text


def test_our_own_sample_report_can_be_read():
    ds = a_report()
    del ds.ContentSequence
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CT, "1.2.3.8"
    fill_report(
        ds,
        image,
        [image],
        series_uid=new_uid(),
        tracking_uid=new_uid(),
        line=(1.5, 2.5, 3.5, 4.5),
        length_mm=11.25,
    )
    shown = Read(page(ds)).text
    for words in (
        "Imaging Measurement Report",
        "Length: ",
        "11.25 mm",
        "Nodule",
        "Villaverde, Ines",
    ):
        assert words.replace(": ", "") in shown


# -- against another reader -----------------------------------------------------------------------
OWN_WORDS = """annex footnote patient study series completion flag predecessor docs verification
verifying observers content date time referenced frame number graphic data offsets item by
reference observed for more details see inferred from properties selected concept modifier
acquisition context observation manufacturer physician code text value the and document with
unknown empty"""
OTHERS_OWN_WORDS = frozenset(OWN_WORDS.split())


def words_of(visible: str) -> set[str]:
    return set(re.findall(r"\w+(?:\.\d+)*", visible))


def told_by_dsr2html(path: Path) -> set[str]:
    """Every word that dcmtk's page of a report shows, without those of its own."""
    options = ["-q", "+U8", "-Er", "-Ec", "-Ee", "-Ev", "+Ca", "latin-1"]
    done = subprocess.run(
        ["dsr2html", *options, path], capture_output=True, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        return set()
    visible = done.stdout.decode("utf-8").partition("<body>")[2]
    visible = re.sub(
        r"<h[12]><a name=.annex.*?</h[12]>|\[.*?Annex.*?\]|<sup>.*?</sup>", "", visible
    )
    visible = re.sub(r"<small>\s*<b><a name=.footnote.*?</b>", "", visible, flags=re.S)
    visible = html.unescape(re.sub(r"<[^>]*>", " ", visible).replace("&nbsp;", " "))
    visible = visible.partition("This page was generated from")[0]
    return words_of(visible)


def packaged_reports() -> list[Path]:
    found = []
    for path in sorted(p for folder in FOLDERS for p in folder.rglob("*") if p.is_file()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
            except Exception:  # noqa: BLE001  whatever pydicom says of files that are none
                continue
        if "1.2.840.10008.5.1.4.1.1.88." in str(ds.get("SOPClassUID", "")):
            found.append(path)
    return found


@pytest.mark.skipif(shutil.which("dsr2html") is None, reason="dcmtk is not installed")
def test_all_that_dsr2html_shows_is_shown_here(tmp_path):
    made = tmp_path / "made.dcm"
    made.write_bytes(part10(everything()))
    shown = 0
    for path in [*packaged_reports(), made]:
        told = told_by_dsr2html(path)
        shown += bool(told)
        ours = words_of(" ".join(Read(page(path.read_bytes())).texts))
        names = {name.replace(" ", "") for name in ("Comprehensive SR", "Basic Text SR")}
        lower = {word.lower() for word in ours}
        missing = {
            word
            for word in told
            if word.lower() not in lower
            and word.lower() not in OTHERS_OWN_WORDS
            and not word.endswith("Storage")
            and word not in names
        }
        assert not missing, path.name
    assert shown >= 2


def test_every_packaged_report_can_be_read():
    paths = packaged_reports()
    assert len(paths) >= 3
    for path in paths:
        assert Read(page(path.read_bytes())).text.strip()


# -- hostile content ---------------------------------------------------------------------------
TAGS = """html head meta title style body header h1 h2 h3 h4 h5 h6 dl dt dd main section div p
span bdi a figure figcaption img"""
ELEMENTS = frozenset(TAGS.split())
NAMES = "lang charset name content class title id href src alt loading"
ATTRIBUTES = frozenset(NAMES.split())
NASTY = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=string.punctuation + "\x00\x1b\x85\u202e\u2066\ufffe\r\n ab", max_size=40),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "' onmouseover='alert(1)",
            "javascript:alert(1)",
            "</style><script>alert(1)</script>",
            "-->]]><svg/onload=alert(1)>",
            "&lt;b&gt;&#x3c;script>",
        ]
    ),
)


def hostile(words: list[str]) -> Dataset:
    a, b, c, d = words
    uid = "".join(each for each in a if each.isascii() and each.isprintable())[:60]
    ds = a_report(
        text(a, b, children=[text(b, c, how="".join(filter(str.isascii, d))[:16])]),
        item("CODE", c, ConceptCodeSequence=code(a[:16], b[:16], d)),
        number(d, "1", (a[:16], b[:16], c)),
        item("IMAGE", b, ReferencedSOPSequence=reference(CT, "1.2.3.4")),
        item("PNAME", d, PersonName=c.replace("\\", "")),
        item("CONTAINER", a, continuity="CONTINUOUS", children=[text(c, d, children=[text(a, b)])]),
        title=a,
        SpecificCharacterSet="ISO_IR 192",
        PatientName=b,
        CompletionFlagDescription=c,
    )
    ds.ContentSequence[3].ReferencedSOPSequence[0].add_new(0x00081155, "LO", uid)
    return ds


@settings(max_examples=150, deadline=None)
@given(st.lists(NASTY, min_size=4, max_size=4))
def test_no_content_becomes_markup(words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = part10(hostile(words))
    made = page(file, {"1.2.3.4": "/held/1.2.3.4"})
    read = Read(made)
    assert set(read.elements) <= ELEMENTS
    assert {name for _, name, _ in read.attributes} <= ATTRIBUTES
    for _, name, value in read.attributes:
        if name in ("href", "src"):
            assert value.startswith(("/held/", "#item-"))
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e]", made) is None
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e]", plain(file)) is None


def test_a_uid_that_is_a_script_is_text():
    image = item("IMAGE", ReferencedSOPSequence=reference(CT, "1.2"))
    image.ReferencedSOPSequence[0].add_new(0x00081155, "LO", "javascript:alert(1)")
    ds = a_report(image)
    assert work.references(*data_set(part10(ds))) == []
    read = Read(page(ds))
    assert not [value for _, name, value in read.attributes if name == "href"]
    assert "javascript:alert(1)" in read.text


def nested(depth: int) -> Dataset:
    inner = text("Bottom", "reached")
    for _ in range(depth):
        inner = item("CONTAINER", "Level", children=[inner])
    return a_report(inner)


def test_a_report_may_be_nested_as_deeply_as_anybody_could_follow():
    assert "reached" in Read(page(nested(125))).text


def test_a_report_that_is_nested_absurdly_is_refused():
    with pytest.raises(Undecodable, match="nested deeper"):
        page(nested(140))


def test_a_report_with_too_many_items_is_refused_not_cut_off(monkeypatch):
    monkeypatch.setattr(report, "MAX_ITEMS", 50)
    with pytest.raises(TooLarge, match="more than 50 content items"):
        page(a_report(*(text("Line", str(at)) for at in range(60))))


def test_a_report_that_breaks_off_is_refused_not_shown_in_part():
    whole, syntax = data_set(part10(everything()))
    with pytest.raises(Undecodable):
        work.report(whole[:-30], syntax, "text/html", {})


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("ISO_IR 100", "Übergröße"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "王^小東 — 홍"),
        ("GB18030", "王小东"),
        (["", "ISO 2022 IR 87"], "山田"),
    ],
)
def test_text_in_any_character_set_is_read(charset, words):
    made = a_report(text("Finding", words), SpecificCharacterSet=charset)
    assert words in Read(page(made)).text
    assert words in plain(made)


def test_an_item_may_have_a_character_set_of_its_own():
    inner = text("Finding", "x", SpecificCharacterSet="ISO_IR 144")
    inner.add_new(0x0040A160, "UT", "Люкс")
    assert "Люкс" in Read(page(a_report(inner))).text


def test_the_page_says_what_language_it_is_in():
    language = item(
        "CODE", how="HAS CONCEPT MOD", ConceptCodeSequence=code("fr-CA", "RFC5646", "F")
    )
    language.ConceptNameCodeSequence = code("121049", "DCM", "Language of Content")
    assert ("html", "lang", "fr-CA") in Read(page(a_report(language))).attributes
    language.ConceptCodeSequence = code('x" onx="', "RFC5646", "F")
    assert ("html", "lang", "en") in Read(page(a_report(language))).attributes
