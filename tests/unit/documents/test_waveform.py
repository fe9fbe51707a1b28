"""Waveforms: samples as other readers read them, drawn where a ruler would find them."""

import io
import re
import wave
import xml.etree.ElementTree as ElementTree

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from documents import (
    AMBULATORY,
    HEMODYNAMIC,
    LEADS,
    TWELVE_LEAD,
    VOICE,
    a_waveform,
    an_ecg,
    channel,
    group,
    heartbeats,
)
from filmroom.dicom.part10 import parse_meta
from filmroom.documents import chart, recording, work
from filmroom.documents.drawing import Grid, Text, Trace, thinned
from filmroom.pixel.errors import NoCodec, Undecodable
from instances import part10

SVG = "{http://www.w3.org/2000/svg}"
ECG = get_testdata_file("waveform_ecg.dcm")


def data_set(file: bytes):
    meta = parse_meta(file)
    return memoryview(file)[meta.data_set_offset :], meta.transfer_syntax_uid


def groups(file: bytes):
    data, syntax = data_set(file)
    return recording.groups_of(recording.header_of(data, syntax), data, syntax)


def drawn(ds) -> chart.Drawing:
    found = recording.Recording(TWELVE_LEAD, (), (), groups(part10(ds)))
    return chart.chart_of(found, "ECG")


def svg(ds_or_file) -> ElementTree.Element:
    file = ds_or_file if isinstance(ds_or_file, bytes) else part10(ds_or_file)
    return ElementTree.fromstring(work.waveform(*data_set(file), "image/svg+xml", None, 90))


def words(root) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


# -- samples ----------------------------------------------------------------------------------
def test_samples_of_the_packaged_ecg_are_those_that_pydicom_reads():
    ds = pydicom.dcmread(ECG)
    with open(ECG, "rb") as file:
        found = groups(file.read())
    assert len(found) == 2
    for at, each in enumerate(found):
        np.testing.assert_allclose(each.values(0, each.samples).T, ds.waveform_array(at))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("i1", "SB"), ("u1", "UB"), ("<i2", "SS"), ("<u2", "US"), ("<i4", "SL"), ("<u4", "UL")],
)
@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_samples_of_every_width_and_sign_are_those_that_pydicom_reads(dtype, kind, syntax):
    limits = np.iinfo(dtype)
    samples = np.random.default_rng(1).integers(limits.min, limits.max, (700, 3), endpoint=True)
    channels = [
        channel("a", ChannelSensitivity=2.5, ChannelSensitivityCorrectionFactor=0.5),
        channel("b", ChannelBaseline=-100),
        channel("c"),
    ]
    ds = a_waveform(group(samples.astype(dtype), channels, 100, kind), sop_class_uid=AMBULATORY)
    file = part10(ds, syntax)
    (found,) = groups(file)
    want = pydicom.dcmread(io.BytesIO(file)).waveform_array(0)
    np.testing.assert_allclose(found.values(0, 700).T, want)
    np.testing.assert_allclose(found.values(100, 50).T, want[100:150])


def test_samples_that_were_written_big_endian_are_turned_around():
    samples = np.arange(-600, 600, dtype="<i2").reshape(-1, 2)
    ds = a_waveform(group(samples, [channel("a"), channel("b")], 100), sop_class_uid=AMBULATORY)
    ds.WaveformSequence[0].WaveformData = samples.astype(">i2").tobytes()
    (found,) = groups(part10(ds, ExplicitVRBigEndian))
    np.testing.assert_array_equal(found.values(0, 600).T, samples)


def test_mu_law_and_a_law_grow_from_silence_with_the_sign_of_their_first_bit():
    mu, a = recording._law("MB"), recording._law("AB")
    assert (mu[0xFF], mu[0x7F], mu[0x80], mu[0x00]) == (0, 0, 32124, -32124)  # G.711 Table 2
    assert (a[0xD5], a[0x55], a[0xAA], a[0x2A]) == (8, -8, 32256, -32256)  # G.711 Table 1
    assert len({*mu.tolist()}) == 255
    assert len({*a.tolist()}) == 256


def test_padding_is_a_gap():
    samples = heartbeats(4, 100, 2)
    samples[100:200] = -32768
    made = group(samples, [channel("a"), channel("b")], 100)
    made.add_new(0x5400100A, "OW", b"\x00\x80")
    ds = a_waveform(made, sop_class_uid=AMBULATORY)
    assert np.isnan(groups(part10(ds))[0].values(0, 400)[:, 100:200]).all()
    traces = [part for part in drawn(ds).parts if isinstance(part, Trace) and len(part.points) > 6]
    assert len(traces) == 4  # each channel before and after it


