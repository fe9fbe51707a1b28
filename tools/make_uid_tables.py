"""Write src/filmroom/dicom/_generated_*.py from pydicom's copy of PS3.6 and the lists below.

Run it again when pydicom follows a new edition: `python tools/make_uid_tables.py`.
"""

from __future__ import annotations

from pathlib import Path

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._uid_dict import UID_dictionary

ROOM = Path(__file__).parent.parent / "src" / "filmroom" / "dicom"

# Registered after the edition that pydicom 3.0 follows.
NEWER_TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
NEWER_STORAGE = {
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
}
# Seen in the conformance statements of their makers.
PRIVATE_STORAGE = {
    "1.2.392.200036.9116.7.8.1.1.1": "Canon/Toshiba Private Data Storage",
    "1.2.392.200036.9125.1.1.2": "Fuji Private CR Image Storage",
    "1.2.392.200036.9125.1.1.4": "Fuji Private Mammo CR Image Storage",
    "1.2.528.1.1001.5.1.1.1": "Applicare Centricity Radiology Web Annotation",
    "1.2.826.0.1.3680043.293.1.0.1": "eRAD Private Report Text Storage",
    "1.2.826.0.1.3680043.293.1.0.2": "eRAD Private Report Dictation Storage",
    "1.2.840.113543.6.6.1.3.10001": "Philips Private Live 3D Storage",
    "1.2.840.113543.6.6.1.3.10002": "Philips Private Live 3D 2 Storage",
    "1.2.840.113619.4.2": "GE Private MR Image Info Object Storage",
    "1.2.840.113619.4.3": "GE Private CT Image Info Object Storage",
    "1.2.840.113619.4.4": "GE Private Display Image Info Object Storage",
    "1.2.840.113619.4.26": "GE Private 3D Model Storage",
    "1.2.840.113619.4.27": "GE Private Nuclear Medicine Image Storage",
    "1.2.840.113619.4.30": "GE Private Advance PET Raw Data Storage",
    "1.2.840.113619.5.249": "GE Private RT Plan Storage",
    "1.3.12.2.1107.5.9.1": "Siemens Private CSA Non-Image Storage",
    "1.3.12.2.1107.5.99.3.10": "Siemens Private CT MR Volume Storage",
    "1.3.12.2.1107.5.99.3.11": "Siemens Private AX Frame Sets Storage",
    "1.3.46.670589.2.3.1.1": "Philips Private Specialised XA Storage",
    "1.3.46.670589.2.4.1.1": "Philips Private CX Image Storage",
    "1.3.46.670589.2.5.1.1": "Philips Private CX Synthetic Image Storage",
    "1.3.46.670589.5.0.1": "Philips Private Volume Storage",
    "1.3.46.670589.5.0.1.1": "Philips Private Volume Image Reference Storage",
    "1.3.46.670589.5.0.2": "Philips Private 3D Object Storage",
    "1.3.46.670589.5.0.2.1": "Philips Private 3D Object 2 Storage",
    "1.3.46.670589.5.0.3": "Philips Private Surface Storage",
    "1.3.46.670589.5.0.3.1": "Philips Private Surface 2 Storage",
    "1.3.46.670589.5.0.4": "Philips Private Composite Object Storage",
    "1.3.46.670589.5.0.7": "Philips Private MR Cardio Profile Storage",
    "1.3.46.670589.5.0.8": "Philips Private MR Cardio Storage",
    "1.3.46.670589.5.0.8.1": "Philips Private MR Cardio 2 Storage",
    "1.3.46.670589.5.0.9": "Philips Private CT Synthetic Image Storage",
    "1.3.46.670589.5.0.10": "Philips Private MR Synthetic Image Storage",
    "1.3.46.670589.5.0.11": "Philips Private MR Cardio Analysis Storage",
    "1.3.46.670589.5.0.11.1": "Philips Private MR Cardio Analysis 2 Storage",
    "1.3.46.670589.5.0.12": "Philips Private CX Synthetic 2 Image Storage",
    "1.3.46.670589.5.0.13": "Philips Private Perfusion Storage",
    "1.3.46.670589.5.0.14": "Philips Private Perfusion Image Storage",
    "1.3.46.670589.7.8.1618510091": "Philips Private X-Ray MF Storage",
    "1.3.46.670589.7.8.1618510092": "Philips Private Live Run Storage",
    "1.3.46.670589.7.8.16185100129": "Philips Private Run Storage",
    "1.3.46.670589.7.8.16185100130": "Philips Private Reconstruction Storage",
    "1.3.46.670589.11.0.0.12.1": "Philips Private MR Spectrum Storage",
    "1.3.46.670589.11.0.0.12.2": "Philips Private MR Series Data Storage",
    "1.3.46.670589.11.0.0.12.4": "Philips Private MR Exam Card Storage",
    "2.16.840.1.114033.5.1.4.1.1.130": "PMOD Private Multi-frame Image Storage",
}
# Not for stored objects: whole-body encodings and real-time video.
NOT_STORED = {
    "1.2.840.10008.1.2.6.1",
    "1.2.840.10008.1.2.6.2",
    "1.2.840.10008.1.2.7.1",
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",
}
# PS3.6 lists them without a name since they were retired.
RETIRED_WITHOUT_NAME = {
    "1.2.840.10008.5.1.4.1.1.12.77": "Zone Sonography Image Storage",
    "1.2.840.10008.5.1.4.1.1.40": "MR Image Storage Zero Padded",
}
NOT_STORAGE = ("Storage Commitment", "Directory Storage", "Stored Print")


