"""Presentation states that a request names, or asks to be shown (PS3.18 8.3.5, 9.4.1, 10.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filmroom.archive.access import Principal
from filmroom.archive.errors import NotHeld
from filmroom.archive.records import Handle
from filmroom.archive.retrieve import Retriever
from filmroom.dicom.uids import is_valid_uid
from filmroom.pixel.codecs import can_decode
from filmroom.pixel.errors import BadParameter
from filmroom.pixel.state import subjects_of

MOST_SUBJECTS = 5000
_WINDOWS = ("window", "windowCenter", "windowWidth")


def asked_for(params: Mapping[str, str], one_instance: bool) -> tuple[str, str] | None:
    """(series, instance) of the state in `presentationSeriesUID` and `presentationUID`.

    Raises BadParameter when one is missing, no UID, or nothing that could be presented is named.
    """
    series, instance = params.get("presentationSeriesUID"), params.get("presentationUID")
    if series is None and instance is None:
        return None
    if not (series and instance and is_valid_uid(series) and is_valid_uid(instance)):
        raise BadParameter(
            "presentationSeriesUID and presentationUID go together and must be valid UIDs"
        )
    if not one_instance:
        raise BadParameter("presentationUID goes with one instance or frame")
    return series, instance


def demand_no_window(params: Mapping[str, str]) -> None:
    """Raise BadParameter for a window: the presentation state has its own (PS3.18 9.5.2.2)."""
    given = [name for name in _WINDOWS if name in params]
    if given:
        raise BadParameter(f"{given[0]} cannot be set: the presentation state says how it is shown")


async def subjects(
    retriever: Retriever,
    principal: Principal,
    state: Handle,
    said: Mapping[str, Any],
    frame_index: int | None,
) -> list[Handle]:
    """The images that a state refers to, those that are held and can be shown, in its order.

    Raises NotHeld when there are none, and for a frame of the state: it has no frames.
    """
    if frame_index is not None:
        raise NotHeld("a presentation state has no frames")
    found: dict[str, Handle] = {}
    for subject in subjects_of(said)[:MOST_SUBJECTS]:
        uids = subject.series_instance_uid, subject.sop_instance_uid
        if subject.sop_instance_uid in found or not all(map(is_valid_uid, uids)):
            continue
        try:
            image = await retriever.instance(principal, state.study_instance_uid, *uids)
        except NotHeld:
            continue
        if image.frames and can_decode(image.location.transfer_syntax_uid):
            found[image.sop_instance_uid] = image
    if not found:
        raise NotHeld("no image that the presentation state refers to is held")
    return list(found.values())
