"""Made-up studies as the index is given them: deterministic, two to a patient, 200 a day."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import orjson

from filmroom.archive.records import Entity, Location, NewInstance, Origin
from filmroom.dicom.tags import BY_KEYWORD

ROOT = "1.2.826.0.1.3680043.8.498"
IMAGES = 10
LONG = 5_000  # study 50 of each so many has a series of 500 instead
FAMILY = [
    a + b for a in ("Smi", "Mey", "Gar", "Yam", "Ols", "Kow") for b in ("th", "er", "cia", "ada")
]
GIVEN = ["Ann", "Bo", "Carla", "Dmitri", "Eve", "Farid", "Grace", "Hugo"]
MODALITIES = ["CT"] * 5 + ["MR"] * 3 + ["CR", "US"]
ORIGIN = Origin("dimse", "BENCH", "127.0.0.1", "FILMROOM")
_FIRST_DAY, _APART = 1_356_998_400, 432  # 2013-01-01, and seconds from study to study


def uid(n: int, part: int) -> str:
    """The UID of study `n` (part 1) or of its series (2): no order in them, 60 characters."""
    return f"{ROOT}.{random.Random(n * 8 + part).randrange(10**33, 10**34)}"


def instance_uid(n: int, image: int) -> str:
    """Of a scanner's series, which has a beginning of its own and then counts."""
    return f"{uid(n, 2)}.{image + 1}"


def patient_id(n: int) -> str:
    """The PatientID of study `n`."""
    return f"PID{n // 2:07}"


def day(n: int) -> str:
    """The Study Date of study `n`."""
    return time.strftime("%Y%m%d", time.gmtime(_FIRST_DAY + n * _APART))


def instances_before(n: int) -> int:
    """How many instances the studies before study `n` have."""
    return n * IMAGES + (500 - IMAGES) * ((n + LONG - 51) // LONG)


def study(n: int, images: int = 0) -> Iterator[NewInstance]:
    """The instances of study `n`; images: how many, if not as many as are its due."""
    images = images or (500 if n % LONG == 50 else IMAGES)
    dice, who = random.Random(n), random.Random(n // 2)
    name = f"{who.choice(FAMILY)}{who.randrange(1000)}^{who.choice(GIVEN)}"
    study_uid, series_uid = uid(n, 1), uid(n, 2)
    patient = _entity(patient_id(n), PatientID=patient_id(n), PatientName=name, PatientSex="O")
    of_study = _entity(
        study_uid,
        StudyInstanceUID=study_uid,
        StudyDate=day(n),
        StudyTime=f"{n % 24:02}3015.5",
        AccessionNumber=f"A{n:09}",
        StudyDescription=dice.choice(("THORAX", "HEAD", "ABDOMEN")),
    )
    modality = dice.choice(MODALITIES)
    series = _entity(series_uid, SeriesInstanceUID=series_uid, Modality=modality, SeriesNumber="1")
    for i in range(images):
        own = f"{series_uid}.{i + 1}"
        instance = _entity(
            own,
            SOPInstanceUID=own,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
            InstanceNumber=str(i + 1),
            ContentDate=day(n),
            ContentTime="101112.345",
            ImageType="ORIGINAL",
            Rows="512",
            Columns="512",
            BitsAllocated="16",
        )
        key = f"2026/11/23/{study_uid}/{series_uid}/{own}.dcm"
        location = Location(key, 528_000, 350, 2_900, dice.randbytes(32), "1.2.840.10008.1.2.1")
        yield NewInstance(
            patient, of_study, series, instance, location, dice.randbytes(16), ORIGIN, 1e9 + n
        )


def _entity(uid: str, **keys: str) -> Entity:
    """An entity whose JSON says what its keys say."""
    attributes = {
        BY_KEYWORD[k].hex: {"vr": BY_KEYWORD[k].vr, "Value": [v]} for k, v in keys.items()
    }
    indexed = {k: v for k, v in keys.items() if BY_KEYWORD[k].indexed}
    return Entity(uid, indexed, orjson.dumps(attributes))
