"""Store metadata and bulk data parts (PS3.18 10.5.1.2): JSON or XML, then the values.

Bulk parts wait in a temporary file, and pixel data go from there straight into the
intake: neither is ever whole in memory. A BulkDataURI names a part of the same request
and nothing else; no address is ever contacted.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from filmroom.archive.errors import ArchiveError, Unavailable, Unintelligible
from filmroom.dicom.dicomjson import to_elements
from filmroom.dicom.elements import write_data_set
from filmroom.dicom.errors import Malformed
from filmroom.dicom.uids import EXPLICIT_VR_LE, TRANSFER_SYNTAXES
from filmroom.dicomweb import negotiate, xml
from filmroom.dicomweb.multipart import (
    MalformedMultipart,
    MultipartReader,
    PartBegin,
    PartData,
)
from filmroom.dicomweb.negotiate import DEFAULT_SYNTAX, JSON, OCTETS, XML, parse_media_type
from filmroom.dicomweb.problems import Problem, bad_request
from filmroom.dicomweb.service import Service
from filmroom.dicomweb.stow import Storing

MAX_VALUE_BYTES = 256 * 1024 * 1024  # of one bulk value other than pixel data
STEP = 512 * 1024
PIXEL_TAGS = ("7FE00010", "7FE00008", "7FE00009")
PIXEL_VRS = ("OB", "OW", "OF", "OD")
_ITEM = struct.Struct("<HHI")
_LONG = struct.Struct("<HH2sHI")
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Value:
    """One bulk data part: where it lies in the temporary file, and what it is."""

    offset: int
    length: int
    media_type: str
    transfer_syntax_uid: str  # empty: not said


class Parts:
    """All parts of one request: the metadata in memory, bounded; the values on disk."""

    def __init__(self, max_metadata_bytes: int, spool: Path | None = None) -> None:
        """spool: a folder that has room for the values. Raises Unavailable."""
        self.data_sets: list[dict[str, Any]] = []
        self.values: dict[str, list[Value]] = {}
        self._max_metadata_bytes = max_metadata_bytes
        self._metadata_bytes = 0  # of all parts so far
        try:
            self._spool: IO[bytes] = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115 - see close()
        except OSError as error:
            raise Unavailable("no room for the bulk data", detail=str(error)) from None
        self._metadata = bytearray()
        self._headers: dict[str, str] = {}
        self._type = negotiate.MediaRange("")
        self._offset = 0
        self._end = 0

    def close(self) -> None:
        """Give the disk space back."""
        self._spool.close()

    def begin(self, headers: dict[str, str]) -> None:
        """A part begins."""
        self._headers = headers
        self._type = parse_media_type(headers.get("content-type", OCTETS))
        self._offset = self._end
        self._metadata.clear()

    def write(self, data: memoryview) -> None:
        """Its next bytes."""
        if self._type.media_type in (JSON, XML):
            self._metadata_bytes += len(data)
            if self._metadata_bytes > self._max_metadata_bytes:
                raise Problem(413, "Too Large", "the metadata is too large")
            self._metadata += data
        else:
            try:
                self._spool.write(data)
            except OSError as error:
                raise Unavailable("no room for the bulk data", detail=str(error)) from None
            self._end += len(data)

    def finish(self) -> None:
        """The part is complete."""
        if self._type.media_type == JSON:
            self.data_sets += _json_data_sets(bytes(self._metadata))
        elif self._type.media_type == XML:
            try:
                self.data_sets.append(xml.loads(bytes(self._metadata)))
            except xml.MalformedXml as error:
                raise bad_request(f"the metadata part: {error}") from None
        else:
            name = self._headers.get("content-location", "")
            syntax = self._type.transfer_syntax or ""
            value = Value(self._offset, self._end - self._offset, self._type.media_type, syntax)
            self.values.setdefault(name, []).append(value)
        self._metadata.clear()

    def read(self, uri: str) -> bytes:
        """A value that is small enough to be read whole; raises Malformed."""
        found = self.find(uri)
        if sum(value.length for value in found) > MAX_VALUE_BYTES:
            raise Malformed("a bulk data value is too large")
        return b"".join(piece for value in found for piece in self.stream(value))

    def find(self, uri: str) -> list[Value]:
        """The parts under this Content-Location; Malformed when there are none."""
        found = self.values.get(uri)
        if not found or not uri:
            raise Malformed("a BulkDataURI must be the Content-Location of a part")
        return found

    def stream(self, value: Value) -> Iterator[bytes]:
        """A value's bytes in steps."""
        at, end = value.offset, value.offset + value.length
        while at < end:
            self._spool.seek(at)
            piece = self._spool.read(min(STEP, end - at))
            yield piece
            at += len(piece)


def _json_data_sets(text: bytes) -> list[dict[str, Any]]:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the metadata part is not JSON: {error}") from None
    data_sets = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(each, dict) for each in data_sets):
        raise bad_request("the metadata part is not an array of DICOM JSON objects")
    return data_sets


async def take_metadata(
    service: Service, storing: Storing, reader: MultipartReader, body: AsyncIterator[bytes]
) -> None:
    """Collect all parts, then store the instances that the metadata describe."""
    parts = Parts(service.settings.max_metadata_bytes, service.settings.spool)
    try:
        async for chunk in body:
            for event in reader.feed(chunk):
                if isinstance(event, PartData):
                    parts.write(event.data)
                elif isinstance(event, PartBegin):
                    parts.begin(dict(event.headers))
                else:
                    await asyncio.to_thread(parts.finish)  # parsing may take its time
        reader.finish()
        if not parts.data_sets:
            raise MalformedMultipart("there is no metadata part")
        if len(parts.data_sets) > service.settings.max_parts:
            raise bad_request(f"more than {service.settings.max_parts} instances")
        for data_set in parts.data_sets:
            await _store_one(service, storing, parts, data_set)
            if await storing.hopeless():
                raise MalformedMultipart("too many in a row that are no instances")
        await storing.settle()
    finally:
        parts.close()


async def _store_one(
    service: Service, storing: Storing, parts: Parts, data_set: dict[str, Any]
) -> None:
    claimed = (_text(data_set, "00080016"), _text(data_set, "00080018"))
    try:
        syntax, pieces = await asyncio.to_thread(encoded, parts, data_set)
        intake = service.archive.ingest.open(
            storing.origin, syntax, study_instance_uid=storing.study
        )
    except ArchiveError as error:
        storing.fail(error, claimed)
        return
    except (Malformed, KeyError, TypeError, ValueError, AttributeError) as error:
        storing.fail(Unintelligible("the metadata are no DICOM JSON", detail=repr(error)), claimed)
        return
    storing.adopt(intake)
    try:
        for piece in pieces:
            storing.write(memoryview(piece))
    except Malformed as error:
        storing.drop()
        storing.fail(Unintelligible(str(error)), claimed)
        return
    await storing.end()


def _text(data_set: dict[str, Any], tag: str) -> str:
    attribute = data_set.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def encoded(parts: Parts, data_set: dict[str, Any]) -> tuple[str, Iterator[bytes]]:
    """The transfer syntax, and the data set's bytes in pieces; raises Malformed and kin."""
    pixel_tag = next((tag for tag in PIXEL_TAGS if tag in data_set), None)
    pixels = data_set.get(pixel_tag) if pixel_tag else None
    found = parts.find(pixels["BulkDataURI"]) if pixels and "BulkDataURI" in pixels else []
    left_out = {pixel_tag} if found else set()
    kept = {
        tag: value
        for tag, value in data_set.items()
        if tag not in left_out and not tag.startswith("0002") and tag != "00083002"
    }
    elements = to_elements(kept, parts.read)
    syntax = _syntax(found)
    pixel_vr = str(pixels.get("vr", "OW")) if found and pixels else "OW"
    if pixel_vr not in PIXEL_VRS:
        raise Malformed(f"pixel data has a VR of {', '.join(PIXEL_VRS)}")
    after = {tag: elements.pop(tag) for tag in list(elements) if tag > 0x7FE00010}

    head = write_data_set(elements, explicit_vr=True, little_endian=True)
    tail = write_data_set(after, explicit_vr=True, little_endian=True)

    def pieces() -> Iterator[bytes]:
        yield head
        if found and pixel_tag is not None:
            yield from _pixel_element(parts, pixel_tag, pixel_vr, syntax, found)
        yield tail

    return syntax, pieces()


def _syntax(found: list[Value]) -> str:
    """What the pixel data part says it is (8.7.3.3); uncompressed unless it says more."""
    if not found:
        return EXPLICIT_VR_LE
    said = found[0].transfer_syntax_uid or DEFAULT_SYNTAX.get(found[0].media_type, EXPLICIT_VR_LE)
    known = TRANSFER_SYNTAXES.get(said)
    if known is None:
        raise Unintelligible("unknown transfer syntax of the pixel data part")
    return said if known.encapsulated else EXPLICIT_VR_LE


def _pixel_element(
    parts: Parts, tag: str, vr: str, syntax: str, found: list[Value]
) -> Iterator[bytes]:
    """The pixel data element; compressed parts become one fragment a frame (PS3.5 A.4)."""
    group, element = int(tag[:4], 16), int(tag[4:], 16)
    if not TRANSFER_SYNTAXES[syntax].encapsulated:
        length = sum(value.length for value in found)
        if length >= _UNDEFINED:
            raise Malformed("uncompressed pixel data of 4 GiB and more cannot be stored")
        yield _LONG.pack(group, element, vr.encode("ascii"), 0, length + length % 2)
        for value in found:
            yield from parts.stream(value)
        yield b"\0" * (length % 2)
        return
    yield _LONG.pack(group, element, b"OB", 0, _UNDEFINED) + _ITEM.pack(0xFFFE, 0xE000, 0)
    for value in found:
        yield _ITEM.pack(0xFFFE, 0xE000, value.length + value.length % 2)
        yield from parts.stream(value)
        yield b"\0" * (value.length % 2)
    yield _ITEM.pack(0xFFFE, 0xE0DD, 0)
