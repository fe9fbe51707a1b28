"""JSON in and out of filmroom's own API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from filmroom.archive.access import Principal
from filmroom.archive.errors import Unintelligible

LONGEST_BODY = 1 << 16

T = TypeVar("T")


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON, never cached."""
    return Response(
        orjson.dumps(value),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/json",
    )


def nothing() -> Response:
    """Done, and nothing to say."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def who(request: Request) -> Principal:
    """Who asks; the gate has put it there."""
    principal = request.scope["state"]["principal"]
    assert isinstance(principal, Principal)
    return principal


def address(request: Request) -> str:
    """Where the request comes from, proxies that we trust looked through."""
    return request.client.host if request.client else ""


async def body(request: Request, model: type[T]) -> T:
    """The JSON object of the body as a dataclass of strings, numbers and flags.

    Raises Unintelligible, naming the key that is missing, unknown or of the wrong kind.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Unintelligible("send JSON, with Content-Type: application/json")
    raw = await request.body()
    if len(raw) > LONGEST_BODY:
        raise Unintelligible("that is too long")
    try:
        given = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        raise Unintelligible("the body is not JSON") from None
    if not isinstance(given, dict):
        raise Unintelligible("the body must be a JSON object")
    return _filled(model, given)


def _filled(model: type[T], given: dict[str, Any]) -> T:
    known = {field.name: str(field.type) for field in fields(model)}  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in known:
            raise Unintelligible(f"{name[:40]!r} is not known here; known: {', '.join(known)}")
        kinds = {part.strip() for part in known[name].split("|")}
        kind = "None" if value is None else type(value).__name__
        if kind not in kinds and not (kind == "int" and "float" in kinds):
            raise Unintelligible(f"{name!r} must be {known[name]}")
    try:
        return model(**given)
    except TypeError:
        needed = [f.name for f in fields(model) if f.name not in given]  # type: ignore[arg-type]
        raise Unintelligible(f"missing: {', '.join(needed)}") from None
