"""The `filmroom` command: serve, import, reindex, scrub, backup, and the tools of every day."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from filmroom import __version__
from filmroom.cli import accounts
from filmroom.cli.backup import backup, restore, verify
from filmroom.cli.common import (
    DONE,
    FAILED,
    AsJson,
    ConfigFile,
    DataFolder,
    fail,
    put,
    say,
    settings_from,
)
from filmroom.cli.compress import compress
from filmroom.cli.jobs import jobs
from filmroom.cli.migrating import migrate
from filmroom.cli.moving import migrate_archive
from filmroom.cli.peers import peer
from filmroom.cli.scrub import scrub

if TYPE_CHECKING:
    from filmroom.acquire.files import Score
    from filmroom.archive.archive import Archive
    from filmroom.archive.reindex import Report
    from filmroom.config import Settings
    from filmroom.storeroom import Storeroom

T = TypeVar("T")

app = typer.Typer(
    name="filmroom",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its pictures of local variables would show secrets
    help="An open-source PACS: a DICOM and DICOMweb archive with a reading room in the browser.",
)
app.add_typer(accounts.user, name="user")
app.add_typer(accounts.token, name="token")
app.add_typer(jobs, name="jobs")
app.add_typer(peer, name="peer")
app.command("scrub")(scrub)
app.command("backup")(backup)
app.command("restore")(restore)
app.command("verify")(verify)
app.command("compress")(compress)
app.command("migrate")(migrate)
app.command("migrate-archive")(migrate_archive)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"filmroom {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say it.")
    ] = False,
) -> None:
    pass


@app.command("version")
def version() -> None:
    """Print the version."""
    typer.echo(f"filmroom {__version__}")


@app.command("serve")
def serve(
    config: ConfigFile = None,
    data: DataFolder = None,
    ae_title: Annotated[
        str | None, typer.Option(help="AE title we answer to (default: FILMROOM).")
    ] = None,
    dimse_host: Annotated[
        str | None, typer.Option(help="Address for DICOM (default: 0.0.0.0).")
    ] = None,
    dimse_port: Annotated[int | None, typer.Option(help="Port for DICOM (default: 11112).")] = None,
    http_host: Annotated[
        str | None, typer.Option(help="Address for the web (default: 127.0.0.1).")
    ] = None,
    http_port: Annotated[int | None, typer.Option(help="Port for the web (default: 8080).")] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AET=HOST:PORT[:RIGHT+RIGHT…|:all]",
            help="A remote application entity and what it may do; `*` for any calling AE title. "
            "Repeatable.",
        ),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Store sample studies when the archive is empty.")
    ] = False,
) -> None:
    """Run the archive: DICOM, DICOMweb and the reading room, until it is told to stop."""
    settings = settings_from(
        config,
        data,
        ae_title=(("dimse", "ae_titles"), [ae_title] if ae_title is not None else None),
        dimse_host=(("dimse", "host"), dimse_host),
        dimse_port=(("dimse", "port"), dimse_port),
        http_host=(("http", "host"), http_host),
        http_port=(("http", "port"), http_port),
        peer=(("peers",), peer or None),
        samples=(("samples",), samples or None),
    ).settings
    gc.disable()  # what is made at a start stays; node.run looks for garbage once it is there
    from filmroom import node, observe

    observe.configure_logging(settings.log.format, settings.log.level)
    for warning in settings.warnings:
        logging.getLogger("filmroom").warning(warning)
    raise typer.Exit(node.run(settings))


@app.command("import")
def import_command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Files, folders, ZIP archives, DICOMDIRs.")
    ],
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Store files into the archive of a data folder that no server is using.

    Exit status 1 if any DICOM file could not be stored. Against a running server use
    `filmroom send`.
    """
    settings = settings_from(config, data).settings
    score = _with_archive(settings, lambda room: asyncio.run(_import(room.archive, paths)))
    if as_json:
        put({**asdict(score), "failures": [{"file": f, "why": why} for f, why in score.failures]})
    else:
        for name, why in score.failures:
            say(f"{name}: {why}")
        typer.echo(
            f"{score.new} new, {score.same} held already, {score.differing} differing from what "
            f"is held, {score.failed} failed, {score.ignored} passed over"
        )
    raise typer.Exit(FAILED if score.failed or not score.seen else DONE)


@app.command("reindex")
def reindex(config: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Forget the index and build it anew from the stored files, with the server stopped.

    Accounts, tokens and the quarantine stay. The files are only read.
    """
    settings = settings_from(config, data).settings
    report = _with_archive(settings, _reindex)
    if as_json:
        put(asdict(report))
    else:
        typer.echo(
            f"{report.files} files read, {report.added} indexed, {report.duplicates} of a UID "
            f"indexed before, {report.unreadable} not readable, {report.lost} damaged and lost"
        )
    raise typer.Exit(FAILED if report.unreadable else DONE)


@app.command("config")
def config_command(
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the manual page of all settings instead.")
    ] = False,
) -> None:
    """Print the settings in force, and where each was said."""
    from filmroom.config.reference import reference as page

    if reference:
        sys.stdout.write(page())
        return
    rows = settings_from(config, data).in_force()
    if as_json:
        put([asdict(row) for row in rows])
        return
    import orjson

    width = max(len(row.key) for row in rows)
    for row in rows:
        typer.echo(f"{row.key:<{width}}  {orjson.dumps(row.value).decode()}  ({row.source})")


def _with_archive(settings: Settings, work: Callable[[Storeroom], T]) -> T:
    """Do something to the archive of a data folder that is ours alone meanwhile."""
    from filmroom import observe
    from filmroom.blobs.upkeep import DataFolderInUse
    from filmroom.storeroom import Storeroom

    observe.configure_logging("human", "warning")
    try:
        room = Storeroom(settings)
    except DataFolderInUse as error:
        raise fail(str(error)) from None
    try:
        room.open()
        return work(room)
    finally:
        room.close()


async def _import(archive: Archive, paths: list[Path]) -> Score:
    from filmroom.acquire.files import import_paths
    from filmroom.cli.progress import counting

    with counting("importing") as show:

        def told(score: Score) -> None:
            show(score.seen, f"{score.new} new, {score.failed} failed")

        return await import_paths(archive.ingest, paths, progress=told)


def _reindex(room: Storeroom) -> Report:
    from filmroom.cli.progress import counting

    with counting("indexing") as show:

        def told(report: Report) -> None:
            show(report.files, f"{report.added} indexed")

        return room.reindex(told)


def register_tools() -> None:
    """Add the tools (echo, send, find, …) to the command."""
    from filmroom.cli import tools

    tools.register(app)


def main() -> None:
    """Run the command line; what is known to go wrong is said in one line."""
    from filmroom.archive.errors import ArchiveError

    # The tools load the whole wire; our own commands start in half the time without them.
    if not {command.name for command in app.registered_commands} & set(sys.argv[1:2]):
        register_tools()
    try:
        app()
    except ArchiveError as error:
        raise SystemExit(_complain(error.message)) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except OSError as error:  # a folder or file of ours; it is named, and what is wrong with it
        raise SystemExit(_complain(_in_words(error))) from None


def _in_words(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"


def _complain(message: str) -> int:
    say(f"filmroom: {message}")
    return FAILED


if __name__ == "__main__":
    main()
