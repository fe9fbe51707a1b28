"""PS3.18 8.7: what a client accepts decides what it gets."""

import pytest

from filmroom.dicomweb.negotiate import (
    AS_STORED,
    DICOM,
    JSON,
    OCTETS,
    XML,
    ZIP,
    Form,
    NotUnderstood,
    accept_text,
    choose,
    frame_forms,
    instance_forms,
    parse_accept,
    parse_media_type,
)

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
JPEG, JLS, J2K, RLE = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)
OFFERS = (JSON, "application/json", f'multipart/related; type="{XML}"')


def test_the_most_wanted_comes_first_and_the_order_stays_among_equals():
    ranges = parse_accept("a/b;q=0.5, c/d, e/f;q=0.5, g/*;q=0")
    assert [each.media_type for each in ranges] == ["c/d", "a/b", "e/f", "g/*"]


@pytest.mark.parametrize(
    "text",
    [
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        "multipart/related; type=application/dicom; transfer-syntax=*",
        "Multipart/Related;TYPE=Application/DICOM;Transfer-Syntax=*;boundary=x",
    ],
)
def test_quotes_and_case_do_not_matter(text):
    (media_range,) = parse_accept(text)
    assert media_range.is_multipart
    assert media_range.content == DICOM
    assert media_range.transfer_syntax == AS_STORED


@pytest.mark.parametrize(
    "text",
    ["application", "a/b; q=2", "a/b; q=-1", 'a/b; x="unclosed', "a/b c/d", "a/b," * 100, "/"],
)
def test_nonsense_is_not_understood(text):
    with pytest.raises(NotUnderstood):
        parse_accept(text)


def test_an_absurdly_long_list_is_refused():
    with pytest.raises(NotUnderstood):
        parse_accept("a/b, " * 5000)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", "application/json"),
        (f"application/json;q=0.1, {JSON}", JSON),
        (f'multipart/related; type="{XML}"', OFFERS[2]),
        (f"{JSON};q=0, */*", "application/json"),
        ("text/html, */*;q=0.8", JSON),
        (f"{JSON};q=0.1, */*", "application/json"),
        (f"{JSON};q=0.1, application/*;q=0.5", "application/json"),
        (f"application/*;q=0, {JSON};q=0.1", JSON),
        ("text/html", None),
        (XML, None),
    ],
)
def test_a_document_is_chosen(accept, chosen):
    assert choose(accept, OFFERS) == chosen


def test_the_query_parameter_stands_in_for_the_header():
    assert accept_text("image/png", "application/dicom json") == JSON
    assert accept_text("image/png", "image/jpeg") == "image/jpeg"
    assert accept_text("image/png", None) == "image/png"
    assert accept_text(None, None) == ""


@pytest.mark.parametrize(
    ("accept", "single", "forms"),
    [
        ("", False, [Form(True, DICOM, EXPLICIT, True)]),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', False,
         [Form(True, DICOM, "*")]),
        (f'multipart/related; type="application/dicom"; transfer-syntax={JLS}', True,
         [Form(True, DICOM, JLS)]),
        ("application/dicom; transfer-syntax=*", True, [Form(False, DICOM, "*")]),
        ("application/dicom", False, []),
        ("application/zip", False, [Form(False, ZIP, "*")]),
        ("image/jpeg", True, []),
        ('multipart/related; type="image/jpeg"', True, []),
    ],
)  # fmt: skip
def test_instances_are_explicit_little_endian_unless_asked_otherwise(accept, single, forms):
    assert list(instance_forms(accept, single=single)) == forms


OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"


