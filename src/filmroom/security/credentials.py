"""Sessions and tokens: random secrets, of which only the SHA-256 is kept.

A session belongs to a person at a browser and ends by age or by idleness; a token belongs
to a program and ends when it says so. The secrets have 256 random bits, so one plain hash
is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, replace

from filmroom.archive.access import ROLES, Principal
from filmroom.archive.errors import Conflict, NotHeld, Unintelligible
from filmroom.archive.records import Credential, User
from filmroom.archive.stores import Clock, Index
from filmroom.security.users import known_role

SESSION, TOKEN = "session", "token"
TOKEN_PREFIX = "filmroom_"  # noqa: S105 - so that secret scanners find one in the wrong place
LONGEST_SECRET = 128
_CACHE_SECONDS = 5.0
_CACHED = 10_000
_SWEEP_SECONDS = 3600.0
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


def digest(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def principal_of(credential: Credential) -> Principal:
    """Who comes with this credential, and what they may do."""
    return Principal(credential.name, ROLES.get(credential.role, frozenset()), credential.role)


@dataclass(frozen=True, slots=True)
class _Cached:
    credential: Credential
    until: float


class Credentials:
    """The sessions and tokens in the index, with those of the last seconds at hand."""

    def __init__(
        self, index: Index, clock: Clock, *, session_seconds: float, idle_seconds: float
    ) -> None:
        self._index = index
        self._clock = clock
        self._session_seconds = session_seconds
        self._idle_seconds = min(idle_seconds, session_seconds)
        self._cache: dict[bytes, _Cached] = {}
        self._swept_at = 0.0

    # -- sessions ----------------------------------------------------------------------
    def open_session(self, user: User) -> str:
        """Begin a session; returns the secret for the cookie. Blocks."""
        secret = secrets.token_urlsafe(32)
        now = self._clock.now()
        if now - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = now
            self.sweep()
        self._index.put_credential(
            Credential(digest(secret), SESSION, user.name, user.role, now, now + self._idle_seconds)
        )
        return secret

    def close(self, secret: str) -> None:
        """End a session. Blocks."""
        self._cache.pop(digest(secret), None)
        self._index.forget_credential(digest(secret))

    # -- tokens ---------------------------------------------------------------------------
    def make_token(self, name: str, role: str, expires_at: float | None) -> tuple[str, Credential]:
        """Make a token; returns its secret, to be shown once. Blocks."""
        if not _NAME.fullmatch(name):
            raise Unintelligible("a token's name has 1 to 64 characters")
        if any(token.name == name for token in self.tokens()):
            raise Conflict("there is a token of that name already")
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise Unintelligible("the token would have expired already")
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        made = Credential(digest(secret), TOKEN, name, known_role(role), now, expires_at)
        self._index.put_credential(made)
        return secret, made

    def tokens(self) -> list[Credential]:
        """Every token there is, oldest first. Blocks."""
        return sorted(self._index.credentials(TOKEN), key=lambda token: token.created_at)

    def revoke_token(self, name: str) -> None:
        """Make a token worthless; NotHeld if there is none of that name. Blocks."""
        if not any(token.name == name for token in self.tokens()):
            raise NotHeld("there is no such token")
        self._index.forget_credentials_of(name, TOKEN)
        self._cache.clear()

    # -- whoever comes ----------------------------------------------------------------------
    def remembered(self, secret: str, kind: str) -> Principal | None:
        """The principal, if this secret was looked up in the last seconds. Never blocks."""
        cached = self._cache.get(digest(secret))
        if cached is None or cached.until <= self._clock.now() or cached.credential.kind != kind:
            return None
        return principal_of(cached.credential)

    def find(self, secret: str, kind: str) -> Principal | None:
        """The principal, if the secret is a living one of that kind. May block."""
        if not 16 <= len(secret) <= LONGEST_SECRET:
            return None
        key = digest(secret)
        credential = self._index.credential(key)
        now = self._clock.now()
        if credential is None or credential.kind != kind:
            return None
        if credential.expires_at is not None and credential.expires_at <= now:
            self._index.forget_credential(key)
            return None
        if kind == SESSION:
            credential = self._renewed(credential, now)
        until = min(now + _CACHE_SECONDS, credential.expires_at or now + _CACHE_SECONDS)
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[key] = _Cached(credential, until)
        return principal_of(credential)

    def forget_cached(self) -> None:
        """Ask the index again from now on: an account has changed."""
        self._cache.clear()

    def sweep(self) -> None:
        """Drop what has expired. Blocks; sign-ins do it once an hour."""
        now = self._clock.now()
        for kind in (SESSION, TOKEN):
            for credential in self._index.credentials(kind):
                if credential.expires_at is not None and credential.expires_at <= now:
                    self._index.forget_credential(credential.digest)

    def _renewed(self, session: Credential, now: float) -> Credential:
        """Put off the end of a session in use; written at most every tenth of its idle time."""
        last_end = session.created_at + self._session_seconds
        end = min(now + self._idle_seconds, last_end)
        if session.expires_at is not None and end - session.expires_at < self._idle_seconds / 10:
            return session
        self._index.renew_credential(session.digest, end)  # it may have been closed meanwhile
        return replace(session, expires_at=end)
