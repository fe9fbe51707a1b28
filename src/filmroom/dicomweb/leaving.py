"""What is done for a client ends when the client leaves: its pixels need not be made any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive


class Gone(Exception):
    """The client has left; there is nobody to tell it to."""


@asynccontextmanager
async def while_there(receive: Receive) -> AsyncIterator[None]:
    """Cancel what is awaited inside, and raise Gone, when the client leaves before its end.

    receive: the request's; what is left of its body is lost.
    """
    task = asyncio.current_task()
    assert task is not None
    inside, left = True, False

    def end(watch: asyncio.Future[None]) -> None:
        nonlocal left
        if inside and not watch.cancelled() and watch.exception() is None:
            left = True
            task.cancel()

    watch = asyncio.ensure_future(_departure(receive))
    watch.add_done_callback(end)
    try:
        yield
    except asyncio.CancelledError:
        # As asyncio.timeout does: others may have cancelled us as well, and that goes first.
        if left and task.uncancel() == 0:
            raise Gone from None
        raise
    finally:
        inside = False
        watch.cancel()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
