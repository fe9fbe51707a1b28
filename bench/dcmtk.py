"""dcmtk's own senders and receivers: the other end of it all."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from servers import RECEIVER, Server

TIMEOUT_SECONDS = 900


def _at_once(commands: Iterable[Sequence[str]], *, nodelay: bool = True) -> tuple[float, list[str]]:
    """Run all at once; seconds until the last has ended, and what each of them printed."""
    environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"}
    if nodelay:
        environment["TCP_NODELAY"] = "1"
    started = time.perf_counter()
    running = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    said = [process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in running]
    seconds = time.perf_counter() - started
    for process, words in zip(running, said, strict=True):
        if process.returncode:
            raise SystemExit(f"{process.args!r}: {words[-500:]}")
    return seconds, said


def store(server: Server, folders: Sequence[Path], *, nodelay: bool = True) -> float:
    """Send each folder over an association of its own, at once; wall seconds."""
    for folder in folders:  # from memory, whatever else was read in the meantime
        for path in folder.iterdir():
            path.read_bytes()
    where = (server.ae_title, "+sd", "127.0.0.1", str(server.dimse_port))
    commands = [["storescu", "-aet", "BENCH", "-aec", *where, str(folder)] for folder in folders]
    return _at_once(commands, nodelay=nodelay)[0]


def get(server: Server, study: str, associations: int) -> float:
    """Each of so many getscu takes the whole study and forgets it; wall seconds."""
    command = [
        *("getscu", "-v", "-aet", "BENCH", "-aec", server.ae_title, "-S", "--ignore"),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
        *("127.0.0.1", str(server.dimse_port)),
    ]
    seconds, said = _at_once([command] * associations)
    _check(said, server, "C-GET")
    return seconds


def move(server: Server, study: str, associations: int) -> float:
    """Each of so many movescu has the whole study sent to the receiver; wall seconds."""
    command = [
        *("movescu", "-v", "-aet", "BENCH", "-aec", server.ae_title, "-aem", RECEIVER, "-S"),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
        *("127.0.0.1", str(server.dimse_port)),
    ]
    seconds, said = _at_once([command] * associations)
    _check(said, server, "C-MOVE")
    return seconds


def _check(said: Iterable[str], server: Server, what: str) -> None:
    """dcmtk ends with 0 whatever the final status says."""
    for words in said:
        if "Success" not in words:
            raise SystemExit(f"{what} from {server.name} did not succeed: {words[-500:]}")


def split(paths: Sequence[Path], parts: int, name: str) -> list[Path]:
    """Link the files into `parts` folders beside theirs; the folders."""
    folders = []
    for part in range(parts):
        folder = paths[0].parent.parent / f"{name}-{parts}-{part}"
        folders.append(folder)
        if not folder.exists():
            folder.mkdir()
            for path in paths[part::parts]:
                os.link(path, folder / path.name)
    return folders
