"""(proposal, what we support) -> answer; a pure function (PS3.8 7.1, PS3.7 Annex D.3).

The transfer syntax accepted is the first one proposed that we support: the sender named it first
because it has the object in it, and what is stored as received needs no conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from filmroom.dicom.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    TRANSFER_SYNTAXES,
)
from filmroom.dimse.items import (
    MAX_UID_CHARACTERS,
    AnsweredContext,
    ContextResult,
    OperationsWindow,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)
from filmroom.dimse.pdu import (
    APPLICATION_CONTEXT_NAME,
    PROTOCOL_VERSION,
    Answer,
    Proposal,
    Rejection,
)

MAX_PDU_BYTES = 131072
MAX_CONTEXTS = 128  # PS3.8 7.1.1.13: odd identifiers of one byte
ONE_AT_A_TIME = OperationsWindow(1, 1)  # when the window is not negotiated      PS3.7 D.3.3.3
SCU_ONLY = Role(scu=True, scp=False)  # when roles are not negotiated            PS3.7 D.3.3.4

PERMANENT, TRANSIENT = 1, 2
USER, PROVIDER_ACSE, PROVIDER_PRESENTATION = 1, 2, 3

KNOWN_TRANSFER_SYNTAXES = frozenset(TRANSFER_SYNTAXES)


@dataclass(frozen=True, slots=True)
class Reject:
    """No association: what to answer, and in words what to log (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int
    message: str = ""

    @property
    def rejection(self) -> Rejection:
        return Rejection(self.result, self.source, self.reason)


CALLING_AE_TITLE_NOT_RECOGNIZED = Reject(PERMANENT, USER, 3, "calling AE title not recognized")
CALLED_AE_TITLE_NOT_RECOGNIZED = Reject(PERMANENT, USER, 7, "called AE title not recognized")
APPLICATION_CONTEXT_NOT_SUPPORTED = Reject(PERMANENT, USER, 2, "application context not supported")
NOT_ALLOWED = Reject(PERMANENT, USER, 1, "not allowed")
PROTOCOL_VERSION_NOT_SUPPORTED = Reject(PERMANENT, PROVIDER_ACSE, 2, "protocol version unknown")
BAD_PRESENTATION_CONTEXTS = Reject(PERMANENT, PROVIDER_ACSE, 1, "bad presentation context IDs")
TEMPORARY_CONGESTION = Reject(TRANSIENT, PROVIDER_PRESENTATION, 1, "temporary congestion")
LOCAL_LIMIT_EXCEEDED = Reject(TRANSIENT, PROVIDER_PRESENTATION, 2, "local limit exceeded")


@dataclass(frozen=True, slots=True)
class ServiceTerms:
    """On what terms one SOP class is accepted.

    `transfer_syntaxes` None means any that the dicom room knows. `scu` and `scp` say which roles
    the requestor may play. `extended` answers its application information, None for no answer.
    `allowed` False refuses the context as a user would (result 1), not for lack of support.
    """

    transfer_syntaxes: frozenset[str] | None = None
    scu: bool = True
    scp: bool = False
    extended: Callable[[bytes], bytes | None] | None = None
    allowed: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """What one peer may associate for.

    `ae_titles` None accepts any called AE title. `max_operations` is how many operations of the
    requestor may be outstanding, when it asks for a window at all. `identify` looks at a user
    identity (or its absence): bytes are the positive response, None is no response wanted.
    """

    sop_classes: Mapping[str, ServiceTerms]
    ae_titles: frozenset[str] | None = None
    max_length: int = MAX_PDU_BYTES
    max_operations: int = 8
    identify: Callable[[UserIdentity | None], bytes | Reject | None] | None = None


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An accepted presentation context; the roles are those the requestor may play."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    scu_role: bool = True
    scp_role: bool = False


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The terms both sides agreed on, seen the same from either side.

    `max_length_of_requestor` and `..._of_acceptor` bound the P-DATA-TF bodies sent to them.
    """

    contexts: Mapping[int, PresentationContext]
    operations: OperationsWindow
    extended: Mapping[str, bytes]
    max_length_of_requestor: int
    max_length_of_acceptor: int


@dataclass(frozen=True, slots=True)
class Accept:
    """The answer to send, and what it amounts to."""

    answer: Answer
    acceptance: Acceptance


Decision: TypeAlias = Accept | Reject


def negotiate(proposal: Proposal, policy: Policy) -> Decision:
    """Answer an association request."""
    refusal = _refusal(proposal, policy)
    if refusal is not None:
        return refusal
    identity_answer = policy.identify(proposal.user.user_identity) if policy.identify else None
    if isinstance(identity_answer, Reject):
        return identity_answer
    user = UserInformation(
        max_length=policy.max_length,
        implementation_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION_NAME,
        operations=_window(proposal.user.operations, policy.max_operations),
        roles=_roles(proposal, policy),
        extended=_extended(proposal, policy),
        identity_answer=_positive(proposal.user.user_identity, identity_answer),
    )
    answer = Answer(
        proposal.called_ae_title,
        proposal.calling_ae_title,
        tuple(_context(context, policy) for context in proposal.contexts),
        user,
    )
    return Accept(answer, agreed(proposal, answer))


def agreed(proposal: Proposal, answer: Answer) -> Acceptance:
    """What a request and its answer amount to; both sides compute it from the same two PDUs."""
    proposed = {context.id: context for context in proposal.contexts}
    contexts = {}
    for context in answer.contexts:
        if context.result != ContextResult.ACCEPTANCE or context.id not in proposed:
            continue
        abstract_syntax = proposed[context.id].abstract_syntax
        role = answer.user.roles.get(abstract_syntax, SCU_ONLY)
        contexts[context.id] = PresentationContext(
            context.id, abstract_syntax, context.transfer_syntax, role.scu, role.scp
        )
    return Acceptance(
        contexts=contexts,
        operations=answer.user.operations or ONE_AT_A_TIME,
        extended=answer.user.extended,
        max_length_of_requestor=proposal.user.max_length,
        max_length_of_acceptor=answer.user.max_length,
    )


def _refusal(proposal: Proposal, policy: Policy) -> Reject | None:
    if not proposal.protocol_version & PROTOCOL_VERSION:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if proposal.application_context != APPLICATION_CONTEXT_NAME:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    if policy.ae_titles is not None and proposal.called_ae_title not in policy.ae_titles:
        return CALLED_AE_TITLE_NOT_RECOGNIZED
    ids = [context.id for context in proposal.contexts]
    if any(id_ % 2 == 0 for id_ in ids) or len(set(ids)) != len(ids):
        return BAD_PRESENTATION_CONTEXTS
    return None


def _context(context: ProposedContext, policy: Policy) -> AnsweredContext:
    terms = policy.sop_classes.get(context.abstract_syntax)
    syntaxes = context.transfer_syntaxes
    if terms is None:
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif not terms.allowed:
        result = ContextResult.USER_REJECTION
    else:
        supported = terms.transfer_syntaxes or KNOWN_TRANSFER_SYNTAXES
        for uid in syntaxes:
            if uid in supported:
                return AnsweredContext(context.id, ContextResult.ACCEPTANCE, uid)
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    # The sub-item must be there and is not significant: one of the peer's own, if it is ASCII.
    unused = syntaxes[0] if syntaxes and _is_plain(syntaxes[0]) else ""
    return AnsweredContext(context.id, result, unused)


def _is_plain(uid: str) -> bool:
    """It can be repeated in an answer, whatever else it may be."""
    return uid.isascii() and len(uid) <= MAX_UID_CHARACTERS


def _window(proposed: OperationsWindow | None, ours: int) -> OperationsWindow | None:
    if proposed is None:
        return None
    invoked = min(proposed.invoked, ours) if proposed.invoked else ours
    performed = min(proposed.performed, ours) if proposed.performed else ours
    return OperationsWindow(invoked, performed)


def _wanted(proposal: Proposal) -> frozenset[str]:
    """The SOP classes that something may be said about: the answer grows with these only."""
    uids = (context.abstract_syntax for context in proposal.contexts)
    return frozenset(uid for uid in uids if _is_plain(uid))


def _roles(proposal: Proposal, policy: Policy) -> dict[str, Role]:
    answered = {}
    wanted = _wanted(proposal)
    for uid, role in proposal.user.roles.items():
        terms = policy.sop_classes.get(uid) if uid in wanted else None
        if terms is not None:
            answered[uid] = Role(role.scu and terms.scu, role.scp and terms.scp)
    return answered


def _extended(proposal: Proposal, policy: Policy) -> dict[str, bytes]:
    answered = {}
    wanted = _wanted(proposal)
    for uid, information in proposal.user.extended.items():
        terms = policy.sop_classes.get(uid) if uid in wanted else None
        reply = terms.extended(information) if terms and terms.extended else None
        if reply is not None:
            answered[uid] = reply
    return answered


def _positive(identity: UserIdentity | None, reply: bytes | None) -> bytes | None:
    """The positive response, which is sent only to those who asked for it (PS3.7 D.3.3.7.2)."""
    if identity is None or not identity.positive_response_requested:
        return None
    return reply
