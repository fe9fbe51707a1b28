"""What has settled goes where it is wanted: events of the outbox become jobs, once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

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

    def feed(self) -> None:
        """Make jobs of what has happened since the last time. Blocks."""
        for peer in self._peers():
            if peer.forward:
                made = partial(_jobs, peer.ae_title)
                while self._queue.feed(f"{NAME} {peer.ae_title}", KINDS, made):
                    pass


def _jobs(ae_title: str, events: Sequence[Event]) -> list[NewJob]:
    jobs = []
    for event in events:
        told = orjson.loads(event.body)
        jobs.append(send_job(ae_title, told["study"], told["series"], priority=10))
    return jobs
