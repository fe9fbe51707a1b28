"""Write docs/reference/{settings,http,cli,statuses}.md from what the program itself knows.

python tools/make_reference.py           write them
python tools/make_reference.py --check   exit status 1 when one is out of date
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import typer
from make_conformance import table
from typer.main import get_command

from filmroom import http
from filmroom.archive.access import ROLES, Action
from filmroom.archive.errors import ArchiveError
from filmroom.asgi import create_app
from filmroom.asgi.access import Need, needed
from filmroom.asgi.openapi import each_route
from filmroom.cli.main import app as command_line
from filmroom.cli.main import register_tools
from filmroom.config import Settings
from filmroom.config.reference import reference
from filmroom.dicomweb import stow_report
from filmroom.dicomweb.routes import RESOURCES
from filmroom.services import outcomes

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")

HTTP_HEAD = """# HTTP

Programs sign in with `Authorization: Bearer TOKEN` (`filmroom token create`), or Basic over TLS
or on the same machine; people with a session cookie. Requests of a browser that change something
must come from our own pages: same origin, or with the header `X-Filmroom`. Errors are
`application/problem+json` (RFC 9457) with a `detail` that says what to do. `/api/openapi.json`
describes the same for programs; the conformance statement says more of DICOMweb.

This page is written by `tools/make_reference.py`; a test compares the two.

| role | may |
|---|---|
"""
CLI_HEAD = """# Command line

Exit status 0 done, 1 failed, 2 wrong usage. `--json` where a program may read. Settings are on
their [own page](settings.md).

This page is written by `tools/make_reference.py`; a test compares the two.
"""


STATUSES_HEAD = """# Statuses

What filmroom answers, what it means, and so what to do. First one table for what can go wrong
inside, then one for each protocol.

This page is written by `tools/make_reference.py`; a test compares the two.

"""


def statuses_page() -> str:
    """Every status that a peer or client may be answered."""
    return STATUSES_HEAD + "\n".join(_statuses()).rstrip() + "\n"


def _statuses() -> Iterator[str]:
    yield from table(
        ["What went wrong", "C-STORE", "C-FIND", "C-MOVE, C-GET", "HTTP", "STOW-RS, the instance"],
        (
            [
                _words(kind.__doc__).rstrip("."),
                *(
                    f"{outcomes.status_of(kind(''), of_service):04X}"
                    for of_service in (
                        outcomes.C_STORE_STATUS,
                        outcomes.QUERY_STATUS,
                        outcomes.RETRIEVE_STATUS,
                    )
                ),
                str(http.HTTP_STATUS[kind]),
                f"{stow_report.failed(kind('')).reason:04X}",
            ]
            for kind in ArchiveError.__subclasses__()
        ),
    )
    for service, meanings in outcomes.MEANINGS.items():
        yield from (f"## {service}", "")
        yield from table(
            ["status", "what it means"],
            ([f"{status:04X}", meaning] for status, meaning in sorted(meanings.items())),
        )
    yield from ("## STOW-RS, of each instance", "")
    yield from table(["reason", "what it means"], _reasons())
    yield from ("## HTTP", "")
    yield from table(
        ["status", "what it means"],
        ([str(status), meaning] for status, meaning in sorted(http.MEANINGS.items())),
    )


def _reasons() -> Iterator[list[str]]:
    """Failure Reason (0008,1197) and Warning Reason (0008,1196) of a store's response."""
    for kind, reason in sorted(stow_report.FAILURE_REASON.items(), key=lambda pair: pair[1]):
        yield [f"{reason:04X}", f"Failed: {_words(kind.__doc__)}"]
    yield [f"{stow_report.PROCESSING_FAILURE:04X}", "Failed: it should not have; see the log."]
    yield [f"{stow_report.REPLACED:04X}", "Held; the content held before is in quarantine."]
    yield [f"{stow_report.KEPT_FIRST:04X}", outcomes.MEANINGS["C-STORE"][0xB000]]


def http_page() -> str:
    """Every route, what it does and who may use it."""
    rights = {
        role: "everything" if may == frozenset(Action) else ", ".join(sorted(a.value for a in may))
        for role, may in ROLES.items()
    }
    roles = "\n".join(f"| {role} | {may} |" for role, may in rights.items())
    rows = "\n".join(f"| `{m} {t}` | {does} | {need} |" for m, t, does, need in _routes())
    return f"{HTTP_HEAD}{roles}\n\n| request | what it does | who |\n|---|---|---|\n{rows}\n"


def _routes() -> Iterator[tuple[str, str, str, str]]:
    archive: Any = SimpleNamespace(index=SimpleNamespace(embedded=True))
    pool: Any = None
    with tempfile.TemporaryDirectory() as folder:
        application = create_app(archive, pool, Settings(), static=Path(folder))
    application.sign_in.shut()
    said = {
        "/dicom-web" + _PARAMETER.sub(r"{\1}", resource.template): (resource.does, resource.takes)
        for resource in RESOURCES
    }
    said |= {"/wado": ("Retrieve by WADO-URI", ""), "/dicom-web": ("Capabilities", "")}
    seen = set()
    for method, template, route in each_route(application.routes):
        path = _PARAMETER.sub(r"{\1}", template)
        if method == "OPTIONS" or path in ("/dicom-web/", "/dicom-web/{path}"):
            continue
        does = (route.endpoint.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        if path in said:
            does = said[path][method == "POST"]
        need = needed(method, _PARAMETER.sub("1", template))
        who = need.value if isinstance(need, Action) else _WORDS[need]
        if (method, path) not in seen:
            seen.add((method, path))
            yield method, path, does, who


_WORDS = {Need.NOTHING: "anybody", Need.ANYONE: "whoever has signed in"}


def cli_page() -> str:
    """Every command and its options."""
    register_tools()
    root = get_command(command_line)
    return CLI_HEAD + "".join(_command("filmroom", root))


def _command(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for sub, inner in command.commands.items():
            yield from _command(f"{name} {sub}", inner)
        return
    words = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([name, *(str(p.metavar or p.name.upper()) for p in words)])
    yield f"\n## `{usage}`\n\n{_words(command.help)}\n"
    if options:
        yield "\n| option | what it does |\n|---|---|\n"
    for option in options:
        names = ", ".join(f"`{text}`" for text in option.opts)
        takes = f" `{_words(option.metavar)}`" if option.metavar else ""
        yield f"| {names}{takes} | {_words(option.help)} |\n"


def _words(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())


def pages() -> dict[str, str]:
    """File name -> what it should say."""
    return {
        "settings.md": reference(),
        "http.md": http_page(),
        "cli.md": cli_page(),
        "statuses.md": statuses_page(),
    }


def main() -> int:
    """Write the pages, or with --check compare them."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if check and (not path.exists() or path.read_text("utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, "utf-8")
    for name in stale:
        typer.echo(f"{name} is out of date: run tools/make_reference.py", err=True)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
