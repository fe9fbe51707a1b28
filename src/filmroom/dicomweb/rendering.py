"""The rendered resources' way to rendered.py, or documents.py: path and parameters checked."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from filmroom.archive.errors import Unsupported
from filmroom.dicomweb import documents
from filmroom.dicomweb.leaving import while_there
from filmroom.dicomweb.problems import bad_request
from filmroom.dicomweb.rendered import render_response
from filmroom.dicomweb.service import Service, accept_of, principal_of, required_uid, uid_of
from filmroom.dicomweb.video import is_video, stored_video


async def rendered(service: Service, request: Request) -> Response:
    """GET .../rendered of a study, series, instance or frame (PS3.18 10.4.1.1.3)."""
    return await _render(service, request, thumbnail=False)


async def thumbnail(service: Service, request: Request) -> Response:
    """GET .../thumbnail of a study, series, instance or frame (PS3.18 10.4.1.1.4)."""
    return await _render(service, request, thumbnail=True)


async def _render(service: Service, request: Request, *, thumbnail: bool) -> Response:
    study, series = required_uid(request, "study"), uid_of(request, "series")
    instance, accept = uid_of(request, "instance"), accept_of(request)
    handle = None
    if instance is not None and "frames" not in request.path_params:
        retriever = service.archive.retriever
        handle = await retriever.instance(principal_of(request), study, series, instance)
        if is_video(handle) and not thumbnail:
            return await stored_video(service, request, handle, accept)
    async with while_there(request.receive):
        if handle is not None:
            found = await documents.of_instance(
                service, request, handle, accept=accept, thumbnail=thumbnail
            )
            if found is not None:
                return found
        try:
            return await _images(service, request, thumbnail=thumbnail)
        except Unsupported:
            if instance is not None or not thumbnail:
                raise
            found = await documents.stand_in(service, request, study, series, accept)
            if found is None:
                raise
            return found


async def _images(service: Service, request: Request, *, thumbnail: bool) -> Response:
    return await render_response(
        service.archive,
        service.pool,
        principal_of(request),
        study=required_uid(request, "study"),
        series=uid_of(request, "series"),
        instance=uid_of(request, "instance"),
        frame_index=_frame_index(request.path_params.get("frames")),
        params=dict(request.query_params),
        accept=request.query_params.get("accept") or request.headers.get("accept"),
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
