"""What the archive needs from the world: Index, Blobs, Clock (PEP 544 Protocols).

All methods are synchronous and may block; they are called from worker threads, except
those marked *point*: with an embedded index these take well under a millisecond and may
be called on an event loop (`Index.embedded`). Any failure of disk, database or network
is raised as `archive.errors.Unavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from filmroom.archive.jobs import Cluster, Queue
from filmroom.archive.peers import Peers
from filmroom.archive.records import (
    Credential,
    Damage,
    Damaged,
    Filed,
    Found,
    Handle,
    Held,
    InstanceKind,
    NewInstance,
    Origin,
    Quarantined,
    Query,
    Selection,
    SeriesMetadata,
    Statistics,
    User,
)
from filmroom.archive.shrinking import Smaller

if TYPE_CHECKING:
    import mmap


class Clock(Protocol):
    """Time, so that tests own it."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class Integrity(Protocol):
    """What is known of the state of the files; see archive.scrub.

    A mark outlives `Index.clear`, and ends with `Index.replace`. Marks and their ends drop
    the series' metadata blob and raise its revision.
    """

    def mark(self, handle: Handle, reason: Damage, found_at: float) -> bool:
        """Say that this file is damaged; True if that is new.

        False: it is marked already, or the row speaks of another file by now.
        """
        ...

    def unmark(self, sop_instance_uid: str) -> bool:
        """Say that it is sound; True if it was marked."""
        ...

    def marked(self, after_id: int = 0, limit: int = 1000) -> list[Damaged]:
        """The marks on instances that are held, oldest first, those after `after_id`."""
        ...

    def marked_in(self, selection: Selection) -> list[str]:
        """The SOP Instance UIDs of those selected that are marked."""
        ...

    def settle(self) -> list[str]:
        """After `clear` and adding anew: what is marked shall have the digest it should have.

        Marks of what is the same again, or not held any more, are dropped; the UIDs of the
        latter are returned.
        """
        ...

    def filed(self, after_id: int, last_id: int, limit: int) -> list[Filed]:
        """Stored files in the order of their ids, those after one and up to another."""
        ...

    def last_id(self) -> int:
        """The highest id so far; 0 when there is none."""
        ...

    def scrub_state(self) -> str | None:
        """What `put_scrub_state` was given last, since the last `Index.clear`."""
        ...

    def put_scrub_state(self, state: str) -> None:
        """Remember how far a scrub has come."""
        ...


