"""Blobs in an object store: S3 and what speaks like it, Azure Blob Storage, Google Cloud Storage.

An object is staged in a file on this machine, and acknowledged when the store has it. Its key
is what its path would be, and a part that no other attempt has: nodes that receive the same
instance at once never write over each other, and which of them counts is the index' to say.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from filmroom.archive.errors import ArchiveError, Away, NotHeld, Unavailable
from filmroom.archive.stores import Staged
from filmroom.blobs.cache import Cache, CachedBlob
from filmroom.blobs.durable import node_of
from filmroom.blobs.layout import is_key, is_quarantine_name, key_for
from filmroom.blobs.spool import Spool, StagedFile

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

IN_ONE_PUT = 8 << 20  # a larger object goes up in parts
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 3
COPIED_AT_ONCE = 256 << 20  # a larger one is copied by us: the store might take too long
LISTED = 1000  # objects asked for at a time
CONNECT_SECONDS = 5
REQUEST_SECONDS = 60
RETRY_SECONDS = 15  # then it is said that the store does not answer
RETRIES = 5


# What each kind of store calls what can be configured here.
_NAMES = {
    "s3": {
        "endpoint": "endpoint",
        "region": "region",
        "access_key_id": "access",
        "secret_access_key": "secret",
        "server_side_encryption": "encryption",
        "sse_kms_key_id": "kms",
    },
    "az": {"endpoint": "endpoint", "account_name": "access", "account_key": "secret"},
    "gs": {"base_url": "endpoint", "service_account_key": "secret"},
}


# Also for a bucket that is not there; where an object may be gone, that is asked before.
_TROUBLE = (BaseError, FileNotFoundError, ValueError)


class RemoteBlob:
    """An object that is read past what is kept of it here; see archive.stores.Blob."""

    is_here = False
    fd = -1

    def __init__(self, blobs: ObjectBlobs, path: str, size: int, written_at: float) -> None:
        self._blobs = blobs
        self._path = path
        self.size = size
        self.written_at = written_at

    def fetch(self, offset: int, length: int) -> None:
        """There is no file to have it in."""

    def read(self, offset: int, length: int) -> bytes:
        """At most these bytes."""
        length = max(min(length, self.size - offset), 0)
        return bytes(self._blobs.get(self._path, self.size, offset, length)) if length else b""

    def close(self) -> None:
        """Nothing is open."""


class ObjectBlobs:
    """Blobs under `store/` and `quarantine/` of a bucket, or of a prefix in it."""

    is_here = False

    def __init__(
        self,
        store: ObjectStore,
        root: Path,
        *,
        min_free_bytes: int = 0,
        cache_bytes: int = 0,
    ) -> None:
        """root: the folder whose `tmp` is ours for what comes and what is kept of what goes."""
        self._store = store
        self._spool = Spool(root, min_free_bytes=min_free_bytes)
        lacking = self._spool.lacking_bytes
        self._cache = Cache(self._spool.nameless, self._get_stored, cache_bytes, lacking=lacking)
        self._spool.give_way = self._cache.give_way
        self._node = node_of(root)

    # -- in -----------------------------------------------------------------------------------
    def stage(self) -> StagedFile:
        """Begin a blob. Unavailable when space on this machine is short."""
        return self._spool.stage()

    def prepare(self) -> None:
        """Open files ahead; see Spool.prepare."""
        self._spool.prepare()

    def key_for(
        self, received_at: float, study: str, series: str, instance: str, variant: str = ""
    ) -> str:
        """See blobs.layout.key_for; no two calls give the same."""
        attempt = self._node + secrets.token_hex(2)
        return key_for(received_at, study, series, instance, variant, attempt)

    def is_ours(self, key: str) -> bool:
        """Whether this node made that key; what others are just storing is not ours to judge."""
        return f"_{self._node}" in key

    def seal(self, staged: Sequence[tuple[Staged, str]]) -> list[Exception | None]:
        """Put blobs into the store; see archive.stores.Blobs.seal."""
        files = [(file, key) for file, key in staged if isinstance(file, StagedFile)]
        return [self._seal_one(file, key) for file, key in files]

    def _seal_one(self, file: StagedFile, key: str) -> Exception | None:
        path = f"store/{key}"
        try:
            self._put(file, path)
        except (FileExistsError, ArchiveError) as error:
            return error
        fd, file.fd = file.fd, -1
        if file.path:
            with contextlib.suppress(OSError):
                os.unlink(file.path)
            file.path = ""
        self._cache.adopt(key, fd, file.size)
        return None

    def _put(self, file: StagedFile, path: str) -> None:
        try:
            if file.size <= IN_ONE_PUT:
                obstore.put(self._store, path, file.read(0, file.size), mode="create")
            elif self._exists(path):  # parts are put together without looking who is there
                raise FileExistsError(path)
            else:
                with open(os.dup(file.fd), "rb") as whole:
                    whole.seek(0)
                    obstore.put(
                        self._store,
                        path,
                        whole,
                        use_multipart=True,
                        chunk_size=PART_BYTES,
                        max_concurrency=PARTS_AT_ONCE,
                    )
        except AlreadyExistsError as error:
            raise FileExistsError(path) from error
        except _TROUBLE as error:
            raise _away(error) from error

    def quarantine(self, staged: Staged) -> str:
        """Keep a refused blob under a name of our own; returns that name."""
        assert isinstance(staged, StagedFile)
        name = f"{secrets.token_hex(16)}.dcm"
        self._put(staged, f"quarantine/{name}")
        staged.discard()
        return name

    def quarantine_sealed(self, key: str) -> str:
        """Move a sealed blob into quarantine; returns its name there."""
        name = f"{secrets.token_hex(16)}.dcm"
        source, target = _path(key), f"quarantine/{name}"
        try:
            size, _ = self._look(source)
            if size < COPIED_AT_ONCE:
                obstore.copy(self._store, source, target)
            else:
                self._copy_by_ourselves(source, target, size)
        except FileNotFoundError as error:
            raise NotHeld("the object is gone", detail=key) from error
        except _TROUBLE as error:
            raise _away(error) from error
        self.remove(key)
        return name

    def _copy_by_ourselves(self, source: str, target: str, size: int) -> None:
        room = self.stage()
        try:
            for at in range(0, size, PART_BYTES):
                room.write(self.get(source, size, at, min(PART_BYTES, size - at)))
            self._put(room, target)
        finally:
            room.discard()

    # -- out ----------------------------------------------------------------------------------
    def open(
        self, key: str, *, size: int | None = None, anew: bool = False
    ) -> CachedBlob | RemoteBlob:
        """See archive.stores.Blobs.open."""
        path = _path(key)
        if size is not None and not anew:
            return self._cache.open(key, size)
        size, written_at = self._look(path)
        if anew:
            return RemoteBlob(self, path, size, written_at)
        return self._cache.open(key, size, written_at)

    def _look(self, path: str) -> tuple[int, float]:
        """(size, when it was written). NotHeld, Away."""
        try:
            found = obstore.head(self._store, path)
        except FileNotFoundError as error:
            raise NotHeld("the object is gone", detail=path) from error
        except _TROUBLE as error:
            raise _away(error) from error
        return found["size"], found["last_modified"].timestamp()

    def _get_stored(self, key: str, size: int, offset: int, length: int) -> memoryview:
        return self.get(_path(key), size, offset, length)

    def get(self, path: str, size: int, offset: int, length: int) -> memoryview:
        """Exactly these bytes of an object of that size."""
        try:
            found = obstore.get(self._store, path, options={"range": (offset, offset + length)})
            if found.meta["size"] != size:
                raise Unavailable("the stored object has another size", detail=path)
            content = memoryview(found.bytes())
        except FileNotFoundError as error:
            raise NotHeld("the object is gone", detail=path) from error
        except _TROUBLE as error:
            if "416" in str(error) and self._look(path)[0] != size:  # it ends before that range
                raise Unavailable("the stored object has another size", detail=path) from error
            raise _away(error) from error
        if len(content) != length:
            raise Away("the store sent less than was asked for", detail=path)
        return content

    def read(self, key: str, offset: int, length: int, *, size: int | None = None) -> bytes:
        """Exactly these bytes."""
        with contextlib.closing(self.open(key, size=size)) as file:
            content = file.read(offset, length)
        if len(content) < length:
            raise Unavailable("the stored object is shorter than it was", detail=key)
        return content

    def exists(self, key: str) -> bool:
        """Whether there is an object under this key."""
        return self._exists(_path(key))

    def _exists(self, path: str) -> bool:
        try:
            self._look(path)
        except NotHeld:
            return False
        return True

    def remove(self, key: str) -> None:
        """Delete a blob; nothing happens when it is gone already."""
        self._cache.drop(key)
        self._delete(_path(key))

    def _delete(self, path: str) -> None:
        try:
            obstore.delete(self._store, path)
        except FileNotFoundError:
            return
        except _TROUBLE as error:
            raise _away(error) from error

    def keys(self) -> Iterator[str]:
        """Every blob in the store, in the order of its key."""
        return self._listed("store/", is_key)

    def keys_since(self, day: str) -> Iterator[str]:
        """Every blob that came on `day` (YYYY/MM/DD) or later.

        Folder by folder: what a listing "after" some name gives is not the same everywhere.
        """
        years = self._folders("store")
        months = (month for year in years for month in self._folders(year))
        for date in (date for month in months for date in self._folders(month)):
            if date.removeprefix("store/") >= day:
                yield from self._listed("store/", is_key, f"{date}/")

    def _folders(self, path: str) -> list[str]:
        """What looks like the folders in a folder."""
        try:
            found = obstore.list_with_delimiter(self._store, f"{path}/")["common_prefixes"]
        except _TROUBLE as error:
            raise _away(error) from error
        return sorted(name.rstrip("/") for name in found)

    def _listed(
        self, folder: str, wanted: Callable[[str], bool], within: str = ""
    ) -> Iterator[str]:
        try:
            for page in obstore.list(self._store, within or folder, chunk_size=LISTED):
                names = sorted(entry["path"].removeprefix(folder) for entry in page)
                yield from filter(wanted, names)
        except _TROUBLE as error:
            raise _away(error) from error

    def modified_ns(self, key: str) -> int:
        """When a blob was written, nanoseconds since the epoch; 0 when it is gone."""
        try:
            return int(self._look(_path(key))[1] * 1e9)
        except NotHeld:
            return 0

    # -- quarantine -----------------------------------------------------------------------------
    def open_quarantined(self, key: str) -> RemoteBlob:
        """A quarantined file, to be read."""
        if not is_quarantine_name(key):
            raise NotHeld("no such file in quarantine")
        path = f"quarantine/{key}"
        return RemoteBlob(self, path, *self._look(path))

    def remove_quarantined(self, key: str) -> None:
        """Delete a quarantined file."""
        if is_quarantine_name(key):
            self._delete(f"quarantine/{key}")

    def quarantine_keys(self) -> Iterator[str]:
        """The names of all quarantined files."""
        return self._listed("quarantine/", is_quarantine_name)

    # -- this machine -----------------------------------------------------------------------------
    def free_bytes(self) -> int:
        """Room for what comes, on this machine."""
        return self._spool.free_bytes()

    def sweep(self) -> int:
        """Remove what a crash left in tmp/; returns how many. Only before serving."""
        return self._spool.sweep()

    def close(self) -> None:
        """Let go of everything."""
        self._cache.close()
        self._spool.close()


def open_store(
    url: str,
    options: Mapping[str, str],
    *,
    access_key: str = "",
    secret_key: str = "",
    encryption: str = "",
    kms_key: str = "",
) -> ObjectStore:
    """The store that `SCHEME://BUCKET/PREFIX` names; nothing is asked of it yet.

    options: `endpoint` and `region`, where they are not the platform's own. access_key,
    secret_key: without them, what the platform gives the process (environment, instance role).
    For Azure the account and its key, for Google the key of a service account (JSON) alone.
    encryption: at the store's side, `AES256`, or `aws:kms` with a key id. Raises ValueError for
    what the store's library does not understand.
    """
    scheme = url.partition(":")[0]
    given: dict[str, str] = {"endpoint": "", **options, "encryption": encryption, "kms": kms_key}
    given |= {"access": access_key, "secret": secret_key}
    config: Any = {name: given[ours] for name, ours in _NAMES[scheme].items() if given.get(ours)}
    if scheme == "s3":
        config["checksum_algorithm"] = "SHA256"
    client: Any = {
        "allow_http": given["endpoint"].startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=REQUEST_SECONDS),
    }
    retry: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    try:
        store: ObjectStore = from_url(url, config=config, client_options=client, retry_config=retry)
    except BaseError as error:
        raise ValueError(str(error)) from error
    return store


def _path(key: str) -> str:
    if not is_key(key):
        raise NotHeld("no such blob", detail=repr(key[:200]))
    return f"store/{key}"


def _away(error: Exception) -> Away:
    """Our own word for what the store said, or did not say; its words only in the log."""
    return Away("storage does not answer", detail=str(error)[:500])
