"""Which steps from line to line an input makes the library take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

Step = tuple[str, int, int]


def reached(check: Callable[[bytes], None], data: bytes) -> set[Step]:
    """The steps within filmroom's own files that `check` takes for this input."""
    steps: set[Step] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if "filmroom" not in name:
            return None
        before = frame.f_lineno

        def within(inner: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            steps.add((name, before, inner.f_lineno))
            before = inner.f_lineno
            return within

        return within

    sys.settrace(trace)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return steps
