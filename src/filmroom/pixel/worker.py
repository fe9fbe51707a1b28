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
import struct
import sys
from typing import Any

from filmroom.pixel.errors import PixelError, TooLarge

PRELOAD = ("numpy", "filmroom.pixel.render", "filmroom.pixel.transcode", "PIL.Image")
READY = b"!"
REQUEST = struct.Struct("<Q")  # length of a pickled (function, args, kwargs); a file may be with it
ANSWER = struct.Struct("<QB")  # length, and what it is:
PLAIN_BYTES, PICKLED = 0, 1  # the bytes themselves; a pickled (succeeded, result or error)
CODECS = ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode", "htj2k_decode", "png_encode")


def main(descriptor: int, memory_bytes: int, cpu_seconds: int) -> None:
    """Serve tasks from the socket `descriptor` until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _preload()
    _hush()
    limit = _address_space() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with socket.socket(fileno=descriptor) as server:
        server.sendall(READY)
        while (received := _receive(server)) is not None:
            _allow_cpu(cpu_seconds)
            kind, answer = _answer(*received)
            _send(server, ANSWER.pack(len(answer), kind), answer)


def _receive(server: socket.socket) -> tuple[bytearray, list[int]] | None:
    """A request, and the file that may have come with it; None when the server is gone."""
    try:
        head, files, _, _ = socket.recv_fds(server, REQUEST.size, 1)
        if len(head) < REQUEST.size:  # the server writes it in one piece
            return None
        (length,) = REQUEST.unpack(head)
        request = bytearray(length)
        with memoryview(request) as view:
            have = 0
            while have < length:
                count = server.recv_into(view[have:])
                if not count:
                    return None
                have += count
    except OSError:
        return None
    return request, files


def _send(server: socket.socket, head: bytes, answer: bytes) -> None:
    sent = server.sendmsg((head, answer))
    if sent < len(head) + len(answer):
        server.sendall(memoryview(answer)[sent - len(head) :])


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


def _answer(request: bytearray, files: list[int]) -> tuple[int, bytes]:
    outcome: tuple[bool, Any]
    try:
        function, args, kwargs = pickle.loads(request)  # noqa: S301 - from our own server
        result = function(*files, *args, **kwargs)
        if type(result) is bytes:
            return PLAIN_BYTES, result
        outcome = True, result
    except PixelError as error:
        outcome = False, error
    except MemoryError:
        outcome = False, TooLarge("the image needs more memory than one image may have")
    except Exception as error:  # noqa: BLE001 - a worker lives on; the caller is told
        outcome = False, PixelError(f"the image cannot be processed ({type(error).__name__})")
    finally:
        for file in files:
            os.close(file)
    return PICKLED, pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
