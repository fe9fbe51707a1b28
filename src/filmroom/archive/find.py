"""A query at a level -> matching identifiers as DICOM JSON (PS3.18 F), for every edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
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
        are left out, and the rest is in no order. Raises Refused when `principal` may not query.
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
    """Makes answers of what the index found: each one DICOM JSON object, tags in no order."""

    def __init__(self, level: Level, requested: frozenset[int] | None) -> None:
        """requested: the attributes that are wanted, None for all that are known."""
        self._level = level
        self._computed = list(_computed(level, requested))
        self._wanted: frozenset[str] | None = None
        if requested is not None:
            self._wanted = frozenset(f"{tag:08X}" for tag in requested) | _ALWAYS
        self._above: tuple[bytes, ...] = ()
        self._of_above: Answer = {}

    def __call__(self, found: Found) -> Answer:
        """One answer. Values may be shared by several answers."""
        levels = (found.patient, found.study, found.series, found.instance)
        above = levels[: self._level]
        if above != self._above or not self._of_above:  # what is above many is read once
            self._above, self._of_above = above, self._read_above(above)
        answer = self._of_above | self._read(levels[self._level])
        for name, vr, values_in in self._computed:
            if values := values_in(found):
                answer[name] = {"vr": vr, "Value": values}
        return answer

    def _read_above(self, attributes: Iterable[bytes]) -> Answer:
        known: Answer = {"00080005": _SPECIFIC_CHARACTER_SET}
        for each in attributes:
            known |= self._read(each)
        return known

    def _read(self, attributes: bytes) -> Answer:
        """The attributes of one level that are wanted and have a value."""
        if not attributes:
            return {}
        known: Answer = orjson.loads(attributes)
        wanted = self._wanted
        if wanted is None:
            return {name: known[name] for name in known if len(known[name]) > 1}
        return {name: known[name] for name in known if name in wanted and len(known[name]) > 1}


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
