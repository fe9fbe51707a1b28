"""What the commands that work on a data folder share: options, settings, saying things."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

if TYPE_CHECKING:
    from filmroom.archive.stores import Index
    from filmroom.config import Loaded, Settings

DONE, FAILED, WRONG_USAGE = 0, 1, 2

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-C", metavar="FILE", help="Settings (TOML).", envvar="FILMROOM_CONFIG"
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", "-d", metavar="DIR", help="Data folder (default: ./filmroom-data)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def say(text: str) -> None:
    """One line for people, on standard error: standard output is for results."""
    sys.stderr.write(f"{text}\n")


def fail(text: str, status: int = FAILED) -> typer.Exit:
    """Say what went wrong; raise what this returns."""
    say(f"filmroom: {text}")
    return typer.Exit(status)


def put(value: Any) -> None:
    """`value` as JSON on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def settings_from(
    config: Path | None, data: Path | None, **options: tuple[tuple[str, ...], Any]
) -> Loaded:
    """The settings in force; a mistake in them ends the program with what to do about it.

    options: name on the command line -> (key, value).
    """
    from filmroom.config import ConfigError, load

    said = {key: (value, f"--{name.replace('_', '-')}") for name, (key, value) in options.items()}
    said[("data",)] = (None if data is None else str(data), "--data")
    try:
        return load(file=config, options=said)
    except ConfigError as error:
        raise fail(str(error), WRONG_USAGE) from None


@contextmanager
def index_of(settings: Settings) -> Iterator[Index]:
    """The index of an existing data folder, also while a server runs on it."""
    from filmroom.archive.errors import ArchiveError
    from filmroom.index.queries import open_index

    if not settings.index.url and not settings.data.is_dir():
        raise fail(f"there is no data folder {settings.data}; give it with --data")
    try:
        index = open_index(settings.index_place)
        try:
            yield index
        finally:
            index.close()
    except ArchiveError as error:
        raise fail(error.message) from None
