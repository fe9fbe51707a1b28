"""C-STORE as a provider: fragments on the wire become an intake of the archive (PS3.4 B).

Success is said only after the archive has committed. Whatever goes wrong on the way is
remembered and answered at the end: a C-STORE has one response, after the whole data set.
"""

from __future__ import annotations

import logging

from filmroom.archive.access import Action, Principal, demand
from filmroom.archive.errors import ArchiveError
from filmroom.archive.ingest import Ingest, Intake
from filmroom.archive.records import Origin
from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.messages import CStoreRequest, CStoreResponse, answer
from filmroom.dimse.negotiation import PresentationContext
from filmroom.services import outcomes

log = logging.getLogger(__name__)


class ArchiveSink:
    """One C-STORE on its way into the archive. Implements dimse.exchange.StoreSink."""

    def __init__(self, intake: Intake, request: CStoreRequest, origin: Origin) -> None:
        self._intake = intake
        self._request = request
        self._origin = origin
        self._failure: ArchiveError | None = None

    def write(self, data: memoryview) -> None:
        """Hand one fragment over; after a failure the rest is let pass."""
        if self._failure is not None:
            return
        try:
            self._intake.write(data)
        except ArchiveError as error:
            self._failure = error
            self._intake.abandon()

    async def finish(self) -> CStoreResponse:
        """Commit, and say how it ended."""
        if self._failure is not None:
            return _failed(self._request, self._failure, self._origin)
        try:
            stored = await self._intake.commit()
        except ArchiveError as error:
            return _failed(self._request, error, self._origin)
        except BaseException:
            self._intake.abandon()
            raise
        response: CStoreResponse = answer(self._request, *outcomes.C_STORE_OUTCOME[stored.outcome])
        return response

    def abandon(self) -> None:
        """The peer left in the middle: as if it had never begun."""
        log.warning(
            "%s left while sending %s", self._origin.name, self._request.affected_sop_instance_uid
        )
        self._intake.abandon()


class RefusingSink:
    """Lets a data set pass that was refused before it came."""

    def __init__(self, response: CStoreResponse) -> None:
        self._response = response

    def write(self, data: memoryview) -> None:
        """Forget it."""

    async def finish(self) -> CStoreResponse:
        """Say why."""
        return self._response

    def abandon(self) -> None:
        """Nothing was begun."""


def open_sink(
    ingest: Ingest,
    principal: Principal,
    request: CStoreRequest,
    context: PresentationContext,
    info: AssociationInfo,
) -> ArchiveSink | RefusingSink:
    """The sink for one C-STORE-RQ; never raises an ArchiveError, a refusing sink instead."""
    if request.affected_sop_class_uid != context.abstract_syntax:
        return _refusing(
            request, info, outcomes.SOP_CLASS_NOT_SUPPORTED, "Not the SOP class of this context"
        )
    if not request.affected_sop_instance_uid:  # to the archive that would be "not announced"
        return _refusing(
            request, info, outcomes.IDENTIFIER_MISMATCH, "No Affected SOP Instance UID"
        )
    origin = Origin("dimse", info.calling_ae_title, info.address, info.called_ae_title)
    try:
        demand(principal, Action.STORE)
        intake = ingest.open(
            origin,
            context.transfer_syntax,
            sop_class_uid=request.affected_sop_class_uid,
            sop_instance_uid=request.affected_sop_instance_uid,
        )
    except ArchiveError as error:
        return RefusingSink(_failed(request, error, origin))
    return ArchiveSink(intake, request, origin)


def _refusing(
    request: CStoreRequest, info: AssociationInfo, status: int, comment: str
) -> RefusingSink:
    log.warning(
        "C-STORE from %s (%s) refused with %04X: %s",
        info.calling_ae_title,
        info.address,
        status,
        comment,
    )
    return RefusingSink(answer(request, status, comment))


def _failed(request: CStoreRequest, error: ArchiveError, origin: Origin) -> CStoreResponse:
    status = outcomes.status_of(error, outcomes.C_STORE_STATUS)
    log.warning(
        "C-STORE of %.66r from %s (%s) refused with %04X: %s%s",
        request.affected_sop_instance_uid,
        origin.name,
        origin.address,
        status,
        error.message,
        f" [{error.detail}]" if error.detail else "",
    )
    response: CStoreResponse = answer(request, status, outcomes.comment_of(error))
    return response
