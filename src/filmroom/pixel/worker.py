"""The program in a worker process: take a task, run it within limits, answer, repeat.

Started by `pixel.pool` as `python -m filmroom.pixel.worker FD MEMORY CPU`. It ends when its
socket closes, so it never outlives the server.
"""

from __future__ import annotations

import importlib
import os
import pickle
import resource
import signal
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any

from filmroom.pixel.errors import PixelError, TooLarge

PRELOAD = ("numpy", "filmroom.pixel.render", "filmroom.pixel.transcode", "PIL.Image")
CODECS = ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode", "htj2k_decode", "png_encode")


def main(descriptor: int, memory_bytes: int, cpu_seconds: int) -> None:
    """Serve tasks from the socket `descriptor` until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _preload()
    _hush()
    limit = _address_space() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    files = socket.socket(fileno=os.dup(descriptor))
    with files, Connection(descriptor) as connection:
        connection.send_bytes(b"ready")
        while True:
            try:
                request = connection.recv_bytes()
            except (EOFError, OSError):
                return
            _allow_cpu(cpu_seconds)
            connection.send_bytes(_answer(request, files))


def _preload() -> None:
    for name in PRELOAD:
        importlib.import_module(name)
    import imagecodecs

    for name in CODECS:
        getattr(imagecodecs, name)


def _hush() -> None:
    """What decoders print of damaged images belongs into nobody's log: it has no form, no end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


def _address_space() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _allow_cpu(seconds: int) -> None:
    """The kernel ends this process when the task takes longer (RLIMIT_CPU counts from birth)."""
    used = sum(os.times()[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds + 1, hard))


def _answer(request: bytes, files: socket.socket) -> bytes:
    outcome: tuple[bool, Any]
    received: list[int] = []
    try:
        function, args, kwargs, on_file = pickle.loads(request)  # noqa: S301 - from our own server
        if on_file:
            _, received, _, _ = socket.recv_fds(files, 1, 1)
        outcome = True, function(*received, *args, **kwargs)
    except PixelError as error:
        outcome = False, error
    except MemoryError:
        outcome = False, TooLarge("the image needs more memory than one image may have")
    except Exception as error:  # noqa: BLE001 - a worker lives on; the caller is told
        outcome = False, PixelError(f"the image cannot be processed ({type(error).__name__})")
    for file in received:
        os.close(file)
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