class Index(Protocol):
    """Where things are. SQLite or PostgreSQL; one behaviour."""

    embedded: bool

    @property
    def integrity(self) -> Integrity:
        """What is known of the state of the files."""
        ...

    @property
    def smaller(self) -> Smaller:
        """What is known of instances that are stored smaller than they came."""
        ...

    @property
    def jobs(self) -> Queue:
        """Work that is remembered until it is done."""
        ...

    @property
    def cluster(self) -> Cluster:
        """The nodes that share this index."""
        ...

    @property
    def peers(self) -> Peers:
        """Peers that were added while nodes run."""
        ...

    # -- storing: called by the committer thread only -------------------------------
    def held(self, sop_instance_uids: Sequence[str]) -> dict[str, Held]:
        """What is already held under these UIDs. *point*"""
        ...

    def add(self, batch: Sequence[NewInstance]) -> list[bool]:
        """Add instances in ONE synced transaction; per item True if it was new.

        False: that SOP Instance UID was held already (another node was faster) and
        nothing changed for it. Counters rise only for rows really inserted. A
        `instance-stored` event per new row is written in the same transaction, and the
        series' metadata blob is dropped. Raises Conflict naming the UID when a series is
        known under another study: callers then add one by one.
        """
        ...

    def replace(self, instance: NewInstance) -> str:
        """Point a held SOP Instance UID at new bytes, synced; the key it pointed at until then."""
        ...

    # -- finding ----------------------------------------------------------------------
    def search(self, query: Query) -> list[Found]:
        """The answers, at most `query.limit` from `query.offset`, in a stable order."""
        ...

    def search_iter(self, query: Query, chunk: int = 256) -> Iterator[list[Found]]:
        """The same in chunks, holding no transaction between them."""
        ...

    def count(self, query: Query) -> int:
        """How many answers there are without limit and offset."""
        ...

    # -- retrieving ---------------------------------------------------------------------
    def instance(
        self, sop_instance_uid: str, study: str | None = None, series: str | None = None
    ) -> Handle | None:
        """One instance; None if not held, or not under the study and series given. *point*"""
        ...

    def instances(self, selection: Selection) -> list[Handle]:
        """All instances selected, ordered by series, InstanceNumber, UID."""
        ...

    def instances_iter(self, selection: Selection) -> Iterator[list[Handle]]:
        """The same in pages of bounded size, by arrival where numbers are equal.

        No transaction is held between two pages.
        """
        ...

    def kinds(self, selection: Selection) -> list[InstanceKind]:
        """What the selected instances are, as numbers."""
        ...

    def series_metadata(self, study: str, series: str) -> SeriesMetadata | None:
        """The series' blob; None when there is none or the series has grown. *point*"""
        ...

    def series_revision(self, study: str, series: str) -> int | None:
        """A number that rises whenever the series or a file of it changes; None: not held."""
        ...

    def put_series_metadata(
        self, study: str, series: str, blob: SeriesMetadata, revision: int
    ) -> None:
        """Keep a blob, unless the series has changed since it had that revision."""
        ...

    def quiet_series(self, before: float, limit: int = 100) -> list[tuple[str, str]]:
        """(study, series) whose last instance came before that instant, and that are not
        `settled` yet or have no blob."""
        ...

    def settled(self, study: str, series: str, revision: int, at: float) -> bool:
        """Say once that a series is complete for now, by a `series-settled` event.

        False: that was said, or the series has changed since it had that revision.
        """
        ...

    def settle_all(self) -> None:
        """Say of no series that is there now that it has settled: they are not news."""
        ...

    def trim_events(self, keep: int) -> None:
        """Drop all events but about the newest `keep`, and what a feed has yet to see."""
        ...

    # -- quarantine -----------------------------------------------------------------------
    def quarantine(
        self,
        key: str,
        reason: str,
        sop_instance_uid: str,
        origin: Origin,
        size_bytes: int,
        received_at: float,
    ) -> int:
        """Remember a quarantined file; returns its id."""
        ...

    def quarantined(self, limit: int = 1000) -> list[Quarantined]:
        """Newest first."""
        ...

    def quarantined_by_id(self, id: int) -> Quarantined | None:
        """One of them; None when there is none of that id."""
        ...

    def forget_quarantined(self, id: int) -> None:
        """Drop the row (the file is the caller's)."""
        ...

    # -- people and programs -----------------------------------------------------------------
    def user(self, name: str) -> User | None: ...
    def users(self) -> list[User]: ...
    def put_user(self, user: User) -> None: ...
    def forget_user(self, name: str) -> None: ...
    def credential(self, digest: bytes) -> Credential | None:
        """*point*"""
        ...

    def credentials(self, kind: str) -> list[Credential]: ...
    def put_credential(self, credential: Credential) -> None: ...
    def renew_credential(self, digest: bytes, expires_at: float) -> None:
        """Put off its end; nothing when it has been forgotten meanwhile."""
        ...

    def forget_credential(self, digest: bytes) -> None: ...
    def forget_credentials_of(self, name: str, kind: str) -> None: ...

    # -- the whole -----------------------------------------------------------------------------
    def statistics(self) -> Statistics: ...
    def keys(self) -> Iterator[str]:
        """Every blob key the index knows, for scrub and the start-up sweep."""
        ...

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Which of these blob keys have a row."""
        ...

    def settled_keys(self, keys: Sequence[str]) -> set[str]:
        """The same, once every transaction under way has ended.

        Whoever removes the others must ask this. Unavailable while the index cannot say.
        Never called by what a transaction waits for.
        """
        ...

    def clear(self) -> None:
        """Forget all studies (reindex); accounts and quarantine stay."""
        ...

    # -- what other nodes tell -------------------------------------------------------------
    @property
    def in_touch(self) -> bool:
        """Whether all that other processes tell now is heard by those who listen here."""
        ...

    def listen(self, callback: Callable[[str, str], None]) -> None:
        """Call it with topic (news.News) and payload of all that is told, by us too.

        On a thread of the index, soon after the change; short callbacks, please.
        """
        ...

    def ping(self) -> None:
        """Raise Unavailable unless the index answers."""
        ...

    def close(self) -> None: ...


class Staged(Protocol):
    """A blob on its way in: bytes in a temporary place that no reader can see."""

    size: int

    def write(self, data: memoryview | bytes) -> None:
        """Append; raises Unavailable when there is no room."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Read back what was written."""
        ...

    def begin_write_back(self) -> None:
        """Let the disk begin on what was written; does not wait, never raises."""
        ...

    def view(self) -> bytes | mmap.mmap:
        """All that was written as one buffer, not read into memory."""
        ...

    def discard(self) -> None:
        """Forget it; never raises."""
        ...


