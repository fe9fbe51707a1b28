"""`filmroom migrate-archive`: from one box to PostgreSQL and an object store, or anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filmroom.cli.common import (
    DONE,
    FAILED,
    AsJson,
    ConfigFile,
    DataFolder,
    fail,
    index_of,
    put,
    say,
    settings_from,
)

if TYPE_CHECKING:
    from filmroom.archive.moving import Place, Report
    from filmroom.config import Settings

SHOWN = 20


def migrate_archive(
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="Settings (TOML) of the new archive.")
    ],
    config: ConfigFile = None,
    data: DataFolder = None,
    rate: Annotated[
        float, typer.Option(min=0, metavar="MIB/S", help="MiB read in a second; 0: all there is.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Bring everything into another index and store, such as PostgreSQL and S3.

    Beside the running server, as often as you like: what is there already is passed over. Every
    file is compared with its digest. Then stop the server, run it a last time, and start on the
    new settings. People, tokens and the quarantine come along; sessions do not. Exit status 1 if
    something could not be brought over.
    """
    old = settings_from(config, data).settings
    new = settings_from(to, None).settings
    if _same_index(old, new) or (old.blobs.url, old.blobs_folder.resolve()) == (
        new.blobs.url,
        new.blobs_folder.resolve(),
    ):
        raise fail("the new archive is the old one: --to names other settings")
    from filmroom import observe
    from filmroom.archive.errors import ArchiveError
    from filmroom.archive.moving import move_all
    from filmroom.archive.soundness import Pace
    from filmroom.cli.progress import counting

    observe.configure_logging("human", "warning")
    shown_at = 0.0
    with ExitStack() as stack:
        try:
            source = stack.enter_context(_place(old))
            target = stack.enter_context(_place(new))
            total = max(source.index.statistics().instances, 1)
            show = stack.enter_context(counting("bringing over", total=total))

            def told(report: Report) -> None:
                nonlocal shown_at
                if time.monotonic() >= shown_at + 0.1:
                    shown_at = time.monotonic()
                    show(report.instances, f"{report.size_bytes / 1048576:,.0f} MiB")

            report = move_all(source, target, Pace(rate * 1048576), told)
        except ArchiveError as error:
            raise fail(f"{error.message}; run it again to go on") from None
    _finish(report, as_json)


def _same_index(old: Settings, new: Settings) -> bool:
    """Whether both name the same tables by the same way."""
    one, other = old.index_place, new.index_place
    return (one.url, one.namespace) == (other.url, other.namespace)


@contextmanager
def _place(settings: Settings) -> Iterator[Place]:
    from filmroom.archive.moving import Place
    from filmroom.blobs.opening import open_blobs

    settings.data.mkdir(mode=0o750, parents=True, exist_ok=True)
    room = settings.archive.min_free_bytes
    with index_of(settings) as index:
        blobs = open_blobs(settings.blobs, settings.blobs_folder, min_free_bytes=room)
        try:
            yield Place(index, blobs)
        finally:
            blobs.close()


def _finish(report: Report, as_json: bool) -> None:
    if as_json:
        put({"is_whole": not report.bad, **asdict(report)})
        raise typer.Exit(FAILED if report.bad else DONE)
    for key in report.listed[:SHOWN]:
        say(f"not brought over: {key}")
    bad = f", {report.bad:,} could not be brought over" if report.bad else ""
    typer.echo(
        f"{report.moved:,} of {report.instances:,} instances brought over, {report.there:,} were "
        f"there{bad}; {report.users} people, {report.tokens} tokens, {report.quarantined} in "
        "quarantine"
    )
    raise typer.Exit(FAILED if report.bad else DONE)
