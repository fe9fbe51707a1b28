"""Recoded on the way out by a real server, read by programs that nobody here wrote.

Every kind of stored pixels in every syntax we write: over C-GET with dcmtk's getscu and
pynetdicom, over DICOMweb with dicomweb-client. What comes is decoded by dcmtk, GDCM or OpenJPEG
and compared with what pydicom makes of the original; dciodvfy finds nothing it did not find there.
"""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet

from nodes import PASSWORD
from packaged import packaged_files
from peers import filmroom, run

STUDY = generate_uid()
SAMPLES = (
    "CT_small.dcm",  # signed 16 bits
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jls_lossy_line.dcm",  # colour, near lossless
    "examples_rgb_color.dcm",
    "examples_palette.dcm",
    "examples_ybr_color.dcm",  # 30 frames of JPEG Baseline
    "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_gdcm_KY.dcm",  # JPEG 2000 without a component transform
    "SC_rgb_jpeg_gdcm.dcm",  # JPEG lossless
    "SC_ybr_full_422_uncompressed.dcm",
    "US1_J2KR.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "RG1_UNCR.dcm",
)
NATIVE_ONLY = ("rtdose.dcm", "rtdose_rle.dcm", "liver.dcm", "liver_expb.dcm")  # 32 bits, 1 bit
ROUNDED = {"examples_ybr_color.dcm"}  # decoders of lossy JPEG agree to one step


@pytest.fixture(scope="module")
def samples():
    """name -> data set, all of one study."""
    found = {}
    for packaged in packaged_files():
        if packaged.name in (*SAMPLES, *NATIVE_ONLY) and packaged.name not in found:
            ds = pydicom.dcmread(io.BytesIO(packaged.content))
            ds.StudyInstanceUID, ds.PatientID, ds.PatientName = STUDY, "R1", "Recoded"
            ds.SeriesInstanceUID = generate_uid()
            found[packaged.name] = ds
    return found


