"""Which instances of a study or series can be shown, and which one stands for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

from filmroom.archive.access import Principal
from filmroom.archive.archive import Archive
from filmroom.archive.errors import Damaged, NotHeld, Unsupported
from filmroom.archive.metadata import NOTHING_SOUND
from filmroom.archive.records import Handle, Selection
from filmroom.archive.selected import Selected, Sound
from filmroom.pixel.codecs import can_decode

# Selected, but not what a person would choose to stand for a study.
SECOND_CHOICE = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    }
)


async def images_of(
    archive: Archive, principal: Principal, study: str, series: str | None
) -> Selected:
    """The instances of a study or series that can be shown."""
    wanted = Selection(
        study_instance_uids=(study,), series_instance_uids=(series,) if series else ()
    )
    selected = await archive.retriever.select(principal, wanted)
    if not selected.kinds:
        raise NotHeld("no such study" if series is None else "no such series in that study")
    if not any(k.has_frames and can_decode(k.transfer_syntax_uid) for k in selected.kinds):
        raise Unsupported("nothing in it is an image that can be rendered")
    if selected.damaged:
        selected = Sound(selected)
        async with aclosing(showable(selected)) as images:
            if await anext(images, None) is None:
                raise Damaged(NOTHING_SOUND)
    return selected


async def showable(images: Selected) -> AsyncGenerator[Handle, None]:
    """Those that can be shown, one after the other; only a page of them is held."""
    async with aclosing(images.pages()) as pages:
        async for page in pages:
            for handle in page:
                if handle.frames and can_decode(handle.location.transfer_syntax_uid):
                    yield handle


async def representative(images: Selected) -> Handle:
    """The instance that stands for a study: the middle image of its largest image series."""
    sizes: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    async for handle in showable(images):
        sizes[handle.sop_class_uid in SECOND_CHOICE][handle.series_instance_uid] += 1
    second = not sizes[False]
    ((largest, size),) = sizes[second].most_common(1)
    chosen, left = None, size // 2
    async with aclosing(showable(images)) as handles:
        async for handle in handles:
            is_second = handle.sop_class_uid in SECOND_CHOICE
            if handle.series_instance_uid != largest or is_second is not second:
                continue
            chosen, left = handle, left - 1
            if left < 0:
                break
    if chosen is None:
        raise NotHeld("the images are gone")
    return chosen
