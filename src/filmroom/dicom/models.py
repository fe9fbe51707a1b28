"""The levels of the Patient and Study Root information models (PS3.4 C.6)."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """A level of the hierarchy; a lower number is nearer the root (PS3.4 C.6.1.1)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3

    @property
    def unique_key(self) -> str:
        """The keyword of the level's unique key (PS3.4 C.6.1.1.2 ff.)."""
        return UNIQUE_KEYS[self]


UNIQUE_KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


class Root(IntEnum):
    """Which information model a query is asked under (PS3.4 C.6.1, C.6.2)."""

    PATIENT = 0
    STUDY = 1