@pytest.fixture(scope="module")
def archive(node, samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, ds in samples.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds.save_as(folder / name)
    sent = filmroom("send", "127.0.0.1", node.dimse_port, folder, "-c", "FILMROOM")
    assert sent.returncode == 0, sent.stderr
    return node


def original(ds) -> np.ndarray:
    """The samples as pydicom decodes them, with colour as it is coded; of a JPEG in RGB."""
    return pixel_array(ds, raw=ds.file_meta.TransferSyntaxUID != JPEGBaseline8Bit)


def same(name, came, stored) -> bool:
    ours, theirs = came.astype(int), stored.astype(int)
    if ours.shape != theirs.shape:
        return False
    return int(abs(ours - theirs).max()) <= (1 if name in ROUNDED else 0)


def test_all_samples_are_there(samples):
    assert len(samples) >= 15
    assert len({str(ds.file_meta.TransferSyntaxUID) for ds in samples.values()}) >= 8


# (option of getscu, transfer syntax, dcmtk's program that opens it, its options)
DCMTK = [
    ("+xe", ExplicitVRLittleEndian, None, ()),
    ("+xr", RLELossless, "dcmdrle", ()),
    ("+xs", JPEGLosslessSV1, "dcmdjpeg", ("+cn",)),
    ("+xt", JPEGLSLossless, "dcmdjpls", ()),
    ("+xv", JPEG2000Lossless, None, ()),
]


@pytest.mark.parametrize(("option", "syntax", "opener", "options"), DCMTK)
def test_getscu_gets_the_same_pixels(
    archive, samples, peer_program, tmp_path, option, syntax, opener, options
):
    answer = run(
        peer_program("getscu"), "-S", "-v", option, "+B", "-od", tmp_path, "-aec", "FILMROOM",
        *("127.0.0.1", archive.dimse_port, "-k", "QueryRetrieveLevel=STUDY"),
        *("-k", f"StudyInstanceUID={STUDY}"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    came = {}
    for path in tmp_path.iterdir():
        ds = pydicom.dcmread(path)
        came[str(ds.SOPInstanceUID)] = path, ds
    for name, stored in samples.items():
        if (name in NATIVE_ONLY and opener is not None) or name not in came_names(came, samples):
            assert name in NATIVE_ONLY, f"{name} did not come"
            continue
        path, ds = came[str(stored.SOPInstanceUID)]
        assert ds.file_meta.TransferSyntaxUID == syntax, name
        if opener is not None:
            opened = tmp_path / f"{path.name}.open"
            told = run(peer_program(opener), *options, path, opened)
            assert told.returncode == 0, (name, told.stdout)
            ds = pydicom.dcmread(opened)
        assert same(name, original(ds), original(stored)), name
        assert new_complaints(peer_program("dciodvfy"), stored, path, tmp_path) == set(), name


def came_names(came, samples) -> set[str]:
    return {name for name, ds in samples.items() if str(ds.SOPInstanceUID) in came}


def new_complaints(dciodvfy, stored, path, folder) -> set[str]:
    """What dciodvfy calls an error in the file that it does not in the stored one."""
    before = folder / "before"
    stored.save_as(before)
    return _errors(dciodvfy, path) - _errors(dciodvfy, before)


def _errors(dciodvfy, path) -> set[str]:
    said = run(dciodvfy, path).stdout
    return {re.sub(r"0x[0-9a-f]+", "#", line) for line in said.splitlines() if "Error" in line}


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_pynetdicom_gets_everything_uncompressed(archive, samples, syntax):
    final, came = got(archive, samples, syntax)
    assert final.Status == 0x0000
    assert len(came) == len(samples)
    for name, stored in samples.items():
        assert same(name, original(came[str(stored.SOPInstanceUID)]), original(stored)), name


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000Lossless])
def test_pynetdicom_gets_wavelets_that_openjpeg_opens(archive, samples, syntax):
    final, came = got(archive, samples, syntax)
    assert set(SAMPLES) <= came_names(came, samples)
    assert not {"liver.dcm", "liver_expb.dcm"} & came_names(came, samples)
    assert final.NumberOfCompletedSuboperations == len(came)
    assert final.NumberOfFailedSuboperations == len(samples) - len(came)
    assert final.ErrorComment.startswith("not written in transfer syntax")
    for name in SAMPLES:
        ds = came[str(samples[name].SOPInstanceUID)]
        opened = pixel_array(ds, raw=True, decoding_plugin="pylibjpeg")
        assert same(name, opened, original(samples[name])), name


def test_a_peer_of_lossy_syntaxes_only_gets_nothing_but_what_is_stored_so(archive, samples):
    final, came = got(archive, samples, JPEGBaseline8Bit)
    stored_so = {
        str(ds.SOPInstanceUID)
        for ds in samples.values()
        if ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    }
    assert set(came) == stored_so
    assert stored_so
    assert final.Status == 0xB000
    assert final.ErrorComment == "the receiver takes this SOP class in lossy syntaxes only"


def got(archive, samples, syntax):
    """(final answer, what came) of a C-GET by a peer that takes one syntax only."""
    came = {}

    def keep(event):
        ds = event.dataset
        ds.file_meta = event.file_meta
        came[str(ds.SOPInstanceUID)] = ds
        return 0x0000

    classes = sorted({str(ds.SOPClassUID) for ds in samples.values()})
    ae = AE()
    ae.add_requested_context(StudyRootGet)
    for sop_class in classes:
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate(
        "127.0.0.1", archive.dimse_port, ae_title="FILMROOM",
        ext_neg=[build_role(each, scp_role=True) for each in classes],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )  # fmt: skip
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", STUDY
    *_, (final, _) = association.send_c_get(wanted, StudyRootGet)
    association.release()
    return final, came


# -- DICOMweb ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(archive):
    session = requests.Session()
    session.auth = ("admin", PASSWORD)
    return DICOMwebClient(archive.dicomweb, session=session)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("name", SAMPLES)
def test_dicomweb_client_gets_the_same_pixels(client, samples, name, syntax):
    stored = samples[name]
    came = client.retrieve_instance(
        STUDY, stored.SeriesInstanceUID, stored.SOPInstanceUID,
        media_types=(("application/dicom", syntax),),
    )  # fmt: skip
    assert came.file_meta.TransferSyntaxUID == syntax
    assert same(name, original(came), original(stored))
    assert came.SOPInstanceUID == stored.SOPInstanceUID


FRAME_TYPES = [
    ("image/jls", JPEGLSLossless),
    ("image/jp2", JPEG2000Lossless),
    ("image/dicom-rle", RLELossless),
    ("image/jpeg", JPEGLosslessSV1),
]


@pytest.mark.parametrize(("media_type", "syntax"), FRAME_TYPES)
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "examples_rgb_color.dcm"])
def test_dicomweb_client_gets_frames_of_every_type(client, samples, name, media_type, syntax):
    stored = samples[name]
    (frame,) = client.retrieve_instance_frames(
        STUDY, stored.SeriesInstanceUID, stored.SOPInstanceUID, frame_numbers=[1],
        media_types=((media_type, syntax),),
    )  # fmt: skip
    ds = pydicom.dcmread(io.BytesIO(_bytes(stored)))
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PlanarConfiguration = 0
    assert same(name, pixel_array(ds, raw=True), original(stored))


def _bytes(ds) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["examples_rgb_color.dcm", "examples_ybr_color.dcm"])
def test_a_lossy_copy_by_name_passes_dciodvfy(client, samples, peer_program, tmp_path, name):
    stored = samples[name]
    came = client.retrieve_instance(
        STUDY, stored.SeriesInstanceUID, stored.SOPInstanceUID,
        media_types=(("application/dicom", JPEGBaseline8Bit),),
    )  # fmt: skip
    came.save_as(tmp_path / "copy")
    assert new_complaints(peer_program("dciodvfy"), stored, tmp_path / "copy", tmp_path) == set()
    if stored.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
        assert came.SOPInstanceUID == stored.SOPInstanceUID  # it is lossy already
        return
    assert came.SOPInstanceUID != stored.SOPInstanceUID
    opened = run(peer_program("dcmdjpeg"), tmp_path / "copy", tmp_path / "opened")
    assert opened.returncode == 0, opened.stdout
    there = original(pydicom.dcmread(tmp_path / "opened")).astype(int)
    assert there.shape == original(stored).shape
