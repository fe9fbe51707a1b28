"""Every setting there is: its name, its default, its limits, and what it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from filmroom.archive.access import DIMSE_ACTIONS, Action
from filmroom.archive.records import ANY_AE_TITLE, Peer
from filmroom.config.compressing import CompressSettings
from filmroom.dicom.vrs import is_ae_title
from filmroom.index.engine import Place
from filmroom.index.namespace import SPELLING
from filmroom.security.settings import HttpSettings, Port, Section, SecuritySettings

PEER_RIGHTS = (Action.ECHO, Action.STORE, Action.QUERY, Action.RETRIEVE)
_PEER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+):(?P<port>\d+)(?::(?P<may>.+))?")


def ae_title(text: str) -> str:
    """An AE title (PS3.5 6.2, VR AE): 1-16 characters, trimmed; ValueError if it is none."""
    if not is_ae_title(text):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters, no backslash")
    return text.strip(" ")


def _rights(words: tuple[str, ...]) -> tuple[str, ...]:
    if words == ("all",):
        return tuple(sorted(right.value for right in DIMSE_ACTIONS))
    for word in words:
        if word not in DIMSE_ACTIONS:
            allowed = ", ".join(sorted(DIMSE_ACTIONS))
            raise ValueError(f"{word!r} is no right; allowed: {allowed}, or all")
    return tuple(dict.fromkeys(words))


def store_of(url: str) -> tuple[str, dict[str, str]]:
    """(SCHEME://BUCKET/PREFIX, options) of an object store's URL; ValueError if it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("s3", "az", "gs") or not parts.netloc:
        raise ValueError(
            "must be file:///PATH, s3://BUCKET, az://CONTAINER or gs://BUCKET; of those three "
            "with /PREFIX where wanted"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - {"endpoint", "region"}:
        raise ValueError(f"no option {', '.join(sorted(unknown))}; there are endpoint and region")
    return f"{parts.scheme}://{parts.netloc}{parts.path}", options


AETitle = Annotated[str, AfterValidator(ae_title)]
Rights = Annotated[tuple[str, ...], AfterValidator(_rights)]


class DimseSettings(Section):
    """`[dimse]`: the DICOM door."""

    host: str = Field(default="0.0.0.0", description="Address to listen on.")
    port: Port = Field(default=11112, description="Port to listen on; 0 takes a free one.")
    share_port: bool = Field(
        default=False,
        description="Let other nodes on this machine listen on the same ports; the system deals "
        "connections out.",
    )
    tls_port: Port = Field(
        default=2762, description="Port for DICOM over TLS, if a certificate is set."
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file; set it to listen with TLS."
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the private key.")
    tls_ca: Path | None = Field(
        default=None, description="PEM file; set it to demand client certificates signed by it."
    )
    ae_titles: tuple[AETitle, ...] = Field(
        default=("FILMROOM",),
        min_length=1,
        description="AE titles we answer to; the first is our own.",
    )
    unknown_peers: Rights = Field(
        default=("echo", "store"), description="What a peer that is not configured may do."
    )
    accept_unknown_sop_classes: bool = Field(
        default=False, description="Store objects of SOP classes that are in no table of ours too."
    )
    artim_seconds: float = Field(
        default=30,
        gt=0,
        description="A connection that has not asked to associate by then is closed.",
    )
    idle_seconds: float = Field(
        default=300, gt=0, description="An association without a message for this long is aborted."
    )
    max_associations: int = Field(default=4000, ge=1, description="Associations at once.")
    max_per_peer: int = Field(
        default=2000,
        ge=1,
        description="Associations at once from one address (of IPv6: from one /64).",
    )


class IndexSettings(Section):
    """`[index]`: the database."""

    url: str = Field(
        default="",
        description="`sqlite:///PATH` or `postgresql://…`; empty: `index.sqlite` in the data "
        "folder.",
        json_schema_extra={"secret": True},
    )
    namespace: str = Field(
        default="",
        description="PostgreSQL: the schema of our tables, made if it is missing; so that several "
        "archives can share a database. Empty: as the server's `search_path` says.",
    )
    pooler: bool = Field(
        default=False,
        description="PostgreSQL: the URL leads to a pooler in transaction mode (PgBouncer).",
    )
    listen_url: str = Field(
        default="",
        description="PostgreSQL: `postgresql://…` past the pooler, to hear at once what other "
        "nodes have changed; else it takes some seconds.",
        json_schema_extra={"secret": True},
    )

    @field_validator("url")
    @classmethod
    def _url(cls, text: str) -> str:
        if text and not text.startswith(("sqlite:///", "postgresql://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return text

    @field_validator("listen_url")
    @classmethod
    def _listen_url(cls, text: str) -> str:
        if text and not text.startswith("postgresql://"):
            raise ValueError("must begin with postgresql://")
        return text

    @field_validator("namespace")
    @classmethod
    def _namespace(cls, text: str) -> str:
        if text and not SPELLING.fullmatch(text):
            raise ValueError(
                "has up to 63 of a-z, 0-9 and _, begins with no digit, and not with pg_"
            )
        return text

    @model_validator(mode="after")
    def _of_postgresql(self) -> IndexSettings:
        if not self.url.startswith("postgresql:"):
            for name in ("namespace", "pooler", "listen_url"):
                if getattr(self, name):
                    raise ValueError(f"{name} is for an index on PostgreSQL")
        return self


class BlobSettings(Section):
    """`[blobs]`: the files."""

    url: str = Field(
        default="",
        description="`file:///PATH`, which gets `store`, `tmp` and `quarantine`; "
        "`s3://BUCKET/PREFIX?endpoint=…&region=…`, `az://CONTAINER/PREFIX`, `gs://BUCKET/PREFIX`; "
        "empty: the data folder.",
    )
    access_key: str = Field(
        default="",
        description="Access key of the object store (Azure: account); without one, what the "
        "platform gives: environment, instance role.",
    )
    secret_key: str = Field(
        default="", description="Its secret key.", json_schema_extra={"secret": True}
    )
    encryption: Literal["", "AES256", "aws:kms"] = Field(
        default="", description="How S3 encrypts what it keeps; empty: as the bucket says."
    )
    kms_key: str = Field(default="", description="The key's id for `aws:kms`.")
    cache_bytes: int = Field(
        default=8 << 30,
        ge=0,
        description="What is read from an object store is kept in the data folder up to this "
        "much (8 GiB).",
    )
    copy_url: str = Field(
        default="",
        description="`file:///PATH` of a second copy of the files, on another disk; somebody makes "
        "`PATH/store` once. Damaged files are made anew from it.",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, text: str) -> str:
        if text and not text.startswith("file:///"):
            store_of(text)
        return text

    @field_validator("copy_url")
    @classmethod
    def _copy_url(cls, text: str) -> str:
        if text and not text.startswith("file:///"):
            raise ValueError("must begin with file:///")
        return text

    @property
    def store(self) -> tuple[str, dict[str, str]] | None:
        """The object store and its options; None for files."""
        return store_of(self.url) if self.url and not self.url.startswith("file:") else None


class ArchiveSettings(Section):
    """`[archive]`: how what arrives is treated."""

    duplicates: Literal["keep-first", "replace", "refuse"] = Field(
        default="keep-first",
        description="Other bytes under a SOP Instance UID already held: keep the first and "
        "quarantine the second, replace the first (which is quarantined), or refuse the second.",
    )
    quiet_seconds: float = Field(
        default=5,
        ge=0.1,
        description="A series is prepared for viewing when nothing came for this long.",
    )
    min_free_bytes: int = Field(
        default=1 << 29,
        ge=0,
        description="Below this much free space new objects are refused (512 MiB).",
    )
    quarantine_max_bytes: int = Field(
        default=10 << 30,
        ge=0,
        description="Refused files are kept for the operator up to this much in all (10 GiB).",
    )


class ScrubSettings(Section):
    """`[scrub]`: how stored files are read again and compared with what was received."""

    every_days: float = Field(
        default=30,
        ge=0,
        description="The server reads all files again this often; 0: only `filmroom scrub` does.",
    )
    rate_mib: float = Field(
        default=10,
        ge=0,
        description="MiB read in a second, on the whole; 0: as fast as it goes.",
    )
    fill_copy: bool = Field(
        default=False,
        description="The server also compares the second copy, and writes what it lacks.",
    )


class QuerySettings(Section):
    """`[query]`: how searches are answered."""

    fuzzy_names: bool = Field(
        default=True,
        description="Match person names fuzzily for those who ask for it; else literally.",
    )
    max_results: int = Field(
        default=10_000,
        ge=1,
        description="Most answers to one QIDO-RS request; the rest by `offset`.",
    )


class PixelSettings(Section):
    """`[pixel]`: decoding, rendering, transcoding."""

    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Worker processes for pixels; 0: one per processor, up to 4.",
    )


class JobSettings(Section):
    """`[jobs]`: what is done by and by, and remembered until it is done."""

    workers: int = Field(
        default=4, ge=0, le=64, description="Jobs that this node does at once; 0: it does none."
    )
    keep_days: float = Field(
        default=30, gt=0, description="What came of a job is told for so long."
    )


class LogSettings(Section):
    """`[log]`: what is written about our own doings (never about patients)."""

    format: Literal["auto", "human", "json"] = Field(
        default="auto", description="`auto` is human on a terminal and JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much."
    )


class PeerSettings(Section):
    """`[[peers]]`: one remote application entity."""

    ae_title: str = Field(description="Its AE title; `*` for any calling AE title.")
    host: str = Field(min_length=1, description="Its host name or address.")
    port: Port = Field(description="The port it listens on.")
    tls: bool = Field(default=False, description="Speak TLS when we call it.")
    may: Rights = Field(
        default=tuple(right.value for right in PEER_RIGHTS),
        description="What it may do here: `echo`, `store`, `query`, `retrieve`, `worklist`, "
        "`mpps`, `commitment`, `ups`; `all` alone for everything.",
    )
    forward: bool = Field(
        default=False,
        description="Send it every series that arrives, once the series is quiet. What it sends us "
        "itself comes back to it too; it holds that already.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return parse_peer(value) if isinstance(value, str) else value

    @field_validator("ae_title")
    @classmethod
    def _ae_title(cls, text: str) -> str:
        return text if text == ANY_AE_TITLE else ae_title(text)

    @property
    def record(self) -> Peer:
        """The same as the archive's value."""
        return Peer(
            self.ae_title, self.host, self.port, frozenset(self.may), self.tls, self.forward
        )


def parse_peer(text: str) -> dict[str, Any]:
    """Read `AET=HOST:PORT[:RIGHT+RIGHT…|:all]`; ValueError says what is wrong with it."""
    title, equals, rest = text.partition("=")
    match = _PEER.fullmatch(rest.strip())
    if not equals or match is None:
        raise ValueError(f"{text!r} is not AET=HOST:PORT[:RIGHT+RIGHT…|:all]")
    peer: dict[str, Any] = {
        "ae_title": title.strip(),
        "host": match["host"].strip("[]"),
        "port": int(match["port"]),
    }
    if match["may"]:
        peer["may"] = tuple(word.strip() for word in match["may"].split("+"))
    return peer


class Settings(Section):
    """All that may be configured, in force. Rooms are given their section, never this."""

    data: Path = Field(default=Path("filmroom-data"), description="The data folder.")
    samples: bool = Field(
        default=False, description="Store sample studies when the archive is empty."
    )
    dimse: DimseSettings = DimseSettings()
    http: HttpSettings = HttpSettings()
    index: IndexSettings = IndexSettings()
    blobs: BlobSettings = BlobSettings()
    archive: ArchiveSettings = ArchiveSettings()
    scrub: ScrubSettings = ScrubSettings()
    query: QuerySettings = QuerySettings()
    pixel: PixelSettings = PixelSettings()
    jobs: JobSettings = JobSettings()
    compress: CompressSettings = CompressSettings()
    security: SecuritySettings = SecuritySettings()
    log: LogSettings = LogSettings()
    peers: tuple[PeerSettings, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        for name, section in (("http", self.http), ("dimse", self.dimse)):
            if (section.tls_certificate is None) != (section.tls_key is None):
                raise ValueError(f"[{name}] tls_certificate and tls_key go together")
        if self.copy_folder is not None and self.copy_folder == self.blobs_folder.absolute():
            raise ValueError("[blobs] copy_url is where the files themselves are")
        if self.blobs.store is not None:
            if self.copy_folder is not None:
                raise ValueError("[blobs] copy_url is for files; let the object store replicate")
            if self.blobs.encryption and not self.blobs.url.startswith("s3:"):
                raise ValueError("[blobs] encryption is for s3://; elsewhere it is the store's own")
        for peer in self.peers:
            if peer.forward and peer.ae_title == ANY_AE_TITLE:
                raise ValueError("[[peers]] forward is for a peer with an AE title")
        titles = [peer.ae_title for peer in self.peers]
        for title in {title for title in titles if titles.count(title) > 1}:
            if title != ANY_AE_TITLE:
                raise ValueError(f"[[peers]] names {title} twice")
        return self

    @property
    def index_place(self) -> Place:
        """Where the index is: as configured, or inside the data folder."""
        index = self.index
        url = index.url or f"sqlite:///{self.data.absolute() / 'index.sqlite'}"
        return Place(url, index.namespace, index.pooler, index.listen_url)

    @property
    def blobs_folder(self) -> Path:
        """Where `tmp`, and without an object store `store` and `quarantine`, are."""
        url = self.blobs.url
        return Path(url.removeprefix("file://")) if url.startswith("file:") else self.data

    @property
    def copy_folder(self) -> Path | None:
        """Where the second copy is, if there is one."""
        url = self.blobs.copy_url
        return Path(url.removeprefix("file://")) if url else None

    @property
    def peer_records(self) -> tuple[Peer, ...]:
        """The configured peers as the archive's values."""
        return tuple(peer.record for peer in self.peers)

    @property
    def warnings(self) -> list[str]:
        """What is allowed, but ought to be known: one sentence each."""
        found = []
        http, dimse = self.http, self.dimse
        if http.host not in ("127.0.0.1", "::1", "localhost") and not http.secure:
            found.append(
                f"[http] listens on {http.host} without TLS: passwords and images can be read on "
                "the way; set tls_certificate and tls_key, or public_url if a proxy does TLS"
            )
        if {"query", "retrieve"} & set(dimse.unknown_peers):
            found.append("[dimse] unknown_peers may read the archive: anybody who reaches the port")
        if any(peer.ae_title == ANY_AE_TITLE and len(peer.may) > 2 for peer in self.peers):
            found.append("[[peers]] has rights for any calling AE title; those are easily copied")
        return found
