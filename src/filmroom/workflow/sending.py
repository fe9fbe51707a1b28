"""The job `send`: instances to a configured peer by C-STORE, until it has them all.

A job that was cut off goes on behind the last instance that was answered. What was answered
but not noted is sent again: a receiver knows it by its SOP Instance UID and holds it once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from filmroom.archive.access import SYSTEM
from filmroom.archive.errors import ArchiveError, NotHeld
from filmroom.archive.records import Handle, InstanceKind, Selection
from filmroom.archive.retrieve import Retriever
from filmroom.archive.selected import Selected, count
from filmroom.services import outcomes
from filmroom.services.sender import MEDIUM, Sender, Sending
from filmroom.services.suboperations import Counts, Transcode, is_warning
from filmroom.workflow.worker import Hopeless, Task, TryLater

MOST_LEFT = 1000  # named for the next attempt; of more than that all are sent again
OUT_OF_RESOURCES = 0xA7  # the high byte  PS3.4 B.2.3


@dataclass(slots=True)
class _Noting(Counts):
    """Counts that also know where we are."""

    last: Handle | None = None
    is_full: bool = False
    first_failure: str = ""
    answered: int = 0  # in this attempt

    def note(self, handle: Handle, status: int) -> None:
        if status >> 8 == OUT_OF_RESOURCES:
            self.is_full = True  # it would say the same of the others
            return
        self.answered += 1
        Counts.note(self, handle, status)
        self.last = handle
        if status != outcomes.SUCCESS and not is_warning(status) and not self.first_failure:
            self.first_failure = f"{handle.sop_instance_uid} with status {status:04X}"

    def unprepared(self, handle: Handle, error: ArchiveError) -> None:
        if error.retry:
            self.stopped = error.message  # that is ours, and not this instance's
        else:
            self.first_failure = self.first_failure or f"{handle.sop_instance_uid}: {error.message}"
            Counts.unprepared(self, handle, error)


class _Errand:
    """A job as the errand of a Sender."""

    priority = MEDIUM
    originator = None
    fails_rest = False

    def __init__(self, task: Task, calling_ae_title: str, counts: _Noting) -> None:
        self._task = task
        self.calling_ae_title = calling_ae_title
        self.counts: Counts = counts
        self._noting = counts

    @property
    def is_over(self) -> bool:
        return self._task.is_over or self._noting.is_full or bool(self._noting.stopped)

    async def tell(self) -> None:
        counts, progress = self._noting, self._task.progress
        progress["sent"] = counts.completed + counts.warning
        progress["failed"] = counts.failed
        if counts.last is not None:
            progress["at"] = [counts.last.series_instance_uid, counts.last.sop_instance_uid]


class _Behind:
    """A selection without what comes up to and with one instance."""

    whole = None

    def __init__(self, selected: Selected, series: str, instance: str) -> None:
        self._selected = selected
        self._at = series, instance
        self.kinds: Sequence[InstanceKind] = selected.kinds
        self.damaged = selected.damaged

    async def pages(self) -> AsyncGenerator[Sequence[Handle], None]:
        """All behind it; nothing when it is not there any more."""
        found = False
        async with aclosing(self._selected.pages()) as pages:
            async for page in pages:
                if found:
                    yield page
                    continue
                for n, handle in enumerate(page):
                    if (handle.series_instance_uid, handle.sop_instance_uid) == self._at:
                        found = True
                        if page[n + 1 :]:
                            yield page[n + 1 :]
                        break
        if not found:
            raise NotHeld("the order of the instances has changed")


class SendKind:
    """Does jobs of this kind."""

    def __init__(
        self,
        retriever: Retriever,
        sending: Sending,
        ae_title: str,
        transcode: Transcode,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """ae_title: our own. look: blocks; notices peers that were added just now."""
        self._look = look
        self._retriever = retriever
        self._sending = sending
        self._ae_title = ae_title
        self._transcode = transcode

    async def __call__(self, task: Task) -> None:
        """Raises TryLater, Hopeless, ArchiveError."""
        body, progress = task.job.body, task.progress
        peer = self._sending.book.destination(body["peer"])
        if peer is None:
            await asyncio.to_thread(self._look)
            peer = self._sending.book.destination(body["peer"])
        if peer is None:
            raise TryLater(f"no peer {body['peer']} with host and port is known here")
        selected: Selected = await self._retriever.select(SYSTEM, _selection(body, progress))
        total = count(selected)
        if not total:
            raise Hopeless("there is nothing to send: it is not held any more")
        counts = _Noting(total)
        if at := progress.get("at"):
            selected = _Behind(selected, *at)
            counts.completed = progress.get("sent", 0)
            counts.failed = progress.get("failed", 0)
            counts.failed_uids = list(progress.get("left", ()))
            counts.remaining = total - counts.completed - counts.failed
        progress["total"] = total
        errand = _Errand(task, self._ae_title, counts)
        sender = Sender(errand, peer, self._sending, self._retriever, self._transcode)
        begun = time.monotonic()
        try:
            await sender.send_all(selected)
        except NotHeld:  # where we were is gone: from the beginning
            progress.pop("at", None)
            raise TryLater("what is sent has changed meanwhile") from None
        finally:
            await errand.tell()
            progress["left"] = counts.failed_uids[: MOST_LEFT + 1]
            progress["seconds"] = round(progress.get("seconds", 0) + time.monotonic() - begun, 3)
        if task.is_over:
            return
        fruitless = not counts.answered
        if counts.stopped:
            raise TryLater(counts.stopped, counted=False)
        if counts.is_full:
            reason = f"{peer.ae_title} is out of resources"
            raise TryLater(reason, lane=True, counted=fruitless)
        if sender.trouble and counts.completed + counts.warning + counts.failed < total:
            raise TryLater(sender.trouble, lane=True, counted=fruitless)
        if counts.failed:
            self._try_rest(task, counts, total)

    def _try_rest(self, task: Task, counts: _Noting, total: int) -> None:
        """The next attempt sends only what was not taken."""
        left = task.progress.pop("left", [])
        task.progress.pop("at", None)
        task.progress["only"] = left if counts.failed <= MOST_LEFT else []
        raise TryLater(f"{counts.failed} of {total} were not taken, first {counts.first_failure}")


def _selection(body: dict[str, Any], progress: dict[str, Any]) -> Selection:
    named = tuple(progress.get("only", ())) or tuple(filter(None, (body["instance"],)))
    return Selection(
        study_instance_uids=(body["study"],),
        series_instance_uids=tuple(filter(None, (body["series"],))),
        sop_instance_uids=named,
    )
