"""`filmroom migrate`: what an upgrade has done to the schema of the index, and its last part."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from filmroom.cli.common import AsJson, ConfigFile, DataFolder, fail, put, settings_from

if TYPE_CHECKING:
    from filmroom.index.migrate import Survey

STATES = {
    "applied": "",
    "newer": "   by a later filmroom",
    "pending": "   at the next start of a node",
    "waiting": "   until all nodes are upgraded: filmroom migrate --post",
}


def migrate(
    config: ConfigFile = None,
    data: DataFolder = None,
    post: Annotated[
        bool, typer.Option("--post", help="All nodes are upgraded: apply what waits for that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show which steps the schema of the index has been through, and which are to come.

    Nothing is changed without `--post`. Nodes that share an index are upgraded one by one; what
    nodes of the last version would not survive is applied when you say that there are none any
    more. An index on one machine needs none of this: the next start does it all. Exit status 1 if
    the index does not answer, a later filmroom has changed it, or nodes of other versions
    are still there.
    """
    from filmroom.archive.errors import ArchiveError
    from filmroom.index import migrate as steps
    from filmroom.index.queries import open_engine

    settings = settings_from(config, data).settings
    if not settings.index.url and not settings.data.is_dir():
        raise fail(f"there is no data folder {settings.data}; give it with --data")
    try:
        engine = open_engine(settings.index_place)
        try:
            done = steps.migrate(engine, post=True) if post else []
            found = steps.survey(engine)
        finally:
            engine.close()
    except ArchiveError as error:
        raise fail(error.message) from None
    if as_json:
        put({**asdict(found), "done": done})
        return
    _show(found)
    if post:
        typer.echo(f"applied now: {', '.join(done) or 'nothing, all was applied before'}")


def _show(found: Survey) -> None:
    states = asdict(found)
    for state, remark in STATES.items():
        for step in states[state]:
            typer.echo(f"{state:<8} {step}{remark}")
