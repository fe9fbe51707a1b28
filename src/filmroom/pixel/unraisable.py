"""Errors that a compiled decoder could not raise, and that Python would only print.

imagecodecs' HTJ2K reader copies pixels in a function that cannot raise: a damaged frame
comes back half decoded and the error goes to `sys.unraisablehook`. Here it is caught, so
that half a picture is never taken for a whole one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.Lock()
_LOCAL = threading.local()


@contextmanager
def watched() -> Iterator[list[BaseException | None]]:
    """Collect what this thread's compiled code swallows inside the block; print none of it."""
    swallowed: list[BaseException | None] = []
    _LOCAL.swallowed = swallowed
    _install()
    try:
        yield swallowed
    finally:
        _LOCAL.swallowed = None


def _install() -> None:
    """Put our hook before whatever is there; somebody may have replaced it since."""
    before = sys.unraisablehook
    if getattr(before, "is_filmroom", False):
        return

    def hook(unraisable: Any, /) -> None:
        swallowed = getattr(_LOCAL, "swallowed", None)
        if swallowed is None:
            before(unraisable)
        else:
            swallowed.append(unraisable.exc_value)

    hook.is_filmroom = True  # type: ignore[attr-defined]
    with _LOCK:
        sys.unraisablehook = hook
