"""A report as an HTML page: no script, nothing from elsewhere but pictures of this archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from filmroom.documents.markup import Markup, element, joined
from filmroom.documents.report import Item, Reference, Report
from filmroom.documents.style import STYLE

THUMBNAILS = 200  # pictures in one page; further references are links only

# Not for every relationship: what a container contains needs no word (C.17.3.2.4).
HOW = {
    "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
    "HAS ACQ CONTEXT": "acquired",
    "HAS CONCEPT MOD": "",
    "HAS OBS CONTEXT": "",
    "HAS PROPERTIES": "",
    "CONTAINS": "",
}
CONTEXT = frozenset({"HAS OBS CONTEXT", "HAS CONCEPT MOD", "HAS ACQ CONTEXT"})
UNSURE = frozenset({"PARTIAL", "UNVERIFIED", "PRELIMINARY"})


def html_of(report: Report, links: Mapping[str, str]) -> str:
    """links: SOP Instance UID -> path of the instance, for those that are held and can be shown."""
    return _Page(report, links).whole()


class _Page:
    def __init__(self, report: Report, links: Mapping[str, str]) -> None:
        self._report = report
        self._links = links
        self._pictures = THUMBNAILS
        self._targets = set(_targets(report.root))

    def whole(self) -> str:
        report = self._report
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", report.title),
            element("style", Markup(STYLE)),
        )
        facts = [
            joined(element("dt", what), element("dd", self._fact(value)))
            for what, value in report.facts
        ]
        if report.predecessors:
            before = joined(*(self._link(each) for each in report.predecessors))
            facts.append(joined(element("dt", "Replaces"), element("dd", before)))
        top = element("header", element("h1", _bdi(report.title)), element("dl", *facts))
        body = element("body", top, element("main", *self._content(report.root, 2)))
        page = element("html", head, body, lang=report.language or "en")
        return f"<!DOCTYPE html>\n{page}\n"

    def _fact(self, value: str) -> Markup:
        if value.partition(",")[0] in UNSURE:
            return element("bdi", value, class_="unsure")
        return _bdi(value)

    # -- content ------------------------------------------------------------------------------
    def _content(self, root: Item, level: int) -> Iterator[Markup]:
        """What a container holds; what it is observed in and by first."""
        if root.observed:
            yield element("p", f"observed {root.observed}", class_="when")
        if root.continuous:
            yield from self._running(root, level)
        else:
            yield from (self._any(child, level) for child in root.children)

    def _any(self, item: Item, level: int) -> Markup:
        return self._section(item, level) if item.value_type == "CONTAINER" else self._item(item)

    def _section(self, item: Item, level: int) -> Markup:
        heading = Markup("")
        if item.name is not None:
            title = element("bdi", item.name.label, title=item.name.detail)
            heading = element(f"h{min(level, 6)}", _how(item), title)
        inside = self._content(item, level + 1)
        return element("section", heading, *inside, id=self._anchor(item))

    def _item(self, item: Item) -> Markup:
        kind = "item context" if item.relationship in CONTEXT else "item"
        line = [_how(item), self._name(item), self._value(item), _when(item)]
        return element("div", *line, self._under(item), class_=kind, id=self._anchor(item))

    def _under(self, item: Item) -> Markup:
        if not item.children:
            return Markup("")
        return element("div", *(self._any(child, 6) for child in item.children), class_="under")

    def _running(self, root: Item, level: int) -> Iterator[Markup]:
        """Continuous content: one paragraph, its notes after it (C.17.3.1)."""
        line: list[Markup] = []
        notes: list[Markup] = []
        for child in root.children:
            if child.value_type == "CONTAINER" or child.relationship in CONTEXT:
                if child.relationship in CONTEXT:
                    yield self._any(child, level)
                else:
                    notes.append(self._any(child, level))
                continue
            title = child.name.label if child.name else ""
            seen = self._inline(child)
            value = element("span", seen, title=title, id=self._anchor(child))
            line.append(joined(value, _when(child), Markup(" ")))
            if child.children:
                lead = element("span", _short(child), class_="name")
                notes.append(element("div", lead, self._under(child), class_="item"))
        if line:
            yield element("p", *line, class_="flow")
        yield from notes

    def _inline(self, item: Item) -> Markup:
        """A value within a line: no pictures."""
        if item.references:
            return joined(*(self._link(each) for each in item.references))
        return self._value(item) if item.target else _bdi(item.value)

    def _name(self, item: Item) -> Markup:
        if item.name is None or item.value_type == "":
            return Markup("")
        return element("bdi", item.name.label, class_="name", title=item.name.detail)

    def _value(self, item: Item) -> Markup:
        if item.target:
            return joined("see ", element("a", _named(item.target), href=f"#item-{item.target}"))
        if item.references:
            return joined(*(self._picture(each) for each in item.references))
        if not item.value:
            return Markup("")
        kind = "value num" if item.value_type == "NUM" else "value"
        value = element("bdi", item.value, class_=kind, title=item.detail)
        if item.value_type != "CODE" or not item.detail:
            return value
        return joined(value, " ", element("bdi", item.detail, class_="note"))

    # -- references ---------------------------------------------------------------------------
    def _picture(self, reference: Reference) -> Markup:
        """A reference, with a small picture where there is one."""
        path = self._links.get(reference.sop_instance_uid)
        link = self._link(reference)
        if path is None or self._pictures <= 0:
            return link
        self._pictures -= 1
        shown = f"{path}/frames/{reference.frames[0]}" if reference.frames else path
        image = element("img", src=f"{shown}/thumbnail", alt="", loading="lazy")
        seen = element("a", image, href=f"{shown}/rendered")
        return element("figure", seen, element("figcaption", link))

    def _link(self, reference: Reference) -> Markup:
        path = self._links.get(reference.sop_instance_uid)
        uid = reference.sop_instance_uid
        if path is None:
            name: Markup = element("bdi", reference.kind, title=uid, class_="value")
            parts: list[str] = [name, " ", element("span", f"(not here: {uid})", class_="note")]
        else:
            parts = [element("a", reference.kind, href=f"{path}/rendered", title=uid)]
        for at, frame in enumerate(reference.frames):
            parts.append(", " if at else ", frame ")
            href = f"{path}/frames/{frame}/rendered" if path is not None else ""
            parts.append(element("a", str(frame), href=href) if href else str(frame))
        if reference.note:
            parts.append(element("span", f" ({reference.note})", class_="note"))
        return element("span", *parts, " ")

    def _anchor(self, item: Item) -> str:
        return f"item-{item.position}" if item.position in self._targets else ""


def _targets(root: Item) -> Iterator[str]:
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if item.target:
            yield item.target
        waiting.extend(item.children)


def _named(target: str) -> str:
    return f"item {target}"


def _bdi(value: str) -> Markup:
    """A value that cannot turn the reading order of its surroundings."""
    return element("bdi", value, class_="value")


def _how(item: Item) -> Markup:
    word = HOW.get(item.relationship, item.relationship.lower())
    return element("span", word, class_="how") if word else Markup("")


def _when(item: Item) -> Markup:
    return (
        element("span", f" (observed {item.observed})", class_="when")
        if item.observed
        else (Markup(""))
    )


def _short(item: Item) -> str:
    whole = " ".join((item.value or (item.name.label if item.name else "")).split())
    return whole if len(whole) <= 60 else whole[:59] + "…"
