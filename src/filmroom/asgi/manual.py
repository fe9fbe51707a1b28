"""The manual at `/docs/`: the Markdown pages of this very version, as simple HTML.

The folder is walked once at start and a request is looked up in what was found; a page is
written when it is first asked for. Addresses are those of the files (`/docs/guide/send.md`),
so the links between the pages hold in a checkout, on a forge and here.
"""

from __future__ import annotations

import asyncio
import re
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from filmroom.http import problem

PACKAGE = Path(__file__).parent.parent
# In a wheel the pages lie inside the package (hatch_build.py), in a checkout beside it.
FOLDERS = (PACKAGE / "manual", PACKAGE.parent.parent / "docs")
_TITLE = re.compile(r"^# (.+)$", re.M)
_MISSING = (
    "# No manual\n\nThis installation came without its manual. The published wheel carries it.\n"
)
STYLE = """\
:root { color-scheme: light dark; --line: #8886; --soft: #8882;
  --link: light-dark(#1f5f8b, #7fb4d9); font: 15px/1.55 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 0 1rem 4rem; }
nav { padding: .75rem 0; border-bottom: 1px solid var(--line); }
nav a { margin-right: 1rem; }
a { color: var(--link); }
h1, h2, h3 { line-height: 1.25; margin-top: 1.6em; }
code { font: 13px/1.4 ui-monospace, monospace; background: var(--soft); padding: 1px 4px; }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; }
pre code { background: none; padding: 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
td { vertical-align: top; }
"""


class Manual:
    """The pages of one folder, by their path below it."""

    def __init__(self, *folders: Path) -> None:
        folder = next((each for each in folders if (each / "index.md").is_file()), None)
        found = sorted(folder.rglob("*.md")) if folder else []
        self._files = {str(path.relative_to(folder)): path for path in found if folder}
        self._written: dict[str, str] = {}

    def names(self) -> list[str]:
        """Every page there is; a folder's own page ends in a slash."""
        folders = {f"{Path(name).parent}/" for name in self._files if "/" in name}
        return ["", *self._files, *sorted(folders)]

    def page(self, name: str) -> str | None:
        """A page as HTML; None when there is none of that name. Blocks at first."""
        if name not in self._written:
            text = self._text(name)
            if text is None:
                return None
            self._written[name] = _html(text)
        return self._written[name]

    def _text(self, name: str) -> str | None:
        if not name:
            name = "index.md"
        if name in self._files:
            return self._files[name].read_text("utf-8")
        inside = [path for path in self._files if path.startswith(name)]
        if name.endswith("/") and inside:
            links = [
                f"- [{_title(self._text(path))}]({path.removeprefix(name)})" for path in inside
            ]
            return f"# {name.strip('/').capitalize()}\n\n" + "\n".join(links)
        return _MISSING if name == "index.md" else None

    def routes(self) -> list[BaseRoute]:
        """Below /docs."""

        async def root(request: Request) -> Response:
            """To the manual."""
            return RedirectResponse("/docs/", 308)

        async def style(request: Request) -> Response:
            """How the manual looks."""
            return Response(STYLE, media_type="text/css")

        async def manual(request: Request) -> Response:
            """A page of the manual of this version; the conformance statement is one."""
            page = await asyncio.to_thread(self.page, request.path_params["path"])
            if page is None:
                return problem(404, "the manual has no such page; it begins at /docs/")
            return Response(page, media_type="text/html")

        return [
            Route("/docs", root, methods=["GET"]),
            Route("/docs/manual.css", style, methods=["GET"]),
            Route("/docs/{path:path}", manual, methods=["GET"]),
        ]


def _title(text: str | None) -> str:
    found = _TITLE.search(text or "")
    return found[1] if found else "filmroom"


def _html(text: str) -> str:
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    # The style sheet says how cells are aligned: pages may carry no styles of their own.
    body = re.sub(r'(<t[hd]) style="[^"]*"', r"\1", body)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(_title(text))} - filmroom</title>"
        '<link rel="stylesheet" href="/docs/manual.css"></head><body>'
        '<nav><a href="/">Studies</a><a href="/docs/">Manual</a>'
        '<a href="/docs/conformance.md">Conformance statement</a></nav>'
        f"<main>{body}</main></body></html>\n"
    )
