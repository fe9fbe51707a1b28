"""Rendered resources of what is not an image: reports, documents, waveforms (PS3.18 8.7.4).

A report is made into a page whose links lead to what of its references is held here; an
encapsulated document goes out as it is, when it is what it says; a waveform is drawn. All
but the encapsulated documents are read in a pixel worker, and kept for a while in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from filmroom import __version__
from filmroom.archive.access import Principal
from filmroom.archive.errors import Unsupported
from filmroom.archive.kept import Kept
from filmroom.archive.records import Handle, Selection
from filmroom.dicom import dicomjson
from filmroom.dicom.errors import Malformed
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.dicomweb import negotiate
from filmroom.dicomweb.answers import (
    BINARY_HEADERS,
    DOCUMENT_HEADERS,
    INLINE_BYTES,
    Chunk,
    Pieces,
    Stream,
    document,
    not_modified,
    part_wanted,
    ranged,
    read_pieces,
    read_range,
)
from filmroom.dicomweb.service import Service, principal_of
from filmroom.documents import encapsulated, work
from filmroom.documents.kinds import HTML, SMALL, Kind, kind_of
from filmroom.documents.style import STYLE_SOURCE
from filmroom.pixel.codecs import can_decode
from filmroom.pixel.errors import NoCodec, TooLarge, Undecodable
from filmroom.pixel.options import THUMBNAIL_SIDE, parse_options

MADE_BYTES = 24 << 20  # pages and drawings kept
REFERENCES_BYTES = 4 << 20
INFLATED_BYTES = 64 << 20  # of a deflated data set that is handed to a worker
MADE: Kept[bytes] = Kept(MADE_BYTES)
REFERENCES: Kept[list[str]] = Kept(REFERENCES_BYTES)

# Nothing runs and nothing is fetched but pictures of ours. It stays of our own origin, so that
# its links know who follows them; without scripts that gives it no power.
_SANDBOX = "sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox"
_CLOSED = "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
PAGE_POLICY = (
    f"default-src 'none'; style-src {STYLE_SOURCE}; img-src 'self'; {_CLOSED}; "
    f"{_SANDBOX} allow-top-navigation-by-user-activation"
)
DRAWING_POLICY = f"default-src 'none'; {_CLOSED}; sandbox"
POLICIES = {
    "text/html": PAGE_POLICY,
    "text/plain": DRAWING_POLICY,
    "text/xml": DRAWING_POLICY,
    "application/xml": DRAWING_POLICY,
    "image/svg+xml": f"default-src 'none'; style-src 'unsafe-inline'; {_CLOSED}; sandbox",
    # No sandbox and no default-src: the browser's own viewer would stay blank.
    "application/pdf": f"script-src 'none'; {_CLOSED}",
}
EXTENSIONS = {"application/pdf": "pdf", "text/xml": "xml", "application/xml": "xml"}


async def of_instance(
    service: Service,
    request: Request,
    handle: Handle,
    *,
    accept: str,
    thumbnail: bool = False,
) -> Response | None:
    """The rendered resource or thumbnail of an instance; None when it is none of ours.

    Raises NotHeld, Damaged, Unsupported (no acceptable media type, or a document that cannot
    be shown) and what the pool raises.
    """
    kind = _kind(handle)
    if kind is None:
        return None
    return await _answer(service, request, handle, kind, accept, thumbnail)


async def stand_in(
    service: Service, request: Request, study: str, series: str | None, accept: str
) -> Response | None:
    """A thumbnail for a study or series without images: its first document's, or None."""
    wanted = Selection(
        study_instance_uids=(study,), series_instance_uids=(series,) if series else ()
    )
    selected = await service.archive.retriever.select(principal_of(request), wanted)
    if any(each.has_frames and can_decode(each.transfer_syntax_uid) for each in selected.kinds):
        return None
    async with aclosing(selected.pages()) as pages:
        async for page in pages:
            for handle in page:
                kind = _kind(handle)
                if kind is not None and not handle.damage:
                    return await _answer(service, request, handle, kind, accept, True)
    return None


def _kind(handle: Handle) -> Kind | None:
    return None if handle.frames else kind_of(handle.sop_class_uid)


