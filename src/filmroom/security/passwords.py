"""Passwords: made, judged, hashed with argon2id, compared (RFC 9106)."""

from __future__ import annotations

import secrets
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from filmroom.archive.errors import Unintelligible

LONGEST = 1024  # characters; hashing is not free
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is misread on paper


class Hasher:
    """argon2id at the library's defaults: about 0.2 s and 64 MiB each, so never on a loop."""

    def __init__(self, argon2: PasswordHasher | None = None) -> None:
        self._argon2 = argon2 or PasswordHasher()

    def hash(self, password: str) -> str:
        """The hash to keep, with its salt and parameters."""
        return self._argon2.hash(password)

    def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether `password` made that hash; None (no such user) takes as long and is False."""
        try:
            self._argon2.verify(password_hash or self._nobodys, password[:LONGEST])
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    @cached_property
    def _nobodys(self) -> str:
        """Compared against when there is no such user, so that both cases take equally long."""
        return self._argon2.hash(secrets.token_urlsafe(16))


def make_password() -> str:
    """A password of 98 bits that can be read out over the telephone."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))


def judge(password: str, name: str, min_length: int) -> None:
    """Raise Unintelligible, saying what to do, unless people may choose this password."""
    if len(password) < min_length:
        raise Unintelligible(f"a password needs at least {min_length} characters")
    if len(password) > LONGEST:
        raise Unintelligible(f"a password has at most {LONGEST} characters")
    if password.casefold() == name.casefold() or len(set(password)) < 4:
        raise Unintelligible("that password is too easy to guess; take a few unrelated words")
