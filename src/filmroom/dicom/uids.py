"""Unique identifiers: transfer syntaxes, SOP classes, and our own (PS3.5 9, PS3.6 A)."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from filmroom.dicom._generated_uids import NAMES, STORAGE, TRANSFER_SYNTAX_NAMES

IMPLICIT_VR_LE = "1.2.840.10008.1.2"
EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BE = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LE = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LE = "1.2.840.10008.1.2.1.98"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
PAPYRUS_IMPLICIT_VR_LE = "1.2.840.10008.1.20"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEG_XL_JPEG_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
JPEG_XL = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_FIND = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_STUDY_ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET = "1.2.840.10008.5.1.4.1.2.3.3"
COMPOSITE_INSTANCE_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.4.2"
COMPOSITE_INSTANCE_ROOT_GET = "1.2.840.10008.5.1.4.1.2.4.3"
COMPOSITE_INSTANCE_WITHOUT_BULK_DATA_GET = "1.2.840.10008.5.1.4.1.2.5.3"
MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
MODALITY_PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"
INSTANCE_AVAILABILITY_NOTIFICATION = "1.2.840.10008.5.1.4.33"
UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
UPS_WATCH = "1.2.840.10008.5.1.4.34.6.2"
UPS_PULL = "1.2.840.10008.5.1.4.34.6.3"
UPS_EVENT = "1.2.840.10008.5.1.4.34.6.4"
UPS_QUERY = "1.2.840.10008.5.1.4.34.6.5"

# Derived once from a UUID, as PS3.5 B.2 allows for those without a registered root.
IMPLEMENTATION_CLASS_UID = "2.25.26845855252830506554494593031869338734"
IMPLEMENTATION_VERSION_NAME = "FILMROOM_0_1"

STORAGE_SOP_CLASSES: dict[str, str] = STORAGE

_JPEG = "1.2.840.10008.1.2.4."
_NATIVE = {IMPLICIT_VR_LE, EXPLICIT_VR_LE, EXPLICIT_VR_BE, PAPYRUS_IMPLICIT_VR_LE}
_JPIP = {_JPEG + n: n in ("95", "205") for n in ("94", "95", "204", "205")}  # uid -> deflated
_LOSSLESS_JPEG = {"57", "58", "65", "66", "70", "80", "90", "92", "110", "201", "202"}
_EITHER = {"91", "93", "112", "203"}  # the codestream may be reversible or not
_MEDIA_TYPES = {  # PS3.18 8.7.3.3
    "80": "image/jls",
    "81": "image/jls",
    "90": "image/jp2",
    "91": "image/jp2",
    "92": "image/jpx",
    "93": "image/jpx",
    "110": "image/jxl",
    "111": "image/jxl",
    "112": "image/jxl",
    "201": "image/jphc",
    "202": "image/jphc",
    "203": "image/jphc",
}


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a data set and its pixels are written down (PS3.5 10, A).

    lossy: None when the syntax allows both.
    media_type: of one frame, PS3.18 8.7.3; `application/octet-stream` when native.
    """

    uid: str
    name: str
    explicit_vr: bool
    little_endian: bool
    encapsulated: bool
    deflated: bool
    lossy: bool | None
    video: bool
    media_type: str


def _describe(uid: str, name: str) -> TransferSyntax:
    jpeg = uid.removeprefix(_JPEG) if uid.startswith(_JPEG) else ""
    video = name.startswith(("MPEG", "HEVC", "Fragmentable"))
    lossy: bool | None = bool(jpeg) and uid not in _JPIP and jpeg not in _LOSSLESS_JPEG
    if jpeg in _EITHER or uid in _JPIP:
        lossy = None
    if video:
        media_type = "video/mpeg" if "MPEG2" in name else "video/mp4"
    elif uid == RLE_LOSSLESS:
        media_type = "image/dicom-rle"
    elif jpeg and uid not in _JPIP:
        media_type = _MEDIA_TYPES.get(jpeg, "image/jpeg")
    else:
        media_type = "application/octet-stream"
    return TransferSyntax(
        uid=uid,
        name=name,
        explicit_vr=uid not in (IMPLICIT_VR_LE, PAPYRUS_IMPLICIT_VR_LE),
        little_endian=uid != EXPLICIT_VR_BE,
        encapsulated=uid not in _NATIVE and uid != DEFLATED_EXPLICIT_VR_LE and uid not in _JPIP,
        deflated=uid == DEFLATED_EXPLICIT_VR_LE or _JPIP.get(uid, False),
        lossy=lossy,
        video=video,
        media_type=media_type,
    )


TRANSFER_SYNTAXES: dict[str, TransferSyntax] = {
    uid: _describe(uid, name) for uid, name in TRANSFER_SYNTAX_NAMES.items()
}

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def is_valid_uid(text: str) -> bool:
    """Digits and dots, 1 to 64 characters, no empty component (PS3.5 9.1).

    Leading zeros of a component are forbidden there but common, and harmless: tolerated.
    """
    return len(text) <= 64 and text.isascii() and _UID.fullmatch(text) is not None


def new_uid() -> str:
    """A UID of our own, derived from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def name_of(uid: str) -> str:
    """The registered name, or the UID itself."""
    syntax = TRANSFER_SYNTAXES.get(uid)
    if syntax is not None:
        return syntax.name
    return STORAGE_SOP_CLASSES.get(uid) or NAMES.get(uid) or uid
