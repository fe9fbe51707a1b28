"""Matching as values: what a query key asks for (PS3.4 C.2.2.2).

A key of zero length matches everything (C.2.2.2.3): it is no Match at all, only a
return key. Parsing from DIMSE text or a QIDO parameter ends in the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Single:
    """Equal to this value (C.2.2.2.1); PN is compared without case."""

    value: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Equal to one of these: list of UID (C.2.2.2.2) and multi-valued keys."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`*` any run of characters, `?` any one (C.2.2.2.4)."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    """Between two values, both ends included; None is open (C.2.2.2.5)."""

    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """A person's name, semantically (C.2.2.2.1.1): every word starts a word of the name."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """At least one item of the sequence matches all of these (C.2.2.2.6)."""

    keys: Mapping[str, Match]


Match = Single | AnyOf | Wildcard | Range | Fuzzy | Items
