"""When recoding loses something, and what a lossy copy says of itself.

PS3.3 C.7.6.1.1.2 Image Type, C.7.6.1.1.3 Derivation, C.7.6.1.1.5 Lossy Image Compression.

A copy whose pixels differ from the stored ones is another instance: it has a UID of its own,
made from the original's, the coding and its quality, so that asking twice gives the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from filmroom.dicom.elements import (
    DataSet,
    get_items,
    get_text,
    get_texts,
    put_items,
    put_text,
)
from filmroom.dicom.uids import TRANSFER_SYNTAXES
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.codecs import Loss

IMAGE_TYPE, SOP_CLASS, SOP_INSTANCE = 0x00080008, 0x00080016, 0x00080018
REFERENCED_CLASS, REFERENCED_INSTANCE = 0x00081150, 0x00081155
DERIVATION, DERIVATION_CODES, SOURCE_IMAGES = 0x00082111, 0x00089215, 0x00082112
FRAME_TYPE, DERIVATION_IMAGES = 0x00089007, 0x00089124
SMALLEST, LARGEST = 0x00280106, 0x00280107
PURPOSE, SAME_PLACE = 0x0040A170, 0x0028135A
CODE, SCHEME, MEANING = 0x00080100, 0x00080102, 0x00080104
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
LOSSY, LOSSY_RATIO, LOSSY_METHOD = 0x00282110, 0x00282112, 0x00282114

LOSSY_COMPRESSION = ("113040", "Lossy Compression")  # DCM, CID 7203
UNCOMPRESSED_PREDECESSOR = ("121320", "Uncompressed predecessor")  # DCM, CID 7202
LONGEST_DESCRIPTION = 1024  # characters of an ST

QUALITY = 90
# Transfer syntaxes that are written lossy here: only for who names them. Those that may be
# either, as JPEG 2000, are written lossless.
LOSSES: dict[str, Loss] = dict.fromkeys(
    (ts.JPEG_BASELINE, ts.JPEG_EXTENDED, ts.JPEG_XL), Loss(quality=QUALITY)
)

# Whose codestreams are also valid ones of another transfer syntax, byte by byte.
SERVES_AS: dict[str, frozenset[str]] = {
    ts.HTJ2K_LOSSLESS_RPCL: frozenset({ts.HTJ2K_LOSSLESS, ts.HTJ2K}),
    ts.HTJ2K_LOSSLESS: frozenset({ts.HTJ2K}),
    ts.J2K_LOSSLESS: frozenset({ts.J2K}),
    ts.JPEG_LS_LOSSLESS: frozenset({ts.JPEG_LS_NEAR}),
    ts.JPEG_LOSSLESS_SV1: frozenset({ts.JPEG_LOSSLESS}),
    ts.JPEG_XL_LOSSLESS: frozenset({ts.JPEG_XL}),
}
# The same JPEG in another wrapping.
REWRAPPED = {
    (ts.JPEG_BASELINE, ts.JPEG_XL_RECOMPRESSION),
    (ts.JPEG_XL_RECOMPRESSION, ts.JPEG_BASELINE),
}

# PS3.3 C.7.6.1.1.5.1, by what may have lost something.
METHODS: dict[str, str] = {
    ts.JPEG_BASELINE: "ISO_10918_1",
    ts.JPEG_EXTENDED: "ISO_10918_1",
    ts.JPEG_LS_NEAR: "ISO_14495_1",
    ts.J2K: "ISO_15444_1",
    ts.J2K_COMPONENTS: "ISO_15444_2",
    ts.HTJ2K: "ISO_15444_15",
    ts.JPEG_XL_RECOMPRESSION: "ISO_18181_1",
    ts.JPEG_XL: "ISO_18181_1",
}


def serves_as(from_syntax: str, to_syntax: str) -> bool:
    """Whether compressed frames need no change to be of the other syntax."""
    same = from_syntax == to_syntax and from_syntax not in ts.NATIVE
    return same or to_syntax in SERVES_AS.get(from_syntax, ())


def keeps_samples_coded(from_syntax: str, to_syntax: str) -> bool:
    """Whether frames become those of the other syntax without being decoded."""
    return serves_as(from_syntax, to_syntax) or (from_syntax, to_syntax) in REWRAPPED


def loses(from_syntax: str, to_syntax: str) -> bool:
    """Whether coding frames anew in `to_syntax` changes sample values."""
    return to_syntax in LOSSES and not keeps_samples_coded(from_syntax, to_syntax)


def instance_uid(sop_instance_uid: str, from_syntax: str, to_syntax: str) -> str:
    """The SOP Instance UID in another syntax: the same, but for a lossy copy (PS3.5 B.2)."""
    if not loses(from_syntax, to_syntax):
        return sop_instance_uid
    name = f"{sop_instance_uid}/{to_syntax}/{QUALITY}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def put_earlier_loss(data_set: DataSet, from_syntax: str, ratio: float | None) -> None:
    """Say what the stored coding, which now goes away, may have lost.

    ratio: of uncompressed to stored bytes, None when nobody knows.
    """
    if from_syntax not in METHODS:
        return
    if from_syntax not in ts.JPEG_DCT and get_text(data_set, LOSSY):
        return  # reversible or not, the header knows
    put_text(data_set, LOSSY, "01", "CS")
    if not get_text(data_set, LOSSY_METHOD) and not get_text(data_set, LOSSY_RATIO):
        put_text(data_set, LOSSY_METHOD, METHODS[from_syntax], "CS")
        if ratio is not None:
            put_text(data_set, LOSSY_RATIO, _decimal(ratio), "DS")


def put_loss(data_set: DataSet, from_syntax: str, to_syntax: str, ratio: float) -> None:
    """Make the header that of a lossy copy in `to_syntax`, compressed `ratio` to one."""
    original_class = get_text(data_set, SOP_CLASS).strip("\0 ")
    original = get_text(data_set, SOP_INSTANCE).strip("\0 ")
    put_text(data_set, SOP_INSTANCE, instance_uid(original, from_syntax, to_syntax), "UI")
    kind = get_texts(data_set, IMAGE_TYPE)[1:] or ["PRIMARY"]
    put_text(data_set, IMAGE_TYPE, ["DERIVED", *kind], "CS")
    _put_derivation(data_set, original_class, original, _described(to_syntax, ratio))
    _put_in_groups(data_set, original_class, original, _described(to_syntax, ratio))
    put_text(data_set, LOSSY, "01", "CS")
    # One of each for every step (C.7.6.1.1.5). What is missing is of the first ones: methods
    # came into the standard after ratios. It stays empty rather than that the rest be dropped.
    ratios, methods = get_texts(data_set, LOSSY_RATIO), get_texts(data_set, LOSSY_METHOD)
    steps = max(len(ratios), len(methods))
    for tag, vr, before, value in (
        (LOSSY_RATIO, "DS", ratios, _decimal(ratio)),
        (LOSSY_METHOD, "CS", methods, METHODS[to_syntax]),
    ):
        put_text(data_set, tag, [*[""] * (steps - len(before)), *before, value], vr)
    for tag in (SMALLEST, LARGEST):  # no longer true, and nobody needs them
        data_set.pop(tag, None)


def _described(to_syntax: str, ratio: float) -> str:
    name = TRANSFER_SYNTAXES[to_syntax].name
    return f"Lossy compression: {name}, quality {QUALITY}, {_decimal(ratio)}:1"


def _put_derivation(item: DataSet, sop_class: str, sop_instance: str, words: str) -> None:
    """What was done, and to what, after what was done before."""
    before = get_text(item, DERIVATION).strip()
    text = f"{before}; {words}" if before else words
    put_text(item, DERIVATION, text if len(text) <= LONGEST_DESCRIPTION else words, "ST")
    put_items(item, DERIVATION_CODES, *get_items(item, DERIVATION_CODES), _code(LOSSY_COMPRESSION))
    source: DataSet = {}
    put_text(source, REFERENCED_CLASS, sop_class, "UI")
    put_text(source, REFERENCED_INSTANCE, sop_instance, "UI")
    put_text(source, SAME_PLACE, "YES", "CS")
    put_items(source, PURPOSE, _code(UNCOMPRESSED_PREDECESSOR))
    put_items(item, SOURCE_IMAGES, *get_items(item, SOURCE_IMAGES), source)


def _put_in_groups(data_set: DataSet, sop_class: str, sop_instance: str, words: str) -> None:
    """The same of every frame of an enhanced image: its Frame Type and Derivation Image macro."""
    shared, by_frame = get_items(data_set, SHARED_GROUPS), get_items(data_set, FRAME_GROUPS)
    if not shared and not by_frame:
        return
    for group in _nested([*shared, *by_frame]):
        if FRAME_TYPE in group:
            rest = get_texts(group, FRAME_TYPE)[1:]
            put_text(group, FRAME_TYPE, ["DERIVED", *rest], "CS")
    # The macro stands either in the shared groups or in those of the frames (C.7.6.16).
    in_frames = not shared or any(DERIVATION_IMAGES in group for group in by_frame)
    for group in by_frame if in_frames else shared[:1]:
        done: DataSet = {}
        _put_derivation(done, sop_class, sop_instance, words)
        put_items(group, DERIVATION_IMAGES, *get_items(group, DERIVATION_IMAGES), done)


def _nested(groups: Iterable[DataSet]) -> Iterable[DataSet]:
    for group in groups:
        for element in list(group.values()):
            yield from element.items


def _code(coded: tuple[str, str]) -> DataSet:
    item: DataSet = {}
    put_text(item, CODE, coded[0], "SH")
    put_text(item, SCHEME, "DCM", "SH")
    put_text(item, MEANING, coded[1], "LO")
    return item


def _decimal(ratio: float) -> str:
    return f"{ratio:.4g}" if 0.001 <= ratio < 1e6 else f"{ratio:.3e}"
