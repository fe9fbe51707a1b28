"""Instances that are stored smaller than they came, over an Engine; in short transactions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from filmroom.archive.news import News
from filmroom.archive.records import Handle, Location, NewInstance, Received
from filmroom.archive.shrinking import LATER_SECONDS, Candidate, Savings, Spare
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
            put_received(tx, self._sql, uid, received, location)
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
    def claim_spares(self) -> list[Spare]:
        while True:
            claimed, spares = self._transact(self._claim)
            if spares or not claimed:
                return list(spares)

    def _claim(self, tx: Transaction) -> tuple[int, list[Spare]]:
        """(how many were looked at, those that may go)."""
        rows = tx.rows(self._sql["claim_spares"], {"limit": CLAIMED_AT_ONCE})
        if not rows:
            return 0, []
        claimed = {row[0]: _uid_of(row[0]) for row in rows}
        wanted = {"uids": self._listed(sorted(set(claimed.values())))}
        held: dict[str, tuple[str, int, bool]] = {}
        for *row, size_bytes, is_damaged in tx.rows(self._sql["held_keys"], wanted):
            held[row[-1]] = packing.unpack_key(*row), int(size_bytes), bool(is_damaged)
        spares = []
        for key, uid in claimed.items():
            held_key, held_bytes, is_damaged = held.get(uid, ("", 0, True))
            if held_key == key:
                tx.rows(self._sql["forget_spare"], {"key": key})
            elif is_damaged:
                tx.rows(self._sql["put_spare"], {"key": key, "seconds": LATER_SECONDS})
            else:
                spares.append(Spare(key, held_key, held_bytes))
        return len(claimed), spares

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
    location: Location,
) -> None:
    """What an instance came as, or that it is as it came. Its file is not to go."""
    tx.rows(statements["forget_spare"], {"key": location.key})
    tx.rows(statements["forget_left_alone"], {"uid": uid})
    if received is None:
        tx.rows(statements["forget_received"], {"uid": uid})
    else:
        tx.rows(statements["put_received"], _row(uid, received, location))


def later_read_back(
    tx: Transaction, statements: Mapping[str, str], fresh: Sequence[NewInstance]
) -> None:
    """The same of new instances, as far as they are read back from files; others have none."""
    keys = sorted(new.location.key for new in fresh if new.origin.kind == "reindex")
    if keys:
        tx.later(statements["forget_spare"], [{"key": key} for key in keys])
    received = [
        _row(new.instance.uid, new.received, new.location)
        for new in fresh
        if new.received is not None
    ]
    if received:
        tx.later(statements["put_received"], received)


def _row(uid: str, received: Received, location: Location) -> dict[str, Any]:
    stored = {"stored_bytes": location.size_bytes, "stored_digest": location.digest}
    return {**asdict(received), **stored, "uid": uid}


def _uid_of(key: str) -> str:
    """The SOP Instance UID that a key names."""
    found = UIDS_IN_KEY.match(key.rsplit("/", 1)[-1])
    return found[0] if found else ""


def _candidate(row: Row) -> Candidate:
    id_, study, series, uid, sop_class_uid, key, *where, damage, modality, left, received_us = row
    location = Location(packing.unpack_key(key, study, series, uid), *where)
    handle = Handle(study, series, uid, sop_class_uid, location, b"", damage)
    return Candidate(id_, handle, modality, received_us / 1e6, left)
