"""services/table.py: one table for negotiation, documents and tests."""

import pytest

from filmroom.archive.access import Action
from filmroom.dicom import uids
from filmroom.dicom.models import Level, Root
from filmroom.services.table import TABLE, Service, looks_like_storage, row_for


def test_every_storage_class_of_the_standard_is_stored_in_any_transfer_syntax():
    for uid in uids.STORAGE_SOP_CLASSES:
        row = TABLE[uid]
        assert (row.service, row.action) == (Service.STORAGE, Action.STORE)
        assert row.transfer_syntaxes is None


def test_private_storage_classes_are_in_the_table_too():
    assert any(not uid.startswith("1.2.840.10008.") for uid in uids.STORAGE_SOP_CLASSES)


def test_study_root_has_no_patient_level():
    assert TABLE[uids.STUDY_ROOT_FIND].levels[0] is Level.STUDY
    assert TABLE[uids.PATIENT_ROOT_FIND].levels[0] is Level.PATIENT
    assert TABLE[uids.PATIENT_STUDY_ONLY_FIND].levels == (Level.PATIENT, Level.STUDY)
    assert TABLE[uids.PATIENT_STUDY_ONLY_MOVE].root is Root.PATIENT


def test_queries_need_the_right_to_query_and_retrieves_that_to_retrieve():
    assert TABLE[uids.STUDY_ROOT_FIND].action is Action.QUERY
    assert TABLE[uids.STUDY_ROOT_MOVE].action is Action.RETRIEVE
    assert TABLE[uids.PATIENT_ROOT_GET].action is Action.RETRIEVE
    assert TABLE[uids.VERIFICATION].action is Action.ECHO


@pytest.mark.parametrize(
    ("uid", "looks"),
    [
        ("1.2.840.10008.5.1.4.1.1.999.1", True),  # a storage class of a later edition
        ("1.3.46.670589.99.1.2", True),  # private
        ("1.2.840.10008.5.1.4.31", False),  # Modality Worklist: the standard's, not storage
        ("1.2.840.10008.5.1.4.1.2.9.9", False),  # the branch of query and retrieve
        ("not a uid", False),
        ("1..2", False),
        (uids.VERIFICATION, False),  # known: no need to guess
    ],
)
def test_what_looks_like_storage(uid, looks):
    assert looks_like_storage(uid) is looks


def test_unknown_classes_are_accepted_only_when_so_configured():
    uid = "1.3.46.670589.99.1.2"
    assert row_for(uid, accept_unknown=False) is None
    assert row_for(uid, accept_unknown=True).service is Service.STORAGE
    assert row_for(uids.STUDY_ROOT_FIND, accept_unknown=False) is TABLE[uids.STUDY_ROOT_FIND]
