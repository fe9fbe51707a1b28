"""filmroom on PostgreSQL and S3, measured: with a database and an object store of its own.

Both are started as the tests start them, but with everything synced: what is compared says
Success when it is on the disk. All three freeze and wake together, and count as one server.
"""

from __future__ import annotations

import sys
from pathlib import Path

from servers import Filmroom, family

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from object_store import ACCESS_KEY, SECRET_KEY, ObjectServer
from postgres_cluster import Cluster

SETTINGS = {"shared_buffers": "256MB", "synchronous_commit": "on"}


class FilmroomElsewhere(Filmroom):
    """The whole of it: node, PostgreSQL, SeaweedFS; all on this machine."""

    name = "elsewhere"
    _database: Cluster | None = None
    _objects: ObjectServer | None = None
    _stores: dict[str, str]  # the settings that say where they are

    def environment(self) -> dict[str, str]:
        return super().environment() | self._stores

    def start(self) -> float:
        """The stores first; the seconds are those of the node."""
        if self._database is None or self._objects is None:
            self._make()
        else:
            self._database.start()
            self._objects.start()
        return super().start()

    def _make(self) -> None:
        self.folder.parent.chmod(0o711)  # for PostgreSQL, which does not run as root
        database, objects = self.folder / "postgres", self.folder / "objects"
        database.mkdir(parents=True)
        objects.mkdir()
        self._database = Cluster(database, SETTINGS).make()
        self._objects = ObjectServer(objects, is_synced=True).make()
        self._database.start()
        self._objects.start()
        self._stores = {
            "FILMROOM__INDEX__URL": self._database.database(),
            "FILMROOM__BLOBS__URL": self._objects.place(),
            "FILMROOM__BLOBS__ACCESS_KEY": ACCESS_KEY,
            "FILMROOM__BLOBS__SECRET_KEY": SECRET_KEY,
        }

    def processes(self) -> list[int]:
        stores = (
            self._database and self._database.server,
            self._objects and self._objects.process,
        )
        found = super().processes()
        return found + [pid for each in stores if each is not None for pid in family(each.pid)]

    def stop(self) -> None:
        super().stop()
        for store in (self._database, self._objects):
            if store is not None:
                store.shut_down()
