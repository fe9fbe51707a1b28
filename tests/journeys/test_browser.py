"""What a person does in the browser: sign in, find, upload, look."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, generate_uid

from browser import Visit, screenshots
from instances import an_instance, part10
from nodes import PASSWORD, FilmroomProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SAMPLED = {"CT", "MR", "CR", "US", "SR"}
HOSTILE = "<img src=x onerror=alert(1)>^\"'><script>alert(2)</script>"


@pytest.fixture(scope="module")
def filmroom(tmp_path_factory) -> Iterator[FilmroomProcess]:
    process = FilmroomProcess(tmp_path_factory.mktemp("filmroom"), ("--samples",))
    yield with_samples(process.start(ready_seconds=60))
    process.kill()


@pytest.fixture
def visit(browser, filmroom, tmp_path):
    visit = Visit(browser, filmroom.url, screenshots(tmp_path))
    yield visit
    visit.close()


def rows(page: Page):
    return page.locator("tbody tr")


def with_samples(process: FilmroomProcess) -> FilmroomProcess:
    """Wait until all sample studies are stored: that goes on after the server is ready."""
    deadline = time.monotonic() + 60
    with process.client() as client:
        while time.monotonic() < deadline:
            answer = client.get("/dicom-web/studies?includefield=ModalitiesInStudy")
            studies = answer.json() if answer.status_code == 200 else []
            found = {m for study in studies for m in study["00080061"]["Value"]}
            if found >= SAMPLED:
                return process
            time.sleep(0.2)
    raise AssertionError(f"the samples did not come: {process.log.read_text()[-2000:]}")


def row_of(page: Page, modality: str):
    """The newest study with that modality, which is a sample."""
    cell = page.locator("td", has_text=re.compile(rf"^(.* )?{modality}( .*)?$"))
    return rows(page).filter(has=cell).first


def store(filmroom: FilmroomProcess, *files: bytes) -> None:
    body = b"".join(b"--B\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % f for f in files)
    with filmroom.client() as client:
        kind = 'multipart/related; type="application/dicom"; boundary=B'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        answer = client.post("/dicom-web/studies", content=body + b"--B--\r\n", headers=headers)
    assert answer.status_code == 200, answer.text


def a_text_report(words: str) -> bytes:
    """A Basic Text SR with one finding (PS3.3 A.35.1)."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = BasicTextSRStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality = "Reported^Rita", "RR-1", "SR"
    ds.StudyDate = ds.ContentDate = "20260102"
    ds.StudyTime = ds.ContentTime = "101112"
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [coded("18748-4", "LN", "Diagnostic Imaging Report")]
    finding = Dataset()
    finding.RelationshipType, finding.ValueType, finding.TextValue = "CONTAINS", "TEXT", words
    finding.ConceptNameCodeSequence = [coded("121071", "DCM", "Finding")]
    ds.ContentSequence = [finding]
    return part10(ds)


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def test_nothing_is_shown_without_signing_in(visit):
    visit.page.goto(f"{visit.url}/")
    visit.page.wait_for_url("**/login**")
    expect(visit.page.get_by_label("Password")).to_be_visible()
    visit.page.goto(f"{visit.url}/ohif/viewer?StudyInstanceUIDs=1.2.3")
    visit.page.wait_for_url("**/login**")


