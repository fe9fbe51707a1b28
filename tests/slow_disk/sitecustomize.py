"""A slow disk inside a program under test: put this folder on PYTHONPATH.

SLOW_DISK_BYTES_PER_SECOND: what the one disk takes of all files together. SLOW_DISK_CALL: which
call waits for it: fsync, when the system's cache takes everything first, or write, when that
cache is full.
"""

import os
import threading
import time


def _slow(call: str, rate: float) -> None:
    write, fsync = os.write, os.fsync
    disk = threading.Lock()

    def slow_write(fd: int, data: bytes | memoryview) -> int:
        count = write(fd, data)
        if fd > 2 and count > 1000:  # not what goes to a log
            with disk:
                time.sleep(count / rate)
        return count

    def slow_fsync(fd: int) -> None:
        size = os.fstat(fd).st_size
        with disk:
            time.sleep(size / rate)
        fsync(fd)

    if call == "write":
        os.write = slow_write
    else:
        os.fsync = slow_fsync


if "SLOW_DISK_BYTES_PER_SECOND" in os.environ:
    _slow(os.environ["SLOW_DISK_CALL"], float(os.environ["SLOW_DISK_BYTES_PER_SECOND"]))
