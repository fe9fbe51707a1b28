"""pixel.derived: what a lossy copy says of itself, read back by pydicom."""

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from filmroom.dicom.elements import read_data_set
from filmroom.dicom.uids import is_valid_uid
from filmroom.pixel import derived
from filmroom.pixel import syntaxes as ts
from filmroom.pixel.errors import NoCodec
from filmroom.pixel.transcode import plan, shape_of, transcode_frame
from recoded import read, taken_apart

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"


def lossy(source: Dataset, target: str = ts.JPEG_BASELINE) -> Dataset:
    """The header of a lossy copy, and its first frames."""
    header, frames, syntax = taken_apart(source)
    data_set = elements(header, syntax)
    coded = [transcode_frame(frame, syntax, target, shape_of(data_set)) for frame in frames]
    planned = plan(
        header,
        syntax,
        target,
        frames=len(frames),
        first_frame=frames[0],
        stored_bytes=sum(map(len, frames)),
        coded=[len(each) for each in coded],
    )
    return read(planned.head + b"".join(map(planned.wrap, coded)) + planned.tail, target)


def elements(header, syntax):
    return read_data_set(
        header, explicit_vr=syntax != ts.IMPLICIT_LE, little_endian=syntax != ts.EXPLICIT_BE
    )


@pytest.fixture
def source():
    return pydicom.dcmread(PACKAGED / "examples_rgb_color.dcm")


def test_a_lossy_copy_is_another_instance_and_names_the_first(source):
    copy = lossy(source)
    assert copy.SOPInstanceUID != source.SOPInstanceUID
    assert copy.SOPInstanceUID == derived.instance_uid(
        source.SOPInstanceUID, source.file_meta.TransferSyntaxUID, ts.JPEG_BASELINE
    )
    assert copy.ImageType[0] == "DERIVED"
    assert list(copy.ImageType[1:]) == list(source.ImageType[1:])
    (image,) = copy.SourceImageSequence
    assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert image.ReferencedSOPClassUID == source.SOPClassUID
    assert image.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert copy.DerivationCodeSequence[0].CodeValue == "113040"
    assert copy.DerivationDescription.startswith("Lossy compression: JPEG Baseline")
    assert copy.StudyInstanceUID == source.StudyInstanceUID


def test_the_ratio_is_that_of_the_bytes_and_the_method_that_of_the_coding(source):
    copy = lossy(source)
    header, frames, syntax = taken_apart(source)
    shape = shape_of(elements(header, syntax))
    coded = [transcode_frame(frame, syntax, ts.JPEG_BASELINE, shape) for frame in frames]
    ratio = sum(map(len, frames)) / sum(map(len, coded))
    assert ratio > 2
    assert float(copy.LossyImageCompressionRatio) == pytest.approx(ratio, rel=1e-3)
    assert copy.LossyImageCompressionMethod == "ISO_10918_1"
    assert copy.LossyImageCompression == "01"


def test_what_was_lost_before_stays_on_record(source):
    source.LossyImageCompression = "01"
    source.LossyImageCompressionRatio = "8.5"
    source.LossyImageCompressionMethod = "ISO_15444_1"
    source.DerivationDescription = "resampled"
    before = Dataset()
    before.ReferencedSOPClassUID, before.ReferencedSOPInstanceUID = source.SOPClassUID, "1.2.3"
    source.SourceImageSequence = [before]
    copy = lossy(source)
    assert float(copy.LossyImageCompressionRatio[0]) == 8.5
    assert len(copy.LossyImageCompressionRatio) == 2
    assert list(copy.LossyImageCompressionMethod) == ["ISO_15444_1", "ISO_10918_1"]
    assert copy.DerivationDescription.startswith("resampled; Lossy")
    sources = [each.ReferencedSOPInstanceUID for each in copy.SourceImageSequence]
    assert sources == ["1.2.3", source.SOPInstanceUID]


@pytest.mark.parametrize(
    ("ratios", "methods"),
    [(["8.5"], []), ([], ["ISO_15444_1"]), (["3", "8.5"], ["ISO_15444_1"])],
)
def test_the_last_method_stands_beside_the_last_ratio(source, ratios, methods):
    source.LossyImageCompression = "01"
    source.LossyImageCompressionRatio = ratios
    source.LossyImageCompressionMethod = methods
    copy = lossy(source)
    steps = max(len(ratios), len(methods)) + 1
    got = copy.LossyImageCompressionRatio, copy.LossyImageCompressionMethod
    assert [len(each) for each in got] == [steps, steps]
    assert copy.LossyImageCompressionMethod[-1] == "ISO_10918_1"
    assert float(copy.LossyImageCompressionRatio[-1]) > 2
    assert [str(each) for each in got[0] if str(each)][:-1] == ratios
    assert [each for each in got[1] if each][:-1] == methods
    assert [str(each) for each in got[0]][-1 - len(ratios) : -1] == ratios
    assert list(got[1])[-1 - len(methods) : -1] == methods


