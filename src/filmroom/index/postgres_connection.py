"""A connection that is not waited on for ever: a network may swallow what it was given."""

from __future__ import annotations

import select
import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus

from filmroom.index.engine import Row

ANSWER_SECONDS = 60.0  # a statement is given up when the server says nothing for so long
FAREWELL_MS = 20
# Unless the URL says otherwise. The server, too, gives up a transaction whose node is gone.
_TERMS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


class Connection(psycopg.Connection[Row]):
    """psycopg's, with an end to its patience."""

    is_hurried = True

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Raises OperationalError when no answer comes; the connection is closed then."""
        if not self.is_hurried:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_hurried(gen, ANSWER_SECONDS), *args, **options)
        except _Silent:
            self.close()
            raise


class _Silent(psycopg.OperationalError):
    """The server has taken what it was sent, and said nothing."""


def _hurried(waiting: Any, seconds: float) -> Generator[Any, Any, Any]:
    """psycopg's own steps, until there was nothing to read or write for so long."""
    last = time.monotonic()
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if ready:
                last = time.monotonic()
            elif time.monotonic() - last > seconds:
                raise _Silent(f"no answer in {seconds:g} seconds")
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value


def demand_open(connection: Connection) -> None:
    """OperationalError when the server, or a pooler, has hung up; without asking it anything.

    One that is away behind a pooler would not answer, and each connection wait for that.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    wait_ms = 0
    while poll.poll(wait_ms):
        connection.pgconn.consume_input()
        if connection.pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError("the server has hung up")
        wait_ms = FAREWELL_MS  # it may say why first


def terms(url: str) -> dict[str, Any]:
    """Our part of how to connect. Raises psycopg.Error for a URL that is none."""
    said = conninfo_to_dict(url)
    return {name: value for name, value in _TERMS.items() if name not in said}
