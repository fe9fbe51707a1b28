"""What every DICOMweb handler is given: the archive, the pixel workers, and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request

from filmroom.archive.access import Principal
from filmroom.dicom.uids import is_valid_uid
from filmroom.dicomweb.negotiate import accept_text, what_is_to_be_had
from filmroom.dicomweb.problems import Problem

if TYPE_CHECKING:
    from filmroom.archive.archive import Archive
    from filmroom.pixel.pool import Pool


@dataclass(frozen=True, slots=True)
class Settings:
    """How DICOMweb behaves.

    root: path prefix of all resources. public_url: scheme and authority put before it in
    RetrieveURLs; empty for path-absolute ones, which no proxy can break. spool: the folder in
    which a store's bulk data wait; None for the system's own.
    """

    root: str = "/dicom-web"
    public_url: str = ""
    max_results: int = 1000  # of one search
    max_parts: int = 10_000  # of one store
    max_frames: int = 4096  # of one /frames list
    max_metadata_bytes: int = 64 * 1024 * 1024  # of a store's metadata part
    commits_in_flight: int = 16
    retry_after_seconds: int = 5
    spool: Path | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """The rooms below, as handlers see them."""

    archive: Archive
    pool: Pool
    settings: Settings = field(default_factory=Settings)

    def url(self, *path: str) -> str:
        """The URL of a resource below the root, for RetrieveURL."""
        return "/".join((self.settings.public_url + self.settings.root, *path))


def principal_of(request: Request) -> Principal:
    """Who asks; the sign-in middleware has put it there."""
    principal = request.state.principal
    assert isinstance(principal, Principal)
    return principal


def accept_of(request: Request) -> str:
    """The Accept list in force (PS3.18 8.3.3.1)."""
    header = request.headers.get("accept")
    query = request.scope.get("query_string", b"")
    return accept_text(header, request.query_params.get("accept") if b"accept" in query else None)


def not_acceptable(offers: Sequence[str]) -> Problem:
    """406, saying what is to be had."""
    return Problem(406, "Not Acceptable", what_is_to_be_had(offers))


def uid_of(request: Request, name: str) -> str | None:
    """A UID of the path; None when the path has no such member. Raises a 400 Problem."""
    uid = request.path_params.get(name)
    if uid is None:
        return None
    if not is_valid_uid(uid):
        raise Problem(400, "Not a UID", f"the {name} in the path is not a valid UID")
    return str(uid)


def required_uid(request: Request, name: str) -> str:
    """A UID that the route's template promises."""
    uid = uid_of(request, name)
    assert uid is not None
    return uid
