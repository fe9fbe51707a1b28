"""The OpenAPI description of all routes, made from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.routing import BaseRoute, Mount, Route

from filmroom.archive.access import Action
from filmroom.asgi.access import Need, needed

_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_KINDS = {"int": "integer", "float": "number"}


def each_route(routes: Sequence[BaseRoute], above: str = "") -> Iterator[tuple[str, str, Route]]:
    """(method, template, route) of every route, those of mounts included."""
    for route in routes:
        if isinstance(route, Mount):
            yield from each_route(route.routes or [], above + route.path)
        elif isinstance(route, Route):
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield method, above + route.path, route


def describe(routes: Sequence[BaseRoute], version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for method, template, route in each_route(routes):
        path = _PARAMETER.sub(r"{\1}", template)
        paths.setdefault(path, {})[method.lower()] = _operation(method, template, route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "filmroom",
            "version": version,
            "description": "DICOMweb (PS3.18) and filmroom's own API.",
        },
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "filmroom_session"},
            }
        },
        "paths": paths,
    }


def _operation(method: str, template: str, route: Route) -> dict[str, Any]:
    need = needed(method, _PARAMETER.sub("1", template))
    summary = (getattr(route.endpoint, "__doc__", "") or route.name).strip().partition("\n")[0]
    operation: dict[str, Any] = {
        "summary": summary,
        "operationId": f"{method.lower()} {template}",
        "responses": {"default": {"description": "the answer, or a problem (RFC 9457)"}},
        "security": [] if need is Need.NOTHING else [{"token": []}, {"session": []}],
    }
    if isinstance(need, Action):
        operation["x-action"] = need.value
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": _KINDS.get(kind, "string")},
        }
        for name, kind in _PARAMETER.findall(template)
    ]
    if parameters:
        operation["parameters"] = parameters
    return operation
