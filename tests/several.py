"""Equal nodes on one PostgreSQL and one object store, as a hospital group would run them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from nodes import FilmroomProcess, free_port
from object_store import ACCESS_KEY, SECRET_KEY
from stored import Bucket

ANYBODY = json.dumps(["echo", "store", "query", "retrieve"])


class Several:
    """`count` nodes that share index, objects and the DICOM port; each has its own web port.

    one_port: whether they share the DICOM port; else each has its own.
    """

    def __init__(
        self,
        folder: Path,
        index_url: str,
        blobs_url: str,
        count: int = 2,
        environment: dict[str, str] | None = None,
        *,
        one_port: bool = True,
    ) -> None:
        self.index_url = index_url
        self.blobs_url = blobs_url
        self.dimse_port = free_port() if one_port else 0
        self._environment = {
            "FILMROOM__INDEX__URL": index_url,
            "FILMROOM__BLOBS__URL": blobs_url,
            "FILMROOM__BLOBS__ACCESS_KEY": ACCESS_KEY,
            "FILMROOM__BLOBS__SECRET_KEY": SECRET_KEY,
            "FILMROOM__DIMSE__SHARE_PORT": str(one_port).lower(),
            "FILMROOM__DIMSE__UNKNOWN_PEERS": ANYBODY,
            **(environment or {}),
        }
        self.nodes = [self._node(folder / f"node{n}") for n in range(count)]

    def _node(self, folder: Path) -> FilmroomProcess:
        node = FilmroomProcess(folder, (), self._environment)
        node.dimse_port = self.dimse_port or node.dimse_port
        return node

    def start(self) -> Several:
        for node in self.nodes:
            node.start()
        return self

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def objects(self, below: str = "store") -> Sequence[str]:
        """What lies in the object store, asked past filmroom."""
        return Bucket(self.blobs_url, ACCESS_KEY, SECRET_KEY).names(below)