def test_a_wrong_password_is_told_and_the_right_one_opens_the_list(visit):
    page = visit.page
    page.goto(f"{visit.url}/login")
    page.get_by_label("User").fill("admin")
    page.get_by_label("Password").fill("not this one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    visit.picture("sign-in")
    visit.sign_in()
    expect(page).to_have_url(f"{visit.url}/")


def test_signing_in_leads_where_one_wanted_to_go(visit):
    page = visit.page
    page.goto(f"{visit.url}/ohif/viewer?StudyInstanceUIDs=1.2.3")
    page.get_by_label("User").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/ohif/viewer?StudyInstanceUIDs=1.2.3")
    visit.errors.clear()  # OHIF's own words about a study that is not there


def test_the_list_shows_the_samples(visit):
    page = visit.sign_in()
    for modality in SAMPLED:
        expect(row_of(page, modality)).to_be_visible()
    page.wait_for_timeout(1500)  # thumbnails, for the picture
    visit.picture("studies")
    page.emulate_media(color_scheme="dark")
    visit.picture("studies-dark")


def test_newest_studies_come_first(visit):
    page = visit.sign_in()
    expect(rows(page).first).to_be_visible()
    dates = page.locator("tbody tr td:nth-child(5)").all_inner_texts()
    assert dates == sorted(dates, reverse=True)


def test_typing_narrows_the_list(visit, filmroom):
    store(filmroom, an_instance(PatientName="Lovelace^Ada", PatientID="AL-1815"))
    page = visit.sign_in()
    page.get_by_label("Patient name").fill("ada lovel")
    expect(page.get_by_text("No study matches these filters.")).to_be_visible()
    page.get_by_label("Patient name").fill("lovel ada")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("Lovelace, Ada")
    page.get_by_label("Modality").select_option("MR")
    expect(page.get_by_text("No study matches these filters.")).to_be_visible()
    visit.picture("nothing-found")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_label("Patient name")).to_have_value("")
    page.get_by_label("Patient ID").fill("1815")
    expect(rows(page)).to_have_count(1)


def test_what_was_searched_stays_out_of_the_address_and_survives_a_reload(visit, filmroom):
    store(filmroom, an_instance(PatientName="Noether^Emmy", PatientID="EN-1882"))
    page = visit.sign_in()
    page.get_by_label("Patient name").fill("noether")
    expect(rows(page)).to_have_count(1)
    assert "noether" not in page.url
    page.reload()
    expect(page.get_by_label("Patient name")).to_have_value("noether")
    expect(rows(page)).to_have_count(1)


def test_the_keyboard_alone_opens_a_study(visit):
    page = visit.sign_in()
    expect(rows(page).nth(1)).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_label("Patient name")).to_be_focused()
    rows(page).first.locator("a.open").focus()
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1).locator("a.open")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/ohif/viewer?StudyInstanceUIDs=*")


def test_a_hostile_name_stays_text(visit, filmroom):
    store(filmroom, an_instance(PatientName=HOSTILE, PatientID="<b>1</b>", StudyDescription="<i>"))
    page = visit.sign_in()
    page.get_by_label("Patient ID").fill("<b>1")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("<b>1</b>")
    assert page.locator("tbody img[src='x'], tbody script, tbody b, tbody i").count() == 0
    visit.picture("hostile")
    page.goto(f"{visit.url}/ohif/")
    expect(page.get_by_text("Study List")).to_be_visible()
    page.wait_for_timeout(2000)  # an alert would come with the rows
    visit.picture("hostile-ohif")


def test_uploaded_files_are_stored_and_listed_and_others_are_told(visit, tmp_path):
    for number in range(3):
        file = an_instance(PatientName="Upload^Una", PatientID="UP-1", StudyInstanceUID="1.2.77")
        (tmp_path / f"{number}.dcm").write_bytes(file)
    (tmp_path / "notes.txt").write_text("These are notes and nothing else; they stay here.")
    (tmp_path / "cut.dcm").write_bytes(an_instance()[:700])
    page = visit.sign_in()
    page.get_by_test_id("files").set_input_files(sorted(tmp_path.glob("*.*")))
    report = page.get_by_role("region", name="Upload")
    expect(report).to_contain_text("3 files stored, 2 not")
    expect(report).to_contain_text("not a DICOM file")
    visit.picture("upload")
    page.get_by_label("Patient name").fill("upload")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("UP-1")


