"""A bounded set of worker processes, so that pixels never block, fill or kill the server.

Each worker is a Python of its own that runs `pixel.worker`, with a limit on its memory and
on the seconds of CPU that one task may take. Whatever a hostile codestream does to it, only
the task in hand is lost: the worker is replaced. Workers start at the first task. `run` may
be awaited on any event loop, of any thread; a task is sent and its answer read on that loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from filmroom.pixel.calling import STOPPED, Call, Limits, Task, Worker
from filmroom.pixel.errors import Busy, NoWorker, WorkerLost

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0  # that a task waits between two looks for workers whose loop is gone


class Pool:
    """`workers` processes; `await pool.run(function, *args)` calls a function in one of them.

    Functions and arguments are pickled: functions of modules, bytes, frozen values. Results
    are plain: bytes, numbers, text, and tuples and lists of them.
    """

    def __init__(self, workers: int = 0, limits: Limits | None = None) -> None:
        """workers: 0 means one per processor this process may use."""
        self.workers = workers or len(os.sched_getaffinity(0))
        self.limits = limits or Limits()
        self._lock = threading.Lock()  # over all that follows
        self._tasks: deque[Task] = deque()
        self._waiting_bytes = 0
        self._workers: set[Worker] = set()  # those that live
        self._starting = 0  # those that do not yet
        self._idle: list[Worker] = []
        self._calls: set[Call] = set()
        self._closed = False

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a worker. Raises what it raises of the PixelError family,
        WorkerLost when the worker died or took too long, NoWorker when there is none to be
        had, and Busy when too many wait.
        A task whose awaiter is cancelled before it began is never begun, and waits no more.
        """
        request = pickle.dumps((function, args, kwargs), pickle.HIGHEST_PROTOCOL)
        result: T = await self._run(_name(function), request)
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
        own. It may be closed as soon as this has begun.
        """
        request = pickle.dumps((function, args, kwargs), pickle.HIGHEST_PROTOCOL)
        result: T = await self._run(_name(function), request, os.dup(file))
        return result

    async def _run(self, job: str, request: bytes, file: int = -1) -> Any:
        loop = asyncio.get_running_loop()
        task = Task(job, request, loop, loop.create_future(), file)
        try:
            call = self._enter(task)
            if call is not None:
                call.begin()
            else:
                task.look = loop.call_later(LOOK_SECONDS, self._look, task)
        except BaseException:
            task.close()
            raise
        try:
            return await task.future
        finally:
            if task.look is not None:
                task.look.cancel()
            if task.future.cancelled():
                self._withdraw(task)

    def _enter(self, task: Task) -> Call | None:
        """A worker for the task, or a place in the queue."""
        with self._lock:
            if self._closed:
                raise NoWorker(STOPPED)
            if self._idle:
                return self._call(self._idle.pop(), task)
            if len(self._tasks) >= self.limits.waiting or (
                self._waiting_bytes
                and self._waiting_bytes + len(task.request) > self.limits.waiting_bytes
            ):
                raise Busy("too many images are being prepared, try again")
            self._waiting_bytes += len(task.request)
            self._tasks.append(task)
            self._see_to_workers()
        return None

    def _see_to_workers(self) -> None:
        """Have a worker come to those who wait; the lock is held."""
        self._end_forsaken()
        if len(self._tasks) > self._starting:
            self._hire(self.hired + 1)

    def _look(self, task: Task) -> None:
        """It may wait for a worker whose loop was closed: nobody else would ever notice."""
        with self._lock:
            self._see_to_workers()
        task.look = task.loop.call_later(LOOK_SECONDS, self._look, task)

    def _call(self, worker: Worker, task: Task) -> Call:
        call = Call(worker, task, self._ended)
        self._calls.add(call)
        return call

    def _next(self) -> Task | None:
        """Whose turn it is; the lock is held."""
        if not self._tasks:
            return None
        task = self._tasks.popleft()
        self._waiting_bytes -= len(task.request)
        return task

    def _withdraw(self, task: Task) -> None:
        """Take a cancelled task from the queue: it shall hold neither memory nor a place."""
        with self._lock:
            if task in self._tasks:
                self._tasks.remove(task)
                self._waiting_bytes -= len(task.request)
                task.close()

    def warm(self, workers: int = 1) -> None:
        """Start so many workers now, so that the first picture does not wait for one.

        The others come with more work than there are workers, or after the first picture:
        a server that nobody asks for pictures need not keep them all.
        """
        with self._lock:
            self._hire(workers)

    @property
    def hired(self) -> int:
        """How many workers there are, those that are starting too."""
        return len(self._workers) + self._starting

    def _hire(self, wanted: int) -> None:
        """Have so many workers, as far as there may be; the lock is held."""
        while not self._closed and self.hired < min(wanted, self.workers):
            self._starting += 1
            if not self._in_a_thread(self._start):
                self._starting -= 1
                self._give_up()
                return

    def _end_forsaken(self) -> None:
        """End workers whose event loop is gone: nobody reads their answers any more."""
        for call in [call for call in self._calls if call.task.loop.is_closed()]:
            self._calls.discard(call)
            self._workers.discard(call.worker)
            call.task.close()
            call.worker.kill()

    def close(self) -> None:
        """Stop all workers; what still waits or runs fails with NoWorker."""
        with self._lock:
            self._closed = True
            self._end_forsaken()
            waiting, idle, calls = list(self._tasks), list(self._idle), list(self._calls)
            self._tasks.clear()
            self._idle.clear()
        for task in waiting:
            task.fail(NoWorker(STOPPED))
        for call in calls:
            call.worker.end()
        for worker in idle:
            worker.stop()

    # -- a worker's life -------------------------------------------------------------------
    def _in_a_thread(self, work: Callable[..., None], *arguments: Worker) -> bool:
        """Starting and burying take too long for an event loop; False when no thread starts."""
        thread = threading.Thread(target=work, args=arguments, name="pixel-start", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the system has no more of them
            log.error("a pixel worker did not start", extra={"detail": str(error)})
            return False
        return True

    def _start(self) -> None:
        worker = None
        try:
            worker = Worker(self.limits)
        except (OSError, MemoryError, NoWorker) as error:
            log.error("a pixel worker did not start", extra={"detail": str(error)})
        with self._lock:
            self._starting -= 1
            if worker is not None:
                self._workers.add(worker)
            else:
                self._give_up()
        if worker is not None:
            self._free(worker)

    def _give_up(self) -> None:
        """Tell all who wait, unless a worker lives or is about to: it will come to them.

        The lock is held.
        """
        while not self.hired and (task := self._next()) is not None:
            task.fail(NoWorker("no pixel worker can be started"))

    def _replace(self, worker: Worker) -> None:
        """Bury a lost worker; have another if there is work for it."""
        worker.kill()
        with self._lock:
            self._workers.discard(worker)
            self._hire(self.hired + min(len(self._tasks), 1))

    def _free(self, worker: Worker) -> None:
        """Give a worker its next task, on the loop of whoever asked for it."""
        while True:
            with self._lock:
                if self._closed:
                    break
                task = self._next()
                if task is None:
                    self._idle.append(worker)
                    return
                call = self._call(worker, task)
            try:
                task.loop.call_soon_threadsafe(call.begin)
            except RuntimeError:  # that loop is closed: nobody waits
                with self._lock:
                    self._calls.discard(call)
                task.close()
            else:
                return
        worker.stop()

    def _ended(self, call: Call, lost: WorkerLost | None) -> None:
        """On the task's loop: its worker is free, or lost."""
        with self._lock:
            self._calls.discard(call)
            if lost is None:
                self._hire(self.workers)
        if lost is None:
            self._free(call.worker)
        else:
            log.warning("pixel worker lost", extra={"reason": lost.message})
            if not self._in_a_thread(self._replace, call.worker):
                self._replace(call.worker)


def _name(function: Callable[..., Any]) -> str:
    """A function's own name, for the metrics."""
    inner = function.func if isinstance(function, partial) else function
    return str(getattr(inner, "__name__", "other"))
