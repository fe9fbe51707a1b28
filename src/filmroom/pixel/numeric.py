"""numpy, brought in by whoever first computes something.

The server itself only plans: arrays are the workers' business, and so is the quarter of a
second and the memory that numpy takes to come.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Values = NDArray[np.float32]
    Bytes = NDArray[np.uint8]
else:

    class _Numpy:
        """Each name is looked up in numpy once."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(importlib.import_module("numpy"), name)
            setattr(self, name, value)
            return value

    np = _Numpy()

__all__ = ["np"]
