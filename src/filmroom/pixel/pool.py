"""A bounded set of worker processes, so that pixels never block, fill or kill the server.

Each worker is a Python of its own that runs `pixel.worker`, with a limit on its memory and
on the seconds of CPU that one task may take. Whatever a hostile codestream does to it, only
the task in hand is lost: the worker is replaced. Workers start at the first task. `run` may
be awaited on any event loop, of any thread.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

from filmroom.observe import PIXEL_SECONDS
from filmroom.pixel import errors
from filmroom.pixel.errors import Busy, PixelError, WorkerLost

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

BUFFER_BYTES = 1 << 20  # of each worker's socket, in both directions
GRACE_SECONDS = 2.0
START_SECONDS = 60.0
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
class _Task:
    job: str
    request: bytes
    future: Future[Any]
    file: int = -1  # ours, to be given to the worker and closed

    def close(self) -> None:
        """Let go of the file."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class Pool:
    """`workers` processes; `await pool.run(function, *args)` calls a function in one of them.

    Functions and arguments are pickled: functions of modules, bytes, frozen values. Results
    are plain: bytes, numbers, text, and tuples and lists of them.
    """

    def __init__(self, workers: int = 0, limits: Limits | None = None) -> None:
        """workers: 0 means one per processor this process may use."""
        self.workers = workers or len(os.sched_getaffinity(0))
        self.limits = limits or Limits()
        self._tasks: deque[_Task] = deque()
        self._changed = threading.Condition()  # holds the lock of all that follows
        self._threads: list[threading.Thread] = []
        self._live: set[_Worker] = set()
        self._idle = 0
        self._waiting_bytes = 0
        self._closed = False

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a worker. Raises what it raises of the PixelError family,
        WorkerLost when the worker died or took too long, and Busy when too many wait.
        A task whose awaiter is cancelled before it began is never begun, and waits no more.
        """
        result: T = await asyncio.wrap_future(self.submit(function, *args, **kwargs))
        return result

    async def run_on(
        self,
        file: int,
        function: Callable[Concatenate[int, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same for work on an open file: what is in it never passes through here.

        file: a descriptor to read from; the function's first argument is one of the worker's
        own. It may be closed as soon as this is called.
        """
        request = pickle.dumps((function, args, kwargs, True), pickle.HIGHEST_PROTOCOL)
        future: Future[T] = Future()
        task = _Task(_name(function), request, future, os.dup(file))
        try:
            self._enter(task)
        except BaseException:
            task.close()
            raise
        return await asyncio.wrap_future(future)

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The same as `run` for callers without an event loop."""
        request = pickle.dumps((function, args, kwargs, False), pickle.HIGHEST_PROTOCOL)
        future: Future[T] = Future()
        self._enter(_Task(_name(function), request, future))
        return future

    def _enter(self, task: _Task) -> None:
        request = task.request
        with self._changed:
            if self._closed:
                raise WorkerLost("the pixel workers are stopped")
            if len(self._tasks) >= self.limits.waiting or (
                self._waiting_bytes
                and self._waiting_bytes + len(request) > self.limits.waiting_bytes
            ):
                raise Busy("too many images are being prepared, try again")
            self._waiting_bytes += len(request)
            self._tasks.append(task)
            self._changed.notify()
            if len(self._tasks) > self._idle and len(self._threads) < self.workers:
                self._start_thread()
        task.future.add_done_callback(lambda _: self._withdraw(task))

    def _withdraw(self, task: _Task) -> None:
        """Take a cancelled task from the queue: it shall hold neither memory nor a place."""
        if not task.future.cancelled():
            return
        with self._changed:
            if task in self._tasks:
                self._tasks.remove(task)
                self._waiting_bytes -= len(task.request)
                task.close()

    def warm(self, workers: int = 1) -> None:
        """Start so many workers now, so that the first picture does not wait for one.

        The others come with more work than there are workers, or after the first picture:
        a server that nobody asks for pictures need not keep them all.
        """
        with self._changed:
            while not self._closed and len(self._threads) < min(workers, self.workers):
                self._start_thread()

    def _start_thread(self) -> None:
        name = f"pixel-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Stop all workers; what still waits or runs for long fails with WorkerLost."""
        with self._changed:
            self._closed = True
            threads = list(self._threads)
            waiting = list(self._tasks)
            self._tasks.clear()
            self._changed.notify_all()
        for task in waiting:
            task.close()
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(WorkerLost("the pixel workers are stopped"))
        until = time.monotonic() + GRACE_SECONDS
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0.0))
        for worker in list(self._live):
            worker.end()
        for thread in threads:
            thread.join(GRACE_SECONDS)

    def _serve(self) -> None:
        """One thread per worker: hand it tasks, one after the other."""
        worker = self._new_worker()
        while (task := self._next()) is not None:
            if not task.future.set_running_or_notify_cancel():
                task.close()
                continue
            worker = worker or self._new_worker()
            try:
                if worker is None:
                    raise WorkerLost("no pixel worker can be started")
                with PIXEL_SECONDS.labels(task.job).time():
                    result = worker.call(task.request, task.file)
                task.future.set_result(result)
                if len(self._threads) < self.workers:
                    self.warm(self.workers)
            except WorkerLost as error:
                if worker is not None:
                    self._live.discard(worker)
                    worker.kill()
                    worker = None
                log.warning("pixel worker lost", extra={"reason": error.message})
                task.future.set_exception(error)
            except PixelError as error:
                task.future.set_exception(error)
            except Exception as error:  # else nobody would serve this worker's tasks
                log.error("pixel task failed: a bug", exc_info=error)
                task.future.set_exception(WorkerLost("a pixel worker failed"))
            finally:
                task.close()
        if worker is not None:
            self._live.discard(worker)
            worker.stop()

    def _next(self) -> _Task | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._tasks or self._closed)
            self._idle -= 1
            if self._closed:
                return None
            task = self._tasks.popleft()
            self._waiting_bytes -= len(task.request)
            return task

    def _new_worker(self) -> _Worker | None:
        try:
            worker = _Worker(self.limits)
        except (OSError, WorkerLost) as error:
            log.error("a pixel worker did not start", extra={"detail": str(error)})
            return None
        self._live.add(worker)
        return worker


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


