"""A small index for questions to be asked of."""

from __future__ import annotations

import tempfile
from functools import cache

from filmroom.index.queries import SqlIndex, open_index
from index_rows import an_instance


@cache
def small_index() -> SqlIndex:
    """A few instances in SQLite, made once."""
    folder = tempfile.mkdtemp(prefix="fuzz-")
    index = open_index(f"sqlite:///{folder}/index.sqlite")
    rows = []
    for number in range(6):
        study = f"1.2.{number // 3}"
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.{number}"}
        name = ("Müller^Jürgen", "Yamada^Tarou=山田^太郎=やまだ^たろう")[number // 3]
        patient = {"PatientID": f"P{number // 3}", "PatientName": name}
        rows.append(an_instance(SOPInstanceUID=f"{study}.{number}.1", **uids, **patient))
    index.add(rows)
    return index
