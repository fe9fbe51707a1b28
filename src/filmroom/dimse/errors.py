"""What can go wrong on the wire, in one family.

DimseError
|__ RemoteProtocolError   the peer broke PS3.7 or PS3.8; the association must be aborted
|__ LocalProtocolError    we asked for something that the state or negotiation forbids
|__ ConnectFailed         nobody could be reached
|__ AssociationRejected   the peer answered and said no
|__ AssociationAborted    the association ended before its work was done
|__ NoAnswer              the peer kept silent for longer than we wait
"""

from __future__ import annotations

from enum import IntEnum


class AbortSource(IntEnum):
    """Who aborted (PS3.8 9.3.8)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the service provider aborted (PS3.8 9.3.8); not significant for a service user."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


class DimseError(Exception):
    """Anything this room raises; the message is fit to be shown to a person."""


class RemoteProtocolError(DimseError):
    """The peer sent something PS3.8 or PS3.7 does not allow; the association must be aborted."""

    def __init__(
        self, message: str, reason: AbortReason = AbortReason.INVALID_PDU_PARAMETER_VALUE
    ) -> None:
        super().__init__(message)
        self.reason = reason


class LocalProtocolError(DimseError):
    """We tried what the association's state or its negotiated contexts do not allow."""


class ConnectFailed(DimseError):
    """No transport connection to the peer."""


class AssociationRejected(DimseError):
    """The peer refused the association (PS3.8 9.3.4): result, source and reason as it said."""

    def __init__(self, message: str, *, result: int, source: int, reason: int) -> None:
        super().__init__(message)
        self.result = result
        self.source = source
        self.reason = reason


class AssociationAborted(DimseError):
    """The association ended early: aborted by either side, or the connection was lost."""


class NoAnswer(DimseError):
    """The peer did not answer in time."""