def storage_sop_classes() -> dict[str, str]:
    """Every Storage SOP Class: standard, retired, newer, private."""
    found = {
        uid: name
        for uid, (name, kind, _, _, _) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and not any(n in name for n in NOT_STORAGE)
    }
    return dict(
        sorted({**found, **RETIRED_WITHOUT_NAME, **NEWER_STORAGE, **PRIVATE_STORAGE}.items())
    )


def transfer_syntaxes() -> dict[str, str]:
    """Every transfer syntax a stored object can have."""
    found = {
        uid: name.split(":")[0]
        for uid, (name, kind, _, _, _) in UID_dictionary.items()
        if kind == "Transfer Syntax" and uid not in NOT_STORED
    }
    return {**found, **NEWER_TRANSFER_SYNTAXES}


def names() -> dict[str, str]:
    """Every other registered UID that a screen or a report may want to name."""
    return {
        uid: name
        for uid, (name, kind, _, _, _) in UID_dictionary.items()
        if kind in ("SOP Class", "Meta SOP Class", "Well-known SOP Instance") and name
    }


def write_uids() -> None:
    """Write _generated_uids.py."""
    lines = [
        '"""UIDs of PS3.6 Annex A and common private ones; made by tools/make_uid_tables.py."""',
        "",
    ]
    for title, table in (
        ("TRANSFER_SYNTAX_NAMES", transfer_syntaxes()),
        ("STORAGE", storage_sop_classes()),
        ("NAMES", names()),
    ):
        lines.append(f"{title}: dict[str, str] = {{")
        lines += [f'    "{uid}": {name!r},' for uid, name in table.items()]
        lines += ["}", ""]
    (ROOM / "_generated_uids.py").write_text("\n".join(lines), encoding="utf-8")


def write_dictionary() -> None:
    """Write _generated_dictionary.py: one text, cut up at first use."""
    lines = [
        '"""The data dictionary of PS3.6: tag, VR, keyword; made by tools/make_uid_tables.py."""',
        "",
        'ELEMENTS = """\\',
    ]
    for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items()):
        if vr != "NONE" and tag >> 16 != 0xFFFE:
            lines.append(f"{tag:08X} {vr.replace(' or ', '/')} {keyword}")
    lines += ['"""', "", 'REPEATERS = """\\']
    for mask, (vr, _, _, _, keyword) in sorted(RepeatersDictionary.items()):
        lines.append(f"{mask} {vr.replace(' or ', '/')} {keyword}")
    lines += ['"""', ""]
    (ROOM / "_generated_dictionary.py").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write_uids()
    write_dictionary()
