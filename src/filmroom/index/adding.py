"""Storing: a batch of instances -> rows, counters and events, in one transaction.

Parents are looked up before they are made, by unique key; what is made is counted where
it was really inserted. Statements come in one order (patients, studies, series,
instances, counters; each sorted), so that two writers meet in a queue and not in a
deadlock. What no further step needs to know is put off to the end, where all of it costs
one round trip to a server. Surrogate ids learnt here are published only after COMMIT; should
a cached one be gone (another process cleared the index), its counter matches no row and we
start anew.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from filmroom.archive.errors import Conflict
from filmroom.archive.records import Entity, NewInstance, Origin
from filmroom.dicom.models import Level
from filmroom.dicom.tags import INDEXED
from filmroom.index import packing, values
from filmroom.index.engine import Engine, Row, Then, Transaction, TryAgain, ignore
from filmroom.index.smaller import later_read_back
from filmroom.index.where import MATCHED_SEQUENCES, column_name

PatientKey = tuple[str, str]  # identity and issuer
Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """Where a series stands: surrogate ids and keys of itself and those above."""

    series: int
    study: int
    patient: int
    study_instance_uid: str
    patient_key: PatientKey


@dataclass(slots=True)
class Learnt:
    """What a transaction found out; worth remembering once it has committed."""

    series: dict[str, Known] = field(default_factory=dict)
    sop_classes: set[tuple[int, str]] = field(default_factory=set)
    strangers: set[tuple[int, PatientKey]] = field(default_factory=set)


class Memory:
    """Learnt things of the last few thousand series; the caller guards it."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self.series: OrderedDict[str, Known] = OrderedDict()
        self.sop_classes: set[tuple[int, str]] = set()
        self.strangers: set[tuple[int, PatientKey]] = set()

    def publish(self, learnt: Learnt) -> None:
        """Remember; what was not used for longest is forgotten."""
        for uid, known in learnt.series.items():
            self.series[uid] = known
            self.series.move_to_end(uid)
        while len(self.series) > self._most:
            self.series.popitem(last=False)
        if len(self.sop_classes) + len(self.strangers) > 4 * self._most:
            self.sop_classes.clear()
            self.strangers.clear()
        self.sop_classes |= learnt.sop_classes
        self.strangers |= learnt.strangers

    def clear(self) -> None:
        self.series.clear()
        self.sop_classes.clear()
        self.strangers.clear()


@dataclass(slots=True)
class _Made:
    """New rows of a transaction by surrogate id, for the counters of those above."""

    studies: Counter[int] = field(default_factory=Counter)  # by patient
    series: Counter[int] = field(default_factory=Counter)  # by study


def patient_key(patient: Entity) -> PatientKey:
    """A patient is a PatientID and its issuer (core.md 5); a longer one is known by digest."""
    identity = values.clean(patient.uid)
    if len(patient.uid) >= values.LONGEST:
        identity = "\\" + hashlib.sha256(patient.uid.encode("utf-8", "replace")).hexdigest()
    issuer = values.normalise("LO", patient.keys.get("IssuerOfPatientID", ""))
    return identity, "".join(issuer[:1])


