"""Where a blob lives: readable keys, made only of checked UIDs and a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from filmroom.archive.errors import Refused
from filmroom.dicom.uids import is_valid_uid

_KEY = re.compile(
    r"\d{4}/\d\d/\d\d/[0-9.]{1,64}/[0-9.]{1,64}/[0-9.]{1,64}(?:_[0-9a-f]{8})?(?:-[0-9a-f]{8})?\.dcm\Z"
)
_QUARANTINE_NAME = re.compile(r"[0-9a-f]{32}\.dcm\Z")


def key_for(
    received_at: float,
    study: str,
    series: str,
    instance: str,
    variant: str = "",
    attempt: str = "",
) -> str:
    """`YYYY/MM/DD/<study>/<series>/<instance>.dcm`: the day of arrival (UTC), then the UIDs.

    variant: eight hexadecimal digits that keep other bytes under the same UID apart.
    attempt: eight more that keep apart what several nodes receive of it at once.
    Raises Refused for anything that is not a UID: no path is ever made of free text.
    """
    for uid in (study, series, instance):
        if not is_valid_uid(uid):
            raise Refused("not a valid UID", detail=repr(uid[:80]))
    day = datetime.fromtimestamp(received_at, UTC)
    suffix = (f"_{attempt}" if attempt else "") + (f"-{variant}" if variant else "")
    return f"{day:%Y/%m/%d}/{study}/{series}/{instance}{suffix}.dcm"


def is_key(text: str) -> bool:
    """Whether `text` has the shape of a key that `key_for` makes."""
    return _KEY.match(text) is not None and ".." not in text


def is_quarantine_name(text: str) -> bool:
    """Whether `text` has the shape of a name that a quarantined file is given."""
    return _QUARANTINE_NAME.match(text) is not None
