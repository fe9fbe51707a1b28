"""Write docs/conformance.md from the tables that the server negotiates with.

    python tools/make_conformance.py           write it
    python tools/make_conformance.py --check   exit status 1 when it is out of date

The parts are those of PS3.2: what we are, how we associate, each service, DICOMweb, media,
character sets, security. Only words are written here; everything that could drift is read
from services.table, services.outcomes, index.where, dicom.tags and dicomweb.routes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filmroom.config.settings import DimseSettings
from filmroom.dicom import uids
from filmroom.dicom.models import Level
from filmroom.dicom.tags import ATTRIBUTES, COMPUTED
from filmroom.dicomweb.routes import RESOURCES
from filmroom.dimse.negotiation import MAX_CONTEXTS, MAX_PDU_BYTES
from filmroom.index.where import MATCHED_SEQUENCES
from filmroom.pixel.codecs import can_encode
from filmroom.pixel.derived import LOSSES
from filmroom.pixel.options import (
    ANNOTATIONS,
    ICC_PROFILES,
    LARGEST_AREA,
    LARGEST_SIDE,
    WINDOW_FUNCTIONS,
)
from filmroom.pixel.state import KINDS
from filmroom.services import outcomes
from filmroom.services.identifiers import COMPUTED_MATCHES
from filmroom.services.table import TABLE, Row, Service

PAGE = Path(__file__).resolve().parent.parent / "docs" / "conformance.md"


def page() -> str:
    """The whole statement."""
    return "\n".join([*_head(), *_associations(), *_services(), *_web(), *_rest()]).rstrip() + "\n"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def _head() -> Iterator[str]:
    yield from (
        "# DICOM conformance statement",
        "",
        "<!-- Made by tools/make_conformance.py from the tables the server negotiates with. -->",
        "",
        "filmroom is an archive: it takes, keeps, finds and gives composite instances over the",
        "DICOM message service (PS3.7, PS3.8) and over DICOMweb (PS3.18). This page is generated",
        "from the tables that the running server reads, and a test compares the two.",
        "",
        "## Services at a glance",
        "",
    )
    yield from table(
        ["Service", "As provider (SCP)", "As user (SCU)"],
        (
            [
                service.value,
                "yes" if any(row.scp for row in _of(service)) else "no",
                "yes" if any(row.scu for row in _of(service)) else "no",
            ]
            for service in Service
        ),
    )
    yield "As a user filmroom acts for the tools `filmroom echo | send | find | get | move` and for"
    yield "the sub-operations of C-MOVE and C-GET."
    yield ""


def _of(service: Service) -> list[Row]:
    return [row for row in TABLE.values() if row.service is service]


def _associations() -> Iterator[str]:
    dimse = DimseSettings()
    yield "## Associations"
    yield ""
    yield from table(
        ["What", "Value"],
        [
            ["Application context", f"`{uids.APPLICATION_CONTEXT}`"],
            ["Implementation class UID", f"`{uids.IMPLEMENTATION_CLASS_UID}`"],
            ["Implementation version name", f"`{uids.IMPLEMENTATION_VERSION_NAME}`"],
            ["Maximum PDU announced", f"{MAX_PDU_BYTES} bytes"],
            ["Presentation contexts proposed, at most", f"{MAX_CONTEXTS}"],
            ["Associations at once", f"{dimse.max_associations}, from one peer "
             f"{dimse.max_per_peer} (both can be set); beyond that A-ASSOCIATE-RJ "
             "rejected-transient, local-limit-exceeded"],
            ["ARTIM timeout", f"{dimse.artim_seconds:g} s (can be set)"],
            ["Idle timeout", f"{dimse.idle_seconds:g} s (can be set)"],
            ["Asynchronous operations", "up to 8 invoked, as provider, when proposed"],
            ["Role selection", "for storage classes, to those who may retrieve (C-GET)"],
            ["User identity", "accepted and not looked at"],
        ],
    )  # fmt: skip
    yield from (
        "A called AE title other than the configured ones (any number of them, on one port) is",
        "rejected with *called-AE-title-not-recognized*. AE titles are compared with case, without",
        "leading and trailing spaces.",
        "",
        "What a peer may do is configured per AE title and address. A peer that is not configured,",
        "or calls from another address than the configured one, may "
        f"{' and '.join(dimse.unknown_peers)} (can be set).",
        "A presentation context for a service that the peer may not use is answered with",
        "*user-rejection*; a peer that may do nothing at all is rejected with",
        "*calling-AE-title-not-recognized*.",
        "",
        "Of the transfer syntaxes proposed in a context the first that is supported is accepted.",
        "",
        "### Extended negotiation",
        "",
    )
    yield from table(
        ["Service", "Application information"],
        [
            [Service.STORAGE.value, "level 2 (full), digital signatures level 3 (bit preserving), "
             "no coercion"],
            [Service.FIND.value, "relational queries; combined date and time matching; fuzzy "
             "semantic matching of person names (can be switched off); no time zone adjustment"],
            [f"{Service.MOVE.value}, {Service.GET.value}", "relational retrieval; no conversion of "
             "enhanced multi-frame objects"],
        ],
    )  # fmt: skip


def _services() -> Iterator[str]:
    yield from _rows_of("Verification", [Service.VERIFICATION])
    yield from _statuses("C-ECHO")
    yield from _query()
    yield from _retrieve()
    yield from _storage()


def _rows_of(title: str, services: Sequence[Service]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    rows = [row for service in services for row in _of(service)]
    yield from table(
        ["SOP class", "UID", "SCP", "SCU", "Transfer syntaxes"],
        (
            [row.name, f"`{row.sop_class_uid}`", _yes(row.scp), _yes(row.scu), _syntaxes(row)]
            for row in rows
        ),
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _syntaxes(row: Row) -> str:
    if row.transfer_syntaxes is None:
        return "[all](#transfer-syntaxes)"
    return ", ".join(uids.name_of(uid) for uid in sorted(row.transfer_syntaxes))


def _statuses(*names: str) -> Iterator[str]:
    for service in names:
        yield f"### Statuses of {service}"
        yield ""
        yield from table(
            ["Status", "Means"],
            (
                [f"{status:04X}", meaning]
                for status, meaning in sorted(outcomes.MEANINGS[service].items())
            ),
        )


def _query() -> Iterator[str]:
    yield from _rows_of("Query", [Service.FIND])
    yield from (
        "Without relational queries negotiated, exactly one unique key of every level above the",
        "Query/Retrieve Level is needed. C-CANCEL is honoured. Keys of a lower level than the one",
        "asked at, and such as are in none of these lists, are answered with zero length and",
        "status FF01.",
        "",
        "Answers are in the Specific Character Set of the request when all their text can be",
        "written in it, else in ISO_IR 192. Query/Retrieve Level, Retrieve AE Title and the unique",
        "key of the level are always among the answers; Instance Availability is ONLINE.",
        "",
        "Matching: single value, list of UIDs and of other values, universal, wild card, range,",
        "sequence, multiple values; person names without regard to case.",
        "",
    )
    for level in Level:
        yield f"### Keys at {level.name} level"
        yield ""
        rows = [[a.keyword, a.vr, "matching and return" if a.indexed or
                 a.keyword in MATCHED_SEQUENCES else "return"]
                for a in ATTRIBUTES if a.level is level]  # fmt: skip
        rows += [
            [keyword, vr, "matching and return" if keyword in COMPUTED_MATCHES else "return"]
            for keyword, (_, vr, of_level) in COMPUTED.items()
            if of_level is level
        ]
        yield from table(["Attribute", "VR", "Use"], rows)
    yield "Inside sequences these can be matched:"
    yield ""
    yield from table(
        ["Sequence", "Attributes of its items"],
        ([name, ", ".join(sequence.items)] for name, sequence in MATCHED_SEQUENCES.items()),
    )
    yield from _statuses("C-FIND")


def _retrieve() -> Iterator[str]:
    yield from _rows_of("Retrieve", [Service.MOVE, Service.GET])
    yield from (
        "The unique key of the level may be a list. A C-MOVE goes to configured peers only, on",
        "an association of filmroom's own, with the called AE title as calling one and the Move",
        "Originator elements filled. For each SOP class every stored transfer syntax is proposed",
        "in a context of its own, and Explicit and Implicit VR Little Endian in another: an",
        "instance is sent as it is stored when that is accepted and transcoded when it is not,",
        "without loss: to an uncompressed syntax, else to a lossless one. An instance of a class",
        "that was accepted in lossy syntaxes only fails unless it is stored in one of them.",
        "C-GET does the same with the contexts whose SCP role the peer has taken.",
        "",
        "Pending responses with counts are sent at once and then every second; C-CANCEL is",
        "honoured; the final response lists the failed SOP Instance UIDs.",
        "",
    )
    yield from _statuses("C-MOVE", "C-GET")


def _storage() -> Iterator[str]:
    yield "## Storage"
    yield ""
    yield from (
        "Every data set is kept byte by byte as it was received, in the transfer syntax it came",
        "in, with all private attributes. Success is answered when bytes and index are on disk.",
        "",
        "An instance received again is a success. Other content under a SOP Instance UID that is",
        "held: the first is kept, the other goes to quarantine, and the answer is the warning B000",
        "(can be set). What cannot be read goes to quarantine too.",
        "",
        "With `dimse.accept_unknown_sop_classes` also classes that are in no table are stored:",
        f"private ones, and those under the standard's `{'1.2.840.10008.5.1.4.1.1.'}`.",
        "",
    )
    yield from _statuses("C-STORE")
    yield "### Transfer syntaxes"
    yield ""
    yield from table(
        ["Transfer syntax", "UID"],
        ([each.name, f"`{each.uid}`"] for each in uids.TRANSFER_SYNTAXES.values()),
    )
    yield "### SOP classes"
    yield ""
    rows = sorted(_of(Service.STORAGE), key=lambda row: [*map(int, row.sop_class_uid.split("."))])
    yield from table(["SOP class", "UID"], ([r.name, f"`{r.sop_class_uid}`"] for r in rows))


def _web() -> Iterator[str]:
    yield "## DICOMweb"
    yield ""
    yield "Templates below `/dicom-web`; `GET` there describes them to programs. WADO-URI is at"
    yield "`/wado`."
    yield ""
    methods = []
    for resource in RESOURCES:
        if resource.get:
            methods.append((resource.template, "GET", resource.does, resource.offers))
        if resource.post:
            methods.append((resource.template, "POST", resource.takes, resource.bodies))
    yield from table(
        ["Method", "Template", "Transaction", "Media types"],
        (
            [method, f"`{template}`", does, ", ".join(f"`{each}`" for each in types)]
            for template, method, does, types in sorted(methods)
        ),
    )
    yield from _rendered()
    yield from _written()


def _rendered() -> Iterator[str]:
    """What rendered resources do (PS3.18 8.3.5, 9.4, 10.4.1.1.3)."""
    yield "### Rendered resources"
    yield ""
    states = [row.name for uid, row in TABLE.items() if uid in KINDS]
    yield from table(
        ["Query parameter", "Values"],
        [
            ["`window`; `windowCenter`, `windowWidth`",
             f"center, width, function: {_listed(WINDOW_FUNCTIONS)}"],
            ["`viewport`; `rows`, `columns`; `region`",
             f"at most {LARGEST_AREA} pixels, {LARGEST_SIDE} a side; a negative source width or "
             "height flips"],
            ["`quality`, `imageQuality`", "1 to 100, of JPEG, WebP and MP4"],
            ["`annotation`", f"{_listed(ANNOTATIONS)}, burnt in; not on thumbnails"],
            ["`iccprofile`", f"{_listed(ICC_PROFILES)}, of colour pictures; in JPEG, PNG and WebP"],
            ["`presentationSeriesUID`, `presentationUID`",
             f"of one instance or frame: {'; '.join(states)}"],
        ],
    )  # fmt: skip
    yield from (
        "A presentation state is itself rendered as the images it refers to. Its modality, VOI and",
        "presentation LUTs take the place of the image's; displayed area (a picture has no true",
        "size: TRUE SIZE is one pixel by pixel), rotation, flip, shutters, overlays, text and",
        "graphic objects in the order and colour of their layers, above all overlays, are drawn.",
        "Compound graphics are not.",
        "",
        "A stored video is given as it is stored, with byte ranges, under the media type of its",
        "container. `video/mp4` of other multi-frame images needs the extra `video`.",
        "",
    )


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _written() -> Iterator[str]:
    """The transfer syntaxes of what is retrieved (PS3.18 8.7.3)."""
    yield from (
        "### Transfer syntaxes that can be asked for",
        "",
        "Of instances and, by media type, of frames. What is lossy is made only for who names it,",
        "and as an instance with a UID of its own. Single frames come in byte ranges, too.",
        "",
    )
    written = [s for s in uids.TRANSFER_SYNTAXES.values() if can_encode(s.uid) or s.uid in LOSSES]
    yield from table(
        ["Transfer syntax", "UID", "Media type of a frame", "Lossless"],
        (
            [s.name, f"`{s.uid}`", f"`{s.media_type}`", "no" if s.uid in LOSSES else "yes"]
            for s in written
        ),
    )


def _rest() -> Iterator[str]:
    yield from (
        "## Character sets",
        "",
        "All defined terms of PS3.3 C.12.1.1.2, with and without code extensions, GB18030, GBK and",
        "UTF-8 are read. Bytes that cannot be read are kept and shown with replacement characters.",
        "",
        "## Security",
        "",
        "DICOM over TLS 1.2 and 1.3 on a port of its own, with or without client certificates;",
        "HTTPS. Every HTTP resource but the health checks needs a signed-in person or a token.",
    )


def main() -> int:
    """Write or check the page; the exit status."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text("utf-8") == wanted:
            return 0
        print(f"{PAGE} is out of date: run python tools/make_conformance.py", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
