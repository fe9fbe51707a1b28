"""DICOMweb with the published dicomweb-client against a real server: everything it can do."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless, generate_uid

from instances import a_data_set, data_set_bytes, part10
from nodes import PASSWORD
from packaged import packaged_files

AS_STORED = (("application/dicom", "*"),)
OCTETS = (("application/octet-stream", ExplicitVRLittleEndian),)
SAMPLES = (
    "examples_ybr_color.dcm",  # US, colour, JPEG, many frames
    "MR_small_jp2klossless.dcm",
    "MR_small_RLE.dcm",
    "waveform_ecg.dcm",
    "reportsi.dcm",
)


@dataclass
class Archive:
    """A client of a filmroom, and the files that were stored through it."""

    client: DICOMwebClient
    url: str
    files: dict[str, bytes] = field(default_factory=dict)  # name -> as sent

    def ds(self, name) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(self.files[name]))

    def uids(self, name) -> tuple[str, str, str]:
        ds = self.ds(name)
        return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)


def our_studies():
    """(name, file): one study of two series and five images, one of one."""
    study, other = generate_uid(), generate_uid()
    series = generate_uid(), generate_uid()
    for number in range(5):
        of_ct = number < 3
        yield (
            f"thorax-{number}",
            part10(
                a_data_set(
                    seed=number,
                    frames=1 if of_ct else 4,
                    StudyInstanceUID=study,
                    SeriesInstanceUID=series[not of_ct],
                    InstitutionName="Kos",
                    NameOfPhysiciansReadingStudy="Hippocrates",
                    Modality="CT" if of_ct else "PT",
                    SeriesNumber=1 if of_ct else 2,
                    InstanceNumber=number + 1,
                )
            ),
        )
    yield (
        "knee",
        part10(
            a_data_set(
                StudyInstanceUID=other,
                PatientName="Müller^Jürgen",
                SpecificCharacterSet="ISO_IR 192",
                PatientID="JM-1",
                PatientSex="M",
                Modality="MR",
                StudyDate="20251224",
                AccessionNumber="A2",
                StudyDescription="Knie",
            )
        ),
    )


@pytest.fixture(scope="module")
def archive(node):
    session = requests.Session()
    session.auth = ("admin", PASSWORD)
    made = Archive(DICOMwebClient(node.dicomweb, session=session), node.url)
    made.files |= dict(our_studies())
    made.files |= {f.name: f.content for f in packaged_files() if f.name in SAMPLES}
    report = made.client.store_instances([made.ds(name) for name in made.files])
    assert len(report.ReferencedSOPSequence) == len(made.files)
    assert "FailedSOPSequence" not in report
    return made


def values(answers, tag):
    return sorted(answer[tag]["Value"][0] for answer in answers)


# -- search -----------------------------------------------------------------------------------
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


def test_six_paths_are_searched(archive):
    study, series, _ = archive.uids("thorax-0")
    client = archive.client
    of_grace = {"search_filters": {"PatientID": "GH-1906"}}
    assert values(client.search_for_studies(**of_grace), STUDY) == [study]
    assert len(client.search_for_series(**of_grace)) == 2
    assert len(client.search_for_instances(**of_grace)) == 5
    assert len(client.search_for_series(study)) == 2
    assert len(client.search_for_instances(study)) == 5
    found = client.search_for_instances(study, series)
    assert values(found, INSTANCE) == sorted(archive.uids(f"thorax-{n}")[2] for n in range(3))


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"PatientName": "Hopper^Grace"}, ["thorax-0"]),
        ({"PatientName": "HOP*"}, ["thorax-0"]),
        ({"00100010": "M?ller*"}, ["knee"]),
        ({"StudyDate": "20260101-20260131", "PatientID": "GH-1906"}, ["thorax-0"]),
        ({"StudyDate": "20251201-20251231"}, ["knee"]),
        ({"AccessionNumber": "A2"}, ["knee"]),
        ({"ModalitiesInStudy": "PT"}, ["thorax-0"]),
        ({"PatientSex": "M", "PatientID": "JM-1"}, ["knee"]),
        ({"StudyDescription": "*nie"}, ["knee"]),
        ({"PatientID": "nobody"}, []),
    ],
)
def test_studies_are_filtered(archive, filters, names):
    found = archive.client.search_for_studies(search_filters=filters)
    assert values(found, STUDY) == sorted(archive.uids(name)[0] for name in names)


def test_several_uids_are_a_list(archive):
    two = [archive.uids(name)[0] for name in ("thorax-0", "knee")]
    for separator in (",", "\\"):
        filters = {"StudyInstanceUID": separator.join(two)}
        found = archive.client.search_for_studies(search_filters=filters)
        assert values(found, STUDY) == sorted(two)


def test_series_and_instances_are_filtered(archive):
    study, _, _ = archive.uids("thorax-0")
    (series,) = archive.client.search_for_series(study, search_filters={"Modality": "PT"})
    assert series["00080060"]["Value"] == ["PT"]
    assert series["00201209"]["Value"] == [2]
    found = archive.client.search_for_instances(study, search_filters={"InstanceNumber": "4"})
    assert values(found, INSTANCE) == [archive.uids("thorax-3")[2]]


def test_names_match_fuzzily_on_demand(archive):
    wanted = {"search_filters": {"PatientName": "grace hop"}}
    study, _, _ = archive.uids("thorax-0")
    assert values(archive.client.search_for_studies(fuzzymatching=True, **wanted), STUDY) == [study]
    assert archive.client.search_for_studies(fuzzymatching=False, **wanted) == []


def test_pages_make_up_the_whole(archive, caplog):
    client = archive.client
    whole = client.search_for_instances()
    assert len(whole) == len(archive.files) == 11
    pages = [client.search_for_instances(limit=3, offset=offset) for offset in (0, 3, 6, 9, 12)]
    assert [len(page) for page in pages] == [3, 3, 3, 2, 0]
    assert [instance for page in pages for instance in page] == whole
    told = [r.getMessage() for r in caplog.records if "additional results" in r.getMessage()]
    assert [re.search(r"(\d+) additional", text)[1] for text in told] == ["8", "5", "2"]
    assert client.search_for_instances(get_remaining=True) == whole


def test_fields_are_added_by_name_and_by_tag(archive):
    filters = {"PatientID": "GH-1906"}
    search = archive.client.search_for_instances
    plain = search(search_filters=filters)
    asked = search(search_filters=filters, fields=["InstitutionName", "00081060", "PatientName"])
    assert all("00080080" not in answer and "00081060" not in answer for answer in plain)
    for answer in asked:
        assert answer["00080080"]["Value"] == ["Kos"]
        assert answer["00081060"]["Value"] == [{"Alphabetic": "Hippocrates"}]
        assert answer["00100010"]["Value"] == [{"Alphabetic": "Hopper^Grace"}]


# -- retrieve ----------------------------------------------------------------------------------


def written(ds) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds)
    return data_set_bytes(buffer.getvalue())


def assert_equal(archive, found, names):
    assert len(found) == len(names)
    came = {str(ds.SOPInstanceUID): ds for ds in found}
    for name in names:
        sent = archive.ds(name)
        ours = came[str(sent.SOPInstanceUID)]
        assert ours.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert written(ours) == written(sent), name


def test_a_study_a_series_and_an_instance_come_back(archive):
    thorax = [f"thorax-{n}" for n in range(5)]
    study, series, instance = archive.uids("thorax-0")
    client = archive.client
    assert_equal(archive, client.retrieve_study(study), thorax)
    assert_equal(archive, list(client.iter_study(study)), thorax)
    assert_equal(archive, client.retrieve_series(study, series), thorax[:3])
    assert_equal(archive, list(client.iter_series(study, series)), thorax[:3])
    assert_equal(archive, [client.retrieve_instance(study, series, instance)], thorax[:1])


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_compressed_comes_as_it_is_stored(archive, name):
    found = archive.client.retrieve_instance(*archive.uids(name), media_types=AS_STORED)
    assert_equal(archive, [found], [name])


def test_what_is_compressed_comes_decoded_unless_asked_otherwise(archive):
    name = "MR_small_RLE.dcm"
    study, series, instance = archive.uids(name)
    of_series = archive.client.retrieve_series(study, series)
    (found,) = (ds for ds in of_series if ds.SOPInstanceUID == instance)
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (found.pixel_array == archive.ds(name).pixel_array).all()


def test_an_instance_may_be_asked_for_in_another_syntax(archive):
    name, wanted = "thorax-0", (("application/dicom", RLELossless),)
    found = archive.client.retrieve_instance(*archive.uids(name), media_types=wanted)
    assert found.file_meta.TransferSyntaxUID == RLELossless
    assert (found.pixel_array == archive.ds(name).pixel_array).all()


def test_metadata_come_at_three_levels(archive):
    study, series, instance = archive.uids("thorax-0")
    client = archive.client
    assert len(client.retrieve_study_metadata(study)) == 5
    assert len(client.retrieve_series_metadata(study, series)) == 3
    metadata = client.retrieve_instance_metadata(study, series, instance)
    read = pydicom.Dataset.from_json(metadata, bulk_data_uri_handler=lambda uri: b"")
    sent = archive.ds("thorax-0")
    del read.PixelData, sent.PixelData
    assert read == sent


def test_metadata_are_utf_8_and_say_so(archive):
    metadata = archive.client.retrieve_instance_metadata(*archive.uids("knee"))
    assert metadata["00080005"]["Value"] == ["ISO_IR 192"]
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]


@pytest.mark.parametrize("name", ["thorax-0", "thorax-3"])
def test_bulk_data_are_where_the_metadata_say(archive, name):
    metadata = archive.client.retrieve_instance_metadata(*archive.uids(name))
    uri = metadata["7FE00010"]["BulkDataURI"]
    assert uri.startswith("/dicom-web/"), "it must not name a host that a proxy hides"
    (found,) = archive.client.retrieve_bulkdata(archive.url + uri)
    assert found == archive.ds(name).PixelData
    (found,) = archive.client.retrieve_bulkdata(archive.url + uri, media_types=OCTETS)
    assert found == archive.ds(name).PixelData
    assert b"".join(archive.client.iter_bulkdata(archive.url + uri)) == found


def test_a_byte_range_is_of_a_single_part_only(archive):
    """This client always asks for a multipart, of which 100-199 would be no bytes of the value."""
    metadata = archive.client.retrieve_instance_metadata(*archive.uids("thorax-0"))
    uri = archive.url + metadata["7FE00010"]["BulkDataURI"]
    (found,) = archive.client.retrieve_bulkdata(uri, media_types=OCTETS, byte_range=(100, 199))
    assert found == archive.ds("thorax-0").PixelData


def test_waveforms_are_bulk_data_too(archive):
    metadata = archive.client.retrieve_instance_metadata(*archive.uids("waveform_ecg.dcm"))
    groups = archive.ds("waveform_ecg.dcm").WaveformSequence
    for described, group in zip(metadata["54000100"]["Value"], groups, strict=True):
        uri = archive.url + described["54001010"]["BulkDataURI"]
        assert archive.client.retrieve_bulkdata(uri) == [group.WaveformData]


def test_frames_come_in_the_order_asked_for(archive):
    pixels = archive.ds("thorax-3").pixel_array
    frames = archive.client.retrieve_instance_frames(*archive.uids("thorax-3"), [3, 1])
    assert [np.frombuffer(f, "<u2").tolist() for f in frames] == [
        pixels[n].ravel().tolist() for n in (2, 0)
    ]
    assert list(archive.client.iter_instance_frames(*archive.uids("thorax-3"), [3, 1])) == frames


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("examples_ybr_color.dcm", "image/jpeg"),
        ("MR_small_jp2klossless.dcm", "image/jp2"),
        ("MR_small_RLE.dcm", "image/dicom-rle"),
    ],
)
def test_compressed_frames_come_as_they_are_stored(archive, name, media_type):
    ds = archive.ds(name)
    number = int(ds.get("NumberOfFrames", 1))
    (found,) = archive.client.retrieve_instance_frames(
        *archive.uids(name), [number], media_types=((media_type, ds.file_meta.TransferSyntaxUID),)
    )
    *_, stored = generate_frames(ds.PixelData, number_of_frames=number)
    assert found.rstrip(b"\0") == stored.rstrip(b"\0")


def test_compressed_frames_are_decoded_on_demand(archive):
    name = "MR_small_jp2klossless.dcm"
    ds = archive.ds(name)
    assert ds.file_meta.TransferSyntaxUID == JPEG2000Lossless
    (found,) = archive.client.retrieve_instance_frames(*archive.uids(name), [1], media_types=OCTETS)
    assert (np.frombuffer(found, "<i2").reshape(64, 64) == ds.pixel_array).all()


# -- rendered ----------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "image/gif"])
@pytest.mark.parametrize("name", ["thorax-0", "examples_ybr_color.dcm", "MR_small_RLE.dcm"])
def test_an_instance_is_rendered(archive, name, media_type):
    found = archive.client.retrieve_instance_rendered(
        *archive.uids(name), media_types=(media_type,)
    )
    picture = Image.open(io.BytesIO(found))
    assert picture.format == media_type.partition("/")[2].upper()
    ds = archive.ds(name)
    assert picture.size == (ds.Columns, ds.Rows)
    extrema = picture.convert("L").getextrema()
    assert extrema[0] < extrema[1], "all of one grey"


def test_frames_and_series_are_rendered(archive):
    jpeg = ("image/jpeg",)
    client, uids = archive.client, archive.uids("thorax-3")
    one = client.retrieve_instance_frames_rendered(*uids, [1], media_types=jpeg)
    two = client.retrieve_instance_frames_rendered(*uids, [2], media_types=jpeg)
    assert Image.open(io.BytesIO(one)).size == (16, 16)
    assert one != two
    small = client.retrieve_instance_rendered(
        *uids, media_types=("image/png",), params={"viewport": "8,8"}
    )
    assert Image.open(io.BytesIO(small)).size == (8, 8)
    series = client.retrieve_series_rendered(*uids[:2], media_types=jpeg)
    assert Image.open(io.BytesIO(series)).format == "JPEG"


def test_a_report_is_no_picture(archive):
    with pytest.raises(requests.HTTPError) as error:
        archive.client.retrieve_instance_rendered(
            *archive.uids("reportsi.dcm"), media_types=("image/jpeg",)
        )
    assert error.value.response.status_code == 406


# -- store, and what goes wrong --------------------------------------------------------------


def test_the_answer_to_a_store_says_where_the_instance_is(archive):
    ds = pydicom.dcmread(io.BytesIO(part10(a_data_set(PatientID="STORED"))))
    report = archive.client.store_instances([ds], ds.StudyInstanceUID)
    (item,) = report.ReferencedSOPSequence
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    assert report.RetrieveURL.endswith(f"/studies/{ds.StudyInstanceUID}")
    assert item.RetrieveURL.endswith(f"/instances/{ds.SOPInstanceUID}")


def test_an_instance_of_another_study_is_told_to_have_failed(archive):
    ds = pydicom.dcmread(io.BytesIO(part10(a_data_set())))
    with pytest.raises(requests.HTTPError) as error:
        archive.client.store_instances([ds], generate_uid())
    assert error.value.response.status_code == 409
    found = archive.client.search_for_instances(
        search_filters={"SOPInstanceUID": ds.SOPInstanceUID}
    )
    assert found == []


def test_of_two_the_good_one_is_stored(archive):
    study = generate_uid()
    good = pydicom.dcmread(io.BytesIO(part10(a_data_set(StudyInstanceUID=study))))
    stray = pydicom.dcmread(io.BytesIO(part10(a_data_set())))
    report = archive.client.store_instances([good, stray], study)
    (stored,), (failed,) = report.ReferencedSOPSequence, report.FailedSOPSequence
    assert stored.ReferencedSOPInstanceUID == good.SOPInstanceUID
    assert failed.ReferencedSOPInstanceUID == stray.SOPInstanceUID
    assert failed.FailureReason == 0xA900


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda client: client.retrieve_study("1.2.3"), 404),
        (lambda client: client.retrieve_series_metadata("1.2.3", "1.2.4"), 404),
        (lambda client: client.retrieve_instance_frames("1.2", "1.3", "1.4", [1]), 404),
        (lambda client: client.search_for_studies(search_filters={"StudyDate": "tomorrow"}), 400),
        (lambda client: client.search_for_studies(search_filters={"Nonsense": "x"}), 400),
        (lambda client: client.delete_study("1.2.3"), 405),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_so(archive, ask, status):
    with pytest.raises(requests.HTTPError) as error:
        ask(archive.client)
    assert error.value.response.status_code == status
    assert error.value.response.json()["detail"]


def test_without_signing_in_nothing_is_told(archive, node):
    stranger = DICOMwebClient(node.dicomweb)
    study, _, _ = archive.uids("knee")
    for ask in (stranger.search_for_studies, lambda: stranger.retrieve_study(study)):
        with pytest.raises(requests.HTTPError) as error:
            ask()
        assert error.value.response.status_code == 401
