"""The Native DICOM Model (PS3.19 A.1) as STOW-RS takes it: an object of DICOM JSON, or refused."""

from __future__ import annotations

from filmroom.dicomweb import xml
from fuzz.dicom_json import check_object


def check(data: bytes) -> None:
    """Read it, and make a data set of what it says."""
    try:
        obj = xml.loads(data)
    except xml.MalformedXml:
        return
    check_object(obj)