def test_fewer_samples_than_promised_are_those_that_are_there():
    made = group(heartbeats(2, 100, 1), [channel("a")], 100, NumberOfWaveformSamples=10**9)
    assert groups(part10(a_waveform(made)))[0].samples == 200


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"SamplingFrequency": 0}, Undecodable),
        ({"NumberOfWaveformChannels": 0}, Undecodable),
        ({"NumberOfWaveformChannels": 60000}, Undecodable),
        ({"WaveformSampleInterpretation": "XX"}, NoCodec),
        ({"WaveformBitsAllocated": 12}, NoCodec),
    ],
)
def test_a_group_that_makes_no_sense_is_refused(more, error):
    made = group(heartbeats(2, 100, 1), [channel("a")], 100, **more)
    with pytest.raises(error):
        svg(a_waveform(made))


def test_an_object_without_a_waveform_is_refused():
    with pytest.raises(Undecodable, match="holds no waveform"):
        svg(a_waveform())


# -- the page -----------------------------------------------------------------------------------
def curves(drawing, least=20) -> list[np.ndarray]:
    return [
        each.points
        for each in drawing.parts
        if isinstance(each, Trace) and len(each.points) > least
    ]


def test_one_millivolt_is_ten_millimetres_and_one_second_twenty_five():
    samples = np.zeros((1000, 12), "<i2")
    samples[500] = 1000  # uV, at one second
    channels = [channel(f"Lead {lead}") for lead in LEADS]
    made = drawn(a_waveform(group(samples, channels, 500)))
    lead_two = next(points for points in curves(made) if len(points) > 40)
    middle = np.median(lead_two[:, 1])
    top = lead_two[np.argmin(lead_two[:, 1])]
    assert middle - top[1] == pytest.approx(10)
    assert top[0] - lead_two[0][0] == pytest.approx(25, abs=0.3)
    assert "25 mm/s, 10 mm/mV" in [each.words for each in made.parts if isinstance(each, Text)][-1]


def test_twelve_leads_are_laid_out_in_three_rows_of_four_above_a_strip_of_the_second():
    made = drawn(an_ecg())
    labels = [(each.words, each.x, each.y) for each in made.parts if isinstance(each, Text)]
    places = {word: (x, y) for word, x, y in labels if word in LEADS and word != "II"}
    for row, leads in enumerate((("I", "aVR", "V1", "V4"), (None, "aVL", "V2", "V5"),
                                 ("III", "aVF", "V3", "V6"))):  # fmt: skip
        present = [places[lead] for lead in leads if lead]
        assert len({y for _, y in present}) == 1, row
        assert [x for x, _ in present] == sorted(x for x, _ in present)
    assert [word for word, _, _ in labels].count("II") == 2
    long = [points for points in curves(made) if np.ptp(points[:, 0]) > 240]
    assert len(long) == 1


@pytest.mark.parametrize(
    ("label", "code", "lead"),
    [
        ("Lead I (Einthoven)", "5.6.3-9-1", "I"),
        ("aVF", "2:64", "aVF"),
        ("MDC_ECG_LEAD_V3", "", "V3"),
        ("lead ii", "", "II"),
        ("Lead III", "", "III"),
        ("V7", "2:9", ""),
        ("Pulse", "", ""),
    ],
)
def test_a_lead_is_known_by_its_code_or_its_name(label, code, lead):
    assert chart.lead_of(recording.Channel(label, code, "uV", 1, 0)) == lead


def test_other_waveforms_are_drawn_one_below_the_other_each_with_its_range():
    pressure = np.rint(80 + 40 * np.sin(np.arange(2000) / 30)).astype("<i2")[:, None]
    made = a_waveform(group(pressure, [channel("Aorta", "mm[Hg]")], 200), sop_class_uid=HEMODYNAMIC)
    written = words(svg(made))
    assert {"Aorta [mm[Hg]]", "120", "40"} <= set(written)
    assert any("each channel to its own scale" in each for each in written)


def test_annotations_and_the_patient_are_on_the_page():
    with open(ECG, "rb") as file:
        written = words(svg(file.read()))
    assert {"RITMO SINUSALE", "RR Interval: 982 ms", "Patient: Anonymous"} <= set(written)
    assert any("0.05-300 Hz" in each for each in written)


def test_a_day_of_an_ecg_costs_no_more_than_its_first_seconds():
    day = np.zeros((24 * 3600 * 25, 2), "<i2")
    ds = a_waveform(group(day, [channel("a"), channel("b")], 25), sop_class_uid=AMBULATORY)
    made = work.waveform(*data_set(part10(ds)), "image/svg+xml", None, 90)
    assert len(made) < 100_000
    assert any("the first 10 s of 24:00:00" in each for each in words(ElementTree.fromstring(made)))


