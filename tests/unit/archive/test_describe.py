"""From a header to the index's entities, and what is remembered on the way."""

from filmroom.archive.describe import Describer
from filmroom.dicom import uids
from filmroom.dicom.scan import scan
from instances import a_data_set, data_set_bytes, part10


def scanned(ds):
    return scan(data_set_bytes(part10(ds)), uids.EXPLICIT_VR_LE, complete=True)


def test_the_entities_above_are_made_once_for_a_series():
    describer = Describer()
    first = a_data_set()
    second = a_data_set(
        StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID
    )
    one, two = describer.describe(scanned(first)), describer.describe(scanned(second))
    assert one.study is two.study
    assert one.instance.uid != two.instance.uid


def test_attributes_of_megabytes_are_described_but_not_remembered():
    describer = Describer()
    for number in range(5):
        ds = a_data_set(PatientComments=str(number) * 100_000)
        assert describer.describe(scanned(ds)).study.uid == ds.StudyInstanceUID
    assert len(describer._series) == 0
