"""The remote application entities we know: those of the settings, and those added since.

The latter are in the index, so that all nodes have them; each node remembers them, for they are
asked for on every association.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from filmroom.archive.access import DIMSE_ACTIONS
from filmroom.archive.errors import ArchiveError, Conflict, NotHeld, Unintelligible
from filmroom.archive.news import News
from filmroom.archive.records import ANY_AE_TITLE, Peer
from filmroom.dicom.vrs import is_ae_title

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # until what another process has added is known, where nobody tells us
NET_SECONDS = 30.0  # where somebody does: it may have been lost
RIGHTS = ("echo", "store", "query", "retrieve")
_HOST = re.compile(r"[0-9A-Za-z._:%-]{1,255}")


class Peers(Protocol):
    """Where added peers are kept. All methods block; Unavailable."""

    def all(self) -> list[Peer]: ...
    def put(self, peer: Peer) -> None: ...
    def remove(self, ae_title: str) -> bool:
        """False when there is none of that title."""
        ...


class KeptIn(Protocol):
    """What we need of archive.stores.Index."""

    @property
    def peers(self) -> Peers: ...
    @property
    def in_touch(self) -> bool: ...


def a_peer(
    ae_title: str,
    host: str,
    port: int,
    may: Iterable[str] = RIGHTS,
    *,
    tls: bool = False,
    forward: bool = False,
) -> Peer:
    """A peer that makes sense; Unintelligible says why it does not."""
    ae_title = ae_title.strip(" ")
    rights = frozenset(DIMSE_ACTIONS) if set(may) == {"all"} else frozenset(may)
    if not is_ae_title(ae_title) or ae_title == ANY_AE_TITLE:
        raise Unintelligible("an AE title has 1 to 16 printable ASCII characters, no backslash")
    if not _HOST.fullmatch(host):
        raise Unintelligible("the host is a name or an address")
    if not 0 < port < 65_536:
        raise Unintelligible("the port is a number from 1 to 65535")
    if unknown := rights - DIMSE_ACTIONS:
        allowed = ", ".join(sorted(DIMSE_ACTIONS))
        raise Unintelligible(f"{min(unknown)!r} is no right; allowed: {allowed}, or all alone")
    return Peer(ae_title, host, port, frozenset(map(str, rights)), tls, forward)


class PeerBook:
    """All peers of this moment; `peers` is quick, and may be asked on an event loop."""

    def __init__(self, index: KeptIn, fixed: Sequence[Peer]) -> None:
        """fixed: those of the settings; they come first, and cannot be changed here."""
        self._index = index
        self._fixed = tuple(fixed)
        self._titles = {peer.ae_title for peer in fixed}
        self._all = self._fixed
        self.changed: Callable[[], None] = lambda: None  # blocks; called when they are others
        self._ended = threading.Event()
        self._look = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)

    def peers(self) -> tuple[Peer, ...]:
        """All of them."""
        return self._all

    def is_fixed(self, ae_title: str) -> bool:
        """Whether it is in the settings."""
        return ae_title in self._titles

    def add(self, peer: Peer) -> None:
        """Add or change one, for all nodes. Conflict when it is in the settings. Blocks."""
        self._demand_ours(peer.ae_title)
        self._index.peers.put(peer)
        self.refresh()

    def remove(self, ae_title: str) -> None:
        """Forget one, on all nodes. Conflict, NotHeld. Blocks."""
        self._demand_ours(ae_title)
        if not self._index.peers.remove(ae_title):
            raise NotHeld("no such peer has been added")
        self.refresh()

    def _demand_ours(self, ae_title: str) -> None:
        if self.is_fixed(ae_title):
            raise Conflict("that peer is in the settings: change it there")

    def refresh(self) -> None:
        """Look what there is now. Blocks."""
        added = (peer for peer in self._index.peers.all() if not self.is_fixed(peer.ae_title))
        before, self._all = self._all, (*self._fixed, *added)
        if self._all != before:
            self.changed()

    def heard(self, topic: str) -> None:
        """What a node has told; see archive.news. From any thread."""
        if topic in (News.PEERS, News.LOST_TOUCH):
            self._look.set()

    def start(self) -> None:
        """Know them, and notice from now on what others add. Blocks; Unavailable."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """End. Harmless when it was never started."""
        self._ended.set()
        self._look.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._look.wait(NET_SECONDS if self._index.in_touch else LOOK_SECONDS)
            self._look.clear()
            if self._ended.is_set():
                return
            try:
                self.refresh()
            except ArchiveError as error:
                log.debug("peers are those of before: %s %s", error.message, error.detail)
