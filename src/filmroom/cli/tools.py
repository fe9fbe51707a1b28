"""`filmroom echo | send | find | get | move | dump`: the client's side of DICOM.

Every command talks to any peer, not only to filmroom. Results go to standard output,
progress and trouble to standard error; progress bars only when that is a terminal. Exit
status: 0 done, 1 failed (also in part), 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from filmroom.cli import dump as dumping
from filmroom.cli import keys as typed
from filmroom.cli.asking import Peer, Report, Trouble, echo, find
from filmroom.cli.fetching import get, move
from filmroom.cli.sending import send
from filmroom.config.settings import ae_title
from filmroom.dicom.errors import Malformed
from filmroom.dicom.models import Level, Root
from filmroom.dimse.errors import DimseError

T = TypeVar("T")


def _ae_title(value: str) -> str:
    try:
        return ae_title(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Host = Annotated[str, typer.Argument(help="Host name or address of the peer.")]
Port = Annotated[int, typer.Argument(min=1, max=65535, help="TCP port of the peer.")]
Called = Annotated[
    str, typer.Option("--called", "-c", callback=_ae_title, help="AE title of the peer.")
]
Calling = Annotated[
    str, typer.Option("--calling", "-a", callback=_ae_title, help="AE title to call ourselves.")
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")]
Tls = Annotated[bool, typer.Option("--tls", help="Talk TLS, checking the peer's certificate.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value, for programs.")]
Keys = Annotated[
    list[str],
    typer.Option(
        "--key",
        "-k",
        help="KEYWORD=VALUE to match, KEYWORD to be told; also 0010,0020=VALUE and "
        "SEQUENCE.KEYWORD=VALUE. Repeatable.",
    ),
]
RootName = Annotated[str, typer.Option("--root", help="Information model: study or patient.")]
LevelName = Annotated[str, typer.Option("--level", "-l", help="PATIENT, STUDY, SERIES or IMAGE.")]


def register(app: typer.Typer) -> None:
    """Add the tools to the `filmroom` command."""
    for command in (echo_command, send_command, find_command, get_command, move_command):
        app.command(name=command.__name__.removesuffix("_command"))(command)
    app.command(name="dump")(dump_command)


def echo_command(
    host: Host,
    port: Port,
    called: Called = "ANY-SCP",
    calling: Calling = "FILMROOM",
    count: Annotated[int, typer.Option(min=1, help="How many times to ask.")] = 1,
    timeout: Timeout = 10.0,
    tls: Tls = False,
    as_json: AsJson = False,
) -> None:
    """Ask a peer whether it is there (C-ECHO)."""
    peer = Peer(host, port, called, calling, timeout, tls)
    answer = _run(echo(peer, count), as_json)
    if as_json:
        _print_json(asdict(answer))
    else:
        times = ", ".join(f"{ms:.1f} ms" for ms in answer.milliseconds)
        version = f" ({dumping.printable(answer.implementation)})" if answer.implementation else ""
        print(f"{called} at {host}:{port}{version} answers: {times}")


def send_command(
    host: Host,
    port: Port,
    paths: Annotated[
        list[Path], typer.Argument(exists=True, help="Files, folders or ZIP archives.")
    ],
    called: Called = "ANY-SCP",
    calling: Calling = "FILMROOM",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Associations.")] = 1,
    timeout: Timeout = 60.0,
    tls: Tls = False,
    as_json: AsJson = False,
) -> None:
    """Send instances to a peer (C-STORE), as they are stored."""
    peer = Peer(host, port, called, calling, timeout, tls)
    _finish(_run(send(peer, paths, jobs), as_json), "sent", as_json)


def find_command(
    host: Host,
    port: Port,
    key: Keys = [],  # noqa: B006 - typer wants a value it can show
    level: LevelName = "STUDY",
    root: RootName = "study",
    called: Called = "ANY-SCP",
    calling: Calling = "FILMROOM",
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many; 0: all.")] = 0,
    timeout: Timeout = 60.0,
    tls: Tls = False,
    as_json: AsJson = False,
) -> None:
    """Search a peer (C-FIND) and show what it holds."""
    peer = Peer(host, port, called, calling, timeout, tls)
    at = _level(level)
    identifier = _identifier(at, typed.with_columns(at, key))
    answers = _run(find(peer, _root(root), identifier, limit), as_json)
    if as_json:
        _print_json(answers)
        return
    names = typed.columns(at, key)
    rows = [[dumping.printable(typed.cell(answer, name)) for name in names] for answer in answers]
    _print_table(names, rows)


def get_command(
    host: Host,
    port: Port,
    key: Keys,
    to: Annotated[Path, typer.Option("--to", "-o", file_okay=False, help="Folder to fill.")],
    level: LevelName = "",
    root: RootName = "study",
    called: Called = "ANY-SCP",
    calling: Calling = "FILMROOM",
    timeout: Timeout = 60.0,
    tls: Tls = False,
    as_json: AsJson = False,
) -> None:
    """Fetch instances from a peer into a folder (C-GET)."""
    peer = Peer(host, port, called, calling, timeout, tls)
    at = _level_of(level, key)
    _identifier(at, key)
    to.mkdir(parents=True, exist_ok=True)
    _finish(_run(get(peer, _root(root), at, key, to), as_json), "received", as_json)


def move_command(
    host: Host,
    port: Port,
    key: Keys,
    to: Annotated[
        str,
        typer.Option("--to", callback=_ae_title, help="AE title to send to, known to the peer."),
    ],
    level: LevelName = "",
    root: RootName = "study",
    called: Called = "ANY-SCP",
    calling: Calling = "FILMROOM",
    timeout: Timeout = 60.0,
    tls: Tls = False,
    as_json: AsJson = False,
) -> None:
    """Have a peer send instances to a third one (C-MOVE)."""
    peer = Peer(host, port, called, calling, timeout, tls)
    identifier = _identifier(_level_of(level, key), key)
    _finish(_run(move(peer, _root(root), identifier, to), as_json), "moved", as_json)


def dump_command(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A DICOM file.")],
    max_length: Annotated[
        int, typer.Option(min=0, help="Characters to show of a value; 0: all.")
    ] = 64,
) -> None:
    """Print a DICOM file as text, element by element."""
    try:
        for line in dumping.dump(file, max_length):
            _put(line)
    except Malformed as error:
        _fail(f"{file}: {error}")
    except OSError as error:
        _fail(f"{file}: {error.strerror or error}")


def _run(work: Coroutine[Any, Any, T], as_json: bool) -> T:
    """Run a request to its end; trouble becomes a sentence and exit status 1."""
    try:
        return asyncio.run(work)
    except (DimseError, Trouble) as error:
        if as_json:
            _print_json({"error": str(error)})
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")


def _fail(message: str) -> NoReturn:
    print(f"filmroom: {dumping.printable(message)}", file=sys.stderr)
    raise typer.Exit(1)


def _finish(report: Report, verb: str, as_json: bool) -> None:
    """Print what came of a transfer; exit status 1 unless everything went well."""
    if as_json:
        _print_json(asdict(report))
    else:
        for line in report.problems:
            print(f"filmroom: {dumping.printable(line)}", file=sys.stderr)
        counts = [f"{verb} {report.done}"]
        counts += [f"{report.warnings} with warnings"] if report.warnings else []
        counts += [f"failed {report.failed}"] if report.failed else []
        counts += [f"not started {report.remaining}"] if report.remaining else []
        counts += [f"passed over {report.skipped}"] if report.skipped else []
        rate = f", {report.done / report.seconds:.0f}/s" if report.done > 1 else ""
        print(f"{', '.join(counts)} in {report.seconds:.1f} s{rate}")
    if not report.is_success:
        raise typer.Exit(1)


def _level(name: str) -> Level:
    try:
        return Level[name.upper()]
    except KeyError:
        raise typer.BadParameter("a level is PATIENT, STUDY, SERIES or IMAGE") from None


def _level_of(name: str, key: list[str]) -> Level:
    level = _level(name) if name else typed.level_of(key)
    if level is None:
        raise typer.BadParameter(
            "name what to fetch, for example: -k StudyInstanceUID=1.2.3", param_hint="--key"
        )
    return level


def _root(name: str) -> Root:
    try:
        return Root[name.upper()]
    except KeyError:
        raise typer.BadParameter("an information model is study or patient") from None


def _identifier(level: Level, key: list[str]) -> bytes:
    try:
        return typed.identifier(level, key)
    except typed.BadKey as error:
        raise typer.BadParameter(str(error), param_hint="--key") from None


def _put(line: str) -> None:
    """A line on standard output, whatever letters that can show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=not sys.stdout.encoding.lower().startswith("utf")))


def _print_table(names: list[str], rows: list[list[str]]) -> None:
    """A table for eyes on a terminal; tab-separated lines for a pipe."""
    console = Console()
    if not console.is_terminal:
        for row in [names, *rows]:
            _put("\t".join(row))
        return
    table = Table()
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print(Text(f"{len(rows)} found" if rows else "nothing found"))
