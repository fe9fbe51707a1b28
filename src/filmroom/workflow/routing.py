"""What has settled goes where it is wanted: events of the outbox become jobs, once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from filmroom.archive.jobs import Event, NewJob, Queue, send_job
from filmroom.archive.records import Peer

NAME = "forward"
KINDS = ("series-settled",)


class Forwarding:
    """Sends every series that has settled to the peers that want them all."""

    def __init__(self, queue: Queue, peers: Callable[[], Sequence[Peer]]) -> None:
        """peers: those of this moment."""
        self._queue = queue
        self._peers = peers
        self._ended = False

    @property
    def _wanting(self) -> list[str]:
        return [peer.ae_title for peer in self._peers() if peer.forward]

    def feed(self) -> None:
        """Make jobs of what has happened since the last time. Blocks."""
        if self._wanting:
            self._ended = False
            while self._queue.feed(NAME, KINDS, self._jobs):
                pass
        elif not self._ended:
            self._queue.unfeed(NAME)  # or what happens meanwhile would be sent one day
            self._ended = True

    def _jobs(self, events: Sequence[Event]) -> list[NewJob]:
        jobs, wanting = [], self._wanting
        for event in events:
            told = orjson.loads(event.body)
            for ae_title in wanting:
                jobs.append(send_job(ae_title, told["study"], told["series"], priority=10))
        return jobs
