"""Work on frames that has time: done by a worker that lets everybody else go first."""

from __future__ import annotations

import os

from filmroom.pixel.shape import ImageShape
from filmroom.pixel.transcode import transcode_frame

LOWEST = 19  # nice(2)


def transcode_lowly(coded: bytes, from_syntax: str, to_syntax: str, shape: ImageShape) -> bytes:
    """`transcode.transcode_frame` at the lowest priority, at which this worker then stays."""
    if os.getpriority(os.PRIO_PROCESS, 0) < LOWEST:
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    return transcode_frame(coded, from_syntax, to_syntax, shape)
