"""cli/outgoing.py and cli/incoming.py: what is read from disk, and what is written to it."""

import zipfile

import pytest

from filmroom.cli.fetching import COMMON_CLASSES, contexts_for
from filmroom.cli.incoming import Folder
from filmroom.cli.outgoing import NotSent, Outgoing, find_outgoing
from filmroom.dicom import uids
from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.items import OperationsWindow
from filmroom.dimse.messages import CStoreRequest
from filmroom.dimse.negotiation import PresentationContext
from filmroom.services.table import STORAGE_ARC
from instances import a_data_set, an_instance, data_set_bytes, part10

CT = "1.2.840.10008.5.1.4.1.1.2"


def read_all(instance):
    source = instance.open()
    content = source.read(source.size)
    assert len(content) == source.size
    assert source.read(10) == b""
    source.close()
    return content


def test_folders_and_zips_are_walked(tmp_path):
    first, second = an_instance(), an_instance()
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "one").write_bytes(first)
    with zipfile.ZipFile(tmp_path / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/../../two.dcm", second)
        archive.writestr("readme.txt", "not an image")
    found = list(find_outgoing([tmp_path]))
    sent = [each for each in found if isinstance(each, Outgoing)]
    assert [read_all(each) for each in sent] == [data_set_bytes(first), data_set_bytes(second)]
    (other,) = [each for each in found if isinstance(each, NotSent)]
    assert "readme.txt" in other.name
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["more.zip", "one"]


def test_a_bare_data_set_is_sent_too(tmp_path):
    ds = a_data_set()
    (tmp_path / "bare").write_bytes(data_set_bytes(part10(ds)))
    (found,) = find_outgoing([tmp_path / "bare"])
    assert (found.sop_class_uid, found.sop_instance_uid) == (ds.SOPClassUID, ds.SOPInstanceUID)
    assert found.data_set_offset == 0


def test_a_meta_header_that_is_out_of_date_does_not_name_the_instance(tmp_path):
    ds = a_data_set()
    file = part10(ds)
    at = file.index(ds.SOPInstanceUID.encode())
    old = b"1.2.3".ljust(len(ds.SOPInstanceUID), b"4")
    (tmp_path / "stale").write_bytes(file[:at] + old + file[at + len(old) :])
    (found,) = find_outgoing([tmp_path / "stale"])
    assert found.sop_instance_uid == ds.SOPInstanceUID


def test_a_header_that_cannot_be_read_leaves_the_word_to_the_meta_header(tmp_path):
    ds = a_data_set()
    file = part10(ds)
    (tmp_path / "odd").write_bytes(file.replace(b"\x08\0\x16\0UI", b"\x08\0\x16\0\0\0", 1))
    (found,) = find_outgoing([tmp_path / "odd"])
    assert (found.sop_class_uid, found.sop_instance_uid) == (ds.SOPClassUID, ds.SOPInstanceUID)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04broken", bytes(200), b"\xff" * 500])
def test_what_is_no_instance_is_passed_over_with_a_reason(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    (found,) = find_outgoing([tmp_path])
    assert isinstance(found, NotSent)
    assert found.reason


def test_links_are_not_followed_out_of_a_folder(tmp_path):
    (tmp_path / "secret").write_bytes(an_instance())
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "secret")
    assert list(find_outgoing([inside])) == []


CONTEXT = PresentationContext(1, CT, uids.EXPLICIT_VR_LE)
INFO = AssociationInfo("ME", "PACS", "127.0.0.1", 0, {1: CONTEXT}, OperationsWindow(1, 1))


async def receive(folder, uid, content=b"abcd"):
    sink = folder.open_store(CStoreRequest(1, CT, uid), CONTEXT, INFO)
    sink.write(memoryview(content))
    return await sink.finish()


async def test_an_instance_becomes_a_file_named_by_its_uid(tmp_path):
    folder = Folder(tmp_path)
    assert (await receive(folder, "1.2.3")).status == 0x0000
    (path,) = tmp_path.iterdir()
    assert path.name == "1.2.3.dcm"
    assert data_set_bytes(path.read_bytes()) == b"abcd"
    assert folder.received == 1


@pytest.mark.parametrize("uid", ["../../escape", "/etc/passwd", "", "1.2\0", "1" * 65, "..", "a.b"])
async def test_a_peer_does_not_choose_file_names(tmp_path, uid):
    folder = Folder(tmp_path / "in")
    folder.path.mkdir()
    assert (await receive(folder, uid)).status == 0xA900
    assert list(tmp_path.rglob("*")) == [folder.path]


def test_what_is_not_whole_is_not_kept(tmp_path):
    sink = Folder(tmp_path).open_store(CStoreRequest(1, CT, "1.2.3"), CONTEXT, INFO)
    sink.write(memoryview(b"abcd"))
    sink.abandon()
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_out_of_resources(tmp_path):
    folder = Folder(tmp_path / "missing")
    assert (await receive(folder, "1.2.3")).status == 0xA700
    assert folder.problems


def test_common_classes_are_storage_classes_and_leave_room():
    assert {STORAGE_ARC + end for end in COMMON_CLASSES} <= set(uids.STORAGE_SOP_CLASSES)
    assert len(set(COMMON_CLASSES)) == len(COMMON_CLASSES) <= 127


@pytest.mark.parametrize("count", [0, 1, 3, 50, 127, 200])
def test_a_proposal_for_get_never_needs_more_than_its_contexts(count):
    contexts = contexts_for([f"1.2.{n}" for n in range(count)])
    assert 0 < len(contexts) <= 127
