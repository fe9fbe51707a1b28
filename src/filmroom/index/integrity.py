"""What is known of the state of the files: marks of damage, and how far a scrub has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from filmroom.archive.news import News
from filmroom.archive.records import Damage, Damaged, Filed, Handle, Location, Selection
from filmroom.index import packing
from filmroom.index.engine import Engine, Transaction
from filmroom.index.finding import Planner


class SqlIntegrity:
    """`archive.stores.Integrity` over an Engine; every change is one short transaction."""

    def __init__(
        self,
        engine: Engine,
        planner: Planner,
        transact: Callable[[Callable[[Transaction], Any]], Any],
    ) -> None:
        """transact: runs a transaction, again if it met another one."""
        self._engine = engine
        self._planner = planner
        self._sql = engine.statements
        self._transact = transact

    # -- marks --------------------------------------------------------------------------------
    def mark(self, handle: Handle, reason: Damage, found_at: float) -> bool:
        uid, location = handle.sop_instance_uid, handle.location
        series, study = handle.series_instance_uid, handle.study_instance_uid

        def run(tx: Transaction) -> bool:
            row = {
                "uid": uid,
                "key": packing.pack_key(location.key, study, series, uid),
                "digest": location.digest,
                "size_bytes": location.size_bytes,
                "data_set_offset": location.data_set_offset,
                "reason": reason.value,
                "found_at": found_at,
            }
            marked = tx.rows(self._sql["mark_damaged"], row)
            if marked:
                self._changed(tx, uid)
                tx.notify(News.MARKED, uid)
            return bool(marked)

        return bool(self._transact(run))

    def unmark(self, sop_instance_uid: str) -> bool:
        def run(tx: Transaction) -> bool:
            gone = tx.rows(self._sql["unmark_damaged"], {"uid": sop_instance_uid})
            if gone:
                self._changed(tx, sop_instance_uid)
                tx.notify(News.RESTORED, sop_instance_uid)
            return bool(gone)

        return bool(self._transact(run))

    def _changed(self, tx: Transaction, uid: str) -> None:
        """The series' metadata are not what they were."""
        for (series,) in tx.rows(self._sql["series_has_changed"], {"uid": uid}):
            tx.rows(self._sql["drop_metadata"], {"series": series})

    def marked(self, after_id: int = 0, limit: int = 1000) -> list[Damaged]:
        rows = self._engine.rows(self._sql["marked"], {"after_id": after_id, "limit": limit})
        return [
            Damaged(
                id_, study, series, uid, packing.unpack_key(key, study, series, uid), reason, at
            )
            for id_, study, series, uid, key, reason, at in rows
        ]

    def marked_in(self, selection: Selection) -> list[str]:
        selected = self._planner.selected(selection)
        if selected is None:
            return []
        sql = self._sql["selected_marks"].replace("{selected}", selected.sql)
        return [row[0] for row in self._engine.rows(sql, selected.parameters)]

    def settle(self) -> list[str]:
        def run(tx: Transaction) -> list[str]:
            lost = [row[0] for row in tx.rows(self._sql["marks_to_drop"])]
            tx.rows(self._sql["drop_sound_marks"])
            tx.rows(self._sql["restore_digests"])
            tx.rows(self._sql["restore_stored_digests"])
            return lost

        found: list[str] = self._transact(run)
        return found

    # -- the pass -----------------------------------------------------------------------------
    def filed(self, after_id: int, last_id: int, limit: int) -> list[Filed]:
        wanted = {"after_id": after_id, "last_id": last_id, "limit": limit}
        rows = self._engine.bulk(self._sql["filed"], wanted, "tttttttttbttt")
        return [
            Filed(
                id_,
                Handle(
                    study,
                    series,
                    uid,
                    sop_class_uid,
                    Location(packing.unpack_key(key, study, series, uid), *where),
                    b"",
                    damage,
                ),
                received_us / 1e6,
            )
            for id_, study, series, uid, sop_class_uid, key, *where, damage, received_us in rows
        ]

    def last_id(self) -> int:
        return int(self._engine.rows(self._sql["last_filed"])[0][0])

    def scrub_state(self) -> str | None:
        rows = self._engine.rows(self._sql["scrub_state"])
        return str(rows[0][0]) if rows else None

    def put_scrub_state(self, state: str) -> None:
        self._transact(lambda tx: tx.rows(self._sql["put_scrub_state"], {"state": state}))
