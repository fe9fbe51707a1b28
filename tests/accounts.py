"""An index that only knows accounts, credentials and quarantine: enough for the HTTP gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from argon2 import PasswordHasher

from filmroom.archive.errors import Unavailable
from filmroom.archive.records import Statistics, User
from filmroom.security.passwords import Hasher

# A hash that costs nothing; never outside of tests.
CHEAP = Hasher(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
PASSWORDS = {role: f"{role} has a long password" for role in ("admin", "viewer", "technologist")}


class AClock:
    """Time that stands still until told."""

    def __init__(self, time=1_800_000_000.0):
        self.time = time

    def now(self):
        return self.time


class AccountsIndex:
    """archive.stores.Index, the part about people and programs, in memory."""

    embedded = True

    def __init__(self):
        self._users = {}
        self._credentials = {}
        self._quarantined = {}
        self.lookups = 0
        self.away = False
        # No jobs, no other nodes, no peers but those of the settings.
        self.jobs = SimpleNamespace(
            jobs=lambda *_: [], counts=dict, lanes=list, job=lambda _: None,
            cancel=lambda *_: False, retry=lambda _: False,
        )  # fmt: skip
        self.cluster = SimpleNamespace(nodes=list)
        self.peers = SimpleNamespace(all=list, remove=lambda _: False)

    def ping(self):
        if self.away:
            raise Unavailable("the database is away", detail="secret path")

    def statistics(self):
        self.ping()
        return Statistics(1, 2, 3, 4, 5, len(self._quarantined))

    def user(self, name):
        self.ping()
        return self._users.get(name)

    def users(self):
        return list(self._users.values())

    def put_user(self, user):
        self._users[user.name] = user

    def forget_user(self, name):
        self._users.pop(name, None)

    def credential(self, digest):
        self.ping()
        self.lookups += 1
        return self._credentials.get(digest)

    def credentials(self, kind):
        return [c for c in self._credentials.values() if c.kind == kind]

    def put_credential(self, credential):
        self._credentials[credential.digest] = credential

    def renew_credential(self, digest, expires_at):
        if digest in self._credentials:
            renewed = replace(self._credentials[digest], expires_at=expires_at)
            self._credentials[digest] = renewed

    def forget_credential(self, digest):
        self._credentials.pop(digest, None)

    def forget_credentials_of(self, name, kind):
        gone = [d for d, c in self._credentials.items() if (c.name, c.kind) == (name, kind)]
        for digest in gone:
            del self._credentials[digest]

    def quarantined(self, limit=1000):
        return list(self._quarantined.values())[:limit]

    def quarantined_by_id(self, id):
        return self._quarantined.get(id)

    def put_quarantined(self, row):
        self._quarantined[row.id] = row

    def forget_quarantined(self, id):
        self._quarantined.pop(id, None)


def an_index() -> AccountsIndex:
    """With one person of each role, named like the role."""
    index = AccountsIndex()
    for role, password in PASSWORDS.items():
        index.put_user(User(role, CHEAP.hash(password), role))
    return index


def an_archive(index=None, ingest=None) -> SimpleNamespace:
    """An archive without studies."""
    blobs = SimpleNamespace(free_bytes=lambda: 10**9)
    return SimpleNamespace(index=index or an_index(), blobs=blobs, ingest=ingest)


def some_settings(data: Path, **sections):
    """Settings of a test; sections by name, as tables."""
    from filmroom.config import Settings

    return Settings.model_validate({"data": str(data), **sections})