def item(**attributes) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def enhanced(*, frame_macros: bool) -> Dataset:
    """Two frames with functional groups; the second may be derived already."""
    source = pydicom.dcmread(PACKAGED / "SC_rgb_rle_2frame.dcm")
    kind = item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    source.SharedFunctionalGroupsSequence = [item(MRImageFrameTypeSequence=[kind])]
    frames = [item(FrameContentSequence=[item(FrameAcquisitionNumber=n)]) for n in range(2)]
    if frame_macros:
        frames[1].DerivationImageSequence = [item(DerivationDescription="resampled")]
    source.PerFrameFunctionalGroupsSequence = frames
    return source


def test_every_frame_of_an_enhanced_image_is_derived():
    source = enhanced(frame_macros=False)
    copy = lossy(source)
    (shared,) = copy.SharedFunctionalGroupsSequence
    assert list(shared.MRImageFrameTypeSequence[0].FrameType) == [
        "DERIVED", "PRIMARY", "VOLUME", "NONE",
    ]  # fmt: skip
    (macro,) = shared.DerivationImageSequence
    assert macro.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert macro.DerivationCodeSequence[0].CodeMeaning == "Lossy Compression"
    assert not any("DerivationImageSequence" in g for g in copy.PerFrameFunctionalGroupsSequence)


def test_a_macro_of_single_frames_is_not_made_one_of_all():
    copy = lossy(enhanced(frame_macros=True))
    assert "DerivationImageSequence" not in copy.SharedFunctionalGroupsSequence[0]
    first, second = (g.DerivationImageSequence for g in copy.PerFrameFunctionalGroupsSequence)
    assert len(first) == 1
    assert second[0].DerivationDescription == "resampled"
    assert second[1].DerivationDescription == first[0].DerivationDescription


def test_the_places_of_the_frames_of_a_lossy_copy_are_known():
    source = pydicom.dcmread(PACKAGED / "SC_rgb_rle_2frame.dcm")
    copy = lossy(source)
    offsets = pydicom.encaps.parse_basic_offsets(copy.PixelData)
    assert len(offsets) == 2
    value = copy.PixelData
    assert value[8 + 4 * 2 + offsets[1] :][8:10] == b"\xff\xd8"


def test_the_same_copy_has_the_same_uid_and_another_has_another():
    uid = derived.instance_uid("1.2.3", ts.EXPLICIT_LE, ts.JPEG_BASELINE)
    assert uid == derived.instance_uid("1.2.3", ts.RLE, ts.JPEG_BASELINE)
    assert uid != derived.instance_uid("1.2.4", ts.EXPLICIT_LE, ts.JPEG_BASELINE)
    assert is_valid_uid(uid)
    assert uid.startswith("2.25.")
    assert derived.instance_uid("1.2.3", ts.EXPLICIT_LE, ts.JPEG_LS_LOSSLESS) == "1.2.3"
    assert derived.instance_uid("1.2.3", ts.JPEG_BASELINE, ts.EXPLICIT_LE) == "1.2.3"


def test_a_lossy_copy_without_a_ratio_is_not_made(source):
    header, frames, syntax = taken_apart(source)
    with pytest.raises(NoCodec, match="beforehand"):
        plan(header, syntax, ts.JPEG_BASELINE, frames=1, first_frame=frames[0])


def test_a_lossy_coding_that_is_undone_leaves_its_method_and_ratio():
    source = pydicom.dcmread(PACKAGED / "SC_rgb_jpeg_dcmtk.dcm")
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in source:
            delattr(source, keyword)
    header, frames, syntax = taken_apart(source)
    size = sum(map(len, frames))
    planned = plan(
        header, syntax, ts.EXPLICIT_LE, frames=1, first_frame=frames[0], stored_bytes=size
    )
    got = read(planned.head + bytes(planned.value_bytes), ts.EXPLICIT_LE)
    assert got.SOPInstanceUID == source.SOPInstanceUID
    assert (got.LossyImageCompression, got.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(got.LossyImageCompressionRatio) > 1


def test_smallest_and_largest_stay_unless_something_is_lost(source):
    source.add_new(0x00280106, "US", 1)
    source.add_new(0x00280107, "US", 254)
    assert "SmallestImagePixelValue" not in lossy(source)
    header, frames, syntax = taken_apart(source)
    planned = plan(header, syntax, ts.RLE, frames=len(frames), first_frame=frames[0])
    got = read(planned.head + planned.wrap(b"ab") + planned.tail, ts.RLE)
    assert (got.SmallestImagePixelValue, got.LargestImagePixelValue) == (1, 254)
