"""In which media types rendered resources are to be had, and which one a client gets (8.7.4)."""

from __future__ import annotations

from filmroom.archive.errors import Unsupported
from filmroom.dicomweb import negotiate
from filmroom.pixel.movie import MISSING, can_make_movies
from filmroom.pixel.options import JPEG, MEDIA_TYPES, MP4, WEBP

SINGLE = MEDIA_TYPES
MULTIPLE = tuple(f'multipart/related; type="{media_type}"' for media_type in MEDIA_TYPES)


def negotiated(
    accept: str | None, thumbnail: bool, may_move: bool, one_instance: bool
) -> tuple[str, bool]:
    """(media type, whether in a multipart answer). Raises Unsupported.

    may_move: whether a video could be made of it.
    """
    in_order = (*SINGLE, *MULTIPLE) if one_instance else (*MULTIPLE, *SINGLE)
    offers: tuple[str, ...] = SINGLE if thumbnail else in_order
    if may_move and not thumbnail and can_make_movies():
        offers = (*offers, MP4)
    offer = negotiate.choose(accept or "", offers)
    if offer == WEBP and _is_one_of_many(accept or ""):
        offer = negotiate.choose(accept or "", tuple(each for each in offers if each != WEBP))
    if offer is None:
        missing = MISSING if may_move and not can_make_movies() else ""
        if missing and negotiate.choose(accept or "", (MP4,)) is not None:
            raise Unsupported(missing)
        raise Unsupported(negotiate.what_is_to_be_had(offers))
    multiple, media_type = negotiate.split_offer(offer)
    return media_type, multiple


def _is_one_of_many(accept: str) -> bool:
    """Whether WebP is liked no better than JPEG, which is made in a fraction of the time."""
    ranges = negotiate.parse_accept(accept)
    liked = max((each.q for each in ranges if each.content == WEBP), default=0.0)
    return any(
        each.q >= liked and each.covers(JPEG) and not each.is_multipart
        for each in ranges
        if each.content != WEBP
    )
