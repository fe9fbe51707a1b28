"""Which SOP classes are documents, of what kind, and in which forms each can be seen.

PS3.4 B.5 names the classes, PS3.18 8.7.4 the media types of rendered reports and documents.
Waveforms have none of their own there: they are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from filmroom.dicom.uids import STORAGE_SOP_CLASSES

HTML, PLAIN, SVG = "text/html", "text/plain", "image/svg+xml"
PNG, JPEG, GIF, WAV = "image/png", "image/jpeg", "image/gif", "audio/wav"
SMALL = (PNG, JPEG, GIF)  # thumbnails

_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."
_PRESENTATION_STATES = "1.2.840.10008.5.1.4.1.1.9.100."
_AUDIO = "1.2.840.10008.5.1.4.1.1.9.4."
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."


@dataclass(frozen=True, slots=True)
class Kind:
    """What is done with an instance. badge: what its small picture says."""

    name: str  # report, waveform, audio, encapsulated
    media_types: tuple[str, ...]  # the first is what is given to who does not mind
    badge: str
    said: tuple[str, ...] = ()  # MIME types by which an encapsulated document may go


REPORT = Kind("report", (HTML, PLAIN), "SR")
KEY_OBJECTS = Kind("report", (HTML, PLAIN), "KO")
WAVEFORM = Kind("waveform", (SVG, PNG, JPEG), "ECG")
AUDIO = Kind("audio", (WAV,), "AU")
ENCAPSULATED = {
    "1": Kind("encapsulated", ("application/pdf",), "PDF", ("application/pdf",)),
    "2": Kind(
        "encapsulated", ("text/xml", "application/xml"), "CDA", ("text/xml", "application/xml")
    ),
    "3": Kind("encapsulated", ("model/stl",), "STL", ("model/stl", "application/sla")),
    "4": Kind("encapsulated", ("model/obj",), "OBJ", ("model/obj",)),
    "5": Kind("encapsulated", ("model/mtl",), "MTL", ("model/mtl",)),
}
ALL = (REPORT, WAVEFORM, AUDIO, *ENCAPSULATED.values())


def kind_of(sop_class_uid: str) -> Kind | None:
    """None for images, and for what is neither drawn nor read here."""
    if sop_class_uid not in STORAGE_SOP_CLASSES:
        return None
    if sop_class_uid.startswith(_REPORTS):
        return KEY_OBJECTS if sop_class_uid == _REPORTS + "59" else REPORT
    if sop_class_uid.startswith(_AUDIO):
        return AUDIO
    if sop_class_uid.startswith(_WAVEFORMS) and not sop_class_uid.startswith(_PRESENTATION_STATES):
        return WAVEFORM
    return ENCAPSULATED.get(sop_class_uid.removeprefix(_ENCAPSULATED))


def media_types() -> tuple[str, ...]:
    """All that documents can be had as, each once."""
    return tuple(dict.fromkeys(each for kind in ALL for each in kind.media_types))
