"""What can go wrong with pixels, said once.

    PixelError
    |__ Undecodable   the bytes are not the image their header promises
    |__ TooLarge      it would take more memory than one image may have
    |__ NoCodec       we cannot read or write that syntax, depth or colour
    |__ BadParameter  the rendering that was asked for makes no sense
    |__ WorkerLost    the worker ran out of time or memory, or died; only this task is lost
    |   |__ NoWorker  there was none to begin with: says nothing against the image (retry later)
    |__ Busy          more tasks are waiting than the pool will hold (retry later)

Every message may be shown to a caller: it names no path and no patient.
"""

from __future__ import annotations


class PixelError(Exception):
    """The root of the family; `message` may be shown to anybody."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Undecodable(PixelError):
    """The bytes are not the image their header promises."""


class TooLarge(PixelError):
    """The image is larger than we are willing to hold in memory."""


class NoCodec(PixelError):
    """No decoder or encoder for that transfer syntax, depth or colour."""


class BadParameter(PixelError):
    """A rendering parameter that cannot be obeyed (PS3.18 8.3.5: 400)."""


class WorkerLost(PixelError):
    """The worker ran out of time or memory, or died."""


class NoWorker(WorkerLost):
    """No worker can be started, or all are being stopped: the image is not to blame."""


class Busy(PixelError):
    """Too many tasks are waiting already."""
