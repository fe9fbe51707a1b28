"""The same files read by pydicom: every packaged sample, value by value."""

import glob
import json
import os
import warnings

import pydicom
import pytest
from pydicom.encaps import generate_frames

from filmroom.dicom import deflated, dicomjson, elements, frames, notation, part10, scan, uids
from filmroom.dicom.errors import Malformed


def samples():
    roots = [os.path.join(os.path.dirname(pydicom.__file__), "data", "**")]
    try:
        import data_store  # what the package pydicom-data installs
    except ImportError:
        pass
    else:
        roots.append(os.path.join(os.path.dirname(data_store.__file__), "data", "**"))
    found = [path for root in roots for path in glob.glob(root, recursive=True)]
    return sorted(path for path in found if os.path.isfile(path) and not path.endswith(".py"))


# Damaged on purpose, or not DICOM at all.
REFUSED = {
    "DICOMDIR-nooffset",  # its last item is cut off
    "MR_truncated.dcm",
    "SC_rgb_jpeg.dcm",  # implicit VR under an explicit transfer syntax
    "emri_small_jpeg_2k_lossless_too_short.dcm",
    "meta_missing_tsyntax.dcm",
    "no_meta.dcm",
    "rtplan_truncated.dcm",
}


def opened(path):
    """(data set bytes, transfer syntax, scan); None when we refuse the file."""
    with open(path, "rb") as file:
        raw = file.read()
    try:
        meta = part10.parse_meta(raw, complete=True)
        syntax = uids.TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
        data = raw[meta.data_set_offset :]
        if syntax.deflated:
            data = deflated.inflate(data, 1 << 28)
        found = scan.scan(data, syntax.uid, complete=True)
        scan.check_rest(found, data)
    except Malformed:
        return None
    return data, syntax, found


def read_by_pydicom(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(path)
        except (pydicom.errors.InvalidDicomError, AttributeError):
            return None


@pytest.fixture(scope="module")
def corpus():
    """(name, data, syntax, scan, pydicom's data set) of every sample both can read."""
    rows = []
    for path in samples():
        ours, ds = opened(path), read_by_pydicom(path)
        name = os.path.basename(path)
        if ours is None:
            assert ds is None or name in REFUSED, name
        elif ds is not None:
            rows.append((name, *ours, ds))
    assert len(rows) > 120
    return rows


def test_the_scan_finds_the_same_values(corpus):
    wanted = [tag for tag in notation._WANTED if tag < 0x7FE00000]
    compared = 0
    for name, _, _, found, ds in corpus:
        for tag in wanted:
            element = ds.get_item(tag) if tag in ds else None
            if element is None:
                assert tag not in found.values, (name, hex(tag))
            elif isinstance(element, pydicom.dataelem.RawDataElement) and element.VR != "SQ":
                assert found.values.get(tag, b"") == (element.value or b""), (name, hex(tag))
                compared += 1
        pixel_tag = next((tag for tag in notation.PIXEL_TAGS if tag in ds), None)
        assert found.pixel_tag == pixel_tag, name
    assert compared > 3000


def test_encapsulated_frames_are_the_same(corpus):
    compared = 0
    for name, data, syntax, found, ds in corpus:
        if found.pixel_length is not None:
            continue
        table = frames.build(found, data, syntax.uid)
        expected = list(
            generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1) or 1))
        )
        assert table is not None, name
        ours = [
            b"".join(data[at : at + length] for at, length in table.ranges(index))
            for index in range(table.frames)
        ]
        assert ours == expected, name
        compared += 1
    assert compared > 30


def same_as_pydicom(ours, theirs, where):
    """Compare two DICOM JSON objects but for what is documented to differ.

    We leave out group lengths, offset tables, padding and the pixel data; say UTF-8;
    write empty values as null; trim every value; leave private elements without VR as UN.
    """
    names = {
        n for n in ours.keys() | theirs.keys() if n[:4] not in ("7FE0", "FFFC") and n[4:] != "0000"
    }
    for name in names - {"00080005"}:
        a, b, here = ours.get(name), theirs.get(name), f"{where} {name}"
        assert a is not None, here
        assert b is not None, here
        if a["vr"] == "UN" and int(name[:4], 16) % 2:
            continue  # pydicom has dictionaries of some makers' private elements
        assert a["vr"] == b["vr"], here
        if a["vr"] == "SQ":
            items, others = a.get("Value", []), b.get("Value", [])
            assert len(items) == len(others), here
            for index, (item, other) in enumerate(zip(items, others, strict=True)):
                same_as_pydicom(item, other, f"{here}/{index + 1}")
        elif "Value" in b:
            expected = [v.strip() or None if isinstance(v, str) else v for v in b["Value"]]
            got = [v.strip() if isinstance(v, str) else v for v in a.get("Value", [])]
            assert got == expected, here
        else:
            assert a == b, here


def test_the_json_is_the_same(corpus):
    compared = 0
    for name, data, syntax, found, ds in corpus:
        if not syntax.little_endian:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = json.loads(ds.to_json(bulk_data_threshold=1 << 31))
            except ValueError:  # badVR.dcm: an IS of "1A"
                assert name == "badVR.dcm"
                continue
        body = dicomjson.encode(data[: found.header_bytes], syntax.uid, str, inline_limit=1 << 31)
        same_as_pydicom(json.loads(body), theirs, name)
        compared += 1
    assert compared > 100


def test_both_ways_to_json_agree_and_writing_loses_nothing(corpus):
    for name, data, syntax, found, _ in corpus:
        ds = elements.read_data_set(
            data, explicit_vr=syntax.explicit_vr, little_endian=syntax.little_endian
        )
        careful = dicomjson.from_elements(ds)
        body = dicomjson.encode(data[: found.header_bytes], syntax.uid, str, inline_limit=1 << 31)
        left_out = ("7FE0", "0002", "FFFC")
        quick = {n: v for n, v in json.loads(body).items() if n[:4] not in left_out}
        assert json.loads(json.dumps(careful)).items() >= quick.items(), name
        raw = elements.write_data_set(ds, explicit_vr=True)
        again = elements.read_data_set(raw, explicit_vr=True, little_endian=True)
        assert elements.write_data_set(again, explicit_vr=True) == raw, name
