"""Who am I, sign in, sign out, and a new password for oneself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from filmroom.archive.access import Principal
from filmroom.archive.errors import Refused
from filmroom.console.answers import address, answer, body, nothing, who
from filmroom.http import problem
from filmroom.security.settings import HttpSettings
from filmroom.security.signin import MustWait, SignIn, SignInFailed

COOKIE = "filmroom_session"


def cookie_name(scope: Scope, http: HttpSettings) -> str:
    """What the session cookie is called for this request.

    Over HTTPS it is a `__Host-` cookie, which no neighbouring host and no plain HTTP page of
    this one can put in our place (RFC 6265bis 4.1.3.2).
    """
    return f"__Host-{COOKIE}" if _is_private(scope, http) else COOKIE


def _is_private(scope: Scope, http: HttpSettings) -> bool:
    return http.secure or scope["scheme"] == "https"


@dataclass(frozen=True, slots=True)
class About:
    """What everybody who is signed in may know of this node."""

    version: str
    ae_titles: tuple[str, ...]
    dimse_port: int


@dataclass(frozen=True, slots=True)
class Login:
    """Body of a sign-in."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class NewPassword:
    """Body of a change of one's own password."""

    old: str
    new: str


def routes(sign_in: SignIn, http: HttpSettings, about: About) -> list[BaseRoute]:
    """The routes under /api/session."""

    async def show(request: Request) -> Response:
        """Who one is, what one may do, and where modalities send to."""
        return answer(_shown(who(request), about))

    async def enter(request: Request) -> Response:
        """Sign in with a name and a password; sets the session cookie."""
        given = await body(request, Login)
        try:
            secret, principal = await sign_in.open(given.user, given.password, address(request))
        except MustWait as wait:
            return problem(429, str(wait), {"Retry-After": str(int(wait.seconds) + 1)})
        except SignInFailed as failed:
            return problem(401, str(failed))
        response = answer(_shown(principal, about))
        _put_cookie(response, secret, request, http)
        return response

    async def leave(request: Request) -> Response:
        """Sign out."""
        name = cookie_name(request.scope, http)
        if secret := request.cookies.get(name):
            await sign_in.close(secret)
        response = nothing()
        secure = _is_private(request.scope, http)
        response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
        # Images are kept by browsers for long: the next person at this desk is another one.
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    async def change_password(request: Request) -> Response:
        """Give oneself a new password; every other session ends."""
        given = await body(request, NewPassword)
        me = who(request).name
        if not request.cookies.get(cookie_name(request.scope, http)):
            raise Refused("only a person who is signed in can change a password")
        try:
            await sign_in.confirm(me, given.old, address(request))
        except MustWait as wait:
            return problem(429, str(wait), {"Retry-After": str(int(wait.seconds) + 1)})
        except SignInFailed:
            return problem(403, "the old password is wrong")
        user = await sign_in.run(sign_in.users.change, me, password=given.new)
        sign_in.changed()
        # Every session of this user has ended, this one too: begin a new one.
        secret = await sign_in.run(sign_in.credentials.open_session, user)
        response = nothing()
        _put_cookie(response, secret, request, http)
        return response

    return [
        Route("/api/session", show, methods=["GET"]),
        Route("/api/session", enter, methods=["POST"]),
        Route("/api/session", leave, methods=["DELETE"]),
        Route("/api/session/password", change_password, methods=["PUT"]),
    ]


def _shown(principal: Principal, about: About) -> dict[str, Any]:
    return {
        "user": principal.name,
        "role": principal.role,
        "may": sorted(action.value for action in principal.may),
        "ae_title": about.ae_titles[0] if about.ae_titles else None,
        "ae_titles": about.ae_titles,
        "dimse_port": about.dimse_port,
        "version": about.version,
    }


def _put_cookie(response: Response, secret: str, request: Request, http: HttpSettings) -> None:
    response.set_cookie(
        cookie_name(request.scope, http),
        secret,
        max_age=int(http.session_hours * 3600),
        path="/",
        secure=_is_private(request.scope, http),
        httponly=True,
        samesite="lax",  # so that a link from another system opens a study without a detour
    )
