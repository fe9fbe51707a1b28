"""The server's end of a worker: its process, its socket, and one task on its way to and fro.

A call is driven by the event loop of whoever asked, without a thread of its own: a thread that
waits for a worker would contend with the loop for the interpreter, which costs more than it does.
"""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filmroom.observe import PIXEL_SECONDS
from filmroom.pixel import errors
from filmroom.pixel.errors import NoWorker, PixelError, WorkerLost
from filmroom.pixel.worker import ANSWER, PLAIN_BYTES, READY, REQUEST

BUFFER_BYTES = 1 << 20  # of each worker's socket, in both directions
FIRST_BYTES = 256 << 10  # of an answer that are read at once
GRACE_SECONDS = 2.0
START_SECONDS = 60.0
STOPPED = "the pixel workers are stopped"
DIED = "a pixel worker died; only this image is affected"
NONSENSE = "a pixel worker gave no answer that makes sense"
SETTINGS = "FILMROOM__"  # environment variables that may hold passwords


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker may take.

    memory_bytes: address space beyond what its libraries need. cpu_seconds: of one task.
    wall_seconds: of one task, sleeping included. waiting, waiting_bytes: tasks that may wait
    for a worker, and what they may hold together.
    """

    memory_bytes: int = 3 << 30
    cpu_seconds: int = 60
    wall_seconds: float = 120.0
    waiting: int = 512
    waiting_bytes: int = 1 << 30


@dataclass(slots=True, eq=False)
class Task:
    """Something to be done in a worker, and who waits for it."""

    job: str
    request: bytes
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    file: int = -1  # ours, to be given to the worker and closed
    look: asyncio.TimerHandle | None = None  # whether it waits for a worker that comes

    def close(self) -> None:
        """Let go of the file."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def fail(self, error: PixelError) -> None:
        """Tell whoever waits; from any thread."""
        self.close()
        try:
            self.loop.call_soon_threadsafe(self._fail, error)
        except RuntimeError:  # its loop is closed: nobody waits
            return

    def _fail(self, error: PixelError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Worker:
    """One process and the socket to it."""

    def __init__(self, limits: Limits) -> None:
        """Blocks until it is ready for tasks. Raises OSError or NoWorker."""
        self.limits = limits
        self.is_ended = False  # by us, whatever it was doing
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "filmroom.pixel.worker",
                    str(theirs.fileno()),
                    str(limits.memory_bytes),
                    str(limits.cpu_seconds),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        self.socket = ours
        ours.settimeout(START_SECONDS)
        try:
            is_ready = ours.recv(len(READY)) == READY
        except OSError:
            is_ready = False
        if not is_ready:
            self.kill()
            raise NoWorker("a pixel worker did not start")
        ours.setblocking(False)

    def stop(self) -> None:
        """Let it end by itself: its socket is closed."""
        self.socket.close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def end(self) -> None:
        """End its process; whoever calls it sees the socket close. From any thread."""
        self.is_ended = True
        self._process.kill()

    def kill(self) -> None:
        """End it now, and wait until it is gone."""
        self.socket.close()
        self._process.kill()
        self._process.wait()


class Call:
    """One task in a worker's hands; driven by the task's own loop."""

    def __init__(
        self, worker: Worker, task: Task, ended: Callable[[Call, WorkerLost | None], None]
    ) -> None:
        """ended: told at the end, and why the worker can be given no other task, if so."""
        self.worker = worker
        self.task = task
        self._ended = ended
        self._left = memoryview(task.request)
        self._answer: bytearray | None = None
        self._have = 0
        self._kind = 0
        self._since = time.perf_counter()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Send the task, or as much of it as the socket takes."""
        task, sock = self.task, self.worker.socket
        if task.future.done():  # cancelled in the meantime
            self._end()
            return
        file = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [task.file]))]
        head = REQUEST.pack(len(self._left))
        try:
            sent = sock.sendmsg((head, self._left), file if task.file >= 0 else [])
        except OSError:
            sent = 0
        if sent < len(head):  # an idle worker that is sound has read all that was before
            self._lost(DIED)
            return
        task.close()
        self._left = self._left[sent - len(head) :]
        self._timer = task.loop.call_later(self.worker.limits.wall_seconds, self._late)
        task.loop.add_reader(sock, self._read)
        if self._left:
            task.loop.add_writer(sock, self._write)

    def _write(self) -> None:
        try:
            self._left = self._left[self.worker.socket.send(self._left) :]
        except BlockingIOError:
            return
        except OSError:
            self._lost(DIED)
            return
        if not self._left:
            self.task.loop.remove_writer(self.worker.socket)

    def _read(self) -> None:
        try:
            answer = self._more_of_the_answer()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._lost(DIED)
        except (ValueError, MemoryError):
            self._lost(NONSENSE)
        else:
            if self._have == len(answer):
                self._conclude(answer)

    def _more_of_the_answer(self) -> bytearray:
        """What there is of it, `_have` bytes filled in. ValueError when it is none."""
        if self._answer is not None:
            with memoryview(self._answer) as view:
                count = self.worker.socket.recv_into(view[self._have :])
            if not count:
                raise EOFError
            self._have += count
            return self._answer
        first = self.worker.socket.recv(FIRST_BYTES)
        if not first:
            raise EOFError
        if len(first) < ANSWER.size or self._left:
            raise ValueError  # it is written at once, after the request was read
        length, self._kind = ANSWER.unpack_from(first)
        self._have = len(first) - ANSWER.size
        if not self._have <= length <= self.worker.limits.memory_bytes:
            raise ValueError
        self._answer = bytearray(length)  # the system gives memory where it is filled
        self._answer[: self._have] = memoryview(first)[ANSWER.size :]
        return self._answer

    def _conclude(self, answer: bytearray) -> None:
        if self._kind == PLAIN_BYTES:
            self._end(bytes(answer))
            return
        try:
            succeeded, value = Plain(io.BytesIO(answer)).load()
        except Exception:  # noqa: BLE001 - whatever it wrote, it is only a worker that is lost
            self._lost(NONSENSE)
            return
        if succeeded:
            self._end(value)
        else:
            is_ours = isinstance(value, PixelError)
            self._end(error=value if is_ours else WorkerLost("a pixel worker failed"))

    def _late(self) -> None:
        self._lost(f"the image took longer than {self.worker.limits.wall_seconds:g} s")

    def _lost(self, reason: str) -> None:
        error = NoWorker(STOPPED) if self.worker.is_ended else WorkerLost(reason)
        self._end(error=error, lost=error)

    def _end(
        self, value: Any = None, error: PixelError | None = None, lost: WorkerLost | None = None
    ) -> None:
        task = self.task
        task.close()
        if self._timer is not None:
            self._timer.cancel()
            task.loop.remove_reader(self.worker.socket)
            task.loop.remove_writer(self.worker.socket)
            PIXEL_SECONDS.labels(task.job).observe(time.perf_counter() - self._since)
        if task.future.done():  # nobody waits any more
            pass
        elif error is not None:
            task.future.set_exception(error)
        else:
            task.future.set_result(value)
        self._ended(self, lost)


# Frozen values that a task may answer with: nothing but fields to fill in.
_OUR_VALUES = {
    ("filmroom.pixel.transcode", "Plan"),
    ("filmroom.pixel.shape", "ImageShape"),
}
_OUR_ERRORS = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and kind.__module__ == errors.__name__
)


class Plain(pickle.Unpickler):
    """Reads plain values and our own errors only.

    A worker works on bytes from strangers; if one is ever taken over, its answers must not
    be a way into the server.
    """

    def find_class(self, module: str, name: str, /) -> Any:
        if module == errors.__name__ and name in _OUR_ERRORS:
            return super().find_class(module, name)
        if (module, name) in _OUR_VALUES:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def _environment() -> dict[str, str]:
    """The worker's environment: our import path, one thread per library, none of our secrets."""
    paths = [path for path in sys.path if path]
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith(SETTINGS)},
        "PYTHONPATH": os.pathsep.join(paths),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
