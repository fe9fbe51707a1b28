"""PS3.8 7.1, PS3.7 D.3: what is accepted, on which terms, and what is refused."""

import dataclasses

import pytest

from filmroom.dimse import negotiation
from filmroom.dimse.items import (
    ContextResult,
    OperationsWindow,
    ProposedContext,
    Role,
    UserIdentity,
    UserInformation,
)
from filmroom.dimse.negotiation import Accept, Policy, Reject, ServiceTerms, negotiate
from filmroom.dimse.pdu import Proposal, encode_associate_ac

CT, MR, FIND, NM = "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.4", "1.2.5"
IMPLICIT, EXPLICIT, J2K = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.90",
)

POLICY = Policy(
    {
        CT: ServiceTerms(scp=True),
        FIND: ServiceTerms(
            frozenset({IMPLICIT, EXPLICIT}), extended=lambda asked: asked[:1] + b"\0"
        ),
        NM: ServiceTerms(allowed=False),
    },
    ae_titles=frozenset({"FILMROOM"}),
    max_operations=8,
)


def proposal(*contexts, user=None, **changes):
    numbered = tuple(ProposedContext(2 * at + 1, *item) for at, item in enumerate(contexts))
    whole = Proposal("FILMROOM", "SCU", numbered, user or UserInformation())
    return dataclasses.replace(whole, **changes)


def answered(*contexts, user=None, policy=POLICY):
    decision = negotiate(proposal(*contexts, user=user), policy)
    assert isinstance(decision, Accept)
    return decision


@pytest.mark.parametrize(
    ("abstract_syntax", "offered", "result", "syntax"),
    [
        (CT, (J2K, EXPLICIT), ContextResult.ACCEPTANCE, J2K),
        (CT, ("1.2.3.99", EXPLICIT, J2K), ContextResult.ACCEPTANCE, EXPLICIT),
        (CT, ("1.2.3.99",), ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, "1.2.3.99"),
        (CT, (), ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, ""),
        (FIND, (J2K, IMPLICIT), ContextResult.ACCEPTANCE, IMPLICIT),
        (MR, (EXPLICIT,), ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, EXPLICIT),
        (NM, (EXPLICIT,), ContextResult.USER_REJECTION, EXPLICIT),
        ("", (), ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, ""),
    ],
)
def test_each_context_is_answered_by_itself(abstract_syntax, offered, result, syntax):
    (context,) = answered((abstract_syntax, offered)).answer.contexts
    assert (context.id, context.result, context.transfer_syntax) == (1, result, syntax)


def test_only_accepted_contexts_count():
    decision = answered((CT, (EXPLICIT,)), (MR, (EXPLICIT,)), (FIND, (IMPLICIT,)))
    contexts = decision.acceptance.contexts
    assert set(contexts) == {1, 5}
    assert contexts[5].abstract_syntax == FIND


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (Role(scu=True, scp=True), Role(scu=True, scp=True)),
        (Role(scu=False, scp=True), Role(scu=False, scp=True)),
        (Role(scu=True, scp=False), Role(scu=True, scp=False)),
    ],
)
def test_a_role_we_support_is_granted(asked, given):
    decision = answered((CT, (EXPLICIT,)), user=UserInformation(roles={CT: asked}))
    assert decision.answer.user.roles == {CT: given}
    context = decision.acceptance.contexts[1]
    assert (context.scu_role, context.scp_role) == (given.scu, given.scp)


def test_a_role_we_do_not_support_is_taken_back():
    user = UserInformation(roles={FIND: Role(scu=True, scp=True), MR: Role(scu=True, scp=True)})
    decision = answered((FIND, (EXPLICIT,)), (MR, (EXPLICIT,)), user=user)
    assert decision.answer.user.roles == {FIND: Role(scu=True, scp=False)}


def test_without_role_selection_the_requestor_is_scu_only():
    context = answered((CT, (EXPLICIT,))).acceptance.contexts[1]
    assert (context.scu_role, context.scp_role) == (True, False)


