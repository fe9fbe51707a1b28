"""acquire.samples: whole, honest, the same every time, and good enough for strangers' tools."""

import datetime
import io
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from filmroom.acquire import phantoms
from filmroom.acquire.samples import sample_files
from filmroom.dicom.uids import is_valid_uid

DAY = datetime.date(2026, 3, 1)


@pytest.fixture(scope="module")
def files():
    return list(sample_files(DAY))


@pytest.fixture(scope="module")
def data_sets(files):
    return [pydicom.dcmread(io.BytesIO(file)) for file in files]


def of(data_sets, modality):
    return [ds for ds in data_sets if ds.Modality == modality]


def test_there_are_four_patients_five_modalities_and_not_too_many_bytes(files, data_sets):
    assert len({ds.PatientID for ds in data_sets}) == 4
    assert {ds.Modality for ds in data_sets} == {"CT", "SR", "MR", "CR", "US"}
    assert sum(map(len, files)) < 64_000_000


def test_uids_are_valid_and_distinct(data_sets):
    uids = [ds.SOPInstanceUID for ds in data_sets]
    assert len(set(uids)) == len(uids)
    for ds in data_sets:
        for uid in (ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID):
            assert is_valid_uid(uid)
            assert uid.startswith("2.25.")


def test_the_same_day_gives_the_same_bytes(files):
    again = sample_files(DAY)
    assert [next(again) for _ in range(2)] == files[:2]


def test_another_day_changes_dates_only(data_sets):
    other = pydicom.dcmread(io.BytesIO(next(sample_files(DAY + datetime.timedelta(days=9)))))
    assert other.StudyDate == "20260309"
    assert other.SOPInstanceUID == data_sets[0].SOPInstanceUID
    assert other.PixelData == data_sets[0].PixelData


def test_names_are_written_in_their_own_scripts(data_sets):
    names = {str(ds.PatientName) for ds in data_sets}
    assert "Sato^Haruka=佐藤^遥=さとう^はるか" in names
    assert any("김" in name for name in names)
    assert any("Морозов" in name for name in names)
    assert any("Åsa" in name for name in names)


def test_the_ct_is_a_volume_in_hounsfield_units(data_sets):
    slices = of(data_sets, "CT")
    heights = [ds.ImagePositionPatient[2] for ds in slices]
    assert np.allclose(np.diff(heights), phantoms.CT_STEP_MM)
    middle = slices[len(slices) // 2]
    hounsfield = middle.pixel_array.astype(int) + int(middle.RescaleIntercept)
    assert hounsfield[5, 256] < -900
    assert 0 < hounsfield[150:230, 240:270].mean() < 200


def test_the_report_measures_the_nodule_on_the_slice_it_lies_on(data_sets):
    report = of(data_sets, "SR")[0]
    found = [item for _, item in walk(report) if item.get("ValueType") == "SCOORD"]
    assert len(found) == 1
    uid = found[0].ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    image = next(ds for ds in of(data_sets, "CT") if ds.SOPInstanceUID == uid)
    x1, y1, x2, _ = found[0].GraphicData
    values = image.pixel_array.astype(int) + int(image.RescaleIntercept)
    assert values[int(y1), int((x1 + x2) / 2)] > -150
    assert values[int(y1), int(x1) - 4] < -600
    assert (x2 - x1) * float(image.PixelSpacing[1]) == pytest.approx(14, abs=0.1)


def walk(data_set):
    for item in data_set.get("ContentSequence", []):
        yield data_set, item
        yield from walk(item)


def test_compressed_samples_decode(data_sets):
    mr = [ds for ds in of(data_sets, "MR") if ds.file_meta.TransferSyntaxUID.is_compressed]
    assert len(mr) == phantoms.MR_SLICES
    assert np.array_equal(mr[12].pixel_array, list(phantoms.mr_slices(phantoms.T2, 2))[12])
    cine = of(data_sets, "US")[0]
    assert cine.pixel_array.shape == (phantoms.US_FRAMES, 480, 640, 3)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(files, data_sets, tmp_path):
    firsts = {
        (ds.Modality, ds.SeriesInstanceUID): file for ds, file in zip(data_sets, files, strict=True)
    }
    for number, file in enumerate(firsts.values()):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(file)
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        assert "Error" not in said.stderr + said.stdout
