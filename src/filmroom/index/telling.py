"""What is told at a commit, and who listens: callbacks on one thread of the engine.

A callback should be short: the next one waits for it. One that fails is written to the log, and
ends neither the thread nor the other callbacks.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

Callback = Callable[[str, str], None]  # topic, payload
Message = tuple[str, str]

LONGEST_BYTES = 7999  # of "topic:payload" (PostgreSQL: NOTIFY)


def spelt(topic: str, payload: str) -> str:
    """A message as one text; ValueError when it is too long, or the topic is none."""
    text = f"{topic}:{payload}"
    if not topic or ":" in topic:
        raise ValueError(f"{topic!r} is no topic")
    if len(text.encode()) > LONGEST_BYTES:
        raise ValueError(f"a message of more than {LONGEST_BYTES} bytes")
    return text


def read(text: str) -> Message:
    """The message that was `spelt`."""
    topic, _, payload = text.partition(":")
    return topic, payload


class Listeners:
    """The callbacks of an engine; whoever has the thread calls `tell`."""

    def __init__(self) -> None:
        self._callbacks: tuple[Callback, ...] = ()

    def add(self, callback: Callback) -> None:
        """One more."""
        self._callbacks = (*self._callbacks, callback)

    def tell(self, topic: str, payload: str) -> None:
        """Call them all, one after the other."""
        for callback in self._callbacks:
            try:
                callback(topic, payload)
            except Exception:
                log.exception("a listener failed", extra={"detail": topic})


class InProcess:
    """Tells the listeners of this process what was committed by it, in that order."""

    def __init__(self) -> None:
        self._listeners = Listeners()
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def listen(self, callback: Callback) -> None:
        """Call it for all that is posted from now on."""
        self._listeners.add(callback)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="index told", daemon=True)
            self._thread.start()

    def post(self, messages: Sequence[Message]) -> None:
        """Returns at once."""
        if self._thread is not None:
            for message in messages:
                self._waiting.put(message)

    def close(self) -> None:
        """Tell what was posted, and end."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (message := self._waiting.get()) is not None:
            self._listeners.tell(*message)
