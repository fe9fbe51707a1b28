"""A line that counts, on a terminal only; with a bar where the end is known beforehand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[int, str], None]


@contextmanager
def counting(what: str, total: int | None = None) -> Iterator[Show]:
    """`with counting("importing") as show: show(12, "10 new")`; total: what it counts up to."""
    if not sys.stderr.isatty():
        yield lambda count, note: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    bar_columns = () if total is None else (BarColumn(), TaskProgressColumn())
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *bar_columns,
        TextColumn("{task.completed:,.0f}"),
        TextColumn("{task.fields[note]}", markup=False),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, note="", speed="")

        def show(count: int, note: str) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=count, note=note, speed=f"{speed:,.0f}/s" if speed else "")

        yield show
