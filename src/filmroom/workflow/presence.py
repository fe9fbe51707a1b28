"""A thread that lets the other nodes know that this one is there."""

from __future__ import annotations

import contextlib
import logging
import threading

from filmroom.archive.errors import ArchiveError
from filmroom.archive.jobs import Cluster

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0


class Presence:
    """Of one node among those that share an index."""

    def __init__(self, cluster: Cluster, node: str, version: str) -> None:
        self._cluster = cluster
        self._node = node
        self._version = version
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Be seen from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Leave. Harmless when it was never started."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            with contextlib.suppress(ArchiveError):  # others see for themselves
                self._cluster.left(self._node)

    def _run(self) -> None:
        tell = self._cluster.started
        while True:
            try:
                tell(self._node, self._version)
                tell = self._cluster.here
            except ArchiveError as error:
                log.debug("the other nodes do not see us: %s %s", error.message, error.detail)
            if self._ended.wait(BEAT_SECONDS):
                return
