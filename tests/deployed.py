"""What is in deploy/, for tests: HAProxy with its configuration, in front of nodes of their own."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from nodes import FilmroomProcess, free_port

DEPLOY = Path(__file__).parents[1] / "deploy"
NODES = re.compile(r"server-template node \d+ node:(\d+) resolvers docker init-addr none")


class Balancer:
    """HAProxy as configured for containers, but that nodes and ports are those of the test."""

    def __init__(self, program: str, folder: Path, nodes: Sequence[FilmroomProcess]) -> None:
        self.dimse_port, self.http_port = free_port(), free_port()
        self._log = folder / "haproxy.log"
        configuration = folder / "haproxy.cfg"
        configuration.write_text(self._configured(nodes))
        self._command = [program, "-db", "-f", str(configuration)]
        self._process: subprocess.Popen[bytes] | None = None

    def _configured(self, nodes: Sequence[FilmroomProcess]) -> str:
        text = (DEPLOY / "haproxy.cfg").read_text()
        text = re.sub(r"resolvers docker\n(    .*\n)+", "", text)

        def named(found: re.Match[str]) -> str:
            return "\n    ".join(
                f"server node{n} 127.0.0.1:{port} check port {node.http_port}"
                for n, node in enumerate(nodes)
                for port in [node.dimse_port if found[1] == "11112" else node.http_port]
            )

        text, replaced = NODES.subn(named, text)
        assert replaced == 2
        text = text.replace("bind :11112", f"bind 127.0.0.1:{self.dimse_port}")
        return text.replace("bind :8080", f"bind 127.0.0.1:{self.http_port}")

    def start(self) -> Balancer:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.http_port), 1).close()
                return self
            time.sleep(0.05)
        raise AssertionError(self.log())

    def wait_for(self, words: str) -> None:
        """Until they are in its log."""
        ends = time.monotonic() + 30
        while words not in self.log():
            assert time.monotonic() < ends, f"{words}: not in {self.log()[-2000:]}"
            time.sleep(0.1)

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