async def _answer(
    service: Service, request: Request, handle: Handle, kind: Kind, accept: str, thumbnail: bool
) -> Response:
    offers = SMALL if thumbnail else kind.media_types
    media_type = negotiate.choose(accept, offers)
    if media_type is None:
        raise Unsupported(negotiate.what_is_to_be_had(offers))
    maker = _Maker(service, request, handle)
    try:
        if thumbnail:
            return await maker.thumbnail(kind, media_type)
        if kind.name == "encapsulated":
            return await maker.document(kind, media_type)
        if kind.name == "report":
            return await maker.report(media_type)
        if kind.name == "audio":
            return await maker.sound(media_type)
        return await maker.waveform(media_type)
    except (Undecodable, TooLarge, NoCodec) as error:
        raise Unsupported(f"this document cannot be shown: {error.message}") from error


class _Maker:
    """Answers one request for one instance."""

    def __init__(self, service: Service, request: Request, handle: Handle) -> None:
        self._service = service
        self._request = request
        self._handle = handle
        self._retriever = service.archive.retriever
        self._content = (self._retriever.trust, handle.location.digest)

    async def thumbnail(self, kind: Kind, media_type: str) -> Response:
        """A trace of a waveform, an icon for all else."""
        options = parse_options(self._params, media_type, thumbnail=True)
        viewport = options.viewport
        side = THUMBNAIL_SIDE
        size = (viewport.width, viewport.height) if viewport is not None else (side, side)
        is_trace = kind.name == "waveform"
        args = (media_type, size) if is_trace else (kind.badge, media_type, size)
        make: Callable[..., bytes] = work.small_waveform if is_trace else work.icon
        return await self._made(media_type, ("small", *args), make, *args)

    async def report(self, media_type: str) -> Response:
        """A page, or plain text, with links to what is held."""
        uids = REFERENCES.get(self._content)
        if uids is None:
            uids = await self._work(work.references)
            REFERENCES.put(self._content, uids, 100 + sum(map(len, uids)))
        links = await self._links(uids) if media_type == HTML else {}
        wish = (media_type, *sorted(links.items()))
        return await self._made(media_type, wish, work.report, media_type, links)

    async def waveform(self, media_type: str) -> Response:
        """The drawing."""
        options = parse_options(self._params, media_type)
        viewport = options.viewport
        size = (viewport.width, viewport.height) if viewport is not None else None
        args = (media_type, size, options.quality)
        return await self._made(media_type, args, work.waveform, *args)

    async def sound(self, media_type: str) -> Response:
        """What was spoken, as a file that browsers play; they ask for it in ranges."""
        etag = self._etag(("sound",))
        headers = {**BINARY_HEADERS, "Content-Type": media_type, "ETag": etag}
        unchanged = not_modified(self._request, etag, headers)
        if unchanged is not None:
            return unchanged
        return ranged(self._request, await self._kept(etag, work.sound), headers, etag)

    @property
    def _params(self) -> Mapping[str, str]:
        return dict(self._request.query_params)

    def _etag(self, wish: tuple[object, ...]) -> str:
        """Equal content, equal wishes, the same version of ours: an equal answer."""
        said = repr((self._handle.location.digest, __version__, wish)).encode()
        return f'"{hashlib.sha256(said).hexdigest()[:32]}"'

    async def _made(
        self, media_type: str, wish: tuple[object, ...], make: Callable[..., bytes], *args: Any
    ) -> Response:
        """An answer that a worker has made, lately or now."""
        etag = f"W/{self._etag(wish)}"
        headers = {**DOCUMENT_HEADERS, "ETag": etag, **_policy(media_type)}
        unchanged = not_modified(self._request, etag, headers)
        if unchanged is not None:
            return unchanged
        body = await self._kept(etag, make, *args)
        if media_type in SMALL:
            return Pieces((body,), {**headers, "Content-Type": media_type})
        full = f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
        return await document(self._request, body, full, headers)

    async def _kept(self, etag: str, make: Callable[..., bytes], *args: Any) -> bytes:
        """What a worker has made for this ETag, from memory when it was lately."""
        key = (self._content, etag)
        body = MADE.get(key)
        if body is None:
            body = await self._work(make, *args)
            MADE.put(key, body, len(body))
        return body

    async def _work(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in a worker, with the data set as its first argument."""
        location = self._handle.location
        syntax = location.transfer_syntax_uid
        pool = self._service.pool
        if TRANSFER_SYNTAXES[syntax].deflated:
            data = await self._inflated()
            return await pool.run(function, data, syntax, *args)
        begin, length = location.data_set_offset, location.header_bytes
        with self._retriever.open(self._handle) as file:
            await file.ready(begin, length)
            return await pool.run_on(file.fd, work.on_file, begin, length, function, syntax, *args)

    async def _inflated(self) -> bytes:
        if self._handle.location.header_bytes > INFLATED_BYTES:
            raise TooLarge("the deflated data set is too large")
        return bytes(await asyncio.to_thread(self._retriever.header, self._handle))

    async def _links(self, uids: list[str]) -> dict[str, str]:
        """The paths of those instances that are held here and can be shown."""
        if not uids:
            return {}
        principal: Principal = principal_of(self._request)
        selected = await self._retriever.select(principal, Selection(sop_instance_uids=tuple(uids)))
        root = self._service.settings.root
        links: dict[str, str] = {}
        async with aclosing(selected.pages()) as pages:
            async for page in pages:
                for each in page:
                    if not each.damage and _can_be_shown(each):
                        links[each.sop_instance_uid] = (
                            f"{root}/studies/{each.study_instance_uid}"
                            f"/series/{each.series_instance_uid}"
                            f"/instances/{each.sop_instance_uid}"
                        )
        return links

    # -- encapsulated documents -----------------------------------------------------------------
    async def document(self, kind: Kind, media_type: str) -> Response:
        """The document itself, in ranges if need be."""
        handle, retriever = self._handle, self._retriever
        if TRANSFER_SYNTAXES[handle.location.transfer_syntax_uid].deflated:
            return await self._deflated_document(kind, media_type)
        said = await self._said()
        bulk = await retriever.bulk(
            principal_of(self._request),
            handle.study_instance_uid,
            handle.series_instance_uid,
            handle.sop_instance_uid,
            encapsulated.DOCUMENT,
        )
        if not bulk.length:
            raise Undecodable("it is empty")
        etag = self._etag((media_type,))
        with retriever.open(handle) as file:
            head = await read_range(file, bulk.offset, min(bulk.length, encapsulated.HEAD_BYTES))
            last = await read_range(file, bulk.offset + bulk.length - 1, 1)
            encapsulated.demand(kind, said, bytes(head))
            size = encapsulated.length_of(said, bulk.length, bytes(last))
            headers = self._document_headers(media_type, etag)
            unchanged = not_modified(self._request, etag, headers)
            if unchanged is not None:
                return unchanged
            if size <= INLINE_BYTES:
                body = await read_range(file, bulk.offset, size)
                return ranged(self._request, bytes(body), headers, etag)
        first, stop, status = part_wanted(self._request, size, etag, headers)

        async def chunks() -> AsyncIterator[Chunk]:
            with retriever.open(handle) as file:
                async for chunk in read_pieces(file, ((bulk.offset + first, stop - first),)):
                    yield chunk

        return Stream(chunks, headers, length=stop - first, status_code=status)

    async def _said(self) -> encapsulated.Said:
        handle, retriever = self._handle, self._retriever
        syntax = handle.location.transfer_syntax_uid
        if retriever.is_quick(handle):
            return encapsulated.said_of(retriever.header(handle), syntax)
        return await asyncio.to_thread(
            lambda: encapsulated.said_of(retriever.header(handle), syntax)
        )

    async def _deflated_document(self, kind: Kind, media_type: str) -> Response:
        data = await self._inflated()
        syntax = self._handle.location.transfer_syntax_uid
        said = encapsulated.said_of(data, syntax)
        try:
            offset, length, _ = dicomjson.locate(data, syntax, encapsulated.DOCUMENT)
        except (Malformed, KeyError):
            raise Undecodable("it has no document") from None
        body = data[offset : offset + length]
        encapsulated.demand(kind, said, body[: encapsulated.HEAD_BYTES])
        body = body[: encapsulated.length_of(said, length, body[-1:])]
        etag = self._etag((media_type,))
        headers = self._document_headers(media_type, etag)
        return not_modified(self._request, etag, headers) or ranged(
            self._request, body, headers, etag
        )

    def _document_headers(self, media_type: str, etag: str) -> dict[str, str]:
        name = self._handle.sop_instance_uid
        how = "inline" if media_type in EXTENSIONS else "attachment"
        extension = EXTENSIONS.get(media_type, media_type.rpartition("/")[2])
        return {
            **BINARY_HEADERS,
            "Content-Type": media_type,
            "Content-Disposition": f'{how}; filename="{name}.{extension}"',
            "ETag": etag,
            **_policy(media_type),
        }


def _can_be_shown(handle: Handle) -> bool:
    if handle.frames:
        return can_decode(handle.location.transfer_syntax_uid)
    return kind_of(handle.sop_class_uid) is not None


def _policy(media_type: str) -> dict[str, str]:
    policy = POLICIES.get(media_type)
    return {"Content-Security-Policy": policy} if policy else {}
