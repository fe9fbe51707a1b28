"""The archive's Index: rows in, rows out. One behaviour on two thin engines.

Static statements are named in sql/queries.sql; matching is composed by `finding` and
`where`; storing is `adding`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import orjson

from filmroom.archive.errors import NotHeld, Unavailable
from filmroom.archive.jobs import Event
from filmroom.archive.news import News
from filmroom.archive.records import (
    Credential,
    Found,
    Handle,
    Held,
    InstanceKind,
    Location,
    NewInstance,
    Origin,
    Quarantined,
    Query,
    Selection,
    SeriesMetadata,
    Statistics,
    User,
)
from filmroom.dicom.models import Level
from filmroom.index import packing, values
from filmroom.index.adding import Adding, Memory, instance_row, origin_json, replaced, settled
from filmroom.index.engine import Engine, Place, Row, Transaction, TryAgain
from filmroom.index.finding import Planner, key_blocks
from filmroom.index.gathering import Gathering
from filmroom.index.integrity import SqlIntegrity
from filmroom.index.jobs import SqlCluster, SqlPeers, SqlQueue
from filmroom.index.migrate import migrate
from filmroom.index.selecting import Selecting
from filmroom.index.smaller import UIDS_IN_KEY, SqlSmaller, put_received
from filmroom.index.telling import Callback
from filmroom.index.where import TRUE

ATTEMPTS = 8  # of a transaction that meets others
MOST_EVENTS = 5_000_000  # kept for a feed that does not fetch them
_FEW = 8  # rows that are fetched one by one sooner than gathered
_BLOCK = 10_000  # ids fetched at once when many answers are wanted
_FIRST = 32  # answers of a search that are fetched before all others
_KEYS_BLOCK = 2_000
T = TypeVar("T")


def open_index(place: Place | str) -> SqlIndex:
    """The index at that place, or at its URL, with its schema up to date.

    Raises Unavailable, Refused (migrate.SchemaTooNew), or ValueError for another kind of URL.
    """
    engine = open_engine(place if isinstance(place, Place) else Place(place))
    try:
        migrate(engine)
        engine.settle_in()
    except BaseException:
        engine.close()
        raise
    return SqlIndex(engine)


def open_engine(place: Place) -> Engine:
    """The database alone, its schema as it is. Raises Unavailable, ValueError."""
    parts = urlsplit(place.url)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/"):
        from filmroom.index.sqlite import Sqlite

        return Sqlite(Path(unquote(parts.path)))
    if parts.scheme in ("postgresql", "postgres"):
        from filmroom.index.postgres import Postgres

        return Postgres(place)
    raise ValueError("the index is sqlite:///absolute/path or postgresql://…")


class SqlIndex:
    """`archive.stores.Index` over an Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sql = engine.statements
        self._listed = engine.dialect.listed
        self._planner = Planner(engine)
        self._gathering = Gathering(engine)
        self._selecting = Selecting(engine, self._planner)
        self._memory = Memory()
        self._adding = threading.Lock()  # guards the memory
        self.embedded = engine.embedded
        self.smaller = SqlSmaller(engine, self._transact)
        self.integrity = SqlIntegrity(engine, self._planner, self._transact)
        self.jobs = SqlQueue(engine, self._transact)
        self.cluster = SqlCluster(engine, self._transact)
        self.peers = SqlPeers(engine, self._transact)

    # -- storing --------------------------------------------------------------------------
    def held(self, sop_instance_uids: Sequence[str]) -> dict[str, Held]:
        uids = self._listed(list(sop_instance_uids))
        if len(sop_instance_uids) <= _FEW:
            rows = self._engine.rows(self._sql["held"], {"uids": uids})
        else:
            rows = self._engine.bulk(self._sql["held"], {"uids": uids}, "tttbtttbt")
        found = {}
        for uid, study, series, digest, syntax, key, is_damaged, *received in rows:
            key = packing.unpack_key(key, study, series, uid)
            held = Held(uid, study, series, digest, syntax, key, bool(is_damaged), *received)
            found[uid] = held
        return found

    def add(self, batch: Sequence[NewInstance]) -> list[bool]:
        def run(tx: Transaction) -> tuple[Adding, list[bool]]:
            adding = Adding(self._engine, tx, self._memory)
            return adding, adding.run(batch)

        with self._adding:
            adding, added = self._transact(run, self._memory.clear)
            self._memory.publish(adding.learnt)
        return added

    def replace(self, instance: NewInstance) -> str:
        """Raises NotHeld when there is no such SOP Instance UID."""

        def run(tx: Transaction) -> str:
            uid = instance.instance.uid
            rows = tx.rows(self._sql["instance_to_replace"], {"uid": uid})
            if not rows:
                raise NotHeld("no such instance")
            series, size, old_key, study, series_uid, study_uid = rows[0]
            row = instance_row(instance, series)
            row["key"] = packing.pack_key(instance.location.key, study_uid, series_uid, uid)
            growth = {
                "instances": 0,
                "series": 0,
                "size_bytes": instance.location.size_bytes - size,
                "received_at": instance.received_at,
            }
            tx.rows(self._sql["count_study"], {**growth, "id": study})
            tx.rows(self._sql["count_series"], {**growth, "id": series})
            tx.rows(self._sql["replace_instance"], row)
            tx.rows(self._sql["unmark_damaged"], {"uid": uid})
            put_received(tx, self._sql, uid, instance.received, instance.location)
            tx.rows(self._sql["drop_metadata"], {"series": series})
            tx.rows(self._sql["mark_metadata"], {"series": series, "has_metadata": 0})
            sop_class = {"study": study, "sop_class_uid": row["sop_class_uid"]}
            tx.rows(self._sql["add_study_sop_class"], sop_class)
            if "events_begin" in self._sql:
                tx.rows(self._sql["events_begin"])
            tx.rows(self._sql["add_event"], replaced(instance))
            tx.notify(News.REPLACED, uid)
            return packing.unpack_key(old_key, study_uid, series_uid, uid)

        with self._adding:
            self._memory.clear()
            return str(self._transact(run, self._memory.clear))

    def _transact(
        self, run: Callable[[Transaction], T], again: Callable[[], None] = lambda: None
    ) -> T:
        """Run a transaction; if it met another one, call `again` and run it again."""
        for _ in range(ATTEMPTS):
            try:
                with self._engine.write() as tx:
                    return run(tx)
            except TryAgain:
                again()
        raise Unavailable("the index is too busy")

    # -- finding ------------------------------------------------------------------------------
    def search(self, query: Query) -> list[Found]:
        size = _BLOCK if query.limit is None else query.limit
        plan = self._planner.plan(query)
        blocks = key_blocks(self._engine, plan, query, size, _BLOCK)
        found = self._gathering.found
        return [one for block in blocks for one in found(query.level, [row[0] for row in block])]

    def search_iter(self, query: Query, chunk: int = 256) -> Iterator[list[Found]]:
        plan = self._planner.plan(query)
        size = min(chunk, _FIRST)
        for block in key_blocks(self._engine, plan, query, chunk, _BLOCK):
            at = 0
            while at < len(block):
                ids = [row[0] for row in block[at : at + size]]
                yield self._gathering.found(query.level, ids)
                at, size = at + size, chunk

    def count(self, query: Query) -> int:
        if query.level is Level.IMAGE and not query.matches:
            return self.statistics().instances
        plan = self._planner.plan(query)
        if query.level is Level.STUDY and plan.clause is TRUE:
            return int(self._engine.rows(self._sql["study_total"])[0][0])
        count = plan.count()
        return int(self._engine.rows(count.sql, count.parameters)[0][0])

    # -- retrieving -------------------------------------------------------------------------
    def instance(
        self, sop_instance_uid: str, study: str | None = None, series: str | None = None
    ) -> Handle | None:
        rows = self._rows("instance", uid=sop_instance_uid)
        if not rows or study not in (None, rows[0][0]) or series not in (None, rows[0][1]):
            return None
        return _handle(rows[0])

    def instances(self, selection: Selection) -> list[Handle]:
        selected = self._planner.selected(selection)
        if selected is None:
            return []
        sql = self._sql["instances"].replace("{selected}", selected.sql)
        rows = self._engine.bulk(sql, selected.parameters, "ttttttttbtbt")
        return [_handle(row) for row in rows]

    def instances_iter(self, selection: Selection) -> Iterator[list[Handle]]:
        for rows in self._selecting.pages(selection):
            yield [_handle(row) for row in rows]

    def kinds(self, selection: Selection) -> list[InstanceKind]:
        return self._selecting.kinds(selection)

    def series_metadata(self, study: str, series: str) -> SeriesMetadata | None:
        rows = self._rows("series_metadata", study=study, series=series)
        return SeriesMetadata(bytes(rows[0][0]), rows[0][1], rows[0][2]) if rows else None

    def series_revision(self, study: str, series: str) -> int | None:
        rows = self._rows("series_revision", study=study, series=series)
        return int(rows[0][0]) if rows else None

    def put_series_metadata(
        self, study: str, series: str, blob: SeriesMetadata, revision: int
    ) -> None:
        def run(tx: Transaction) -> None:
            uids = {"study": study, "series": series}
            rows = tx.rows(self._sql["series_to_settle"], uids)
            if rows and rows[0][1:] == (blob.instances, revision):
                id_ = rows[0][0]
                tx.rows(self._sql["put_metadata"], {"series": id_, **asdict(blob)})
                tx.rows(self._sql["mark_metadata"], {"series": id_, "has_metadata": 1})

        self._transact(run)

    def quiet_series(self, before: float, limit: int = 100) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._rows("quiet_series", before=before, limit=limit)]

    def settled(self, study: str, series: str, revision: int, at: float) -> bool:
        def run(tx: Transaction) -> bool:
            known = {"series": series, "revision": revision}
            told = tx.rows(self._sql["tell_settled"], known)
            for (instances,) in told:
                if "events_begin" in self._sql:
                    tx.rows(self._sql["events_begin"])
                tx.rows(self._sql["add_event"], settled(study, series, int(instances), at))
            return bool(told)

        return bool(self._transact(run))

    def settle_all(self) -> None:
        self._transact(lambda tx: tx.script(self._sql["settle_all"]))

    # -- events -----------------------------------------------------------------------------
    def events(self, after_id: int = 0, limit: int = 1000) -> list[Event]:
        """What happened since, oldest first. No event ever appears behind one given before."""
        wanted = {"after_id": after_id, "limit": limit}
        if "events_settle" not in self._sql:
            return [Event(*row) for row in self._rows("events", **wanted)]

        def run(tx: Transaction) -> list[Row]:
            # Ids are drawn before commit: wait for those who have drawn one.
            tx.rows(self._sql["events_settle"])
            return tx.rows(self._sql["events"], wanted)

        return [Event(*row) for row in self._transact(run)]

    def forget_events(self, up_to_id: int) -> None:
        """Drop events that everybody has seen."""
        self._write("forget_events", up_to_id=up_to_id)

    def trim_events(self, keep: int) -> None:
        """Drop all but about the newest `keep`."""
        self._write("trim_events", keep=keep, most=MOST_EVENTS)

    # -- quarantine --------------------------------------------------------------------------
    def quarantine(
        self,
        key: str,
        reason: str,
        sop_instance_uid: str,
        origin: Origin,
        size_bytes: int,
        received_at: float,
    ) -> int:
        rows = self._write(
            "add_quarantined",
            key=key,
            reason=values.clean(reason),
            sop_instance_uid=values.clean(sop_instance_uid),
            origin=origin_json(origin),
            size_bytes=size_bytes,
            received_at=received_at,
        )
        return int(rows[0][0])

    def quarantined(self, limit: int = 1000) -> list[Quarantined]:
        return [_quarantined(row) for row in self._rows("quarantined", limit=limit)]

    def quarantined_by_id(self, id: int) -> Quarantined | None:
        return next(map(_quarantined, self._rows("quarantined_by_id", id=id)), None)

    def forget_quarantined(self, id: int) -> None:
        self._write("forget_quarantined", id=id)

    # -- people and programs -----------------------------------------------------------------
    def user(self, name: str) -> User | None:
        return next((_user(row) for row in self._rows("user", name=name)), None)

    def users(self) -> list[User]:
        return [_user(row) for row in self._rows("users")]

    def put_user(self, user: User) -> None:
        row = {**asdict(user), "disabled": int(user.disabled)}
        self._write_told(News.ACCOUNTS, "put_user", **row)

    def forget_user(self, name: str) -> None:
        self._write_told(News.ACCOUNTS, "forget_user", name=name)

    def credential(self, digest: bytes) -> Credential | None:
        rows = self._rows("credential", digest=digest)
        return Credential(*rows[0]) if rows else None

    def credentials(self, kind: str) -> list[Credential]:
        return [Credential(*row) for row in self._rows("credentials", kind=kind)]

    def put_credential(self, credential: Credential) -> None:
        self._write("put_credential", **asdict(credential))

    def renew_credential(self, digest: bytes, expires_at: float) -> None:
        self._write("renew_credential", digest=digest, expires_at=expires_at)

    def forget_credential(self, digest: bytes) -> None:
        self._write_told(News.CREDENTIALS, "forget_credential", digest=digest)

    def forget_credentials_of(self, name: str, kind: str) -> None:
        self._write_told(News.CREDENTIALS, "forget_credentials_of", name=name, kind=kind)

    # -- the whole ----------------------------------------------------------------------------
    def statistics(self) -> Statistics:
        return Statistics(*map(int, self._rows("statistics")[0]))

    def keys(self) -> Iterator[str]:
        after_id = 0
        while rows := self._keys_after(after_id):
            yield from (packing.unpack_key(*row[1:]) for row in rows)
            after_id = rows[-1][0]

    def _keys_after(self, id_: int) -> list[Row]:
        limits = {"after_id": id_, "limit": _KEYS_BLOCK}
        return self._engine.bulk(self._sql["keys"], limits, "ttttt")

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """A key names its instance (core.md 1.4), so rows are found by the UIDs in keys."""
        rows = self._engine.bulk(self._sql["keys_of"], self._named_in(keys), "tttt")
        known = {packing.unpack_key(*row) for row in rows}.intersection(keys)
        return known | self.smaller.spares_among(keys)

    def settled_keys(self, keys: Sequence[str]) -> set[str]:
        """A server may still be busy with a COMMIT that we gave up: we wait for its lock."""

        def run(tx: Transaction) -> list[Row]:
            if "events_settle" in self._sql:
                tx.rows(self._sql["patience"])
                tx.rows(self._sql["events_settle"])
            return tx.rows(self._sql["keys_of"], self._named_in(keys))

        rows = self._transact(run)
        known = {packing.unpack_key(*row) for row in rows}.intersection(keys)
        return known | self.smaller.spares_among(keys)

    def _named_in(self, keys: Sequence[str]) -> dict[str, Any]:
        named = {uid for key in keys for uid in UIDS_IN_KEY.findall(key)}
        return {"uids": self._listed(sorted(named))}

    def clear(self) -> None:
        with self._adding:
            self._memory.clear()
            self._transact(lambda tx: tx.script(self._sql["clear"]))

    @property
    def in_touch(self) -> bool:
        return self._engine.in_touch

    def listen(self, callback: Callback) -> None:
        self._engine.listen(callback)

    def ping(self) -> None:
        self._rows("ping")

    def close(self) -> None:
        self._engine.close()

    def _rows(self, statement: str, **parameters: Any) -> list[Row]:
        return self._engine.rows(self._sql[statement], parameters)

    def _write(self, statement: str, **parameters: Any) -> list[Row]:
        return self._transact(lambda tx: tx.rows(self._sql[statement], parameters))

    def _write_told(self, news: News, statement: str, **parameters: Any) -> None:
        """No node shall go on believing what it remembers."""

        def run(tx: Transaction) -> None:
            tx.rows(self._sql[statement], parameters)
            tx.notify(news)

        self._transact(run)


def _handle(row: Row) -> Handle:
    study, series, instance, sop_class_uid, key, *where, frames, damage = row
    key = packing.unpack_key(key, study, series, instance)
    return Handle(study, series, instance, sop_class_uid, Location(key, *where), frames, damage)


def _quarantined(row: Row) -> Quarantined:
    id_, key, reason, uid, origin, size_bytes, received_at = row
    origin = Origin(**orjson.loads(origin))
    return Quarantined(id_, key, reason, uid, origin, size_bytes, received_at)


def _user(row: Row) -> User:
    return User(row[0], row[1], row[2], bool(row[3]))
