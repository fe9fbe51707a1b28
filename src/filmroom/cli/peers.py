"""`filmroom peer …`: remote application entities, added while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from filmroom.cli.common import (
    AsJson,
    ConfigFile,
    DataFolder,
    fail,
    index_of,
    put,
    settings_from,
)

if TYPE_CHECKING:
    from filmroom.archive.records import Peer

peer = typer.Typer(no_args_is_help=True, help="Remote application entities: list, add, remove.")


@peer.command("list")
def list_peers(config: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Those of the settings, and those added since."""
    from filmroom.archive.peers import PeerBook

    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        book = PeerBook(index, settings.peer_records)
        book.refresh()
    rows = [_told(each, in_settings=book.is_fixed(each.ae_title)) for each in book.peers()]
    if as_json:
        put(rows)
        return
    for row in rows:
        marks = [word for word in ("tls", "forward", "in_settings") if row[word]]
        place = f"{row['host']}:{row['port']}"
        told = [row["ae_title"], place, "+".join(row["may"]), *marks]
        typer.echo("\t".join(told).replace("in_settings", "settings"))


@peer.command("add")
def add_peer(
    text: Annotated[
        str,
        typer.Argument(
            metavar="AET=HOST:PORT[:RIGHT+RIGHT…|:all]",
            help="Its AE title, where it listens, and what it may do here (default: echo, store, "
            "query and retrieve).",
        ),
    ],
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS when we call it.")] = False,
    forward: Annotated[
        bool, typer.Option("--forward", help="Send it every series that arrives.")
    ] = False,
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Add a peer, or change one that was added; all nodes know it within a second or two."""
    from filmroom.archive.peers import PeerBook, a_peer
    from filmroom.config.settings import parse_peer

    settings = settings_from(config, data).settings
    try:
        given = parse_peer(text)
    except ValueError as error:
        raise fail(str(error)) from None
    made = a_peer(**given, tls=tls, forward=forward)
    with index_of(settings) as index:
        PeerBook(index, settings.peer_records).add(made)
    typer.echo(f"{made.ae_title} is known")


@peer.command("remove")
def remove_peer(
    ae_title: Annotated[str, typer.Argument(help="Its AE title.")],
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Forget a peer that was added."""
    from filmroom.archive.peers import PeerBook

    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        PeerBook(index, settings.peer_records).remove(ae_title)
    typer.echo(f"{ae_title} is forgotten")


def _told(each: Peer, *, in_settings: bool) -> dict[str, Any]:
    return {
        "ae_title": each.ae_title,
        "host": each.host,
        "port": each.port,
        "tls": each.tls,
        "may": sorted(each.may),
        "forward": each.forward,
        "in_settings": in_settings,
    }
