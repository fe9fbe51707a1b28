"""What people and programs ask of an index of `made_up` studies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import made_up

from filmroom.archive.records import Found, Query, Selection
from filmroom.dicom.match import Fuzzy, Match, Range, Single, Wildcard
from filmroom.dicom.models import Level
from filmroom.index.queries import SqlIndex

Question = tuple[str, Callable[[int], object], int]  # its name, the n-th of it, how many to ask


def all_of_them(index: SqlIndex, studies: int) -> Iterator[Question]:
    """One after the other; each is asked about other studies every time."""
    dice = random.Random(1)
    some = [dice.randrange(studies) for _ in range(30)]
    yield from _exact(index, some)
    yield from _names(index, some)
    yield from _dates(index, some, studies)
    yield from _below(index, some)
    yield from _counts(index)


def _find(
    index: SqlIndex,
    level: Level = Level.STUDY,
    limit: int | None = None,
    offset: int = 0,
    **m: Match,
) -> list[Found]:
    return index.search(Query(level, m, limit=limit, offset=offset))


def _exact(index: SqlIndex, some: list[int]) -> Iterator[Question]:
    yield (
        "PatientID",
        lambda n: _find(index, PatientID=Single(made_up.patient_id(some[n]))),
        30,
    )
    yield "AccessionNumber", lambda n: _find(index, AccessionNumber=Single(f"A{some[n]:09}")), 30
    yield (
        "Study Instance UID",
        lambda n: _find(index, StudyInstanceUID=Single(made_up.uid(some[n], 1))),
        30,
    )


def _names(index: SqlIndex, some: list[int]) -> Iterator[Question]:
    def named(pattern: str, limit: int | None = None) -> Callable[[int], object]:
        return lambda n: _find(
            index, limit=limit, PatientName=Wildcard(pattern.format(some[n] % 900 + 100))
        )

    yield "name begins: SMITH123*", named("SMITH{}*"), 30
    yield "name begins: SMI*, newest 50", named("SMI*", 50), 30
    yield "name contains: *TH123*", named("*TH{}*"), 30
    yield (
        "name, fuzzily: gra smith12",
        lambda n: _find(index, PatientName=Fuzzy(("gra", f"smith{some[n] % 90 + 10}"))),
        30,
    )


def _dates(index: SqlIndex, some: list[int], studies: int) -> Iterator[Question]:
    def days(first: int, number: int) -> Range:
        """`number` days from that of study `first` on."""
        starts = time.strptime(made_up.day(first), "%Y%m%d")
        ends = time.mktime(starts) + (number - 1) * 86_400
        return Range(made_up.day(first), time.strftime("%Y%m%d", time.localtime(ends)))

    mr, nobody = Single("MR"), Single("XX")
    yield "one day", lambda n: _find(index, StudyDate=Single(made_up.day(some[n]))), 30
    yield (
        "one week + MR",
        lambda n: _find(index, StudyDate=days(some[n], 7), ModalitiesInStudy=mr),
        30,
    )
    yield (
        "half a year + CR, newest 50",
        lambda n: _find(
            index, limit=50, StudyDate=days(some[n], 182), ModalitiesInStudy=Single("CR")
        ),
        30,
    )
    yield "newest 100", lambda n: _find(index, limit=100), 30
    yield "newest 100 MR", lambda n: _find(index, limit=100, ModalitiesInStudy=mr), 30
    yield "page of 50 at half", lambda n: _find(index, limit=50, offset=studies // 2), 30
    yield (
        "newest 50 of a modality nobody has",
        lambda n: _find(index, limit=50, ModalitiesInStudy=nobody),
        30,
    )


def _below(index: SqlIndex, some: list[int]) -> Iterator[Question]:
    long = made_up.uid(50, 2)
    yield (
        "series of a study",
        lambda n: _find(index, Level.SERIES, StudyInstanceUID=Single(made_up.uid(some[n], 1))),
        30,
    )
    yield (
        "500 instances of a series",
        lambda n: _find(
            index,
            Level.IMAGE,
            StudyInstanceUID=Single(made_up.uid(50, 1)),
            SeriesInstanceUID=Single(long),
        ),
        30,
    )
    yield (
        "where the files of those 500 are",
        lambda n: index.instances(Selection(series_instance_uids=(long,))),
        30,
    )
    yield (
        "where one instance's file is",
        lambda n: int(index.instance(made_up.instance_uid(some[n], 0)) is not None),
        30,
    )
    yield (
        "which of 8 instances are held",
        lambda n: list(index.held([made_up.instance_uid(some[n], i) for i in range(8)])),
        30,
    )


def over_http(studies: int) -> Iterator[tuple[str, Callable[[int], str]]]:
    """What a node is asked for at /studies: a name, and the n-th query string of it."""
    dice = random.Random(2)
    some = [dice.randrange(studies) for _ in range(30)]
    yield "QIDO-RS PatientID", lambda n: f"PatientID={made_up.patient_id(some[n])}"
    yield "QIDO-RS name contains", lambda n: f"PatientName=*TH{some[n] % 900 + 100}*&limit=50"
    yield "QIDO-RS page of 50", lambda n: f"limit=50&offset={50 * n}"
    yield "QIDO-RS page of 50 MR", lambda n: f"ModalitiesInStudy=MR&limit=50&offset={50 * n}"
    yield "QIDO-RS page of 50 at half", lambda n: f"limit=50&offset={studies // 2 + 50 * n}"


def _counts(index: SqlIndex) -> Iterator[Question]:
    smi = {"PatientName": Wildcard("SMI*")}
    yield "count of all studies", lambda n: index.count(Query(Level.STUDY, {})), 5
    yield "count of SMI*", lambda n: index.count(Query(Level.STUDY, smi)), 5
    yield "statistics of all", lambda n: index.statistics().instances, 5
