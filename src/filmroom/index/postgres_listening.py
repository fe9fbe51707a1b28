"""Hearing what other nodes tell: a connection of its own that waits for NOTIFY.

When it is lost it is made anew, with growing pauses; what was told meanwhile nobody says again,
so that the listeners then hear `News.LOST_TOUCH` and look for themselves. One that went silent
without a word is noticed by TCP keepalives.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from typing import Any

import psycopg
from psycopg import sql

from filmroom.archive.news import News
from filmroom.index.telling import Callback, Listeners, read

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
LOOK_SECONDS = 10  # of silence, after which the server is asked whether it is there
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
_KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Ear:
    """Listens on one channel of one server."""

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel
        self._listeners = Listeners()
        self._thread: threading.Thread | None = None
        self._tried = threading.Event()
        self._ending = False
        self._wake_read = self._wake_write = -1
        self.in_touch = False  # whether all that is told now is heard

    def listen(self, callback: Callback) -> None:
        """Call it for all that is told from now on; returns when that is so.

        When the server does not answer: a few seconds later, and it is tried again.
        """
        self._listeners.add(callback)
        if self._thread is None:
            self._wake_read, self._wake_write = os.pipe()
            self._thread = threading.Thread(target=self._run, name="index listening", daemon=True)
            self._thread.start()
        self._tried.wait(2 * CONNECT_SECONDS)

    def close(self) -> None:
        """End; harmless a second time."""
        thread = self._thread
        if self._ending or thread is None:
            return
        self._ending = True
        os.write(self._wake_write, b"x")
        if thread is not threading.current_thread():
            thread.join(2 * CONNECT_SECONDS)
        if thread.is_alive():
            return  # it waits for a server that went silent: nobody waits for it
        os.close(self._wake_read)
        os.close(self._wake_write)

    # -- the thread ----------------------------------------------------------------------------
    def _run(self) -> None:
        pause, is_again = FIRST_PAUSE_SECONDS, False
        while not self._ending:
            try:
                with contextlib.closing(self._connected()) as connection:
                    self.in_touch = True
                    self._tried.set()
                    pause = FIRST_PAUSE_SECONDS
                    if is_again:
                        log.info("what other nodes tell is heard again")
                        self._listeners.tell(News.LOST_TOUCH, "")
                    self._hear(connection)
            except (psycopg.Error, OSError) as error:
                self.in_touch = False
                self._tried.set()
                if not self._ending:
                    detail = f"{type(error).__name__}: {error}".strip()
                    log.warning("what other nodes tell is not heard", extra={"detail": detail})
            is_again = True
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        self.in_touch = False

    def _connected(self) -> psycopg.Connection:
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,
            application_name="filmroom listening",
            connect_timeout=CONNECT_SECONDS,
            **_KEEPALIVE,
        )
        connection.add_notify_handler(lambda told: self._listeners.tell(*read(told.payload)))
        try:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        except BaseException:
            connection.close()
            raise
        return connection

    def _hear(self, connection: psycopg.Connection) -> None:
        """Until the end, or an error."""
        pgconn = connection.pgconn
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not self._ending:
            while (told := pgconn.notifies()) is not None:
                self._listeners.tell(*read(told.extra.decode("utf-8", "replace")))
            if poll.poll(LOOK_SECONDS * 1000):
                if not self._ending:
                    pgconn.consume_input()
                continue
            self.in_touch = False  # until it has answered
            connection.execute("SELECT 1")
            self.in_touch = True

    def _sleep(self, seconds: float) -> None:
        if not self._ending:
            poll = select.poll()
            poll.register(self._wake_read, select.POLLIN)
            poll.poll(seconds * 1000)