def test_a_dropped_file_is_stored(visit):
    page = visit.sign_in()
    file = an_instance(PatientName="Dropped^Dora", PatientID="DR-1")
    held = page.evaluate_handle(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], 'dropped.dcm'));
          return transfer;
        }""",
        list(file),
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": held})
    expect(page.get_by_text("Drop files and folders")).to_be_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": held})
    expect(page.get_by_role("region", name="Upload")).to_contain_text("1 file stored")
    page.get_by_label("Patient name").fill("dropped")
    expect(rows(page)).to_have_count(1)


def test_a_study_is_downloaded_as_a_zip(visit):
    page = visit.sign_in()
    with page.expect_download() as download:
        row_of(page, "SR").get_by_role("link", name="ZIP").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"PK\x03\x04"


@pytest.mark.parametrize("modality", ["CT", "MR", "CR", "US"])
def test_ohif_shows(visit, modality):
    page = visit.sign_in()
    row_of(page, modality).get_by_role("link", name="Open in OHIF").click()
    pixels = visit.wait_for_image()
    page.wait_for_timeout(1000)
    visit.picture(f"ohif-{modality}")
    assert len(np.unique(pixels[:, :, 0])) > 8, "an image has more than a few shades"


def test_ohif_draws_the_measurement_of_a_report(visit):
    page = visit.sign_in()
    row_of(page, "SR").get_by_role("link", name="Open in OHIF").click()
    visit.wait_for_image()
    page.locator("[data-cy=study-browser-thumbnail-no-image]").first.dblclick()
    viewport = page.locator("[data-cy=viewport-pane]").first
    expect(viewport).to_contain_text(re.compile(r"\d+(\.\d+)? mm"))
    visit.picture("ohif-SR-measurement")


def test_ohif_shows_the_words_of_a_report(visit, filmroom):
    store(filmroom, a_text_report("A rounded nodule in the right upper lobe."))
    page = visit.sign_in()
    page.get_by_label("Patient name").fill("reported")
    expect(rows(page)).to_have_count(1)
    rows(page).get_by_role("link", name="Open in OHIF").click()
    viewport = page.locator("[data-cy=viewport-pane]").first
    expect(viewport).to_contain_text("A rounded nodule in the right upper lobe.")
    visit.picture("ohif-SR")


def test_a_length_measured_in_ohif_is_stored_as_a_structured_report(visit, filmroom):
    uid = generate_uid()
    image = an_instance(rows=128, columns=128, PatientName="Measured^Mia", StudyInstanceUID=uid)
    store(filmroom, image)
    page = visit.sign_in()
    page.get_by_label("Patient name").fill("measured")
    expect(rows(page)).to_have_count(1)
    rows(page).get_by_role("link", name="Open in OHIF").click()
    visit.wait_for_image()
    page.locator("[data-cy=MeasurementTools-split-button-primary]").click()
    box = page.locator("canvas.cornerstone-canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 100, y)
    page.mouse.down()
    page.mouse.move(x, y, steps=5)
    page.mouse.move(x + 100, y, steps=5)
    page.mouse.up()
    page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click()
    page.locator("[data-cy=trackedMeasurements-btn]").click()
    page.get_by_role("button", name="Create SR").click()
    with page.expect_response(lambda response: response.request.method == "POST") as stored:
        page.get_by_role("button", name="Save").click()
    assert stored.value.status == 200
    visit.picture("ohif-measured")
    with filmroom.client() as client:
        series = client.get(f"/dicom-web/studies/{uid}/series").json()
    assert {found["00080060"]["Value"][0] for found in series} == {"CT", "SR"}


def test_signing_out_closes_everything(visit):
    page = visit.sign_in()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    assert page.request.get(f"{visit.url}/dicom-web/studies").status == 401
    page.go_back()
    page.wait_for_url("**/login**")


def test_an_empty_archive_says_how_to_fill_it(browser, start_node, tmp_path):
    node = start_node()
    visit = Visit(browser, node.url, screenshots(tmp_path))
    page = visit.sign_in()
    empty = page.locator(".empty")
    expect(empty).to_contain_text("No studies yet")
    expect(empty).to_contain_text(str(node.dimse_port))
    visit.picture("empty")
    visit.close()