class Blob(Protocol):
    """A blob open for reading.

    fd: a file of `size` bytes on this machine. Where not `is_here`, it holds only what
    `fetch` was called for; -1 where there is no such file, and only `read` gives anything.
    """

    fd: int
    size: int
    written_at: float  # seconds since the epoch; 0.0 when that would have to be asked for
    is_here: bool

    def fetch(self, offset: int, length: int) -> None:
        """Have these bytes in the file. Blocks; NotHeld, Unavailable or Away."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """At most these bytes, fewer only at the end. Blocks where not `is_here`."""
        ...

    def close(self) -> None:
        """Give it back; harmless a second time."""
        ...


class Blobs(Protocol):
    """The bytes. Written once, read by range, never altered.

    is_here: reading does not wait for a network.
    """

    is_here: bool

    def stage(self) -> Staged:
        """Begin a blob; raises Unavailable below the free-space mark."""
        ...

    def prepare(self) -> None:
        """Do ahead what the next stages will need; called when nothing else waits."""
        ...

    def seal(self, staged: Sequence[tuple[Staged, str]]) -> list[Exception | None]:
        """Make blobs durable under their keys, all or each: file and folder synced.

        Per item None, FileExistsError (the key is taken: nothing changed) or Unavailable.
        A failed fsync is never retried (core.md 1).
        """
        ...

    def quarantine(self, staged: Staged) -> str:
        """Move it out of the way, synced; returns the quarantine key."""
        ...

    def quarantine_sealed(self, key: str) -> str:
        """Move a sealed blob out of the way, synced; returns the quarantine key."""
        ...

    def open_quarantined(self, key: str) -> Blob:
        """A quarantined file, to be read; NotHeld if gone."""
        ...

    def remove_quarantined(self, key: str) -> None:
        """Delete a quarantined file."""
        ...

    def quarantine_keys(self) -> Iterator[str]:
        """Every quarantined file."""
        ...

    def key_for(
        self, received_at: float, study: str, series: str, instance: str, variant: str = ""
    ) -> str:
        """The key for an instance received at that instant; Refused for a bad UID."""
        ...

    def is_ours(self, key: str) -> bool:
        """Whether this node made that key; else another one may be about to add its row."""
        ...

    def open(self, key: str, *, size: int | None = None, anew: bool = False) -> Blob:
        """A blob to be read; NotHeld if gone, which a remote one may say at the first read.

        size: what it should have; a remote store is not asked then. anew: read what is
        stored, not what is kept of it here.
        """
        ...

    def read(self, key: str, offset: int, length: int, *, size: int | None = None) -> bytes:
        """Exactly these bytes; NotHeld if gone, Unavailable if short. size: as in `open`."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is a blob under this key."""
        ...

    def remove(self, key: str) -> None:
        """Delete a blob; nothing happens when it is gone already."""
        ...

    def keys(self) -> Iterator[str]:
        """Every blob held, in a stable order."""
        ...

    def keys_since(self, day: str) -> Iterator[str]:
        """Every blob that came on `day` (YYYY/MM/DD) or later."""
        ...

    def sweep(self) -> int:
        """Remove what a crash left half-written on this machine; how many. Before serving."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...

    def modified_ns(self, key: str) -> int:
        """When a blob was written, nanoseconds since the epoch; 0 when it is gone."""
        ...

    def free_bytes(self) -> int:
        """Room left for us."""
        ...