@pytest.mark.parametrize(
    ("accept", "stored", "form"),
    [
        (OHIF, EXPLICIT, Form(True, OCTETS)),
        (OHIF, IMPLICIT, Form(True, OCTETS)),
        (OHIF, BIG, Form(True, OCTETS, EXPLICIT)),
        (OHIF, JLS, Form(True, "image/jls")),
        (OHIF, J2K, Form(True, "image/jp2")),
        (OHIF, RLE, Form(True, "image/dicom-rle")),
        (OHIF, JPEG, Form(True, "image/jpeg")),
        ("", JLS, Form(True, OCTETS, EXPLICIT)),
        (OCTETS, EXPLICIT, Form(False, OCTETS)),
        (OCTETS, J2K, Form(False, OCTETS, EXPLICIT)),
        ('multipart/related; type="image/jls"', JLS, Form(True, "image/jls")),
        ('multipart/related; type="image/jls"', EXPLICIT, Form(True, "image/jls", JLS)),
        ("image/jpeg", JPEG, Form(False, "image/jpeg")),
        ("image/*", J2K, Form(False, "image/jp2")),
        (f'multipart/related; type="image/jp2"; transfer-syntax={J2K}', J2K,
         Form(True, "image/jp2")),
        (f'multipart/related; type="{OCTETS}"; transfer-syntax={EXPLICIT}', IMPLICIT,
         Form(True, OCTETS)),
        (f'{OCTETS}, multipart/related; type="image/jls"', JLS, Form(True, "image/jls")),
        (f'{OCTETS}, multipart/related; type="image/jls";q=0.9', JLS,
         Form(False, OCTETS, EXPLICIT)),
    ],
)  # fmt: skip
def test_frames_go_as_they_lie_when_that_is_welcome(accept, stored, form):
    assert frame_forms(accept, stored)[0] == form


PICTURES = ("image/jpeg", "image/png", 'multipart/related; type="image/jpeg"')


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("image/*;q=0, */*", PICTURES[2]),
        ("image/*;q=0, image/png, */*", "image/png"),
        ('image/*;q=0, multipart/related; type="image/*";q=0, */*', None),
        ("image/*;q=0, multipart/related;q=0, */*", None),
        ("multipart/related;q=0.2, */*;q=0.1", PICTURES[2]),
        ("image/jpeg;q=0.5, image/*", "image/png"),
        ("*/*;q=0", None),
    ],
)
def test_the_narrowest_range_decides(accept, chosen):
    assert choose(accept, PICTURES) == chosen


@pytest.mark.parametrize(
    ("accept", "stored", "forms"),
    [
        ("*/*, multipart/related; type=\"image/*\";q=0", JLS, [Form(True, OCTETS, EXPLICIT)]),
        (f'*/*, multipart/related; type="{OCTETS}";q=0.1', JLS,
         [Form(True, "image/jls"), Form(True, OCTETS, EXPLICIT)]),
        ("image/*, image/jp2;q=0", J2K, []),
        (f"{OHIF}, */*;q=0", JLS, [Form(True, "image/jls")]),
        (f'{OCTETS};q=0, multipart/related; type="{OCTETS}"', EXPLICIT, [Form(True, OCTETS)]),
    ],
)  # fmt: skip
def test_frames_do_not_come_as_what_was_refused(accept, stored, forms):
    assert list(dict.fromkeys(frame_forms(accept, stored))) == forms


@pytest.mark.parametrize("accept", ["text/html", "video/mp4", "image/webp", "application/dicom"])
def test_frames_do_not_come_as_something_else(accept):
    assert frame_forms(accept, EXPLICIT) == ()


def test_an_image_type_and_a_syntax_that_contradict_it_give_nothing():
    accept = f'multipart/related; type="image/jpeg"; transfer-syntax={J2K}'
    assert frame_forms(accept, EXPLICIT) == ()


def test_a_transfer_syntax_is_a_uid_or_a_star():
    with pytest.raises(NotUnderstood):
        instance_forms("application/dicom; transfer-syntax=../x", single=True)


def test_a_content_type_is_no_range():
    assert parse_media_type('multipart/related; boundary="a b"').parameter("boundary") == "a b"
    with pytest.raises(NotUnderstood):
        parse_media_type("application/*")