class _Plain(pickle.Unpickler):
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


class _Worker:
    """One process and the socket to it. Used by one thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            # A worker that stops in the middle of a message shall not keep its thread for ever.
            for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, way, _timeval(limits.wall_seconds))
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
        self._socket = ours
        self._connection = Connection(os.dup(ours.fileno()))
        if not self._connection.poll(START_SECONDS) or self._receive() != b"ready":
            self.kill()
            raise WorkerLost("a pixel worker did not start")

    def call(self, request: bytes, file: int = -1) -> Any:
        """Send one task and wait for its result; raises what the task raised, or WorkerLost.

        file: a descriptor that the task needs; -1 for none.
        """
        try:
            self._connection.send_bytes(request)
            if file >= 0:
                socket.send_fds(self._socket, [b"F"], [file])
        except OSError as error:
            raise WorkerLost("a pixel worker died; only this image is affected") from error
        received = self._receive()
        try:
            succeeded, value = _Plain(io.BytesIO(received)).load()
        except Exception as error:  # whatever it wrote, it is only a worker that is lost
            raise WorkerLost("a pixel worker gave no answer that makes sense") from error
        if not succeeded:
            raise value if isinstance(value, PixelError) else WorkerLost("a pixel worker failed")
        return value

    def _receive(self) -> bytes:
        try:
            return self._connection.recv_bytes()
        except BlockingIOError as error:  # SO_RCVTIMEO
            limit = self._limits.wall_seconds
            raise WorkerLost(f"the image took longer than {limit:g} s") from error
        except (EOFError, OSError) as error:
            raise WorkerLost("a pixel worker died; only this image is affected") from error

    def stop(self) -> None:
        """Let it end by itself: its socket is closed."""
        self._close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _close(self) -> None:
        self._connection.close()
        self._socket.close()

    def end(self) -> None:
        """End its process; its thread sees the socket close. For other threads to call."""
        self._process.kill()

    def kill(self) -> None:
        """End it now."""
        self._close()
        self._process.kill()
        self._process.wait()


def _name(function: Callable[..., Any]) -> str:
    """A function's own name, for the metrics."""
    inner = function.func if isinstance(function, partial) else function
    return str(getattr(inner, "__name__", "other"))


def _timeval(seconds: float) -> bytes:
    """A `struct timeval`, for the kernel."""
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1e6) + 1)


def _environment() -> dict[str, str]:
    """The worker's environment: our import path, one thread per library, none of our secrets."""
    paths = [path for path in sys.path if path]
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith(SETTINGS)},
        "PYTHONPATH": os.pathsep.join(paths),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
