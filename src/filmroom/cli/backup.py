"""`filmroom backup | restore | verify`: for an archive on one machine, also while it runs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import orjson
import typer

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

if TYPE_CHECKING:
    from filmroom.archive.backup import Report
    from filmroom.archive.soundness import Pace
    from filmroom.archive.stores import Index
    from filmroom.config import Settings

INDEX, NEW_INDEX, NOTE, RESTORING = "index.sqlite", "index.sqlite.new", "backup.json", "restoring"
SHOWN = 20

Rate = Annotated[
    float, typer.Option(min=0, metavar="MIB/S", help="MiB read in a second; 0: as fast as it goes.")
]


def backup(
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; the same every time.")],
    config: ConfigFile = None,
    data: DataFolder = None,
    rate: Rate = 0,
    as_json: AsJson = False,
) -> None:
    """Write a backup into FOLDER, beside a running server or without one.

    Index and files belong together as of the moment this was begun. Again into the same folder,
    only what is new is copied. Files that are damaged are listed and left out; exit status 1.
    """
    settings = settings_from(config, data).settings
    path = _index_path(settings)
    if not path.exists():
        raise fail(f"there is no index {path}; give the data folder with --data")
    _apart(to, settings.blobs_folder)
    with _telling():
        from filmroom.blobs.durable import sync_folder
        from filmroom.index.sqlite import snapshot

        to.mkdir(mode=0o750, parents=True, exist_ok=True)
        snapshot(path, to / NEW_INDEX)
        report = _copied(to / NEW_INDEX, settings.blobs_folder, to, rate, "backing up")
        _copy_folder(settings.blobs_folder / "quarantine", to / "quarantine")
        os.replace(to / NEW_INDEX, to / INDEX)
        sync_folder(to)
        _note(to, report)
    _finish(report, as_json, f"{report.copied:,} of {report.instances:,} files were new")


def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup.")],
    rate: Rate = 0,
    as_json: AsJson = False,
) -> None:
    """Read all of a backup and compare every file with what was received. Exit status 1 if not."""
    _demand_backup(folder)
    with _telling():
        from filmroom.archive.backup import check_all
        from filmroom.blobs.filesystem import FilesystemBlobs

        blobs = FilesystemBlobs(folder)
        try:
            with _opened(folder / INDEX) as index, _shown(index, "verifying") as told:
                report = check_all(index, blobs, _pace(rate), told)
        finally:
            blobs.close()
    _finish(report, as_json, f"{report.instances:,} files read")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup.")],
    config: ConfigFile = None,
    data: DataFolder = None,
    rate: Rate = 0,
    as_json: AsJson = False,
) -> None:
    """Make a new archive of a backup. The data folder must be empty, or a restore cut short."""
    _demand_backup(folder)
    settings = settings_from(config, data).settings
    target, path = settings.blobs_folder, _index_path(settings)
    _apart(folder, target)
    with _telling():
        from filmroom.blobs.durable import sync_chain, sync_folder, write_whole
        from filmroom.blobs.upkeep import hold
        from filmroom.index.sqlite import snapshot

        settings.data.mkdir(mode=0o750, parents=True, exist_ok=True)
        mark = settings.data / RESTORING
        held = hold(settings.data)
        try:
            if not mark.exists() and (path.exists() or _has_files(target / "store")):
                raise fail(f"{settings.data} holds an archive: restore into an empty folder")
            write_whole(mark, f"{folder.absolute()}\n")
            report = _copied(folder / INDEX, folder, target, rate, "restoring")
            _copy_folder(folder / "quarantine", target / "quarantine")
            snapshot(folder / INDEX, path.with_name(f"{path.name}.new"))
            os.replace(path.with_name(f"{path.name}.new"), path)
            sync_chain(path.parent)
            _hold_jobs(settings)
            mark.unlink()
            sync_folder(settings.data)
        finally:
            os.close(held)
    _finish(report, as_json, f"{report.instances:,} files restored into {settings.data}")


def _hold_jobs(settings: Settings) -> None:
    """What waited when the backup was made is for a person to decide: was it not done since?"""
    from filmroom.index.queries import open_index

    index = open_index(settings.index_place)
    try:
        index.jobs.cancel_all("it was waiting when the backup was made; `filmroom jobs retry`")
    finally:
        index.close()


# -- parts -------------------------------------------------------------------------------------
def _index_path(settings: Settings) -> Path:
    parts = urlsplit(settings.index_place.url)
    if parts.scheme != "sqlite" or settings.blobs.store is not None:
        raise fail(
            "this is for an index on SQLite with files; PostgreSQL and object stores are backed up "
            "with their own tools, see the manual: several nodes"
        )
    return Path(unquote(parts.path))


def _apart(one: Path, other: Path) -> None:
    first, second = one.resolve(), other.resolve()
    if first == second or first in second.parents or second in first.parents:
        raise fail("the backup and the archive must not lie in each other")


def _demand_backup(folder: Path) -> None:
    if not (folder / INDEX).exists() or not (folder / "store").is_dir():
        raise fail(f"{folder} is no backup: it has no {INDEX}, or no store")


def _has_files(folder: Path) -> bool:
    return any(files for _, _, files in os.walk(folder))


@contextmanager
def _telling() -> Iterator[None]:
    """What went wrong, in one line."""
    from filmroom import observe
    from filmroom.archive.errors import ArchiveError
    from filmroom.blobs.upkeep import DataFolderInUse

    observe.configure_logging("human", "warning")
    try:
        yield
    except ArchiveError as error:
        raise fail(f"{error.message} ({error.detail})" if error.detail else error.message) from None
    except (OSError, DataFolderInUse) as error:
        raise fail(str(error)) from None


@contextmanager
def _opened(path: Path) -> Iterator[Index]:
    from filmroom.index.queries import open_index

    index = open_index(f"sqlite:///{path.absolute()}")
    try:
        yield index
    finally:
        index.close()


def _pace(rate: float) -> Pace:
    from filmroom.archive.soundness import Pace

    return Pace(rate * 1048576)


def _copied(index_path: Path, source: Path, target: Path, rate: float, what: str) -> Report:
    from filmroom.archive.backup import copy_all
    from filmroom.blobs.filesystem import FilesystemBlobs

    blobs, copies = FilesystemBlobs(source), FilesystemBlobs(target)
    try:
        copies.sweep()
        with _opened(index_path) as index, _shown(index, what) as told:
            return copy_all(index, blobs, copies, _pace(rate), told)
    finally:
        blobs.close()
        copies.close()


@contextmanager
def _shown(index: Index, what: str) -> Iterator[Callable[[Report], None]]:
    from filmroom.cli.progress import counting

    shown_at = 0.0
    with counting(what, total=max(index.statistics().instances, 1)) as show:

        def told(report: Report) -> None:
            nonlocal shown_at
            if time.monotonic() >= shown_at + 0.1:
                shown_at = time.monotonic()
                show(report.instances, f"{report.size_bytes / 1048576:,.0f} MiB")

        yield told


def _copy_folder(source: Path, target: Path) -> None:
    """Files that never change, by name; each whole or not at all."""
    from filmroom.blobs.durable import sync_folder

    if not source.is_dir():
        return
    target.mkdir(mode=0o750, exist_ok=True)
    for entry in sorted(source.iterdir()):
        there = target / entry.name
        if there.exists() or not entry.is_file():
            continue
        new = there.with_name(f"{there.name}.new")
        shutil.copyfile(entry, new)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(new, there)
    sync_folder(target)


def _note(folder: Path, report: Report) -> None:
    from filmroom import __version__
    from filmroom.blobs.durable import write_whole

    note = {
        "filmroom": __version__,
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "instances": report.instances,
        "size_bytes": report.size_bytes,
        "left_out": report.bad,
    }
    write_whole(folder / NOTE, orjson.dumps(note, option=orjson.OPT_INDENT_2).decode() + "\n")


def _finish(report: Report, as_json: bool, said: str) -> None:
    if as_json:
        from dataclasses import asdict

        put({"is_sound": not report.bad, **asdict(report)})
    else:
        for key in report.listed[:SHOWN]:
            say(f"damaged or gone: {key}")
        bad = f", {report.bad:,} damaged or gone" if report.bad else ""
        typer.echo(f"{said}, {report.size_bytes / 1048576:,.0f} MiB in all{bad}")
    raise typer.Exit(FAILED if report.bad else DONE)
