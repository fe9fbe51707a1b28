"""Documents made visible: whatever the data set is, a page or drawing without foreign markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from filmroom.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from filmroom.documents import encapsulated, work
from filmroom.documents.kinds import ENCAPSULATED
from filmroom.pixel.errors import PixelError

SYNTAXES = (EXPLICIT_VR_LE, IMPLICIT_VR_LE, "1.2.840.10008.1.2.2")
_TAG = re.compile(r"</?([a-zA-Z0-9]+)")
_NAMES = """html head meta title style body header h1 h2 h3 h4 h5 h6 dl dt dd main section div p
span bdi a figure figcaption img"""
_PARTS = frozenset(_NAMES.split())


def check(data: bytes) -> None:
    """The first byte chooses the transfer syntax and what is made of the rest."""
    if not data:
        return
    syntax, rest = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    for make in (_report, _waveform, _small, _encapsulated):
        try:
            make(rest, syntax)
        except PixelError:
            continue


def _report(data: bytes, syntax: str) -> None:
    links = dict.fromkeys(work.references(data, syntax), "/held")
    page = work.report(data, syntax, "text/html", links).decode("utf-8")
    assert set(_TAG.findall(page)) <= _PARTS
    work.report(data, syntax, "text/plain", {}).decode("utf-8")


def _waveform(data: bytes, syntax: str) -> None:
    ElementTree.fromstring(work.waveform(data, syntax, "image/svg+xml", None, 90))


def _small(data: bytes, syntax: str) -> None:
    work.small_waveform(data, syntax, "image/png", (16, 16))
    work.icon(data, syntax, "SR", "image/png", (16, 16))
    work.sound(data, syntax)


def _encapsulated(data: bytes, syntax: str) -> None:
    said = encapsulated.said_of(data, syntax)
    assert len(data) - 1 <= encapsulated.length_of(said, len(data), data[-1:]) <= len(data)
    encapsulated.demand(ENCAPSULATED["2"], encapsulated.Said("", None), data)
    assert re.search(rb"<(html|svg)[ >]", data, re.I) is None
