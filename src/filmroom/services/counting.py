"""What happens on the DICOM wire, counted: for Prometheus and for the log."""

from __future__ import annotations

import logging

from filmroom import observe
from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.exchange import Observer
from filmroom.dimse.messages import Request
from filmroom.dimse.negotiation import Reject

log = logging.getLogger(__name__)


class Counting(Observer):
    """Raises the metrics of observe.py; quick, since it runs between two messages."""

    def associated(self, info: AssociationInfo) -> None:
        """One association more."""
        observe.ASSOCIATIONS.inc()
        log.debug("associated", extra=_who(info))

    def refused(self, calling: str, called: str, address: str, decision: Reject) -> None:
        """An association was rejected; the server has logged why."""
        observe.ASSOCIATIONS_REFUSED.labels(decision.message).inc()

    def ended(self, info: AssociationInfo, how: str) -> None:
        """One association less."""
        observe.ASSOCIATIONS.dec()
        log.debug("association ended", extra=_who(info) | {"outcome": how})

    def performed(
        self, info: AssociationInfo, request: Request, status: int, seconds: float, size: int
    ) -> None:
        """An operation was answered."""
        operation = type(request).__name__.removesuffix("Request")
        observe.DIMSE_SECONDS.labels(operation, f"{status:04X}").observe(seconds)


def _who(info: AssociationInfo) -> dict[str, object]:
    return {
        "calling_ae_title": info.calling_ae_title,
        "called_ae_title": info.called_ae_title,
        "address": info.address,
        "association": info.id,
    }
