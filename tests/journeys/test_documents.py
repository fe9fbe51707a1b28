"""A report, a letter and an ECG are sent by other programs, and looked at in a browser."""

from __future__ import annotations

import re

import httpx
import pytest

from browser import Visit, screenshots
from documents import (
    CDA,
    ENCAPSULATED_CDA,
    PDF,
    a_report,
    an_ecg,
    encapsulated,
    item,
    number,
    reference,
    text,
)
from filmroom.dicomweb.multipart import PART_TAIL, closing, content_type, part_head
from instances import a_data_set, part10
from peers import run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

MM = ("mm", "UCUM", "millimeter")
SCRIPT = "</style><script>alert(1)</script><img src=x onerror=alert(2)>"

IMAGE = a_data_set(rows=128, columns=128)
REPORT = a_report(
    item(
        "CONTAINER",
        "Findings",
        children=[
            number(
                "Diameter",
                "12.5",
                MM,
                children=[
                    item(
                        "IMAGE",
                        how="INFERRED FROM",
                        ReferencedSOPSequence=reference(IMAGE.SOPClassUID, IMAGE.SOPInstanceUID),
                    )
                ],
            ),
            text("Impression", SCRIPT),
        ],
    ),
    item(
        "CONTAINER",
        "Story",
        continuity="CONTINUOUS",
        children=[
            text("", "Seen on"),
            item("IMAGE", ReferencedSOPSequence=reference(IMAGE.SOPClassUID, IMAGE.SOPInstanceUID)),
            text("", "only.", children=[text("Note", "by the way")]),
        ],
    ),
)
ECG = an_ecg()
LETTER = encapsulated(PDF)
NOTE = encapsulated(CDA, ENCAPSULATED_CDA, "text/xml")


def rendered(ds) -> str:
    return (
        f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}/rendered"
    )


@pytest.fixture(scope="module")
def filmroom(node, peer_program, tmp_path_factory):
    """A node that storescu has sent a report, an image and an ECG, and STOW the documents."""
    folder = tmp_path_factory.mktemp("sent")
    files = []
    for name, ds in {"image": IMAGE, "report": REPORT, "ecg": ECG}.items():
        files.append(folder / f"{name}.dcm")
        files[-1].write_bytes(part10(ds))
    address = ("-aec", "FILMROOM", "127.0.0.1", node.dimse_port)
    done = run(peer_program("storescu"), *address, *files)
    assert done.returncode == 0, done.stdout
    body = b"".join(
        part_head("cut", {"Content-Type": "application/dicom"}) + part10(ds) + PART_TAIL
        for ds in (LETTER, NOTE)
    ) + closing("cut")
    headers = {"Content-Type": content_type("cut", "application/dicom")}
    with node.client() as client:
        assert client.post("/dicom-web/studies", content=body, headers=headers).is_success
    return node


@pytest.fixture
def visit(browser, filmroom, tmp_path):
    visit = Visit(browser, filmroom.url, screenshots(tmp_path))
    visit.sign_in()
    yield visit
    visit.close()


def test_each_comes_in_its_own_form_with_headers_that_let_nothing_run(filmroom):
    with filmroom.client() as client:
        for ds, media_type, begin in (
            (REPORT, "text/html; charset=utf-8", b"<!DOCTYPE html>"),
            (ECG, "image/svg+xml", b"<?xml"),
            (LETTER, "application/pdf", b"%PDF-"),
            (NOTE, "text/xml", b"<?xml"),
        ):
            answer = client.get(rendered(ds))
            assert answer.headers["content-type"] == media_type
            assert answer.content.startswith(begin)
            policies = answer.headers.get_list("content-security-policy")
            assert len(policies) == 1
            assert "allow-scripts" not in policies[0]
            assert "sandbox" in policies[0] or "script-src 'none'" in policies[0]
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(filmroom.url + rendered(REPORT)).status_code == 401


def test_a_report_is_read_in_the_browser_and_its_image_is_a_click_away(visit, filmroom):
    said = []
    visit.page.on("console", lambda message: said.append(message.text))
    visit.page.goto(visit.url + rendered(REPORT))
    visit.page.wait_for_function("document.images[0].naturalWidth === 128")
    visit.picture("report")
    assert SCRIPT in visit.page.locator("main").inner_text()
    with filmroom.client() as client:
        written = client.get(rendered(REPORT)).text
    understood = visit.page.evaluate(
        "[...document.querySelectorAll('*')].map(each => each.localName)"
    )
    assert understood == re.findall("<([a-z][a-z0-9]*)", written)  # nothing had to be put right
    header = visit.page.locator("dl").evaluate("each => getComputedStyle(each).display")
    assert header == "grid"  # the style is allowed, and is in force
    visit.page.locator("figure a").first.click()
    visit.page.wait_for_url(f"**{rendered(IMAGE)}")
    assert visit.page.evaluate("document.contentType") in ("image/jpeg", "image/webp")
    assert not [each for each in said if "Refused" in each or "violates" in each]


def test_an_ecg_is_seen_on_paper_in_the_browser(visit):
    visit.page.goto(visit.url + rendered(ECG))
    visit.picture("ecg")
    assert visit.page.evaluate("document.contentType") == "image/svg+xml"
    assert visit.page.locator("text=aVR").count() == 1
    assert visit.page.locator("svg > path").count() > 12


def test_a_clinical_document_is_shown_as_xml(visit):
    visit.page.goto(visit.url + rendered(NOTE))
    assert visit.page.evaluate("document.contentType") in ("text/xml", "application/xml")
    visit.picture("cda")
