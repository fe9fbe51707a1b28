"""Who may do what: the one decision that every edge asks (DIMSE, DICOMweb, console, CLI)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from filmroom.archive.errors import Refused


class Action(StrEnum):
    """What can be asked of the archive; the values are the words of `[[peers]] may`."""

    ECHO = "echo"
    STORE = "store"
    QUERY = "query"
    RETRIEVE = "retrieve"
    WORKLIST = "worklist"
    MPPS = "mpps"
    COMMITMENT = "commitment"
    UPS = "ups"
    ADMINISTER = "administer"  # people only: users, tokens, peers, quarantine


DIMSE_ACTIONS = frozenset(Action) - {Action.ADMINISTER}

ROLES: dict[str, frozenset[Action]] = {
    "admin": frozenset(Action),
    "radiologist": frozenset({Action.QUERY, Action.RETRIEVE, Action.STORE}),
    "technologist": frozenset({Action.QUERY, Action.RETRIEVE, Action.STORE}),
    "viewer": frozenset({Action.QUERY, Action.RETRIEVE}),
    "service": frozenset({Action.QUERY, Action.RETRIEVE, Action.STORE}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks: a person, a program, or a DIMSE peer."""

    name: str  # user name, token name, or calling AE title
    may: frozenset[Action]
    role: str = ""


SYSTEM = Principal("filmroom", frozenset(Action), "system")


def demand(principal: Principal, action: Action) -> None:
    """Raise Refused unless `principal` may do `action`."""
    if action not in principal.may:
        raise Refused(f"{principal.name} may not {action.value}")
