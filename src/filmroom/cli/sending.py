"""`filmroom send`: instances to a peer over one or several associations (C-STORE)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from filmroom.archive.errors import Unsupported
from filmroom.cli.asking import NoAssociation, Peer, Report, Trouble, progress_bar
from filmroom.cli.outgoing import NotSent, Outgoing, find_outgoing
from filmroom.dicom import uids
from filmroom.dimse.client import ClientAssociation
from filmroom.dimse.errors import DimseError
from filmroom.services import outcomes
from filmroom.services.suboperations import Contexts, Kind, batches, is_warning, proposal


async def send(peer: Peer, paths: Sequence[Path], jobs: int) -> Report:
    """C-STORE everything under `paths`, over `jobs` associations at once."""
    report = Report()
    instances = []
    for found in find_outgoing(paths):
        if isinstance(found, Outgoing):
            instances.append(found)
            continue
        if Path(found.name) in paths or not _is_plain_other(found):
            report.failed += 1
            report.problem(f"{found.name}: {found.reason}")
        else:
            report.skipped += 1
    if not instances:
        raise Trouble("nothing to send: no DICOM instances found")
    begun = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("sending", total=len(instances))
        for batch in batches(instances, _kind_of):
            queue = deque(batch)
            contexts = proposal(map(_kind_of, batch))
            senders = [
                _Sender(peer, queue, contexts, report, lambda: bar.advance(task))
                for _ in range(min(jobs, len(batch)))
            ]
            await asyncio.gather(*(sender.run() for sender in senders))
            report.remaining += len(queue)
    report.seconds = time.perf_counter() - begun
    report.is_success = not report.failed and not report.remaining
    return report


def _kind_of(instance: Outgoing) -> Kind:
    return instance.sop_class_uid, instance.transfer_syntax_uid


def _is_plain_other(found: NotSent) -> bool:
    """Other files lie in folders of images: no reason to fail."""
    return found.reason.startswith(("not a DICOM file", "a DICOMDIR"))


class _Sender:
    """One association's share of the work: takes from the common queue until it is empty."""

    def __init__(
        self,
        peer: Peer,
        queue: deque[Outgoing],
        contexts: Sequence[tuple[str, list[str]]],
        report: Report,
        advance: Callable[[], None],
    ) -> None:
        self._peer = peer
        self._queue = queue
        self._contexts = contexts
        self._report = report
        self._advance = advance

    async def run(self) -> None:
        """Send until nothing is left or the peer does not come back."""
        while self._queue:
            sent = 0
            try:
                association = await self._peer.associate(self._contexts)
                try:
                    sent = await self._run_on(association)
                    await association.release()
                finally:
                    association.abort()
            except (DimseError, NoAssociation) as error:
                self._report.problem(str(error))
                if not sent:
                    return

    async def _run_on(self, association: ClientAssociation) -> int:
        accepted = Contexts(association.info.contexts.values())
        sent = 0
        while self._queue:
            await self._send(association, accepted, self._queue.popleft())
            sent += 1
            self._advance()
        return sent

    async def _send(
        self, association: ClientAssociation, accepted: Contexts, instance: Outgoing
    ) -> None:
        report = self._report
        status, reason = outcomes.PROCESSING_FAILURE, "the association was lost"
        try:
            context_id, syntax = accepted.choose(_kind_of(instance))
            if syntax != instance.transfer_syntax_uid:
                raise Unsupported(
                    "the peer does not take "
                    f"{uids.name_of(instance.transfer_syntax_uid)} for this SOP class"
                )
            source = instance.open()
            try:
                response = await association.store(
                    instance.sop_class_uid,
                    instance.sop_instance_uid,
                    source,
                    context_id=context_id,
                )
            finally:
                source.close()
            status = response.status
            reason = f"status {status:04X} {response.error_comment}".rstrip()
        except Unsupported as error:
            reason = error.message
        except OSError as error:
            reason = error.strerror or str(error)
        finally:
            if status == outcomes.SUCCESS or is_warning(status):
                report.done += 1
                report.warnings += status != outcomes.SUCCESS
            else:
                report.failed += 1
            if status != outcomes.SUCCESS:
                report.problem(f"{instance.name}: {reason}")
