"""The instances that a request names: how many there are, of what kinds, and they themselves.

A few are held as they are; of many only a page at a time, and the next one is fetched while
a page is being worked on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from filmroom.archive.errors import Damaged
from filmroom.archive.metadata import NOTHING_SOUND
from filmroom.archive.records import Handle, InstanceKind, Selection
from filmroom.archive.stores import Index


class Selected(Protocol):
    """What `Retriever.select` gives.

    whole: all of them where they fit one page, else None; kinds: what they are, as numbers;
    damaged: the UIDs of those whose files are marked, and so are not given.
    """

    @property
    def whole(self) -> Sequence[Handle] | None: ...
    @property
    def kinds(self) -> Sequence[InstanceKind]: ...
    @property
    def damaged(self) -> Sequence[str]: ...

    def pages(self) -> AsyncGenerator[Sequence[Handle], None]:
        """All of them, from the first, in order of series and number. As often as you like."""
        ...


def count(selected: Selected) -> int:
    """How many there were when they were selected; more may have come since."""
    return sum(kind.instances for kind in selected.kinds)


class Sound:
    """What is left of a selection without those whose files are damaged."""

    damaged: Sequence[str] = ()

    def __init__(self, selected: Selected) -> None:
        """Raises Damaged when nothing is left."""
        if len(selected.damaged) >= count(selected):
            raise Damaged(NOTHING_SOUND)
        self._selected = selected
        self.whole = None if selected.whole is None else _sound(selected.whole)
        self.kinds = selected.kinds

    async def pages(self) -> AsyncGenerator[Sequence[Handle], None]:
        """The same without them."""
        async with aclosing(self._selected.pages()) as pages:
            async for page in pages:
                yield _sound(page)


def _sound(handles: Sequence[Handle]) -> list[Handle]:
    return [handle for handle in handles if not handle.damage]


class Few:
    """All in memory."""

    def __init__(self, handles: Sequence[Handle]) -> None:
        self.whole = handles

    @property
    def kinds(self) -> list[InstanceKind]:
        """Counted when asked for."""
        counted = Counter(
            (h.sop_class_uid, h.location.transfer_syntax_uid, bool(h.frames)) for h in self.whole
        )
        return [InstanceKind(*kind, instances) for kind, instances in counted.items()]

    @property
    def damaged(self) -> list[str]:
        """As their handles say."""
        return [handle.sop_instance_uid for handle in self.whole if handle.damage]

    async def pages(self) -> AsyncGenerator[Sequence[Handle], None]:
        """One page, or none."""
        if self.whole:
            yield self.whole


class Many:
    """Read from the index page by page."""

    whole = None

    def __init__(self, index: Index, selection: Selection, kinds: Sequence[InstanceKind]) -> None:
        self._index = index
        self._selection = selection
        self.kinds = kinds
        self.damaged = index.integrity.marked_in(selection)

    async def pages(self) -> AsyncGenerator[Sequence[Handle], None]:
        """Page by page, one ahead of the reader."""
        pages = self._index.instances_iter(self._selection)
        ahead = asyncio.ensure_future(asyncio.to_thread(next, pages, None))
        try:
            while (page := await ahead) is not None:
                ahead = asyncio.ensure_future(asyncio.to_thread(next, pages, None))
                yield page
        finally:
            ahead.cancel()


def select(index: Index, selection: Selection) -> Selected:
    """Look what is there. Blocks."""
    pages = index.instances_iter(selection)
    first = next(pages, [])
    if next(pages, None) is None:
        return Few(first)
    return Many(index, selection, index.kinds(selection))
