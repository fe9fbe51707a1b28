"""A query at a level -> matching identifiers as DICOM JSON (PS3.18 F), for every edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from operator import attrgetter
from typing import Any, TypeVar

import orjson

from filmroom.archive.access import Action, Principal, demand
from filmroom.archive.records import Found, Query
from filmroom.archive.stores import Index
from filmroom.dicom.models import Level
from filmroom.dicom.tags import ATTRIBUTES, COMPUTED

Answer = dict[str, Any]
T = TypeVar("T")

_LEVEL_OF = {a.tag: a.level for a in ATTRIBUTES} | {
    tag: level for tag, _, level in COMPUTED.values()
}
_INSTANCE_AVAILABILITY = 0x00080056
_SPECIFIC_CHARACTER_SET = {"vr": "CS", "Value": ["ISO_IR 192"]}
_ALWAYS = {"00080005", "00100020", "0020000D", "0020000E", "00080018"}
FIRST_ANSWERS = 32  # few: the first are soon there
MORE_ANSWERS = 256

# counter keyword -> field of Found, written as IS
_COUNTERS = {
    "NumberOfPatientRelatedStudies": "patient_studies",
    "NumberOfPatientRelatedSeries": "patient_series",
    "NumberOfPatientRelatedInstances": "patient_instances",
    "NumberOfStudyRelatedSeries": "study_series",
    "NumberOfStudyRelatedInstances": "study_instances",
    "NumberOfSeriesRelatedInstances": "series_instances",
}


class Finder:
    """Searches the index on behalf of somebody."""

    def __init__(self, index: Index) -> None:
        self._index = index

    async def search(
        self, principal: Principal, query: Query, requested: frozenset[int] | None
    ) -> list[Answer]:
        """All answers of `query`, each with the attributes in `requested` (None: all known).

        Unique keys of the level and above always come along; attributes without a value
        are left out. Raises Refused when `principal` may not query.
        """
        demand(principal, Action.QUERY)
        compose = Composer(query.level, requested)
        return await asyncio.to_thread(lambda: [compose(f) for f in self._index.search(query)])

    async def stream(
        self,
        principal: Principal,
        query: Query,
        requested: frozenset[int] | None,
        write: Callable[[Answer], T],
    ) -> AsyncIterator[list[T]]:
        """The same in chunks, so that neither memory nor the first answer waits for all.

        write: what is to be made of each answer; called in a thread.
        """
        demand(principal, Action.QUERY)
        compose = Composer(query.level, requested)
        chunks = self._index.search_iter(query)
        least = FIRST_ANSWERS

        def some() -> tuple[list[T], bool]:
            made: list[T] = []
            for found in chunks:
                made += [write(compose(one)) for one in found]
                if len(made) >= least:
                    return made, True
            return made, False

        more = True
        while more:
            made, more = await asyncio.to_thread(some)
            if made:
                yield made
            least = MORE_ANSWERS

    async def count(self, principal: Principal, query: Query) -> int:
        """How many answers there are, whatever limit and offset say."""
        demand(principal, Action.QUERY)
        return await asyncio.to_thread(self._index.count, query)


class Composer:
    """Makes answers of what the index found: each one DICOM JSON object, tags ascending."""

    def __init__(self, level: Level, requested: frozenset[int] | None) -> None:
        """requested: the attributes that are wanted, None for all that are known."""
        self._computed = list(_computed(level, requested))
        self._names: list[str] | None = None
        if requested is not None:
            names = {f"{tag:08X}" for tag in requested} | _ALWAYS
            self._names = sorted(names | {name for name, _, _ in self._computed})
        self._last: list[tuple[bytes, Answer]] = [(b"", {})] * 4

    def __call__(self, found: Found) -> Answer:
        """One answer. Values may be shared by several answers."""
        known: Answer = {"00080005": _SPECIFIC_CHARACTER_SET}
        for level, attributes in enumerate(found[:4]):
            if attributes:
                if attributes is not self._last[level][0]:  # what is above many is read once
                    self._last[level] = attributes, orjson.loads(attributes)
                known.update(self._last[level][1])
        for name, vr, values_in in self._computed:
            if values := values_in(found):
                known[name] = {"vr": vr, "Value": values}
        if self._names is None:
            return {name: known[name] for name in sorted(known) if len(known[name]) > 1}
        return {name: known[name] for name in self._names if len(known.get(name, ())) > 1}


Values = Callable[[Found], list[Any]]


def _computed(level: Level, requested: frozenset[int] | None) -> Iterator[tuple[str, str, Values]]:
    """(tag, VR, where the values are found) of what is computed and wanted."""
    for keyword, values in _VALUES.items():
        tag, vr, of_level = COMPUTED[keyword]
        if of_level <= level and (requested is None or tag in requested):
            yield f"{tag:08X}", vr, values
    if level is not Level.PATIENT and (requested is None or _INSTANCE_AVAILABILITY in requested):
        yield "00080056", "CS", lambda found: ["ONLINE"]


def _counter(field: str) -> Values:
    count = attrgetter(field)
    return lambda found: [count(found)]


_VALUES: dict[str, Values] = {
    **{keyword: _counter(field) for keyword, field in _COUNTERS.items()},
    "ModalitiesInStudy": lambda found: [m for m in found.modalities if m],
    "SOPClassesInStudy": lambda found: list(found.sop_classes),
    "AvailableTransferSyntaxUID": lambda found: [u for u in (found.transfer_syntax_uid,) if u],
}


def level_of(tag: int) -> Level | None:
    """The level a kept or computed attribute belongs to; None if we do not keep it."""
    return _LEVEL_OF.get(tag)
