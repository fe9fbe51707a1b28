"""Accept lists and media types (PS3.18 8.7): forms that can be sent, or not understood."""

from __future__ import annotations

from filmroom.dicom.uids import EXPLICIT_VR_LE, JPEG_BASELINE, RLE_LOSSLESS
from filmroom.dicomweb import negotiate

OFFERS = (
    "application/dicom+json",
    'multipart/related; type="application/dicom+xml"',
    "image/jpeg",
    "application/zip",
)


def check(data: bytes) -> None:
    """All that is done with an Accept header or parameter."""
    text = data.decode("latin-1")
    parameter, _, header = text.partition("\n")
    wanted = negotiate.accept_text(header, parameter)
    try:
        ranges = negotiate.parse_accept(wanted)
        assert all(0 <= each.q <= 1 for each in ranges)
        assert [each.q for each in ranges] == sorted((each.q for each in ranges), reverse=True)
        chosen = negotiate.choose(wanted, OFFERS)
        assert chosen is None or chosen in OFFERS
        for single in (True, False):
            negotiate.instance_forms(wanted, single=single)
        for stored in (EXPLICIT_VR_LE, JPEG_BASELINE, RLE_LOSSLESS):
            forms = negotiate.frame_forms(wanted, stored)
            assert len(forms) <= 2 * len(ranges) + 2
    except negotiate.NotUnderstood as error:
        str(error).encode("utf-8")
    try:
        negotiate.parse_media_type(text)
    except negotiate.NotUnderstood:
        return
