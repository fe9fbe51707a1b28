"""What nodes share over an Engine: the queue, leases, nodes, peers; in short transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import orjson

from filmroom.archive.jobs import MOST_ATTEMPTS, Event, Job, Lane, NewJob, NodeSeen, State
from filmroom.archive.news import News
from filmroom.archive.records import Peer
from filmroom.index import values
from filmroom.index.engine import Engine, Row, Transaction

MOST_LEASES_LOST = 10  # a job that takes its node down with it ends here
FED_AT_ONCE = 1000
TOUCHED_SECONDS = 600.0  # how often a feed without news says that somebody wants it
LOST_SECONDS = 86_400.0  # after which a node that was never heard of again is forgotten
LONGEST_REASON = 1000
JOB_COLUMNS = tuple(field.name for field in fields(Job))  # as the statements give them

Transact = Callable[[Callable[[Transaction], Any]], Any]


class SqlQueue:
    """`archive.jobs.Queue`."""

    def __init__(self, engine: Engine, transact: Transact) -> None:
        """transact: runs a transaction, again if it met another one."""
        self._engine = engine
        self._sql = engine.statements
        self._transact = transact

    # -- into it ------------------------------------------------------------------------------
    def put(self, jobs: Sequence[NewJob]) -> list[int]:
        found: list[int] = self._transact(lambda tx: self._put(tx, jobs))
        return found

    def _put(self, tx: Transaction, jobs: Sequence[NewJob]) -> list[int]:
        ids = []
        self._lock(tx)
        for lane in sorted({job.lane for job in jobs}):
            tx.rows(self._sql["put_lane"], {"lane": lane})
        for job in jobs:
            row = {
                "kind": job.kind,
                "subject": job.subject,
                "lane": job.lane,
                "body": orjson.dumps(dict(job.body)).decode(),
                "priority": job.priority,
                "delay": float(job.delay_seconds),
            }
            ids.append(int(tx.rows(self._sql["put_job"], row)[0][0]))
        if jobs:
            tx.notify(News.JOBS)
        return ids

    def feed(
        self, name: str, kinds: Sequence[str], made: Callable[[Sequence[Event]], list[NewJob]]
    ) -> int:
        last = int(self._engine.rows(self._sql["last_event"])[0][0])
        fed = self._engine.rows(self._sql["fed"], {"name": name})
        if fed and fed[0][0] >= last and fed[0][1] < TOUCHED_SECONDS:
            return 0
        settled_at = int(self._transact(self._settled_at))

        def run(tx: Transaction) -> int:
            up_to = settled_at
            fed = tx.rows(self._sql["lock_feed"], {"name": name})  # one feeds at a time
            events: list[Event] = []
            if fed:
                up_to = max(up_to, int(fed[0][0]))
                wanted = {
                    "after_id": fed[0][0],
                    "up_to_id": up_to,
                    "uids": self._engine.dialect.listed(list(kinds)),
                    "limit": FED_AT_ONCE,
                }
                events = [Event(*row) for row in tx.rows(self._sql["events_of"], wanted)]
            if len(events) == FED_AT_ONCE:
                up_to = events[-1].id
            if jobs := made(events) if events else []:
                self._put(tx, jobs)
            tx.rows(self._sql["feed"], {"name": name, "up_to_id": up_to})
            return len(events)

        return int(self._transact(run))

    def _settled_at(self, tx: Transaction) -> int:
        """The last event before which no other will appear. Storing waits only for this."""
        if "events_settle" in self._sql:  # ids are drawn before commit
            tx.rows(self._sql["patience"])
            tx.rows(self._sql["events_settle"])
        return int(tx.rows(self._sql["last_event"])[0][0])

    def forget_feeds(self, seconds: float) -> None:
        self._write("forget_feeds", seconds=float(seconds))

    # -- out of it ------------------------------------------------------------------------------
    def take(self, node: str, kinds: Sequence[str], seconds: float) -> Job | None:
        if not self._engine.rows(self._sql["any_job_to_do"]):
            return None
        uids = self._engine.dialect.listed(list(kinds))

        def run(tx: Transaction) -> Row | None:
            self._reap(tx, "")
            for (lane,) in tx.rows(self._sql["free_lanes"]):
                first = tx.rows(self._sql["first_in_lane"], {"lane": lane, "uids": uids})
                if not first:
                    continue
                tx.rows(self._sql["serve_lane"], {"lane": lane})
                leased = {"id": first[0][0], "node": node, "seconds": float(seconds)}
                return next(iter(tx.rows(self._sql["take_job"], leased)), None)
            return None

        taken: Row | None = self._transact(run)
        return None if taken is None else _job(taken)

    def reap(self, node: str) -> int:
        return len(self._transact(lambda tx: self._reap(tx, node)))

    def _reap(self, tx: Transaction, node: str) -> list[Row]:
        self._lock(tx)
        # A job that runs is on no node named ""; so that means none in particular.
        return tx.rows(self._sql["reap_jobs"], {"node": node, "most": MOST_LEASES_LOST})

    def _lock(self, tx: Transaction) -> None:
        """Against others who put, take or forget; on SQLite there is one who writes."""
        if "lock_jobs" in self._sql:
            tx.rows(self._sql["lock_jobs"])

    def renew(self, job: Job, progress: Mapping[str, Any], seconds: float) -> bool:
        told = {**_held(job), "progress": _json(progress), "seconds": float(seconds)}
        return bool(self._write("renew_job", **told))

    def finish(self, job: Job, progress: Mapping[str, Any]) -> bool:
        def run(tx: Transaction) -> bool:
            tx.rows(self._sql["wake_lane"], {"lane": job.lane})
            return self._end(tx, job, State.DONE, progress, "", 0)

        return bool(self._transact(run))

    def give_up(self, job: Job, progress: Mapping[str, Any], reason: str) -> bool:
        def run(tx: Transaction) -> bool:
            return self._end(tx, job, State.FAILED, progress, reason, 1)

        return bool(self._transact(run))

    def _end(
        self,
        tx: Transaction,
        job: Job,
        state: State,
        progress: Mapping[str, Any],
        reason: str,
        counted: int,
    ) -> bool:
        row = {
            **_held(job),
            "state": state.value,
            "progress": _json(progress),
            "reason": _short(reason),
            "counted": counted,
        }
        return bool(tx.rows(self._sql["end_job"], row))

    def put_back(
        self,
        job: Job,
        progress: Mapping[str, Any],
        reason: str,
        seconds: float,
        *,
        counted: bool,
        lane_rests: Callable[[int], float] | None = None,
    ) -> bool:
        def run(tx: Transaction) -> bool:
            before = tx.rows(self._sql["lane_failures"], {"lane": job.lane})
            failures = int(before[0][0]) if before else 0
            is_well = lane_rests is None or not failures
            row = {
                **_held(job),
                "progress": _json(progress),
                "reason": _short(reason),
                "seconds": float(seconds),
                "counted": int(counted and is_well),
                "most": MOST_ATTEMPTS,
            }
            ours = bool(tx.rows(self._sql["put_back_job"], row))
            if ours and lane_rests is not None:
                rest = {"lane": job.lane, "seconds": float(lane_rests(failures))}
                tx.rows(self._sql["rest_lane"], rest)
            return ours

        return bool(self._transact(run))

    # -- by hand --------------------------------------------------------------------------------
    def cancel(self, id: int, reason: str) -> bool:
        return bool(self._write("cancel_job", id=id, reason=_short(reason)))

    def cancel_all(self, reason: str) -> int:
        return len(self._write("cancel_all_jobs", reason=_short(reason)))

    def retry(self, id: int) -> bool:
        def run(tx: Transaction) -> bool:
            lanes = tx.rows(self._sql["retry_job"], {"id": id})
            for (lane,) in lanes:
                tx.rows(self._sql["put_lane"], {"lane": lane})
                tx.rows(self._sql["wake_lane"], {"lane": lane})
                tx.notify(News.JOBS)
            return bool(lanes)

        return bool(self._transact(run))

    # -- looking ----------------------------------------------------------------------------------
    def job(self, id: int) -> Job | None:
        return next(map(_job, self._engine.rows(self._sql["job"], {"id": id})), None)

    def jobs(
        self, states: Sequence[State] = tuple(State), before_id: int = 0, limit: int = 100
    ) -> list[Job]:
        wanted = {
            "uids": self._engine.dialect.listed([state.value for state in states]),
            "before_id": before_id or (1 << 62),
            "limit": limit,
        }
        return [_job(row) for row in self._engine.rows(self._sql["jobs"], wanted)]

    def counts(self) -> dict[State, int]:
        found = dict.fromkeys(State, 0)
        for state, count in self._engine.rows(self._sql["count_jobs"]):
            found[State(state)] = int(count)
        return found

    def lanes(self) -> list[Lane]:
        return [Lane(*row) for row in self._engine.rows(self._sql["lanes"])]

    def trim(self, seconds: float) -> None:
        def run(tx: Transaction) -> None:
            self._lock(tx)
            tx.rows(self._sql["trim_jobs"], {"seconds": float(seconds)})
            tx.rows(self._sql["trim_lanes"])

        self._transact(run)

    def _write(self, statement: str, **parameters: Any) -> list[Row]:
        found: list[Row] = self._transact(lambda tx: tx.rows(self._sql[statement], parameters))
        return found


class SqlCluster:
    """`archive.jobs.Cluster`."""

    def __init__(self, engine: Engine, transact: Transact) -> None:
        self._engine = engine
        self._sql = engine.statements
        self._transact = transact

    def here(self, node: str, version: str) -> None:
        def run(tx: Transaction) -> None:
            tx.rows(self._sql["node_is_here"], {"name": node, "version": version})
            tx.rows(self._sql["forget_lost_nodes"], {"seconds": LOST_SECONDS})

        self._transact(run)

    def started(self, node: str, version: str) -> None:
        def run(tx: Transaction) -> None:
            tx.rows(self._sql["node_is_here"], {"name": node, "version": version})
            tx.rows(self._sql["node_has_started"], {"name": node})

        self._transact(run)

    def left(self, node: str) -> None:
        self._transact(lambda tx: tx.rows(self._sql["node_has_left"], {"name": node}))

    def nodes(self) -> list[NodeSeen]:
        return [NodeSeen(*row) for row in self._engine.rows(self._sql["nodes"])]

    def hold(self, name: str, holder: str, seconds: float) -> bool:
        row = {"name": name, "holder": holder, "seconds": float(seconds)}
        return bool(self._transact(lambda tx: tx.rows(self._sql["hold_lease"], row)))

    def give_back(self, name: str, holder: str) -> None:
        row = {"name": name, "holder": holder}
        self._transact(lambda tx: tx.rows(self._sql["give_lease_back"], row))


class SqlPeers:
    """`archive.peers.Peers`."""

    def __init__(self, engine: Engine, transact: Transact) -> None:
        self._engine = engine
        self._sql = engine.statements
        self._transact = transact

    def all(self) -> list[Peer]:
        return [
            Peer(ae_title, host, port, frozenset(may.split()), bool(tls), bool(forward))
            for ae_title, host, port, may, tls, forward in self._engine.rows(self._sql["peers"])
        ]

    def put(self, peer: Peer) -> None:
        row = {
            **asdict(peer),
            "may": " ".join(sorted(peer.may)),
            "tls": int(peer.tls),
            "forward": int(peer.forward),
        }
        self._told("put_peer", row)

    def remove(self, ae_title: str) -> bool:
        return bool(self._told("forget_peer", {"ae_title": ae_title}))

    def _told(self, statement: str, row: dict[str, Any]) -> list[Row]:
        def run(tx: Transaction) -> list[Row]:
            changed = tx.rows(self._sql[statement], row)
            tx.notify(News.PEERS)
            return changed

        found: list[Row] = self._transact(run)
        return found


def _held(job: Job) -> dict[str, Any]:
    return {"id": job.id, "lease": job.lease}


def _json(progress: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(progress)).decode()


def _short(reason: str) -> str:
    return values.clean(reason)[:LONGEST_REASON]


def _job(row: Row) -> Job:
    kept = dict(zip(JOB_COLUMNS, row, strict=True))
    kept["body"] = orjson.loads(kept["body"])
    kept["progress"] = orjson.loads(kept["progress"])
    kept["state"] = State(kept["state"])
    return Job(**kept)
