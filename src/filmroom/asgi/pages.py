"""The front-end at `/`, OHIF at `/ohif/`: files, and one page for all addresses of each."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from filmroom.asgi.static import ASK_AGAIN, Served, Shelf
from filmroom.console.ohif import ohif_script
from filmroom.http import problem

STATIC = Path(__file__).parent.parent / "static"
_IS_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")  # a UID has dots too, but digits after them
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>filmroom</title>
<p>This installation has no {what}: it was built without it. <code>make env</code> in a checkout
builds it; the published wheel carries it. Everything else works.</p></html>
"""


class Pages:
    """The two sets of static files and the routes that serve them."""

    def __init__(self, folder: Path) -> None:
        self.console = Shelf(folder / "console")
        self.ohif = Shelf(folder / "ohif")

    @property
    def open_paths(self) -> frozenset[str]:
        """Paths of files that tell nothing about anybody: scripts, styles, pictures."""
        names = {f"/{name}" for name in self.console.names()}
        names |= {f"/ohif/{name}" for name in self.ohif.names()}
        names -= {"/ohif/app-config.js"}
        return frozenset(name for name in names if not name.endswith(".html"))

    def routes(self) -> list[BaseRoute]:
        """Last in the table: they take every path that nobody else took."""

        async def ohif_configuration(request: Request) -> Response:
            """OHIF's settings for this server."""
            headers = {"Cache-Control": ASK_AGAIN.decode()}
            return Response(ohif_script(), 200, headers, "text/javascript")

        async def ohif_root(request: Request) -> Response:
            """To OHIF's page."""
            return RedirectResponse("/ohif/", 308)

        async def ohif(request: Request) -> ASGIApp:
            """OHIF, or one of its files."""
            return _found(self.ohif, request, "OHIF viewer")

        async def console(request: Request) -> ASGIApp:
            """The front-end, or one of its files."""
            return _found(self.console, request, "front-end")

        return [
            Route("/ohif/app-config.js", ohif_configuration, methods=["GET"]),
            Route("/ohif", ohif_root, methods=["GET"]),
            Route("/ohif/{path:path}", ohif, methods=["GET"]),
            Route("/{path:path}", console, methods=["GET"]),
        ]


def _found(shelf: Shelf, request: Request, what: str) -> ASGIApp:
    name = request.path_params["path"]
    asset = shelf.get(name)
    if asset is None and not _IS_FILE.search(name) and not name.startswith("api/"):
        # The page reads its own address: whatever stands there, it is the same file.
        asset = shelf.get("index.html")
        if asset is None:
            return Response(_MISSING.format(what=what), 404, media_type="text/html")
    return Served(asset) if asset else problem(404, "there is nothing at this address")
