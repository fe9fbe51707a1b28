"""How the index does when it is large: storing in small batches, and the common searches.

    python bench/index_scale.py sqlite:///tmp/scale/index.sqlite --studies 100000
    python bench/index_scale.py postgresql://me@127.0.0.1/scale --studies 100000

Makes an archive of made-up studies (one series of two instances each; every fiftieth has
a series of 500), then stores 2,000 instances in batches of 8, each batch synced, then
asks each question 30 times and prints the median and the slowest. Run it on an empty
index and a quiet machine; a second run on the same index only asks.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice

import orjson

from filmroom.archive.records import Entity, Location, NewInstance, Origin, Query, Selection
from filmroom.dicom.match import Fuzzy, Match, Range, Single, Wildcard
from filmroom.dicom.models import Level
from filmroom.dicom.tags import BY_KEYWORD
from filmroom.index.queries import SqlIndex, open_index

ROOT = "1.3.6.1.4.1.14519.5.2.1.6279.6001"
FAMILY = [
    a + b for a in ("Smi", "Mey", "Gar", "Yam", "Ols", "Kow") for b in ("th", "er", "cia", "ada")
]
GIVEN = ["Ann", "Bo", "Carla", "Dmitri", "Eve", "Farid", "Grace", "Hugo"]
MODALITIES = ["CT"] * 5 + ["MR"] * 3 + ["CR", "US"]
ORIGIN = Origin("dimse", "BENCH", "127.0.0.1", "FILMROOM")


def entity(uid: str, **keys: str) -> Entity:
    """An entity whose JSON says what its keys say."""
    attributes = {
        BY_KEYWORD[k].hex: {"vr": BY_KEYWORD[k].vr, "Value": [v]} for k, v in keys.items()
    }
    indexed = {k: v for k, v in keys.items() if BY_KEYWORD[k].indexed}
    return Entity(uid, indexed, orjson.dumps(attributes))


def study(n: int, images: int) -> Iterator[NewInstance]:
    """Study `n`: deterministic, a patient for each two of them."""
    dice = random.Random(n)
    who = random.Random(n // 2)
    patient_id = f"PID{n // 2:07}"
    name = f"{who.choice(FAMILY)}{who.randrange(1000)}^{who.choice(GIVEN)}"
    day = time.strftime("%Y%m%d", time.gmtime(1_600_000_000 + n * 400))
    modality = dice.choice(MODALITIES)
    study_uid = f"{ROOT}.{n:024}.1"
    series_uid = f"{ROOT}.{n:024}.2"
    patient = entity(patient_id, PatientID=patient_id, PatientName=name, PatientSex="O")
    of_study = entity(
        study_uid,
        StudyInstanceUID=study_uid,
        StudyDate=day,
        StudyTime=f"{n % 24:02}3015.5",
        AccessionNumber=f"A{n:09}",
        StudyDescription=dice.choice(("THORAX", "HEAD", "ABDOMEN")),
    )
    series = entity(series_uid, SeriesInstanceUID=series_uid, Modality=modality, SeriesNumber="1")
    for i in range(images):
        uid = f"{ROOT}.{n:024}.3.{i}"
        instance = entity(
            uid,
            SOPInstanceUID=uid,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
            InstanceNumber=str(i + 1),
            ContentDate=day,
            ContentTime="101112.345",
            ImageType="ORIGINAL",
            Rows="512",
            Columns="512",
            BitsAllocated="16",
        )
        key = f"2026/11/23/{study_uid}/{series_uid}/{uid}.dcm"
        digest = dice.randbytes(32)
        location = Location(key, 528_000, 350, 2_900, digest, "1.2.840.10008.1.2.1")
        yield NewInstance(
            patient, of_study, series, instance, location, dice.randbytes(16), ORIGIN, 1e9 + n
        )


def fill(index: SqlIndex, first: int, studies: int) -> int:
    """Store studies in large batches; returns how many instances."""
    stream = (
        i for n in range(first, first + studies) for i in study(n, 500 if n % 5000 == 50 else 2)
    )
    made = 0
    while batch := list(islice(stream, 1000)):
        index.add(batch)
        made += len(batch)
    return made


def measured(what: str, ask: Callable[[int], object], times: int = 30) -> None:
    """Ask `times` times; print the median and the slowest in ms, and the size of the answer."""
    took, answer = [], None
    for n in range(times):
        started = time.perf_counter()
        answer = ask(n)
        took.append((time.perf_counter() - started) * 1000)
    size = len(answer) if isinstance(answer, list) else answer
    print(f"{what:44} {statistics.median(took):9.3f} {max(took):9.3f}   {size}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--studies", type=int, default=100_000)
    options = parser.parse_args()
    index = open_index(options.url)
    count = options.studies
    if not index.statistics().studies:
        started = time.perf_counter()
        made = fill(index, 0, count)
        print(f"filled: {made} instances, {made / (time.perf_counter() - started):.0f}/s")
    start = index.statistics().studies
    fresh = [list(study(start + n, 8)) for n in range(250)]
    took = []
    for batch in fresh:
        started = time.perf_counter()
        index.add(batch)
        took.append(time.perf_counter() - started)
    print(
        f"add, batches of 8, a new study each: {2000 / sum(took):.0f}/s, "
        f"median {statistics.median(took) * 1000:.2f} ms a batch"
    )
    one = list(study(start + 1000, 2000))
    started = time.perf_counter()
    for at in range(0, len(one), 8):
        index.add(one[at : at + 8])
    print(f"add, batches of 8, one growing series:  {2000 / (time.perf_counter() - started):.0f}/s")

    def find(
        level: Level = Level.STUDY, limit: int | None = None, offset: int = 0, **matches: Match
    ):
        return index.search(Query(level, matches, limit=limit, offset=offset))

    def uid(n: int, part: int) -> str:
        return f"{ROOT}.{n:024}.{part}"

    dice = random.Random(1)
    some = [dice.randrange(count) for _ in range(30)]
    print(f"{'question':44} {'median ms':>9} {'max ms':>9}   answers")
    measured("PatientID", lambda n: find(PatientID=Single(f"PID{some[n] // 2:07}")))
    measured("AccessionNumber", lambda n: find(AccessionNumber=Single(f"A{some[n]:09}")))
    measured("StudyInstanceUID", lambda n: find(StudyInstanceUID=Single(uid(some[n], 1))))
    measured("PatientName SMITH12*", lambda n: find(PatientName=Wildcard("SMITH12*")))
    measured("PatientName SMI*, newest 50", lambda n: find(limit=50, PatientName=Wildcard("SMI*")))
    measured("PatientName *TH123*", lambda n: find(PatientName=Wildcard("*TH123*")))
    measured("PatientName fuzzy gra smith12", lambda n: find(PatientName=Fuzzy(("gra", "smith12"))))
    day = time.strftime("%Y%m%d", time.gmtime(1_600_000_000 + count // 2 * 400))
    measured("one day", lambda n: find(StudyDate=Single(day)))
    measured("one day + MR", lambda n: find(StudyDate=Single(day), ModalitiesInStudy=Single("MR")))
    half_year = Range(day, str(int(day) + 600))
    measured(
        "half a year + CR, newest 50",
        lambda n: find(limit=50, StudyDate=half_year, ModalitiesInStudy=Single("CR")),
    )
    measured("newest 50", lambda n: find(limit=50))
    measured("newest 50 from the middle", lambda n: find(limit=50, offset=count // 2))
    measured("newest 50 MR", lambda n: find(limit=50, ModalitiesInStudy=Single("MR")))
    measured(
        "newest 50 of a modality nobody has",
        lambda n: find(limit=50, ModalitiesInStudy=Single("XX")),
    )
    measured(
        "series of a study", lambda n: find(Level.SERIES, StudyInstanceUID=Single(uid(some[n], 1)))
    )
    measured(
        "500 instances of a series",
        lambda n: find(
            Level.IMAGE, StudyInstanceUID=Single(uid(50, 1)), SeriesInstanceUID=Single(uid(50, 2))
        ),
    )
    measured(
        "instances(), handles of 500",
        lambda n: index.instances(Selection(series_instance_uids=(uid(50, 2),))),
    )
    measured("instance(), one handle", lambda n: 1 if index.instance(uid(some[n], 3) + ".0") else 0)
    measured("held() of 8", lambda n: list(index.held([f"{uid(s, 3)}.0" for s in some[:8]])))
    measured("count of all studies", lambda n: index.count(Query(Level.STUDY, {})))
    measured(
        "count SMI*", lambda n: index.count(Query(Level.STUDY, {"PatientName": Wildcard("SMI*")}))
    )
    measured("statistics()", lambda n: index.statistics().instances, times=5)
    index.close()


if __name__ == "__main__":
    main()
