"""The query string of a search (PS3.18 8.3.4): a search that the index answers, or a 400.

First byte: the level. Then the query string.
"""

from __future__ import annotations

import orjson

from filmroom.dicom.models import Level
from filmroom.dicomweb import qido_query
from filmroom.dicomweb.problems import Problem
from fuzz._index import small_index

LEVELS = (Level.STUDY, Level.SERIES, Level.IMAGE)
WITHIN: tuple[dict[str, str], ...] = (
    {},
    {"StudyInstanceUID": "1.2.0"},
    {"StudyInstanceUID": "1.2.0", "SeriesInstanceUID": "1.2.0.1"},
)


def check(data: bytes) -> None:
    """Understand it, and ask it of a small index."""
    if not data:
        return
    level = LEVELS[data[0] % 3]
    within = WITHIN[data[0] // 3 % 3]
    try:
        search = qido_query.parse(data[1:], level, within)
        qido_query.unsupported_options(data[1:])
    except Problem as problem:
        assert problem.status == 400
        problem.detail.encode("utf-8")
        return
    if not search.impossible:
        for found in small_index().search(search.query(10)):
            orjson.loads(found.study)
