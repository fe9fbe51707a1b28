"""services/storage.py: one C-STORE into the archive, and what is said of it."""

import pytest

from filmroom.archive.access import Action, Principal
from filmroom.archive.errors import (
    ArchiveError,
    Conflict,
    Refused,
    Unavailable,
    Unintelligible,
)
from filmroom.archive.records import Outcome, Stored
from filmroom.dicom import uids
from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.items import OperationsWindow
from filmroom.dimse.messages import CStoreRequest
from filmroom.dimse.negotiation import PresentationContext
from filmroom.services.storage import open_sink

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXT = PresentationContext(1, CT, uids.EXPLICIT_VR_LE)
INFO = AssociationInfo(
    "MODALITY", "FILMROOM", "10.0.0.5", 16384, {1: CONTEXT}, OperationsWindow(1, 1)
)
MODALITY = Principal("MODALITY", frozenset({Action.STORE}))
REQUEST = CStoreRequest(7, CT, "1.2.3")


class FakeArchive:
    """Ingest and Intake in one; fails where it is told to."""

    def __init__(self, at="", failure=None, outcome=Outcome.NEW):
        self.at, self.failure, self.outcome = at, failure, outcome
        self.written, self.committed, self.abandoned, self.opened = b"", [], 0, None

    def _fail(self, at):
        if at == self.at:
            raise self.failure

    def open(self, origin, transfer_syntax_uid, **announced):
        self.opened = (origin, transfer_syntax_uid, announced)
        self._fail("open")
        return self

    def write(self, data):
        self._fail("write")
        self.written += data

    async def commit(self):
        self._fail("commit")
        self.committed.append(self.written)
        return Stored(self.outcome, "1.2", "1.2.1", "1.2.3", CT)

    def abandon(self):
        self.abandoned += 1


async def send(archive, request=REQUEST, principal=MODALITY):
    sink = open_sink(archive, principal, request, CONTEXT, INFO)
    sink.write(memoryview(b"ab"))
    sink.write(memoryview(b"cd"))
    return await sink.finish()


async def test_success_means_committed():
    archive = FakeArchive()
    response = await send(archive)
    assert (response.status, response.message_id_being_responded_to) == (0x0000, 7)
    assert archive.committed == [b"abcd"]


async def test_the_archive_learns_who_sent_what():
    archive = FakeArchive()
    await send(archive)
    origin, transfer_syntax_uid, announced = archive.opened
    assert (origin.kind, origin.name, origin.address, origin.called) == (
        "dimse",
        "MODALITY",
        "10.0.0.5",
        "FILMROOM",
    )
    assert transfer_syntax_uid == uids.EXPLICIT_VR_LE
    assert announced == {"sop_class_uid": CT, "sop_instance_uid": "1.2.3"}


@pytest.mark.parametrize("at", ["open", "write", "commit"])
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Unavailable("out of space", detail="/var/x: ENOSPC"), 0xA700),
        (Refused("not from here", detail="/var/rule"), 0x0124),
        (Unintelligible("not a data set", detail="/var/y"), 0xC000),
        (Conflict("another study has it", detail="/var/z"), 0xA900),
    ],
)
async def test_a_failure_is_told_without_our_secrets(at, failure, status):
    archive = FakeArchive(at, failure)
    response = await send(archive)
    assert (response.status, response.error_comment) == (status, failure.message)
    assert "/var" not in response.error_comment
    assert archive.committed == []


@pytest.mark.parametrize(("sent", "logged"), [("1" * 64, "1" * 64), ("1" * 200, "1" * 65)])
async def test_the_log_names_a_refused_instance_and_no_more_of_a_long_name(caplog, sent, logged):
    await send(FakeArchive("commit", Conflict("no")), CStoreRequest(7, CT, sent))
    (record,) = caplog.records
    assert f"C-STORE of '{logged}" in record.getMessage()
    assert logged + "1" not in record.getMessage()


async def test_after_a_failed_write_the_rest_passes_and_nothing_is_kept():
    archive = FakeArchive("write", Unavailable("out of space"))
    response = await send(archive)
    assert response.status == 0xA700
    assert (archive.written, archive.abandoned) == (b"", 1)


async def test_a_bug_in_the_archive_leaves_nothing_half_done():
    archive = FakeArchive("commit", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await send(archive)
    assert archive.abandoned == 1


def test_a_peer_that_leaves_midway_leaves_nothing():
    archive = FakeArchive()
    sink = open_sink(archive, MODALITY, REQUEST, CONTEXT, INFO)
    sink.write(memoryview(b"ab"))
    sink.abandon()
    assert (archive.committed, archive.abandoned) == ([], 1)


@pytest.mark.parametrize("outcome", [Outcome.NEW, Outcome.SAME, Outcome.REPLACED])
async def test_what_is_held_as_it_was_sent_is_a_success(outcome):
    assert (await send(FakeArchive(outcome=outcome))).status == 0x0000


async def test_a_kept_first_is_a_warning_that_says_so():
    response = await send(FakeArchive(outcome=Outcome.KEPT_FIRST))
    assert response.status == 0xB000
    assert "quarantine" in response.error_comment


async def test_who_may_not_store_does_not_reach_the_archive():
    archive = FakeArchive()
    response = await send(archive, principal=Principal("MODALITY", frozenset({Action.ECHO})))
    assert response.status == 0x0124
    assert archive.opened is None


async def test_a_class_other_than_that_of_the_context_is_refused():
    archive = FakeArchive()
    other = CStoreRequest(7, "1.2.840.10008.5.1.4.1.1.4", "1.2.3")
    assert (await send(archive, request=other)).status == 0x0122
    assert archive.opened is None


async def test_an_instance_that_is_not_named_is_refused():
    archive = FakeArchive()
    assert (await send(archive, request=CStoreRequest(7, CT, ""))).status == 0xA900
    assert archive.opened is None


def test_opening_a_sink_never_raises_an_archive_error():
    for kind in ArchiveError.__subclasses__():
        open_sink(FakeArchive("open", kind("no")), MODALITY, REQUEST, CONTEXT, INFO)
