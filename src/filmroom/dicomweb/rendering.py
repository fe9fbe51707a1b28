"""The rendered resources' way to rendered.py: path and parameters checked, pixels not here."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from filmroom.dicomweb.leaving import while_there
from filmroom.dicomweb.problems import bad_request
from filmroom.dicomweb.rendered import render_response
from filmroom.dicomweb.service import Service, principal_of, required_uid, uid_of
from filmroom.dicomweb.video import is_video, stored_video


async def rendered(service: Service, request: Request) -> Response:
    """GET .../rendered of a study, series, instance or frame (PS3.18 10.4.1.1.3)."""
    return await _render(service, request, thumbnail=False)


async def thumbnail(service: Service, request: Request) -> Response:
    """GET .../thumbnail of a study, series, instance or frame (PS3.18 10.4.1.1.4)."""
    return await _render(service, request, thumbnail=True)


async def _render(service: Service, request: Request, *, thumbnail: bool) -> Response:
    principal = principal_of(request)
    study, series = required_uid(request, "study"), uid_of(request, "series")
    instance = uid_of(request, "instance")
    frame_index = _frame_index(request.path_params.get("frames"))
    accept = request.query_params.get("accept") or request.headers.get("accept")
    if instance is not None and frame_index is None and not thumbnail:
        handle = await service.archive.retriever.instance(principal, study, series, instance)
        if is_video(handle):
            return await stored_video(service, request, handle, accept)
    async with while_there(request.receive):
        return await render_response(
            service.archive,
            service.pool,
            principal,
            study=study,
            series=series,
            instance=instance,
            frame_index=frame_index,
            params=dict(request.query_params),
            accept=accept,
            thumbnail=thumbnail,
            if_none_match=request.headers.get("if-none-match"),
        )


def _frame_index(number: str | None) -> int | None:
    """The 0-based index of the one frame in the path."""
    if number is None:
        return None
    if not (number.isascii() and number.isdigit() and len(number) <= 9 and int(number) > 0):
        raise bad_request("one positive frame number is needed, e.g. frames/1/rendered")
    return int(number) - 1
