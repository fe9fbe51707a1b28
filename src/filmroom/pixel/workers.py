"""What pixel work needs of whoever runs it: a call made elsewhere (see pool.py)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_order(
    make: Callable[[int], Coroutine[Any, Any, T]], count: int, ahead: int
) -> AsyncGenerator[T, None]:
    """What `make` gives for 0 to count - 1, in that order, `ahead` of them being made at once.

    To be closed (contextlib.aclosing): what is being made then is cancelled.
    """
    coming: deque[asyncio.Task[T]] = deque()
    try:
        for index in range(count):
            coming.append(asyncio.ensure_future(make(index)))
            if len(coming) >= ahead:
                yield await coming.popleft()
        while coming:
            yield await coming.popleft()
    finally:
        for task in coming:
            task.cancel()


class Workers(Protocol):
    """Where work on pixels is done, so that it never blocks, fills or kills the server."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a worker; raises PixelError when it fails there."""
        ...

    async def run_on(
        self,
        file: int,
        function: Callable[Concatenate[int, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same for work on an open file: its first argument is a descriptor of it there.

        file: a descriptor to read from; it may be closed as soon as this is called.
        """
        ...
