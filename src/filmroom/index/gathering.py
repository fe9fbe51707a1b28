"""Rows by their ids, with what is above them: the answers to a query, made from its keys.

What is above is fetched once however many share it, and what was packed is unpacked for
all rows together: these are the two ways in which many answers are cheap.
"""

from __future__ import annotations

from collections.abc import Sequence

from filmroom.archive.records import Found
from filmroom.dicom.models import Level
from filmroom.index.engine import Engine, Row
from filmroom.index.packing import unpack_all


class Gathering:
    """Reads from one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sql = engine.statements
        self._listed = engine.dialect.listed

    def found(self, level: Level, ids: Sequence[int]) -> list[Found]:
        """The rows of a level that are still there, in this order."""
        of_level = {
            Level.PATIENT: self._patients,
            Level.STUDY: self._studies,
            Level.SERIES: self._series,
            Level.IMAGE: self._instances,
        }
        found = of_level[level](ids)
        return [found[id_] for id_ in ids if id_ in found]

    def _patients(self, ids: Sequence[int]) -> dict[int, Found]:
        rows = self._by_id("found_patient", ids, "tbttt")
        return {
            id_: Found(
                attributes,
                patient_studies=studies,
                patient_series=series,
                patient_instances=instances,
            )
            for (id_, _, studies, series, instances), attributes in _unpacked(rows, 1)
        }

    def _studies(self, ids: Sequence[int]) -> dict[int, Found]:
        rows = self._by_id("found_study", ids, "ttbtttt")
        above = self._patients(list({row[1] for row in rows}))
        found = {}
        for row, attributes in _unpacked(rows, 2):
            id_, patient, _, series, instances, modalities, sop_classes = row
            up = above[patient]
            found[id_] = Found(
                up.patient,
                attributes,
                b"",
                b"",
                up.patient_studies,
                up.patient_series,
                up.patient_instances,
                series,
                instances,
                modalities=_sorted(modalities),
                sop_classes=_sorted(sop_classes),
            )
        return found

    def _series(self, ids: Sequence[int]) -> dict[int, Found]:
        rows = self._by_id("found_series", ids, "ttbt")
        above = self._studies(list({row[1] for row in rows}))
        return {
            id_: above[study]._replace(series=attributes, series_instances=instances)
            for (id_, study, _, instances), attributes in _unpacked(rows, 2)
        }

    def _instances(self, ids: Sequence[int]) -> dict[int, Found]:
        rows = self._by_id("found_instance", ids, "ttbtt")
        above = self._series(list({row[1] for row in rows}))
        return {
            id_: above[series]._replace(
                instance=attributes.replace(b"\x01", uid.encode()),
                transfer_syntax_uid=transfer_syntax_uid,
            )
            for (id_, series, _, transfer_syntax_uid, uid), attributes in _unpacked(rows, 2)
        }

    def _by_id(self, statement: str, ids: Sequence[int], columns: str) -> list[Row]:
        return self._engine.bulk(self._sql[statement], {"ids": self._listed(ids)}, columns)


def _unpacked(rows: Sequence[Row], at: int) -> zip[tuple[Row, bytes]]:
    """Each row with its attributes, which are its column `at`."""
    attributes = unpack_all([row[at] for row in rows])  # of no rows one that is empty
    return zip(rows, attributes, strict=bool(rows))


def _sorted(joined: str | None) -> tuple[str, ...]:
    return tuple(sorted(joined.split("\\"))) if joined else ()
