"""Encapsulated documents: how long they are, and that they are what they say."""

import pytest

from documents import CDA, PDF, encapsulated
from filmroom.dicom.part10 import parse_meta
from filmroom.documents.encapsulated import Said, demand, length_of, said_of
from filmroom.documents.kinds import ALL, ENCAPSULATED, kind_of
from filmroom.pixel.errors import Undecodable
from instances import part10

AS_PDF, AS_CDA = ENCAPSULATED["1"], ENCAPSULATED["2"]


def test_the_data_set_says_what_it_is_and_how_long():
    file = part10(encapsulated(PDF + b"\n" * (1 - len(PDF) % 2)))
    meta = parse_meta(file)
    said = said_of(file[meta.data_set_offset :], meta.transfer_syntax_uid)
    assert said.mime_type == "application/pdf"
    assert said.length % 2 == 1


@pytest.mark.parametrize(
    ("said", "value", "last", "length"),
    [
        (11, 12, b"\0", 11),
        (12, 12, b"\0", 12),  # the NUL belongs to it
        (None, 12, b"\0", 11),
        (None, 12, b"x", 12),
        (5, 12, b"x", 12),  # a lie: nothing is cut off
        (5, 12, b"\0", 11),
        (4_000_000_000, 12, b"x", 12),
        (-1, 12, b"x", 12),
    ],
)
def test_the_length_that_is_said_counts_where_it_can_be_true(said, value, last, length):
    assert length_of(Said("", said), value, last) == length


@pytest.mark.parametrize(
    ("kind", "mime_type", "head"),
    [
        (AS_PDF, "application/pdf", PDF),
        (AS_PDF, "", b"\n\n junk " + PDF),
        (AS_CDA, "text/xml", CDA),
        (AS_CDA, "text/xml", b"\xef\xbb\xbf" + CDA),
        (AS_CDA, "application/xml", CDA.decode().encode("utf-16")),
        (ENCAPSULATED["3"], "model/stl", b"solid x"),
    ],
)
def test_a_document_that_is_what_it_says_passes(kind, mime_type, head):
    demand(kind, Said(mime_type, None), head[:1024])


@pytest.mark.parametrize(
    ("kind", "mime_type", "head"),
    [
        (AS_PDF, "text/html", PDF),
        (AS_PDF, "application/pdf", b"<html><script>alert(1)</script>"),
        (AS_PDF, "application/pdf", b"MZ\x90"),
        (AS_PDF, "application/pdf", b""),
        (AS_CDA, "text/xml", PDF),
        (AS_CDA, "text/html", CDA),
        (AS_CDA, "text/xml", b"<!DOCTYPE html><p>"),
        (AS_CDA, "text/xml", b'<?xml version="1.0"?> <html xmlns="http://www.w3.org/1999/xhtml">'),
        (AS_CDA, "text/xml", "<?xml version='1.0'?><svg onload=''>".encode("utf-16")),
    ],
)
def test_a_document_that_is_something_else_is_refused(kind, mime_type, head):
    with pytest.raises(Undecodable):
        demand(kind, Said(mime_type, None), head)


def test_every_kind_has_a_badge_and_a_form():
    assert all(kind.badge and kind.media_types for kind in ALL)


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "report"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "report"),
        ("1.2.840.10008.5.1.4.1.1.88.67", "report"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "waveform"),
        ("1.2.840.10008.5.1.4.1.1.9.7.4", "waveform"),
        ("1.2.840.10008.5.1.4.1.1.9.4.2", "audio"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "encapsulated"),
        ("1.2.840.10008.5.1.4.1.1.9.100.1", None),  # a presentation state
        ("1.2.840.10008.5.1.4.1.1.88.999", None),
        ("1.2.840.10008.5.1.4.1.1.2", None),
    ],
)
def test_the_sop_class_decides(uid, name):
    kind = kind_of(uid)
    assert (kind.name if kind else None) == name
