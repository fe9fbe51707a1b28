"""dicom.vrs: how values are written."""

import pytest

from filmroom.dicom.vrs import is_ae_title


@pytest.mark.parametrize(
    ("title", "valid"),
    [
        ("A", True),
        ("SIXTEEN_LETTERS_", True),
        ("with space", True),
        ("", False),
        ("   ", False),
        ("SEVENTEEN_LETTERS", False),
        ("BACK\\SLASH", False),
        ("TAB\tTAB", False),
        ("Ümlaut", False),
    ],
)
def test_what_an_ae_title_is(title, valid):
    assert is_ae_title(title) is valid
