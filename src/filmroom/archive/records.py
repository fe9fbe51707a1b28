"""The archive's values: what is known of patients, studies, series, instances, files.

`keys` hold the INDEXED attributes of a level (dicom.tags) by keyword, as the plain text
that matching compares: several values joined with a backslash, trailing spaces gone,
person names as `Alphabetic=Ideographic=Phonetic`. `attributes` holds all KEPT attributes
of the level as one DICOM JSON object (PS3.18 F), UTF-8, ready to be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from filmroom.dicom.match import Match
from filmroom.dicom.models import Level, Root


@dataclass(frozen=True, slots=True)
class Entity:
    """One patient, study, series or instance as the index keeps it.

    uid: the unique key's value; for a patient PatientID (identity is (PatientID, issuer)).
    """

    uid: str
    keys: Mapping[str, str]
    attributes: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something came from, for the file's meta header, the log and the audit."""

    kind: str  # "dimse", "stow", "import", "samples", "reindex"
    name: str = ""  # calling AE title, user, or path
    address: str = ""  # host of the peer
    called: str = ""  # AE title that was called


@dataclass(frozen=True, slots=True)
class Location:
    """Where an instance's bytes lie and how to read them."""

    key: str  # blob key, made by blobs.layout
    size_bytes: int  # of the whole Part 10 file
    data_set_offset: int  # where the data set begins: 132 + File Meta Information
    header_bytes: int  # from there up to the pixel data element; up to the end if none
    digest: bytes  # SHA-256 of the data set (bytes data_set_offset..size_bytes)
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Received:
    """What an instance came as that is stored smaller now."""

    digest: bytes  # SHA-256 of the data set
    transfer_syntax_uid: str
    size_bytes: int  # of the whole Part 10 file


@dataclass(frozen=True, slots=True)
class NewInstance:
    """Everything the index must learn in one transaction about one sealed file."""

    patient: Entity
    study: Entity
    series: Entity
    instance: Entity
    location: Location
    frames: bytes  # dicom.frames.FrameTable.to_bytes(); empty: no pixel data
    origin: Origin
    received_at: float  # seconds since the epoch, UTC
    received: Received | None = None  # what it came as, where it is stored smaller now


@dataclass(frozen=True, slots=True)
class Held:
    """What the index holds under a SOP Instance UID."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    digest: bytes
    transfer_syntax_uid: str
    key: str
    is_damaged: bool = False  # its file is marked: the same bytes sent again take its place
    received_digest: bytes = b""  # where it is stored smaller now: what it came as
    received_transfer_syntax_uid: str = ""

    def is_same(self, location: Location) -> bool:
        """Whether that is the data set held here, as it is stored or as it came."""
        same = location.digest, location.transfer_syntax_uid
        return same in (
            (self.digest, self.transfer_syntax_uid),
            (self.received_digest, self.received_transfer_syntax_uid),
        )


@dataclass(frozen=True, slots=True)
class Handle:
    """All that is needed to serve an instance without asking again."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    location: Location
    frames: bytes
    damage: str = ""  # a Damage: why the file is not served; empty: nothing is known against it

    @property
    def etag(self) -> str:
        """A strong validator (RFC 9110 8.8.3): the content never changes under a UID."""
        return self.location.digest.hex()[:32]


class Damage(StrEnum):
    """What is wrong with a stored file."""

    GONE = "gone"  # there is none
    SIZE = "size"  # it is shorter or longer than it was
    CONTENT = "content"  # the data set is not what was received: its digest is another
    HEADER = "header"  # the File Meta Information is not what we wrote
    UNREADABLE = "unreadable"  # the disk does not give it


@dataclass(frozen=True, slots=True)
class Damaged:
    """A mark: the file of this instance is damaged and is not served."""

    id: int  # rises with every mark
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    key: str
    reason: str  # a Damage
    found_at: float  # seconds since the epoch, UTC


@dataclass(frozen=True, slots=True)
class Filed:
    """One stored file as a scrub sees it; the handle comes without its frames."""

    id: int  # rises in the order of storing
    handle: Handle
    received_at: float  # seconds since the epoch, UTC


class Outcome(StrEnum):
    """How a store ended when it did not fail."""

    NEW = "new"  # now held, durably
    SAME = "same"  # the same bytes were held already
    KEPT_FIRST = "kept-first"  # other bytes are held under this UID: the new ones are quarantined
    REPLACED = "replaced"  # policy "replace": the new ones are held, the old ones quarantined


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer to one store."""

    outcome: Outcome
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that was received but not filed, kept for an operator to look at."""

    id: int
    key: str  # file name under DATA/quarantine, of our own making
    reason: str
    sop_instance_uid: str  # as claimed; may be anything, never used as a path
    origin: Origin
    size_bytes: int
    received_at: float


ANY_AE_TITLE = "*"


@dataclass(frozen=True, slots=True)
class Peer:
    """A configured remote application entity."""

    ae_title: str
    host: str
    port: int
    may: frozenset[str]
    tls: bool = False
    forward: bool = False  # it is sent every series that has settled


@dataclass(frozen=True, slots=True)
class Query:
    """A search at one level (PS3.4 C.4.1, PS3.18 10.6).

    matches: keyword -> Match, only INDEXED or COMPUTED-and-matchable keywords
        (ModalitiesInStudy, SOPClassesInStudy) or one of MATCHED_SEQUENCES.
    newest_first: studies by date and time descending, else by unique key; always with
        the unique key last, so that paging is stable.
    combined_datetime: a date range and its time range are one range (C.2.2.2.5.4).
    """

    level: Level
    matches: Mapping[str, Match]
    root: Root = Root.STUDY
    limit: int | None = None
    offset: int = 0
    newest_first: bool = True
    combined_datetime: bool = False


class Found(NamedTuple):
    """One answer: the JSON objects of its level and all levels above, and the counters.

    A tuple, because answers come by the thousand.
    """

    patient: bytes
    study: bytes = b""
    series: bytes = b""
    instance: bytes = b""
    patient_studies: int = 0
    patient_series: int = 0
    patient_instances: int = 0
    study_series: int = 0
    study_instances: int = 0
    series_instances: int = 0
    modalities: tuple[str, ...] = ()  # distinct, sorted, never empty strings
    sop_classes: tuple[str, ...] = ()
    transfer_syntax_uid: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Instances named by unique keys, from the top (PS3.4 C.4.2.1.4.1, PS3.18 10.4)."""

    patient_id: str | None = None
    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceKind:
    """What decides in which forms an instance may leave, and how many selected ones share it."""

    sop_class_uid: str
    transfer_syntax_uid: str
    has_frames: bool
    instances: int


@dataclass(frozen=True, slots=True)
class SeriesMetadata:
    """The DICOM JSON of all instances of a quiet series, compressed once."""

    gzipped: bytes  # gzip of `[{...},{...}]`, in InstanceNumber then UID order
    etag: str
    instances: int  # how many it covers: stale when the series has grown


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the archive holds."""

    patients: int
    studies: int
    series: int
    instances: int
    size_bytes: int
    quarantined: int
    damaged: int = 0  # instances whose file is marked


@dataclass(frozen=True, slots=True)
class User:
    """A local account."""

    name: str
    password_hash: str  # argon2
    role: str
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """A bearer token or a session, known by the SHA-256 of its secret."""

    digest: bytes
    kind: str  # "session" or "token"
    name: str  # the user, or the token's own name
    role: str
    created_at: float
    expires_at: float | None
