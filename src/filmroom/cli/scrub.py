"""`filmroom scrub`: read every stored file again, beside a running server or without one."""

from __future__ import annotations

import socket
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from filmroom.cli.common import (
    DONE,
    FAILED,
    AsJson,
    ConfigFile,
    DataFolder,
    index_of,
    put,
    say,
    settings_from,
)

if TYPE_CHECKING:
    from filmroom.archive.scrub import Report, Scrub
    from filmroom.archive.stores import Index
    from filmroom.config import Settings

LISTED = 20  # of each kind of trouble; --json has a thousand


def scrub(
    config: ConfigFile = None,
    data: DataFolder = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MIB/S",
            help="MiB read in a second; 0 for as fast as it goes (default: `scrub.rate_mib`).",
        ),
    ] = None,
    copy: Annotated[
        bool,
        typer.Option("--copy", help="Compare the second copy too, and write what it lacks."),
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Give files without a row their row; tidy the quarantine."),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where an unfinished run could go on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every stored file again and compare it with what was received.

    Damaged files are marked and not served; they are made anew from the second copy, where
    `blobs.copy_url` names one, or by the sender's sending them again. Files without row and
    rows without file are listed. A run that was stopped is continued by the next. Exit status 1
    if anything is wrong at the end.
    """
    settings = settings_from(config, data, rate=(("scrub", "rate_mib"), rate)).settings
    if copy and settings.copy_folder is None:
        raise typer.BadParameter("there is no second copy: set blobs.copy_url")
    with index_of(settings) as index:
        report = _run(settings, index, copy=copy, adopt=adopt, restart=restart)
    if as_json:
        put(report.as_dict())
    else:
        _tell(report, copy=copy)
    raise typer.Exit(DONE if report.is_sound else FAILED)


def _run(settings: Settings, index: Index, *, copy: bool, adopt: bool, restart: bool) -> Report:
    from filmroom import observe
    from filmroom.archive.leases import turn as among_nodes
    from filmroom.archive.scrub import Scrub
    from filmroom.archive.soundness import Pace
    from filmroom.asgi.app import SystemClock
    from filmroom.blobs.opening import open_blobs
    from filmroom.blobs.upkeep import copy_opener, turn

    observe.configure_logging("human", "warning")
    room = settings.archive.min_free_bytes
    blobs = open_blobs(settings.blobs, settings.blobs_folder, min_free_bytes=room)
    work = Scrub(
        index,
        blobs,
        SystemClock(),
        Pace(settings.scrub.rate_mib * 1048576),
        quarantine_max_bytes=settings.archive.quarantine_max_bytes,
        open_copy=copy_opener(settings.copy_folder),
        filling_copy=copy,
    )

    def our_turn(*, waiting: bool = False) -> AbstractContextManager[bool]:
        here = turn(settings.blobs_folder, waiting=waiting)
        who = f"filmroom scrub on {socket.gethostname()}"
        return among_nodes(index, "scrub", who, here, waiting=waiting)

    try:
        with our_turn() as mine:
            if mine:
                return _pass(work, adopt=adopt, restart=restart)
        say("somebody else is reading the files just now; waiting")
        with our_turn(waiting=True):
            return _pass(work, adopt=adopt, restart=restart)
    finally:
        blobs.close()


def _pass(work: Scrub, *, adopt: bool, restart: bool) -> Report:
    from filmroom.archive.scrub import Progress
    from filmroom.cli.progress import counting

    progress = work.begin(anew=restart)
    if progress.instances:
        say(f"going on after {progress.instances:,} files")
    shown_at = 0.0
    with counting("scrubbing", total=max(progress.last_id, 1)) as show:

        def told(progress: Progress) -> None:
            nonlocal shown_at
            if time.monotonic() >= shown_at + 0.1:
                shown_at = time.monotonic()
                mib = progress.size_bytes / 1048576
                show(progress.after_id, f"{mib:,.0f} MiB, {progress.damaged} damaged")

        work.look_again(progress)
        report = work.run(progress, told=told, putting_right=adopt)
    assert report is not None  # nobody stops it but by ending the program
    return report


def _tell(report: Report, *, copy: bool) -> None:
    progress, strays = report.progress, report.strays
    for mark in report.damaged[:LISTED]:
        say(f"damaged ({mark['reason']}): {mark['sop_instance_uid']}  {mark['key']}")
    for key in strays.files[:LISTED]:
        say(f"no row: {key}")
    for name in strays.quarantined_files[:LISTED]:
        say(f"in quarantine without an entry: {name}")
    for id_ in strays.quarantine_entries[:LISTED]:
        say(f"quarantine entry without a file: {id_}")
    lines = [
        f"{progress.instances:,} files read, {progress.size_bytes / 1048576:,.0f} MiB",
        f"{report.damaged_count:,} damaged, {progress.repaired:,} repaired, "
        f"{progress.sound_again:,} sound again",
        f"{strays.file_count:,} files without a row, {len(strays.quarantined_files):,} in "
        f"quarantine without an entry, {len(strays.quarantine_entries):,} entries without a file, "
        f"{strays.adopted:,} put right",
    ]
    if report.copy == "away":
        lines.append("the second copy is not there: is its disk mounted, its `store` made?")
    elif report.copy == "there":
        written = f", {progress.copied:,} written" if copy else ""
        lines.append(f"the second copy lacks {progress.copy_lacks:,} of them{written}")
    typer.echo("\n".join(lines))
