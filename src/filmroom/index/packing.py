"""Making rows small: the JSON of an instance and the key of its file, packed and unpacked.

The JSON of one instance is 500 bytes of which 400 are the same in all of them, and the
key of a file repeats three UIDs that the row and its parents hold already. Phrases are
replaced with control characters, which JSON text and keys never contain. Deflate would
save a little more, but each call of it gives up the interpreter's lock: unpacking 500
rows beside a busy thread took half a second.
"""

from __future__ import annotations

from collections.abc import Iterable

_STUDY, _SERIES, _INSTANCE = "\x01", "\x02", "\x03"

# Never change or reorder these: rows in existence need them. JSON may be spaced with
# 0x09, 0x0A and 0x0D, so those stand for themselves.
_PHRASES: tuple[tuple[bytes, bytes], ...] = (
    (b"\x02", b'"00080008":{"vr":"CS","Value":["ORIGINAL","PRIMARY","AXIAL"'),
    (b"\x03", b'"00080008":{"vr":"CS","Value":["'),
    (b"\x04", b'"00080016":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.'),
    (b"\x05", b'"00080018":{"vr":"UI","Value":["\x01"]},'),
    (b"\x06", b'"00080023":{"vr":"DA","Value":["20'),
    (b"\x07", b'"00080033":{"vr":"TM","Value":["'),
    (b"\x08", b'"00200012":{"vr":"IS","Value":['),
    (b"\x0b", b'"00200013":{"vr":"IS","Value":['),
    (b"\x0c", b'"00280008":{"vr":"IS","Value":['),
    (b"\x0e", b'"00280010":{"vr":"US","Value":['),
    (b"\x0f", b'"00280011":{"vr":"US","Value":['),
    (b"\x10", b'"00280100":{"vr":"US","Value":[16]}}'),
    (b"\x11", b'"00280100":{"vr":"US","Value":['),
    (b"\x12", b'"0040A043":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["'),
    (b"\x13", b'"00080102":{"vr":"SH","Value":["'),
    (b"\x14", b'"00080104":{"vr":"LO","Value":["'),
    (b"\x15", b'"0040A491":{"vr":"CS","Value":["COMPLETE"]},'),
    (b"\x16", b'"0040A493":{"vr":"CS","Value":["UNVERIFIED"]}'),
    (b"\x17", b'":{"vr":"CS","Value":["'),
    (b"\x18", b'":{"vr":"LO","Value":["'),
    (b"\x19", b'":{"vr":"SH","Value":["'),
    (b"\x1a", b'":{"vr":"UI","Value":["'),
    (b"\x1b", b'":{"vr":"DA","Value":["'),
    (b"\x1c", b'":{"vr":"'),
    (b"\x1d", b'","Value":['),
    (b"\x1e", b'"]},'),
    (b"\x1f", b"]},"),
)
_BACK = tuple(reversed(_PHRASES))


def pack(attributes: bytes, uid: str = "") -> bytes:
    """DICOM JSON made small; uid: of the row, which has a column for it."""
    if uid:
        attributes = attributes.replace(uid.encode(), b"\x01")
    for sign, phrase in _PHRASES:
        attributes = attributes.replace(phrase, sign)
    return attributes


def unpack_all(packed: Iterable[bytes]) -> list[bytes]:
    """The DICOM JSON of many rows; \\x01 still stands where the row's own UID belongs.

    Together, because most of the work is to look for each sign in vain.
    """
    together = b"\0".join(packed)
    for sign, phrase in _BACK:
        together = together.replace(sign, phrase)
    return together.split(b"\0")


def pack_key(key: str, study: str, series: str, instance: str) -> str:
    """A blob key with the UIDs in it replaced by one character each."""
    packed = key.replace(instance, _INSTANCE).replace(series, _SERIES)
    return packed.replace(study, _STUDY)


def unpack_key(packed: str, study: str, series: str, instance: str) -> str:
    """The blob key that `pack_key` was given."""
    key = packed.replace(_STUDY, study).replace(_SERIES, series)
    return key.replace(_INSTANCE, instance)
