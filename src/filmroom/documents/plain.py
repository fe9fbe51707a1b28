"""A report as plain text: the same content, one line an item, indented as it is nested."""

from __future__ import annotations

from collections.abc import Iterator

from filmroom.documents.page import CONTEXT, HOW
from filmroom.documents.report import Item, Reference, Report
from filmroom.documents.wording import harmless

DEEPEST = 20  # further in, nothing is indented any more: lines would outgrow their text


def text_of(report: Report) -> str:
    """The whole report, lines ended by `\\n`."""
    return "".join(f"{harmless(line).rstrip()}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield report.title
    yield "=" * min(len(report.title), 72)
    yield ""
    width = max((len(what) for what, _ in report.facts), default=0)
    for what, value in report.facts:
        yield f"{what + ':':<{width + 1}} {value}"
    for reference in report.predecessors:
        yield f"{'Replaces:':<{width + 1}} {_reference(reference)}"
    yield ""
    if report.root.observed:
        yield f"(observed {report.root.observed})"
    yield from _content(report.root, 0)


def _content(item: Item, depth: int) -> Iterator[str]:
    if not item.continuous:
        for child in item.children:
            yield from _item(child, depth)
        return
    indent = "  " * min(depth, DEEPEST)
    flow = [child for child in item.children if child.value_type != "CONTAINER"]
    running = " ".join(
        _value(child) if child.references or child.target else child.value
        for child in flow
        if child.relationship not in CONTEXT
    )
    yield indent + running.replace("\n", f"\n{indent}")
    for child in item.children:
        if child.children or child.relationship in CONTEXT or child.value_type == "CONTAINER":
            yield from _item(child, depth + 1)


def _item(item: Item, depth: int) -> Iterator[str]:
    indent = "  " * min(depth, DEEPEST)
    if item.value_type == "CONTAINER" and depth == 0:
        yield ""
    value = _value(item).replace("\n", f"\n{indent}  ")
    name = item.name.label if item.name is not None else ""
    how = HOW.get(item.relationship, item.relationship.lower())
    line = ": ".join(part for part in (name, value) if part)
    when = f"(observed {item.observed})" if item.observed else ""
    yield indent + " ".join(part for part in (how, line, when) if part)
    yield from _content(item, depth + 1)


def _value(item: Item) -> str:
    if item.target:
        return f"see item {item.target}"
    if item.references:
        return "; ".join(map(_reference, item.references))
    if item.value_type == "CODE" and item.detail:
        return f"{item.value} {item.detail}"
    return item.value


def _reference(reference: Reference) -> str:
    frames = ", ".join(map(str, reference.frames))
    parts = (reference.sop_instance_uid, f"frame {frames}" if frames else "", reference.note)
    return f"{reference.kind} " + ", ".join(part for part in parts if part)
