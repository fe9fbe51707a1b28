"""Files around data sets that mean no good: meta headers, preambles, archives, media, bombs."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hostile_files import (
    DEFLATED,
    EITHER,
    ITEM,
    REFUSED,
    STORED,
    Bad,
    data_set,
    delimiter,
    element,
    padded,
    part10,
    raw_deflate,
    uid_of,
)

MIB = 1 << 20

PREAMBLES = {
    "PE": b"MZ\x90\0" + b"\1" * 124,
    "ELF": b"\x7fELF\2\1\1" + b"\0" * 121,
    "shell": b"#!/bin/sh\necho pwned\nexit\n".ljust(128),
    "HTML": b"<html><script>alert(1)</script>".ljust(128, b"<"),
    "TIFF": b"II*\0\x08\0\0\0".ljust(128, b"\0"),
    "PDF": b"%PDF-1.7".ljust(128),
}


@dataclass(frozen=True)
class Whole:
    """A file as it is, what may become of it, and the UID of what is in it."""

    content: bytes
    expected: str
    uid: str


def meta_files() -> dict[str, Whole]:
    """Files whose File Meta Information is wrong, by what is wrong with it."""
    noise = random.Random(4)
    found = {}
    for name, (expected, make) in _META.items():
        uid = uid_of(f"meta header: {name}")
        found[name] = Whole(make(data_set(uid), uid, noise), expected, uid)
    return found


def _around(**options: Any) -> Callable[[bytes, str, random.Random], bytes]:
    """A file with these options of `part10`."""
    return lambda body, uid, noise: part10(body, uid, **options)


def _of(change: Callable[[bytes], bytes]) -> Callable[[bytes, str, random.Random], bytes]:
    """A sound file, changed."""
    return lambda body, uid, noise: change(part10(body, uid))


_META: dict[str, tuple[str, Callable[[bytes, str, random.Random], bytes]]] = {
    "nothing": (REFUSED, _of(lambda file: b"")),
    "a preamble": (REFUSED, _of(lambda file: file[:128])),
    "a preamble and DICM": (REFUSED, _of(lambda file: file[:132])),
    "cut in the meta header": (REFUSED, _of(lambda file: file[:200])),
    "meta header alone": (REFUSED, lambda body, uid, noise: part10(b"", uid)),
    "VR ZZ in the meta header": (REFUSED, _around(more=element(0x00020100, "ZZ", b"abcd"))),
    "a 2 GiB value in the meta header": (
        REFUSED, _around(more=element(0x00020102, "OB", b"ab", length=0x7FFFFFFF))),
    "meta header of 1 MiB": (REFUSED, _around(more=element(0x00020102, "OB", bytes(1 << 20)))),
    "10,000 meta elements": (EITHER, _around(more=element(0x00020016, "AE", b"") * 10_000)),
    "no transfer syntax": (EITHER, _around(ts=None)),
    "unknown transfer syntax": (REFUSED, _around(ts="1.2.3.4")),
    "transfer syntax of a path": (REFUSED, _around(ts="../../../etc")),
    "transfer syntax of 70 digits": (REFUSED, _around(ts="1" * 70)),
    "wrong group length": (STORED, _of(lambda file: changed(file, 140, b"\xff\xff\xff\x7f"))),
    "meta header of another instance": (
        EITHER, lambda body, uid, noise: part10(body, uid_of("another"))),
    "meta header of a path": (EITHER, lambda body, uid, noise: part10(body, "../../etc/passwd")),
    "two files in one": (REFUSED, _of(lambda file: file * 2)),
    "a ZIP": (REFUSED, _of(lambda file: zipped({"a.txt": b"a text"}))),
    "a gzip": (REFUSED, _of(lambda file: gzip.compress(file, mtime=0))),
    "HTML": (REFUSED, _of(lambda file: b"<!DOCTYPE html><script>alert(1)</script>" * 50)),
    "noise": (REFUSED, lambda body, uid, noise: noise.randbytes(100_000)),
    "noise after DICM": (
        REFUSED, lambda body, uid, noise: bytes(128) + b"DICM" + noise.randbytes(100_000)),
    "DICM 30,000 times": (REFUSED, _of(lambda file: b"DICM" * 30_000)),
}  # fmt: skip


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive of these members, the same in every run."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def deflate_bomb(mebibytes):
    """A deflated data set that is mostly zeros."""
    uid = uid_of(f"bomb of {mebibytes} MiB")
    filling = element(0x7FE00010, "OW", b"", length=mebibytes * MIB)
    whole = data_set(uid, {0x7FE00010: ("", b"")}) + filling + bytes(mebibytes * MIB)
    return Bad(f"{mebibytes} MiB", raw_deflate(whole), ts=DEFLATED, uid=uid)


def dicomdir(*references):
    """A directory file whose records refer to these files."""
    records = b""
    for reference in references:
        record = element(0x00041430, "CS", b"IMAGE ")
        record += element(0x00041500, "CS", padded(reference))
        records += delimiter(ITEM, len(record)) + record
    body = element(0x00041220, "SQ", records)
    return part10(body, uid_of("directory"), sop_class="1.2.840.10008.1.3.10")


# -- archives and media (row 48, V1-R18) ---------------------------------------------------------
CLIMBING = (
    "../../../escape.dcm", "/tmp/escape.dcm", "..\\..\\escape.dcm", "C:\\escape.dcm",
    "a\x1b[31m.dcm", "x" * 5000, "~/escape.dcm", "\\\\server\\share\\escape.dcm", "CON.dcm",
    "a/../../escape.dcm", "./././escape.dcm", "escape.dcm\u202egpj", "$(touch escape).dcm",
)  # fmt: skip
SYMBOLIC_LINK = 0o120777 << 16


@dataclass(frozen=True)
class Pack:
    """A file to import, the UIDs of what is in it, and how many of those may be stored."""

    content: bytes
    uids: tuple[str, ...]
    stored: str  # an expression for the number of them
    suffix: str = ".zip"


def sound_file(name: str) -> tuple[str, bytes]:
    """A good instance that belongs to a hostile archive, and its UID."""
    uid = uid_of(f"member {name}")
    return uid, part10(data_set(uid), uid)


def packs() -> dict[str, Pack]:
    """ZIP archives and DICOMDIRs that lie; what is sound in them is imported all the same."""
    found = {}
    for name, (stored, make) in _PACKS.items():
        uid, sound = sound_file(name)
        found[name] = Pack(make(sound), (uid,), stored)
    for name in ("members that climb", "an archive cut in half"):
        many = {member: sound_file(f"{name}: {member}") for member in CLIMBING}
        uids = tuple(uid for uid, _ in many.values())
        content = zipped({member: file for member, (_, file) in many.items()})
        found[name] = Pack(content, uids, str(len(uids)))
        if "cut" in name:
            found[name] = Pack(content[: len(content) // 2], uids, "0")
    for name, references in _DIRECTORIES.items():
        content = dicomdir(*references)
        found[name] = Pack(content, (sound_file("secret")[0],), "0", "/DICOMDIR")
    found["a directory of noise"] = Pack(random.Random(6).randbytes(3000), (), "0", "/DICOMDIR")
    return found


def _changed(at: int, other: bytes, *, in_directory: bool = True) -> Callable[[bytes], bytes]:
    """An archive of one file, with other bytes in its central directory or local header."""

    def make(file: bytes) -> bytes:
        archive = zipped({"lying.dcm": file})
        start = archive.rfind(b"PK\1\2") if in_directory else 0
        return changed(archive, start + at, other)

    return make


def _both(at: tuple[int, int], other: bytes) -> Callable[[bytes], bytes]:
    """The same in both headers."""

    def make(file: bytes) -> bytes:
        archive = _changed(at[0], other, in_directory=False)(file)
        return changed(archive, archive.rfind(b"PK\1\2") + at[1], other)

    return make


def _nested(file: bytes) -> bytes:
    for _ in range(50):
        file = zipped({"inner.zip": file})
    return file


_PACKS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "noise for an archive": ("0", lambda file: b"PK\3\4" + random.Random(5).randbytes(5000)),
    "a bomb": ("0", lambda file: zipped({"bomb.dcm": file + bytes(300 * MIB)})),
    "a size that lies": ("[01]", _changed(24, b"\xff\xff\xff\x7f")),
    "an offset that lies": ("0", _changed(42, b"\xf0\xff\xff\x7f")),
    "a checksum that lies": ("0", _changed(16, bytes(4))),
    "an unknown method": ("0", _both((8, 10), b"\x63")),
    "encrypted": ("0", _both((6, 8), b"\1")),
    "archives 50 deep": ("0", _nested),
    "a link for a member": ("0", lambda file: linked("../../../etc/passwd")),
    "members on top of each other": ("[01]", lambda file: overlapping(file)),
    "20,000 members": ("1", lambda file: zipped({f"{n}.txt": b"" for n in range(20_000)}
                                                | {"sound.dcm": file})),
    "only an end": ("0", lambda file: b"PK\5\6" + bytes(18)),
    "an end of 4 billion members": ("0", lambda file: b"PK\5\6" + bytes(4) + b"\xff" * 12
                                    + bytes(2)),
}  # fmt: skip
_DIRECTORIES = {
    "a directory that climbs": ("..\\..\\SECRET", "..\\SECRET", "/etc/passwd"),
    "a directory of dots": (".", "..", "...", "", "A\\..\\..\\SECRET"),
    "a directory of itself": ("DICOMDIR", "DICOMDIR", "dicomdir"),
    "a directory of 20,000": ("A\\B",) * 20_000,
}


def changed(content: bytes, at: int, other: bytes) -> bytes:
    """The same bytes but for some."""
    return content[:at] + other + content[at + len(other) :]


def linked(target: str) -> bytes:
    """An archive whose only member is a symbolic link."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo("link.dcm")
        member.create_system = 3  # Unix
        member.external_attr = SYMBOLIC_LINK
        archive.writestr(member, target)
    return buffer.getvalue()


def overlapping(file: bytes) -> bytes:
    """An archive that lists one member a thousand times."""
    single = zipped({"same.dcm": file})
    at, end = single.rfind(b"PK\1\2"), single.rfind(b"PK\5\6")
    entry = single[at:end]
    count = 1000
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, count * len(entry), at, 0)
    return single[:at] + entry * count + tail
