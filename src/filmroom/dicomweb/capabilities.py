"""The Capabilities Description: what this service offers, as WADL or JSON (PS3.18 8.9, H)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import orjson
from starlette.requests import Request
from starlette.responses import Response

from filmroom.dicomweb import negotiate
from filmroom.dicomweb.service import Service, accept_of, not_acceptable

WADL = "application/vnd.sun.wadl+xml"
OFFERS = (WADL, "application/json", "application/xml")
_NAMESPACE = "http://wadl.dev.java.net/2009/02"


@dataclass(frozen=True, slots=True)
class Method:
    """One method of one resource."""

    template: str
    name: str
    does: str
    offers: Sequence[str]
    bodies: Sequence[str]


def describe(service: Service, request: Request, methods: Sequence[Method]) -> Response:
    """GET or OPTIONS of the root."""
    accept = accept_of(request)
    offer = negotiate.choose(accept, OFFERS)
    if offer is None:
        raise not_acceptable(OFFERS)
    base = service.url()
    body = _json(base, methods) if offer == "application/json" else _wadl(base, methods)
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept"}
    headers |= {"X-Content-Type-Options": "nosniff", "Allow": "GET, HEAD, POST, OPTIONS"}
    return Response(body, 200, headers, offer)


def _json(base: str, methods: Sequence[Method]) -> bytes:
    resources: dict[str, dict[str, object]] = {}
    for method in methods:
        resources.setdefault(base + method.template, {})[method.name] = {
            "transaction": method.does,
            "produces": list(method.offers),
            **({"consumes": list(method.bodies)} if method.bodies else {}),
        }
    return orjson.dumps({"base": base, "resources": resources}, option=orjson.OPT_INDENT_2)


def _wadl(base: str, methods: Sequence[Method]) -> bytes:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<application xmlns="{_NAMESPACE}"><resources base={quoteattr(base)}>',
    ]
    by_template: dict[str, list[Method]] = {}
    for method in methods:
        by_template.setdefault(method.template, []).append(method)
    for template, members in by_template.items():
        lines.append(f"<resource path={quoteattr(template.lstrip('/').replace(':path', ''))}>")
        lines += [_method(member) for member in members]
        lines.append("</resource>")
    lines.append("</resources></application>")
    return "\n".join(lines).encode()


def _method(method: Method) -> str:
    name = method.does.replace(" ", "")
    accepted = "".join(f"<option value={quoteattr(offer)}/>" for offer in method.offers)
    request = "".join(f"<representation mediaType={quoteattr(body)}/>" for body in method.bodies)
    answer = "".join(f"<representation mediaType={quoteattr(each)}/>" for each in method.offers)
    return (
        f'<method name="{method.name}" id="{name}"><request>'
        f'<param name="Accept" style="header">{accepted}</param>{request}</request>'
        f'<response status="200">{answer}</response></method>'
    )