class Adding:
    """One transaction of `Index.add`."""

    def __init__(self, engine: Engine, transaction: Transaction, memory: Memory) -> None:
        self._sql = engine.statements
        self._listed = engine.dialect.listed
        self._tx = transaction
        self._memory = memory
        self._made = _Made()
        self.learnt = Learnt()

    def run(self, batch: Sequence[NewInstance]) -> list[bool]:
        """Raises Conflict, or TryAgain when another writer or a stale cache was met."""
        held = self._held(batch)
        fresh: dict[str, NewInstance] = {}
        for new in batch:
            if new.instance.uid not in held:
                fresh.setdefault(new.instance.uid, new)
        if fresh:
            self._parents(list(fresh.values()))
            self._instances(list(fresh.values()))
            self._count(list(fresh.values()))
            self._sop_classes(list(fresh.values()))
            self._events(list(fresh.values()))
            self._tx.flush()
        return [fresh.pop(new.instance.uid, None) is new for new in batch]

    def _held(self, batch: Sequence[NewInstance]) -> set[str]:
        uids = self._listed([new.instance.uid for new in batch])
        return {row[0] for row in self._tx.rows(self._sql["held_uids"], {"uids": uids})}

    # -- parents ---------------------------------------------------------------------------
    def _parents(self, fresh: Sequence[NewInstance]) -> None:
        first: dict[str, NewInstance] = {}
        for new in fresh:
            first.setdefault(new.series.uid, new)
        known = {uid: k for uid in first if (k := self._memory.series.get(uid)) is not None}
        known |= self._find_series(first.keys() - known.keys())
        self._check(fresh, known)
        missing = [new for uid, new in first.items() if uid not in known]
        if missing:
            known |= self._make_series(missing)
            self._check(fresh, known)
        self.learnt.series = known

    @staticmethod
    def _check(fresh: Iterable[NewInstance], known: dict[str, Known]) -> None:
        """Raises Conflict for a series known under another study, or given two in one batch."""
        for new in fresh:
            there = known.get(new.series.uid)
            if there is not None and there.study_instance_uid != new.study.uid:
                raise Conflict(f"series {new.series.uid} is held under another study")

    def _find_series(self, uids: Iterable[str]) -> dict[str, Known]:
        if not (wanted := sorted(uids)):
            return {}
        rows = self._tx.rows(self._sql["known_series"], {"uids": self._listed(wanted)})
        return {row[0]: Known(row[1], row[2], row[3], row[4], (row[5], row[6])) for row in rows}

    def _make_series(self, firsts: Sequence[NewInstance]) -> dict[str, Known]:
        studies = self._studies(firsts)
        rows = [
            {**_entity(Level.SERIES, new.series), "study": studies[new.study.uid][0]}
            for new in sorted(firsts, key=lambda new: new.series.uid)
        ]
        ids = self._insert("add_series", rows)
        if len(ids) < len(rows):
            raise TryAgain  # another writer made one of them this instant
        made = {}
        for new in firsts:
            study, patient, key = studies[new.study.uid]
            self._made.series[study] += 1
            made[new.series.uid] = Known(ids[new.series.uid,], study, patient, new.study.uid, key)
        self._side_values(Level.SERIES, ((ids[n.series.uid,], n.series) for n in firsts))
        modalities = [
            {"study": row["study"], "modality": row["modality"]} for row in rows if row["modality"]
        ]
        if modalities:
            self._tx.later(self._sql["add_study_modality"], modalities)
        return made

    def _studies(self, firsts: Sequence[NewInstance]) -> dict[str, tuple[int, int, PatientKey]]:
        """Study UID -> its id, its patient's id and key; those missing are made.

        The first of the batch speaks for its study and patient, as if it had come alone.
        """
        first: dict[str, NewInstance] = {}
        for new in firsts:
            first.setdefault(new.study.uid, new)
        uids = self._listed(sorted(first))
        rows = self._tx.rows(self._sql["known_studies"], {"uids": uids})
        known = {row[0]: (row[1], row[2], (row[3], row[4])) for row in rows}
        missing = [new for uid, new in first.items() if uid not in known]
        if missing:
            patients = self._patients(missing)
            missing.sort(key=lambda new: new.study.uid)
            keys = [patient_key(new.patient) for new in missing]
            parameters = [
                {**_entity(Level.STUDY, new.study), "patient": patients[key]}
                for new, key in zip(missing, keys, strict=True)
            ]
            ids = self._insert("add_study", parameters)
            if len(ids) < len(missing):
                raise TryAgain
            for new, key in zip(missing, keys, strict=True):
                known[new.study.uid] = (ids[new.study.uid,], patients[key], key)
                self._made.studies[patients[key]] += 1
            self._side_values(Level.STUDY, ((ids[n.study.uid,], n.study) for n in missing))
        return known

    def _patients(self, firsts: Sequence[NewInstance]) -> dict[PatientKey, int]:
        first = {patient_key(new.patient): new.patient for new in reversed(firsts)}
        uids = self._listed(sorted({identity for identity, _ in first}))
        rows = self._tx.rows(self._sql["known_patients"], {"uids": uids})
        known = {(row[0], row[1]): row[2] for row in rows if (row[0], row[1]) in first}
        missing = sorted(first.keys() - known.keys())
        if missing:
            parameters = [
                {
                    **_entity(Level.PATIENT, first[key]),
                    "identity": key[0],
                    "issuer_of_patient_id": key[1],
                }
                for key in missing
            ]
            ids = self._insert("add_patient", parameters)
            if len(ids) < len(missing):
                raise TryAgain
            known |= {(key[0], key[1]): id_ for key, id_ in ids.items()}
            self._side_values(Level.PATIENT, ((known[key], first[key]) for key in missing))
        return known

    def _insert(self, name: str, rows: Sequence[Parameters]) -> dict[tuple[Any, ...], int]:
        """Insert; unique key -> id of the rows that were really inserted."""
        return {tuple(row[:-1]): row[-1] for row in self._tx.many(self._sql[name], rows)}

    # -- instances ---------------------------------------------------------------------------
    def _instances(self, fresh: Sequence[NewInstance]) -> None:
        rows = [instance_row(new, self.learnt.series[new.series.uid].series) for new in fresh]
        rows.sort(key=lambda row: str(row["sop_instance_uid"]))
        self._tx.later(self._sql["add_instance"], rows, _all_of(rows))
        later_read_back(self._tx, self._sql, fresh)

    def _side_values(self, level: Level, owners: Iterable[tuple[int, Entity]]) -> None:
        others: list[Parameters] = []
        items: list[Parameters] = []
        for owner, entity in owners:
            others += _other_values(level, owner, entity)
            items += _sequence_values(level, owner, entity)
        if others:
            self._tx.later(self._sql["add_other_value"], others)
        if items:
            self._tx.later(self._sql["add_sequence_value"], items)

    # -- what follows from them ----------------------------------------------------------------
    def _count(self, fresh: Sequence[NewInstance]) -> None:
        series: defaultdict[int, list[NewInstance]] = defaultdict(list)
        studies: defaultdict[int, list[NewInstance]] = defaultdict(list)
        patients: Counter[int] = Counter()
        patient_of: dict[int, int] = {}
        for new in fresh:
            known = self.learnt.series[new.series.uid]
            series[known.series].append(new)
            studies[known.study].append(new)
            patients[known.patient] += 1
            patient_of[known.study] = known.patient
        patient_series: Counter[int] = Counter()
        for study, patient in patient_of.items():
            patient_series[patient] += self._made.series[study]
        counts = [
            {"id": id_, "studies": self._made.studies[id_], "series": patient_series[id_]}
            for id_ in patients
        ]
        self._counted("count_patient", [{**c, "instances": patients[c["id"]]} for c in counts])
        sums = [
            {**_sum(id_, news), "series": self._made.series[id_]} for id_, news in studies.items()
        ]
        self._counted("count_study", sums)
        sums = [_sum(id_, news) for id_, news in series.items()]
        self._counted("count_series", sums, self._reopened)

    def _reopened(self, counted: Sequence[Row]) -> None:
        """These series have grown, some of them after their metadata were made."""
        with_blob = [{"series": row[0], "has_metadata": 0} for row in counted if row[1]]
        if with_blob:
            self._tx.many(self._sql["drop_metadata"], [{"series": r["series"]} for r in with_blob])
            self._tx.many(self._sql["mark_metadata"], with_blob)

    def _counted(self, name: str, rows: list[Parameters], then: Then = ignore) -> None:
        rows.sort(key=lambda row: int(row["id"]))
        self._tx.later(self._sql[name], rows, _all_of(rows, then))  # fewer: the cache was stale

    def _sop_classes(self, fresh: Sequence[NewInstance]) -> None:
        pairs = {
            (self.learnt.series[new.series.uid].study, new.instance.keys.get("SOPClassUID", ""))
            for new in fresh
        } - self._memory.sop_classes
        rows = [{"study": s, "sop_class_uid": uid} for s, uid in sorted(pairs) if uid]
        if rows:
            self._tx.later(self._sql["add_study_sop_class"], rows)
        self.learnt.sop_classes = pairs

    def _events(self, fresh: Sequence[NewInstance]) -> None:
        if "events_begin" in self._sql:
            self._tx.later(self._sql["events_begin"], [{}])
        events = [_event("instance-stored", new) for new in fresh]
        for new in fresh:
            known = self.learnt.series[new.series.uid]
            stranger = (known.study, patient_key(new.patient))
            said = stranger in self._memory.strangers or stranger in self.learnt.strangers
            if stranger[1] != known.patient_key and not said:
                self.learnt.strangers.add(stranger)
                events.append(_mismatch(new, known))
        self._tx.later(self._sql["add_event"], events)


