"""Sequences and items, jumped over or looked into without recursion (PS3.5 7.5).

Hostile nesting costs neither recursion nor memory: there is a stack of our own, and a
depth at which it ends, for sequences of whatever length in whatever notation. Nor does it
cost time without end: all loops of one look at a data set share a budget of steps.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import repeat

from filmroom.dicom.errors import Malformed
from filmroom.dicom.notation import (
    FORGET_BYTES,
    IMPLICIT_LE,
    UNDEFINED,
    Buffer,
    Notation,
    TooShort,
    element_header,
    forget,
    is_sequence,
)

MAX_DEPTH = 256
MAX_STEPS = 1 << 22  # elements, items and fragments looked at in one data set: seconds at most
LEVEL_BYTES = 16  # least that one level of nesting takes: an item's and an element's header


Steps = Iterator[None]


def budget() -> Steps:
    """Steps for one look at a data set; a loop that finds none left raises `too_many`."""
    return repeat(None, MAX_STEPS)


def too_many() -> Malformed:
    """Nobody could make use of so many elements."""
    return Malformed(f"the data set has more than {MAX_STEPS} elements and items")


def may_be_deep(depth: int, length: int) -> bool:
    """Whether so many bytes at that depth can hold more levels than are allowed."""
    return depth + length // LEVEL_BYTES > MAX_DEPTH


def check_items(
    head: Buffer, at: int, length: int, n: Notation, steps: Steps | None = None
) -> None:
    """Refuse a sequence of defined length whose items do not fill it (PS3.5 7.5.1).

    The items are counted through, not read: what is wrong inside them stays unseen.
    """
    end = at + length
    if end > len(head):
        raise TooShort(end)
    steps = steps or budget()
    for _ in steps:
        if at >= end:
            break
        read, length = n.implicit.unpack_from(head, at)
        if read not in n.delimiters:
            raise Malformed("a sequence holds something that is not an item")
        at += 8
        if read == n.item:
            at = skip_item(head, at, n, steps) if length == UNDEFINED else at + length
    else:
        raise too_many()
    if at > end:
        raise Malformed("an item reaches past the end of its sequence")


def next_item(
    data: Buffer, at: int, end: int, n: Notation, *, delimited: bool
) -> tuple[int | None, int]:
    """(length of the next item, where its content begins); no length after the last one.

    delimited: a delimiter ends the sequence, not `end`. Raises Malformed or TooShort.
    """
    while delimited or at < end:
        if at + 8 > end:
            raise TooShort(at + 8)
        read, length = n.implicit.unpack_from(data, at)
        at += 8
        if read == n.sequence_end:
            break
        if read == n.item_end:
            continue
        if read != n.item:
            raise Malformed("a sequence holds something that is not an item")
        if length != UNDEFINED and at + length > end:
            raise TooShort(at + length)
        return length, at
    return None, at


def skip_item(head: Buffer, at: int, n: Notation, steps: Steps | None = None) -> int:
    """The end of an item of undefined length whose content begins at `at`."""
    steps = steps or budget()
    for _ in steps:
        read = n.length.unpack_from(head, at)[0]
        start, length, vr = element_header(head, at, n)
        if read == n.item_end:
            return start
        if length == UNDEFINED:
            at = skip_undefined(head, start, IMPLICIT_LE if vr in (b"UN", b"") else n, steps)
        else:
            at = start + length
    raise too_many()


def skip_undefined(head: Buffer, at: int, n: Notation, steps: Steps | None = None) -> int:
    """The end of a sequence of undefined length whose value begins at `at`.

    Raises Malformed when it is nested deeper than MAX_DEPTH or not made of items.
    """
    size = len(head)
    outer: list[Notation] = []  # the notations of the items we are inside of
    in_item = False
    steps = steps or budget()
    for _ in steps:
        if at + 8 > size:
            raise TooShort(at + 8)
        read, length = n.implicit.unpack_from(head, at)
        if read in n.delimiters:
            at += 8
            if read == n.item:
                if in_item:
                    raise Malformed("an item begins inside an item")
                if length == UNDEFINED:
                    in_item = True
                else:
                    if may_be_deep(len(outer) + 1, length):
                        check_depth(head, at, at + length, n, len(outer) + 1, steps, in_item=True)
                    at += length
            elif read == n.item_end:
                in_item = False
            elif not outer:
                return at
            else:
                n = outer.pop()
                in_item = True
        elif not in_item:
            raise Malformed("a sequence holds something that is not an item")
        else:
            start, length, vr = element_header(head, at, n)
            if length == UNDEFINED:
                if len(outer) + 2 > MAX_DEPTH:
                    raise Malformed(f"sequences are nested deeper than {MAX_DEPTH}")
                outer.append(n)
                n = IMPLICIT_LE if n.explicit_vr and vr in (b"UN", b"") else n
                in_item = False
                at = start
            else:
                if may_be_deep(len(outer) + 2, length) and is_sequence(read, vr, n):
                    check_depth(head, start, start + length, n, len(outer) + 2, steps)
                at = start + length
    raise too_many()


def skip_fragments(whole: Buffer, at: int, n: Notation) -> int:
    """The end of encapsulated pixel data whose value begins at `at` (PS3.5 A.4).

    Fragments hold no elements: nothing in them is looked at. Raises Malformed for anything
    that is no fragment.
    """
    size, remembered = len(whole), at
    for _ in budget():
        if at + 8 > size:
            raise TooShort(at + 8)
        read, length = n.implicit.unpack_from(whole, at)
        at += 8
        if read == n.sequence_end:
            return at
        if read != n.item or length == UNDEFINED:
            raise Malformed("the encapsulated pixel data is not made of fragments")
        at += length
        if at - remembered >= FORGET_BYTES:
            forget(whole)
            remembered = at
    raise too_many()


def check_depth(
    head: Buffer,
    at: int,
    end: int,
    n: Notation,
    depth: int = 1,
    steps: Steps | None = None,
    *,
    in_item: bool = False,
) -> None:
    """Raise Malformed when sequences, of whatever length, are nested deeper than MAX_DEPTH.

    at, end: the value of a sequence of that depth, or with `in_item` the content of an item
    of it. Only what is long enough to hold so many levels is looked into. What cannot be
    read ends the search: nobody else will read further.
    """
    around: list[tuple[int, Notation, int, bool]] = []
    end = min(end, len(head))
    steps = steps or budget()
    try:
        for _ in steps:
            if at + 8 > end:
                if not around:
                    return
                at = max(at, end)
                end, n, depth, in_item = around.pop()
                continue
            read, length = n.implicit.unpack_from(head, at)
            start, vr = at + 8, b""
            if in_item:
                start, length, vr = element_header(head, at, n)
            if read in n.delimiters and (in_item or read != n.item):
                if read == (n.item_end if in_item else n.sequence_end):
                    end, at = start, start  # it is over
                else:
                    at = start + (length if in_item else 0)
                continue
            if not in_item and read != n.item:
                return
            if in_item and length != UNDEFINED and not is_sequence(read, vr, n):
                at = start + length
                continue
            stop = end if length == UNDEFINED else start + length
            deeper = depth + in_item
            if deeper > MAX_DEPTH:
                raise Malformed(f"sequences are nested deeper than {MAX_DEPTH}")
            if may_be_deep(deeper, stop - start):
                around.append((end, n, depth, in_item))
                depth = deeper
                n = IMPLICIT_LE if length == UNDEFINED and vr in (b"UN", b"") and in_item else n
                at, end, in_item = start, min(stop, end), not in_item
            elif length == UNDEFINED:
                at = (skip_undefined if in_item else skip_item)(head, start, n, steps)
            else:
                at = stop
    except (struct.error, TooShort):
        return
    raise too_many()
