"""What only one node may do at a time: a lease in the index, renewed while it is held."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from filmroom.archive.errors import ArchiveError
from filmroom.archive.jobs import Cluster
from filmroom.archive.stores import Index

log = logging.getLogger(__name__)

SECONDS = 60.0  # until others may take over from a node that died
WAIT_SECONDS = 1.0


@contextlib.contextmanager
def turn(
    index: Index,
    name: str,
    node: str,
    ours: AbstractContextManager[bool],
    *,
    waiting: bool = False,
) -> Iterator[bool]:
    """Whether it is our turn: among the processes here (`ours`) and among the nodes, if any.

    waiting: for as long as it takes. A holder whose database is away for longer than the
    lease goes on, and another may begin: what is done under a lease must bear that.
    """
    cluster, holder = index.cluster, f"{node} {secrets.token_hex(4)}"
    with ours as mine:
        if index.embedded:  # there are no other nodes
            yield mine
            return
        if not mine or not _taken(cluster, name, holder, waiting):
            yield False
            return
        ended = threading.Event()
        renewing = threading.Thread(
            target=_renew, args=(cluster, name, holder, ended.wait), name="lease", daemon=True
        )
        renewing.start()
        try:
            yield True
        finally:
            ended.set()
            renewing.join()
            with contextlib.suppress(ArchiveError):  # it runs out
                cluster.give_back(name, holder)


def _taken(cluster: Cluster, name: str, holder: str, waiting: bool) -> bool:
    pause = threading.Event()
    while not cluster.hold(name, holder, SECONDS):
        if not waiting:
            return False
        pause.wait(WAIT_SECONDS)
    return True


def _renew(cluster: Cluster, name: str, holder: str, ended: Callable[[float], bool]) -> None:
    while not ended(SECONDS / 3):
        try:
            cluster.hold(name, holder, SECONDS)
        except ArchiveError as error:
            log.warning("a lease was not renewed", extra={"detail": error.detail})
