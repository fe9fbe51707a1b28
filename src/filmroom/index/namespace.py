"""What filmrooms that share a database must not share: tables, locks, and what they tell.

With a namespace all tables live in a schema of that name, and every statement says so: a pooler
gives each transaction another connection, so that nothing can be left to a session's search_path.
The numbers of advisory locks and the channel of NOTIFY belong to the whole database, so they are
made from the name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

SPELLING = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_CHANNEL = "filmroom"
_LOCK = re.compile(r"\b(pg_(?:try_)?advisory_\w+)\((\d+)\)")


class Namespace:
    """One filmroom's part of a database; `name` is "" for what the server's search_path says."""

    def __init__(self, name: str, tables: Iterable[str]) -> None:
        """Raises ValueError for what PostgreSQL would take for no name, or another one."""
        if name and not SPELLING.fullmatch(name):
            raise ValueError(
                "a namespace has up to 63 of a-z, 0-9 and _, begins with no digit, and not with pg_"
            )
        self.name = name
        self._quoted = f'"{name}"'
        self._table = re.compile(
            r"(?<!DISTINCT )\b(FROM|JOIN|INTO|UPDATE|TRUNCATE|TABLE|EXISTS)(\s+)"
            rf"({'|'.join(sorted(tables))})\b"
        )
        self.channel = f"{_CHANNEL}_{self.lock(0):x}" if name else _CHANNEL

    def placed(self, sql: str) -> str:
        """The same statement, of this namespace's tables and locks."""
        if not self.name:
            return sql
        sql = self._table.sub(rf"\1\2{self._quoted}.\3", sql)
        return _LOCK.sub(lambda found: f"{found[1]}({self.lock(int(found[2]))})", sql)

    def lock(self, number: int) -> int:
        """The number of a lock in the database, which has 63 bits."""
        if not self.name:
            return number
        digest = hashlib.sha256(f"{self.name} {number}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def entering(self) -> str:
        """Until the end of this transaction new things are made here.

        `public` is where extensions are found.
        """
        return f"SET LOCAL search_path TO {self._quoted}, public"

    def making(self) -> str:
        """Make it."""
        return f"CREATE SCHEMA {self._quoted}"
