"""Every DICOMweb URI template on one page: routing, capabilities and documents read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from filmroom.dicomweb import capabilities, frames, qido, rendering, stow, wado
from filmroom.dicomweb.problems import Problem, guarded
from filmroom.dicomweb.service import Service, Settings
from filmroom.documents.kinds import media_types

if TYPE_CHECKING:
    from filmroom.archive.archive import Archive
    from filmroom.pixel.pool import Pool

Handler = Callable[[Service, Request], Awaitable[Response]]

STUDY = "/studies/{study}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One URI template below the root, and what its methods do (PS3.18 Table 10.1.1-1)."""

    template: str
    get: Handler | None = None
    post: Handler | None = None
    does: str = ""
    takes: str = ""  # what its POST does
    offers: tuple[str, ...] = field(default=())  # media types of its GET
    bodies: tuple[str, ...] = field(default=())  # media types of its POST


IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
VIDEOS = ("video/mp4", "video/mpeg")  # stored ones; MP4 of other multi-frame images by an extra
SHOWN = tuple(dict.fromkeys((*IMAGES, *VIDEOS, *media_types())))

# The busiest first: routes are tried in order.
RESOURCES: tuple[Resource, ...] = (
    Resource(f"{INSTANCE}/frames/{{frames}}", frames.frames, does="Retrieve Frames",
             offers=('multipart/related; type="application/octet-stream"; transfer-syntax=*',
                     "application/octet-stream")),
    Resource(f"{SERIES}/metadata", wado.metadata, does="Retrieve Series Metadata",
             offers=wado.METADATA_OFFERS),
    Resource("/studies", qido.studies, stow.store, "Search for Studies", "Store Instances",
             qido.OFFERS, stow.BODIES),
    Resource(f"{STUDY}/series", qido.series, does="Search for Study Series", offers=qido.OFFERS),
    Resource(f"{SERIES}/instances", qido.instances, does="Search for Study Series Instances",
             offers=qido.OFFERS),
    Resource(INSTANCE, wado.instances, does="Retrieve Instance", offers=wado.SINGLE_OFFERS),
    Resource(f"{INSTANCE}/metadata", wado.metadata, does="Retrieve Instance Metadata",
             offers=wado.METADATA_OFFERS),
    Resource(f"{INSTANCE}/bulkdata/{{path:path}}", frames.bulkdata, does="Retrieve Bulkdata",
             offers=frames.BULK_OFFERS),
    Resource(f"{INSTANCE}/frames/{{frames}}/rendered", rendering.rendered,
             does="Retrieve Rendered Frames", offers=IMAGES),
    Resource(f"{INSTANCE}/frames/{{frames}}/thumbnail", rendering.thumbnail,
             does="Retrieve Frame Thumbnail", offers=IMAGES),
    Resource(f"{INSTANCE}/rendered", rendering.rendered, does="Retrieve Rendered Instance",
             offers=SHOWN),
    Resource(f"{INSTANCE}/thumbnail", rendering.thumbnail, does="Retrieve Instance Thumbnail",
             offers=IMAGES),
    Resource(f"{SERIES}/rendered", rendering.rendered, does="Retrieve Rendered Series",
             offers=IMAGES),
    Resource(f"{SERIES}/thumbnail", rendering.thumbnail, does="Retrieve Series Thumbnail",
             offers=IMAGES),
    Resource(SERIES, wado.instances, does="Retrieve Series", offers=wado.INSTANCE_OFFERS),
    Resource(f"{STUDY}/metadata", wado.metadata, does="Retrieve Study Metadata",
             offers=wado.METADATA_OFFERS),
    Resource(f"{STUDY}/instances", qido.instances, does="Search for Study Instances",
             offers=qido.OFFERS),
    Resource(f"{STUDY}/rendered", rendering.rendered, does="Retrieve Rendered Study",
             offers=IMAGES),
    Resource(f"{STUDY}/thumbnail", rendering.thumbnail, does="Retrieve Study Thumbnail",
             offers=IMAGES),
    Resource(STUDY, wado.instances, stow.store, "Retrieve Study", "Store Study Instances",
             wado.INSTANCE_OFFERS, stow.BODIES),
    Resource("/series", qido.series, does="Search for Series", offers=qido.OFFERS),
    Resource("/instances", qido.instances, does="Search for Instances", offers=qido.OFFERS),
)  # fmt: skip


def routes(archive: Archive, pool: Pool, settings: Settings | None = None) -> list[BaseRoute]:
    """All routes, with absolute paths: those below the root, and /wado.

    Whoever mounts them has put the caller's Principal into `request.state.principal`.
    """
    service = Service(archive, pool, settings or Settings())
    root = service.settings.root
    made: list[BaseRoute] = []
    for resource in RESOURCES:
        path = root + resource.template
        made += [_route(service, path, *method) for method in _methods(resource)]
    described = _bound(service, _capabilities)
    made.append(_route(service, "/wado", "GET", wado.wado_uri))
    made.append(Route(root, described, methods=["GET", "OPTIONS"]))
    made.append(Route(root + "/", described, methods=["GET", "OPTIONS"]))
    made.append(Route(root + "/{path:path}", described, methods=["OPTIONS"]))
    made.append(Route(root + "/{path:path}", _Whatever(_bound(service, _unknown))))
    return made


def _methods(resource: Resource) -> list[tuple[str, Handler]]:
    pairs = (("GET", resource.get), ("POST", resource.post))
    return [(method, handler) for method, handler in pairs if handler is not None]


def _route(service: Service, path: str, method: str, handler: Handler) -> Route:
    return Route(path, _bound(service, handler), methods=[method], name=f"{method} {path}")


def _bound(service: Service, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await handler(service, request)

    return guarded(endpoint)


class _Whatever:
    """An endpoint for any method; Starlette lets a function have GET only, if not told which."""

    def __init__(self, handler: Callable[[Request], Awaitable[Response]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._handler(Request(scope, receive)))(scope, receive, send)


async def _capabilities(service: Service, request: Request) -> Response:
    described = [
        capabilities.Method(resource.template, method, does, offers, bodies)
        for resource in RESOURCES
        for method, does, offers, bodies in (
            ("GET", resource.does, resource.offers, ()),
            ("POST", resource.takes, stow.OFFERS, resource.bodies),
        )
        if does
    ]
    return capabilities.describe(service, request, described)


async def _unknown(service: Service, request: Request) -> Response:
    path = request.scope["path"].removeprefix(service.settings.root)
    for route in RESOURCES:
        if Route(route.template, _unreachable).path_regex.match(path):
            allowed = ", ".join(method for method, _ in _methods(route))
            raise Problem(
                405, "Method Not Allowed", f"what can be done here: {allowed}", {"Allow": allowed}
            )
    raise Problem(
        404,
        "Not Found",
        f"there is no such resource; {service.settings.root}/ describes those there are",
    )


async def _unreachable(request: Request) -> Response:
    raise NotImplementedError
