"""The conformance statement says what a live association negotiates, no more and no less."""

import importlib.util
from pathlib import Path

import pytest

from filmroom.archive.access import DIMSE_ACTIONS, Action
from filmroom.dicom import uids
from filmroom.dimse.items import ContextResult, ProposedContext, Role, UserInformation
from filmroom.dimse.negotiation import Policy, negotiate
from filmroom.dimse.pdu import Proposal
from filmroom.services.provider import terms_for
from filmroom.services.table import TABLE, Service

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "conformance.md"
ACCEPTED, REFUSED = ContextResult.ACCEPTANCE, ContextResult.USER_REJECTION


def generated():
    spec = importlib.util.spec_from_file_location("conformance", ROOT / "tools/make_conformance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def answers(may, sop_class_uids, transfer_syntaxes, roles=None):
    """SOP class -> (result, transfer syntax) for a peer with these rights."""
    found = {}
    wanted = list(sop_class_uids)
    for start in range(0, len(wanted), 100):
        contexts = tuple(
            ProposedContext(2 * at + 1, uid, tuple(transfer_syntaxes))
            for at, uid in enumerate(wanted[start : start + 100])
        )
        proposal = Proposal("FILMROOM", "PEER", contexts, UserInformation(roles=roles or {}))
        decision = negotiate(proposal, Policy(terms_for(frozenset(may))))
        for context, answered in zip(contexts, decision.answer.contexts, strict=True):
            found[context.abstract_syntax] = (answered.result, answered.transfer_syntax)
    return found


def test_the_page_is_what_the_tables_say():
    assert PAGE.read_text("utf-8") == generated(), "run python tools/make_conformance.py"


def test_every_row_of_the_table_is_on_the_page():
    page = PAGE.read_text("utf-8")
    for row in TABLE.values():
        assert f"`{row.sop_class_uid}`" in page


@pytest.mark.parametrize("syntax", list(uids.TRANSFER_SYNTAXES))
def test_an_association_accepts_exactly_what_the_table_says(syntax):
    for uid, (result, _) in answers(DIMSE_ACTIONS, TABLE, [syntax]).items():
        row = TABLE[uid]
        supported = row.transfer_syntaxes is None or syntax in row.transfer_syntaxes
        assert (result == ACCEPTED) == supported, (row.name, syntax)


@pytest.mark.parametrize("action", [Action.ECHO, Action.STORE, Action.QUERY, Action.RETRIEVE])
def test_a_right_opens_its_own_services_and_no_others(action):
    for uid, (result, _) in answers({action}, TABLE, [uids.IMPLICIT_VR_LE]).items():
        row = TABLE[uid]
        by_get = action is Action.RETRIEVE and row.service is Service.STORAGE
        expected = ACCEPTED if row.action is action or by_get else REFUSED
        assert result == expected, row.name


def test_the_first_known_syntax_that_is_proposed_is_taken():
    proposed = ["1.2.3.4", uids.JPEG_BASELINE, uids.IMPLICIT_VR_LE]
    ct = "1.2.840.10008.5.1.4.1.1.2"
    assert answers(DIMSE_ACTIONS, [ct], proposed)[ct] == (ACCEPTED, uids.JPEG_BASELINE)


def test_what_nobody_knows_is_not_supported():
    worklist = "1.2.840.10008.5.1.4.31"
    (result, _) = answers(DIMSE_ACTIONS, [worklist], [uids.IMPLICIT_VR_LE])[worklist]
    assert result == ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED


def test_the_scp_role_is_given_to_those_who_may_retrieve():
    ct = "1.2.840.10008.5.1.4.1.1.2"
    proposal = Proposal(
        "FILMROOM",
        "PEER",
        (ProposedContext(1, ct, (uids.EXPLICIT_VR_LE,)),),
        UserInformation(roles={ct: Role(scu=True, scp=True)}),
    )
    for may, role in [
        ({Action.RETRIEVE}, Role(scu=False, scp=True)),
        ({Action.STORE}, Role(scu=True, scp=False)),
        ({Action.STORE, Action.RETRIEVE}, Role(scu=True, scp=True)),
    ]:
        decision = negotiate(proposal, Policy(terms_for(frozenset(may))))
        assert decision.answer.user.roles[ct] == role
