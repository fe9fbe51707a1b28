"""A data set as a reader wants to ask it: by keyword, in text, whatever character set it has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from filmroom.dicom import vrs
from filmroom.dicom.elements import (
    DataSet,
    charsets_of,
    get_items,
    get_numbers,
    get_text,
    get_texts,
    read_data_set,
)
from filmroom.dicom.errors import Malformed
from filmroom.dicom.notation import Buffer
from filmroom.dicom.tags import SPECIFIC_CHARACTER_SET
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.pixel.errors import Undecodable

MAX_DEPTH = 128  # deeper than any report that a person could follow


@cache
def _tag(keyword: str) -> int:
    tag = vrs.tag_of(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


class Look:
    """One data set or item; an item without a character set of its own has its parent's."""

    __slots__ = ("_charsets", "_ds")

    def __init__(self, ds: DataSet, charsets: tuple[str, ...] = ()) -> None:
        self._ds = ds
        self._charsets = charsets_of(ds) if SPECIFIC_CHARACTER_SET in ds else charsets

    def text(self, keyword: str) -> str:
        """The value as text, several joined by backslashes; "" when there is none."""
        return get_text(self._ds, _tag(keyword), self._charsets)

    def texts(self, keyword: str) -> list[str]:
        """The values as texts."""
        return get_texts(self._ds, _tag(keyword), self._charsets)

    def numbers(self, keyword: str) -> list[float]:
        """The values as numbers; those that are none are left out."""
        tag = _tag(keyword)
        binary = get_numbers(self._ds, tag)
        if binary:
            return [float(value) for value in binary]
        found = []
        for text in self.texts(keyword):
            try:
                found.append(float(text))
            except ValueError:
                continue
        return found

    def items(self, keyword: str) -> list[Look]:
        """The items of a sequence."""
        return [Look(item, self._charsets) for item in get_items(self._ds, _tag(keyword))]

    def first(self, keyword: str) -> Look:
        """The first item of a sequence; an empty one when there is none."""
        items: Sequence[DataSet] = get_items(self._ds, _tag(keyword))
        return Look(items[0], self._charsets) if items else Look({})

    def __contains__(self, keyword: str) -> bool:
        return _tag(keyword) in self._ds


def look_at(data: Buffer, transfer_syntax_uid: str) -> Look:
    """A whole data set, not deflated; Undecodable when any of it cannot be read.

    Strict, unlike the metadata: a report of which a part is missing must not be shown as if
    it were whole.
    """
    syntax = TRANSFER_SYNTAXES[transfer_syntax_uid]
    try:
        ds = read_data_set(
            bytes(data),
            explicit_vr=syntax.explicit_vr,
            little_endian=syntax.little_endian,
            max_depth=MAX_DEPTH,
        )
    except Malformed as error:
        raise Undecodable(str(error)) from None
    return Look(ds)
