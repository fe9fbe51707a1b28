"""A query at a level -> matching identifiers as DICOM JSON (PS3.18 F), for every edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from filmroom.archive.access import Action, Principal, demand
from filmroom.archive.records import Found, Query
from filmroom.archive.stores import Index
from filmroom.dicom.models import Level
from filmroom.dicom.tags import ATTRIBUTES, COMPUTED

Answer = dict[str, Any]

_LEVEL_OF = {a.tag: a.level for a in ATTRIBUTES} | {
    tag: level for tag, _, level in COMPUTED.values()
}
_INSTANCE_AVAILABILITY = 0x00080056
_SPECIFIC_CHARACTER_SET = {"vr": "CS", "Value": ["ISO_IR 192"]}
_UNIQUE = {"00100020", "0020000D", "0020000E", "00080018"}

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
        found = await asyncio.to_thread(self._index.search, query)
        return [compose(one, query.level, requested) for one in found]

    async def stream(
        self, principal: Principal, query: Query, requested: frozenset[int] | None
    ) -> AsyncIterator[list[Answer]]:
        """The same in chunks, so that neither memory nor the first answer waits for all."""
        demand(principal, Action.QUERY)
        chunks = self._index.search_iter(query)
        while True:
            found = await asyncio.to_thread(next, chunks, None)
            if found is None:
                return
            yield [compose(one, query.level, requested) for one in found]

    async def count(self, principal: Principal, query: Query) -> int:
        """How many answers there are, whatever limit and offset say."""
        demand(principal, Action.QUERY)
        return await asyncio.to_thread(self._index.count, query)


def compose(found: Found, level: Level, requested: frozenset[int] | None) -> Answer:
    """One answer from the JSON of its levels and the counters (PS3.4 C.3.4)."""
    answer: Answer = {"00080005": _SPECIFIC_CHARACTER_SET}
    for attributes in (found.patient, found.study, found.series, found.instance):
        if attributes:
            answer.update(orjson.loads(attributes))
    if requested is not None:
        wanted = {f"{tag:08X}" for tag in requested} | _UNIQUE | {"00080005"}
        answer = {tag: value for tag, value in answer.items() if tag in wanted}
    answer = {tag: value for tag, value in answer.items() if len(value) > 1}
    answer.update(_computed(found, level, requested))
    return dict(sorted(answer.items()))


def _computed(found: Found, level: Level, requested: frozenset[int] | None) -> Answer:
    answer: Answer = {}

    def add(keyword: str, values: list[Any]) -> None:
        tag, vr, of_level = COMPUTED[keyword]
        if values and of_level <= level and (requested is None or tag in requested):
            answer[f"{tag:08X}"] = {"vr": vr, "Value": values}

    for keyword, field in _COUNTERS.items():
        add(keyword, [getattr(found, field)])
    add("ModalitiesInStudy", [m for m in found.modalities if m])
    add("SOPClassesInStudy", list(found.sop_classes))
    add("AvailableTransferSyntaxUID", [u for u in (found.transfer_syntax_uid,) if u])
    if level is not Level.PATIENT and (requested is None or _INSTANCE_AVAILABILITY in requested):
        answer["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    return answer


def level_of(tag: int) -> Level | None:
    """The level a kept or computed attribute belongs to; None if we do not keep it."""
    return _LEVEL_OF.get(tag)
