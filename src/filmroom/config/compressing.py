"""The settings of what is stored smaller than it came."""

from __future__ import annotations

from datetime import time
from typing import Any, Literal

from pydantic import Field, field_validator

from filmroom.archive.shrinking import Hours, Rule, Terms
from filmroom.dicom.uids import STORAGE_SOP_CLASSES, is_valid_uid
from filmroom.dicom.vrs import is_ae_title
from filmroom.pixel import syntaxes as ts
from filmroom.security.settings import Section

Form = Literal["htj2k", "jpeg-ls", "jpeg-2000"]
FORMS: dict[str, str] = {
    "htj2k": ts.HTJ2K_LOSSLESS_RPCL,
    "jpeg-ls": ts.JPEG_LS_LOSSLESS,
    "jpeg-2000": ts.J2K_LOSSLESS,
}
DAY_SECONDS = 86_400.0


class CompressRule(Section):
    """`[[compress.rules]]`: instances that are stored smaller; an empty key fits all."""

    modality: tuple[str, ...] = Field(default=(), description="One of these modalities.")
    sop_class: tuple[str, ...] = Field(
        default=(), description="One of these SOP classes, by UID or by name."
    )
    source: tuple[str, ...] = Field(
        default=(), description="Received by C-STORE from one of these AE titles."
    )
    larger_than_kib: float = Field(default=0, ge=0, description="Files larger than this.")
    older_than_days: float = Field(
        default=0, ge=0, description="So long after they were received, at the earliest."
    )
    least_gain_percent: float = Field(
        default=10, ge=0, lt=100, description="Left as it is when less of its size is saved."
    )
    to: Form = Field(
        default="htj2k",
        description="`htj2k` (High-Throughput JPEG 2000 Lossless RPCL), `jpeg-ls` or `jpeg-2000` "
        "(both lossless).",
    )

    @field_validator("modality", "sop_class", "source", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _ae_titles(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        for title in titles:
            if not is_ae_title(title):
                raise ValueError(f"{title!r} is no AE title")
        return tuple(title.strip(" ") for title in titles)

    @field_validator("sop_class")
    @classmethod
    def _sop_classes(cls, named: tuple[str, ...]) -> tuple[str, ...]:
        uids = {name: uid for uid, name in STORAGE_SOP_CLASSES.items()}
        found = tuple(uids.get(name, name) for name in named)
        for uid in found:
            if not is_valid_uid(uid):
                raise ValueError(f"{uid!r} is no SOP class: give its UID, or its name in PS3.4 B.5")
        return found

    @property
    def rule(self) -> Rule:
        """The same as the archive's value."""
        return Rule(
            FORMS[self.to],
            self.modality,
            self.sop_class,
            self.source,
            int(self.larger_than_kib * 1024),
            self.older_than_days * DAY_SECONDS,
            self.least_gain_percent / 100,
        )


class CompressSettings(Section):
    """`[compress]`: what is stored smaller than it came. Without rules nothing is."""

    rules: tuple[CompressRule, ...] = Field(
        default=(), description="What, and how; one table each, see below. None: keep as received."
    )
    to: Form = Field(
        default="htj2k", description="For studies that `filmroom compress STUDY` names."
    )
    at_once: int = Field(
        default=1, ge=1, le=64, description="Instances in hand at a time, each with one worker."
    )
    rate_mib: float = Field(
        default=0, ge=0, description="MiB read in a second, on the whole; 0: as fast as it goes."
    )
    hours: str = Field(
        default="",
        description='When rules are followed, local time, `"22:00-06:00"`; "": always.',
    )
    keep_old_minutes: float = Field(
        default=1440,
        ge=0,
        description="How long the file as received stays beside the new one, for those who are "
        "reading it: longer than a backup takes (a day).",
    )

    @field_validator("hours")
    @classmethod
    def _hours(cls, text: str) -> str:
        if text:
            _parsed(text)
        return text

    @property
    def terms(self) -> Terms:
        """The same for the worker."""
        return Terms(
            Rule(FORMS[self.to]),
            tuple(each.rule for each in self.rules),
            self.at_once,
            self.rate_mib * 1048576,
            _parsed(self.hours) if self.hours else None,
            self.keep_old_minutes * 60,
        )


def _parsed(text: str) -> Hours:
    begin, dash, end = text.partition("-")
    try:
        hours = Hours(time.fromisoformat(begin.strip()), time.fromisoformat(end.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is not like 22:00-06:00") from None
    if not dash or hours.begin == hours.end:
        raise ValueError(f"{text!r} is not like 22:00-06:00")
    return hours