def _all_of(wanted: Sequence[Parameters], then: Then = ignore) -> Then:
    """TryAgain unless as many rows come as were wanted; else `then`."""

    def look(rows: list[Row]) -> None:
        if len(rows) < len(wanted):
            raise TryAgain
        then(rows)

    return look


def _sum(id_: int, news: Sequence[NewInstance]) -> Parameters:
    return {
        "id": id_,
        "instances": len(news),
        "size_bytes": sum(new.location.size_bytes for new in news),
        "received_at": max(new.received_at for new in news),
    }


def _event(kind: str, new: NewInstance, **more: Any) -> Parameters:
    body = {
        "study": new.study.uid,
        "series": new.series.uid,
        "instance": new.instance.uid,
        "origin": _origin(new.origin),
        **more,
    }
    return {"kind": kind, "created_at": new.received_at, "body": orjson.dumps(body).decode()}


def _origin(origin: Origin) -> dict[str, str]:
    return {name: values.clean(value) for name, value in asdict(origin).items()}


def origin_json(origin: Origin) -> str:
    """An Origin as it is kept."""
    return orjson.dumps(_origin(origin)).decode()


def replaced(new: NewInstance) -> Parameters:
    """The event of an instance whose bytes are others now."""
    return _event("instance-replaced", new)


