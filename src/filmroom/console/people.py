"""Accounts of people and tokens of programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from filmroom.archive.records import Credential, User
from filmroom.archive.stores import Clock
from filmroom.console.answers import answer, body, nothing
from filmroom.security.signin import SignIn


@dataclass(frozen=True, slots=True)
class NewUser:
    """Body of a new account."""

    name: str
    password: str
    role: str


@dataclass(frozen=True, slots=True)
class UserChange:
    """Body of a change to an account; what is left out stays."""

    password: str | None = None
    role: str | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    """Body of a new token."""

    name: str
    role: str
    expires_in_days: float | None = None


def routes(sign_in: SignIn, clock: Clock) -> list[BaseRoute]:
    """The routes under /api/users and /api/tokens."""
    users, credentials = sign_in.users, sign_in.credentials

    async def list_users(request: Request) -> Response:
        """All accounts."""
        return answer([_user(user) for user in await sign_in.run(users.all)])

    async def add_user(request: Request) -> Response:
        """Make an account."""
        given = await body(request, NewUser)
        user = await sign_in.run(users.add, given.name, given.password, given.role)
        return answer(_user(user), 201, {"Location": f"/api/users/{user.name}"})

    async def change_user(request: Request) -> Response:
        """Change the password or role of an account, disable or enable it."""
        given = await body(request, UserChange)
        user = await sign_in.run(
            users.change,
            request.path_params["name"],
            password=given.password,
            role=given.role,
            disabled=given.disabled,
        )
        sign_in.changed()
        return answer(_user(user))

    async def remove_user(request: Request) -> Response:
        """Remove an account."""
        await sign_in.run(users.remove, request.path_params["name"])
        sign_in.changed()
        return nothing()

    async def list_tokens(request: Request) -> Response:
        """All tokens, without their secrets."""
        return answer([_token(token) for token in await sign_in.run(credentials.tokens)])

    async def add_token(request: Request) -> Response:
        """Make a token; the only answer that shows its secret."""
        given = await body(request, NewToken)
        days = given.expires_in_days
        expires_at = None if days is None else clock.now() + days * 86400
        secret, token = await sign_in.run(
            credentials.make_token, given.name, given.role, expires_at
        )
        return answer({**_token(token), "token": secret}, 201)

    async def revoke_token(request: Request) -> Response:
        """Make a token worthless."""
        await sign_in.run(credentials.revoke_token, request.path_params["name"])
        sign_in.changed()
        return nothing()

    return [
        Route("/api/users", list_users, methods=["GET"]),
        Route("/api/users", add_user, methods=["POST"]),
        Route("/api/users/{name}", change_user, methods=["PATCH"]),
        Route("/api/users/{name}", remove_user, methods=["DELETE"]),
        Route("/api/tokens", list_tokens, methods=["GET"]),
        Route("/api/tokens", add_token, methods=["POST"]),
        # A token's name may hold a slash.
        Route("/api/tokens/{name:path}", revoke_token, methods=["DELETE"]),
    ]


def _user(user: User) -> dict[str, Any]:
    return {"name": user.name, "role": user.role, "disabled": user.disabled}


def _token(token: Credential) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": token.role,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }
