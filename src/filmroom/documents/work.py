"""What a worker is asked to make of a document: one file or data set in, bytes out.

Reports and waveforms come from strangers like images do, so they are read where images are
decoded: in a process of its own, with a limit on memory and time.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from typing import Concatenate, ParamSpec, TypeVar

import orjson

from filmroom.dicom import dicomjson
from filmroom.dicom.errors import Malformed
from filmroom.dicom.notation import Buffer
from filmroom.dicom.uids import name_of
from filmroom.documents import chart, raster, wording
from filmroom.documents.kinds import HTML, SVG
from filmroom.documents.look import look_at
from filmroom.documents.page import html_of
from filmroom.documents.plain import text_of
from filmroom.documents.recording import Attributes, Recording, groups_of, header_of, notes_of
from filmroom.documents.recording import text_of as words
from filmroom.documents.report import Report, referenced, report_of
from filmroom.documents.sound import wav_of
from filmroom.documents.svg import svg_of
from filmroom.pixel.errors import TooLarge, Undecodable
from filmroom.pixel.values import items_of

P = ParamSpec("P")
T = TypeVar("T")

REPORT_BYTES = 16 << 20  # of a whole report
WAVEFORM_BYTES = 2 << 30

_TITLES = frozenset({0x0040A043, 0x00420010, 0x0008103E, 0x00080005, 0x00080016})


def on_file(
    file: int,
    offset: int,
    length: int,
    function: Callable[Concatenate[Buffer, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Call `function` with a view of a part of an open file; only what it looks at is read."""
    if length > WAVEFORM_BYTES:
        raise TooLarge("the document is too large to be shown")
    whole = memoryview(mmap.mmap(file, offset + length, prot=mmap.PROT_READ))
    return function(whole[offset : offset + length], *args, **kwargs)


# -- reports ----------------------------------------------------------------------------------
def _report(data: Buffer, syntax: str) -> Report:
    if len(data) > REPORT_BYTES:
        raise TooLarge(f"a report of more than {REPORT_BYTES >> 20} MiB is not shown")
    return report_of(look_at(data, syntax))


def references(data: Buffer, syntax: str) -> list[str]:
    """The SOP Instance UIDs that a report refers to."""
    return referenced(_report(data, syntax))


def report(data: Buffer, syntax: str, media_type: str, links: Mapping[str, str]) -> bytes:
    """A report as HTML or plain text, UTF-8. links: see page.html_of."""
    found = _report(data, syntax)
    return (html_of(found, links) if media_type == HTML else text_of(found)).encode()


# -- waveforms ----------------------------------------------------------------------------------
def _recording(data: Buffer, syntax: str) -> Recording:
    attributes = header_of(data, syntax)
    return Recording(
        sop_class_uid=words(attributes, "00080016"),
        facts=tuple(_facts(attributes)),
        notes=tuple(notes_of(attributes)),
        groups=groups_of(attributes, data, syntax),
    )


def _facts(attributes: Attributes) -> Iterator[tuple[str, str]]:
    yield "Patient", wording.name(words(attributes, "00100010"))
    born, sex = (
        wording.date(words(attributes, "00100030")),
        wording.sex(words(attributes, "00100040")),
    )
    yield "Patient ID", words(attributes, "00100020")
    yield "Born", ", ".join(part for part in (born, sex) if part)
    acquired = wording.date_time(words(attributes, "0008002A"))
    content = wording.together(words(attributes, "00080023"), words(attributes, "00080033"))
    yield "Recorded", acquired or content
    yield "Study", words(attributes, "00081030")
    yield "Institution", words(attributes, "00080080")
    made = (words(attributes, "00080070"), words(attributes, "00081090"))
    yield "Device", " ".join(part for part in made if part)


def waveform(
    data: Buffer, syntax: str, media_type: str, size: tuple[int, int] | None, quality: int
) -> bytes:
    """A recording as SVG or as a picture. size: (width, height) in pixels it is to fit into."""
    recording = _recording(data, syntax)
    title = name_of(recording.sop_class_uid).removesuffix(" Storage").removesuffix(" Waveform")
    drawing = chart.chart_of(recording, title)
    if media_type == SVG:
        return svg_of(drawing).encode()
    return raster.picture_of(drawing, media_type, size, quality)


def small_waveform(data: Buffer, syntax: str, media_type: str, size: tuple[int, int]) -> bytes:
    """Its small picture."""
    drawing = chart.small_of(_recording(data, syntax))
    return raster.picture_of(drawing, media_type, size, 90)


def sound(data: Buffer, syntax: str) -> bytes:
    """A spoken recording as a WAV file; of several multiplex groups the first."""
    return wav_of(groups_of(header_of(data, syntax), data, syntax)[0])


# -- small pictures -----------------------------------------------------------------------------
def icon(data: Buffer, syntax: str, badge: str, media_type: str, size: tuple[int, int]) -> bytes:
    """A sheet of paper with what it is and its title."""
    try:
        text = dicomjson.encode(data, syntax, lambda path: path, wanted=_TITLES.__contains__)
    except Malformed as error:
        raise Undecodable(str(error)) from None
    attributes: Attributes = orjson.loads(text)
    concept = next(iter(items_of(attributes, "0040A043")), {})
    title = (
        words(attributes, "00420010")
        or words(concept, "00080104")
        or words(attributes, "0008103E")
        or name_of(words(attributes, "00080016")).removesuffix(" Storage")
    )
    return raster.icon_of(badge, title, media_type, size)