def settled(study: str, series: str, instances: int, at: float) -> Parameters:
    """The event of a series to which nothing was added for some time."""
    body = orjson.dumps({"study": study, "series": series, "instances": instances}).decode()
    return {"kind": "series-settled", "created_at": at, "body": body}


def _mismatch(new: NewInstance, known: Known) -> Parameters:
    """The study stays with its first patient; somebody should look at it."""
    held, came = known.patient_key, patient_key(new.patient)
    return _event(
        "patient-mismatch",
        new,
        held={"patient_id": held[0], "issuer": held[1]},
        came={"patient_id": came[0], "issuer": came[1]},
    )


def _entity(level: Level, entity: Entity) -> Parameters:
    """The columns that every INDEXED attribute of a level has, and the packed JSON."""
    row: Parameters = {"attributes": packing.pack(entity.attributes, _own_uid(level, entity))}
    for attribute in INDEXED[level]:
        text = entity.keys.get(attribute.keyword, "")
        name = column_name(attribute.keyword)
        row[name] = _first(attribute.vr, text)
        if attribute.vr == "PN":
            row[f"{name}_words"] = values.spaced(values.name_words(text))
    if level is not Level.PATIENT:
        row[column_name(level.unique_key)] = entity.uid
    elif not row["patient_id"] and not entity.uid.startswith("\\"):
        row["patient_id"] = "".join(values.normalise("LO", entity.uid)[:1])
    return row


@lru_cache(maxsize=4096)  # the instances of a series are much alike
def _first(vr: str, text: str) -> str:
    return "".join(values.normalise(vr, text)[:1])


def _own_uid(level: Level, entity: Entity) -> str:
    return entity.uid if level is Level.IMAGE else ""


def instance_row(new: NewInstance, series: int) -> Parameters:
    """The parameters of add_instance and replace_instance."""
    uids = (new.study.uid, new.series.uid, new.instance.uid)
    return {
        **_entity(Level.IMAGE, new.instance),
        "series": series,
        "number": values.number(new.instance.keys.get("InstanceNumber", "")),
        "key": packing.pack_key(new.location.key, *uids),
        "size_bytes": new.location.size_bytes,
        "data_set_offset": new.location.data_set_offset,
        "header_bytes": new.location.header_bytes,
        "digest": new.location.digest,
        "transfer_syntax_uid": new.location.transfer_syntax_uid,
        "received_at": new.received_at,
        "frames": new.frames,
    }


def _other_values(level: Level, owner: int, entity: Entity) -> list[Parameters]:
    return [
        {"keyword": attribute.keyword, "value": value, "owner": owner}
        for attribute in INDEXED[level]
        if (text := entity.keys.get(attribute.keyword)) and (attribute.vr == "PN" or "\\" in text)
        for value in values.normalise(attribute.vr, text)[1:]
    ]


def _sequence_values(level: Level, owner: int, entity: Entity) -> list[Parameters]:
    """The matched attributes inside sequences, read from the entity's DICOM JSON."""
    held = [
        (keyword, sequence)
        for keyword, sequence in MATCHED_SEQUENCES.items()
        if sequence.level is level and sequence.hex.encode() in entity.attributes
    ]
    if not held:
        return []
    attributes = orjson.loads(entity.attributes)
    return [
        {"sequence": keyword, "keyword": inner, "value": value, "owner": owner, "item": n}
        for keyword, sequence in held
        for n, item in enumerate(attributes.get(sequence.hex, {}).get("Value") or ())
        for inner, (tag, vr) in sequence.items.items()
        for text in (item or {}).get(tag, {}).get("Value") or ()
        for value in values.normalise(vr, str(text or ""))
    ]
