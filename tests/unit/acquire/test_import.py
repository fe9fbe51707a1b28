"""Import: everything that is DICOM comes in, nothing else does, and no name is trusted."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from pydicom.fileset import FileSet

from filmroom.acquire import walk
from filmroom.acquire.files import import_paths
from filmroom.archive.errors import Unavailable
from instances import a_data_set, an_instance, part10


@pytest.fixture
def media(tmp_path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


async def test_a_file_a_folder_and_a_zip_come_in(room, held, media):
    (media / "one.dcm").write_bytes(an_instance())
    (media / "deep" / "er").mkdir(parents=True)
    (media / "deep" / "er" / "IM0001").write_bytes(an_instance())
    with zipfile.ZipFile(media / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"study/{number}.dcm", an_instance())
    score = await import_paths(room.archive.ingest, [media])
    assert (score.new, score.failed, score.ignored) == (22, 0, 0)
    assert held() == 22
    assert score.size_bytes > 0


async def test_what_is_held_already_is_not_stored_again(room, held, media):
    (media / "one.dcm").write_bytes(an_instance())
    await import_paths(room.archive.ingest, [media])
    score = await import_paths(room.archive.ingest, [media])
    assert (score.new, score.same) == (0, 1)
    assert held() == 1


async def test_other_content_under_a_known_uid_is_counted_apart(room, media):
    data_set = a_data_set()
    (media / "1.dcm").write_bytes(part10(data_set))
    await import_paths(room.archive.ingest, [media])
    data_set.StudyDescription = "Other"
    (media / "1.dcm").write_bytes(part10(data_set))
    score = await import_paths(room.archive.ingest, [media])
    assert score.new == 0
    assert score.differing + score.failed == 1


async def test_what_is_not_dicom_is_passed_over_and_not_quarantined(room, held, media):
    for name, content in (
        ("README.txt", b"read me"),
        ("photo.jpg", b"\xff\xd8\xff\xe0" + bytes(500)),
        ("empty", b""),
        ("thumbs.db", bytes(5000)),
        ("letter.pdf", b"%PDF-1.7" + bytes(500)),
        ("noise", bytes(range(256)) * 20),
    ):
        (media / name).write_bytes(content)
    score = await import_paths(room.archive.ingest, [media])
    assert (score.new, score.failed, score.ignored) == (0, 0, 6)
    assert room.index.statistics().quarantined == 0


async def test_a_broken_file_is_named_and_the_others_come_in(room, held, media):
    (media / "broken.dcm").write_bytes(an_instance()[:700])
    (media / "good.dcm").write_bytes(an_instance())
    score = await import_paths(room.archive.ingest, [media])
    assert (score.new, score.failed) == (1, 1)
    ((name, why),) = score.failures
    assert name.endswith("broken.dcm")
    assert why
    assert room.index.statistics().quarantined == 1


async def test_a_path_that_is_not_there_is_told(room):
    score = await import_paths(room.archive.ingest, [Path("/nowhere/at/all")])
    assert score.failures == [("/nowhere/at/all", "there is no such file or folder")]


def drain(candidate):
    with candidate.open() as stream:
        while stream.read(65536):
            pass


# -- nothing leads out -------------------------------------------------------------------------


async def test_links_in_a_folder_are_not_followed(room, held, media, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.dcm").write_bytes(an_instance())
    (media / "link.dcm").symlink_to(outside / "secret.dcm")
    (media / "folder").symlink_to(outside)
    (media / "loop").symlink_to(media)
    await import_paths(room.archive.ingest, [media])
    assert held() == 0


async def test_a_link_that_was_named_is_followed(room, held, media, tmp_path):
    (media / "one.dcm").write_bytes(an_instance())
    (tmp_path / "link").symlink_to(media / "one.dcm")
    (tmp_path / "folder").symlink_to(media)
    score = await import_paths(room.archive.ingest, [tmp_path / "link", tmp_path / "folder"])
    assert (score.new, score.same) == (1, 1)


async def test_a_pipe_does_not_hang_us(room, media):
    os.mkfifo(media / "pipe.dcm")
    (media / "good.dcm").write_bytes(an_instance())
    score = await import_paths(room.archive.ingest, [media])
    assert score.new == 1


HOSTILE_NAMES = [
    "../../evil.dcm",
    "/etc/cron.d/evil",
    "..\\evil.dcm",
    "a/../../b.dcm",
    "x\n\x1b[1m",
]


async def test_names_in_a_zip_are_never_paths(room, held, media, tmp_path):
    with zipfile.ZipFile(media / "slip.zip", "w") as archive:
        for name in HOSTILE_NAMES:
            archive.writestr(name, an_instance())
    before = {path for path in tmp_path.rglob("*") if "data" not in path.parts}
    score = await import_paths(room.archive.ingest, [media / "slip.zip"])
    assert score.new == len(HOSTILE_NAMES)
    assert {path for path in tmp_path.rglob("*") if "data" not in path.parts} == before
    stored = [p.relative_to(room.settings.data) for p in (tmp_path / "data").rglob("*.dcm")]
    assert all(path.parts[0] == "store" for path in stored)


async def test_a_zip_bomb_ends_early(room, media, monkeypatch):
    monkeypatch.setattr(walk, "RATIO_FREE_BYTES", 1 << 20)
    monkeypatch.setattr(walk, "MAX_RATIO", 100)
    head = an_instance()
    with zipfile.ZipFile(media / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.dcm", head + bytes(64 << 20))
    score = await import_paths(room.archive.ingest, [media])
    ((_, why),) = score.failures
    assert "far more than it may" in why
    assert not list((room.settings.data / "tmp").iterdir())


def test_a_member_that_lies_about_its_size_ends_early(media):
    content = an_instance()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lie.dcm", content)
    raw = buffer.getvalue()
    honest, lie = len(content).to_bytes(4, "little"), (100).to_bytes(4, "little")
    (media / "lie.zip").write_bytes(raw.replace(honest, lie))
    for candidate in walk.find(media / "lie.zip"):
        with pytest.raises(walk.BadFile):
            drain(candidate)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-30],
        lambda raw: raw.replace(b"PK\x01\x02", b"PK\x01\x03"),
        lambda raw: raw[:40] + bytes(50) + raw[90:],
        lambda raw: b"PK\x03\x04" + bytes(1000),
        lambda raw: b"PK\x05\x06" + b"\xff" * 18,
    ],
)
async def test_a_damaged_zip_is_told_and_the_rest_comes_in(room, held, media, spoil):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.dcm", an_instance())
    (media / "a.zip").write_bytes(spoil(buffer.getvalue()))
    (media / "b.dcm").write_bytes(an_instance())
    score = await import_paths(room.archive.ingest, [media])
    assert score.new == 1
    assert score.failures


async def test_an_encrypted_member_is_told(room, media):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("one.dcm", an_instance())
    raw = bytearray(buffer.getvalue())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (media / "locked.zip").write_bytes(bytes(raw))
    score = await import_paths(room.archive.ingest, [media])
    assert score.failures == [(f"{media}/locked.zip!one.dcm", "encrypted")]


# -- media -------------------------------------------------------------------------------------


@pytest.fixture
def disc(media):
    """A disc with a DICOMDIR, written by pydicom."""
    fileset = FileSet()
    for number in range(3):
        data_set = a_data_set(InstanceNumber=number)
        raw = part10(data_set)
        path = media.parent / f"{number}.dcm"
        path.write_bytes(raw)
        fileset.add(path)
    fileset.write(media)
    return media


async def test_a_dicomdir_leads_to_its_files(room, held, disc):
    (disc / "unlisted.dcm").write_bytes(an_instance())
    score = await import_paths(room.archive.ingest, [disc / "DICOMDIR"])
    assert (score.new, score.failed, score.ignored) == (3, 0, 0)


async def test_a_folder_with_a_dicomdir_is_read_without_it(room, held, disc):
    (disc / "unlisted.dcm").write_bytes(an_instance())
    score = await import_paths(room.archive.ingest, [disc])
    assert (score.new, score.failed, score.ignored) == (4, 0, 0)


async def test_a_medium_that_shouts_its_names_is_understood(room, held, disc):
    for path in sorted(disc.rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower()))
    score = await import_paths(room.archive.ingest, [disc / "DICOMDIR"])
    assert score.new == 3


@pytest.mark.parametrize(
    "reference",
    ["..\\outside.dcm", "A\\..\\..\\outside.dcm", "\\etc\\passwd", "/etc/passwd", "A/../../x", "."],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
async def test_a_dicomdir_does_not_lead_out_of_its_disc(room, held, disc, tmp_path, reference):
    from pydicom import dcmread

    (tmp_path / "outside.dcm").write_bytes(an_instance())
    directory = dcmread(disc / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = reference.split("\\")
    directory.save_as(disc / "DICOMDIR")
    score = await import_paths(room.archive.ingest, [disc / "DICOMDIR"])
    assert score.new == 0
    assert held() == 0
    assert all(why == "referenced, but not there" for _, why in score.failures)


@pytest.mark.parametrize("spoil", [lambda raw: raw[:400], lambda raw: raw[:132], lambda raw: b""])
async def test_a_broken_dicomdir_is_told(room, disc, spoil):
    (disc / "DICOMDIR").write_bytes(spoil((disc / "DICOMDIR").read_bytes()))
    score = await import_paths(room.archive.ingest, [disc / "DICOMDIR"])
    assert score.failures
    assert score.new == 0


# -- and when the archive cannot go on -----------------------------------------------------------


async def test_a_full_disk_ends_the_import_with_one_error(room, media, monkeypatch):
    for number in range(30):
        (media / f"{number}.dcm").write_bytes(an_instance())

    def full():
        raise Unavailable("out of space")

    monkeypatch.setattr(room.blobs, "stage", full)
    with pytest.raises(Unavailable):
        await import_paths(room.archive.ingest, [media])


def test_what_zlib_cannot_read_is_a_bad_file(media):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.dcm", os.urandom(5000))
    raw = bytearray(buffer.getvalue())
    raw[60:70] = bytes(10)
    (media / "x.zip").write_bytes(bytes(raw))
    for candidate in walk.find(media / "x.zip"):
        with pytest.raises(walk.BadFile):
            drain(candidate)


async def test_a_folder_that_cannot_be_read_is_told(room, held, media, monkeypatch):
    (media / "closed").mkdir()
    (media / "one.dcm").write_bytes(an_instance())
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    score = await import_paths(room.archive.ingest, [media])
    assert (score.new, score.ignored) == (1, 1)
    assert score.failures == [(str(media / "closed"), "Permission denied")]


async def test_only_the_first_troubles_are_told_one_by_one(room, media):
    missing = [media / f"missing-{number}" for number in range(200)]
    score = await import_paths(room.archive.ingest, missing)
    assert score.ignored == 200
    assert len(score.failures) == 100