@pytest.mark.parametrize(
    ("asked", "given", "in_force"),
    [
        (None, None, (1, 1)),
        ((1, 1), (1, 1), (1, 1)),
        ((100, 2), (8, 2), (8, 2)),
        ((0, 0), (8, 8), (8, 8)),  # 0 is "no limit"
    ],
)
def test_the_window_is_the_smaller_of_both(asked, given, in_force):
    user = UserInformation(operations=OperationsWindow(*asked) if asked else None)
    decision = answered((CT, (EXPLICIT,)), user=user)
    assert decision.answer.user.operations == (OperationsWindow(*given) if given else None)
    assert decision.acceptance.operations == OperationsWindow(*in_force)


def test_extended_negotiation_is_answered_only_where_it_is_understood():
    user = UserInformation(extended={FIND: b"\1\1\1", CT: b"\1", MR: b"\1"})
    decision = answered((FIND, (EXPLICIT,)), (CT, (EXPLICIT,)), user=user)
    assert decision.answer.user.extended == {FIND: b"\1\0"}


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"protocol_version": 2}, negotiation.PROTOCOL_VERSION_NOT_SUPPORTED),
        ({"application_context": "1.2"}, negotiation.APPLICATION_CONTEXT_NOT_SUPPORTED),
        ({"called_ae_title": "OTHER"}, negotiation.CALLED_AE_TITLE_NOT_RECOGNIZED),
        (
            {"contexts": (ProposedContext(0, CT, (EXPLICIT,)),)},
            negotiation.BAD_PRESENTATION_CONTEXTS,
        ),
        (
            {"contexts": (ProposedContext(2, CT, (EXPLICIT,)),)},
            negotiation.BAD_PRESENTATION_CONTEXTS,
        ),
        (
            {"contexts": (ProposedContext(1, CT, (EXPLICIT,)),) * 2},
            negotiation.BAD_PRESENTATION_CONTEXTS,
        ),
        (
            {"contexts": tuple(ProposedContext(i % 256, CT, ()) for i in range(200))},
            negotiation.BAD_PRESENTATION_CONTEXTS,
        ),
    ],
)
def test_a_proposal_that_is_wrong_as_a_whole_is_rejected(changes, refusal):
    assert negotiate(proposal((CT, (EXPLICIT,)), **changes), POLICY) == refusal


def test_the_numbers_of_the_refusals_are_the_standards():
    assert dataclasses.astuple(negotiation.CALLED_AE_TITLE_NOT_RECOGNIZED)[:3] == (1, 1, 7)
    assert dataclasses.astuple(negotiation.CALLING_AE_TITLE_NOT_RECOGNIZED)[:3] == (1, 1, 3)
    assert dataclasses.astuple(negotiation.LOCAL_LIMIT_EXCEEDED)[:3] == (2, 3, 2)


def test_a_version_field_with_further_bits_is_version_one_too():
    assert isinstance(negotiate(proposal(protocol_version=3), POLICY), Accept)


IDENTITY = UserIdentity(2, b"alice", b"open!", positive_response_requested=True)


@pytest.mark.parametrize(
    ("identity", "reply", "sent"),
    [
        (IDENTITY, b"", b""),
        (IDENTITY, b"ticket", b"ticket"),
        (dataclasses.replace(IDENTITY, positive_response_requested=False), b"ticket", None),
        (None, None, None),
    ],
)
def test_a_positive_identity_response_goes_to_those_who_want_it(identity, reply, sent):
    policy = dataclasses.replace(POLICY, identify=lambda found: reply)
    decision = answered(
        (CT, (EXPLICIT,)), user=UserInformation(user_identity=identity), policy=policy
    )
    assert decision.answer.user.identity_answer == sent


def test_an_identity_may_be_refused():
    policy = dataclasses.replace(POLICY, identify=lambda found: negotiation.NOT_ALLOWED)
    assert isinstance(negotiate(proposal(), policy), Reject)


def test_the_answer_does_not_grow_with_what_was_proposed_in_vain():
    uids = [f"1.2.840.{number}.{'9' * 40}" for number in range(1000)]
    user = UserInformation(
        roles=dict.fromkeys(uids, Role(scu=True, scp=True)), extended=dict.fromkeys(uids, b"\1")
    )
    anything = Policy(dict.fromkeys([CT, *uids], ServiceTerms(extended=lambda asked: asked)))
    decision = answered(
        (CT, (EXPLICIT,)), ("é" * 60_000, ("9" * 60_000,)), user=user, policy=anything
    )
    assert len(encode_associate_ac(decision.answer)) < 1000
