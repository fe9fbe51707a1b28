"""The most recently used of something, as much as fits into a budget of bytes."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by key, each with its size; the longest unused ones give way. For any thread."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def get(self, key: Hashable) -> T | None:
        """The value, or None."""
        # Without the lock: each step is one of the interpreter's, and there are many readers.
        found = self._values.get(key)
        if found is None:
            return None
        with contextlib.suppress(KeyError):  # dropped in between
            self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: T, size_bytes: int) -> None:
        """Keep a value, unless it alone would take more than half of the budget."""
        with self._lock:
            if size_bytes * 2 > self._budget_bytes or key in self._values:
                return
            self._values[key] = value, size_bytes
            self.size_bytes += size_bytes
            while self.size_bytes > self._budget_bytes:
                _, (_, freed) = self._values.popitem(last=False)
                self.size_bytes -= freed

    def drop(self, key: Hashable) -> None:
        """Forget a value, if it is there."""
        with self._lock:
            _, freed = self._values.pop(key, (None, 0))
            self.size_bytes -= freed

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._values.clear()
            self.size_bytes = 0