def test_thinning_out_keeps_every_peak():
    x = np.arange(100_000) / 1000
    y = np.sin(x)
    y[31_337] = 50
    thin_x, thin_y = thinned(x, y, 0.2)
    assert len(thin_x) <= 4 * 501
    assert (thin_x[np.argmax(thin_y)], thin_y.max()) == (31.337, 50)
    assert (np.diff(thin_x) > 0).all()


def test_nothing_is_drawn_off_the_paper():
    wild = np.random.default_rng(2).integers(-32768, 32767, (5000, 12)).astype("<i2")
    channels = [channel(f"Lead {lead}", "mV", ChannelSensitivity=1e300) for lead in LEADS]
    made = drawn(a_waveform(group(wild, channels, 500)))
    (paper,) = [part for part in made.parts if isinstance(part, Grid)]
    for points in curves(made, 0):
        assert np.isfinite(points).all()
        assert (points[:, 1] >= paper.y).all()
        assert (points[:, 1] <= paper.y + paper.height).all()
        assert (points[:, 0] <= paper.x + paper.width + 0.01).all()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(alphabet="<>&\"'/=svgonload\x00\u202e\ufffe", max_size=30))
def test_labels_never_become_markup(label, other):
    ds = a_waveform(
        group(heartbeats(1, 100, 1), [channel(label.replace("\\", ""), other[:16])], 100,
              MultiplexGroupLabel=other.replace("\\", "")[:16]),
        sop_class_uid=AMBULATORY, SpecificCharacterSet="ISO_IR 192", StudyDescription=label,
    )  # fmt: skip
    root = svg(ds)
    kinds = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert kinds <= {"svg", "title", "defs", "pattern", "path", "rect", "text"}


def test_an_unlabelled_group_with_more_channels_than_rows_says_what_is_left_out():
    many = heartbeats(2, 50, 40)
    ds = a_waveform(
        group(many, [channel(f"E{n}") for n in range(40)], 50), sop_class_uid=AMBULATORY
    )
    assert any("8 more channels are not drawn" in each for each in words(svg(ds)))


# -- pictures and sound -------------------------------------------------------------------------
@pytest.mark.parametrize(("media_type", "form"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_a_picture_has_the_size_that_was_asked_for(media_type, form):
    made = work.waveform(*data_set(part10(an_ecg())), media_type, (560, 5000), 90)
    image = Image.open(io.BytesIO(made))
    assert image.format == form
    assert image.width == 560
    assert image.height < 560


def test_a_small_picture_shows_a_trace():
    made = work.small_waveform(*data_set(part10(an_ecg())), "image/png", (128, 128))
    image = Image.open(io.BytesIO(made)).convert("L")
    assert image.size == (128, 128)
    assert (np.asarray(image) < 60).sum() > 60


@pytest.mark.parametrize(("bits", "kind"), [(8, "UB"), (16, "SS"), (8, "MB"), (8, "AB")])
def test_a_spoken_recording_is_a_wav_file_with_the_same_samples(bits, kind):
    samples = np.random.default_rng(3).integers(0, 100, (801, 1)).astype(f"<i{bits // 8}")
    made = group(samples, [channel("Voice", "1")], 8000, kind)
    made.WaveformBitsAllocated = bits
    file = work.sound(*data_set(part10(a_waveform(made, sop_class_uid=VOICE))))
    assert (file[:4], file[8:12]) == (b"RIFF", b"WAVE")
    assert int.from_bytes(file[4:8], "little") == len(file) - 8
    if kind in ("UB", "SS"):
        with wave.open(io.BytesIO(file)) as read:
            assert (read.getframerate(), read.getnchannels()) == (8000, 1)
            assert read.readframes(801) == samples.tobytes()
    else:
        tag = int.from_bytes(file[20:22], "little")
        assert tag == {"MB": 7, "AB": 6}[kind]
        assert re.search(b"data" + (801).to_bytes(4, "little") + re.escape(samples.tobytes()), file)


@pytest.mark.parametrize(("rate_hz", "channels"), [(0.3, 1), (1e7, 256)])
def test_a_rate_that_no_wav_file_can_say_is_refused(rate_hz, channels):
    made = group(np.zeros((80, channels), "<i2"), [channel("Voice", "1")] * channels, 8000)
    made.SamplingFrequency = rate_hz
    with pytest.raises(NoCodec, match="Hz"):
        work.sound(*data_set(part10(a_waveform(made, sop_class_uid=VOICE))))
