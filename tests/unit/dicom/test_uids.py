"""UIDs: what is one, and what we know of transfer syntaxes and SOP classes."""

import pytest

from filmroom.dicom import uids


@pytest.mark.parametrize("text", ["1", "1.2.840.10008.1.1", "0.0", "1.02.3", "2.25." + "9" * 39])
def test_digits_and_dots_are_a_uid(text):
    assert uids.is_valid_uid(text)


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "1.a", "1.2 ", "../1", "1\\2", "1.2\n", "١.٢", "1" * 65]
)
def test_anything_else_is_not(text):
    assert not uids.is_valid_uid(text)


def test_new_uids_are_valid_and_new():
    assert uids.is_valid_uid(uids.new_uid())
    assert uids.new_uid() != uids.new_uid()
    assert uids.is_valid_uid(uids.IMPLEMENTATION_CLASS_UID)
    assert len(uids.IMPLEMENTATION_VERSION_NAME) <= 16


def test_every_table_entry_is_a_valid_uid():
    for uid in [*uids.TRANSFER_SYNTAXES, *uids.STORAGE_SOP_CLASSES]:
        assert uids.is_valid_uid(uid), uid


@pytest.mark.parametrize(
    ("uid", "explicit", "little", "encapsulated", "deflated", "lossy", "video", "media_type"),
    [
        ("1.2.840.10008.1.2", 0, 1, 0, 0, False, 0, "application/octet-stream"),
        ("1.2.840.10008.1.2.1", 1, 1, 0, 0, False, 0, "application/octet-stream"),
        ("1.2.840.10008.1.2.2", 1, 0, 0, 0, False, 0, "application/octet-stream"),
        ("1.2.840.10008.1.2.1.99", 1, 1, 0, 1, False, 0, "application/octet-stream"),
        ("1.2.840.10008.1.2.1.98", 1, 1, 1, 0, False, 0, "application/octet-stream"),
        ("1.2.840.10008.1.2.8.1", 1, 1, 1, 0, False, 0, "application/octet-stream"),
        ("1.2.840.10008.1.2.4.50", 1, 1, 1, 0, True, 0, "image/jpeg"),
        ("1.2.840.10008.1.2.4.70", 1, 1, 1, 0, False, 0, "image/jpeg"),
        ("1.2.840.10008.1.2.4.81", 1, 1, 1, 0, True, 0, "image/jls"),
        ("1.2.840.10008.1.2.4.91", 1, 1, 1, 0, None, 0, "image/jp2"),
        ("1.2.840.10008.1.2.4.112", 1, 1, 1, 0, None, 0, "image/jxl"),
        ("1.2.840.10008.1.2.4.202", 1, 1, 1, 0, False, 0, "image/jphc"),
        ("1.2.840.10008.1.2.4.100", 1, 1, 1, 0, True, 1, "video/mpeg"),
        ("1.2.840.10008.1.2.4.107", 1, 1, 1, 0, True, 1, "video/mp4"),
        ("1.2.840.10008.1.2.5", 1, 1, 1, 0, False, 0, "image/dicom-rle"),
        ("1.2.840.10008.1.2.4.95", 1, 1, 0, 1, None, 0, "application/octet-stream"),
    ],
)
def test_transfer_syntaxes_are_described(
    uid, explicit, little, encapsulated, deflated, lossy, video, media_type
):
    syntax = uids.TRANSFER_SYNTAXES[uid]
    assert (syntax.explicit_vr, syntax.little_endian) == (explicit, little)
    assert (syntax.encapsulated, syntax.deflated) == (encapsulated, deflated)
    assert (syntax.lossy, syntax.video, syntax.media_type) == (lossy, video, media_type)


def test_storage_means_standard_retired_new_and_private():
    for uid in (
        "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image Storage, retired
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
        "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image
    ):
        assert uid in uids.STORAGE_SOP_CLASSES
    for uid in (uids.VERIFICATION, uids.STORAGE_COMMITMENT_PUSH, uids.MEDIA_STORAGE_DIRECTORY):
        assert uid not in uids.STORAGE_SOP_CLASSES


def test_a_uid_has_a_name_or_is_its_own():
    assert uids.name_of("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert uids.name_of(uids.VERIFICATION) == "Verification SOP Class"
    assert uids.name_of("1.2.3") == "1.2.3"
