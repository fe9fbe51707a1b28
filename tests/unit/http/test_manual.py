"""/docs/: every page of the manual, as plain HTML that can do nothing; no dead links."""

import re
from posixpath import dirname, join, normpath

import pytest

from filmroom.asgi.manual import FOLDERS, Manual

MANUAL = Manual(*FOLDERS)


@pytest.mark.parametrize("name", MANUAL.names())
def test_every_link_of_every_page_leads_somewhere(name):
    page = MANUAL.page(name)
    for link in re.findall(r'(?:href|src)="([^"#]+)', page):
        if link.startswith("http"):
            continue
        target = normpath(join("/docs", dirname(name), link))
        if target.startswith("/docs/") and target != "/docs/manual.css":
            target = target.removeprefix("/docs/") + "/" * link.endswith("/")
            assert MANUAL.page(target) is not None, link
        else:
            assert target in ("/", "/docs", "/docs/manual.css"), link


async def test_the_manual_is_for_whoever_has_signed_in(ask, browser):
    assert (await ask().get("/docs/")).status_code == 401
    answer = await browser.get("/docs/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>filmroom: the manual</h1>" in answer.text
    assert (await browser.get("/docs")).headers["location"] == "/docs/"


async def test_the_conformance_statement_is_part_of_it(browser):
    answer = await browser.get("/docs/conformance.md")
    assert "<table>" in answer.text
    assert "1.2.840.10008.5.1.4.1.1.2" in answer.text


@pytest.mark.parametrize(
    "path", ["nothing.md", "../README.md", "%2e%2e/README.md", "guide", "/etc/passwd", "decision/"]
)
async def test_nothing_beside_the_pages_is_served(browser, path):
    answer = await browser.get(f"/docs/{path}")
    assert answer.status_code == 404 or "filmroom</title>" in answer.text  # the study list
    assert "open-source" not in answer.text


def test_a_page_carries_neither_scripts_nor_styles_nor_markup_of_its_own(tmp_path):
    (tmp_path / "index.md").write_text(
        "# <b>Hello</b>\n\n<script>alert(1)</script> [x](javascript:alert(1)) "
        "![y](data:text/html,z)\n\n| a |\n|--:|\n| 1 |\n"
    )
    page = Manual(tmp_path).page("")
    for bad in ("<script", "<b>", 'href="javascript', 'src="data', "style="):
        assert bad not in page


def test_an_installation_without_it_says_so(tmp_path):
    assert "without its manual" in Manual(tmp_path).page("")
    assert Manual(tmp_path).page("x.md") is None
