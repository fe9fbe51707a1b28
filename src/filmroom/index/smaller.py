"""Instances that are stored smaller than they came, over an Engine; in short transactions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from filmroom.archive.news import News
from filmroom.archive.records import Handle, Location, NewInstance, Received
from filmroom.archive.shrinking import Candidate, Savings
from filmroom.index import packing
from filmroom.index.engine import Engine, Row, Transaction

CLAIMED_AT_ONCE = 100
UIDS_IN_KEY = re.compile(r"[0-9][0-9.]*[0-9]|[0-9]")
_COLUMNS = "tttttttttbttttt"


class SqlSmaller:
    """`archive.shrinking.Smaller`."""

    def __init__(
        self, engine: Engine, transact: Callable[[Callable[[Transaction], Any]], Any]
    ) -> None:
        """transact: runs a transaction, again if it met another one."""
        self._engine = engine
        self._sql = engine.statements
        self._listed = engine.dialect.listed
        self._transact = transact

    # -- which --------------------------------------------------------------------------------
    def after_id(self, rule: str) -> int:
        rows = self._engine.rows(self._sql["after_id_of_rule"], {"rule": rule})
        return int(rows[0][0]) if rows else 0

    def put_after_id(self, rule: str, after_id: int) -> None:
        row = {"rule": rule, "after_id": after_id}
        self._transact(lambda tx: tx.rows(self._sql["put_after_id_of_rule"], row))

    def candidates(self, after_id: int, limit: int) -> list[Candidate]:
        wanted = {"after_id": after_id, "limit": limit}
        rows = self._engine.bulk(self._sql["may_be_smaller"], wanted, _COLUMNS)
        return [_candidate(row) for row in rows]

    def candidates_in(self, study: str, after_id: int, limit: int) -> list[Candidate]:
        wanted = {"study": study, "after_id": after_id, "limit": limit}
        rows = self._engine.bulk(self._sql["study_of_instances"], wanted, _COLUMNS)
        return [_candidate(row) for row in rows]

    # -- one for the other ----------------------------------------------------------------------
    def intend(self, key: str, seconds: float) -> None:
        row = {"key": key, "seconds": float(seconds)}
        self._transact(lambda tx: tx.rows(self._sql["put_spare"], row))

    def swap(
        self,
        old: Handle,
        location: Location,
        frames: bytes,
        received: Received | None,
        seconds: float,
    ) -> bool:
        uid, study_uid, series_uid = (
            old.sop_instance_uid,
            old.study_instance_uid,
            old.series_instance_uid,
        )
        packed = packing.pack_key(location.key, study_uid, series_uid, uid)

        def run(tx: Transaction) -> bool:
            rows = tx.rows(self._sql["instance_to_replace"], {"uid": uid})
            if not rows:
                return False
            series, size_bytes, old_key, study, *_ = rows[0]
            if packing.unpack_key(old_key, study_uid, series_uid, uid) != old.location.key:
                return False
            new = {**asdict(location), "key": packed, "frames": frames}
            found = {**new, "uid": uid, "old_digest": old.location.digest}
            if not tx.rows(self._sql["swap_instance"], found):
                return False
            if not tx.rows(self._sql["take_spare"], {"key": location.key}):
                raise _Gone
            growth = location.size_bytes - size_bytes
            tx.rows(self._sql["study_shrinks"], {"id": study, "growth": growth})
            tx.rows(self._sql["series_shrinks"], {"id": series, "growth": growth})
            put_received(tx, self._sql, uid, received, location.size_bytes)
            spare = {"key": old.location.key, "seconds": float(seconds)}
            tx.rows(self._sql["put_spare"], spare)
            tx.notify(News.REPLACED, uid)
            return True

        try:
            return bool(self._transact(run))
        except _Gone:
            return False

    def leave_alone(self, handle: Handle, reason: str) -> None:
        row = {"uid": handle.sop_instance_uid, "digest": handle.location.digest, "reason": reason}
        self._transact(lambda tx: tx.rows(self._sql["put_left_alone"], row))

    # -- files that are not wanted any more -------------------------------------------------------
    def claim_spares(self) -> list[str]:
        def run(tx: Transaction) -> list[str]:
            claimed = tx.rows(self._sql["claim_spares"], {"limit": CLAIMED_AT_ONCE})
            keys = [row[0] for row in claimed]
            uids = sorted({uid for key in keys for uid in UIDS_IN_KEY.findall(key)})
            pointed = tx.rows(self._sql["keys_of"], {"uids": self._listed(uids)}) if uids else []
            in_use = {packing.unpack_key(*row) for row in pointed}
            for key in in_use.intersection(keys):
                tx.rows(self._sql["forget_spare"], {"key": key})
            return [key for key in keys if key not in in_use]

        found: list[str] = self._transact(run)
        return found

    def forget_spare(self, key: str) -> None:
        self._transact(lambda tx: tx.rows(self._sql["forget_spare"], {"key": key}))

    def spares_among(self, keys: Sequence[str]) -> set[str]:
        """Which of these keys are those of spare files."""
        wanted = {"uids": self._listed(list(keys))}
        return {row[0] for row in self._engine.rows(self._sql["spares_among"], wanted)}

    # -- what came of it --------------------------------------------------------------------------
    def savings(self) -> Savings:
        (instances, before, after) = self._engine.rows(self._sql["savings"])[0]
        left = self._engine.rows(self._sql["count_left_alone"])
        (spare,) = self._engine.rows(self._sql["count_spares"])[0]
        return Savings(
            int(instances), int(before), int(after), {r: int(n) for r, n in left}, int(spare)
        )


class _Gone(Exception):
    """The new file was given up meanwhile: nothing of this is to stay."""


def put_received(
    tx: Transaction,
    statements: Mapping[str, str],
    uid: str,
    received: Received | None,
    stored_bytes: int,
) -> None:
    """What an instance came as, or that it is as it came."""
    tx.rows(statements["forget_left_alone"], {"uid": uid})
    if received is None:
        tx.rows(statements["forget_received"], {"uid": uid})
    else:
        tx.rows(statements["put_received"], _row(uid, received, stored_bytes))


def received_row(new: NewInstance) -> dict[str, Any]:
    """The parameters of put_received."""
    assert new.received is not None
    return _row(new.instance.uid, new.received, new.location.size_bytes)


def _row(uid: str, received: Received, stored_bytes: int) -> dict[str, Any]:
    return {**asdict(received), "uid": uid, "stored_bytes": stored_bytes}


def _candidate(row: Row) -> Candidate:
    id_, study, series, uid, sop_class_uid, key, *where, damage, modality, left, received_us = row
    location = Location(packing.unpack_key(key, study, series, uid), *where)
    handle = Handle(study, series, uid, sop_class_uid, location, b"", damage)
    return Candidate(id_, handle, modality, received_us / 1e6, left)
