"""Where the blobs are, by configuration: a folder, or an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from filmroom.archive.stores import Blobs
from filmroom.blobs.filesystem import FilesystemBlobs


class Place(Protocol):
    """What is configured of it; `config.BlobSettings` has it."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def encryption(self) -> str: ...
    @property
    def kms_key(self) -> str: ...
    @property
    def cache_bytes(self) -> int: ...
    @property
    def store(self) -> tuple[str, dict[str, str]] | None: ...


def open_blobs(place: Place, folder: Path, *, min_free_bytes: int) -> Blobs:
    """The blobs; folder: where they are, or what is ours of this machine. Raises OSError."""
    store = place.store
    if store is None:
        return FilesystemBlobs(folder, min_free_bytes=min_free_bytes)
    from filmroom.blobs import objects  # brings a library that a single box never needs

    url, options = store
    opened = objects.open_store(
        url,
        options,
        access_key=place.access_key,
        secret_key=place.secret_key,
        encryption=place.encryption,
        kms_key=place.kms_key,
    )
    return objects.ObjectBlobs(
        opened, folder, min_free_bytes=min_free_bytes, cache_bytes=place.cache_bytes
    )
