"""A witness inside a program under test: put this folder on PYTHONPATH.

It writes a line to SPY_LOG for whatever a hostile input must never bring about: a file written
outside SPY_ALLOWED, a program started, a connection opened, somebody's secrets read.
"""

import os
import sys

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.chmod",
             "os.chown", "os.truncate", "os.mkfifo"}  # fmt: skip
_NEVER = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
          "socket.sendto", "urllib.Request", "webbrowser.open", "ftplib.connect"}  # fmt: skip
_SECRETS = ("passwd", "shadow", "id_rsa", "escape", "SECRET")
_OUR_WORKERS = "filmroom.pixel.worker"
_DEVICES = ("/dev/null/", "/dev/shm/", "/proc/self/")


def _watch(log: int, allowed: str) -> None:
    def is_outside(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        full = "/" + os.path.abspath(os.fsdecode(path)).lstrip("/") + "/"
        return not full.startswith((allowed, *_DEVICES))

    def told(event: str, arguments: tuple[object, ...]) -> None:
        if _OUR_WORKERS not in str(arguments[1:2]):
            os.write(log, f"{event} {arguments[:2]!r}\n".encode("utf-8", "replace"))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & _WRITING
            if (writes and is_outside(path)) or any(word in str(path) for word in _SECRETS):
                told(event, arguments)
        elif event in _NEVER or (event in _CHANGING and any(map(is_outside, arguments[:2]))):
            told(event, arguments)

    sys.addaudithook(hook)


if "SPY_LOG" in os.environ:
    _flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    _watch(os.open(os.environ["SPY_LOG"], _flags, 0o600), os.environ["SPY_ALLOWED"])
