"""Local accounts: people with a name, a role and a password.

All methods block (database, password hash): call them from a worker thread.
"""

from __future__ import annotations

import re
from dataclasses import replace

from filmroom.archive.access import ROLES
from filmroom.archive.errors import Conflict, NotHeld, Unintelligible
from filmroom.archive.records import User
from filmroom.archive.stores import Index
from filmroom.security.passwords import Hasher, judge, make_password
from filmroom.security.settings import SecuritySettings

FIRST = "admin"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class Users:
    """The accounts in the index."""

    def __init__(self, index: Index, settings: SecuritySettings, hasher: Hasher) -> None:
        self._index = index
        self._settings = settings
        self._hasher = hasher

    def make_first(self) -> str | None:
        """Make the administrator if there is no account at all.

        Returns the password made for him, to be shown once; None when it was configured
        or when there are accounts already. Unintelligible when the configured one is weak.
        """
        if self._index.users():
            return None
        given = self._settings.admin_password
        password = make_password() if given is None else given.get_secret_value()
        judge(password, FIRST, self._settings.min_password_length)
        self._index.put_user(User(FIRST, self._hasher.hash(password), "admin"))
        return password if given is None else None

    def all(self) -> list[User]:
        """Every account, by name."""
        return sorted(self._index.users(), key=lambda user: user.name)

    def get(self, name: str) -> User:
        """One account; NotHeld if there is none."""
        user = self._index.user(name)
        if user is None:
            raise NotHeld("there is no such user")
        return user

    def add(self, name: str, password: str, role: str) -> User:
        """Make an account; Conflict if the name is taken."""
        if not _NAME.fullmatch(name):
            raise Unintelligible(
                "a user name has 1 to 64 letters, digits and . _ @ + -, and begins with a "
                "letter or digit"
            )
        known_role(role)
        judge(password, name, self._settings.min_password_length)
        if self._index.user(name) is not None:
            raise Conflict("there is a user of that name already")
        user = User(name, self._hasher.hash(password), role)
        self._index.put_user(user)
        return user

    def change(
        self,
        name: str,
        *,
        password: str | None = None,
        role: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Change an account; whoever is signed in under it is signed out."""
        before = after = self.get(name)
        if role is not None:
            known_role(role)
            after = replace(after, role=role)
        if disabled is not None:
            after = replace(after, disabled=disabled)
        self._keep_an_administrator(before, after)
        if password is not None:
            judge(password, name, self._settings.min_password_length)
            after = replace(after, password_hash=self._hasher.hash(password))
        self._index.put_user(after)
        self._index.forget_credentials_of(name, "session")
        return after

    def remove(self, name: str) -> None:
        """Remove an account and sign it out."""
        self._keep_an_administrator(self.get(name), None)
        self._index.forget_user(name)
        self._index.forget_credentials_of(name, "session")

    def check(self, name: str, password: str) -> User | None:
        """The account, if the password is right and it is not disabled."""
        user = self._index.user(name) if _NAME.fullmatch(name) else None
        if not self._hasher.matches(password, user.password_hash if user else None):
            return None
        return None if user is None or user.disabled else user

    def _keep_an_administrator(self, before: User, after: User | None) -> None:
        if before.role != "admin" or before.disabled:
            return
        if after is not None and after.role == "admin" and not after.disabled:
            return
        others = [u for u in self._index.users() if u.name != before.name]
        if not any(user.role == "admin" and not user.disabled for user in others):
            raise Conflict("that is the last administrator; make another one first")


def known_role(role: str) -> str:
    """The role, or Unintelligible naming those there are."""
    if role not in ROLES:
        raise Unintelligible(f"there is no such role; roles are {', '.join(sorted(ROLES))}")
    return role
