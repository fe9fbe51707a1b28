"""What pixel work needs of whoever runs it: a call made elsewhere (see pool.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
