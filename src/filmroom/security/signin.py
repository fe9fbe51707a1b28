"""Who is asking: a cookie, a bearer token, or a name and password become a Principal.

Everything here is asynchronous and never blocks the caller's loop: hashes and database
calls run in a small pool of our own, so that a flood of sign-ins costs two threads and
128 MiB, not the server. (Lookups have threads of their own, so that they pass the hashes.)
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from filmroom import observe
from filmroom.archive.access import ROLES, Principal
from filmroom.archive.news import News
from filmroom.archive.records import User
from filmroom.archive.stores import Clock, Index
from filmroom.security.attempts import Attempts
from filmroom.security.credentials import SESSION, TOKEN, Credentials
from filmroom.security.passwords import LONGEST, Hasher
from filmroom.security.settings import HttpSettings, SecuritySettings
from filmroom.security.users import Users

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
_VERIFIED_SECONDS = 60.0
_VERIFIED = 1000


class SignInFailed(Exception):
    """Name or password is wrong; we do not say which."""


class MustWait(SignInFailed):
    """Too many failures: not even looked at."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many failed attempts; try again in {seconds:.0f} seconds")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    until: float


class SignIn:
    """The door: one per HTTP application."""

    def __init__(
        self,
        index: Index,
        clock: Clock,
        security: SecuritySettings,
        http: HttpSettings,
        hasher: Hasher | None = None,
    ) -> None:
        self.users = Users(index, security, hasher or Hasher())
        self.credentials = Credentials(
            index,
            clock,
            session_seconds=http.session_hours * 3600,
            idle_seconds=http.idle_minutes * 60,
        )
        self._clock = clock
        self._attempts = Attempts(security, clock)
        self._pool = ThreadPoolExecutor(2, "filmroom-sign-in")
        self._lookups = ThreadPoolExecutor(4, "filmroom-who")
        self._key = secrets.token_bytes(32)
        self._changes = 0
        self._verified: dict[bytes, _Verified] = {}
        self._checking: dict[bytes, asyncio.Task[Principal]] = {}

    async def by_session(self, secret: str) -> Principal | None:
        """Whose browser this is."""
        return await self._by_secret(secret, SESSION)

    async def by_token(self, secret: str) -> Principal | None:
        """Whose program this is."""
        return await self._by_secret(secret, TOKEN)

    async def by_password(self, name: str, password: str, address: str) -> Principal:
        """For a program that sends its password each time: the answer is kept for a minute."""
        key = hmac.digest(self._key, f"{name}\0{password}".encode("utf-8", "replace"), "sha256")
        verified = self._verified.get(key)
        if verified is not None and verified.until > self._clock.now():
            return verified.principal
        # Clients open many connections at once: they share one check, and one count of it.
        task = self._checking.get(key)
        if task is None:
            task = asyncio.ensure_future(self._verify(key, name, password, address))
            self._checking[key] = task
            task.add_done_callback(lambda _: self._checking.pop(key, None))
        return await asyncio.shield(task)

    async def open(self, name: str, password: str, address: str) -> tuple[str, Principal]:
        """Begin a session: (secret for the cookie, who it is). SignInFailed, MustWait."""
        user = await self._check(name, password, address)
        secret = await self.run(self.credentials.open_session, user)
        return secret, Principal(user.name, ROLES.get(user.role, frozenset()), user.role)

    async def close(self, secret: str) -> None:
        """End a session."""
        await self.run(self.credentials.close, secret)

    async def confirm(self, name: str, password: str, address: str) -> None:
        """Make sure it is still the same person: before a password is changed."""
        await self._check(name, password, address)

    def changed(self) -> None:
        """An account or token has changed: believe no remembered answer."""
        self._changes += 1
        self._verified.clear()
        self.credentials.forget_cached()

    def heard(self, topic: str) -> None:
        """What a node has told: see archive.news. From any thread."""
        if topic in (News.ACCOUNTS, News.LOST_TOUCH):
            self.changed()
        elif topic == News.CREDENTIALS:
            self.credentials.forget_cached()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do blocking work of this room in its pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))

    def shut(self) -> None:
        """Let our threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def _by_secret(self, secret: str, kind: str) -> Principal | None:
        principal = self.credentials.remembered(secret, kind)
        if principal is not None:
            return principal
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._lookups, self.credentials.find, secret, kind)

    async def _verify(self, key: bytes, name: str, password: str, address: str) -> Principal:
        changes = self._changes
        user = await self._check(name, password, address)
        principal = Principal(user.name, ROLES.get(user.role, frozenset()), user.role)
        if self._changes != changes:  # perhaps of this very account, after it was looked at
            return principal
        if len(self._verified) >= _VERIFIED:
            self._verified.clear()
        self._verified[key] = _Verified(principal, self._clock.now() + _VERIFIED_SECONDS)
        return principal

    async def _check(self, name: str, password: str, address: str) -> User:
        if (seconds := self._attempts.wait(name[:64], address)) > 0:
            observe.SIGN_INS.labels("locked").inc()
            raise MustWait(seconds)
        # Counted before the slow part: a burst sent at once must not slip through together.
        self._attempts.failed(name[:64], address)
        user = None
        if len(name) <= 64 and len(password) <= LONGEST:
            user = await self.run(self.users.check, name, password)
        if user is None:
            observe.SIGN_INS.labels("failed").inc()
            log.warning("sign-in failed", extra={"address": address})
            raise SignInFailed("user name or password is wrong")
        self._attempts.succeeded(name[:64], address)
        observe.SIGN_INS.labels("done").inc()
        log.info("signed in", extra={"principal": user.name, "address": address})
        return user
