"""services/suboperations.py: which transfer syntax a receiver gets."""

from types import SimpleNamespace

import pytest

from filmroom.archive.errors import Unsupported
from filmroom.dicom import uids
from filmroom.pixel.errors import NoCodec, Undecodable
from filmroom.services.suboperations import Contexts, Counts, prepare

CT = "1.2.840.10008.5.1.4.1.1.2"


def accepted(*syntaxes, sop_class=CT):
    return Contexts(
        SimpleNamespace(abstract_syntax=sop_class, transfer_syntax=syntax, id=2 * n + 1)
        for n, syntax in enumerate(syntaxes)
    )


def a_handle(syntax):
    return SimpleNamespace(
        sop_class_uid=CT,
        sop_instance_uid="1.2.3",
        location=SimpleNamespace(transfer_syntax_uid=syntax),
    )


def test_the_stored_syntax_is_the_only_choice_where_it_is_taken():
    contexts = accepted(uids.EXPLICIT_VR_LE, uids.JPEG_BASELINE)
    assert contexts.choices((CT, uids.JPEG_BASELINE)) == [(3, uids.JPEG_BASELINE)]


def test_plain_syntaxes_come_before_compressed_ones():
    contexts = accepted(
        uids.RLE_LOSSLESS, uids.JPEG_BASELINE, uids.IMPLICIT_VR_LE, uids.JPEG_LS_LOSSLESS
    )
    assert contexts.choices((CT, uids.HTJ2K_LOSSLESS)) == [
        (5, uids.IMPLICIT_VR_LE),
        (7, uids.JPEG_LS_LOSSLESS),
        (1, uids.RLE_LOSSLESS),
    ]


@pytest.mark.parametrize(
    "syntaxes",
    [
        (uids.JPEG_BASELINE,),
        (uids.JPEG_BASELINE, uids.JPEG_EXTENDED),
        (uids.JPEG_LS_NEAR_LOSSLESS,),
        ("1.2.840.10008.1.2.4.102",),
    ],
)
def test_nobody_gets_a_lossy_copy_over_dimse(syntaxes):
    with pytest.raises(Unsupported, match="lossy syntaxes only"):
        accepted(*syntaxes).choices((CT, uids.EXPLICIT_VR_LE))


def test_a_class_that_was_not_taken_has_no_choice():
    with pytest.raises(Unsupported, match="SOP class"):
        accepted(uids.EXPLICIT_VR_LE, sop_class="1.2").choices((CT, uids.EXPLICIT_VR_LE))


class Files:
    def stage(self):
        raise AssertionError("small things stay in memory")


async def test_what_cannot_be_coded_one_way_is_coded_another():

    tried = []

    async def transcode(handle, syntax):
        tried.append(syntax)
        if syntax != uids.RLE_LOSSLESS:
            raise NoCodec("32-bit pixels cannot be written so")
        yield b"coded"

    contexts = accepted(uids.JPEG_2000_LOSSLESS, uids.JPEG_LS_LOSSLESS, uids.RLE_LOSSLESS)
    prepared = await prepare(a_handle(uids.JPEG_BASELINE), contexts, Files(), transcode)
    assert prepared.context_id == 5
    assert bytes(prepared.source.read(10)) == b"coded"
    assert tried == [uids.JPEG_LS_LOSSLESS, uids.JPEG_2000_LOSSLESS, uids.RLE_LOSSLESS]


async def test_what_cannot_be_decoded_is_not_tried_again():

    tried = []

    async def transcode(handle, syntax):
        tried.append(syntax)
        raise Undecodable("broken")
        yield b""

    contexts = accepted(uids.EXPLICIT_VR_LE, uids.IMPLICIT_VR_LE)
    with pytest.raises(Unsupported, match="broken"):
        await prepare(a_handle(uids.JPEG_BASELINE), contexts, Files(), transcode)
    assert tried == [uids.EXPLICIT_VR_LE]


def test_the_first_reason_is_kept_for_the_answer():
    counts = Counts(remaining=2)
    for words in ("the receiver takes this SOP class in lossy syntaxes only", "another"):
        counts.unprepared(a_handle(uids.EXPLICIT_VR_LE), Unsupported(words))
    assert counts.reason == "the receiver takes this SOP class in lossy syntaxes only"
    assert counts.failed == 2
