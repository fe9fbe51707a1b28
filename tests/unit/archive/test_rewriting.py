"""archive/rewriting.py: elements in another encoding, read back by pydicom; long ones streamed."""

import io

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from filmroom.archive import rewriting
from filmroom.archive.rewriting import rewritten
from filmroom.pixel.errors import TooLarge, Undecodable

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


class InlinePool:
    """Works where it is asked to, and notes how much it was given."""

    def __init__(self):
        self.largest = 0

    async def run(self, function, data, *more):
        self.largest = max(self.largest, len(data))
        return function(data, *more)


def a_document(**more):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.3"
    ds.PatientName = "Hopper^Grace"
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "X", "an item"
    ds.ConceptNameCodeSequence = Sequence([item])
    ds.DocumentTitle = "odd"
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def encoded(ds, syntax):
    out = io.BytesIO()
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    pydicom.dcmwrite(out, ds, implicit_vr=implicit, little_endian=little)
    return out.getvalue()


async def rewrite(data, from_syntax, to_syntax, pool=None):
    def read(offset, length):
        assert length <= rewriting.PIECE_BYTES + rewriting.LONG_BYTES
        return data[offset : offset + length]

    pieces = rewritten(pool or InlinePool(), data, read, from_syntax, to_syntax)
    return b"".join([piece async for piece in pieces])


def read_back(data, syntax):
    ds = pydicom.dcmread(io.BytesIO(preamble(syntax) + data), force=True)
    return ds


def preamble(syntax):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2"
    out = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(out, meta, enforce_standard=True)
    return bytes(128) + b"DICM" + out.getvalue()


@pytest.mark.parametrize("to_syntax", SYNTAXES[:2])
@pytest.mark.parametrize("from_syntax", SYNTAXES)
async def test_a_long_document_arrives_as_it_was(from_syntax, to_syntax):
    pdf = bytes(range(256)) * 8000  # 2 MB
    ds = a_document(EncapsulatedDocument=pdf, MIMETypeOfEncapsulatedDocument="application/pdf")
    pool = InlinePool()
    made = await rewrite(encoded(ds, from_syntax), from_syntax, to_syntax, pool)
    back = read_back(made, to_syntax)
    assert back.EncapsulatedDocument == pdf
    assert back.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert back.ConceptNameCodeSequence[0].CodeMeaning == "an item"
    assert pool.largest < 4096, "the document went through a worker"


@pytest.mark.parametrize("to_syntax", SYNTAXES[:2])
async def test_long_words_are_turned_round(to_syntax):
    words = list(range(60_000)) * 5
    ds = a_document(PixelData=b"".join(n.to_bytes(2, "big") for n in words))
    ds["PixelData"].VR = "OW"
    made = await rewrite(encoded(ds, ExplicitVRBigEndian), ExplicitVRBigEndian, to_syntax)
    assert read_back(made, to_syntax).PixelData == b"".join(n.to_bytes(2, "little") for n in words)


async def test_a_long_text_is_padded_with_a_space():
    ds = a_document(TextValue="x" * 300_001)
    made = await rewrite(
        encoded(ds, ImplicitVRLittleEndian), ImplicitVRLittleEndian, ExplicitVRLittleEndian
    )
    assert read_back(made, ExplicitVRLittleEndian).TextValue == "x" * 300_001
    assert len(made) % 2 == 0


async def test_many_short_elements_go_a_megabyte_at_a_time():
    ds = a_document()
    for number in range(40):
        block = ds.private_block(0x0099, f"BLOCK {number}", create=True)
        block.add_new(1, "UT", "y" * 100_000)
    pool = InlinePool()
    data = encoded(ds, ExplicitVRLittleEndian)
    made = await rewrite(data, ExplicitVRLittleEndian, ImplicitVRLittleEndian, pool)
    assert len(data) > 4_000_000
    assert pool.largest < 1_500_000
    block = read_back(made, ImplicitVRLittleEndian).private_block(0x0099, "BLOCK 39")
    assert block[1].value == b"y" * 100_000 or block[1].value == "y" * 100_000


async def test_fragments_are_copied_with_their_end():
    ds = a_document()
    fragments = pydicom.encaps.encapsulate([bytes([n]) * 200_000 for n in range(3)])
    ds.PixelData = fragments
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    data = encoded(ds, ExplicitVRLittleEndian)
    made = await rewrite(data, ExplicitVRLittleEndian, ExplicitVRLittleEndian)
    assert made.endswith(data[-600_100:])


async def test_trailing_padding_is_left_out():
    ds = a_document()
    ds.DataSetTrailingPadding = bytes(1000)
    data = encoded(ds, ExplicitVRLittleEndian)
    made = await rewrite(data, ExplicitVRLittleEndian, ExplicitVRLittleEndian)
    assert len(data) - 1100 < len(made) <= len(data) - 1000


async def test_a_sequence_too_long_to_be_held_is_refused(monkeypatch):
    monkeypatch.setattr(rewriting, "SEQUENCE_BYTES", 300_000)
    item = Dataset()
    item.TextValue = "x" * 400_000
    ds = a_document(ContentSequence=Sequence([item]))
    data = encoded(ds, ExplicitVRLittleEndian)
    with pytest.raises(TooLarge):
        await rewrite(data, ExplicitVRLittleEndian, ImplicitVRLittleEndian)


async def test_elements_that_end_early_are_undecodable():
    data = encoded(a_document(EncapsulatedDocument=bytes(500_000)), ExplicitVRLittleEndian)
    for cut in (len(data) - 10, 30):
        with pytest.raises(Undecodable):
            await rewrite(data[:cut], ExplicitVRLittleEndian, ImplicitVRLittleEndian)
