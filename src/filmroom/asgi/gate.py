"""The gate: who asks, may they, is it really them (cross-site requests), is it too much."""

from __future__ import annotations

import base64
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from filmroom.archive.access import Action, Principal, demand
from filmroom.archive.errors import Refused, Unavailable
from filmroom.asgi.access import READ, Need, needed
from filmroom.console.session import cookie_name
from filmroom.http import of_archive, problem
from filmroom.security.settings import HttpSettings
from filmroom.security.signin import MustWait, SignIn, SignInFailed

SMALL_BODY = 1 << 20
_CHALLENGE = 'Bearer realm="filmroom"'
_CHALLENGES = _CHALLENGE + ', Basic realm="filmroom", charset="UTF-8"'


class TooLarge(Exception):
    """The body grew beyond what the request may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"at most {limit} bytes are accepted here")
        self.limit = limit


class Gate:
    """Puts `state.principal` into the scope, or answers in the application's place."""

    def __init__(
        self,
        app: ASGIApp,
        sign_in: SignIn,
        http: HttpSettings,
        *,
        open_paths: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._open_paths = open_paths  # static files: they are the same for everybody
        self._sign_in = sign_in
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: none of our routes is one
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        refusal = await self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        limit = self._limit(scope)
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            await problem(400, "Content-Length is not a number")(scope, receive, send)
            return
        if len(length) > 19 or int(length) > limit:
            await too_large(limit)(scope, receive, send)
            return
        await self._app(scope, _bounded(receive, limit), send)

    async def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """None when the request may pass."""
        method, path = scope["method"], scope["path"]
        need = Need.NOTHING if path in self._open_paths else needed(method, path)
        if need is Need.NOTHING:
            return _cross_site(method, headers, by_cookie=False)
        try:
            principal, by_cookie = await self._who(scope, headers)
        except MustWait as wait:
            return problem(429, str(wait), {"Retry-After": str(int(wait.seconds) + 1)})
        except SignInFailed as failed:
            return _sign_in_first(scope, headers, str(failed))
        except Unavailable as error:
            return of_archive(error)
        if principal is None:
            return _sign_in_first(scope, headers, "sign in first")
        refusal = _cross_site(method, headers, by_cookie=by_cookie)
        if refusal is not None:
            return refusal
        if isinstance(need, Action):
            try:
                demand(principal, need)
            except Refused as error:
                return of_archive(error)
        scope.setdefault("state", {})["principal"] = principal
        return None

    async def _who(self, scope: Scope, headers: Headers) -> tuple[Principal | None, bool]:
        """(who asks, whether a cookie says so); a header counts before a cookie."""
        authorization = headers.get("authorization")
        if authorization is None:
            secret = _cookie(headers, cookie_name(scope, self._http))
            return (await self._sign_in.by_session(secret) if secret else None), True
        kind, _, credentials = authorization.partition(" ")
        credentials = credentials.strip()
        if kind.lower() == "bearer":
            return await self._sign_in.by_token(credentials), False
        if kind.lower() == "basic":
            if not _private(scope):
                raise SignInFailed("Basic needs HTTPS; use a bearer token, or configure TLS")
            name, password = _basic(credentials)
            address = scope["client"][0] if scope.get("client") else ""
            # A browser repeats Basic by itself, as it does cookies.
            is_browser = "sec-fetch-site" in headers or "origin" in headers
            return await self._sign_in.by_password(name, password, address), is_browser
        raise SignInFailed("Authorization must be Bearer or Basic")

    def _limit(self, scope: Scope) -> int:
        is_store = scope["method"] == "POST" and scope["path"].startswith("/dicom-web")
        return self._http.max_body_bytes if is_store else SMALL_BODY


def _cookie(headers: Headers, name: str) -> str:
    text = headers.get("cookie", "")
    if name not in text:
        return ""
    try:
        morsel = SimpleCookie(text).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _basic(credentials: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(credentials, validate=True).decode("utf-8")
    except ValueError:  # also for letters that are not ASCII
        raise SignInFailed("the Basic credentials are not base64 of name:password") from None
    name, colon, password = text.partition(":")
    if not colon:
        raise SignInFailed("the Basic credentials are not base64 of name:password")
    return name, password


def _private(scope: Scope) -> bool:
    """Whether nobody can listen: TLS, or never leaving this machine."""
    if scope["scheme"] == "https":
        return True
    try:
        return bool(scope.get("client")) and ip_address(scope["client"][0]).is_loopback
    except ValueError:
        return False


def _cross_site(method: str, headers: Headers, *, by_cookie: bool) -> Response | None:
    """Refuse what another site makes a browser do (CSRF).

    A browser says where a request comes from (Sec-Fetch-Site, or Origin): it must be from
    ourselves. With a cookie that proof is demanded; a header that other sites cannot set
    is one as well. Programs say nothing of the kind and come with a token.
    """
    if method in READ:
        return None
    site = headers.get("sec-fetch-site")
    if site is not None:
        proof = site in ("same-origin", "none")
    elif (origin := headers.get("origin")) is not None:
        proof = urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    else:
        proof = not by_cookie or "x-filmroom" in headers
    if proof:
        return None
    return problem(403, "this request comes from another site's page; it was not carried out")


def _sign_in_first(scope: Scope, headers: Headers, detail: str) -> Response:
    """To the sign-in page for a person who navigates, 401 for everything else."""
    is_navigation = headers.get("sec-fetch-mode", "navigate") == "navigate"
    wants_page = "text/html" in headers.get("accept", "") and scope["method"] == "GET"
    if wants_page and is_navigation and "authorization" not in headers:
        target = quote(scope["path"], safe="/")
        if query := scope.get("query_string"):
            target += "?" + query.decode("ascii", "replace")
        where = "/login" if target == "/" else f"/login?next={quote(target, safe='')}"
        return RedirectResponse(where, 303, {"Cache-Control": "no-store"})
    # No Basic challenge to a browser's scripts: it would open the browser's own dialog.
    basic = "sec-fetch-mode" not in headers and _private(scope)
    return problem(401, detail, {"WWW-Authenticate": _CHALLENGES if basic else _CHALLENGE})


def too_large(limit: int) -> Response:
    return problem(413, f"at most {limit} bytes are accepted here", {"Connection": "close"})


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive` that counts, for bodies that come without a length."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLarge(limit)
        return message

    return bounded
