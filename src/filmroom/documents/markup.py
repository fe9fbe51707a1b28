"""HTML and SVG out of pieces: what is not `Markup` already is escaped, always."""

from __future__ import annotations

from html import escape

from filmroom.documents.wording import harmless


class Markup(str):
    """Text that is markup, because this module has made it."""

    __slots__ = ()


VOID = frozenset({"br", "hr", "img", "meta"})


def text(value: str) -> Markup:
    """A value as markup: seen as it is, whatever is in it."""
    return Markup(escape(harmless(value), quote=True))


def element(name: str, /, *inside: str, **attributes: str) -> Markup:
    """One element. An attribute named with underscores is written with hyphens (`class_` for
    class); an empty one is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(*inside)}</{name}>")


def joined(*inside: str) -> Markup:
    """Pieces one after the other, those that are plain text escaped."""
    return Markup("".join([each if isinstance(each, Markup) else text(each) for each in inside]))
